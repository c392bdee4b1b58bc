"""How a mount ends: by command, by signal, while in use, by kill."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.accounts import errno_of
from tests.support.drivers import Driver
from tests.support.flavours import Flavour
from tests.support.mounts import LiveMount
from tests.support.playground import Playground
from tests.support.processes import open_files

pytestmark = [pytest.mark.fuse_only, pytest.mark.flavours("default")]

EXIT_SIGNAL = 15
CONTENT = bytes(range(256)) * 8000  # 2 MB


def test_unmount_command_writes_everything_and_ends_the_server(own_mount: LiveMount) -> None:
    (own_mount.path / "file").write_bytes(CONTENT)
    assert own_mount.unmount(by_command=True) == 0
    assert os.listdir(own_mount.path) == []
    own_mount.start()
    assert (own_mount.path / "file").read_bytes() == CONTENT


@pytest.mark.gocryptfs_differs("2.3 ends with exit code 0")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_unmounts_with_dirty_data_written(own_mount: LiveMount, signum: signal.Signals) -> None:
    for number in range(20):
        (own_mount.path / f"file{number}").write_bytes(CONTENT[: 100_000 + number])
    assert own_mount.terminate(signum) == EXIT_SIGNAL
    assert "Traceback" not in own_mount.log()
    own_mount.start()
    for number in range(20):
        assert (own_mount.path / f"file{number}").read_bytes() == CONTENT[: 100_000 + number]


def test_signal_while_files_are_open_keeps_what_was_written(own_mount: LiveMount) -> None:
    fd = os.open(own_mount.path / "open", os.O_CREAT | os.O_RDWR)
    os.write(fd, CONTENT)
    view = mmap.mmap(fd, 4096)
    view[0:6] = b"mapped"
    view.flush()
    try:
        os.kill(own_mount.serving_pid(), signal.SIGTERM)
        kernel.wait_for_mount_change(
            lambda: kernel.find_mount(own_mount.path) is None, timeout_s=30, what="the busy mount to be detached"
        )
    finally:
        view.close()
        with suppress(OSError):  # the connection may be gone
            os.close(fd)
    own_mount.wait_gone()
    own_mount.start()
    assert (own_mount.path / "open").read_bytes() == b"mapped" + CONTENT[6:]


@pytest.mark.gocryptfs_differs("fusermount3 does not say who")
def test_busy_unmount_is_refused_says_who_and_changes_nothing(own_mount: LiveMount) -> None:
    path = own_mount.path / "held"
    path.write_bytes(b"x")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; f=open(sys.argv[1]); print('open', flush=True); sys.stdin.read()", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(OSError) as refused:
            own_mount.unmount()
        assert refused.value.errno == errno.EBUSY
        with pytest.raises(RuntimeError) as told:
            own_mount.unmount(by_command=True)
        assert str(holder.pid) in str(told.value)
        assert path.read_bytes() == b"x"
        (own_mount.path / "still-writable").write_bytes(b"y")
    finally:
        holder.communicate(timeout=30)
    assert own_mount.unmount(by_command=True) == 0


def test_killed_server_gives_errors_and_the_volume_mounts_again(own_mount: LiveMount) -> None:
    (own_mount.path / "file").write_bytes(CONTENT)
    os.sync()
    os.kill(own_mount.serving_pid(), signal.SIGKILL)
    assert own_mount.process is not None
    own_mount.process.wait(timeout=30)
    assert errno_of(lambda: os.stat(own_mount.path / "file")) in (errno.ENOTCONN, errno.ECONNABORTED)
    own_mount.kill()
    own_mount.start()
    assert (own_mount.path / "file").read_bytes() == CONTENT


def test_mounting_again_and_again_keeps_the_content(playground: Playground, driver: Driver, flavour: Flavour) -> None:
    driver.require()
    live = playground.new_mount(driver, flavour)
    for number in range(5):
        (live.path / f"round-{number}").write_bytes(b"%d" % number * 5000)
        live.unmount()
        live.start()
    assert sorted(os.listdir(live.path)) == [f"round-{n}" for n in range(5)]
    assert all((live.path / f"round-{n}").read_bytes() == b"%d" % n * 5000 for n in range(5))


def test_server_keeps_no_plaintext_outside_the_mount(own_mount: LiveMount) -> None:
    secret = b"findable plaintext 0123456789" * 1000
    (own_mount.path / "telltale").write_bytes(secret)
    os.sync()
    pid = own_mount.serving_pid()
    for descriptor, target in open_files(pid).items():
        is_device = target.startswith(("/dev/fuse", "/dev/null", "pipe:", "socket:", "anon_inode:", "/proc/"))
        held = Path(f"/proc/{pid}/fd/{descriptor}")
        if not is_device and held.is_file():
            assert b"findable plaintext" not in held.read_bytes(), target
    assert "telltale" not in own_mount.log()
