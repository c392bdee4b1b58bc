"""Names of extended attributes.

Attribute names are encrypted in every volume, with plaintext file names too. Their rules are not those of file names:
one fixed tweak instead of directory IVs, slashes are fine, and all of them land in one namespace on disk. Values are
``pcvfs.format.blobs``.

Source: docs/format.md "Extended attributes".
"""

from __future__ import annotations

import errno
import os
from typing import Final

from pcvfs import spec
from pcvfs.crypto.eme import NameCipher
from pcvfs.errors import NameDecodeError
from pcvfs.format.base64url import Base64Url
from pcvfs.format.names import pad, unpad

XATTR_NAME_MAX: Final = 255  # of the Linux kernel, namespace included


class XattrNameCodec:
    """The attribute names of one volume. Immutable.

    Args:
        cipher: the volume's name cipher. Not closed by the codec.
        raw64: base64 without padding.
    """

    __slots__ = ("_base64", "_cipher")

    def __init__(self, cipher: NameCipher, *, raw64: bool) -> None:
        self._cipher = cipher
        self._base64 = Base64Url(raw64)

    def encode(self, name: bytes) -> bytes:
        """Return the name to store for ``name`` (namespace included, e.g. ``user.comment``).

        POSIX ACLs keep their name: the kernel of the backing filesystem reads them.

        Raises:
            ValueError: empty, or a NUL inside.
            OSError: ERANGE as from the kernel; the stored name would have more than 255 bytes (plaintext > 175).
        """
        if name in spec.ACL_XATTRS:
            return name
        if not name or b"\0" in name:
            raise ValueError("not an attribute name: empty, or with a NUL inside")
        if len(name) > XATTR_NAME_MAX:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        encrypted = self._cipher.encrypt(spec.XATTR_NAME_TWEAK, pad(name))
        cname = spec.XATTR_PREFIX + self._base64.encode(encrypted)
        if len(cname) > XATTR_NAME_MAX:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        return cname

    def decode(self, cname: bytes) -> bytes | None:
        """Return the plaintext of a stored name; None for an attribute that is not the volume's (hide it).

        Raises:
            NameDecodeError: it has the volume's prefix but does not decrypt, or decrypts to a POSIX ACL (old
                versions of gocryptfs encrypted those; no kernel can use them).
        """
        if cname in spec.ACL_XATTRS:
            return cname
        if not cname.startswith(spec.XATTR_PREFIX):
            return None
        try:
            encrypted = self._base64.decode(cname[len(spec.XATTR_PREFIX) :])
        except ValueError as exc:
            raise NameDecodeError("attribute name is not base64 of this volume's kind") from exc
        if not encrypted or len(encrypted) % spec.EME_BLOCK_SIZE or len(cname) > XATTR_NAME_MAX:
            raise NameDecodeError(f"attribute name has {len(encrypted)} bytes when decoded, not blocks of 16")
        name = unpad(self._cipher.decrypt(spec.XATTR_NAME_TWEAK, encrypted))
        if b"\0" in name:
            raise NameDecodeError("attribute name decrypts to one with a NUL inside")
        if name in spec.ACL_XATTRS:
            raise NameDecodeError("encrypted POSIX ACL of an old version")
        return name
