"""What is done with a keyset, and what may happen to the files meanwhile."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import pickle
import shutil
import stat
from pathlib import Path

import pytest

from pcvfs import durable
from pcvfs.crypto.argon2 import Argon2Cost
from pcvfs.errors import (
    AlreadyInitializedError,
    CorruptKeysetError,
    KeysetAccessError,
    KeysetCostError,
    NoSuchSlotError,
    NotInitializedError,
    WrongPasswordError,
)
from pcvfs.keys import sealing
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.encoding import parse_keyset, serialize_keyset
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.recovery import RecoveryKey
from tests.support.accounts import NOBODY, run_as
from tests.support.requirements import require_root
from tests.unit.keys.cheap import CHEAP, COST, OTHER, PASSWORD, opens, password, put, sdek_of
from tests.unit.keys.piccolod import version_1


@pytest.fixture
def path(directory: Path) -> Path:
    return directory / "keyset.json"


@pytest.fixture
def backup(directory: Path) -> Path:
    return directory / "keyset.json.bak"


# --- creating ----------------------------------------------------------------------------------------------------
def test_create_makes_two_files_for_their_owner_alone(keyset: Keyset, directory: Path) -> None:
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(os.listdir(directory)) == ["keyset.json", "keyset.json.bak"]
    for name in os.listdir(directory):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
    assert (directory / "keyset.json").read_bytes() == (directory / "keyset.json.bak").read_bytes()


def test_create_tells_the_sdek_that_opens_later_and_no_two_are_alike(tmp_path: Path) -> None:
    sdeks = set()
    for name in ("a", "b"):
        keyset = Keyset(os.fsencode(tmp_path / name), CHEAP)
        with keyset.create(password(PASSWORD)) as created:
            assert sdek_of(keyset, PASSWORD) == created.sdek.view()
            assert keyset.info().fingerprint == created.fingerprint
            sdeks.add(bytes(created.sdek.view()))
    assert len(sdeks) == 2


def test_create_where_there_is_a_keyset_is_refused(keyset: Keyset, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(AlreadyInitializedError):
        keyset.create(password(OTHER))
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["keyset.json", "keyset.json.bak"])
@pytest.mark.parametrize("what", ["empty", "corrupt", "directory", "dangling", "fifo", "unreadable"])
def test_create_where_anything_of_that_name_is_is_refused(empty: Keyset, directory: Path, name: str, what: str) -> None:
    directory.mkdir()
    target = directory / name
    match what:
        case "directory":
            target.mkdir()
        case "dangling":
            target.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(target)
        case _:
            target.write_bytes(b"" if what == "empty" else b"junk")
            target.chmod(0 if what == "unreadable" else 0o600)
    with pytest.raises(AlreadyInitializedError):
        empty.create(password(PASSWORD))
    assert os.listdir(directory) == [name]


def test_create_loses_against_one_who_was_quicker(
    empty: Keyset, directory: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def derive_while_another_creates(*args: object) -> object:
        put(directory, b"somebody else's")
        return sealing.derive_kek(*args)

    monkeypatch.setattr("pcvfs.keys.keyset.derive_kek", derive_while_another_creates)
    with pytest.raises(AlreadyInitializedError):
        empty.create(password(PASSWORD))
    assert path.read_bytes() == b"somebody else's"


# --- what can't be read is there ---------------------------------------------------------------------------------
def test_nothing_there_is_not_initialized(empty: Keyset, directory: Path) -> None:
    for use in (empty.info, lambda: empty.open(password(PASSWORD))):
        with pytest.raises(NotInitializedError):
            use()
    directory.mkdir()
    with pytest.raises(NotInitializedError):
        empty.info()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP, errno.EMFILE])
@pytest.mark.parametrize("call", ["open", "stat"])
def test_keyset_that_can_not_be_read_is_never_taken_for_none(
    keyset: Keyset, path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    before = path.read_bytes()
    original = getattr(os, call)

    def failing(name: object, *args: object, **options: object) -> object:
        if options.get("dir_fd") is not None:
            raise OSError(code, os.strerror(code))
        return original(name, *args, **options)

    monkeypatch.setattr(os, call, failing)
    if call == "open":
        for use in (keyset.info, lambda: keyset.open(password(PASSWORD))):
            with pytest.raises((KeysetAccessError, CorruptKeysetError)) as caught:
                use()
            assert not isinstance(caught.value, NotInitializedError)
    with pytest.raises((KeysetAccessError, AlreadyInitializedError)):
        keyset.create(password(OTHER))
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_keyset_of_another_user_is_no_access(keyset: Keyset, directory: Path) -> None:
    require_root("becomes another user")
    for parent in directory.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)

    def use() -> None:
        for attempt in (keyset.info, lambda: keyset.create(password(OTHER))):
            with pytest.raises(KeysetAccessError, match="permission denied"):
                attempt()

    run_as(NOBODY, use)
    assert opens(keyset, PASSWORD)


def test_state_directory_that_is_not_there_is_not_uninitialized(empty: Keyset, directory: Path) -> None:
    directory.parent.rmdir()
    for use in (empty.info, lambda: empty.create(password(PASSWORD))):
        with pytest.raises(KeysetAccessError):
            use()


@pytest.mark.parametrize("what", ["file", "symlink"])
def test_directory_that_is_none_is_no_access(empty: Keyset, directory: Path, what: str) -> None:
    if what == "file":
        directory.write_bytes(b"")
    else:
        directory.symlink_to("/tmp")
    with pytest.raises(KeysetAccessError):
        empty.info()


@pytest.mark.parametrize("what", ["directory", "dangling", "link", "fifo"])
def test_keyset_that_is_no_file_is_corrupt(keyset: Keyset, path: Path, tmp_path: Path, what: str) -> None:
    path.rename(tmp_path / "elsewhere")
    match what:
        case "directory":
            path.mkdir()
        case "dangling":
            path.symlink_to("nowhere")
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case _:
            os.mkfifo(path)
    with pytest.raises(CorruptKeysetError, match="not a file"):
        keyset.open(password(PASSWORD))


def test_keyset_that_is_gone_but_for_its_copy_is_corrupt(keyset: Keyset, path: Path) -> None:
    path.unlink()
    with pytest.raises(CorruptKeysetError, match="gone") as caught:
        keyset.info()
    assert "copy" in caught.value.hint
    with pytest.raises(AlreadyInitializedError):
        keyset.create(password(OTHER))


def test_each_way_to_fail_has_an_error_of_its_own(keyset: Keyset, path: Path) -> None:
    """So that a front end need not call all of them "wrong password"."""
    with pytest.raises(WrongPasswordError):
        keyset.open(password("wrong"))
    with pytest.raises(NoSuchSlotError):
        keyset.open(RecoveryKey.generate())
    data = path.read_bytes()
    absurd = data.replace(b'"memory": 8', b'"memory": 9999999')
    for content, error in ((b"{", CorruptKeysetError), (absurd, KeysetCostError)):
        path.write_bytes(content)
        with pytest.raises(error):
            keyset.open(password(PASSWORD))


# --- changing ----------------------------------------------------------------------------------------------------
def test_set_password_old_one_opens_nothing_any_more(keyset: Keyset, directory: Path, tmp_path: Path) -> None:
    sdek = sdek_of(keyset, PASSWORD)
    assert keyset.set_password(password(PASSWORD), password(OTHER)) == 2
    with pytest.raises(WrongPasswordError):
        keyset.open(password(PASSWORD))
    assert sdek_of(keyset, OTHER) == sdek
    for name in os.listdir(directory):  # the copy neither
        put(tmp_path / "one", (directory / name).read_bytes())
        assert not opens(Keyset(os.fsencode(tmp_path / "one"), CHEAP), PASSWORD)


def test_set_password_on_a_wrong_proof_changes_nothing(keyset: Keyset, path: Path, backup: Path) -> None:
    before = path.read_bytes(), backup.read_bytes(), path.stat().st_ino
    with pytest.raises(WrongPasswordError):
        keyset.set_password(password("wrong"), password(OTHER))
    assert (path.read_bytes(), backup.read_bytes(), path.stat().st_ino) == before


def test_changes_count_generations_and_keep_the_fingerprint(keyset: Keyset) -> None:
    fingerprint = keyset.info().fingerprint
    assert len(bytes.fromhex(fingerprint)) == 16
    assert keyset.set_password(password(PASSWORD), password(OTHER)) == 2
    assert keyset.set_recovery_key(password(OTHER), RecoveryKey.generate()) == 3
    assert keyset.remove_slot(password(OTHER), "recovery") == 4
    info = keyset.info()
    assert (info.version, info.generation, info.fingerprint) == (2, 4, fingerprint)
    with keyset.open(password(OTHER)) as opened:
        assert (opened.record.generation, opened.fingerprint) == (4, fingerprint)


def test_set_password_takes_the_price_of_this_machine(keyset: Keyset, directory: Path) -> None:
    dearer = Argon2Cost(time=2, memory_kib=16, lanes=2)
    Keyset(os.fsencode(directory), CostPolicy(dearer, floor=COST)).set_password(password(PASSWORD), password(OTHER))
    (slot,) = parse_keyset((directory / "keyset.json").read_bytes()).slots
    assert slot.kdf.cost == dearer
    assert opens(keyset, OTHER)


def test_change_on_the_proof_of_an_opened_keyset(keyset: Keyset) -> None:
    words = RecoveryKey.generate()
    with keyset.open(password(PASSWORD)) as opened:
        keyset.set_recovery_key(opened, words)
        keyset.set_password(opened, password(OTHER))  # the record of ``opened`` is an old one by now
        assert opened.sdek.view() == sdek_of(keyset, OTHER) == sdek_of(keyset, words)


def test_change_on_the_proof_of_another_keyset_is_refused(keyset: Keyset, tmp_path: Path, path: Path) -> None:
    other = Keyset(os.fsencode(tmp_path / "other"), CHEAP)
    before = path.read_bytes()
    with other.create(password(PASSWORD)) as stranger, pytest.raises(CorruptKeysetError):
        keyset.set_password(stranger, password(OTHER))
    assert path.read_bytes() == before


def test_change_of_piccolods_needs_the_very_file_that_was_opened(empty: Keyset, directory: Path) -> None:
    """Nothing in such a file tells which SDEK is in it: a wrong one next to the old recovery key would lose data."""
    put(directory, version_1(PASSWORD))
    with empty.open(password(PASSWORD)) as opened:
        put(directory, version_1(OTHER, sdek=bytes(32)))
        with pytest.raises(CorruptKeysetError):
            empty.set_password(opened, password("new"))
        assert opens(empty, OTHER)
        put(directory, version_1(PASSWORD))
    with empty.open(password(PASSWORD)) as opened:
        empty.set_password(opened, password("new"))
    assert opens(empty, "new")


def test_what_is_written_was_opened_before(keyset: Keyset, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in memory or code that would lock everybody out is seen before the old file is touched."""
    before = path.read_bytes()
    seal = sealing.seal_slot

    def faulty(*args: object) -> object:
        slot = seal(*args)
        return dataclasses.replace(slot, sealed=bytes([slot.sealed[0] ^ 1]) + slot.sealed[1:])

    monkeypatch.setattr("pcvfs.keys.keyset.seal_slot", faulty)
    with pytest.raises(Exception, match="would not open"):
        keyset.set_password(password(PASSWORD), password(OTHER))
    assert path.read_bytes() == before


def test_what_reads_back_differently_is_said_and_the_copy_kept(
    keyset: Keyset, path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = backup.read_bytes()
    write = durable.write_file_durably

    def rotting(dirfd: int, name: bytes, data: bytes, *args: object, **options: object) -> None:
        write(dirfd, name, data[:-9] if name == b"keyset.json" else data, *args, **options)

    monkeypatch.setattr(durable, "write_file_durably", rotting)
    with pytest.raises(CorruptKeysetError, match="read back"):
        keyset.set_password(password(PASSWORD), password(OTHER))
    monkeypatch.undo()
    assert backup.read_bytes() == before
    keyset.restore_backup(password(PASSWORD))
    assert opens(keyset, PASSWORD)


# --- damage and the copy -----------------------------------------------------------------------------------------
def damage_recovery_slot(path: Path) -> None:
    record = parse_keyset(path.read_bytes())
    slot = record.slots[1]
    broken = dataclasses.replace(slot, sealed=bytes([slot.sealed[0] ^ 1]) + slot.sealed[1:])
    path.write_bytes(serialize_keyset(dataclasses.replace(record, slots=(record.slots[0], broken))))


def test_damage_elsewhere_is_said_although_the_password_opens(
    keyset: Keyset, path: Path, backup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keyset.set_recovery_key(password(PASSWORD), RecoveryKey.generate())
    whole = backup.read_bytes()
    damage_recovery_slot(path)
    with pytest.raises(CorruptKeysetError, match="changed"):
        keyset.open(password(PASSWORD))
    with pytest.raises(CorruptKeysetError):
        keyset.set_password(password(PASSWORD), password(OTHER))
    words = RecoveryKey.generate()
    with keyset.open(password(PASSWORD), accept_damage=True) as opened:
        assert "changed" in caplog.text
        assert backup.read_bytes() == whole  # not replaced by damage
        keyset.set_recovery_key(opened, words)
    assert opens(keyset, PASSWORD)
    assert opens(keyset, words)


def test_restore_backup_brings_back_a_keyset_that_is_damaged_or_gone(keyset: Keyset, path: Path) -> None:
    sdek = sdek_of(keyset, PASSWORD)
    keyset.set_recovery_key(password(PASSWORD), RecoveryKey.generate())
    for harm in (path.unlink, lambda: path.write_bytes(b""), lambda: damage_recovery_slot(path)):
        harm()
        with pytest.raises(WrongPasswordError):
            keyset.restore_backup(password("wrong"))
        assert keyset.restore_backup(password(PASSWORD)) == 2
        assert sdek_of(keyset, PASSWORD) == sdek


def test_restore_backup_never_replaces_a_whole_keyset(keyset: Keyset, path: Path, backup: Path) -> None:
    """Else an old copy and an old password would undo a change of the password."""
    old = path.read_bytes()
    keyset.set_password(password(PASSWORD), password(OTHER))
    backup.write_bytes(old)
    with pytest.raises(AlreadyInitializedError):
        keyset.restore_backup(password(PASSWORD))
    assert opens(keyset, OTHER)
    assert not opens(keyset, PASSWORD)


def test_restore_backup_without_a_whole_copy_changes_nothing(keyset: Keyset, path: Path, backup: Path) -> None:
    backup.write_bytes(path.read_bytes()[:-40])
    path.unlink()
    with pytest.raises(CorruptKeysetError):
        keyset.restore_backup(password(PASSWORD))
    backup.unlink()
    with pytest.raises(NotInitializedError):
        keyset.restore_backup(password(PASSWORD))


def test_open_renews_a_copy_that_is_old_damaged_or_missing(keyset: Keyset, path: Path, backup: Path) -> None:
    old = path.read_bytes()
    keyset.set_password(password(PASSWORD), password(OTHER))
    for content in (old, b"", None):
        backup.unlink()
        if content is not None:
            backup.write_bytes(content)
        assert not opens(keyset, PASSWORD)  # a wrong password renews nothing
        assert (backup.read_bytes() if backup.exists() else None) == content
        assert opens(keyset, OTHER)
        assert backup.read_bytes() == path.read_bytes()


def test_open_without_room_for_the_copy_opens_and_warns(
    keyset: Keyset, backup: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backup.unlink()

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "pwrite_full", full)
    assert opens(keyset, PASSWORD)
    assert "copy of the keyset could not be renewed" in caplog.text
    assert not backup.exists()


def test_keyset_copied_to_another_machine_opens_with_either_secret(
    keyset: Keyset, directory: Path, tmp_path: Path
) -> None:
    """Nothing ties the file to a machine: an export that holds it can be restored anywhere."""
    words, sdek = RecoveryKey.generate(), sdek_of(keyset, PASSWORD)
    keyset.set_recovery_key(password(PASSWORD), words)
    (tmp_path / "fresh").mkdir()
    shutil.copy(directory / "keyset.json", tmp_path / "fresh")
    fresh = Keyset(os.fsencode(tmp_path / "fresh"), CHEAP)
    assert fresh.info().fingerprint == keyset.info().fingerprint
    assert sdek_of(fresh, PASSWORD) == sdek_of(fresh, words) == sdek


def test_install_of_a_backup_opens_as_before_and_needs_a_secret(keyset: Keyset, tmp_path: Path) -> None:
    data, sdek = keyset.data(), sdek_of(keyset, PASSWORD)
    (tmp_path / "new").mkdir()
    fresh = Keyset(os.fsencode(tmp_path / "new" / "crypto"), CHEAP)
    with pytest.raises(WrongPasswordError):
        fresh.install(data, password("wrong"))
    with pytest.raises(CorruptKeysetError):
        fresh.install(data.replace(b'"generation": 1', b'"generation": 2'), password(PASSWORD))
    with pytest.raises(NotInitializedError):
        fresh.info()
    with fresh.install(data, password(PASSWORD)) as opened:
        assert opened.sdek.view() == sdek
    assert fresh.data() == data
    assert (tmp_path / "new" / "crypto" / "keyset.json.bak").read_bytes() == data
    with pytest.raises(AlreadyInitializedError):
        fresh.install(data, password(PASSWORD))


def test_data_of_a_damaged_keyset_is_refused(keyset: Keyset, path: Path) -> None:
    path.write_bytes(b"{}")
    with pytest.raises(CorruptKeysetError):
        keyset.data()


def test_lock_of_another_program_is_waited_for_and_then_said(
    keyset: Keyset, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = os.open(directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    monkeypatch.setattr("pcvfs.keys.keyset_file._LOCK_WAIT_S", 0.0)
    monkeypatch.setattr("pcvfs.keys.keyset_file._LOCK_POLL_S", 0.0)
    with pytest.raises(KeysetAccessError, match="another program"):
        keyset.set_password(password(PASSWORD), password(OTHER))
    os.close(fd)
    keyset.set_password(password(PASSWORD), password(OTHER))


# --- secrets -----------------------------------------------------------------------------------------------------
def test_opened_is_not_shown_copied_or_kept(keyset: Keyset) -> None:
    with keyset.open(password(PASSWORD)) as opened:
        view = opened.sdek.view()
        assert any(view)
        for text in (repr(opened), str(opened)):
            assert opened.sdek.view().hex() not in text
            assert opened.fingerprint not in text
        with pytest.raises(TypeError):
            pickle.dumps(opened)
    assert not any(view)


def test_machine_without_the_memory_is_said_before_anything_is_allocated(
    keyset: Keyset, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = Argon2Cost(1, 1 << 20, 1)
    small = Keyset(os.fsencode(directory), dataclasses.replace(CHEAP, memory_max_kib=1 << 16))
    record = parse_keyset((directory / "keyset.json").read_bytes())
    kdf = dataclasses.replace(record.slots[0].kdf, cost=dear)
    put(
        directory,
        serialize_keyset(dataclasses.replace(record, slots=(dataclasses.replace(record.slots[0], kdf=kdf),))),
    )
    monkeypatch.setattr(sealing, "argon2id", lambda *_args: pytest.fail("allocated"))
    with pytest.raises(KeysetCostError, match=r"1024 MiB.*64 MiB"):
        small.open(password(PASSWORD))


def test_no_memory_after_all_is_an_error_of_its_own(keyset: Keyset, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sealing, "argon2id", exhausted)
    with pytest.raises(KeysetCostError):
        keyset.open(password(PASSWORD))
