/* Names and symlink targets at the level of bytes: what each function writes, and how far it reads and writes.
 * That the same names come out as from pcvfs/format is for tests/unit/native/test_names.py.
 */
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "pcv_base64.h"
#include "pcv_names.h"

enum { GUARD = 0xa5, THREADS = 8, LONG_CNAME_RAW = 62, LONG_CNAME_PADDED = 63 };

/* docs/format.md "Worked example" */
static const uint8_t NAMES_KEY[PCV_KEY_SIZE] = {0x59, 0xa1, 0x7d, 0xc0, 0xec, 0xdc, 0x51, 0x61, 0x9b, 0xdf, 0xf8,
                                                0x8f, 0x24, 0xa4, 0x53, 0xf0, 0x64, 0xb1, 0x92, 0xcc, 0x1e, 0x47,
                                                0x5a, 0x46, 0xf3, 0xf6, 0xd1, 0x17, 0x9c, 0xae, 0x31, 0x25};
static const uint8_t DIRIV[PCV_DIRIV_SIZE] = {0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
                                              0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f};
static const uint8_t NO_DIRIV[PCV_DIRIV_SIZE];

static uint64_t seed = 1;

static struct pcv_name_format new_format(void)
{
    struct pcv_name_format format = {
        .has_diriv = true, .is_raw64 = true, .hashes_long = true, .long_name_max = PCV_NAME_MAX};
    CHECK(pcv_eme_new(NAMES_KEY, &format.eme) == PCV_OK);
    return format;
}

static const uint8_t *diriv_of(const struct pcv_name_format *format)
{
    return format->has_diriv ? DIRIV : NO_DIRIV;
}

static int encode(const struct pcv_name_format *format, const void *name, size_t size, struct pcv_cname *out)
{
    char *copy = exact_copy(name, size);
    const int rc = pcv_name_encode(format, diriv_of(format), copy, size, out);
    free(copy);
    CHECK(rc == 0 || (out->name[0] == '\0' && out->full[0] == '\0'));
    return rc;
}

static int decode(const struct pcv_name_format *format, const void *full, size_t full_size, char *name, size_t *size)
{
    char *copy = exact_copy(full, full_size);
    char *out = malloc(PCV_NAME_MAX + 1);
    CHECK(out != NULL);
    const int rc = pcv_name_decode(format, diriv_of(format), copy, full_size, out, size);
    CHECK(rc == 0 ? out[*size] == '\0' && strlen(out) == *size : out[0] == '\0' && *size == 0);
    memcpy(name, out, *size + 1);
    free(out);
    free(copy);
    return rc;
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static void test_names_of_the_worked_example(void)
{
    struct pcv_name_format format = new_format();
    struct pcv_cname cname;
    char name[PCV_NAME_MAX + 1], long_name[200];
    size_t size = 0;
    memset(long_name, 'x', sizeof long_name);
    CHECK(encode(&format, "hello.txt", 9, &cname) == 0);
    CHECK(strcmp(cname.name, "qfP_CrfdB0YqaksxDyDEIg") == 0 && cname.full[0] == '\0');
    CHECK(decode(&format, cname.name, strlen(cname.name), name, &size) == 0 && strcmp(name, "hello.txt") == 0);
    CHECK(encode(&format, long_name, sizeof long_name, &cname) == 0);
    CHECK(strcmp(cname.name, "gocryptfs.longname.18BNL11ISUPLrzS7uLkw76AOgeCaKmOIMXjzS2_vmv8") == 0);
    CHECK(strlen(cname.full) == 278 && strncmp(cname.full, "ODJCvNCME2ZUXVpiN9GaYYF2N_YRYYr", 31) == 0);
    CHECK(decode(&format, cname.full, 278, name, &size) == 0 && size == sizeof long_name);
    CHECK(memcmp(name, long_name, size) == 0);
    pcv_eme_free(format.eme);
}

static void random_name(struct rng *rng, char *name, size_t size)
{
    rng_fill(rng, (uint8_t *)name, size);
    for (size_t i = 0; i < size; i++)
        if (name[i] == '/' || name[i] == '.')
            name[i] = '\n';
}

static void check_every_length(const struct pcv_name_format *format)
{
    struct rng rng = {seed};
    for (size_t size = 1; size <= PCV_NAME_MAX; size++) {
        char name[PCV_NAME_MAX], back[PCV_NAME_MAX + 1];
        struct pcv_cname cname;
        size_t back_size = 0;
        random_name(&rng, name, size);
        const size_t full_size = pcv_base64_size((size / 16 + 1) * 16, format->is_raw64);
        memset(&cname, GUARD, sizeof cname);
        const int rc = encode(format, name, size, &cname);
        if (!format->hashes_long && full_size > PCV_NAME_MAX) {
            CHECK(rc == -ENAMETOOLONG);
            continue;
        }
        CHECK(rc == 0);
        const char *full = cname.name;
        if (format->hashes_long && full_size > format->long_name_max) {
            full = cname.full;
            CHECK(strlen(cname.name) == (format->is_raw64 ? LONG_CNAME_RAW : LONG_CNAME_PADDED));
            CHECK(pcv_cname_classify(format, false, cname.name) == PCV_CNAME_LONG);
        } else {
            CHECK(cname.full[0] == '\0' && pcv_cname_classify(format, false, cname.name) == PCV_CNAME_PLAIN);
        }
        CHECK(strlen(full) == full_size && strchr(full, '/') == NULL);
        CHECK(decode(format, full, full_size, back, &back_size) == 0);
        CHECK(back_size == size && memcmp(back, name, size) == 0);
    }
}

static void test_names_of_every_length(void)
{
    struct pcv_name_format format = new_format();
    static const size_t maxima[] = {1, 62, 64, 86, PCV_NAME_MAX};
    for (size_t i = 0; i < sizeof maxima / sizeof *maxima; i++)
        for (unsigned int flags = 0; flags < 8; flags++) {
            format.long_name_max = maxima[i];
            format.is_raw64 = flags & 1;
            format.has_diriv = flags & 2;
            format.hashes_long = flags & 4;
            check_every_length(&format);
        }
    pcv_eme_free(format.eme);
}

/* With plaintext names or without; encoding says why, decoding says it is none. */
static void check_legal_names(const struct pcv_name_format *format)
{
    static const struct {
        const char *name;
        size_t size;
    } illegal[] = {{"", 0}, {".", 1}, {"..", 2}, {"/", 1}, {"a/b", 3}, {"ab/", 3}, {"\0", 1}, {"a\0b", 3}, {"ab\0", 3}};
    static const char *const legal[] = {"...", ".a", "a.", "..a", " ", "\n", "\xff", "gocryptfs.conf"};
    char name[PCV_NAME_MAX + 2];
    struct pcv_cname cname;
    size_t size = 0;
    for (size_t i = 0; i < sizeof illegal / sizeof *illegal; i++) {
        CHECK(encode(format, illegal[i].name, illegal[i].size, &cname) == -EINVAL);
        CHECK(decode(format, illegal[i].name, illegal[i].size, name, &size) == -EBADMSG);
    }
    for (size_t i = 0; i < sizeof legal / sizeof *legal; i++) {
        CHECK(encode(format, legal[i], strlen(legal[i]), &cname) == 0);
        CHECK(decode(format, cname.name, strlen(cname.name), name, &size) == 0 && strcmp(name, legal[i]) == 0);
    }
    memset(name, '/', sizeof name); /* too long comes before illegal */
    CHECK(encode(format, name, PCV_NAME_MAX + 1, &cname) == -ENAMETOOLONG);
    CHECK(encode(format, name, PCV_NAME_MAX, &cname) == -EINVAL);
}

static void test_illegal_names_are_refused(void)
{
    struct pcv_name_format format = new_format();
    const struct pcv_name_format plaintext = {.hashes_long = true, .long_name_max = PCV_NAME_MAX};
    struct pcv_cname cname;
    char name[PCV_NAME_MAX + 1], longest[PCV_NAME_MAX + 1];
    size_t size = 0;
    check_legal_names(&format);
    check_legal_names(&plaintext);
    memset(longest, 'x', sizeof longest);
    CHECK(encode(&plaintext, longest, PCV_NAME_MAX, &cname) == 0 && strlen(cname.name) == PCV_NAME_MAX);
    CHECK(decode(&plaintext, longest, PCV_NAME_MAX, name, &size) == 0 && size == PCV_NAME_MAX);
    CHECK(decode(&plaintext, longest, PCV_NAME_MAX + 1, name, &size) == -EBADMSG);
    CHECK(pcv_name_encode(&plaintext, NULL, "a", 1, &cname) == 0 && strcmp(cname.name, "a") == 0);
    CHECK(pcv_name_decode(&plaintext, NULL, "a", 1, name, &size) == 0 && strcmp(name, "a") == 0);
    pcv_eme_free(format.eme);
}

static void test_diriv_of_the_other_kind_is_refused(void)
{
    struct pcv_name_format format = new_format();
    struct pcv_cname cname;
    char name[PCV_NAME_MAX + 1];
    size_t size = 0;
    for (int has_diriv = 0; has_diriv < 2; has_diriv++) {
        format.has_diriv = has_diriv;
        const uint8_t *wrong = has_diriv ? NO_DIRIV : DIRIV;
        CHECK(pcv_name_encode(&format, wrong, "a", 1, &cname) == -EIO && cname.name[0] == '\0');
        CHECK(encode(&format, "a", 1, &cname) == 0);
        CHECK(pcv_name_decode(&format, wrong, cname.name, strlen(cname.name), name, &size) == -EIO);
    }
    pcv_eme_free(format.eme);
}

/* Decode a name that decrypts to these bytes. */
static int decode_padded(const struct pcv_name_format *format, const uint8_t *padded, size_t padded_size, char *name,
                         size_t *size)
{
    uint8_t encrypted[PCV_NAME_MAX + 1 + PCV_EME_BLOCK_SIZE];
    char full[PCV_FULL_CNAME_MAX + 32];
    const uint32_t sizes[] = {(uint32_t)padded_size};
    CHECK(pcv_eme_transform(format->eme, 1, diriv_of(format), padded, padded_size, sizes, 1, encrypted) == PCV_OK);
    pcv_base64_encode(encrypted, padded_size, format->is_raw64, full);
    return decode(format, full, pcv_base64_size(padded_size, format->is_raw64), name, size);
}

static void test_wrong_padding_is_refused(void)
{
    struct pcv_name_format format = new_format();
    uint8_t padded[PCV_NAME_MAX + 1 + PCV_EME_BLOCK_SIZE];
    char name[PCV_NAME_MAX + 1];
    size_t size = 0;
    for (size_t padded_size = 16; padded_size <= 256; padded_size += 48)
        for (unsigned int fill = 0; fill < 256; fill++) {
            const bool is_good = fill > 0 && fill <= 16 && fill < padded_size;
            memset(padded, 'x', sizeof padded);
            memset(padded + padded_size - (fill < padded_size ? fill : 1), (int)fill, fill < padded_size ? fill : 1);
            padded[padded_size - 1] = (uint8_t)fill;
            CHECK(decode_padded(&format, padded, padded_size, name, &size) == (is_good ? 0 : -EBADMSG));
            CHECK(size == (is_good ? padded_size - fill : 0));
            for (size_t i = 2; is_good && i <= fill; i++) { /* each byte of it counts */
                padded[padded_size - i] ^= 0x80;
                CHECK(decode_padded(&format, padded, padded_size, name, &size) == -EBADMSG);
                padded[padded_size - i] ^= 0x80;
            }
        }
    memset(padded, 16, sizeof padded);
    CHECK(decode_padded(&format, padded, 16, name, &size) == -EBADMSG); /* nothing but padding */
    CHECK(decode_padded(&format, padded, 32, name, &size) == 0 && size == 16);
    memset(padded, 'x', sizeof padded);
    memset(padded + 256, 16, 16);
    CHECK(decode_padded(&format, padded, 272, name, &size) == -EBADMSG); /* well padded, and too long */
    pcv_eme_free(format.eme);
}

static void test_names_that_decrypt_to_illegal_ones_are_refused(void)
{
    static const char *const illegal[] = {".", "..", "/", "a/b", "a\0b"};
    static const size_t sizes[] = {1, 2, 1, 3, 3};
    struct pcv_name_format format = new_format();
    char name[PCV_NAME_MAX + 1];
    size_t size = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t padded[16];
        memset(padded, (int)(16 - sizes[i]), sizeof padded);
        memcpy(padded, illegal[i], sizes[i]);
        CHECK(decode_padded(&format, padded, sizeof padded, name, &size) == -EBADMSG);
    }
    pcv_eme_free(format.eme);
}

/* Good base64 of any number of bytes; only whole blocks, 1 to 16 of them, are looked at. */
static void test_names_of_broken_blocks_are_refused(void)
{
    struct pcv_name_format format = new_format();
    struct rng rng = {seed};
    uint8_t bytes[300];
    char full[2 * sizeof bytes], name[PCV_NAME_MAX + 1];
    size_t size = 0;
    for (size_t i = 0; i <= sizeof bytes; i++) {
        rng_fill(&rng, bytes, i);
        pcv_base64_encode(bytes, i, format.is_raw64, full);
        const int rc = decode(&format, full, pcv_base64_size(i, format.is_raw64), name, &size);
        CHECK(rc == -EBADMSG || (rc == 0 && i > 0 && i <= 256 && i % 16 == 0)); /* chance may pad well */
    }
    CHECK(decode(&format, "gocryptfs.diriv", 15, name, &size) == -EBADMSG);
    pcv_eme_free(format.eme);
}

static void test_closed_ciphers_are_an_error_of_ours(void)
{
    struct pcv_name_format format = new_format();
    pcv_aead *aead = new_aead(PCV_AES_GCM);
    struct pcv_cname cname;
    char name[PCV_NAME_MAX + 1], stored[PCV_TARGET_MAX + 1], target[PCV_TARGET_MAX + 1];
    size_t size = 0;
    CHECK(pcv_target_encode(&format, aead, PCV_AES_GCM_NONCE_SIZE, "a", 1, stored) == 0);
    pcv_eme_close(format.eme);
    pcv_aead_close(aead);
    CHECK(encode(&format, "a", 1, &cname) == -EIO);
    CHECK(decode(&format, "qfP_CrfdB0YqaksxDyDEIg", 22, name, &size) == -EIO);
    CHECK(pcv_target_encode(&format, aead, PCV_AES_GCM_NONCE_SIZE, "a", 1, target) == -EIO && target[0] == '\0');
    CHECK(pcv_target_decode(&format, aead, PCV_AES_GCM_NONCE_SIZE, stored, strlen(stored), target, &size) == -EIO);
    pcv_eme_free(format.eme);
    pcv_aead_free(aead);
}

/* --- what is not somebody's file -------------------------------------------------------------------------------- */

static void test_classes_of_names(void)
{
    /* Expected: as it is, in the root, without IVs, without hashing, with plaintext names, and there in the root. */
    enum { P = PCV_CNAME_PLAIN, L = PCV_CNAME_LONG, S = PCV_CNAME_SIDECAR, R = PCV_CNAME_RESERVED };
    enum { T = PCV_CNAME_LEFTOVER };
    static const struct {
        const char *cname;
        int classes[6];
    } table[] = {
        {"", {P, P, P, P, P, P}},
        {"qfP_CrfdB0YqaksxDyDEIg", {P, P, P, P, P, P}},
        {"gocryptfs.", {P, P, P, P, P, P}},
        {"gocryptfs.conf", {P, R, P, P, P, R}},
        {"gocryptfs.conf.bak", {P, P, P, P, P, P}},
        {"gocryptfs.con", {P, P, P, P, P, P}},
        {"Gocryptfs.conf", {P, P, P, P, P, P}},
        {"gocryptfs.diriv", {R, R, P, R, P, P}},
        {"gocryptfs.diri", {P, P, P, P, P, P}},
        {"gocryptfs.diriv.name", {P, P, P, P, P, P}},
        {"gocryptfs.longname", {P, P, P, P, P, P}},
        {"gocryptfs.longname.", {L, L, L, P, P, P}},
        {"gocryptfs.longname.x", {L, L, L, P, P, P}},
        {"gocryptfs.longname.x.name.", {L, L, L, P, P, P}},
        {"gocryptfs.longname.name", {S, S, S, P, P, P}},
        {"gocryptfs.longname..name", {S, S, S, P, P, P}},
        {"gocryptfs.longname.x.name", {S, S, S, P, P, P}},
        {"gocryptfs.diriv.rmdir.", {P, P, P, P, P, P}},
        {"gocryptfs.diriv.rmdir.0", {T, T, T, T, P, P}},
        {"gocryptfs.diriv.rmdir.18446744073709551615", {T, T, T, T, P, P}},
        {"gocryptfs.diriv.mkdir.7", {T, T, T, T, P, P}},
        {"gocryptfs.diriv.mkdir.7x", {P, P, P, P, P, P}},
        {"gocryptfs.diriv.mkdir.x7", {P, P, P, P, P, P}},
        {"gocryptfs.diriv.mkdir.-7", {P, P, P, P, P, P}},
        {"gocryptfs.diriv.mkdir.7\n", {P, P, P, P, P, P}},
        {"gocryptfs.diriv.other.7", {P, P, P, P, P, P}},
        {"x.gocryptfs.diriv.rmdir.0", {P, P, P, P, P, P}},
    };
    const struct pcv_name_format format = new_format();
    struct pcv_name_format without_diriv = format, without_hashes = format, plaintext = {.hashes_long = true};
    without_diriv.has_diriv = false;
    without_hashes.hashes_long = false;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *cname = exact_copy(table[i].cname, strlen(table[i].cname) + 1);
        CHECK(pcv_cname_classify(&format, false, cname) == table[i].classes[0]);
        CHECK(pcv_cname_classify(&format, true, cname) == table[i].classes[1]);
        CHECK(pcv_cname_classify(&without_diriv, false, cname) == table[i].classes[2]);
        CHECK(pcv_cname_classify(&without_hashes, false, cname) == table[i].classes[3]);
        CHECK(pcv_cname_classify(&plaintext, false, cname) == table[i].classes[4]);
        CHECK(pcv_cname_classify(&plaintext, true, cname) == table[i].classes[5]);
        free(cname);
    }
    pcv_eme_free(format.eme);
}

/* --- symlink targets -------------------------------------------------------------------------------------------- */

struct targets {
    struct pcv_name_format format;
    pcv_aead *aead;
    size_t nonce_size;
};

static int encode_target(const struct targets *t, const void *target, size_t size, char *stored)
{
    char *copy = exact_copy(target, size), *out = malloc(PCV_TARGET_MAX + 1);
    CHECK(out != NULL);
    const int rc = pcv_target_encode(&t->format, t->aead, t->nonce_size, copy, size, out);
    CHECK(rc == 0 || out[0] == '\0');
    strcpy(stored, out);
    free(out);
    free(copy);
    return rc;
}

static int decode_target(const struct targets *t, const void *stored, size_t stored_size, char *target, size_t *size)
{
    char *copy = exact_copy(stored, stored_size), *out = malloc(PCV_TARGET_MAX + 1);
    CHECK(out != NULL);
    const int rc = pcv_target_decode(&t->format, t->aead, t->nonce_size, copy, stored_size, out, size);
    CHECK(rc == 0 ? out[*size] == '\0' && strlen(out) == *size : out[0] == '\0' && *size == 0);
    memcpy(target, out, *size + 1);
    free(out);
    free(copy);
    return rc;
}

/* max: the longest target that fits. */
static void check_targets(const struct targets *t, size_t max)
{
    const size_t sizes[] = {0, 1, 2, 3, 16, 100, max - 1, max};
    char target[PCV_TARGET_MAX + 1], stored[PCV_TARGET_MAX + 1], other[PCV_TARGET_MAX + 1], back[PCV_TARGET_MAX + 1];
    struct rng rng = {seed};
    size_t size = 0;
    rng_fill(&rng, (uint8_t *)target, sizeof target);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK(encode_target(t, target, sizes[i], stored) == 0);
        CHECK(strlen(stored) == (sizes[i] == 0 || !t->format.eme
                                     ? sizes[i]
                                     : pcv_base64_size(sizes[i] + t->nonce_size + PCV_TAG_SIZE, t->format.is_raw64)));
        CHECK(decode_target(t, stored, strlen(stored), back, &size) == 0);
        CHECK(size == sizes[i] && memcmp(back, target, size) == 0);
        CHECK(encode_target(t, target, sizes[i], other) == 0);
        CHECK((strcmp(stored, other) != 0) == (t->format.eme && sizes[i] > 0)); /* nonces are fresh */
    }
    CHECK(encode_target(t, target, max + 1, stored) == -ENAMETOOLONG);
    CHECK(encode_target(t, target, sizeof target, stored) == -ENAMETOOLONG);
    CHECK(encode_target(t, "a\0b", 3, stored) == -EINVAL);
    CHECK(decode_target(t, target, sizeof target, back, &size) == -EBADMSG);
}

static void check_damaged_targets(const struct targets *t)
{
    char stored[PCV_TARGET_MAX + 1], back[PCV_TARGET_MAX + 1];
    uint8_t blob[PCV_NONCE_SIZE_MAX + PCV_TAG_SIZE + 3], nonce[PCV_NONCE_SIZE_MAX] = {1};
    const size_t blob_size = t->nonce_size + PCV_TAG_SIZE + 3;
    size_t size = 0;
    CHECK(encode_target(t, "../target", 9, stored) == 0);
    const size_t stored_size = strlen(stored);
    for (size_t i = 0; i < stored_size; i++) {
        const char good = stored[i];
        stored[i] = good == 'A' ? 'Q' : 'A'; /* a digit without stray bits anywhere */
        CHECK(decode_target(t, stored, stored_size, back, &size) == -EBADMSG);
        stored[i] = '\0';
        CHECK(decode_target(t, stored, stored_size, back, &size) == -EBADMSG);
        stored[i] = good;
        CHECK(decode_target(t, stored, i, back, &size) == (i == 0 ? 0 : -EBADMSG));
    }
    CHECK(pcv_aead_seal_blob(t->aead, (const uint8_t *)"a\0b", 3, nonce, t->nonce_size, blob, blob_size) == PCV_OK);
    pcv_base64_encode(blob, blob_size, t->format.is_raw64, stored);
    CHECK(decode_target(t, stored, pcv_base64_size(blob_size, t->format.is_raw64), back, &size) == -EBADMSG);
}

static void test_targets(int kind)
{
    struct targets t = {.format = new_format(), .aead = new_aead(kind)};
    t.nonce_size = overhead_of(kind) - PCV_TAG_SIZE;
    for (int is_raw64 = 0; is_raw64 < 2; is_raw64++) { /* docs/format.md "Symlinks" */
        t.format.is_raw64 = is_raw64;
        const size_t max = kind == PCV_XCHACHA20_POLY1305 ? 3031 : 3039;
        check_targets(&t, is_raw64 ? max : max - 2);
        check_damaged_targets(&t);
    }
    pcv_eme_free(t.format.eme);
    t.format.eme = NULL;
    check_targets(&t, PCV_TARGET_MAX);
    size_t size = 0;
    char target[PCV_TARGET_MAX + 1];
    CHECK(decode_target(&t, "a\0b", 3, target, &size) == -EBADMSG);
    pcv_aead_free(t.aead);
}

static void test_failed_target_leaves_nothing(void)
{
    struct targets t = {.format = new_format(), .aead = new_aead(PCV_AES_GCM), .nonce_size = PCV_AES_GCM_NONCE_SIZE};
    char stored[PCV_TARGET_MAX + 1], target[PCV_TARGET_MAX + 1];
    uint8_t blob[PCV_AES_GCM_NONCE_SIZE + PCV_TAG_SIZE + 6];
    const uint8_t nonce[PCV_AES_GCM_NONCE_SIZE] = {1};
    size_t size = 0;
    CHECK(pcv_aead_seal_blob(t.aead, (const uint8_t *)"secret", 6, nonce, sizeof nonce, blob, sizeof blob) == PCV_OK);
    blob[sizeof blob - 1] ^= 1;
    pcv_base64_encode(blob, sizeof blob, true, stored);
    memset(target, GUARD, sizeof target);
    CHECK(pcv_target_decode(&t.format, t.aead, t.nonce_size, stored, pcv_base64_size(sizeof blob, true), target,
                            &size) == -EBADMSG);
    for (size_t i = 0; i < 6; i++)
        CHECK(target[i] == '\0');
    pcv_eme_free(t.format.eme);
    pcv_aead_free(t.aead);
}

/* --- libcrypto's error queue, and threads ----------------------------------------------------------------------- */

static void test_error_queue_is_left_as_found(void)
{
    struct pcv_name_format format = new_format();
    struct pcv_cname cname;
    char name[PCV_NAME_MAX];
    memset(name, 'x', sizeof name);
    ERR_raise(ERR_LIB_USER, 1); /* somebody else's error on this thread */
    CHECK(encode(&format, name, sizeof name, &cname) == 0 && cname.full[0] != '\0');
    CHECK(ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_USER);
    CHECK(ERR_pop_to_mark() == 0); /* no mark of ours, and so the error goes */
    CHECK(ERR_peek_error() == 0);
    pcv_eme_free(format.eme);
}

static void *name_worker(void *argument)
{
    const struct targets *t = argument;
    char stored[PCV_TARGET_MAX + 1], target[PCV_TARGET_MAX + 1];
    size_t size = 0;
    check_every_length(&t->format);
    for (int i = 0; i < 50; i++) {
        CHECK(encode_target(t, "../target", 9, stored) == 0);
        CHECK(decode_target(t, stored, strlen(stored), target, &size) == 0 && strcmp(target, "../target") == 0);
    }
    return NULL;
}

static void test_threads_share_a_format(void)
{
    struct targets t = {.format = new_format(), .aead = new_aead(PCV_AES_GCM), .nonce_size = PCV_AES_GCM_NONCE_SIZE};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, name_worker, &t) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    pcv_eme_free(t.format.eme);
    pcv_aead_free(t.aead);
}

int main(int argc, char **argv)
{
    unsigned int rounds = 1;
    check_arguments(argc, argv, &seed, &rounds);
    test_names_of_the_worked_example();
    test_illegal_names_are_refused();
    test_diriv_of_the_other_kind_is_refused();
    test_wrong_padding_is_refused();
    test_names_that_decrypt_to_illegal_ones_are_refused();
    test_closed_ciphers_are_an_error_of_ours();
    test_classes_of_names();
    test_failed_target_leaves_nothing();
    test_error_queue_is_left_as_found();
    test_threads_share_a_format();
    for (; rounds > 0; rounds--, seed++) {
        test_names_of_every_length();
        test_names_of_broken_blocks_are_refused();
        test_targets(PCV_AES_GCM);
        test_targets(PCV_XCHACHA20_POLY1305);
        test_targets(PCV_AES_SIV);
    }
    CHECK(ERR_peek_error() == 0);
    return 0;
}
