/* AES-256-GCM by Intel's IPsec library (libIPSec_MB), where it is installed and the CPU has AVX512 and VAES: three times
 * as fast as libcrypto before 3.1, which has no code for these.
 *
 * Loaded at run time, never needed. The functions used take pointers to memory of ours and no structure whose layout
 * changes; they have the same form in all releases that call themselves .so.1, but not all are in its documentation. So
 * before it is used the library must give the bytes that libcrypto gives.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "pcv_aead_ops.h"
#include "pcv_secret.h"

#define LIBRARY "libIPSec_MB.so.1"

/* Room for the library's gcm_key_data (1008 bytes in 1.3) and gcm_context_data (88), with some to spare. Both are wiped
 * with the context. */
struct ipsec_ctx {
    _Alignas(64) uint8_t key[3072];
    _Alignas(64) uint8_t message[512];
};

static struct {
    void (*expand_key)(const void *key, void *key_data);
    void (*init)(const void *key_data, void *ctx, const uint8_t *nonce, uint64_t nonce_size, const uint8_t *aad,
                 uint64_t aad_size);
    void (*encrypt)(const void *key_data, void *ctx, uint8_t *out, const uint8_t *in, uint64_t size);
    void (*end_encrypt)(const void *key_data, void *ctx, uint8_t *tag, uint64_t tag_size);
    void (*decrypt)(const void *key_data, void *ctx, uint8_t *out, const uint8_t *in, uint64_t size);
    void (*end_decrypt)(const void *key_data, void *ctx, uint8_t *tag, uint64_t tag_size);
} lib; /* fixed once is_usable is known */

static bool is_usable;

static void ipsec_destroy(void *ctx)
{
    pcv_secret_free(ctx, sizeof(struct ipsec_ctx));
}

static int ipsec_make(const uint8_t *key, void **ctx)
{
    struct ipsec_ctx *ipsec = pcv_secret_alloc(sizeof *ipsec);
    if (ipsec == NULL)
        return PCV_ERR_NOMEM;
    lib.expand_key(key, ipsec->key);
    *ctx = ipsec;
    return PCV_OK;
}

static int ipsec_seal(void *ctx, const struct pcv_message *msg, const uint8_t *plain, uint8_t *cipher, uint8_t *tag)
{
    struct ipsec_ctx *ipsec = ctx;
    lib.init(ipsec->key, ipsec->message, msg->nonce, PCV_AES_GCM_NONCE_SIZE, msg->aad, msg->aad_size);
    lib.encrypt(ipsec->key, ipsec->message, cipher, plain, msg->size);
    lib.end_encrypt(ipsec->key, ipsec->message, tag, PCV_TAG_SIZE);
    return PCV_OK;
}

static int ipsec_open(void *ctx, const struct pcv_message *msg, const uint8_t *cipher, const uint8_t *tag,
                      uint8_t *plain)
{
    struct ipsec_ctx *ipsec = ctx;
    uint8_t expected[PCV_TAG_SIZE];
    lib.init(ipsec->key, ipsec->message, msg->nonce, PCV_AES_GCM_NONCE_SIZE, msg->aad, msg->aad_size);
    lib.decrypt(ipsec->key, ipsec->message, plain, cipher, msg->size);
    lib.end_decrypt(ipsec->key, ipsec->message, expected, sizeof expected);
    return pcv_equal(expected, tag, sizeof expected) ? PCV_OK : PCV_ERR_AUTH;
}

static const struct pcv_aead_ops ipsec_ops = {
    .pool = {.key_size = PCV_KEY_SIZE, .make = ipsec_make, .destroy = ipsec_destroy},
    .nonce_size = PCV_AES_GCM_NONCE_SIZE,
    .is_tag_first = false,
    .seal = ipsec_seal,
    .open = ipsec_open,
};

/* --- finding it --------------------------------------------------------------------------------------------------- */

static bool has_instructions(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vaes") &&
           __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("gfni") && __builtin_cpu_supports("bmi2");
#else
    return false;
#endif
}

static bool find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found); /* the way from an object pointer to a function pointer */
    return found != NULL;
}

/* One message by each, sizes that end inside and at the end of the vectors; both must read what the other wrote. */
static bool agrees(const uint8_t *plain, size_t size, const uint8_t key[PCV_KEY_SIZE])
{
    enum { MAX = 4096 };
    static const uint8_t nonce[PCV_AES_GCM_NONCE_SIZE] = {0xf1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const uint8_t aad[PCV_BLOCK_AAD_SIZE] = {1, 2, 3};
    static uint8_t ours[MAX], theirs[MAX], opened[MAX];
    const struct pcv_message msg = {.nonce = nonce, .aad = aad, .aad_size = sizeof aad, .size = size};
    uint8_t our_tag[PCV_TAG_SIZE], their_tag[PCV_TAG_SIZE];
    void *reference = NULL, *ctx = NULL;
    bool is_same = false;
    if (pcv_aes_gcm_ops.pool.make(key, &reference) == PCV_OK && ipsec_make(key, &ctx) == PCV_OK) {
        is_same = pcv_aes_gcm_ops.seal(reference, &msg, plain, theirs, their_tag) == PCV_OK &&
                  ipsec_seal(ctx, &msg, plain, ours, our_tag) == PCV_OK && memcmp(ours, theirs, size) == 0 &&
                  memcmp(our_tag, their_tag, sizeof our_tag) == 0 &&
                  ipsec_open(ctx, &msg, theirs, their_tag, opened) == PCV_OK && memcmp(opened, plain, size) == 0;
        their_tag[0] ^= 1;
        is_same = is_same && ipsec_open(ctx, &msg, theirs, their_tag, opened) == PCV_ERR_AUTH;
    }
    pcv_aes_gcm_ops.pool.destroy(reference);
    ipsec_destroy(ctx);
    return is_same;
}

static bool passes(void)
{
    static const size_t sizes[] = {1, 15, 16, 17, 255, 256, 1000, 4095, 4096};
    static uint8_t plain[4096];
    uint8_t key[PCV_KEY_SIZE];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i * 31 + (i >> 8));
    memcpy(key, plain, sizeof key);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (!agrees(plain, sizes[i], key))
            return false;
    }
    return true;
}

static void load(void)
{
    if (!has_instructions())
        return;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return;
    is_usable = find(library, "aes_gcm_pre_256_vaes_avx512", &lib.expand_key) &&
                find(library, "aes_gcm_init_var_iv_256_vaes_avx512", &lib.init) &&
                find(library, "aes_gcm_enc_256_update_vaes_avx512", &lib.encrypt) &&
                find(library, "aes_gcm_enc_256_finalize_vaes_avx512", &lib.end_encrypt) &&
                find(library, "aes_gcm_dec_256_update_vaes_avx512", &lib.decrypt) &&
                find(library, "aes_gcm_dec_256_finalize_vaes_avx512", &lib.end_decrypt) && passes();
    if (!is_usable)
        dlclose(library);
}

const struct pcv_aead_ops *pcv_aes_gcm_ipsec_ops(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, load);
    return is_usable ? &ipsec_ops : NULL;
}
