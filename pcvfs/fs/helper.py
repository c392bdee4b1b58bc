"""The fusermount3 helper: a mounted /dev/fuse descriptor for those who may not call mount(2).

Source: fusermount3's protocol: it mounts and sends the descriptor over the unix socket named in the environment
variable ``_FUSE_COMMFD``.
"""

from __future__ import annotations

import array
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from typing import Final

from pcvfs.errors import MountError

_COMM_FD: Final = "_FUSE_COMMFD"
_HELPER_TIMEOUT_S: Final = 30.0


def mount_by_helper(mountpoint: bytes, source: str, subtype: str, options: Sequence[str]) -> int:
    """Mount, and return the descriptor of /dev/fuse; arguments as of ``device.mount_device``.

    Raises:
        MountError: there is no helper, or it refused.
    """
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
