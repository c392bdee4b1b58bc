/* EME over AES-256 ECB of libcrypto.
 *
 * A message of m blocks takes three ECB passes: over its m blocks, over one block that mixes them, over the m blocks
 * again. One ECB call per pass serves a whole batch of messages, since a call costs as much as several blocks.
 * Source: Halevi and Rogaway, "A Parallelizable Enciphering Mode" (2003), sections 3 and 4; docs/format.md "Names".
 */
#include "pcv_eme.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <string.h>

#include "pcv_evp.h"
#include "pcv_pool.h"
#include "pcv_secret.h"

enum {
    BLOCK = PCV_EME_BLOCK_SIZE,
    BATCH = 64, /* messages per ECB call; bounds the stack: two blocks each */
};

_Static_assert(BATCH * PCV_EME_MAX_BLOCKS * BLOCK <= INT_MAX, "a batch fits the int of EVP");

struct pcv_eme {
    struct pcv_pool pool;                    /* holds the key */
    uint8_t masks[PCV_EME_MAX_BLOCKS * BLOCK]; /* L_0, L_1, ...; fixed after new, wiped with the object */
};

struct eme_ctx {
    EVP_CIPHER_CTX *encrypt;
    EVP_CIPHER_CTX *decrypt;
};

static void ctx_destroy(void *ctx)
{
    struct eme_ctx *eme = ctx;
    if (eme == NULL)
        return;
    EVP_CIPHER_CTX_free(eme->encrypt);
    EVP_CIPHER_CTX_free(eme->decrypt);
    OPENSSL_free(eme);
}

static int ctx_make(const uint8_t *key, void **ctx)
{
    struct eme_ctx *eme = OPENSSL_zalloc(sizeof *eme);
    if (eme == NULL)
        return PCV_ERR_NOMEM;
    int rc = pcv_evp_new("AES-256-ECB", true, key, 0, &eme->encrypt);
    if (rc == PCV_OK)
        rc = pcv_evp_new("AES-256-ECB", false, key, 0, &eme->decrypt);
    if (rc != PCV_OK) {
        ctx_destroy(eme);
        return rc;
    }
    *ctx = eme;
    return PCV_OK;
}

static const struct pcv_pool_ops EME_POOL_OPS = {.key_size = PCV_KEY_SIZE, .make = ctx_make, .destroy = ctx_destroy};

/* F on each block of size bytes; in and out may be the same. */
static int ecb(EVP_CIPHER_CTX *evp, const uint8_t *in, size_t size, uint8_t *out)
{
    int written = 0;
    if (!EVP_CipherUpdate(evp, out, &written, in, (int)size) || written != (int)size)
        return PCV_ERR_CRYPTO;
    return PCV_OK;
}

static void xor_bytes(uint8_t *bytes, const uint8_t *other, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] ^= other[i];
}

/* out = 2 * in in GF(2^128), the first byte being the least significant. Branch-free: blocks are secret. */
static void double_le(const uint8_t in[BLOCK], uint8_t out[BLOCK])
{
    uint8_t carry = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint8_t next = (uint8_t)(in[i] >> 7);
        out[i] = (uint8_t)((in[i] << 1) | carry);
        carry = next;
    }
    out[0] ^= (uint8_t)(-carry & 0x87);
}

/* L_0 = 2 E(0), L_i = 2 L_(i-1). E also for decryption. */
static int set_masks(pcv_eme *eme)
{
    static const uint8_t zeros[BLOCK];
    uint8_t *mask = eme->masks;
    void *ctx = NULL;
    int rc = pcv_pool_take(&eme->pool, &ctx);
    if (rc != PCV_OK)
        return rc;
    rc = ecb(((struct eme_ctx *)ctx)->encrypt, zeros, sizeof zeros, mask);
    pcv_pool_give(&eme->pool, ctx);
    double_le(mask, mask);
    for (size_t i = 1; i < PCV_EME_MAX_BLOCKS; i++, mask += BLOCK)
        double_le(mask, mask + BLOCK);
    return rc;
}

int pcv_eme_new(const uint8_t key[PCV_KEY_SIZE], pcv_eme **out)
{
    *out = NULL;
    pcv_eme *eme = pcv_secret_alloc(sizeof *eme);
    if (eme == NULL)
        return PCV_ERR_NOMEM;
    ERR_set_mark();
    int rc = pcv_pool_init(&eme->pool, &EME_POOL_OPS, key);
    if (rc == PCV_OK && (rc = set_masks(eme)) != PCV_OK)
        pcv_pool_destroy(&eme->pool);
    ERR_pop_to_mark();
    if (rc != PCV_OK) {
        pcv_secret_free(eme, sizeof *eme);
        return rc;
    }
    *out = eme;
    return PCV_OK;
}

void pcv_eme_close(pcv_eme *eme)
{
    pcv_pool_close(&eme->pool);
}

void pcv_eme_free(pcv_eme *eme)
{
    if (eme == NULL)
        return;
    pcv_pool_destroy(&eme->pool);
    pcv_secret_free(eme, sizeof *eme);
}

/* Add L_i to block i of every message. */
static void add_masks(const pcv_eme *eme, uint8_t *out, const uint32_t *sizes, size_t count)
{
    for (size_t n = 0; n < count; out += sizes[n], n++)
        xor_bytes(out, eme->masks, sizes[n]);
}

/* mp[n] = T + PPP_0 + ... + PPP_(m-1) of message n. */
static void mix_messages(const uint8_t *ppp, const uint32_t *sizes, size_t count, const uint8_t *tweak, uint8_t *mp)
{
    for (size_t n = 0; n < count; n++, mp += BLOCK) {
        memcpy(mp, tweak, BLOCK);
        for (size_t i = 0; i < sizes[n]; i += BLOCK, ppp += BLOCK)
            xor_bytes(mp, ppp, BLOCK);
    }
}

/* PPP -> CCC in place: CCC_i = PPP_i + 2^i M for i > 0 with M = MP + MC, CCC_0 = MC + T + CCC_1 + ... + CCC_(m-1).
 * mp becomes M_(m-1), mc becomes CCC_0. */
static void spread_mix(uint8_t *blocks, const uint32_t *sizes, size_t count, const uint8_t *tweak, uint8_t *mp,
                       uint8_t *mc)
{
    for (size_t n = 0; n < count; blocks += sizes[n], n++, mp += BLOCK, mc += BLOCK) {
        xor_bytes(mp, mc, BLOCK);
        xor_bytes(mc, tweak, BLOCK);
        for (size_t i = BLOCK; i < sizes[n]; i += BLOCK) {
            double_le(mp, mp);
            xor_bytes(blocks + i, mp, BLOCK);
            xor_bytes(mc, blocks + i, BLOCK);
        }
        memcpy(blocks, mc, BLOCK);
    }
}

/* Transform out in place: at most BATCH messages of size bytes in all. */
static int transform_batch(const pcv_eme *eme, EVP_CIPHER_CTX *evp, const uint8_t *tweak, const uint32_t *sizes,
                           size_t count, size_t size, uint8_t *out)
{
    uint8_t mp[BATCH * BLOCK], mc[BATCH * BLOCK];
    add_masks(eme, out, sizes, count);
    int rc = ecb(evp, out, size, out);
    if (rc != PCV_OK)
        goto out;
    mix_messages(out, sizes, count, tweak, mp);
    rc = ecb(evp, mp, count * BLOCK, mc);
    if (rc != PCV_OK)
        goto out;
    spread_mix(out, sizes, count, tweak, mp, mc);
    rc = ecb(evp, out, size, out);
    add_masks(eme, out, sizes, count);
out:
    pcv_wipe(mp, sizeof mp);
    pcv_wipe(mc, sizeof mc);
    return rc;
}

static bool sizes_are_valid(const uint32_t *sizes, size_t count, size_t data_size)
{
    size_t left = data_size;
    for (size_t n = 0; n < count; n++) {
        if (sizes[n] == 0 || sizes[n] > PCV_EME_MAX_BLOCKS * BLOCK || sizes[n] % BLOCK != 0 || sizes[n] > left)
            return false;
        left -= sizes[n];
    }
    return left == 0;
}

int pcv_eme_transform(pcv_eme *eme, int is_encrypt, const uint8_t tweak[PCV_DIRIV_SIZE], const uint8_t *data,
                      size_t data_size, const uint32_t *sizes, size_t count, uint8_t *out)
{
    if (!sizes_are_valid(sizes, count, data_size))
        return PCV_ERR_ARG;
    if (count == 0)
        return PCV_OK;
    void *ctx = NULL;
    ERR_set_mark();
    int rc = pcv_pool_take(&eme->pool, &ctx);
    if (rc == PCV_OK) {
        EVP_CIPHER_CTX *evp = is_encrypt ? ((struct eme_ctx *)ctx)->encrypt : ((struct eme_ctx *)ctx)->decrypt;
        uint8_t *batch_out = out;
        memmove(out, data, data_size);
        for (size_t n = 0; rc == PCV_OK && n < count; n += BATCH) {
            const size_t batch = count - n < BATCH ? count - n : BATCH;
            size_t size = 0;
            for (size_t i = 0; i < batch; i++)
                size += sizes[n + i];
            rc = transform_batch(eme, evp, tweak, sizes + n, batch, size, batch_out);
            batch_out += size;
        }
        pcv_pool_give(&eme->pool, ctx);
        if (rc != PCV_OK)
            pcv_wipe(out, data_size);
    }
    ERR_pop_to_mark();
    return rc;
}
