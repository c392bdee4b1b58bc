/* How names and symlink targets are stored: plaintext to the cipherdir and back. pcvfs/format/names.py and blobs.py
 * are the reference, and the same tests run on both. No system calls.
 *
 * Threads: any. Nothing is kept after return.
 * Errors:  0, or -errno.
 */
#ifndef PCV_NAMES_H
#define PCV_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_aead.h"
#include "pcv_eme.h"
#include "pcv_err.h"
#include "pcv_spec.h"

#define PCV_NAME_MAX 255       /* bytes of any name, plain or stored */
#define PCV_FULL_CNAME_MAX 344 /* base64 of 16 EME blocks, padded */
#define PCV_TARGET_MAX 4095    /* bytes of a symlink target, plain or stored */

/* The rules of one volume. eme must outlive whoever uses them. */
struct pcv_name_format {
    pcv_eme *eme; /* NULL: names are stored as they are */
    bool has_diriv;
    bool is_raw64;        /* base64 without padding */
    bool hashes_long;     /* false: a name that is too long can't be had, and long-name files are ordinary ones */
    size_t long_name_max; /* longer encrypted names are hashed; 1 .. PCV_NAME_MAX */
};

/* How a name is stored. */
struct pcv_cname {
    char name[PCV_NAME_MAX + 1]; /* in the backing directory; NUL-terminated */
    char full[PCV_FULL_CNAME_MAX + 1]; /* what the sidecar of a long name holds; empty: there is no sidecar */
};

/* What a name in a backing directory is. */
enum pcv_cname_class {
    PCV_CNAME_PLAIN = 0,    /* an encrypted name in full, or a plaintext one */
    PCV_CNAME_LONG = 1,     /* an object whose encrypted name is in its sidecar */
    PCV_CNAME_SIDECAR = 2,  /* the file that holds such a name */
    PCV_CNAME_RESERVED = 3, /* the IV, or the config in the root */
    PCV_CNAME_LEFTOVER = 4, /* a temporary name of making and removing directories */
};

/* How a plaintext name is stored in the directory with that IV (zero without IVs; not looked at with plaintext names).
 * -ENAMETOOLONG; -EINVAL, it is not a legal name; -EIO, the IV is not of this volume's kind, or libcrypto failed. */
PCV_MUST_USE int pcv_name_encode(const struct pcv_name_format *format, const uint8_t diriv[PCV_DIRIV_SIZE],
                                 const char *name, size_t size, struct pcv_cname *out);

/* The plaintext of an encrypted name in full (of a long name: what its sidecar holds). name is NUL-terminated.
 * -EBADMSG: not what pcv_name_encode makes of a legal name; -EIO, as above. */
PCV_MUST_USE int pcv_name_decode(const struct pcv_name_format *format, const uint8_t diriv[PCV_DIRIV_SIZE],
                                 const char *full, size_t full_size, char name[PCV_NAME_MAX + 1], size_t *size);

/* enum pcv_cname_class of an entry. With plaintext names, all is PLAIN but the config in the root. */
int pcv_cname_classify(const struct pcv_name_format *format, bool is_root, const char *cname);

/* The stored form of a symlink target, NUL-terminated, with a random nonce. nonce_size: of the content cipher.
 * With plaintext names, targets are stored as they are; empty is stored as empty.
 * -ENAMETOOLONG: it is longer than PCV_TARGET_MAX; -EINVAL, a NUL inside; -EIO. */
PCV_MUST_USE int pcv_target_encode(const struct pcv_name_format *format, pcv_aead *aead, size_t nonce_size,
                                   const char *target, size_t size, char stored[PCV_TARGET_MAX + 1]);

/* The plaintext of a stored target, NUL-terminated. -EBADMSG: it does not decrypt, is longer than PCV_TARGET_MAX, or
 * holds a NUL; -EIO. */
PCV_MUST_USE int pcv_target_decode(const struct pcv_name_format *format, pcv_aead *aead, size_t nonce_size,
                                   const char *stored, size_t stored_size, char target[PCV_TARGET_MAX + 1],
                                   size_t *size);

#endif
