"""The session: locked or unlocked, and the memory of the SDEK when it is over."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from pcvfs.errors import CorruptKeysetError, LockedError, RolledBackKeysetError
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.session import KeySession, SessionState
from tests.unit.keys.cheap import CHEAP, PASSWORD, password, put
from tests.unit.keys.piccolod import version_1


@pytest.fixture
def session(keyset: Keyset) -> KeySession:
    session = KeySession()
    session.unlock(keyset.open(password(PASSWORD)))
    return session


def test_session_begins_locked_and_has_nothing(keyset: Keyset) -> None:
    session = KeySession()
    assert session.state is SessionState.LOCKED
    uses: list[Callable[[], object]] = [
        session.borrow,
        lambda: session.borrow_sdek().__enter__(),
        lambda: session.fingerprint,
        lambda: session.generation,
        lambda: session.require_generation(0),
    ]
    for use in uses:
        with pytest.raises(LockedError):
            use()
    session.lock()
    assert session.state is SessionState.LOCKED


def test_lock_wipes_the_memory_of_the_sdek(session: KeySession) -> None:
    assert session._opened is not None
    view = session._opened.sdek.view()
    assert any(view)
    session.lock()
    assert not any(view)
    assert session.state is SessionState.LOCKED


def test_borrowed_sdek_is_a_copy_that_ends_with_its_block(session: KeySession) -> None:
    with session.borrow_sdek() as sdek, session.borrow_sdek() as other:
        assert sdek == other
        view = sdek.view()
        session.lock()  # takes nothing away from those who are using it
        assert any(view)
    assert not any(view)


def test_borrowed_sdek_is_wiped_after_an_exception_too(session: KeySession) -> None:
    views = []

    def fail() -> None:
        with session.borrow_sdek() as sdek:
            views.append(sdek.view())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not any(views[0])


def test_unlock_again_replaces_the_record_and_wipes_the_former(session: KeySession, keyset: Keyset) -> None:
    assert session._opened is not None
    view = session._opened.sdek.view()
    keyset.set_password(password(PASSWORD), password(PASSWORD))
    session.unlock(keyset.open(password(PASSWORD)))
    assert session.generation == 2
    assert not any(view)


def test_unlock_with_another_sdek_keeps_the_one_in_use(session: KeySession, tmp_path: Path) -> None:
    fingerprint = session.fingerprint
    stranger = Keyset(os.fsencode(tmp_path / "other"), CHEAP).create(password(PASSWORD))
    view = stranger.sdek.view()
    with pytest.raises(CorruptKeysetError, match="another key"):
        session.unlock(stranger)
    assert session.fingerprint == fingerprint
    assert not any(view)


def test_keyset_that_was_rolled_back_is_noticed(session: KeySession, keyset: Keyset, directory: Path) -> None:
    old = (directory / "keyset.json").read_bytes()
    seen = keyset.set_password(password(PASSWORD), password("new"))
    put(directory, old)
    put(directory, old, "keyset.json.bak")
    rolled_back = KeySession()
    rolled_back.unlock(keyset.open(password(PASSWORD)))
    rolled_back.require_generation(seen - 1)
    with pytest.raises(RolledBackKeysetError, match="generation 1"):
        rolled_back.require_generation(seen)


def test_keyset_of_ours_replaced_by_an_old_one_of_piccolods_is_noticed(empty: Keyset, directory: Path) -> None:
    put(directory, version_1(PASSWORD))
    seen = empty.set_password(password(PASSWORD), password("new"))
    put(directory, version_1(PASSWORD))
    session = KeySession()
    session.unlock(empty.open(password(PASSWORD)))
    with pytest.raises(RolledBackKeysetError):
        session.require_generation(seen)


def test_session_is_not_shown_copied_or_pickled(session: KeySession) -> None:
    with session.borrow_sdek() as sdek:
        assert bytes(sdek.view()).hex() not in repr(session)
    assert repr(session) == "<KeySession, unlocked>"
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            duplicate(session)
