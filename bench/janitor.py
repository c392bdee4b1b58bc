"""A process that removes what a run leaves behind: mounts first, then directories.

It is the only place where a run is cleaned up, so that there is one way to do it, and it works however the run ended,
kill -9 included. Its standard input says what there is; the end of that input is the end of the run.

Protocol, one JSON object per line: ``{"mount": path, "pids": [n, ...]}``, ``{"unmounted": path}``,
``{"directory": path}``. A directory is removed only if nothing is mounted at or below it any more.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench import proc
from pcvfs.errors import PcvfsError
from pcvfs.fs import mounts

_END_S: Final = 120.0
_LAYERS: Final = 8
_SERVERS_END_S: Final = 5.0


class Janitor:
    """The run's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.janitor"],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            start_new_session=True,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def _tell(self, **message: object) -> None:
        if self._process.stdin is None:
            raise ValueError("no pipe to the janitor")
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def know_directory(self, path: Path) -> None:
        """Remove this directory at the end, with everything in it."""
        self._tell(directory=str(path))

    def know_mount(self, path: Path, pids: list[int]) -> None:
        """End this mount at the end, and the processes that serve it."""
        self._tell(mount=str(path), pids=pids)

    def forget_mount(self, path: Path) -> None:
        self._tell(unmounted=str(path))

    def close(self) -> None:
        """The run is over: wait until everything is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(_END_S)


def end_mount(path: Path, pids: list[int]) -> None:
    """End a mount whatever its state: those who wait for it get errors, and its servers are killed if they stay."""
    for _ in range(_LAYERS):  # one above the other, if something was mounted twice
        mount = mounts.find_mount(os.fsencode(path))
        if mount is None:
            break
        with suppress(PcvfsError):
            if mount.is_fuse:
                mounts.cut_off(mount)
            else:
                mounts.unmount(mount, lazy=True)
    ours = set(proc.find_servers(path))  # a pid may be another process's by now
    proc.kill(proc.wait_gone([pid for pid in pids if pid in ours], limit_s=_SERVERS_END_S))


def remove_directory(path: Path) -> None:
    """Remove a directory tree, but never through a mount."""
    below = os.fsencode(path) + b"/"
    if not any(m.mountpoint == below[:-1] or m.mountpoint.startswith(below) for m in mounts.read_mounts()):
        shutil.rmtree(path, ignore_errors=True)


def _main() -> None:
    known: dict[str, list[int]] = {}
    directories: list[str] = []
    for row in sys.stdin:
        message = json.loads(row)
        if "mount" in message:
            known[message["mount"]] = message["pids"]
        elif "unmounted" in message:
            known.pop(message["unmounted"], None)
        else:
            directories.append(message["directory"])
    for path in reversed(known):
        end_mount(Path(path), known[path])
    for path in reversed(directories):
        remove_directory(Path(path))


if __name__ == "__main__":
    _main()
