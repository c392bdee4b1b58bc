#include "pcv_evp.h"

#include "pcv_spec.h"

int pcv_evp_new(const char *name, bool is_encrypt, const uint8_t *key, size_t nonce_size, EVP_CIPHER_CTX **out)
{
    int rc = PCV_ERR_CRYPTO;
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
    EVP_CIPHER_CTX *evp = EVP_CIPHER_CTX_new();
    if (cipher == NULL || evp == NULL)
        goto out;
    if (!EVP_CipherInit_ex2(evp, cipher, NULL, NULL, is_encrypt, NULL))
        goto out;
    /* The nonce length goes first: it decides what the nonce of each later init means. */
    if (nonce_size != 0 && EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_IVLEN, (int)nonce_size, NULL) <= 0)
        goto out;
    if (!EVP_CipherInit_ex2(evp, NULL, key, NULL, is_encrypt, NULL) || !EVP_CIPHER_CTX_set_padding(evp, 0))
        goto out;
    *out = evp;
    evp = NULL;
    rc = PCV_OK;
out:
    EVP_CIPHER_CTX_free(evp);
    EVP_CIPHER_free(cipher); /* a context that uses it holds its own reference */
    return rc;
}

int pcv_evp_seal(EVP_CIPHER_CTX *evp, const uint8_t *aad, size_t aad_size, const uint8_t *plain, size_t size,
                 uint8_t *cipher, uint8_t *tag)
{
    int written = 0;
    if (!EVP_EncryptUpdate(evp, NULL, &written, aad, (int)aad_size) ||
        !EVP_EncryptUpdate(evp, cipher, &written, plain, (int)size) || written != (int)size ||
        !EVP_EncryptFinal_ex(evp, cipher + size, &written) || written != 0 ||
        EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, PCV_TAG_SIZE, tag) <= 0)
        return PCV_ERR_CRYPTO;
    return PCV_OK;
}

int pcv_evp_open(EVP_CIPHER_CTX *evp, const uint8_t *aad, size_t aad_size, const uint8_t *cipher, size_t size,
                 const uint8_t *tag, uint8_t *plain)
{
    int written = 0;
    /* SET_TAG only reads, but its parameter is not const. */
    uint8_t expected[PCV_TAG_SIZE];
    for (size_t i = 0; i < sizeof expected; i++)
        expected[i] = tag[i];
    if (!EVP_DecryptUpdate(evp, NULL, &written, aad, (int)aad_size) ||
        !EVP_DecryptUpdate(evp, plain, &written, cipher, (int)size) || written != (int)size ||
        EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, PCV_TAG_SIZE, expected) <= 0)
        return PCV_ERR_CRYPTO;
    return EVP_DecryptFinal_ex(evp, plain + size, &written) > 0 ? PCV_OK : PCV_ERR_AUTH;
}
