"""Running the real ``pcvfs`` command as a user does: as a process, with pipes or with a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.support.requirements import REPOSITORY

PROGRAM: Final = (sys.executable, "-c", "from pcvfs.cli.program import run; run()")
TIMEOUT_S: Final = 60.0

Word = str | bytes | Path


def environment(**changes: str) -> dict[str, str]:
    """The environment of a plain terminal-less session, so that no test depends on the developer's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb", **changes}


def pcvfs(
    *words: Word, stdin: bytes = b"", cwd: Path | None = None, **changes: str
) -> subprocess.CompletedProcess[bytes]:
    """Run one command; ``changes`` are environment variables. A mount that stays behind keeps no pipe of ours."""
    return subprocess.run(
        [*PROGRAM, *words],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
        cwd=cwd,
        env=environment(**changes),
    )


class Terminal:
    """A command on a pseudo-terminal, with what it shows and with its echo setting visible."""

    def __init__(self, words: Sequence[Word], **changes: str) -> None:
        self._fd, other = pty.openpty()
        self.shown = b""
        self.had_echo_at_end = False
        try:
            self._process = subprocess.Popen(
                [*PROGRAM, *words],
                stdin=other,
                stdout=other,
                stderr=other,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
                env=environment(**changes),
            )
        finally:
            os.close(other)

    def wait_for(self, text: bytes) -> None:
        """Read until ``text`` is shown; consumes it.

        Raises: AssertionError with what was shown instead.
        """
        deadline = time.monotonic() + TIMEOUT_S
        start = len(self.shown)
        while text not in self.shown[start:]:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} was not shown, but {self.shown[start:]!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End what still runs, so that a failed test leaves nothing behind."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=TIMEOUT_S)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def has_echo(self) -> bool:
        """The terminal shows what is typed."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)

    def type(self, line: bytes) -> None:
        os.write(self._fd, line)

    def finish(self) -> int:
        """Read to the end and return the exit code."""
        while self._read(TIMEOUT_S):
            pass
        status = self._process.wait(timeout=TIMEOUT_S)
        self.had_echo_at_end = self.has_echo()
        return status

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._fd], [], [], max(0.0, timeout_s))[0]:
            return False
        # EIO is how Linux says that the other side of a pseudo-terminal was closed.
        with suppress(OSError):
            data = os.read(self._fd, 65536)
            self.shown += data
            return bool(data)
        return False
