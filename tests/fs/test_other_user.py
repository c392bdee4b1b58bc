"""What modes and owners do to a mount that does not run as root. As root, the tests run in a child that is nobody."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pcvfs.cipherdir.report import ProblemKind
from pcvfs.fs.volume_fs import Caller
from tests.fs.bench import Bench
from tests.fs.kernel import ROOT, SUPERUSER
from tests.support.accounts import NOBODY, run_as
from tests.support.flavours import Flavour

LONG = b"L" * 250

pytestmark = pytest.mark.flavours("default", "plaintextnames", "longnamemax-62")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave somebody else's files")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that nobody can reach and owns; pytest's own are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="pcvfs-"))
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def as_nobody(place: Path, flavour: Flavour) -> Callable[[Callable[[Bench], object]], None]:
    """Runs a function on a bench of its own, without root's powers, and all checks of the bench after it."""

    def run(scenario: Callable[[Bench], object]) -> None:
        def action() -> None:
            bench = Bench(place / "cipher", flavour)
            scenario(bench)
            bench.finish()

        run_as(NOBODY, action) if os.geteuid() == 0 else action()

    return run


def mode_of(bench: Bench, path: bytes) -> int:
    return stat.S_IMODE(bench.kernel.stat(path).st.st_mode)


# --- files ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [0o200, 0o000, 0o400, 0o040])
def test_file_whose_mode_forbids_it_is_written_by_its_owner(as_nobody: Callable, mode: int) -> None:
    """The kernel has checked; writing a part of a block takes reading it, whatever the mode says."""

    def scenario(bench: Bench) -> None:
        for name in (b"file", LONG):
            bench.kernel.put(name, b"content", mode)
            assert mode_of(bench, name) == mode
            handle = bench.kernel.open(name, os.O_WRONLY)
            bench.kernel.write(handle, 7, b"!")
            assert mode_of(bench, name) == mode
            assert bench.kernel.read(handle) == b"content!"
            bench.kernel.release(handle)
            bench.kernel.setattr(name, size=3)
            assert mode_of(bench, name) == mode
            bench.kernel.release(bench.kernel.open(name, os.O_WRONLY | os.O_TRUNC))
            assert (bench.kernel.stat(name).size, mode_of(bench, name)) == (0, mode)
        for name in (b"file", LONG):
            bench.kernel.setattr(name, mode=0o600)

    as_nobody(scenario)


def test_unlinked_file_whose_mode_forbids_it_can_still_be_opened(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        inode = bench.kernel.put(b"file", b"content", 0o200)
        bench.kernel.unlink(b"file")
        handle = bench.kernel.open_inode(inode, os.O_WRONLY)
        bench.kernel.write(handle, 0, b"C")
        assert bench.kernel.read(handle) == b"Content"
        assert stat.S_IMODE(bench.fs.getattr(inode).st.st_mode) == 0o200

    as_nobody(scenario)


def test_read_only_mount_changes_no_mode(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        bench.kernel.put(b"file", b"content", 0o200)
        kernel = bench.remount(ro=True)
        before = kernel.stat(b"file").st
        with pytest.raises(PermissionError):
            kernel.open(b"file")
        assert kernel.stat(b"file").st.st_ctime_ns == before.st_ctime_ns
        bench.remount(ro=False).setattr(b"file", mode=0o600)

    as_nobody(scenario)


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o200, 0o000])
def test_somebody_elses_file_stays_closed(place: Path, flavour: Flavour, as_nobody: Callable, mode: int) -> None:
    stranger = b"stranger"
    run_as(NOBODY, lambda: make_one_file(place, flavour, stranger))
    (path,) = [path for path in (place / "cipher").iterdir() if not path.name.startswith("gocryptfs.")]
    os.chown(path, 0, 0)
    path.chmod(mode)

    def action() -> None:
        bench = Bench(place / "cipher", flavour, is_new=False)
        kernel = bench.kernel
        assert kernel.stat(stranger).size == 7
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            with pytest.raises(PermissionError):
                kernel.open(stranger, flags)
        for call in (
            lambda: kernel.setattr(stranger, mode=0o777),
            lambda: kernel.setattr(stranger, uid=NOBODY),
            lambda: kernel.setattr(stranger, size=0),
        ):
            with pytest.raises(PermissionError):
                call()
        assert {problem.kind for problem in bench.problems()} == {ProblemKind.PERMISSION_DENIED}
        kernel.unlink(stranger)  # the directory is ours
        bench.finish()

    run_as(NOBODY, action)


def make_one_file(place: Path, flavour: Flavour, name: bytes) -> None:
    bench = Bench(place / "cipher", flavour)
    bench.kernel.put(name, b"content")
    bench.finish()


def test_nothing_is_given_away(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        attr = bench.kernel.mkdir(b"d", 0o755, Caller(1234, 1234))
        assert (attr.uid, attr.gid) == (os.geteuid(), os.getegid())
        with pytest.raises(PermissionError):
            bench.kernel.setattr(b"d", uid=1234)

    as_nobody(scenario)


# --- directories ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [0o000, 0o300, 0o500, 0o077, 0o1700])
def test_mkdir_and_rmdir_whatever_the_mode(as_nobody: Callable, mode: int) -> None:
    def scenario(bench: Bench) -> None:
        for name in (b"d", LONG):
            assert stat.S_IMODE(bench.kernel.mkdir(name, mode).st.st_mode) == mode
            bench.kernel.rmdir(name)
        assert bench.kernel.list() == {}

    as_nobody(scenario)


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o500])
def test_rmdir_that_fails_leaves_the_mode_as_it_was(as_nobody: Callable, mode: int) -> None:
    def scenario(bench: Bench) -> None:
        bench.kernel.mkdir(b"d")
        bench.kernel.put(b"d/file", b"content")
        bench.kernel.setattr(b"d", mode=mode)
        bench.kernel.mkdir(b"source")
        for call in (lambda: bench.kernel.rmdir(b"d"), lambda: bench.kernel.rename(b"source", b"d")):
            with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
                call()
            assert mode_of(bench, b"d") == mode
        bench.kernel.setattr(b"d", mode=0o700)
        assert bench.kernel.get(b"d/file") == b"content"

    as_nobody(scenario)


def test_mkdir_of_a_closed_directory_whose_name_is_taken_leaves_nothing(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        bench.kernel.put(b"taken", b"x")
        for mode in (0o000, 0o300, 0o400):
            with pytest.raises(FileExistsError):
                bench.fs.mkdir(ROOT, b"taken", mode, SUPERUSER)
        assert bench.tree.leftovers() == []

    as_nobody(scenario)


@pytest.mark.flavours
def test_closed_leftovers_are_cleared_away(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        leftover = bench.cipherdir / "gocryptfs.diriv.mkdir.1"
        leftover.mkdir()
        (leftover / "gocryptfs.diriv").write_bytes(b"i" * 16)
        leftover.chmod(0o000)
        assert bench.kernel.list() == {}
        assert bench.tree.leftovers() == []

    as_nobody(scenario)


def test_rename_over_an_empty_directory_that_is_closed(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        bench.kernel.mkdir(b"source")
        bench.kernel.put(b"source/file", b"content")
        bench.kernel.mkdir(b"target", 0o500)
        bench.kernel.rename(b"source", b"target")
        assert bench.kernel.get(b"target/file") == b"content"

    as_nobody(scenario)


def test_directory_that_may_not_be_read_can_be_walked_through(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        bench.kernel.mkdir(b"d")
        bench.kernel.put(b"d/file", b"content")
        bench.kernel.setattr(b"d", mode=0o300)
        kernel = bench.remount()
        assert kernel.get(b"d/file") == b"content"
        with pytest.raises(PermissionError):
            kernel.opendir(b"d")
        kernel.setattr(b"d", mode=0o700)

    as_nobody(scenario)


def test_directory_that_may_not_be_searched_is_eacces_and_not_enoent(as_nobody: Callable) -> None:
    def scenario(bench: Bench) -> None:
        bench.kernel.mkdir(b"d")
        bench.kernel.put(b"d/file", b"content")
        bench.kernel.setattr(b"d", mode=0o600)
        kernel = bench.remount()
        with pytest.raises(PermissionError):
            kernel.lookup(b"d/file")
        with pytest.raises(PermissionError):
            bench.fs.mkdir(kernel.inode(b"d"), LONG, 0o700, SUPERUSER)
        kernel.setattr(b"d", mode=0o700)
        assert kernel.get(b"d/file") == b"content"

    as_nobody(scenario)
