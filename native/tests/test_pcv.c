/* What the Python tests can't see: buffers after an error, guard bytes, libcrypto's error queue, races, leaks.
 *
 * tools/check compiles it together with the library, once with the address, leak and undefined-behaviour sanitizers
 * and once with the thread sanitizer. Exits with 0, or says on stderr which check failed.
 */
#include <openssl/err.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "pcv_aead.h"
#include "pcv_aead_ops.h"
#include "pcv_eme.h"
#include "pcv_kdf.h"
#include "pcv_secret.h"

enum { BLOCKS = 3, PLAIN_SIZE = (BLOCKS - 1) * PCV_BLOCK_SIZE + 100, THREADS = 20, ROUNDS = 30, GUARD = 0xa5 };
enum { CIPHER_ROOM = BLOCKS * (PCV_BLOCK_SIZE + PCV_NONCE_SIZE_MAX + PCV_TAG_SIZE) };

static const int KINDS[] = {PCV_AES_GCM, PCV_AES_GCM_LIBCRYPTO, PCV_XCHACHA20_POLY1305, PCV_AES_SIV};
static const uint8_t FILE_ID[PCV_FILE_ID_SIZE] = {1, 2, 3};

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 + (i >> 8) * 17 + 7);
}

static size_t count_not(const uint8_t *bytes, size_t size, uint8_t value)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += bytes[i] != value;
    return count;
}

static size_t seal(pcv_aead *aead, const uint8_t *plain, uint8_t *cipher)
{
    size_t cipher_size = 0;
    CHECK(pcv_aead_seal_blocks(aead, plain, PLAIN_SIZE, 7, FILE_ID, NULL, 0, cipher, CIPHER_ROOM, &cipher_size) ==
          PCV_OK);
    return cipher_size;
}

static void test_open_leaves_nothing_after_an_error(int kind)
{
    pcv_aead *aead = new_aead(kind);
    uint8_t plain[PLAIN_SIZE], cipher[CIPHER_ROOM], out[PLAIN_SIZE + 1];
    size_t written = 99;
    uint64_t bad_block_no = 0;
    fill(plain, sizeof plain);
    const size_t cipher_size = seal(aead, plain, cipher);

    memset(out, GUARD, sizeof out);
    CHECK(pcv_aead_open_blocks(aead, cipher, cipher_size, 7, FILE_ID, out, PLAIN_SIZE, &written, &bad_block_no) == 0);
    CHECK(written == PLAIN_SIZE && memcmp(out, plain, PLAIN_SIZE) == 0 && out[PLAIN_SIZE] == GUARD);

    cipher[cipher_size - 1] ^= 1; /* the last block: the first ones have been opened by then */
    memset(out, GUARD, sizeof out);
    CHECK(pcv_aead_open_blocks(aead, cipher, cipher_size, 7, FILE_ID, out, PLAIN_SIZE, &written, &bad_block_no) ==
          PCV_ERR_AUTH);
    CHECK(written == 0 && bad_block_no == 7 + BLOCKS - 1);
    CHECK(count_not(out, PLAIN_SIZE, 0) == 0 && out[PLAIN_SIZE] == GUARD);

    memset(out, GUARD, sizeof out);
    CHECK(pcv_aead_open_blocks(aead, cipher, cipher_size, 7, FILE_ID, out, PLAIN_SIZE - 1, &written, &bad_block_no) ==
          PCV_ERR_ARG);
    CHECK(count_not(out, sizeof out, GUARD) == 0);
    pcv_aead_free(aead);
}

static void test_seal_stays_in_its_buffer(int kind)
{
    pcv_aead *aead = new_aead(kind);
    uint8_t plain[PLAIN_SIZE], cipher[CIPHER_ROOM + 1], blob[PCV_NONCE_SIZE_MAX + PCV_TAG_SIZE + 5], out[5];
    const uint8_t nonce[PCV_NONCE_SIZE_MAX] = {1};
    const size_t nonce_size = kind == PCV_XCHACHA20_POLY1305 ? PCV_XCHACHA_NONCE_SIZE : PCV_AES_GCM_NONCE_SIZE;
    const size_t blob_size = nonce_size + PCV_TAG_SIZE + sizeof out;
    size_t cipher_size = 0;
    fill(plain, sizeof plain);
    memset(cipher, GUARD, sizeof cipher);
    const size_t expected = PLAIN_SIZE + BLOCKS * (nonce_size + PCV_TAG_SIZE);
    CHECK(pcv_aead_seal_blocks(aead, plain, PLAIN_SIZE, 0, FILE_ID, NULL, 0, cipher, expected - 1, &cipher_size) ==
          PCV_ERR_ARG);
    CHECK(count_not(cipher, sizeof cipher, GUARD) == 0);
    CHECK(pcv_aead_seal_blocks(aead, plain, PLAIN_SIZE, 0, FILE_ID, NULL, 0, cipher, expected, &cipher_size) == PCV_OK);
    CHECK(cipher_size == expected && count_not(cipher + expected, sizeof cipher - expected, GUARD) == 0);

    CHECK(pcv_aead_seal_blob(aead, plain, sizeof out, nonce, nonce_size, blob, blob_size) == PCV_OK);
    CHECK(pcv_aead_open_blob(aead, blob, blob_size, out, sizeof out) == PCV_OK);
    CHECK(memcmp(out, plain, sizeof out) == 0);
    blob[blob_size - 1] ^= 1;
    CHECK(pcv_aead_open_blob(aead, blob, blob_size, out, sizeof out) == PCV_ERR_AUTH);
    CHECK(count_not(out, sizeof out, 0) == 0);
    pcv_aead_free(aead);
}

static void test_error_queue_is_left_as_found(int kind)
{
    pcv_aead *aead = new_aead(kind);
    uint8_t cipher[100] = {1}, out[100];
    size_t written;
    uint64_t bad_block_no;
    ERR_clear_error();
    CHECK(pcv_aead_open_blocks(aead, cipher, sizeof cipher, 0, FILE_ID, out, sizeof out, &written, &bad_block_no) ==
          PCV_ERR_AUTH);
    CHECK(pcv_scrypt(out, 1, out, 1, 1 << 16, 1, 1, out, sizeof out) == PCV_ERR_ARG); /* libcrypto itself refuses */
    CHECK(ERR_peek_error() == 0);
    ERR_raise(ERR_LIB_USER, 1); /* somebody else's error on this thread */
    CHECK(pcv_aead_open_blocks(aead, cipher, sizeof cipher, 0, FILE_ID, out, sizeof out, &written, &bad_block_no) ==
          PCV_ERR_AUTH);
    CHECK(ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_USER);
    ERR_clear_error();
    pcv_aead_free(aead);
}

static void test_wrong_arguments_are_refused(void)
{
    const uint8_t key[PCV_SIV_KEY_SIZE] = {1};
    uint8_t out[64];
    pcv_aead *aead = NULL;
    pcv_eme *eme = NULL;
    const uint32_t sizes[] = {16, 16};
    CHECK(pcv_aead_new(0, key, PCV_KEY_SIZE, &aead) == PCV_ERR_ARG && aead == NULL);
    CHECK(pcv_aead_new(PCV_AES_SIV, key, PCV_KEY_SIZE, &aead) == PCV_ERR_ARG && aead == NULL);
    CHECK(pcv_aead_new(PCV_AES_GCM, key, PCV_SIV_KEY_SIZE, &aead) == PCV_ERR_ARG && aead == NULL);
    CHECK(pcv_eme_new(key, &eme) == PCV_OK);
    CHECK(pcv_eme_transform(eme, 1, FILE_ID, key, 48, sizes, 2, out) == PCV_ERR_ARG);
    CHECK(pcv_eme_transform(eme, 1, FILE_ID, key, 16, sizes, 2, out) == PCV_ERR_ARG);
    CHECK(pcv_secret_alloc(0) == NULL && pcv_secret_alloc(SIZE_MAX) == NULL);
    pcv_eme_free(eme);
    pcv_eme_free(NULL);
    pcv_aead_free(NULL);
    pcv_secret_free(NULL, 16);
}

/* draft-irtf-cfrg-xchacha-03 section A.3.1; below the block layer, since its additional data has another size. */
static void test_xchacha_draft_vector(void)
{
    static const uint8_t expected_tag[PCV_TAG_SIZE] = {0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79,
                                                       0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49};
    static const uint8_t expected_start[] = {0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b};
    static const uint8_t aad[] = {0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
    static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
                               "future, sunscreen would be it.";
    uint8_t key[PCV_KEY_SIZE], nonce[PCV_XCHACHA_NONCE_SIZE], cipher[sizeof text - 1], tag[PCV_TAG_SIZE];
    uint8_t plain[sizeof text - 1];
    void *ctx = NULL;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(0x80 + i);
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)(0x40 + i);
    const struct pcv_message msg = {.nonce = nonce, .aad = aad, .aad_size = sizeof aad, .size = sizeof text - 1};
    CHECK(pcv_xchacha_ops.pool.make(key, &ctx) == PCV_OK);
    CHECK(pcv_xchacha_ops.seal(ctx, &msg, (const uint8_t *)text, cipher, tag) == PCV_OK);
    CHECK(memcmp(tag, expected_tag, sizeof tag) == 0);
    CHECK(memcmp(cipher, expected_start, sizeof expected_start) == 0);
    CHECK(pcv_xchacha_ops.open(ctx, &msg, cipher, tag, plain) == PCV_OK && memcmp(plain, text, sizeof plain) == 0);
    pcv_xchacha_ops.pool.destroy(ctx);
}

static void test_eme_works_in_place(void)
{
    uint8_t data[96], out[96];
    const uint32_t sizes[] = {16, 80};
    pcv_eme *eme = NULL;
    const uint8_t key[PCV_KEY_SIZE] = {1};
    fill(data, sizeof data);
    CHECK(pcv_eme_new(key, &eme) == PCV_OK);
    CHECK(pcv_eme_transform(eme, 1, FILE_ID, data, sizeof data, sizes, 2, out) == PCV_OK);
    CHECK(pcv_eme_transform(eme, 1, FILE_ID, data, sizeof data, sizes, 2, data) == PCV_OK);
    CHECK(memcmp(data, out, sizeof data) == 0);
    pcv_eme_close(eme);
    CHECK(pcv_eme_transform(eme, 1, FILE_ID, data, sizeof data, sizes, 2, data) == PCV_ERR_CLOSED);
    pcv_eme_free(eme);
}

struct shared {
    pcv_aead *aead;
    atomic_int working; /* threads that have done a round */
    int is_to_be_closed;
};

static void *work(void *argument)
{
    struct shared *shared = argument;
    uint8_t *buffer = malloc(PLAIN_SIZE * 2 + CIPHER_ROOM);
    CHECK(buffer != NULL);
    uint8_t *plain = buffer, *out = buffer + PLAIN_SIZE, *cipher = buffer + 2 * PLAIN_SIZE;
    size_t size = 0, written = 0;
    uint64_t bad_block_no;
    fill(plain, PLAIN_SIZE);
    for (int round = 0; round < ROUNDS || shared->is_to_be_closed; round++) {
        int rc = pcv_aead_seal_blocks(shared->aead, plain, PLAIN_SIZE, 7, FILE_ID, NULL, 0, cipher, CIPHER_ROOM, &size);
        if (rc == PCV_OK)
            rc = pcv_aead_open_blocks(shared->aead, cipher, size, 7, FILE_ID, out, PLAIN_SIZE, &written, &bad_block_no);
        if (rc == PCV_ERR_CLOSED) {
            CHECK(shared->is_to_be_closed);
            break;
        }
        CHECK(rc == PCV_OK && written == PLAIN_SIZE && memcmp(out, plain, PLAIN_SIZE) == 0);
        if (round == 0)
            atomic_fetch_add(&shared->working, 1);
    }
    free(buffer);
    return NULL;
}

static void test_threads_share_one_aead(int kind, int is_to_be_closed)
{
    struct shared shared = {.aead = new_aead(kind), .is_to_be_closed = is_to_be_closed};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, &shared) == 0);
    if (is_to_be_closed) {
        while (atomic_load(&shared.working) < THREADS)
            (void)sched_yield();
        pcv_aead_close(shared.aead);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    pcv_aead_free(shared.aead);
}

int main(void)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        test_open_leaves_nothing_after_an_error(KINDS[i]);
        test_seal_stays_in_its_buffer(KINDS[i]);
        test_error_queue_is_left_as_found(KINDS[i]);
        test_threads_share_one_aead(KINDS[i], 0);
        test_threads_share_one_aead(KINDS[i], 1);
    }
    test_wrong_arguments_are_refused();
    test_xchacha_draft_vector();
    test_eme_works_in_place();
    return 0;
}
