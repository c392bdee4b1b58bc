/* EME (ECB-mix-ECB) over AES-256: wide-block encryption of file names, many names per call.
 *
 * Threads, buffers, errors: as pcv_aead.h, except that data and out may be the same buffer.
 * EME does not authenticate: any input decrypts to something.
 */
#ifndef PCV_EME_H
#define PCV_EME_H

#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_spec.h"

typedef struct pcv_eme pcv_eme;

PCV_MUST_USE int pcv_eme_new(const uint8_t key[PCV_KEY_SIZE], pcv_eme **out);

/* Wipe the key and every context; calls that are running finish, later ones get PCV_ERR_CLOSED. May be repeated. */
void pcv_eme_close(pcv_eme *eme);

/* Close and free. No call may be running. NULL is allowed. */
void pcv_eme_free(pcv_eme *eme);

/* Encrypt (is_encrypt != 0) or decrypt count messages that share a tweak.
 *
 * data:  the messages back to back, data_size bytes in all; out has room for as many.
 * sizes: the size of each, a multiple of 16 from 16 to 2048, data_size in sum; else PCV_ERR_ARG. */
PCV_MUST_USE int pcv_eme_transform(pcv_eme *eme, int is_encrypt, const uint8_t tweak[PCV_DIRIV_SIZE],
                                   const uint8_t *data, size_t data_size, const uint32_t *sizes, size_t count,
                                   uint8_t *out);

#endif
