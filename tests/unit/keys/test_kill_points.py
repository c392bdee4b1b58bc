"""Killed, or out of disk, at every step of every change: one of the two secrets opens, and the next change works."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pcvfs import durable
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AlreadyInitializedError, KeysetAccessError, KeysetError, NotInitializedError
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.record import Slot
from pcvfs.keys.recovery import RecoveryKey
from tests.support.kill_points import CHANGING_CALLS, killed_everywhere
from tests.unit.keys.cheap import CHEAP, OTHER, PASSWORD, opens, password, put, sdek_of

MODULES = (durable,)


class Case:
    """A keyset of its own for each try."""

    def __init__(self, where: Path) -> None:
        where.mkdir()
        self.directory = where / "crypto"
        self.keyset = Keyset(os.fsencode(self.directory), CHEAP)

    def created(self) -> Case:
        self.keyset.create(password(PASSWORD)).wipe()
        return self

    @property
    def files(self) -> set[str]:
        return set(os.listdir(self.directory))


class EitherPassword:
    """Whichever of the two passwords holds at the time."""

    def __init__(self) -> None:
        self._keys = [password(PASSWORD), password(OTHER)]
        self.kind = self._keys[0].kind

    def materials(self, slot: Slot) -> Iterator[Secret]:
        return (next(key.materials(slot)) for key in self._keys)

    def refusal(self) -> KeysetError:
        return KeysetError("neither")


@pytest.fixture
def new_case(tmp_path: Path) -> Callable[[int], Case]:
    return lambda step: Case(tmp_path / str(step))


def test_create_killed_anywhere_is_no_keyset_or_a_whole_one(new_case: Callable[[int], Case]) -> None:
    outcomes = set()
    for case in killed_everywhere(MODULES, new_case, lambda case: case.keyset.create(password(PASSWORD))):
        is_there = (case.directory / "keyset.json").exists()
        outcomes.add(is_there)
        if is_there:
            assert opens(case.keyset, PASSWORD)
            with pytest.raises(AlreadyInitializedError):
                case.keyset.create(password(OTHER))
            continue
        with pytest.raises(NotInitializedError):
            case.keyset.info()
        case.keyset.create(password(OTHER)).wipe()
        assert opens(case.keyset, OTHER)
    assert outcomes == {True, False}


def test_set_password_killed_anywhere_old_or_new_opens(new_case: Callable[[int], Case]) -> None:
    outcomes = set()
    for case in killed_everywhere(
        MODULES,
        lambda step: new_case(step).created(),
        lambda case: case.keyset.set_password(password(PASSWORD), password(OTHER)),
    ):
        assert opens(case.keyset, PASSWORD) != opens(case.keyset, OTHER)
        valid = PASSWORD if opens(case.keyset, PASSWORD) else OTHER
        outcomes.add(valid)
        case.keyset.set_password(password(valid), password("third"))
        assert opens(case.keyset, "third")
        assert not opens(case.keyset, valid)
        assert case.files == {"keyset.json", "keyset.json.bak"}
    assert outcomes == {PASSWORD, OTHER}


def test_set_recovery_key_killed_anywhere_old_or_new_opens(new_case: Callable[[int], Case]) -> None:
    old, new = RecoveryKey.generate(), RecoveryKey.generate()

    def prepare(step: int) -> Case:
        case = new_case(step).created()
        case.keyset.set_recovery_key(password(PASSWORD), old)
        return case

    outcomes = set()
    for case in killed_everywhere(MODULES, prepare, lambda case: case.keyset.set_recovery_key(password(PASSWORD), new)):
        assert opens(case.keyset, PASSWORD)
        assert opens(case.keyset, old) != opens(case.keyset, new)
        outcomes.add(opens(case.keyset, old))
    assert outcomes == {True, False}


def test_set_password_by_recovery_key_killed_anywhere_keeps_the_recovery_key(new_case: Callable[[int], Case]) -> None:
    words = RecoveryKey.generate()

    def prepare(step: int) -> Case:
        case = new_case(step).created()
        case.keyset.set_recovery_key(password(PASSWORD), words)
        return case

    for case in killed_everywhere(MODULES, prepare, lambda case: case.keyset.set_password(words, password(OTHER))):
        assert opens(case.keyset, words)
        assert opens(case.keyset, PASSWORD) != opens(case.keyset, OTHER)


def test_old_secret_does_not_survive_in_the_copy_once_the_keyset_was_opened(new_case: Callable[[int], Case]) -> None:
    for case in killed_everywhere(
        MODULES,
        lambda step: new_case(step).created(),
        lambda case: case.keyset.set_password(password(PASSWORD), password(OTHER)),
    ):
        if opens(case.keyset, OTHER):
            copy = Keyset(os.fsencode(case.directory.parent / "copied"), CHEAP)
            put(case.directory.parent / "copied", (case.directory / "keyset.json.bak").read_bytes())
            assert not opens(copy, PASSWORD)


def test_restore_backup_killed_anywhere_can_be_repeated(new_case: Callable[[int], Case]) -> None:
    def prepare(step: int) -> Case:
        case = new_case(step).created()
        (case.directory / "keyset.json").write_bytes(b"{")
        return case

    outcomes = set()
    for case in killed_everywhere(MODULES, prepare, lambda case: case.keyset.restore_backup(password(PASSWORD))):
        is_restored = (case.directory / "keyset.json").read_bytes() != b"{"
        outcomes.add(is_restored)
        if not is_restored:
            case.keyset.restore_backup(password(PASSWORD))
        assert opens(case.keyset, PASSWORD)
    assert outcomes == {True, False}


def test_install_killed_anywhere_is_no_keyset_or_a_whole_one(new_case: Callable[[int], Case], tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source = Keyset(os.fsencode(tmp_path / "source" / "crypto"), CHEAP)
    source.create(password(PASSWORD)).wipe()
    data = source.data()
    outcomes = set()
    for case in killed_everywhere(MODULES, new_case, lambda case: case.keyset.install(data, password(PASSWORD))):
        is_there = (case.directory / "keyset.json").exists()
        outcomes.add(is_there)
        if not is_there:
            case.keyset.install(data, password(PASSWORD)).wipe()
        assert opens(case.keyset, PASSWORD)
    assert outcomes == {True, False}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize(
    "call", [call for call in CHANGING_CALLS if call not in ("mkdir", "fchown", "linkat", "openat")]
)
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_set_password_failing_disk_leaves_one_password_that_opens(
    keyset: Keyset, monkeypatch: pytest.MonkeyPatch, call: str, at: int, code: int
) -> None:
    sdek = sdek_of(keyset, PASSWORD)
    original, made = getattr(durable, call), [0]

    def failing(*args: object) -> object:
        made[0] += 1
        if made[0] == at + 1:
            raise OSError(code, os.strerror(code))
        return original(*args)

    monkeypatch.setattr(durable, call, failing)
    try:
        keyset.set_password(password(PASSWORD), password(OTHER))
        is_reported = False
    except KeysetAccessError as exc:
        is_reported = True
        assert os.strerror(code).lower() in exc.message
    monkeypatch.undo()
    assert opens(keyset, PASSWORD) != opens(keyset, OTHER)
    valid = PASSWORD if opens(keyset, PASSWORD) else OTHER
    assert is_reported or valid == OTHER
    assert sdek_of(keyset, valid) == sdek


def test_set_password_failing_before_the_rename_leaves_the_old_password_alone(
    keyset: Keyset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "pwrite_full", full)
    with pytest.raises(KeysetAccessError):
        keyset.set_password(password(PASSWORD), password(OTHER))
    assert opens(keyset, PASSWORD)
    assert not opens(keyset, OTHER)


def test_create_failing_disk_leaves_no_keyset(empty: Keyset, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for call in ("mkdir", "openat", "fchmod", "pwrite_full", "renameat2"):
        with monkeypatch.context() as patch:
            patch.setattr(durable, call, full)
            with pytest.raises(KeysetAccessError):
                empty.create(password(PASSWORD))
        with pytest.raises(NotInitializedError):
            empty.info()
    assert os.listdir(directory) == []
    empty.create(password(PASSWORD)).wipe()


def test_order_of_a_change_is_copy_of_the_old_then_new_file_then_copy_of_the_new(
    keyset: Keyset, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "keyset.json.bak").unlink()
    old = (directory / "keyset.json").read_bytes()
    events: list[object] = []
    fsync, rename = durable.fsync, durable.renameat2

    def logged_fsync(fd: int) -> None:
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def logged_rename(dirfd: int, source: bytes, target_dirfd: int, target: bytes, flags: int = 0) -> None:
        content = (directory / os.fsdecode(source)).read_bytes()
        events.append((os.fsdecode(target), "old" if content == old else "new"))
        rename(dirfd, source, target_dirfd, target, flags)

    monkeypatch.setattr(durable, "fsync", logged_fsync)
    monkeypatch.setattr(durable, "renameat2", logged_rename)
    keyset.set_password(password(PASSWORD), password(OTHER))
    assert events == [
        *["keyset.json.tmp", ("keyset.json.bak", "old"), "crypto"],
        *["keyset.json.tmp", ("keyset.json", "new"), "crypto"],
        *["keyset.json.tmp", ("keyset.json.bak", "new"), "crypto"],
    ]


def test_what_an_interrupted_change_left_is_no_obstacle(keyset: Keyset, directory: Path) -> None:
    (directory / "keyset.json.tmp").write_bytes(b"half")
    keyset.set_password(password(PASSWORD), password(OTHER))
    assert set(os.listdir(directory)) == {"keyset.json", "keyset.json.bak"}


def test_two_changes_at_once_both_happen(keyset: Keyset) -> None:
    words = RecoveryKey.generate()
    children = []
    for change in (
        lambda: keyset.set_password(password(PASSWORD), password(OTHER)),
        lambda: keyset.set_recovery_key(EitherPassword(), words),
    ):
        child = os.fork()
        if child == 0:
            try:
                change()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert opens(keyset, OTHER)
    assert opens(keyset, words)
    assert keyset.info().generation == 3
