"""Looking at processes through /proc."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

FUSE_DEVICE = "/dev/fuse"
SERVER_TIMEOUT_S = 5.0


def session_members(session: int) -> list[int]:
    """Return the live processes of a session (zombies left out)."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                members.append(int(entry.name))
    return members


def open_files(pid: int) -> dict[int, str]:
    """Return descriptor number -> target for a process; entries that vanish meanwhile are left out."""
    targets: dict[int, str] = {}
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                targets[int(entry.name)] = os.readlink(entry)
    return targets


def fuse_server(session: int) -> int:
    """Return the process of the session that holds the FUSE device: the one that serves the mount.

    A server that made itself undumpable hides its descriptors from everyone but root; then it is the one that hides.
    Where a helper mounts, the mount is there a moment before its server has the descriptor.

    Raises: LookupError if there is none.
    """
    end = time.monotonic() + SERVER_TIMEOUT_S
    while True:
        try:
            return _fuse_server(session)
        except LookupError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _fuse_server(session: int) -> int:
    members = session_members(session)
    servers = [pid for pid in members if FUSE_DEVICE in open_files(pid).values()]
    if not servers and os.geteuid() != 0:
        servers = [pid for pid in members if not os.access(f"/proc/{pid}/fd", os.R_OK)]
    if not servers:
        raise LookupError(f"no process of session {session} has {FUSE_DEVICE} open")
    return max(servers)  # a launcher may hold it, too; the server is its child


def run_together(actions: Sequence[Callable[[], None]]) -> None:
    """Run each action in a process of its own; fail if one fails."""
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=action) for action in actions]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
