/* One function table per cipher; pcv_aead.c knows no cipher, a cipher knows no blocks. Internal. */
#ifndef PCV_AEAD_OPS_H
#define PCV_AEAD_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_pool.h"

/* One message: sizes in bytes, size is 1 .. PCV_BLOB_SIZE_MAX, so that it fits the int of EVP. */
struct pcv_message {
    const uint8_t *nonce; /* ops->nonce_size bytes */
    const uint8_t *aad;
    size_t aad_size; /* PCV_BLOCK_NO_SIZE or PCV_BLOCK_AAD_SIZE */
    size_t size;     /* of the plaintext, and of the ciphertext without nonce and tag */
};

struct pcv_aead_ops {
    struct pcv_pool_ops pool;
    size_t nonce_size;
    bool is_tag_first; /* on disk: nonce | tag | ciphertext */
    int (*seal)(void *ctx, const struct pcv_message *msg, const uint8_t *plain, uint8_t *cipher, uint8_t *tag);
    /* PCV_ERR_AUTH when the tag is wrong; plain has been written to and is the caller's to wipe. */
    int (*open)(void *ctx, const struct pcv_message *msg, const uint8_t *cipher, const uint8_t *tag, uint8_t *plain);
};

extern const struct pcv_aead_ops pcv_aes_gcm_ops;
/* The same by Intel's IPsec library, which is loaded on the first call; NULL: not to be had here. Any thread. */
const struct pcv_aead_ops *pcv_aes_gcm_ipsec_ops(void);
extern const struct pcv_aead_ops pcv_xchacha_ops;
extern const struct pcv_aead_ops pcv_aes_siv_ops;

#endif
