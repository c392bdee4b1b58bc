"""Getting a mounted /dev/fuse descriptor, for the block lane, which owns it in libfuse's place.

Owns: mount(2) of a FUSE filesystem, and the fusermount3 helper for those who may not call it. Knows nothing of volumes.

Source: mount(8), fuse(4), and fusermount3's protocol: it mounts and sends the descriptor over the unix socket named in
the environment variable ``_FUSE_COMMFD``.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterable
from typing import Final

from pcvfs.errors import MountError

_DEVICE: Final = "/dev/fuse"
_COMM_FD: Final = "_FUSE_COMMFD"
_HELPER_TIMEOUT_S: Final = 30.0

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
    return _mount_by_helper(mountpoint, source, subtype, chosen)


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
    libc = ctypes.CDLL(None, use_errno=True)
    target, fs_type = ctypes.c_char_p(mountpoint), ctypes.c_char_p(f"fuse.{subtype}".encode())
    joined = ctypes.c_char_p(",".join(data).encode())
    if libc.mount(ctypes.c_char_p(os.fsencode(source)), target, fs_type, ctypes.c_ulong(flags), joined) != 0:
        code = ctypes.get_errno()
        os.close(fd)
        raise MountError(f"mounting on {shown} failed: {os.strerror(code)}")
    return fd


def _mount_by_helper(mountpoint: bytes, source: str, subtype: str, options: list[str]) -> int:
    helper = shutil.which("fusermount3")
    if helper is None:
        raise MountError("fusermount3 is not installed", hint="install the package fuse3, or mount as root")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        joined = ",".join([*options, f"fsname={source}", f"subtype={subtype}"])
        argv = [helper, "-o", joined, "--", os.fsdecode(mountpoint)]
        environment = {"PATH": os.defpath, "LC_ALL": "C", _COMM_FD: str(theirs.fileno())}
        try:
            done = subprocess.run(  # noqa: S603  # the helper by its path, no shell
                argv,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_HELPER_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as exc:
            raise MountError("fusermount3 did not come back") from exc
        theirs.close()
        fd = _receive_fd(ours)
    if done.returncode != 0 or fd is None:
        reason = done.stderr.decode(errors="backslashreplace").strip().removeprefix("fusermount3: ")
        hint = "allow_other needs user_allow_other in /etc/fuse.conf" if "allow_other" in reason else ""
        raise MountError(f"mounting failed: {reason or 'fusermount3 gave no reason'}", hint=hint)
    return fd


def _receive_fd(sock: socket.socket) -> int | None:
    """The descriptor that the helper sent, if it did."""
    fds = array.array("i")
    with contextlib.suppress(OSError):
        _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_LEN(fds.itemsize))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: fds.itemsize])
    if not fds:
        return None
    os.set_inheritable(fds[0], False)
    return fds[0]
