"""Memory mapped files."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import Place

pytestmark = pytest.mark.flavours("default", "xchacha", "aessiv")

SIZE = 3 * 4096 + 1000


@pytest.fixture
def path(place: Place) -> Path:
    path = place.path / "mapped"
    path.write_bytes(bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256))
    return path


def test_private_mapping_reads_the_file_and_keeps_changes_to_itself(path: Path) -> None:
    before = path.read_bytes()
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        assert bytes(view) == before
        view[0:5] = b"local"
    assert path.read_bytes() == before


def test_shared_mapping_writes_reach_the_file(path: Path) -> None:
    expected = bytearray(path.read_bytes())
    with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
        for offset, data in ((0, b"first"), (4094, b"across"), (SIZE - 3, b"end")):
            view[offset : offset + len(data)] = data
            expected[offset : offset + len(data)] = data
        view.flush()
        assert path.read_bytes() == expected
    assert path.read_bytes() == expected


def test_shared_mapping_is_written_back_after_the_descriptor_is_closed(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    view = mmap.mmap(fd, SIZE)
    os.close(fd)
    view[100:106] = b"closed"
    view.close()
    assert path.read_bytes()[100:106] == b"closed"


def test_shared_mapping_survives_the_remount(path: Path, place: Place) -> None:
    with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
        view[5000:5007] = b"mmapped"
    if place.driver.is_fuse:
        place.mount.unmount()
        place.mount.start()
    assert path.read_bytes()[5000:5007] == b"mmapped"


def test_write_and_shared_mapping_see_each_other(path: Path) -> None:
    with open(path, "r+b", buffering=0) as stream, mmap.mmap(stream.fileno(), 0) as view:
        os.pwrite(stream.fileno(), b"written", 4090)
        assert view[4090:4097] == b"written"
        view[4090:4096] = b"mapped"
        assert os.pread(stream.fileno(), 7, 4090) == b"mappedn"


@pytest.mark.gocryptfs_differs("fsync of an unlinked file is ENOENT")
def test_mapping_of_a_file_that_was_unlinked_keeps_working(path: Path) -> None:
    with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
        path.unlink()
        view[0:7] = b"unnamed"
        view.flush()
        assert os.pread(stream.fileno(), 7, 0) == b"unnamed"


def test_mapping_past_a_truncation_raises_sigbus_only_there(path: Path) -> None:
    script = (
        "import mmap,os,sys\n"
        "fd=os.open(sys.argv[1],os.O_RDWR); view=mmap.mmap(fd,0); os.ftruncate(fd,4096)\n"
        "assert view[4095] == 255; print('before', flush=True); view[8192]\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert (result.returncode, result.stdout) == (-signal.SIGBUS, "before\n")


def test_file_grown_through_truncate_can_be_filled_by_mapping(place: Place) -> None:
    path = place.path / "grown"
    with open(path, "w+b") as stream:
        os.ftruncate(stream.fileno(), SIZE)
        with mmap.mmap(stream.fileno(), 0) as view:
            view[SIZE - 4 :] = b"last"
            view[4096:4100] = b"page"
    data = path.read_bytes()
    assert (data[-4:], data[4096:4100], data[:4096], len(data)) == (b"last", b"page", bytes(4096), SIZE)


def test_program_runs_from_the_mount(place: Place) -> None:
    program = place.path / "true"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    assert subprocess.run([program], check=False, timeout=30).returncode == 0
