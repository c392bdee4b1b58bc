"""A process that keeps the tests from hanging on a wedged mount.

The test process can't free itself: a thread that waits in the kernel for a FUSE reply sees no Python timeout. So a
second process, in a session of its own, knows every mount. When the deadline of the running test passes, or when the
test process dies, it aborts the FUSE connections, kills the servers and detaches the mounts; then the waiting system
calls return and the test fails on its own.

Protocol on stdin, one JSON object per line: ``{"watch": mountpoint, "minor": n, "session": pid}``,
``{"forget": mountpoint}``, ``{"deadline_s": seconds or null}``. Each intervention adds a line to the report file.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support.kernel import abort_connection, lazy_unmount
from tests.support.processes import session_members

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class _State:
    """What the watchdog process knows."""

    report: Path
    watched: dict[str, tuple[int, int]] = field(default_factory=dict)  # mountpoint -> (minor, session)
    deadline: float | None = None

    def command(self, line: str) -> None:
        message = json.loads(line)
        if "watch" in message:
            self.watched[message["watch"]] = (message["minor"], message["session"])
        elif "forget" in message:
            self.watched.pop(message["forget"], None)
        else:
            seconds = message["deadline_s"]
            self.deadline = None if seconds is None else time.monotonic() + seconds

    def intervene(self, reason: str) -> None:
        """Abort and remove every watched mount."""
        with self.report.open("a") as report:
            report.writelines(f"{reason}: aborted {mountpoint}\n" for mountpoint in self.watched)
            if not self.watched:
                report.write(f"{reason}: nothing mounted\n")
        for mountpoint, (minor, _) in self.watched.items():
            abort_connection(Path(mountpoint), minor)
        for mountpoint, (_, session) in self.watched.items():
            for pid in session_members(session):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            lazy_unmount(Path(mountpoint))
        self.watched.clear()
        self.deadline = None


def _run(report: Path) -> None:
    state, pending = _State(report), b""
    while True:
        wait_s = None if state.deadline is None else max(0.0, state.deadline - time.monotonic())
        ready, _, _ = select.select([0], [], [], wait_s)
        if not ready:
            state.intervene("deadline passed")
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            state.command(line.decode())
    if state.watched:
        state.intervene("test process ended")


class Watchdog:
    """The tests' end of the pipe."""

    def __init__(self, report: Path) -> None:
        self._report = report
        report.touch()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.watchdog", str(report)],
            stdin=subprocess.PIPE,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe: IO[bytes] = self._process.stdin

    def _send(self, message: dict[str, object]) -> None:
        self._pipe.write(json.dumps(message).encode() + b"\n")
        self._pipe.flush()

    def watch(self, mountpoint: Path, *, minor: int, session: int) -> None:
        """Know a mount: FUSE connection *minor*, served by the processes of *session*."""
        self._send({"watch": str(mountpoint), "minor": minor, "session": session})

    def forget(self, mountpoint: Path) -> None:
        """Stop watching a mount that is gone."""
        self._send({"forget": str(mountpoint)})

    def set_deadline(self, seconds: float | None) -> None:
        """Intervene after so many seconds from now; None waits for ever."""
        self._send({"deadline_s": seconds})

    def interventions(self) -> list[str]:
        """Return what it had to do so far, one line each."""
        return self._report.read_text().splitlines()

    def close(self) -> None:
        """End the process; it cleans up whatever it still watches."""
        self._pipe.close()
        self._process.wait(timeout=30)


if __name__ == "__main__":
    _run(Path(sys.argv[1]))
