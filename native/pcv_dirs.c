#include "pcv_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_MAX_PLAIN 255
#define CNAME_ROOM 352 /* base64 of 256 bytes, padded, and a NUL */
#define SLOTS 4096     /* a power of two; more directories than that push each other out */

/* Direct mapped: a directory that is pushed out is Python's again, which is slower and never wrong. */
struct slot {
    uint64_t node; /* 0: free */
    int fd;
    uint8_t diriv[PCV_DIRIV_SIZE];
};

struct pcv_dirs {
    struct pcv_name_format format;
    struct slot slots[SLOTS];
};

int pcv_dirs_new(const struct pcv_name_format *format, pcv_dirs **out)
{
    pcv_dirs *dirs = calloc(1, sizeof *dirs);
    if (!dirs)
        return -ENOMEM;
    dirs->format = *format;
    *out = dirs;
    return 0;
}

void pcv_dirs_free(pcv_dirs *dirs)
{
    free(dirs);
}

static size_t slot_of(uint64_t node)
{
    return (size_t)((node * UINT64_C(0x9E3779B97F4A7C15)) >> 40) & (SLOTS - 1);
}

int pcv_dirs_put(pcv_dirs *dirs, uint64_t node, int fd, const uint8_t diriv[PCV_DIRIV_SIZE])
{
    if (node == 0 || fd < 0)
        return -EINVAL;
    struct slot *slot = &dirs->slots[slot_of(node)];
    slot->node = node;
    slot->fd = fd;
    memcpy(slot->diriv, diriv, sizeof slot->diriv);
    return 0;
}

void pcv_dirs_remove(pcv_dirs *dirs, uint64_t node)
{
    struct slot *slot = &dirs->slots[slot_of(node)];
    if (slot->node == node)
        slot->node = 0;
}

static const struct slot *find(const pcv_dirs *dirs, uint64_t node)
{
    const struct slot *slot = &dirs->slots[slot_of(node)];
    return slot->node == node && node != 0 ? slot : NULL;
}

int pcv_dirs_fd(const pcv_dirs *dirs, uint64_t node)
{
    const struct slot *slot = find(dirs, node);
    return slot ? slot->fd : -1;
}

/* URL-safe base64; returns the length, without NUL. */
static size_t encode_base64(const uint8_t *in, size_t size, bool is_raw, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = 0;
    for (; size >= 3; in += 3, size -= 3) {
        uint32_t group = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        out[n++] = digits[group >> 18];
        out[n++] = digits[group >> 12 & 63];
        out[n++] = digits[group >> 6 & 63];
        out[n++] = digits[group & 63];
    }
    if (size > 0) {
        uint32_t group = (uint32_t)in[0] << 16 | (size == 2 ? (uint32_t)in[1] << 8 : 0);
        out[n++] = digits[group >> 18];
        out[n++] = digits[group >> 12 & 63];
        if (size == 2)
            out[n++] = digits[group >> 6 & 63];
        for (size_t pad = 3 - size; !is_raw && pad > 0; pad--)
            out[n++] = '=';
    }
    return n;
}

/* The stored name into cname[CNAME_ROOM]; false if it is hashed, or can't be made. */
static bool encode_name(const struct pcv_name_format *format, const struct slot *slot, const char *name, size_t size,
                        char *cname)
{
    uint8_t padded[NAME_MAX_PLAIN + 1], encrypted[NAME_MAX_PLAIN + 1];
    uint8_t fill = (uint8_t)(PCV_EME_BLOCK_SIZE - size % PCV_EME_BLOCK_SIZE); /* PKCS#7 */
    uint32_t padded_size = (uint32_t)size + fill;
    memcpy(padded, name, size);
    memset(padded + size, fill, fill);
    if (pcv_eme_transform(format->eme, 1, slot->diriv, padded, padded_size, &padded_size, 1, encrypted) != PCV_OK)
        return false;
    size_t length = encode_base64(encrypted, padded_size, format->is_raw64, cname);
    cname[length] = '\0';
    return length <= format->long_name_max;
}

bool pcv_dirs_is_absent(pcv_dirs *dirs, uint64_t node, const char *name, size_t size)
{
    const struct slot *slot = find(dirs, node);
    if (!slot || size == 0 || size > NAME_MAX_PLAIN || memchr(name, '/', size) || memchr(name, '\0', size))
        return false;
    char cname[CNAME_ROOM];
    if (dirs->format.eme) {
        if (!encode_name(&dirs->format, slot, name, size, cname))
            return false;
    } else {
        memcpy(cname, name, size);
        cname[size] = '\0';
    }
    struct stat st;
    return fstatat(slot->fd, cname, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}
