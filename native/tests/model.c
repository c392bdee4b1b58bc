#include "model.h"

#include <stdlib.h>
#include <string.h>

void model_make(struct model *m)
{
    memset(m, 0, sizeof *m);
    pthread_rwlock_init(&m->names, NULL);
    pthread_mutex_init(&m->counts, NULL);
    m->root = model_new(m, S_IFDIR, 0700);
    m->root->role = ROLE_FIXED;
    m->root->number = 1;
    m->root->lookups = 1; /* the kernel never forgets it */
    m->root->names = 1;
}

static void drop(struct object *object)
{
    pthread_rwlock_destroy(&object->content);
    free(object->data);
    *object = (struct object){0};
}

void model_free(struct model *m)
{
    for (size_t i = 0; i < MODEL_OBJECTS; i++) {
        if (m->objects[i].is_used)
            drop(&m->objects[i]);
    }
    pthread_rwlock_destroy(&m->names);
    pthread_mutex_destroy(&m->counts);
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static struct object *free_object(struct model *m)
{
    for (size_t i = 0; i < MODEL_OBJECTS; i++) {
        if (!m->objects[i].is_used)
            return &m->objects[i];
    }
    return NULL;
}

bool model_has_room(const struct model *m)
{
    size_t objects = 0, entries = 0;
    for (size_t i = 0; i < MODEL_OBJECTS; i++)
        objects += !m->objects[i].is_used;
    for (size_t i = 0; i < MODEL_ENTRIES; i++)
        entries += !m->entries[i].dir;
    return objects > 1 && entries > 1;
}

struct object *model_new(struct model *m, uint32_t type, uint32_t mode)
{
    struct object *object = free_object(m);
    CHECK(object != NULL);
    *object = (struct object){.type = type, .mode = mode, .has_mode = true};
    pthread_rwlock_init(&object->content, NULL);
    pthread_mutex_lock(&m->counts);
    object->is_used = true;
    pthread_mutex_unlock(&m->counts);
    return object;
}

struct entry *model_find(struct model *m, const struct object *dir, const char *name)
{
    for (size_t i = 0; i < MODEL_ENTRIES; i++) {
        if (m->entries[i].dir == dir && strcmp(m->entries[i].name, name) == 0)
            return &m->entries[i];
    }
    return NULL;
}

struct entry *model_add(struct model *m, struct object *dir, const char *name, struct object *object)
{
    struct entry *entry = m->entries;
    while (entry->dir)
        CHECK(++entry < m->entries + MODEL_ENTRIES);
    *entry = (struct entry){.dir = dir, .object = object, .born = ++m->clock};
    CHECK(strlen(name) <= MODEL_NAME_MAX);
    strcpy(entry->name, name);
    object->names++;
    return entry;
}

/* With counts. */
static void drop_if_unused(struct object *object)
{
    if (object->is_used && object->names == 0 && object->lookups == 0 && object->pins == 0)
        drop(object);
}

void model_remove(struct model *m, struct entry *entry)
{
    struct object *object = entry->object;
    *entry = (struct entry){0};
    m->clock++;
    pthread_mutex_lock(&m->counts);
    object->names--;
    drop_if_unused(object);
    pthread_mutex_unlock(&m->counts);
}

bool model_is_empty(const struct model *m, const struct object *dir)
{
    for (size_t i = 0; i < MODEL_ENTRIES; i++) {
        if (m->entries[i].dir == dir)
            return false;
    }
    return true;
}

static const struct object *parent_of(const struct model *m, const struct object *dir)
{
    for (size_t i = 0; i < MODEL_ENTRIES; i++) {
        if (m->entries[i].dir && m->entries[i].object == dir)
            return m->entries[i].dir;
    }
    return NULL;
}

bool model_is_within(const struct model *m, const struct object *dir, const struct object *above)
{
    while (dir && dir != above)
        dir = parent_of(m, dir);
    return dir == above;
}

bool model_has_known_name(struct model *m, const struct object *object)
{
    bool has_one = false;
    pthread_mutex_lock(&m->counts);
    for (size_t i = 0; i < MODEL_ENTRIES; i++)
        has_one |= m->entries[i].dir && m->entries[i].object == object && m->entries[i].is_known;
    pthread_mutex_unlock(&m->counts);
    return has_one;
}

/* --- counts ----------------------------------------------------------------------------------------------------- */

/* With counts. */
static struct object *find_number(struct model *m, uint64_t number)
{
    for (size_t i = 0; i < MODEL_OBJECTS; i++) {
        struct object *object = &m->objects[i];
        if (object->is_used && object->lookups > 0 && object->number == number)
            return object;
    }
    return NULL;
}

void model_given(struct model *m, struct object *object, uint64_t number, struct entry *entry)
{
    pthread_mutex_lock(&m->counts);
    const struct object *known = find_number(m, number);
    CHECK(number > 1 && (!known || known == object));             /* nobody else has it */
    CHECK(object->lookups == 0 || object->number == number);      /* and it has no other */
    object->number = number;
    object->lookups++;
    if (entry)
        entry->is_known = true;
    pthread_mutex_unlock(&m->counts);
}

/* With counts. The lane keeps a directory as long as something in it is known, but no object for its name alone. */
static void forget_names(struct model *m, const struct object *object)
{
    for (size_t i = 0; i < MODEL_ENTRIES; i++) {
        if (m->entries[i].dir && m->entries[i].object == object)
            m->entries[i].is_known = false;
    }
}

uint64_t model_take_back(struct model *m, struct object *object, bool is_all, uint64_t *number)
{
    uint64_t count = 0;
    pthread_mutex_lock(&m->counts);
    if (object->is_used && object != m->root && object->pins == 0 && object->lookups > 0) {
        count = is_all ? object->lookups : 1;
        *number = object->number;
        object->lookups -= count;
        if (object->lookups == 0)
            forget_names(m, object);
        drop_if_unused(object);
    }
    pthread_mutex_unlock(&m->counts);
    return count;
}

uint64_t model_pin(struct model *m, struct object *object)
{
    pthread_mutex_lock(&m->counts);
    uint64_t number = object->is_used && object->lookups > 0 ? object->number : 0;
    if (number != 0)
        object->pins++;
    pthread_mutex_unlock(&m->counts);
    return number;
}

void model_unpin(struct model *m, struct object *object)
{
    pthread_mutex_lock(&m->counts);
    object->pins--; /* lookups are left: nobody could take them back */
    pthread_mutex_unlock(&m->counts);
}

uint64_t model_number(struct model *m, const struct object *object)
{
    pthread_mutex_lock(&m->counts);
    uint64_t number = object->is_used && object->lookups > 0 ? object->number : 0;
    pthread_mutex_unlock(&m->counts);
    return number;
}

bool model_knows(struct model *m, uint64_t number)
{
    pthread_mutex_lock(&m->counts);
    bool is_known = find_number(m, number) != NULL;
    pthread_mutex_unlock(&m->counts);
    return is_known;
}

struct object *model_any(struct model *m, struct rng *rng, uint32_t type)
{
    struct object *found = NULL;
    size_t count = 0;
    pthread_mutex_lock(&m->counts);
    for (size_t i = 0; i < MODEL_OBJECTS; i++) {
        struct object *object = &m->objects[i];
        if (object->is_used && object->lookups > 0 && (type == 0 || object->type == type) &&
            object->role != ROLE_PLAY && rng_below(rng, ++count) == 0)
            found = object;
    }
    pthread_mutex_unlock(&m->counts);
    return found;
}

/* --- content ---------------------------------------------------------------------------------------------------- */

void model_resize(struct object *file, size_t size)
{
    CHECK(size <= MODEL_FILE_MAX);
    if (!file->data && size > 0) {
        file->data = calloc(1, MODEL_FILE_MAX);
        CHECK(file->data != NULL);
    }
    if (size > file->size)
        memset(file->data + file->size, 0, size - file->size);
    file->size = size;
}

void model_write(struct object *file, size_t offset, const uint8_t *data, size_t size)
{
    if (size > 0 && offset + size > file->size)
        model_resize(file, offset + size);
    if (size > 0)
        memcpy(file->data + offset, data, size);
}
