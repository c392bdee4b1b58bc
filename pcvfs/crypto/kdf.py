"""Keys from passwords and from other keys. Results are written straight into wipeable memory."""

from __future__ import annotations

from pcvfs import native, spec
from pcvfs.crypto.secret import Secret
from pcvfs.native import Buffer


def scrypt(password: Buffer, salt: bytes, n: int, r: int, p: int) -> Secret:
    """Derive a key-encryption key from a password.

    Args:
        password: any length, taken as it is (no normalisation).
        salt: any length; a config has 32 bytes.
        n, r, p: cost; 128*n*r bytes of memory are used. ``format.config`` bounds what a file may ask for.

    Returns:
        32 bytes.

    Raises:
        ValueError: n is not a power of two above 1, or a value is out of the algorithm's range.
        MemoryError: no working memory.

    Source: RFC 7914; gocryptfs configfile.ScryptKDF.
    """
    kek = Secret(spec.KEY_SIZE)
    native.scrypt_into(password, salt, n, r, p, kek.view())
    return kek


def hkdf_sha256(ikm: Secret, info: bytes, length: int) -> Secret:
    """Derive a key for one purpose, named by ``info``, from a key. No salt.

    Args:
        length: bytes, 1..8160; else ValueError.

    Source: RFC 5869; gocryptfs cryptocore.hkdfDerive.
    """
    derived = Secret(length)
    native.hkdf_sha256_into(ikm.view(), info, derived.view())
    return derived


def sha512(data: Secret) -> Secret:
    """SHA-512 of a key: 64 bytes. How AES-SIV volumes without the HKDF flag stretch the master key."""
    digest = Secret(native.SHA512_SIZE)
    native.sha512_into(data.view(), digest.view())
    return digest
