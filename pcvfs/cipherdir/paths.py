"""Translating paths between plaintext and ciphertext by walking the cipherdir. No FUSE, no state.

Paths are relative to the root of the volume, components joined by ``/``, and in canonical form (no empty, ``.`` or
``..`` component); what is not a legal name is ENOENT.

Source: docs/operations.md "Control socket".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pcvfs.cipherdir import backing
from pcvfs.format.names import NameClass, sidecar_name

if TYPE_CHECKING:
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.types import DirIV


def encrypt_path(volume: Volume, path: bytes) -> bytes:
    """Ciphertext path of a plaintext path. All but the last component must exist.

    Raises:
        OSError: ENOENT, ENAMETOOLONG; ENOTDIR, also for a symlink on the way.
        FormatError: a directory on the way has no usable IV.
    """

    def encrypt(dirfd: int, diriv: DirIV, name: bytes) -> tuple[bytes, bytes]:
        cname = volume.names.encode(name, diriv).cname
        return cname, cname

    return _walk(volume, path, encrypt)


def decrypt_path(volume: Volume, path: bytes) -> bytes:
    """Plaintext path of a ciphertext path; a hashed long name is looked up in its sidecar.

    Raises:
        OSError: ENOENT, ENOTDIR.
        NameDecodeError: a component is not the encryption of a name.
        FormatError: a directory on the way has no usable IV.
    """

    def decrypt(dirfd: int, diriv: DirIV, cname: bytes) -> tuple[bytes, bytes]:
        full_cname = cname
        if volume.names.classify(cname) is NameClass.LONG_CONTENT:
            full_cname = backing.read_long_name(dirfd, sidecar_name(cname))
        return cname, volume.names.decode(full_cname, diriv)

    return _walk(volume, path, decrypt)


def _walk(volume: Volume, path: bytes, translate: Callable[[int, DirIV, bytes], tuple[bytes, bytes]]) -> bytes:
    """Translate component by component; ``translate`` gives the name in the cipherdir and the one to return."""
    translated = []
    *parents, last = path.split(b"/")
    dirfd = os.dup(volume.root_fd)
    try:
        for component in parents:
            cname, result = _translate(volume, translate, dirfd, component)
            translated.append(result)
            below = backing.openat(dirfd, cname, os.O_PATH | os.O_DIRECTORY)
            os.close(dirfd)
            dirfd = below
        translated.append(_translate(volume, translate, dirfd, last)[1])
    finally:
        os.close(dirfd)
    return b"/".join(translated)


def _translate(
    volume: Volume, translate: Callable[[int, DirIV, bytes], tuple[bytes, bytes]], dirfd: int, component: bytes
) -> tuple[bytes, bytes]:
    diriv = volume.read_diriv(dirfd)
    try:
        return translate(dirfd, diriv, component)
    except ValueError as exc:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from exc
