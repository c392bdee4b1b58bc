"""Write intents: what a killed process was writing is written again, once, to that file and no other."""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.intents import IntentLog
from tests.fs.children import in_child
from tests.support.accounts import NOBODY, run_as
from tests.unit.cipherdir.interrupted import AFTER, FILE_ID, HEADER, NEW, OFFSET, OLD, SLOT_SIZE, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


# --- the one case that it is for --------------------------------------------------------------------------------
@pytest.mark.parametrize("written", [0, 1, 5000, len(NEW) - 1, len(NEW)])
def test_replay_finishes_what_a_killed_process_began(
    place: Place, written: int, caplog: pytest.LogCaptureFixture
) -> None:
    place.die_while_writing(written)
    assert place.replay() == 1
    assert place.file.read_bytes() == AFTER
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert b"file" not in os.fsencode(caplog.text.replace("the file", ""))


def test_replay_of_a_shrinking_write_cuts_the_file(place: Place) -> None:
    place.die_while_writing(5000, final_size=OFFSET + len(NEW))
    assert place.replay() == 1
    assert place.file.read_bytes() == AFTER[: OFFSET + len(NEW)]


def test_replay_happens_once(place: Place) -> None:
    place.die_while_writing()
    assert place.replay() == 1
    place.file.write_bytes(OLD)
    assert place.replay() == 0
    assert place.file.read_bytes() == OLD


def test_replay_that_is_killed_itself_can_be_repeated(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.die_while_writing()
    write = backing.pwrite_full

    def die_half_way(fd: int, data: bytes, offset: int) -> None:
        write(fd, data[:7000], offset)
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(backing, "pwrite_full", die_half_way)
        assert in_child(place.replay) == -signal.SIGKILL
    assert place.replay() == 1
    assert place.file.read_bytes() == AFTER


def test_replay_that_fails_keeps_the_slot(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.die_while_writing()

    def no_room(fd: int, data: bytes, offset: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = place.open()
    with monkeypatch.context() as patch:
        patch.setattr(backing, "pwrite_full", no_room)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            log.replay(place.root_fd)
    assert log.replay(place.root_fd) == 1
    log.close()
    assert place.file.read_bytes() == AFTER


def test_several_writes_at_once_are_all_finished(place: Place) -> None:
    other = place.cipherdir / "other"
    other.write_bytes(OLD)

    def write_both() -> None:
        log = place.open()
        place.begin(log)
        log.begin(b"other", other.stat(), FILE_ID, 18, b"n" * 100, None)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(write_both) == -signal.SIGKILL
    assert place.replay() == 2
    assert place.file.read_bytes() == AFTER
    assert other.read_bytes() == HEADER + b"n" * 100 + OLD[118:]


# --- nothing to do ----------------------------------------------------------------------------------------------
def test_write_that_ended_is_not_repeated(place: Place) -> None:
    def write() -> None:
        log = place.open()
        for _ in range(10):
            place.begin(log)
            log.end()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(write) == -signal.SIGKILL
    assert place.replay() == 0
    assert place.file.read_bytes() == OLD


def test_close_removes_the_slot(place: Place) -> None:
    log = place.open()
    assert os.stat(place.slot).st_mode == 0o100600
    log.close()
    log.close()
    assert not list(place.slots.iterdir())


def test_write_that_does_not_fit_is_not_noted(place: Place) -> None:
    log = place.open()
    for path, data in ((b"d/file", bytes(SLOT_SIZE - 8192 + 1)), (b"p" * 9000, NEW)):
        place.begin(log, path, data=data)
        assert log.replay(place.root_fd) == 0
        log.end()
    log.close()
    assert place.file.read_bytes() == OLD


def test_largest_write_that_fits_is_noted(place: Place) -> None:
    log = place.open()
    data = random.Random(1).randbytes(SLOT_SIZE - 8192)
    place.begin(log, data=data)
    assert log.replay(place.root_fd) == 1
    log.close()
    assert place.file.read_bytes() == OLD[:OFFSET] + data


# --- files that are not where, or not what, they were -------------------------------------------------------------
@pytest.mark.parametrize(
    "path", [b"d/file", b"", b"gone/file", b"d/../d/file", b"/etc/passwd", b"d//file", b"d/file/x"]
)
def test_file_is_found_wherever_it_is(place: Place, path: bytes) -> None:
    place.die_while_writing(path=path)
    (place.cipherdir / "e").mkdir()
    place.file.rename(place.cipherdir / "e" / "renamed")
    assert place.replay() == 1
    assert (place.cipherdir / "e" / "renamed").read_bytes() == AFTER


def test_file_that_is_gone_needs_no_repair(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.die_while_writing()
    place.file.unlink()
    place.file.parent.rmdir()
    assert place.replay() == 0
    assert "is gone" in caplog.text
    assert place.replay() == 0


def test_another_file_under_the_name_is_not_touched(place: Place) -> None:
    place.die_while_writing()
    keep = place.cipherdir.parent / "kept elsewhere"
    place.file.rename(keep)
    place.file.write_bytes(OLD)
    assert place.replay() == 0
    assert place.file.read_bytes() == OLD


def test_symlinks_on_the_way_are_not_followed(place: Place) -> None:
    place.die_while_writing()
    torn = place.file.read_bytes()
    outside = place.cipherdir.parent / "outside"
    place.file.parent.rename(outside)
    place.file.parent.symlink_to(outside)
    assert place.replay() == 0
    assert (outside / "file").read_bytes() == torn


def test_file_started_anew_by_somebody_else_is_not_touched(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The same inode, but another file id: truncated and rewritten without us."""
    place.die_while_writing()
    content = b"\0\2" + b"another file id." + b"x" * 20_000
    place.file.write_bytes(content)
    assert place.replay() == 0
    assert place.file.read_bytes() == content
    assert "changed since" in caplog.text


def test_file_changed_much_later_is_not_touched(place: Place) -> None:
    """The original was mounted meanwhile, and wrote to the same blocks."""
    place.die_while_writing()
    torn = place.file.read_bytes()
    later = place.file.stat().st_mtime_ns + 61 * 10**9
    os.utime(place.file, ns=(later, later))
    assert place.replay() == 0
    assert place.file.read_bytes() == torn


@pytest.mark.parametrize("content", [b"", b"\0", HEADER[:17], bytes(18)], ids=len)
def test_first_write_of_a_file_is_finished_whatever_is_there_of_the_header(place: Place, content: bytes) -> None:
    place.file.write_bytes(b"")

    def write() -> None:
        log = place.open()
        log.begin(b"d/file", place.file.stat(), FILE_ID, 0, HEADER + NEW, None)
        place.file.write_bytes(content)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(write) == -signal.SIGKILL
    assert place.replay() == 1
    assert place.file.read_bytes() == HEADER + NEW


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the file to somebody")
def test_file_whose_mode_forbids_it_is_finished_by_its_owner(place: Place) -> None:
    place.die_while_writing()
    for path in (place.cipherdir.parent, place.cipherdir, place.slots, place.slot, place.file.parent, place.file):
        os.chown(path, NOBODY, NOBODY)
    place.file.chmod(0o400)
    base = Path("/proc/self/fd")

    def replay() -> int:
        log = IntentLog(place.root_fd, directory=base / str(slots_fd))
        return log.replay(place.root_fd)

    slots_fd = os.open(place.slots, os.O_PATH)
    try:
        assert run_as(NOBODY, replay) == 1
    finally:
        os.close(slots_fd)
    assert place.file.read_bytes() == AFTER
    assert place.file.stat().st_mode == 0o100400
