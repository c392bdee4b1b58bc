"""A gocryptfs-compatible encrypted filesystem, native to FUSE and Python.

The public names, and nothing else. Importing this module loads none of them: each is imported when it is first used,
so a program that only makes volumes never loads FUSE.

    from pcvfs import CreateOptions, MountOptions, PasswordKey, Secret, create_volume, mount

    create_volume(b"/srv/cipher", b"a good password").wipe()
    key = PasswordKey(Secret.from_bytes(b"a good password"))
    async with mount(MountOptions(cipherdir=b"/srv/cipher", mountpoint=b"/srv/plain"), key) as process:
        ...
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from pcvfs._version import __version__
from pcvfs.errors import PcvfsError

if TYPE_CHECKING:
    from pcvfs.cipherdir.fsck import check_volume
    from pcvfs.cipherdir.lifecycle import change_password, create_volume, unlock_volume
    from pcvfs.cipherdir.report import FsckReport
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.crypto.aead import CipherKind
    from pcvfs.crypto.secret import Secret
    from pcvfs.format.keys import CreateOptions
    from pcvfs.fs.handover import MasterKey, PasswordKey
    from pcvfs.fs.launcher import mount
    from pcvfs.fs.options import MountOptions

__all__ = [
    "CipherKind",
    "CreateOptions",
    "FsckReport",
    "MasterKey",
    "MountOptions",
    "PasswordKey",
    "PcvfsError",
    "Secret",
    "Volume",
    "__version__",
    "change_password",
    "check_volume",
    "create_volume",
    "mount",
    "unlock_volume",
]

_HOMES: Final = {
    "CipherKind": "pcvfs.crypto.aead",
    "CreateOptions": "pcvfs.format.keys",
    "FsckReport": "pcvfs.cipherdir.report",
    "MasterKey": "pcvfs.fs.handover",
    "MountOptions": "pcvfs.fs.options",
    "PasswordKey": "pcvfs.fs.handover",
    "Secret": "pcvfs.crypto.secret",
    "Volume": "pcvfs.cipherdir.volume",
    "change_password": "pcvfs.cipherdir.lifecycle",
    "check_volume": "pcvfs.cipherdir.fsck",
    "create_volume": "pcvfs.cipherdir.lifecycle",
    "mount": "pcvfs.fs.launcher",
    "unlock_volume": "pcvfs.cipherdir.lifecycle",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
