/* What the clients of test_lane know of the tree that they use: objects, their names, and what the kernel has looked up.
 *
 * Locks: `names` is what the kernel's locks of directories are, all of them in one: shared for looking, alone for changing.
 * An object's `content` is the kernel's lock of an inode; it is taken after `names`, if at all. Who works on an object
 * without holding `names` has it pinned, so that it is not forgotten meanwhile. Counts have a lock of their own, inside.
 */
#ifndef PCV_TESTS_MODEL_H
#define PCV_TESTS_MODEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "check.h"

enum { MODEL_OBJECTS = 100, MODEL_ENTRIES = 200, MODEL_FILE_MAX = 3 << 19, MODEL_NAME_MAX = 255 };

/* What may be done with an object. */
enum model_role {
    ROLE_ANY = 0,
    ROLE_FIXED, /* keeps its name */
    ROLE_CORRUPT, /* and its content, of which one block does not decrypt */
    ROLE_BROKEN, /* a directory without its IV: keeps its name, and nothing can be done inside */
    ROLE_PLAY, /* keeps its name; what is inside nobody knows */
};

struct object {
    bool is_used;
    enum model_role role;
    uint32_t type; /* S_IFMT */

    uint64_t number; /* as the kernel knows it, while it does; guarded by counts */
    uint64_t lookups; /* guarded by counts */
    unsigned int pins; /* guarded by counts */

    unsigned int names; /* entries that lead here; guarded by names */
    char target[64]; /* symlink */

    pthread_rwlock_t content; /* guards what follows */
    size_t size;
    uint8_t *data; /* MODEL_FILE_MAX; NULL: never had any */
    uint32_t mode; /* permissions */
    bool has_mode; /* they are known */
};

struct entry {
    struct object *dir; /* NULL: free */
    struct object *object;
    char name[MODEL_NAME_MAX + 1];
    uint64_t born; /* when it came to lead there; never twice the same */
    bool is_known; /* the kernel knows this name; guarded by counts */
};

struct model {
    pthread_rwlock_t names;
    pthread_mutex_t counts;
    struct object objects[MODEL_OBJECTS];
    struct entry entries[MODEL_ENTRIES];
    struct object *root;
    uint64_t clock; /* of changes; guarded by names */
};

void model_make(struct model *model);
void model_free(struct model *model);

/* --- names: with the lock ----------------------------------------------------------------------------------------- */

/* Whether two more names and objects fit. */
bool model_has_room(const struct model *model);
struct object *model_new(struct model *model, uint32_t type, uint32_t mode);
struct entry *model_find(struct model *model, const struct object *dir, const char *name);
struct entry *model_add(struct model *model, struct object *dir, const char *name, struct object *object);
/* The object goes too if nothing needs it. */
void model_remove(struct model *model, struct entry *entry);
bool model_is_empty(const struct model *model, const struct object *dir);
/* Whether a directory is another one, or in it. */
bool model_is_within(const struct model *model, const struct object *dir, const struct object *above);
bool model_has_known_name(struct model *model, const struct object *object);

/* --- counts ------------------------------------------------------------------------------------------------------- */

/* A reply told of an object, under that name (or NULL). */
void model_given(struct model *model, struct object *object, uint64_t number, struct entry *entry);
/* Take back lookups: all, or some. Returns how many; 0 if the object is in use or was not looked up. With names alone. */
uint64_t model_take_back(struct model *model, struct object *object, bool is_all, uint64_t *number);

/* Its number, pinned; 0 if the kernel does not know it. */
uint64_t model_pin(struct model *model, struct object *object);
/* With or without names. */
void model_unpin(struct model *model, struct object *object);
/* Its number while names is held, which keeps it from being forgotten. 0: not known. */
uint64_t model_number(struct model *model, const struct object *object);
/* Whether the kernel knows any object by that number. */
bool model_knows(struct model *model, uint64_t number);

/* Any object of that type (0: any) that the kernel knows, or NULL. */
struct object *model_any(struct model *model, struct rng *rng, uint32_t type);

/* --- content: with its lock --------------------------------------------------------------------------------------- */

void model_resize(struct object *file, size_t size);
/* Grows it if need be. */
void model_write(struct object *file, size_t offset, const uint8_t *data, size_t size);

#endif
