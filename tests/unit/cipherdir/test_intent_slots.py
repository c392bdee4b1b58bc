"""Slots of write intents that are not ours, not of this boot, in use, or nonsense."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcvfs.cipherdir import intents
from pcvfs.cipherdir.intents import IntentLog, has_pending_write
from pcvfs.errors import VolumeError
from tests.support.accounts import NOBODY, run_as
from tests.unit.cipherdir.interrupted import AFTER, HEAD, NEW, OFFSET, OLD, SLOT_SIZE, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


# --- slots of others --------------------------------------------------------------------------------------------
def test_slot_from_before_the_last_boot_is_ignored(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.die_while_writing()
    torn = place.file.read_bytes()
    boot_id = place.cipherdir.parent / "boot_id"
    boot_id.write_text("00000000-1111-2222-3333-444444444444\n")
    monkeypatch.setattr(intents, "_BOOT_ID", boot_id)
    assert place.replay() == 0
    assert place.file.read_bytes() == torn


@pytest.mark.parametrize("field", ["root_dev", "root_ino", "boot", "state"])
def test_slot_of_another_cipherdir_or_boot_is_ignored(place: Place, field: str) -> None:
    place.die_while_writing()
    torn = place.file.read_bytes()
    place.patch_slot(**{field: b"b" * 16 if field == "boot" else 2})
    assert place.replay() == 0
    assert place.file.read_bytes() == torn


def test_each_cipherdir_has_a_slot_of_its_own(place: Place, tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    other = Place(tmp_path / "2")
    logs = [place.open(), IntentLog(other.root_fd, directory=place.slots)]
    assert len(list(place.slots.iterdir())) == 2
    for log in logs:
        log.close()
    other.close()


def test_slot_in_use_by_another_mount_is_refused(place: Place) -> None:
    log = place.open()
    with pytest.raises(VolumeError, match="in use"):
        place.open()
    log.close()
    place.open().close()


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "hard link"])
def test_planted_slot_is_refused(place: Place, kind: str) -> None:
    place.open().close()
    log = place.open()
    path = place.slot
    log.close()
    victim = place.cipherdir.parent / "victim"
    victim.write_bytes(b"precious")
    {
        "symlink": lambda: path.symlink_to(victim),
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: path.mkdir(),
        "hard link": lambda: os.link(victim, path),
    }[kind]()
    with pytest.raises(VolumeError):
        place.open()
    assert victim.read_bytes() == b"precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of somebody else")
def test_slot_of_another_user_is_refused(place: Place) -> None:
    place.die_while_writing()
    torn = place.file.read_bytes()
    os.chown(place.slot, NOBODY, NOBODY)
    with pytest.raises(VolumeError, match="not ours"):
        place.open()
    assert place.file.read_bytes() == torn


@pytest.mark.parametrize("content", [b"", b"\1", b"\1" + bytes(7), b"\xff" * 200, bytes(SLOT_SIZE)], ids=len)
def test_slot_of_any_length_is_taken_over(place: Place, content: bytes) -> None:
    log = place.open()
    path = place.slot
    log.close()
    path.write_bytes(content)
    path.chmod(0o600)
    assert place.replay() == 0
    path.write_bytes(content)
    place.die_while_writing()
    assert place.replay() == 1
    assert place.file.read_bytes() == AFTER


def test_slot_has_all_its_memory_from_the_start(place: Place) -> None:
    """A page that can't be had later kills whoever writes to it."""
    log = place.open()
    st_ = place.slot.stat()
    assert st_.st_blocks * 512 >= st_.st_size >= SLOT_SIZE
    log.close()


def test_slot_without_room_is_an_error(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SLOT_SIZE // 2, hard))
    try:
        with pytest.raises(VolumeError, match="no room"):
            place.open()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    place.open().close()


def test_directory_that_cannot_hold_a_slot_is_an_error(place: Place) -> None:
    place.slots.rmdir()
    with pytest.raises(VolumeError):
        place.open()


# --- garbled slots ----------------------------------------------------------------------------------------------
U64 = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]))
GARBLED = st.fixed_dictionaries(
    {},
    optional={
        "offset": st.integers(0, 30_000) | st.sampled_from([(1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
        "size": st.integers(0, 2 * SLOT_SIZE) | U64,
        "final": st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([0, 1, OFFSET])),
        "dev": U64,
        "ino": U64,
        "begun": U64,
        "id": st.binary(min_size=16, max_size=16),
        "path_size": st.integers(0, 65535),
    },
)


@given(fields=GARBLED, path=st.none() | st.binary(max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbled_slot_does_no_harm(place: Place, fields: dict[str, object], path: bytes | None) -> None:
    place.file.write_bytes(OLD)
    neighbour = place.cipherdir / "neighbour"
    neighbour.write_bytes(OLD)
    place.die_while_writing()
    torn = place.file.read_bytes()
    place.patch_slot(**fields)
    with place.slot.open("r+b") as stream:
        slot = stream.read(SLOT_SIZE)
        if path is not None:
            stream.seek(HEAD.size)
            stream.write(path)
    if place.replay():
        offset, size = fields.get("offset", OFFSET), fields.get("size", len(NEW))
        assert isinstance(offset, int)
        assert isinstance(size, int)
        repeated = torn[:offset].ljust(offset, b"\0") + slot[8192 : 8192 + size]
        is_cut = fields.get("final", -1) == offset + size
        assert place.file.read_bytes() == repeated + (b"" if is_cut else torn[offset + size :])
    else:
        assert place.file.read_bytes() == torn
    assert neighbour.read_bytes() == OLD
    assert place.replay() == 0


# --- has_pending_write, and where slots lie -----------------------------------------------------------------------
@pytest.fixture
def runtime(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(intents, "_runtime_directory", lambda **_: place.slots)
    return place.slots


def test_has_pending_write_looks_and_changes_nothing(place: Place, runtime: Path) -> None:
    assert not has_pending_write(place.root_fd)
    place.die_while_writing()
    before = place.slot.read_bytes()
    assert has_pending_write(place.root_fd)
    assert place.slot.read_bytes() == before
    assert place.replay() == 1
    assert not has_pending_write(place.root_fd)


@pytest.mark.parametrize("field", ["root_dev", "root_ino", "boot", "state"])
def test_has_pending_write_ignores_what_is_not_ours(place: Place, runtime: Path, field: str) -> None:
    place.die_while_writing()
    place.patch_slot(**{field: b"b" * 16 if field == "boot" else 2})
    assert not has_pending_write(place.root_fd)


@pytest.mark.parametrize("content", [b"", b"\1" * 50])
def test_has_pending_write_takes_any_file(place: Place, runtime: Path, content: bytes) -> None:
    log = place.open()
    path = place.slot
    log.close()
    path.write_bytes(content)
    assert not has_pending_write(place.root_fd)


def test_runtime_directory_is_private_and_in_memory_if_there_is_any() -> None:
    st_ = os.lstat(intents._runtime_directory())
    assert st_.st_uid == os.geteuid()
    assert st_.st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="root can make the directories of others")
def test_runtime_directory_that_others_can_reach_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = 54321
    shm = Path(f"/dev/shm/pcvfs-{stranger}")

    def choose() -> str:
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
        return str(intents._runtime_directory(create=False))

    def make(owner: int, mode: int) -> None:
        os.chown(shm, owner, owner)
        shm.chmod(mode)

    shm.mkdir()
    try:
        make(stranger, 0o700)
        assert run_as(stranger, choose) == str(shm)
        for owner, mode in ((0, 0o700), (stranger, 0o770), (stranger, 0o701)):
            make(owner, mode)
            with pytest.raises(AssertionError, match="no private runtime directory"):
                run_as(stranger, choose)
    finally:
        shm.rmdir()
