#include "volume.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AREA_SIZE ((size_t)PCV_INTENT_SLOTS * PCV_INTENT_SLOT_SIZE)

static const uint8_t NAMES_KEY[PCV_KEY_SIZE] = {1, 2, 3};

void volume_make(struct volume *v, enum volume_names names, int kind, int prealloc, bool has_intents)
{
    static const uint8_t boot_id[16] = {1};
    const char *directory = getenv("TMPDIR");
    *v = (struct volume){.nonce_size = overhead_of(kind) - PCV_TAG_SIZE, .aead = new_aead(kind)};
    v->names = (struct pcv_name_format){
        .has_diriv = names == NAMES_WITH_IVS, .is_raw64 = true, .hashes_long = true, .long_name_max = PCV_NAME_MAX};
    if (names != PLAINTEXT_NAMES)
        CHECK(pcv_eme_new(NAMES_KEY, &v->names.eme) == PCV_OK);
    v->area = has_intents ? calloc(1, AREA_SIZE) : NULL;
    CHECK(!has_intents || v->area);
    if (v->area)
        CHECK(pcv_intents_new(v->area, boot_id, 1, 2, &v->intents) == 0);
    CHECK(pcv_file_policy_new(v->aead, overhead_of(kind), v->intents, prealloc, false, &v->files) == 0);
    umask(0);
    snprintf(v->path, sizeof v->path, "%s/pcv-test-XXXXXX", directory ? directory : "/tmp");
    CHECK(mkdtemp(v->path) != NULL);
    v->root_fd = open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(v->root_fd >= 0);
    volume_write_iv(v, v->root_fd, 0x77);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static DIR *open_listing(int dirfd)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    CHECK(listing != NULL);
    return listing;
}

static void empty(int dirfd)
{
    DIR *listing = open_listing(dirfd);
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (!is_dots(entry->d_name) && unlinkat(dirfd, entry->d_name, 0) != 0)
            volume_remove_dir(dirfd, entry->d_name);
    }
    closedir(listing);
}

void volume_remove_dir(int dirfd, const char *cname)
{
    CHECK(fchmodat(dirfd, cname, 0700, 0) == 0);
    int fd = openat(dirfd, cname, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CHECK(fd >= 0);
    empty(fd);
    close(fd);
    CHECK(unlinkat(dirfd, cname, AT_REMOVEDIR) == 0);
}

void volume_remove(struct volume *v)
{
    for (int slot = 0; v->area && slot < PCV_INTENT_SLOTS; slot++)
        CHECK(v->area[(size_t)slot * PCV_INTENT_SLOT_SIZE] == 0);
    empty(v->root_fd);
    close(v->root_fd);
    CHECK(rmdir(v->path) == 0);
    pcv_file_policy_free(v->files);
    pcv_intents_free(v->intents);
    pcv_eme_free(v->names.eme);
    pcv_aead_free(v->aead);
    free(v->area);
}

struct pcv_tree_options volume_options(const struct volume *v)
{
    return (struct pcv_tree_options){
        .root_fd = v->root_fd,
        .names = v->names,
        .aead = v->aead,
        .nonce_size = v->nonce_size,
        .files = v->files,
        .dirs_max = 64,
        .files_max = 16,
        .timeout_s = 1,
        .gives_away = true,
        .has_xattrs = true,
    };
}

bool volume_has_ivs(const struct volume *v)
{
    return v->names.eme && v->names.has_diriv;
}

void volume_read_iv(const struct volume *v, int dirfd, uint8_t iv[PCV_DIRIV_SIZE])
{
    memset(iv, 0, PCV_DIRIV_SIZE);
    if (!volume_has_ivs(v))
        return;
    int fd = openat(dirfd, PCV_DIRIV_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, iv, PCV_DIRIV_SIZE) == PCV_DIRIV_SIZE);
    close(fd);
}

void volume_write_iv(const struct volume *v, int dirfd, uint8_t first)
{
    uint8_t iv[PCV_DIRIV_SIZE] = {first, 1, 2, 3};
    if (!volume_has_ivs(v))
        return;
    int fd = openat(dirfd, PCV_DIRIV_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    CHECK(fd >= 0 && write(fd, iv, sizeof iv) == sizeof iv);
    close(fd);
}

struct pcv_cname volume_cname(const struct volume *v, int dirfd, const char *name)
{
    uint8_t iv[PCV_DIRIV_SIZE];
    struct pcv_cname cname;
    volume_read_iv(v, dirfd, iv);
    CHECK(pcv_name_encode(&v->names, iv, name, strlen(name), &cname) == 0);
    return cname;
}

bool volume_name(const struct volume *v, int dirfd, const char *cname, char name[PCV_NAME_MAX + 1])
{
    uint8_t iv[PCV_DIRIV_SIZE];
    char full[PCV_FULL_CNAME_MAX + 1], sidecar[PCV_NAME_MAX + 8];
    size_t size;
    ssize_t full_size = snprintf(full, sizeof full, "%s", cname);
    switch (pcv_cname_classify(&v->names, dirfd == v->root_fd, cname)) {
    case PCV_CNAME_PLAIN:
        break;
    case PCV_CNAME_LONG: {
        snprintf(sidecar, sizeof sidecar, "%s" PCV_LONG_NAME_SUFFIX, cname);
        int fd = openat(dirfd, sidecar, O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0 && (full_size = read(fd, full, sizeof full)) > 0);
        close(fd);
        break;
    }
    default:
        return false;
    }
    volume_read_iv(v, dirfd, iv);
    return pcv_name_decode(&v->names, iv, full, (size_t)full_size, name, &size) == 0;
}

unsigned int count_entries(int dirfd)
{
    unsigned int count = 0;
    DIR *listing = open_listing(dirfd);
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;)
        count += !is_dots(entry->d_name);
    closedir(listing);
    return count;
}
