/* A cipherdir of a test, in $TMPDIR: with what it takes to use it, and what is in it as seen from outside. */
#ifndef PCV_TESTS_VOLUME_H
#define PCV_TESTS_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "pcv_tree.h"

enum volume_names { NAMES_WITH_IVS, NAMES_WITHOUT_IVS, PLAINTEXT_NAMES, VOLUME_NAMES };

struct volume {
    char path[256];
    int root_fd;
    size_t nonce_size;
    pcv_aead *aead;
    struct pcv_name_format names;
    uint8_t *area; /* of the intents; NULL: none */
    pcv_intents *intents;
    pcv_file_policy *files;
};

/* Empty but for the IV. Sets the umask to 0, as a mount has it. */
void volume_make(struct volume *volume, enum volume_names names, int kind, int prealloc, bool has_intents);

/* Checks that no write is noted as under way, and removes all of it. */
void volume_remove(struct volume *volume);

/* Of a tree on it: 64 directories, 16 files, a second, objects are given away. */
struct pcv_tree_options volume_options(const struct volume *volume);

bool volume_has_ivs(const struct volume *volume);
/* Zeros without IVs. */
void volume_read_iv(const struct volume *volume, int dirfd, uint8_t iv[PCV_DIRIV_SIZE]);
void volume_write_iv(const struct volume *volume, int dirfd, uint8_t first);

/* How a name in that directory is stored. */
struct pcv_cname volume_cname(const struct volume *volume, int dirfd, const char *name);
/* The other way; false if the entry is nobody's name. */
bool volume_name(const struct volume *volume, int dirfd, const char *cname, char name[PCV_NAME_MAX + 1]);

/* Remove a directory and all that is in it. */
void volume_remove_dir(int dirfd, const char *cname);

/* Entries of a directory besides "." and "..", whatever they are. */
unsigned int count_entries(int dirfd);

#endif
