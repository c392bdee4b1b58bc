"""Running programs that may hang, and looking at processes. No output pipe that a daemon could keep open."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.errors import BenchError

_OUTPUT_SHOWN: Final = 600
_KILLED_S: Final = 10.0

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: arguments, variables added to our environment, and text for standard input."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""

    @property
    def program(self) -> str:
        return os.path.basename(self.argv[0])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float


def run(
    command: Command,
    *,
    limit_s: float,
    on_timeout: Callable[[], None] | None = None,
    must_succeed: bool = True,
    error_log: Path | None = None,
) -> Outcome:
    """Run a program to its end.

    Args:
        error_log: what is to become of standard error: a daemon that it leaves behind may go on to write there.
        on_timeout: called before the program is killed, to free it from a system call that a kill can't end.

    Raises:
        BenchError: it did not end in time, or failed.
    """
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() if error_log is None else error_log.open("wb+") as stderr,
    ):
        stdin.write(command.stdin.encode())
        stdin.seek(0)
        started = time.perf_counter()
        try:
            process = subprocess.Popen(
                command.argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **command.env},
                cwd="/",
                start_new_session=True,  # Ctrl-C is for us alone; we end our children in the right order
            )
        except OSError as exc:
            raise BenchError(f"{command.program} can't be started: {exc.strerror}") from exc
        try:
            _wait(process, limit_s)
        except BaseException as exc:
            if on_timeout is not None:
                on_timeout()
            _kill_group(process)
            if isinstance(exc, subprocess.TimeoutExpired):
                raise BenchError(f"{command.program} did not end within {limit_s:g} s") from exc
            raise
        seconds, returncode = time.perf_counter() - started, process.wait()
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    outcome = Outcome(returncode, texts[0], texts[1], seconds)
    if must_succeed and returncode != 0:
        said = (outcome.stderr.strip() or outcome.stdout.strip())[-_OUTPUT_SHOWN:]
        raise BenchError(f"{command.program} ended with exit code {returncode}: {said or 'no message'}")
    return outcome


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Wait for the end without polling: Popen.wait with a timeout looks every 50 ms only, and this is timed.

    Raises:
        subprocess.TimeoutExpired: it did not come in time.
    """
    pidfd = os.pidfd_open(process.pid)
    try:
        if not select.select([pidfd], [], [], limit_s)[0]:
            raise subprocess.TimeoutExpired(process.args, limit_s)
    finally:
        os.close(pidfd)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_S)


# --- other processes ----------------------------------------------------------------------------------------------
def find_servers(mountpoint: Path) -> list[int]:
    """The processes that were started with this mountpoint as an argument, and are no children of ours."""
    wanted = os.fsencode(mountpoint)
    servers = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):  # it may end while we look at it
                if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                    servers.append(int(entry.name))
    return sorted(servers)


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have used so far; 0.0 if it is gone.

    Source: clock_getcpuclockid(3). In nanoseconds, unlike /proc/PID/stat, and with the threads that have ended.
    """
    clock = ctypes.c_int()
    if _libc.clock_getcpuclockid(ctypes.c_int(pid), ctypes.byref(clock)) != 0:
        return 0.0
    with suppress(OSError):
        return time.clock_gettime(clock.value)
    return 0.0


def memory_bytes(pid: int, key: str) -> int:
    """A size from /proc/PID/status, for example ``VmHWM``; 0 if the process is gone."""
    with suppress(OSError):
        for row in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = row.partition(":")
            if name == key:
                return int(value.split()[0]) * 1024
    return 0


def wait_gone(pids: Sequence[int], *, limit_s: float) -> list[int]:
    """Wait until the processes have ended; returns those that have not, in time."""
    deadline = time.monotonic() + limit_s
    left = []
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                if not select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    left.append(pid)
            finally:
                os.close(pidfd)
    return left


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
