/* XChaCha20-Poly1305 from libcrypto's ChaCha20 and ChaCha20-Poly1305.
 *
 * subkey  = HChaCha20(key, nonce[0:16])
 * message = ChaCha20-Poly1305(subkey, 4 zero bytes | nonce[16:24])
 *
 * HChaCha20 is the ChaCha20 permutation without the final addition of the input state, and of its 16 words only the
 * first and the last row. libcrypto's ChaCha20 does that addition: its first keystream block for
 * counter | nonce = nonce[0:16] is permutation(state) + state (32-bit words). Those two rows of the state are public,
 * the constants and nonce[0:16], so subtracting them gives HChaCha20.
 * Source: RFC 8439 section 2.3, draft-irtf-cfrg-xchacha-03 sections 2.2 and 2.3 (and its test vectors).
 */
#include <openssl/crypto.h>

#include "pcv_aead_ops.h"
#include "pcv_evp.h"
#include "pcv_secret.h"

enum {
    CHACHA_KEYSTREAM_BLOCK = 64,
    CHACHA_ROW = 16,       /* four words of the state */
    HCHACHA_INPUT = 16,
    CHACHA_NONCE = 12,
    CHACHA_NONCE_ZEROS = 4, /* the part of CHACHA_NONCE that does not come from the long nonce */
};

_Static_assert(HCHACHA_INPUT + CHACHA_NONCE - CHACHA_NONCE_ZEROS == PCV_XCHACHA_NONCE_SIZE, "the nonce is used up");
_Static_assert(2 * CHACHA_ROW == PCV_KEY_SIZE, "two rows make a key");

static const uint8_t CHACHA_CONSTANTS[CHACHA_ROW + 1] = "expand 32-byte k";

struct xchacha_ctx {
    EVP_CIPHER_CTX *stream; /* ChaCha20 with the long-term key */
    EVP_CIPHER_CTX *seal;   /* ChaCha20-Poly1305, keyed anew for each message */
    EVP_CIPHER_CTX *open;
};

static uint32_t load_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_le32(uint8_t *p, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(word >> (8 * i));
}

/* out = a - b, word by word modulo 2^32. */
static void subtract_row(uint8_t out[CHACHA_ROW], const uint8_t a[CHACHA_ROW], const uint8_t b[CHACHA_ROW])
{
    for (size_t i = 0; i < CHACHA_ROW; i += 4)
        store_le32(out + i, load_le32(a + i) - load_le32(b + i));
}

static int hchacha20(EVP_CIPHER_CTX *stream, const uint8_t input[HCHACHA_INPUT], uint8_t subkey[PCV_KEY_SIZE])
{
    static const uint8_t zeros[CHACHA_KEYSTREAM_BLOCK];
    uint8_t keystream[CHACHA_KEYSTREAM_BLOCK];
    int written = 0, rc = PCV_ERR_CRYPTO;
    if (!EVP_EncryptInit_ex2(stream, NULL, NULL, input, NULL) ||
        !EVP_EncryptUpdate(stream, keystream, &written, zeros, sizeof zeros) || written != sizeof keystream)
        goto out;
    subtract_row(subkey, keystream, CHACHA_CONSTANTS);
    subtract_row(subkey + CHACHA_ROW, keystream + CHACHA_KEYSTREAM_BLOCK - CHACHA_ROW, input);
    rc = PCV_OK;
out:
    pcv_wipe(keystream, sizeof keystream);
    return rc;
}

static void xchacha_destroy(void *ctx)
{
    struct xchacha_ctx *xchacha = ctx;
    if (xchacha == NULL)
        return;
    EVP_CIPHER_CTX_free(xchacha->stream);
    EVP_CIPHER_CTX_free(xchacha->seal);
    EVP_CIPHER_CTX_free(xchacha->open);
    OPENSSL_free(xchacha);
}

static int xchacha_make(const uint8_t *key, void **ctx)
{
    struct xchacha_ctx *xchacha = OPENSSL_zalloc(sizeof *xchacha);
    if (xchacha == NULL)
        return PCV_ERR_NOMEM;
    int rc = pcv_evp_new("ChaCha20", true, key, 0, &xchacha->stream);
    if (rc == PCV_OK)
        rc = pcv_evp_new("ChaCha20-Poly1305", true, NULL, CHACHA_NONCE, &xchacha->seal);
    if (rc == PCV_OK)
        rc = pcv_evp_new("ChaCha20-Poly1305", false, NULL, CHACHA_NONCE, &xchacha->open);
    if (rc != PCV_OK) {
        xchacha_destroy(xchacha);
        return rc;
    }
    *ctx = xchacha;
    return PCV_OK;
}

/* Key evp for one message. */
static int message_init(const struct xchacha_ctx *xchacha, EVP_CIPHER_CTX *evp, const uint8_t *nonce)
{
    uint8_t subkey[PCV_KEY_SIZE];
    uint8_t short_nonce[CHACHA_NONCE] = {0};
    for (size_t i = CHACHA_NONCE_ZEROS; i < CHACHA_NONCE; i++)
        short_nonce[i] = nonce[HCHACHA_INPUT + i - CHACHA_NONCE_ZEROS];
    int rc = hchacha20(xchacha->stream, nonce, subkey);
    if (rc == PCV_OK && !EVP_CipherInit_ex2(evp, NULL, subkey, short_nonce, -1, NULL)) /* -1: keep the direction */
        rc = PCV_ERR_CRYPTO;
    pcv_wipe(subkey, sizeof subkey);
    return rc;
}

static int xchacha_seal(void *ctx, const struct pcv_message *msg, const uint8_t *plain, uint8_t *cipher, uint8_t *tag)
{
    struct xchacha_ctx *xchacha = ctx;
    int rc = message_init(xchacha, xchacha->seal, msg->nonce);
    if (rc != PCV_OK)
        return rc;
    return pcv_evp_seal(xchacha->seal, msg->aad, msg->aad_size, plain, msg->size, cipher, tag);
}

static int xchacha_open(void *ctx, const struct pcv_message *msg, const uint8_t *cipher, const uint8_t *tag,
                        uint8_t *plain)
{
    struct xchacha_ctx *xchacha = ctx;
    int rc = message_init(xchacha, xchacha->open, msg->nonce);
    if (rc != PCV_OK)
        return rc;
    return pcv_evp_open(xchacha->open, msg->aad, msg->aad_size, cipher, msg->size, tag, plain);
}

const struct pcv_aead_ops pcv_xchacha_ops = {
    .pool = {.key_size = PCV_KEY_SIZE, .make = xchacha_make, .destroy = xchacha_destroy},
    .nonce_size = PCV_XCHACHA_NONCE_SIZE,
    .is_tag_first = false,
    .seal = xchacha_seal,
    .open = xchacha_open,
};
