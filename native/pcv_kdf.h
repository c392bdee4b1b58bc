/* Keys from passwords and from keys, and the wrapping of the master key. One-shot: no state, any thread.
 *
 * Outputs go where the caller wants them, which should be memory from pcv_secret_alloc. On error they are wiped.
 */
#ifndef PCV_KDF_H
#define PCV_KDF_H

#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_spec.h"

enum { PCV_SHA256_SIZE = 32, PCV_SHA512_SIZE = 64 };

/* scrypt (RFC 7914) with 128 * n * r bytes of working memory. PCV_ERR_ARG: n is not a power of two above 1, or n, r, p
 * are out of the range of the algorithm; PCV_ERR_NOMEM: no working memory. */
PCV_MUST_USE int pcv_scrypt(const uint8_t *password, size_t password_size, const uint8_t *salt, size_t salt_size,
                            uint64_t n, uint64_t r, uint64_t p, uint8_t *out, size_t out_size);

/* HKDF-SHA256 (RFC 5869) without a salt. out_size is 1 .. 8160. */
PCV_MUST_USE int pcv_hkdf_sha256(const uint8_t *ikm, size_t ikm_size, const uint8_t *info, size_t info_size,
                                 uint8_t *out, size_t out_size);

PCV_MUST_USE int pcv_sha256(const uint8_t *data, size_t size, uint8_t out[PCV_SHA256_SIZE]);
PCV_MUST_USE int pcv_sha512(const uint8_t *data, size_t size, uint8_t out[PCV_SHA512_SIZE]);

/* wrapped = nonce | AES-256-GCM(key, nonce, secret, aad) | tag: wrapped_size is nonce_size + secret_size + 16, exactly.
 * nonce_size is 12 or 16 bytes. */
PCV_MUST_USE int pcv_gcm_wrap(const uint8_t key[PCV_KEY_SIZE], const uint8_t *nonce, size_t nonce_size,
                              const uint8_t *aad, size_t aad_size, const uint8_t *secret, size_t secret_size,
                              uint8_t *wrapped, size_t wrapped_size);

/* The reverse; secret_size is wrapped_size - nonce_size - 16, exactly. PCV_ERR_AUTH: wrong key or changed data. */
PCV_MUST_USE int pcv_gcm_unwrap(const uint8_t key[PCV_KEY_SIZE], size_t nonce_size, const uint8_t *aad, size_t aad_size,
                                const uint8_t *wrapped, size_t wrapped_size, uint8_t *secret, size_t secret_size);

#endif
