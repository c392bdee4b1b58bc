/* AES-256-GCM with a 16-byte nonce, which goes through GHASH at its full length (no truncation to 12). */
#include <openssl/crypto.h>

#include "pcv_aead_ops.h"
#include "pcv_evp.h"

struct gcm_ctx {
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
};

static void gcm_destroy(void *ctx)
{
    struct gcm_ctx *gcm = ctx;
    if (gcm == NULL)
        return;
    EVP_CIPHER_CTX_free(gcm->seal); /* wipes its key schedule */
    EVP_CIPHER_CTX_free(gcm->open);
    OPENSSL_free(gcm);
}

static int gcm_make(const uint8_t *key, void **ctx)
{
    struct gcm_ctx *gcm = OPENSSL_zalloc(sizeof *gcm);
    if (gcm == NULL)
        return PCV_ERR_NOMEM;
    int rc = pcv_evp_new("AES-256-GCM", true, key, PCV_AES_GCM_NONCE_SIZE, &gcm->seal);
    if (rc == PCV_OK)
        rc = pcv_evp_new("AES-256-GCM", false, key, PCV_AES_GCM_NONCE_SIZE, &gcm->open);
    if (rc != PCV_OK) {
        gcm_destroy(gcm);
        return rc;
    }
    *ctx = gcm;
    return PCV_OK;
}

static int gcm_seal(void *ctx, const struct pcv_message *msg, const uint8_t *plain, uint8_t *cipher, uint8_t *tag)
{
    struct gcm_ctx *gcm = ctx;
    if (!EVP_EncryptInit_ex2(gcm->seal, NULL, NULL, msg->nonce, NULL))
        return PCV_ERR_CRYPTO;
    return pcv_evp_seal(gcm->seal, msg->aad, msg->aad_size, plain, msg->size, cipher, tag);
}

static int gcm_open(void *ctx, const struct pcv_message *msg, const uint8_t *cipher, const uint8_t *tag, uint8_t *plain)
{
    struct gcm_ctx *gcm = ctx;
    if (!EVP_DecryptInit_ex2(gcm->open, NULL, NULL, msg->nonce, NULL))
        return PCV_ERR_CRYPTO;
    return pcv_evp_open(gcm->open, msg->aad, msg->aad_size, cipher, msg->size, tag, plain);
}

const struct pcv_aead_ops pcv_aes_gcm_ops = {
    .pool = {.key_size = PCV_KEY_SIZE, .make = gcm_make, .destroy = gcm_destroy},
    .nonce_size = PCV_AES_GCM_NONCE_SIZE,
    .is_tag_first = false,
    .seal = gcm_seal,
    .open = gcm_open,
};
