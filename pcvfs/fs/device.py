"""Getting a mounted /dev/fuse descriptor, for the block lane, which owns it in libfuse's place.

Owns: mount(2) of a FUSE filesystem; ``helper`` is for those who may not call it. Knows nothing of volumes.

Source: mount(8), fuse(4).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

from pcvfs import native
from pcvfs.errors import MountError

_DEVICE: Final = "/dev/fuse"

# Options that are flags of mount(2): name -> (flag, whether it is set).
_FLAGS: Final = {
    "ro": (1, True),
    "rw": (1, False),
    "nosuid": (2, True),
    "suid": (2, False),
    "nodev": (4, True),
    "dev": (4, False),
    "noexec": (8, True),
    "exec": (8, False),
    "sync": (16, True),
    "dirsync": (128, True),
    "noatime": (1024, True),
    "nodiratime": (2048, True),
    "relatime": (1 << 21, True),
    "strictatime": (1 << 24, True),
}


def mount_device(mountpoint: bytes, source: str, subtype: str, options: Iterable[str]) -> int:
    """Mount, and return the descriptor of /dev/fuse.

    Args:
        source: first column of ``df``.
        subtype: the type is ``fuse.SUBTYPE``.
        options: as for mount(8), with ``allow_other`` and ``default_permissions``.

    Raises:
        MountError: the kernel or the helper refused.
    """
    chosen = sorted(options)
    if os.geteuid() == 0:
        return _mount(mountpoint, source, subtype, chosen)
    from pcvfs.fs.helper import mount_by_helper  # here: root has no use for what it loads

    return mount_by_helper(mountpoint, source, subtype, chosen)


def _mount(mountpoint: bytes, source: str, subtype: str, options: list[str]) -> int:
    shown = os.fsdecode(mountpoint)
    try:
        fd = os.open(_DEVICE, os.O_RDWR)
        root_mode = stat.S_IFMT(os.stat(mountpoint).st_mode)
    except OSError as exc:
        raise MountError(
            f"mounting on {shown} failed: {exc.filename}: {exc.strerror}", hint="is the fuse module loaded?"
        ) from exc
    flags = 0
    data = [f"fd={fd}", f"rootmode={root_mode:o}", f"user_id={os.geteuid()}", f"group_id={os.getegid()}"]
    for option in options:
        if option in _FLAGS:
            flag, is_set = _FLAGS[option]
            flags = flags | flag if is_set else flags & ~flag
        else:
            data.append(option)
    try:
        native.mount(os.fsencode(source), mountpoint, f"fuse.{subtype}".encode(), flags, ",".join(data).encode())
    except OSError as exc:
        os.close(fd)
        raise MountError(f"mounting on {shown} failed: {exc.strerror}") from exc
    return fd
