/* The few libcrypto moves that several ciphers make. Internal. */
#ifndef PCV_EVP_H
#define PCV_EVP_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"

/* New context for one direction, keyed once; later inits pass only the nonce and keep the key schedule.
 * nonce_size 0 keeps the cipher's own. No padding. 0 or a negative enum pcv_err. */
PCV_MUST_USE int pcv_evp_new(const char *name, bool is_encrypt, const uint8_t *key, size_t nonce_size,
                             EVP_CIPHER_CTX **out);

/* One AEAD message on a context whose key is set; tag is PCV_TAG_SIZE bytes. PCV_ERR_CRYPTO, open: PCV_ERR_AUTH. */
PCV_MUST_USE int pcv_evp_seal(EVP_CIPHER_CTX *evp, const uint8_t *aad, size_t aad_size, const uint8_t *plain,
                              size_t size, uint8_t *cipher, uint8_t *tag);
PCV_MUST_USE int pcv_evp_open(EVP_CIPHER_CTX *evp, const uint8_t *aad, size_t aad_size, const uint8_t *cipher,
                              size_t size, const uint8_t *tag, uint8_t *plain);

#endif
