#include "pcv_kdf.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>

#include "pcv_evp.h"
#include "pcv_secret.h"

enum {
    SHA256_SIZE = 32,
    HKDF_OUT_MAX = 255 * SHA256_SIZE,
    GCM_NONCE_SHORT = 12, /* configs written without HKDF */
};

/* Bytes that EVP_PBE_scrypt counts against its limit: p blocks of 128 r, and n + 2 of them. 0: out of range. */
static uint64_t scrypt_memory(uint64_t n, uint64_t r, uint64_t p)
{
    if (n < 2 || (n & (n - 1)) != 0 || r == 0 || p == 0 || r > UINT32_MAX || p > UINT32_MAX / r)
        return 0;
    const uint64_t blocks = n + 2 + p;
    if (n > UINT64_MAX - 2 - p || blocks > SIZE_MAX / (128 * r))
        return 0;
    return blocks * 128 * r;
}

int pcv_scrypt(const uint8_t *password, size_t password_size, const uint8_t *salt, size_t salt_size, uint64_t n,
               uint64_t r, uint64_t p, uint8_t *out, size_t out_size)
{
    const uint64_t memory = scrypt_memory(n, r, p);
    if (memory == 0 || out_size == 0)
        return PCV_ERR_ARG;
    int rc = PCV_OK;
    ERR_set_mark();
    if (!EVP_PBE_scrypt((const char *)password, password_size, salt, salt_size, n, r, p, memory, out, out_size)) {
        rc = ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? PCV_ERR_NOMEM : PCV_ERR_ARG;
        pcv_wipe(out, out_size);
    }
    ERR_pop_to_mark();
    return rc;
}

int pcv_hkdf_sha256(const uint8_t *ikm, size_t ikm_size, const uint8_t *info, size_t info_size, uint8_t *out,
                    size_t out_size)
{
    static const uint8_t no_salt[SHA256_SIZE]; /* RFC 5869: without a salt, as many zero bytes as the hash has */
    if (ikm_size == 0 || out_size == 0 || out_size > HKDF_OUT_MAX)
        return PCV_ERR_ARG;
    int rc = PCV_OK;
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)ikm, ikm_size), /* only read */
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info, info_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)no_salt, sizeof no_salt),
        OSSL_PARAM_construct_end(),
    };
    ERR_set_mark();
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    if (ctx == NULL || EVP_KDF_derive(ctx, out, out_size, params) <= 0) {
        rc = PCV_ERR_CRYPTO;
        pcv_wipe(out, out_size);
    }
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    ERR_pop_to_mark();
    return rc;
}

static int digest(const EVP_MD *md, const uint8_t *data, size_t size, uint8_t *out, size_t out_size)
{
    unsigned int written = 0;
    int rc = PCV_OK;
    ERR_set_mark();
    if (!EVP_Digest(data, size, out, &written, md, NULL) || written != out_size) {
        rc = PCV_ERR_CRYPTO;
        pcv_wipe(out, out_size);
    }
    ERR_pop_to_mark();
    return rc;
}

int pcv_sha256(const uint8_t *data, size_t size, uint8_t out[PCV_SHA256_SIZE])
{
    return digest(EVP_sha256(), data, size, out, PCV_SHA256_SIZE);
}

int pcv_sha512(const uint8_t *data, size_t size, uint8_t out[PCV_SHA512_SIZE])
{
    return digest(EVP_sha512(), data, size, out, PCV_SHA512_SIZE);
}

/* A context that is set for one message; freed by the caller. */
static int gcm_context(const uint8_t *key, int is_encrypt, const uint8_t *nonce, size_t nonce_size,
                       EVP_CIPHER_CTX **out)
{
    int rc = pcv_evp_new("AES-256-GCM", is_encrypt != 0, key, nonce_size, out);
    if (rc == PCV_OK && !EVP_CipherInit_ex2(*out, NULL, NULL, nonce, -1, NULL)) /* -1: keep the direction */
        rc = PCV_ERR_CRYPTO;
    return rc;
}

static int wrap_sizes_are_valid(size_t nonce_size, size_t aad_size, size_t secret_size, size_t wrapped_size)
{
    return (nonce_size == GCM_NONCE_SHORT || nonce_size == PCV_AES_GCM_NONCE_SIZE) && aad_size <= INT_MAX &&
           secret_size > 0 && secret_size <= PCV_BLOB_SIZE_MAX &&
           wrapped_size == nonce_size + secret_size + PCV_TAG_SIZE;
}

int pcv_gcm_wrap(const uint8_t key[PCV_KEY_SIZE], const uint8_t *nonce, size_t nonce_size, const uint8_t *aad,
                 size_t aad_size, const uint8_t *secret, size_t secret_size, uint8_t *wrapped, size_t wrapped_size)
{
    EVP_CIPHER_CTX *evp = NULL;
    if (!wrap_sizes_are_valid(nonce_size, aad_size, secret_size, wrapped_size))
        return PCV_ERR_ARG;
    ERR_set_mark();
    int rc = gcm_context(key, 1, nonce, nonce_size, &evp);
    if (rc == PCV_OK) {
        uint8_t *body = wrapped + nonce_size;
        memcpy(wrapped, nonce, nonce_size);
        rc = pcv_evp_seal(evp, aad, aad_size, secret, secret_size, body, body + secret_size);
    }
    if (rc != PCV_OK)
        pcv_wipe(wrapped, wrapped_size);
    EVP_CIPHER_CTX_free(evp);
    ERR_pop_to_mark();
    return rc;
}

int pcv_gcm_unwrap(const uint8_t key[PCV_KEY_SIZE], size_t nonce_size, const uint8_t *aad, size_t aad_size,
                   const uint8_t *wrapped, size_t wrapped_size, uint8_t *secret, size_t secret_size)
{
    EVP_CIPHER_CTX *evp = NULL;
    if (!wrap_sizes_are_valid(nonce_size, aad_size, secret_size, wrapped_size))
        return PCV_ERR_ARG;
    ERR_set_mark();
    int rc = gcm_context(key, 0, wrapped, nonce_size, &evp);
    if (rc == PCV_OK) {
        const uint8_t *body = wrapped + nonce_size;
        rc = pcv_evp_open(evp, aad, aad_size, body, secret_size, body + secret_size, secret);
    }
    if (rc != PCV_OK)
        pcv_wipe(secret, secret_size);
    EVP_CIPHER_CTX_free(evp);
    ERR_pop_to_mark();
    return rc;
}
