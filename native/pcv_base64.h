/* URL-safe base64 with exactly one spelling per byte string: pcvfs/format/base64url.py is the reference.
 *
 * Threads: any. Input and output must not overlap. Not constant-time: what is encoded here lies open in a cipherdir.
 */
#ifndef PCV_BASE64_H
#define PCV_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"

/* Characters that size bytes take. is_raw: without padding. */
size_t pcv_base64_size(size_t size, bool is_raw);

/* Write pcv_base64_size(size, is_raw) characters, no NUL. */
void pcv_base64_encode(const uint8_t *data, size_t size, bool is_raw, char *text);

/* Write what text is the one spelling of, and how long that is; nothing for nothing.
 * False: no encoder would have written it, or it is more than room; out may have been written to, but not past room. */
PCV_MUST_USE bool pcv_base64_decode(const char *text, size_t text_size, bool is_raw, uint8_t *out, size_t room,
                                    size_t *size);

#endif
