/* One error idiom: every function that can fail returns 0 or a negative enum pcv_err, and its result must be used.
 *
 * Functions in pcv_sys.h are the exception: they are thin system call wrappers and return -errno.
 */
#ifndef PCV_ERR_H
#define PCV_ERR_H

#define PCV_MUST_USE __attribute__((warn_unused_result))

enum pcv_err {
    PCV_OK = 0,
    PCV_ERR_ARG = -1,    /* a length, kind or nonce the caller passed can't be right */
    PCV_ERR_AUTH = -2,   /* a tag did not match; the output has been wiped */
    PCV_ERR_CRYPTO = -3, /* libcrypto refused; never a matter of the data */
    PCV_ERR_NOMEM = -4,
    PCV_ERR_RANDOM = -5, /* the kernel gave no random bytes */
    PCV_ERR_CLOSED = -6, /* the object's key has been wiped */
};

#endif
