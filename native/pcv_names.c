#include "pcv_names.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "pcv_base64.h"
#include "pcv_secret.h"
#include "pcv_sys.h"

#define OURS "gocryptfs." /* what every name begins with that is not somebody's file */

enum {
    SHA256_SIZE = 32,
    ENCRYPTED_MAX = PCV_NAME_MAX + 1,      /* the longest name, padded: at least one byte of it */
    BLOB_MAX = PCV_TARGET_MAX / 4 * 3 + 2, /* what base64 of PCV_TARGET_MAX characters holds */
};

_Static_assert(ENCRYPTED_MAX % PCV_EME_BLOCK_SIZE == 0, "the longest name fills whole EME blocks");
_Static_assert(PCV_FULL_CNAME_MAX == (ENCRYPTED_MAX + 2) / 3 * 4, "base64 of the longest name, padded");
_Static_assert(PCV_TARGET_MAX % 4 == 3, "three characters carry two bytes");

static bool is_legal(const char *name, size_t size)
{
    if (size == 0 || size > PCV_NAME_MAX || memchr(name, '/', size) || memchr(name, '\0', size))
        return false;
    return name[0] != '.' || size > 2 || (size == 2 && name[1] != '.');
}

/* Anything else would be names that no other tool can read. */
static bool is_right_diriv(const struct pcv_name_format *format, const uint8_t diriv[PCV_DIRIV_SIZE])
{
    static const uint8_t none[PCV_DIRIV_SIZE];
    return (memcmp(diriv, none, sizeof none) != 0) == format->has_diriv;
}

static int errno_of(int rc)
{
    switch (rc) {
    case PCV_OK:
        return 0;
    case PCV_ERR_AUTH:
        return -EBADMSG;
    case PCV_ERR_NOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* --- names ------------------------------------------------------------------------------------------------------ */

/* The name in the backing directory that stands for a long one. */
static int hash_name(const struct pcv_name_format *format, const char *full, size_t full_size, char *cname)
{
    uint8_t digest[SHA256_SIZE];
    ERR_set_mark();
    const int is_done = EVP_Digest(full, full_size, digest, NULL, EVP_sha256(), NULL);
    ERR_pop_to_mark();
    if (!is_done)
        return -EIO;
    memcpy(cname, PCV_LONG_NAME_PREFIX, sizeof PCV_LONG_NAME_PREFIX - 1);
    pcv_base64_encode(digest, sizeof digest, format->is_raw64, cname + sizeof PCV_LONG_NAME_PREFIX - 1);
    cname[sizeof PCV_LONG_NAME_PREFIX - 1 + pcv_base64_size(sizeof digest, format->is_raw64)] = '\0';
    return 0;
}

int pcv_name_encode(const struct pcv_name_format *format, const uint8_t diriv[PCV_DIRIV_SIZE], const char *name,
                    size_t size, struct pcv_cname *out)
{
    out->name[0] = out->full[0] = '\0';
    if (size > PCV_NAME_MAX)
        return -ENAMETOOLONG;
    if (!is_legal(name, size))
        return -EINVAL;
    if (!format->eme) {
        memcpy(out->name, name, size);
        out->name[size] = '\0';
        return 0;
    }
    if (!is_right_diriv(format, diriv))
        return -EIO;
    const uint32_t fill = (uint32_t)(PCV_EME_BLOCK_SIZE - size % PCV_EME_BLOCK_SIZE); /* PKCS#7 */
    const uint32_t encrypted_size = (uint32_t)size + fill;
    const size_t full_size = pcv_base64_size(encrypted_size, format->is_raw64);
    if (full_size > PCV_NAME_MAX && !format->hashes_long)
        return -ENAMETOOLONG;
    uint8_t encrypted[ENCRYPTED_MAX];
    memcpy(encrypted, name, size);
    memset(encrypted + size, (int)fill, fill);
    const int rc = pcv_eme_transform(format->eme, 1, diriv, encrypted, encrypted_size, &encrypted_size, 1, encrypted);
    if (rc != PCV_OK)
        return errno_of(rc);
    const bool is_hashed = format->hashes_long && full_size > format->long_name_max;
    char *text = is_hashed ? out->full : out->name;
    pcv_base64_encode(encrypted, encrypted_size, format->is_raw64, text);
    text[full_size] = '\0';
    return is_hashed ? hash_name(format, out->full, full_size, out->name) : 0;
}

/* The size without the padding; 0: it is not what padding looks like, or there is nothing else. */
static size_t unpadded_size(const uint8_t *padded, size_t size)
{
    const uint8_t fill = padded[size - 1];
    if (fill == 0 || fill > PCV_EME_BLOCK_SIZE)
        return 0;
    for (size_t i = size - fill; i < size - 1; i++)
        if (padded[i] != fill)
            return 0;
    return size - fill;
}

int pcv_name_decode(const struct pcv_name_format *format, const uint8_t diriv[PCV_DIRIV_SIZE], const char *full,
                    size_t full_size, char name[PCV_NAME_MAX + 1], size_t *size)
{
    name[0] = '\0';
    *size = 0;
    if (!format->eme) {
        if (!is_legal(full, full_size))
            return -EBADMSG;
        memcpy(name, full, full_size);
        name[full_size] = '\0';
        *size = full_size;
        return 0;
    }
    if (!is_right_diriv(format, diriv))
        return -EIO;
    uint8_t plain[ENCRYPTED_MAX];
    size_t encrypted_size = 0;
    if (!pcv_base64_decode(full, full_size, format->is_raw64, plain, sizeof plain, &encrypted_size) ||
        encrypted_size == 0 || encrypted_size % PCV_EME_BLOCK_SIZE != 0)
        return -EBADMSG;
    const uint32_t sizes[] = {(uint32_t)encrypted_size};
    const int rc = pcv_eme_transform(format->eme, 0, diriv, plain, encrypted_size, sizes, 1, plain);
    if (rc != PCV_OK)
        return errno_of(rc);
    const size_t plain_size = unpadded_size(plain, encrypted_size);
    if (!is_legal((const char *)plain, plain_size))
        return -EBADMSG;
    memcpy(name, plain, plain_size);
    name[plain_size] = '\0';
    *size = plain_size;
    return 0;
}

/* --- what is not somebody's file -------------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Whether it is the prefix and a number. */
static bool is_numbered(const char *cname, const char *prefix)
{
    if (!starts_with(cname, prefix))
        return false;
    const char *number = cname + strlen(prefix);
    const size_t digits = strspn(number, "0123456789");
    return digits > 0 && number[digits] == '\0';
}

int pcv_cname_classify(const struct pcv_name_format *format, bool is_root, const char *cname)
{
    if (!starts_with(cname, OURS))
        return PCV_CNAME_PLAIN;
    if (is_root && strcmp(cname, PCV_CONFIG_NAME) == 0)
        return PCV_CNAME_RESERVED;
    if (!format->eme)
        return PCV_CNAME_PLAIN; /* anybody's file may be called anything else */
    if (format->has_diriv && strcmp(cname, PCV_DIRIV_NAME) == 0)
        return PCV_CNAME_RESERVED;
    if (format->hashes_long && starts_with(cname, PCV_LONG_NAME_PREFIX)) {
        const char *end = cname + strlen(cname); /* the prefix alone is longer than the suffix */
        return strcmp(end - strlen(PCV_LONG_NAME_SUFFIX), PCV_LONG_NAME_SUFFIX) == 0 ? PCV_CNAME_SIDECAR
                                                                                     : PCV_CNAME_LONG;
    }
    if (is_numbered(cname, PCV_DIRIV_RMDIR_PREFIX) || is_numbered(cname, PCV_DIRIV_MKDIR_PREFIX))
        return PCV_CNAME_LEFTOVER;
    return PCV_CNAME_PLAIN;
}

/* --- symlink targets -------------------------------------------------------------------------------------------- */

/* With plaintext names: as it is. */
static int copy_target(const char *from, size_t size, char *to)
{
    memcpy(to, from, size);
    to[size] = '\0';
    return 0;
}

int pcv_target_encode(const struct pcv_name_format *format, pcv_aead *aead, size_t nonce_size, const char *target,
                      size_t size, char stored[PCV_TARGET_MAX + 1])
{
    uint8_t nonce[PCV_NONCE_SIZE_MAX], blob[BLOB_MAX];
    stored[0] = '\0';
    if (size > PCV_TARGET_MAX)
        return -ENAMETOOLONG;
    if (memchr(target, '\0', size))
        return -EINVAL;
    if (!format->eme || size == 0)
        return copy_target(target, size, stored);
    const size_t blob_size = nonce_size + size + PCV_TAG_SIZE;
    const size_t stored_size = pcv_base64_size(blob_size, format->is_raw64);
    if (stored_size > PCV_TARGET_MAX)
        return -ENAMETOOLONG;
    if (nonce_size > sizeof nonce || pcv_random(nonce, nonce_size) != 0)
        return -EIO;
    const int rc = pcv_aead_seal_blob(aead, (const uint8_t *)target, size, nonce, nonce_size, blob, blob_size);
    if (rc != PCV_OK)
        return errno_of(rc);
    pcv_base64_encode(blob, blob_size, format->is_raw64, stored);
    stored[stored_size] = '\0';
    return 0;
}

int pcv_target_decode(const struct pcv_name_format *format, pcv_aead *aead, size_t nonce_size, const char *stored,
                      size_t stored_size, char target[PCV_TARGET_MAX + 1], size_t *size)
{
    uint8_t blob[BLOB_MAX];
    size_t blob_size = 0;
    target[0] = '\0';
    *size = 0;
    if (stored_size > PCV_TARGET_MAX)
        return -EBADMSG;
    if (!format->eme || stored_size == 0) {
        if (memchr(stored, '\0', stored_size))
            return -EBADMSG;
        *size = stored_size;
        return copy_target(stored, stored_size, target);
    }
    if (!pcv_base64_decode(stored, stored_size, format->is_raw64, blob, sizeof blob, &blob_size) ||
        blob_size <= nonce_size + PCV_TAG_SIZE)
        return -EBADMSG;
    const size_t plain_size = blob_size - nonce_size - PCV_TAG_SIZE;
    const int rc = pcv_aead_open_blob(aead, blob, blob_size, (uint8_t *)target, plain_size);
    if (rc == PCV_OK && !memchr(target, '\0', plain_size)) {
        target[plain_size] = '\0';
        *size = plain_size;
        return 0;
    }
    pcv_wipe(target, plain_size);
    return rc == PCV_OK ? -EBADMSG : errno_of(rc);
}
