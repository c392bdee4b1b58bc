"""The process of a mount crashes: its users get errors, whoever started it is told, and nobody else notices."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pcvfs.errors import ExitCode
from tests.support import kernel
from tests.support.accounts import errno_of
from tests.support.drivers import Pcvfs
from tests.support.flavours import DEFAULT
from tests.support.mounts import LiveMount
from tests.support.places import check_volume
from tests.support.playground import Playground
from tests.support.requirements import REPOSITORY

SIGNALS = [signal.SIGSEGV, signal.SIGABRT]
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
PATIENCE_S = 20


@pytest.fixture(params=["lane", "python"])
def engine(request: pytest.FixtureRequest) -> Pcvfs:
    chosen = Pcvfs(request.param)
    chosen.require()
    return chosen


def crash(live: LiveMount, signum: signal.Signals) -> int:
    """Crash the serving process; the exit code of the mount command."""
    os.kill(live.serving_pid(), signum)
    assert live.process is not None
    return live.process.wait(PATIENCE_S)


def close_dead(fd: int) -> None:
    """Closing says so, too, where the kernel asks the filesystem."""
    assert errno_of(lambda: os.close(fd)) in (0, *DEAD)


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_crash_takes_down_one_mount_and_is_reported(
    playground: Playground, engine: Pcvfs, signum: signal.Signals
) -> None:
    crashing, other = playground.new_mount(engine, DEFAULT), playground.new_mount(engine, DEFAULT)
    for live in (crashing, other):
        (live.path / "dir").mkdir()
        (live.path / "file").write_bytes(b"content")
        with open(live.path / "file", "rb") as stream:
            os.fsync(stream.fileno())
    fd, kept = os.open(crashing.path / "file", os.O_RDWR), os.open(other.path / "file", os.O_RDWR)
    assert crash(crashing, signum) == ExitCode.FUSE_MOUNT
    assert signum.name in crashing.log() or f"signal {signum.value}" in crashing.log()

    for action in (
        lambda: os.stat(crashing.path / "file"),
        lambda: os.listdir(crashing.path),
        lambda: (crashing.path / "new").touch(),
        lambda: os.fsync(fd),
        lambda: os.pread(fd, 7, 1 << 20) or os.ftruncate(fd, 1),
    ):
        assert errno_of(action) in DEAD
    close_dead(fd)

    os.pwrite(kept, b"CONTENT", 0)
    os.fsync(kept)
    os.close(kept)
    (other.path / "dir" / "new").write_bytes(b"new")
    assert (other.path / "file").read_bytes() == b"CONTENT"
    assert other.is_alive()

    crashing.kill()
    crashing.start()
    assert (crashing.path / "file").read_bytes() == b"content"
    for live in (crashing, other):
        live.unmount()
        assert check_volume(live, {"pcvfs"}) == []


def test_crash_frees_whoever_waits_for_an_answer(playground: Playground, engine: Pcvfs) -> None:
    """Stopped first, so that requests of every kind are on their way when it dies."""
    live = playground.new_mount(engine, DEFAULT)
    path = live.path / "file"
    path.write_bytes(b"x" * (2 << 20))
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    pid = live.serving_pid()
    os.kill(pid, signal.SIGSTOP)
    failures: list[int] = []
    actions = (
        lambda: os.stat(live.path / "unknown"),
        lambda: (live.path / "made").mkdir(),
        lambda: os.fsync(fd),
        lambda: os.listdir(live.path),
        lambda: os.preadv(fd, [memoryview(bytearray(4096))], 0),
    )
    threads = [threading.Thread(target=lambda a=action: failures.append(errno_of(a))) for action in actions]
    for thread in threads:
        thread.start()
    kernel.wait_until(lambda: waiting(live) >= 3, timeout_s=PATIENCE_S, what="requests to wait")
    os.kill(pid, signal.SIGSEGV)
    os.kill(pid, signal.SIGCONT)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(failures) == len(actions)
    assert all(failures)
    close_dead(fd)
    assert live.process is not None
    assert live.process.wait(PATIENCE_S) == ExitCode.FUSE_MOUNT


def waiting(live: LiveMount) -> int:
    """Requests that the kernel has no answer to."""
    return int((kernel.FUSE_CONNECTIONS / str(live.minor) / "waiting").read_text())


def test_python_program_that_mounts_is_told(playground: Playground, engine: Pcvfs) -> None:
    """``async with pcvfs.mount`` raises when it ends, and ``wait_ended`` returns at once."""
    volume, mountpoint = playground.new_volume(engine, DEFAULT), playground.new_directory("m")
    program = playground.new_directory() / "program.py"
    program.write_text(PROGRAM)
    words = [sys.executable, program, volume.cipherdir, mountpoint, volume.password, engine.name.removeprefix("pcvfs-")]
    result = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.splitlines() == ["ended -11", "MountError True"], result.stderr
    assert kernel.find_mount(Path(mountpoint)) is None


PROGRAM = """
import os, signal, sys, trio
from pcvfs import MountOptions, PasswordKey, PcvfsError, Secret, mount

async def main():
    cipherdir, mountpoint, password, engine = sys.argv[1:]
    options = MountOptions(cipherdir=os.fsencode(cipherdir), mountpoint=os.fsencode(mountpoint), engine=engine)
    try:
        async with mount(options, PasswordKey(Secret.from_bytes(password.encode()))) as process:
            os.kill(process.pid, signal.SIGSEGV)
            print("ended", await process.wait_ended())
    except PcvfsError as exc:
        print(type(exc).__name__, "signal 11" in str(exc))

trio.run(main)
"""
