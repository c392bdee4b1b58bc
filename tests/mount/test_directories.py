"""Reading directories: positions, changes while reading, many entries, any mode."""

from __future__ import annotations

import errno
import os
import stat
import subprocess

import pytest

from tests.support.accounts import errno_of
from tests.support.places import Place
from tests.support.syscalls import DirectoryStream

pytestmark = pytest.mark.flavours("default", "plaintextnames", "longnamemax-62")

COUNT = 10_000


def fill(place: Place, count: int, prefix: str = "entry") -> set[bytes]:
    names = {b"%s-%05d" % (prefix.encode(), n) for n in range(count)}
    for name in names:
        os.close(os.open(os.path.join(os.fsencode(place.path), name), os.O_CREAT | os.O_WRONLY))
    return names


def test_listing_has_every_name_once_with_type_and_number(place: Place) -> None:
    (place.path / "dir").mkdir()
    (place.path / "file").write_bytes(b"")
    (place.path / "link").symlink_to("file")
    os.mkfifo(place.path / "fifo")
    with os.scandir(place.path) as entries:
        found = {
            e.name: (e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False), e.is_symlink()) for e in entries
        }
    assert found == {
        "dir": (True, False, False),
        "file": (False, True, False),
        "link": (False, False, True),
        "fifo": (False, False, False),
    }


def test_listing_contains_dot_and_dotdot(place: Place) -> None:
    out = subprocess.run(["ls", "-f", place.path], capture_output=True, check=True, timeout=30).stdout.split()
    assert sorted(out) == [b".", b".."]


@pytest.mark.flavours("default")
def test_ten_thousand_entries_are_listed_and_stated(place: Place) -> None:
    names = fill(place, COUNT)
    listed = os.listdir(os.fsencode(place.path))
    assert len(listed) == COUNT
    assert set(listed) == names
    with os.scandir(place.path) as entries:
        assert all(stat.S_ISREG(e.stat().st_mode) for e in entries)
    for name in names:
        os.unlink(os.path.join(os.fsencode(place.path), name))
    assert os.listdir(place.path) == []


@pytest.mark.gocryptfs_differs("2.3 ends the stream after a seek to the start")
def test_position_from_telldir_can_be_returned_to(place: Place) -> None:
    names = fill(place, 500)
    with DirectoryStream(place.path) as stream:
        order, positions = [], [stream.tell()]
        for name in stream:
            order.append(name)
            positions.append(stream.tell())
        assert set(order) == names
        for index in (250, 0, 499, 17, 18, 1, 500):
            stream.seek(positions[index])
            assert stream.next() == (order[index] if index < 500 else None)
        stream.seek(positions[100])
        assert list(stream) == order[100:]


def test_rewind_shows_what_is_there_now(place: Place) -> None:
    fill(place, 10)
    with DirectoryStream(place.path) as stream:
        assert len(list(stream)) == 10
        (place.path / "added").write_bytes(b"")
        os.unlink(place.path / "entry-00000")
        stream.rewind()
        now = set(stream)
    assert b"added" in now
    assert b"entry-00000" not in now
    assert len(now) == 10


def test_names_removed_while_reading_leave_the_others_listed_once(place: Place) -> None:
    names = fill(place, 1500)
    seen: list[bytes] = []
    with DirectoryStream(place.path) as stream:
        for count, name in enumerate(stream):
            seen.append(name)
            if count % 2 == 0:
                os.unlink(os.path.join(os.fsencode(place.path), name))
    assert len(seen) == len(set(seen))
    assert set(seen) == names  # only names already returned were removed
    assert len(os.listdir(place.path)) == 750


def test_names_added_and_renamed_while_reading_do_not_hide_or_double_the_others(place: Place) -> None:
    names = fill(place, 1200)
    seen: list[bytes] = []
    with DirectoryStream(place.path) as stream:
        for count, name in enumerate(stream):
            seen.append(name)
            if count < 300:
                (place.path / f"new-{count}").write_bytes(b"")
    old = [name for name in seen if name.startswith(b"entry")]
    assert len(old) == len(set(old))
    assert set(old) == names


def test_remove_everything_while_reading_as_rm_does(place: Place) -> None:
    fill(place, 1200)
    with DirectoryStream(place.path) as stream:
        for name in stream:
            os.unlink(os.path.join(os.fsencode(place.path), name))
    assert os.listdir(place.path) == []


def test_two_readers_have_positions_of_their_own(place: Place) -> None:
    names = fill(place, 300)
    with DirectoryStream(place.path) as one, DirectoryStream(place.path) as two:
        first = [one.next() for _ in range(100)]
        assert set(two) == names
        assert set(first) | set(one) == names


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o222, 0o300, 0o444, 0o500, 0o555])
def test_directory_of_any_mode_works_for_root(place: Place, mode: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("what root may do")
    directory = place.path / "dir"
    directory.mkdir()
    (directory / "before").write_bytes(b"x")
    directory.chmod(mode)
    (directory / "after").write_bytes(b"y")
    assert sorted(os.listdir(directory)) == ["after", "before"]
    os.rename(directory / "after", directory / "renamed")
    (directory / "sub").mkdir()
    (directory / "sub").rmdir()
    assert stat.S_IMODE(os.stat(directory).st_mode) == mode
    os.unlink(directory / "renamed")
    os.unlink(directory / "before")
    directory.rmdir()


@pytest.mark.flavours
@pytest.mark.parametrize("how", ["file", "directory"])
def test_opening_with_the_wrong_kind_is_refused(place: Place, how: str) -> None:
    (place.path / "file").write_bytes(b"")
    (place.path / "directory").mkdir()
    if how == "file":
        assert errno_of(lambda: os.open(place.path / "file", os.O_RDONLY | os.O_DIRECTORY)) == errno.ENOTDIR
    else:
        assert errno_of(lambda: os.open(place.path / "directory", os.O_WRONLY)) == errno.EISDIR
        assert errno_of(lambda: os.open(place.path / "directory", os.O_RDWR | os.O_CREAT)) == errno.EISDIR
