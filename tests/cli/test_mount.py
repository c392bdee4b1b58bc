"""``pcvfs mount`` and ``pcvfs umount`` as commands: background, foreground, signals, helpers, and how a mount ends."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pcvfs.errors import ExitCode
from pcvfs.fs import mounts
from tests.cli.commands import PROGRAM, Terminal, Word, environment, pcvfs
from tests.cli.golden import unpack
from tests.support import kernel
from tests.support.requirements import require_fuse, require_root, require_tool
from tests.support.watchdog import Watchdog

PASSWORD = b"a good password"
END_TIMEOUT_S = 30
HOLD = "import sys; held = open(sys.argv[1]); print(sys.stdin.readline(), end='', flush=True); sys.stdin.read()"


@dataclass(frozen=True)
class Place:
    """A volume, a password file for it, and an empty mountpoint that the watchdog knows once something is mounted."""

    cipherdir: Path
    mountpoint: Path
    passfile: Path
    watchdog: Watchdog

    def mount(self, *options: Word) -> subprocess.CompletedProcess[bytes]:
        result = pcvfs("mount", *options, "--passfile", self.passfile, self.cipherdir, self.mountpoint)
        self.watch()
        return result

    def watch(self) -> None:
        entry, pid = kernel.find_mount(self.mountpoint), self.server()
        if entry is not None and pid is not None:
            self.watchdog.watch(self.mountpoint, minor=entry.minor, session=os.getsid(pid))

    def server(self) -> int | None:
        """The process that serves the mount."""
        for directory in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                words = (directory / "cmdline").read_bytes().split(b"\0")
                if mounts.SERVER_MODULE.encode() in words and os.fsencode(self.mountpoint) in words:
                    return int(directory.name)
        return None

    def is_mounted(self) -> bool:
        return kernel.find_mount(self.mountpoint) is not None

    def wait_until_gone(self) -> None:
        kernel.wait_until(
            lambda: not self.is_mounted() and self.server() is None, timeout_s=END_TIMEOUT_S, what="end of the mount"
        )


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("volume") / "cipher"
    path.mkdir()
    assert pcvfs("init", "-q", "-scryptn=10", path, stdin=PASSWORD).returncode == 0
    return path


@pytest.fixture
def place(volume: Path, tmp_path: Path, watchdog: Watchdog) -> Iterator[Place]:
    require_fuse()
    (tmp_path / "plain").mkdir()
    (tmp_path / "pw").write_bytes(PASSWORD + b"\n")
    here = Place(volume, tmp_path / "plain", tmp_path / "pw", watchdog)
    yield here
    was_left = here.is_mounted()
    if was_left:
        kernel.lazy_unmount(here.mountpoint)
    while (pid := here.server()) is not None:
        os.kill(pid, signal.SIGKILL)
        here.wait_until_gone()
    watchdog.forget(here.mountpoint)
    assert not was_left, "the test left its volume mounted"
    assert list(here.mountpoint.iterdir()) == []


# --- background ---------------------------------------------------------------------------------------------------
def test_mount_returns_when_ready_and_umount_when_over(place: Place) -> None:
    result = place.mount()
    assert (result.returncode, result.stderr) == (0, b"")
    (place.mountpoint / "file").write_text("content")
    result = pcvfs("umount", place.mountpoint)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert place.server() is None
    # Nothing has to be waited for before the next one.
    assert place.mount("-q").returncode == 0
    assert (place.mountpoint / "file").read_text() == "content"
    assert pcvfs("umount", place.mountpoint).returncode == 0


def test_mount_quiet_is_silent(place: Place) -> None:
    result = place.mount("-q")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert pcvfs("umount", "-q", place.mountpoint).returncode == 0


def test_mount_relative_paths_are_those_of_the_caller(place: Place) -> None:
    words = ["mount", "-passfile", place.passfile, os.path.relpath(place.cipherdir, place.mountpoint.parent), "plain"]
    assert pcvfs(*words, cwd=place.mountpoint.parent).returncode == 0
    place.watch()
    assert place.is_mounted()
    assert pcvfs("umount", "plain", cwd=place.mountpoint.parent).returncode == 0


def test_mount_secret_is_in_no_command_line_and_no_environment(place: Place) -> None:
    assert place.mount().returncode == 0
    pid = place.server()
    assert pid is not None
    try:
        for name in ("cmdline", "environ"):
            assert PASSWORD not in Path(f"/proc/{pid}/{name}").read_bytes()
    finally:
        assert pcvfs("umount", place.mountpoint).returncode == 0


def test_mount_master_key_in_argv_is_not_shown_by_the_server(tmp_path: Path, place: Place) -> None:
    golden = unpack("xchacha", tmp_path)
    words = ["mount", "-masterkey", golden.master_key, "-xchacha", "-ro", golden.cipherdir, place.mountpoint]
    assert pcvfs(*words).returncode == 0
    place.watch()
    pid = place.server()
    assert pid is not None
    try:
        shown = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert golden.master_key.encode() not in shown
        assert shown.rstrip(b"\0").split(b"\0")[1:] == [bytes(golden.cipherdir), bytes(place.mountpoint)]
    finally:
        assert pcvfs("umount", place.mountpoint).returncode == 0


def test_mount_keeps_none_of_our_descriptors_and_is_no_child_of_the_terminal(place: Place) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        words = ["mount", "-passfile", str(place.passfile), str(place.cipherdir), str(place.mountpoint)]
        done = subprocess.run(
            [*PROGRAM, *words], stdin=subprocess.DEVNULL, close_fds=False, check=False, timeout=60, env=environment()
        )
        assert done.returncode == 0
        place.watch()
    finally:
        os.close(writer)
    pid = place.server()
    assert pid is not None
    try:
        assert os.read(reader, 1) == b""  # the end of the pipe: nobody else holds it
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    finally:
        os.close(reader)
        assert pcvfs("umount", place.mountpoint).returncode == 0


def test_mount_without_standard_streams_is_served(place: Place) -> None:
    words = ["mount", "-q", "-passfile", place.passfile, place.cipherdir, place.mountpoint]
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *PROGRAM, *words]
    assert subprocess.run(shell, check=False, timeout=60, env=environment()).returncode == 0
    place.watch()
    (place.mountpoint / "file").write_bytes(b"content")
    assert pcvfs("umount", place.mountpoint).returncode == 0


def test_mount_notifypid_gets_a_signal(place: Place) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert place.mount("-notifypid", str(os.getpid())).returncode == 0
        assert signal.sigtimedwait({signal.SIGUSR1}, 5) is not None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert pcvfs("umount", place.mountpoint).returncode == 0


def test_mount_options_reach_the_kernel(place: Place) -> None:
    assert place.mount("-o", "ro,noexec,fsname=a volume", "-allow_other", "-ko=noatime").returncode == 0
    entry = kernel.find_mount(place.mountpoint)
    try:
        assert entry is not None
        assert entry.source == "a volume"
        assert {"ro", "noexec", "nosuid", "nodev", "noatime", "allow_other"} <= set(entry.options.split(","))
        with pytest.raises(OSError, match="Read-only") as refused:
            (place.mountpoint / "new").touch()
        assert refused.value.errno == errno.EROFS
    finally:
        assert pcvfs("umount", place.mountpoint).returncode == 0


@pytest.mark.parametrize("options", [["-ro", "-rw"], ["-rw", "-ro=true"], ["-o", "rw", "-o", "ro"]])
def test_mount_contradiction_the_safer_one_wins(place: Place, options: list[str]) -> None:
    assert place.mount(*options).returncode == 0
    entry = kernel.find_mount(place.mountpoint)
    assert pcvfs("umount", place.mountpoint).returncode == 0
    assert entry is not None
    assert "ro" in entry.options.split(",")


def test_mount_idle_ends_by_itself(place: Place) -> None:
    assert place.mount("-idle", "400ms").returncode == 0
    place.wait_until_gone()


def test_mount_master_key_needs_no_config(tmp_path: Path, place: Place) -> None:
    golden = unpack("xchacha", tmp_path)
    (golden.cipherdir / "gocryptfs.conf").unlink()
    words = ["mount", "-masterkey=stdin", "-xchacha", "-ro", golden.cipherdir, place.mountpoint]
    assert pcvfs(*words, stdin=golden.master_key.encode() + b"\n").returncode == 0
    place.watch()
    names = os.listdir(place.mountpoint)
    content = (place.mountpoint / "b4096").read_bytes()
    assert pcvfs("umount", place.mountpoint).returncode == 0
    assert "symlink" in names or len(names) > 20
    assert content == bytes(((i * 31) + ((i >> 8) * 17) + 7) & 0xFF for i in range(4096))


def test_mount_config_from_a_pipe_is_read_once(place: Place, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    config = (place.cipherdir / "gocryptfs.conf").read_bytes()
    with subprocess.Popen(["tee", tmp_path / "pipe"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as writer:
        assert writer.stdin is not None
        writer.stdin.write(config)
        writer.stdin.close()
        assert place.mount("-config", tmp_path / "pipe").returncode == 0
    assert pcvfs("umount", place.mountpoint).returncode == 0


def test_mount_twice_is_refused_and_the_first_stays(place: Place, tmp_path: Path) -> None:
    assert place.mount().returncode == 0
    (tmp_path / "other").mkdir()
    result = pcvfs("mount", place.cipherdir, tmp_path / "other", stdin=PASSWORD)
    still_there = place.is_mounted()
    assert pcvfs("umount", place.mountpoint).returncode == 0
    assert result.returncode == ExitCode.OTHER
    assert b"another process has this cipherdir mounted" in result.stderr
    assert still_there


# --- foreground ---------------------------------------------------------------------------------------------------
@contextmanager
def foreground(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """``pcvfs mount -fg`` once the volume is ready; killed at the end if it still runs."""
    words = ["mount", "-fg", "-passfile", place.passfile, place.cipherdir, place.mountpoint]
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, start_new_session=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"Filesystem mounted and ready.\n"
            place.watch()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_mount_foreground_signal_unmounts_and_says_so(place: Place, signum: signal.Signals) -> None:
    with foreground(place) as process:
        (place.mountpoint / "late").write_bytes(b"x" * 100_000)
        process.send_signal(signum)
        assert process.wait(timeout=END_TIMEOUT_S) == ExitCode.SIGNAL
    assert not place.is_mounted()


def test_mount_foreground_unmounted_ends_with_success(place: Place) -> None:
    with foreground(place) as process:
        assert pcvfs("umount", place.mountpoint).returncode == 0
        assert process.wait(timeout=END_TIMEOUT_S) == 0


def test_mount_foreground_killed_server_is_reported(place: Place) -> None:
    with foreground(place) as process:
        pid = place.server()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=END_TIMEOUT_S) == ExitCode.FUSE_MOUNT
    # What is left is a mountpoint where every call fails; umount clears it.
    assert pcvfs("umount", place.mountpoint).returncode in (0, ExitCode.MOUNTPOINT)


def test_mount_foreground_ctrl_c_at_the_terminal_unmounts(place: Place) -> None:
    words = ["mount", "-fg", "-passfile", place.passfile, place.cipherdir, place.mountpoint]
    with Terminal(words) as terminal:
        terminal.wait_for(b"mounted and ready")
        place.watch()
        terminal.type(b"\x03")
        assert terminal.finish() == ExitCode.SIGNAL
    assert not place.is_mounted()
    assert b"Traceback" not in terminal.shown


# --- ends ---------------------------------------------------------------------------------------------------------
def test_umount_busy_names_the_process_and_lazy_detaches(place: Place) -> None:
    assert place.mount().returncode == 0
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=place.mountpoint) as holder:
        result = pcvfs("umount", place.mountpoint)
        assert result.returncode == ExitCode.OTHER
        assert f"cat (process {holder.pid}): working directory".encode() in result.stderr
        assert place.is_mounted()
        assert pcvfs("umount", "--lazy", place.mountpoint).returncode == 0
        assert not place.is_mounted()
        assert place.server() is not None
        holder.communicate(timeout=END_TIMEOUT_S)
    place.wait_until_gone()


@pytest.mark.parametrize("use", ["open file", "running program"])
def test_umount_busy_names_the_use(place: Place, use: str) -> None:
    assert place.mount().returncode == 0
    program = place.mountpoint / "program"
    shutil.copy("/bin/cat", program)
    words = [program] if use == "running program" else [sys.executable, "-c", HOLD, program]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"ready\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"ready\n"
        result = pcvfs("umount", place.mountpoint)
        holder.communicate(timeout=END_TIMEOUT_S)
    assert result.returncode == ExitCode.OTHER
    assert f"(process {holder.pid}): {use}".encode() in result.stderr
    assert pcvfs("umount", place.mountpoint).returncode == 0


def test_umount_through_a_symlink_finds_the_mount(place: Place, tmp_path: Path) -> None:
    assert place.mount().returncode == 0
    (tmp_path / "link").symlink_to("plain")
    assert pcvfs("umount", tmp_path / "link").returncode == 0
    assert not place.is_mounted()


def test_umount_force_ends_a_mount_that_hangs(place: Place) -> None:
    assert place.mount().returncode == 0
    pid = place.server()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with subprocess.Popen(["stat", place.mountpoint / "nothing"], stderr=subprocess.PIPE) as caller:
        try:
            assert pcvfs("umount", "--force", place.mountpoint).returncode == 0
            assert caller.wait(timeout=END_TIMEOUT_S) != 0
        finally:
            os.kill(pid, signal.SIGCONT)
    place.wait_until_gone()


def test_umount_of_a_dead_mount_clears_it(place: Place) -> None:
    assert place.mount().returncode == 0
    pid = place.server()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    kernel.wait_until(lambda: place.server() is None, timeout_s=END_TIMEOUT_S, what="end of the server")
    assert place.is_mounted()
    result = place.mount()
    assert result.returncode == ExitCode.MOUNTPOINT
    assert b"pcvfs umount" in result.stderr
    assert pcvfs("umount", place.mountpoint).returncode == 0
    assert not place.is_mounted()


@pytest.mark.parametrize(
    ("path", "message"),
    [("/proc", b"/proc is a proc mount, not a volume"), ("/nonexistent", b"nothing is mounted")],
)
def test_umount_of_what_is_no_volume_is_refused(path: str, message: bytes) -> None:
    result = pcvfs("umount", path)
    assert result.returncode == ExitCode.MOUNTPOINT
    assert message in result.stderr


def test_umount_lazy_and_force_exclude_each_other(tmp_path: Path) -> None:
    assert pcvfs("umount", "--lazy", "--force", tmp_path).returncode == ExitCode.USAGE


# --- mount(8) -----------------------------------------------------------------------------------------------------
def test_fstab_line_mounts_through_the_helper(place: Place, tmp_path: Path) -> None:
    require_root("a mount namespace of its own, with the helper in /sbin")
    require_tool("unshare")
    helper = Path(sys.executable).with_name("mount.fuse.pcvfs")
    assert helper.exists(), "pcvfs is not installed in this environment"
    for name in ("upper", "work"):
        (tmp_path / "sbin" / name).mkdir(parents=True)
    (tmp_path / "sbin" / "upper" / helper.name).symlink_to(helper)
    options = f"passfile={place.passfile},allow_other,noauto,x-systemd.automount,_netdev"
    (tmp_path / "fstab").write_text(f"{place.cipherdir} {place.mountpoint} fuse.pcvfs {options} 0 0\n")
    sbin = Path("/sbin").resolve()
    overlay = f"lowerdir={sbin},upperdir={tmp_path}/sbin/upper,workdir={tmp_path}/sbin/work"
    script = f"""
        set -e
        mount -t overlay overlay -o {overlay} {sbin}
        mount -T {tmp_path}/fstab {place.mountpoint}
        grep -q ' {place.mountpoint} fuse.pcvfs .*allow_other' /proc/self/mounts
        echo through mount > {place.mountpoint}/fstab-file
        cat {place.mountpoint}/fstab-file
        umount {place.mountpoint}
        mount -t fuse.pcvfs -o ro,passfile={place.passfile} {place.cipherdir} {place.mountpoint}
        cat {place.mountpoint}/fstab-file
        umount {place.mountpoint}
    """
    unshare = shutil.which("unshare")
    result = subprocess.run(
        [unshare, "--mount", "sh", "-c", script],
        capture_output=True,
        check=False,
        timeout=END_TIMEOUT_S,
        env=environment(),
    )
    assert (result.returncode, result.stdout) == (0, b"through mount\n" * 2), result.stderr
