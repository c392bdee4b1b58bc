"""What one operation on a mount takes, as a program sees it: its requests there and back.

``shared`` mounts keep nothing in the kernel's caches, so every operation reaches the mount process; ``owned`` ones are
what users have. Operations that come in pairs (create and unlink) are measured as a pair.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.errors import PeerUnavailableError
from bench.mounted import Mounted
from bench.peers import Volume, make_peer
from bench.place import Place, make_place

_SIZE: Final = 64 << 20
_PAGE: Final = 4096
_MOUNT_LIMIT_S: Final = 900.0  # then it is aborted, and whoever waits for it gets an error
_SHARED: Final = {"lane": "--sharedstorage", "python": "--sharedstorage", "gocryptfs": "-sharedstorage"}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with make_place("tmpfs" if os.geteuid() == 0 else "disk", size=_SIZE) as place:
        yield place


@pytest.fixture(scope="module", params=["owned", "shared"])
def options(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture(scope="module", params=list(_SHARED))
def top(request: pytest.FixtureRequest, place: Place, options: str) -> Iterator[Path]:
    """The top directory of a new mount with a few files in it."""
    peer = make_peer(request.param, args=[_SHARED[request.param]] if options == "shared" else [])
    try:
        peer.check()
    except PeerUnavailableError as exc:
        pytest.skip(str(exc))
    volume = Volume(place.new_directory(place.backing.path, "volume"), place.new_directory(place.root, "private"))
    path = place.new_mountpoint()
    mounted = Mounted(peer, volume, path, place, step_limit_s=60.0)
    peer.create(volume)
    mounted.mount()
    timer = threading.Timer(_MOUNT_LIMIT_S, mounted.abort)
    timer.start()
    try:
        (path / "file").write_bytes(os.urandom(16 * _PAGE))
        (path / "directory").mkdir()
        for number in range(100):
            (path / "directory" / f"file {number}").touch()
        yield path
        mounted.unmount()
    finally:
        timer.cancel()
        if mounted.device:
            mounted.abort()


@pytest.fixture
def fd(top: Path) -> Iterator[int]:
    fd = os.open(top / "file", os.O_RDWR)
    yield fd
    os.close(fd)


def test_statfs(benchmark: BenchmarkFixture, top: Path) -> None:
    """Never cached by the kernel, and no work: as near to an empty request as there is."""
    benchmark(os.statvfs, top)


def test_stat(benchmark: BenchmarkFixture, top: Path) -> None:
    benchmark(os.stat, top / "file")


def test_stat_missing(benchmark: BenchmarkFixture, top: Path) -> None:
    benchmark(os.path.exists, top / "missing")


def test_open_close(benchmark: BenchmarkFixture, top: Path) -> None:
    path = top / "file"
    benchmark(lambda: os.close(os.open(path, os.O_RDONLY)))


def test_read_page(benchmark: BenchmarkFixture, fd: int) -> None:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

    def read() -> None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(fd, _PAGE, 4 * _PAGE)

    benchmark(read)


def test_write_page_and_fsync(benchmark: BenchmarkFixture, fd: int) -> None:
    page = os.urandom(_PAGE)

    def write() -> None:
        os.pwrite(fd, page, 4 * _PAGE)
        os.fsync(fd)

    benchmark(write)


def test_list_directory(benchmark: BenchmarkFixture, top: Path) -> None:
    benchmark(os.listdir, top / "directory")


def test_create_unlink(benchmark: BenchmarkFixture, top: Path) -> None:
    path = top / "new"

    def create() -> None:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(path)

    benchmark(create)


def test_mkdir_rmdir(benchmark: BenchmarkFixture, top: Path) -> None:
    path = top / "new directory"

    def make() -> None:
        os.mkdir(path)
        os.rmdir(path)

    benchmark(make)


def test_symlink_unlink(benchmark: BenchmarkFixture, top: Path) -> None:
    path = top / "link"

    def make() -> None:
        os.symlink("file", path)
        os.unlink(path)

    benchmark(make)


def test_rename_there_and_back(benchmark: BenchmarkFixture, top: Path) -> None:
    here, there = top / "file", top / "renamed"

    def rename() -> None:
        os.rename(here, there)
        os.rename(there, here)

    benchmark(rename)


def test_chmod(benchmark: BenchmarkFixture, top: Path) -> None:
    benchmark(os.chmod, top / "file", 0o640)


def test_setxattr(benchmark: BenchmarkFixture, top: Path) -> None:
    benchmark(os.setxattr, top / "file", "user.bench", b"value")
