"""The async face: attempts one at a time, nobody else kept waiting, and nothing half done."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from pcvfs.crypto.secret import Secret
from pcvfs.errors import (
    AlreadyInitializedError,
    CorruptKeysetError,
    LockedError,
    NotInitializedError,
    RecoveryWordsError,
    TooManyAttemptsError,
    WrongPasswordError,
)
from pcvfs.keys import keeper as keeper_module
from pcvfs.keys import sealing
from pcvfs.keys.device_key import DeviceKey
from pcvfs.keys.keeper import KeyKeeper
from pcvfs.keys.recovery import RecoveryKey
from pcvfs.keys.session import SessionState
from tests.unit.keys.cheap import BY_NAME, CHEAP, OTHER, PASSWORD, password, put

HERE = "console"


@pytest.fixture
def run(directory: Path) -> Callable[[Callable[[KeyKeeper], Awaitable[None]]], None]:
    """Run a test with a keeper that knows a keyset."""

    def runner(test: Callable[[KeyKeeper], Awaitable[None]]) -> None:
        async def main() -> None:
            with trio.fail_after(30):
                keeper = KeyKeeper(os.fsencode(directory), policy=CHEAP, harden=lambda: None)
                await keeper.initialize(password(PASSWORD))
                await test(keeper)

        directory.parent.mkdir()
        trio.run(main)

    return runner


Run = Callable[[Callable[[KeyKeeper], Awaitable[None]]], None]


class Gate:
    """Stands in front of the key derivation, and counts who is in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self._busy = threading.Event()
        self.inside = 0
        self.most = 0
        self.passed = 0
        self.threads: set[int] = set()
        self._derive = sealing.derive_kek
        monkeypatch.setattr(sealing, "derive_kek", self._pass)

    def _pass(self, *args: object) -> Secret:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.threads.add(threading.get_ident())
        self._busy.set()
        assert self.open.wait(20)
        self.inside -= 1
        self.passed += 1
        return self._derive(*args)

    async def wait_busy(self) -> None:
        assert await trio.to_thread.run_sync(self._busy.wait, 20)


# --- states ------------------------------------------------------------------------------------------------------
def test_keeper_goes_from_nothing_to_locked_to_unlocked_and_back(directory: Path) -> None:
    async def main() -> None:
        keeper = KeyKeeper(os.fsencode(directory), policy=CHEAP, harden=lambda: None)
        for use in (keeper.info, partial(keeper.unlock, password(PASSWORD), source=HERE)):
            with pytest.raises(NotInitializedError):
                await use()
        await keeper.initialize(password(PASSWORD))
        assert keeper.session.state is SessionState.LOCKED
        with pytest.raises(AlreadyInitializedError):
            await keeper.initialize(password(OTHER))
        await keeper.unlock(password(PASSWORD), source=HERE)
        assert keeper.session.state is SessionState.UNLOCKED
        assert keeper.session.fingerprint == (await keeper.info()).fingerprint
        keeper.lock()
        assert keeper.session.state is SessionState.LOCKED

    directory.parent.mkdir()
    trio.run(main)


def test_process_is_hardened_before_there_is_a_secret(directory: Path) -> None:
    calls = []

    async def main() -> None:
        KeyKeeper(os.fsencode(directory), policy=CHEAP, harden=lambda: calls.append(1))

    trio.run(main)
    assert calls == [1]


def test_process_of_a_keeper_leaves_no_core_and_no_memory_to_others(directory: Path) -> None:
    """By default; in a process of its own, since it is for good."""
    code = f"""
import resource, trio
from pcvfs.keys.keeper import KeyKeeper
async def main():
    KeyKeeper({os.fsencode(directory)!r})
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    import ctypes
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
trio.run(main)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_unlock_again_tries_the_password_all_the_same(run: Run) -> None:
    async def test(keeper: KeyKeeper) -> None:
        await keeper.unlock(password(PASSWORD), source=HERE)
        with pytest.raises(WrongPasswordError):
            await keeper.unlock(password("wrong"), source=HERE)
        assert keeper.session.state is SessionState.UNLOCKED
        await keeper.unlock(password(PASSWORD), source=HERE)

    run(test)


def test_verify_never_unlocks_and_raises_for_a_wrong_password(run: Run) -> None:
    async def test(keeper: KeyKeeper) -> None:
        await keeper.verify(password(PASSWORD), source=HERE)
        with pytest.raises(WrongPasswordError):
            await keeper.verify(password("wrong"), source=HERE)
        assert keeper.session.state is SessionState.LOCKED
        await keeper.unlock(password(PASSWORD), source=HERE)
        keeper.lock()
        with pytest.raises(WrongPasswordError):  # nothing remembers that it was right, or what was
            await keeper.verify(password("wrong"), source=HERE)

    run(test)


def test_changes_on_a_proof_and_on_an_unlocked_session(run: Run) -> None:
    async def test(keeper: KeyKeeper) -> None:
        words, device = RecoveryKey.generate(), DeviceKey.generate(label="stick")
        with pytest.raises(LockedError):
            await keeper.set_recovery_key(words, source=HERE)
        assert await keeper.set_recovery_key(words, proof=password(PASSWORD), source=HERE) == 2
        await keeper.unlock(password(PASSWORD), source=HERE)
        assert await keeper.add_device_key(device, source=HERE) == 3
        assert await keeper.set_password(words, password(OTHER), source=HERE) == 4
        for key in (words, device, password(OTHER)):
            await keeper.verify(key, source=HERE)
        info = await keeper.info()
        assert [slot.kind for slot in info.slots] == ["password", "recovery", "device-key"]
        await keeper.remove_slot(info.slots[2].slot_id, source=HERE)
        assert len((await keeper.info()).slots) == 2

    run(test)


def test_set_password_on_a_wrong_proof_is_an_attempt(run: Run) -> None:
    async def test(keeper: KeyKeeper) -> None:
        for _ in range(5):
            with pytest.raises(WrongPasswordError):
                await keeper.set_password(password("wrong"), password(OTHER), source=HERE)
        with pytest.raises(TooManyAttemptsError):
            await keeper.set_password(password(PASSWORD), password(OTHER), source=HERE)
        await keeper.verify(password(PASSWORD), source="elsewhere")

    run(test)


# --- attempts ----------------------------------------------------------------------------------------------------
def test_unlock_waits_after_failures_and_refuses_the_right_password_meanwhile(run: Run) -> None:
    async def test(keeper: KeyKeeper) -> None:
        for _ in range(5):
            with pytest.raises(WrongPasswordError):
                await keeper.unlock(password("wrong"), source="10.0.0.1")
        with pytest.raises(TooManyAttemptsError) as caught:
            await keeper.unlock(password(PASSWORD), source="10.0.0.1")
        assert 4 <= caught.value.retry_after_s <= 5
        assert keeper.session.state is SessionState.LOCKED
        await keeper.unlock(password(PASSWORD), source="10.0.0.2")
        assert keeper.statistics() == {"waiting": 0, "sources": 1, "blocked": 1}

    run(test)


def test_refused_attempt_derives_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        for _ in range(5):
            with pytest.raises(WrongPasswordError):
                await keeper.unlock(password("wrong"), source=HERE)
        monkeypatch.setattr(sealing, "derive_kek", lambda *_args: pytest.fail("derived"))
        with pytest.raises(TooManyAttemptsError):
            await keeper.unlock(password(PASSWORD), source=HERE)

    run(test)


def test_source_that_has_to_wait_is_told_so_before_its_turn(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        for _ in range(5):
            with pytest.raises(WrongPasswordError):
                await keeper.unlock(password("wrong"), source=HERE)
        gate = Gate(monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(keeper.verify, password(PASSWORD), source="another"))
            await gate.wait_busy()
            with pytest.raises(TooManyAttemptsError):
                await keeper.unlock(password(PASSWORD), source=HERE)
            assert gate.inside == 1
            gate.open.set()

    run(test)


def test_attempts_that_guess_nothing_are_not_counted(run: Run, directory: Path) -> None:
    async def test(keeper: KeyKeeper) -> None:
        words = RecoveryKey.generate()
        await keeper.set_recovery_key(words, proof=password(PASSWORD), source=HERE)
        nato = RecoveryKey.from_text(BY_NAME["cheap-with-rk"]["mnemonic"])
        for _ in range(10):
            with pytest.raises(RecoveryWordsError):
                await keeper.unlock(nato, source=HERE)
        whole = (directory / "keyset.json").read_bytes()
        put(directory, b"{")
        for _ in range(10):
            with pytest.raises(CorruptKeysetError):
                await keeper.unlock(password(PASSWORD), source=HERE)
        put(directory, whole)
        await keeper.unlock(password(PASSWORD), source=HERE)

    run(test)


def test_attempts_run_one_at_a_time_in_a_worker_while_the_loop_and_info_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(keeper: KeyKeeper) -> None:
        gate = Gate(monkeypatch)
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(partial(keeper.verify, password(PASSWORD), source=f"10.0.0.{number}"))
            await gate.wait_busy()
            await trio.testing.wait_all_tasks_blocked()
            assert keeper.statistics()["waiting"] == 4
            assert (await keeper.info()).generation == 1
            keeper.lock()
            gate.open.set()
        assert (gate.passed, gate.most) == (5, 1)
        assert threading.get_ident() not in gate.threads

    run(test)


def test_parallel_attempts_of_one_source_do_not_outrun_the_limiter(run: Run) -> None:
    async def test(keeper: KeyKeeper) -> None:
        outcomes: list[type] = []

        async def guess() -> None:
            try:
                await keeper.unlock(password("wrong"), source=HERE)
            except (WrongPasswordError, TooManyAttemptsError) as exc:
                outcomes.append(type(exc))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(guess)
        assert len(outcomes) == 50
        assert outcomes.count(WrongPasswordError) <= 5

    run(test)


def test_queue_of_attempts_is_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        gate = Gate(monkeypatch)
        refused = []

        async def guess(source: str) -> None:
            try:
                await keeper.verify(password(PASSWORD), source=source)
            except TooManyAttemptsError as exc:
                refused.append(exc.retry_after_s)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(guess, "first")
            await gate.wait_busy()
            for number in range(29):
                nursery.start_soon(guess, str(number))
            await trio.testing.wait_all_tasks_blocked()
            gate.open.set()
        assert refused == [keeper_module._BUSY_WAIT_S] * (29 - keeper_module._WAITING_MAX)
        assert gate.passed == 1 + keeper_module._WAITING_MAX

    run(test)


# --- cancelled, locked meanwhile -----------------------------------------------------------------------------------
def test_cancelled_attempt_counts_and_leaves_nothing_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        for _ in range(5):
            gate = Gate(monkeypatch)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def guess() -> None:
                        with pytest.raises(WrongPasswordError):
                            await keeper.unlock(password("wrong"), source=HERE)

                    nursery.start_soon(guess)
                    await gate.wait_busy()
                    scope.cancel()
                    gate.open.set()
            monkeypatch.undo()
        with pytest.raises(TooManyAttemptsError):
            await keeper.unlock(password(PASSWORD), source=HERE)
        assert keeper.statistics()["waiting"] == 0

    run(test)


def test_attempt_cancelled_while_it_waits_is_not_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        gate = Gate(monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(keeper.verify, password(PASSWORD), source="first"))
            await gate.wait_busy()
            with trio.move_on_after(0.01):
                await keeper.unlock(password("wrong"), source=HERE)
            assert keeper.statistics() == {"waiting": 0, "sources": 1, "blocked": 0}
            gate.open.set()
        assert keeper.statistics()["sources"] == 0
        await keeper.unlock(password(PASSWORD), source=HERE)

    run(test)


def test_change_that_is_cancelled_is_finished(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        gate = Gate(monkeypatch)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(keeper.set_password, password(PASSWORD), password(OTHER), source=HERE))
                await gate.wait_busy()
                scope.cancel()
                gate.open.set()
        await keeper.verify(password(OTHER), source=HERE)

    run(test)


def test_lock_during_an_unlock_wins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        gate = Gate(monkeypatch)
        async with trio.open_nursery() as nursery:

            async def unlock() -> None:
                with pytest.raises(LockedError, match="while"):
                    await keeper.unlock(password(PASSWORD), source=HERE)

            nursery.start_soon(unlock)
            await gate.wait_busy()
            keeper.lock()
            gate.open.set()
        assert keeper.session.state is SessionState.LOCKED
        await keeper.unlock(password(PASSWORD), source=HERE)

    run(test)


def test_lock_during_a_change_takes_nothing_from_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keeper: KeyKeeper) -> None:
        await keeper.unlock(password(PASSWORD), source=HERE)
        words, gate = RecoveryKey.generate(), Gate(monkeypatch)
        monkeypatch.setattr("pcvfs.keys.keyset.derive_kek", sealing.derive_kek)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(keeper.set_recovery_key, words, source=HERE))
            await gate.wait_busy()
            keeper.lock()
            gate.open.set()
        await keeper.verify(words, source=HERE)

    run(test)


# --- damage ------------------------------------------------------------------------------------------------------
def test_restore_backup_is_an_attempt_and_restores(run: Run, directory: Path) -> None:
    async def test(keeper: KeyKeeper) -> None:
        (directory / "keyset.json").write_bytes(b"")
        with pytest.raises(WrongPasswordError):
            await keeper.restore_backup(password("wrong"), source=HERE)
        assert keeper.statistics()["sources"] == 1
        assert await keeper.restore_backup(password(PASSWORD), source=HERE) == 1
        await keeper.unlock(password(PASSWORD), source=HERE)

    run(test)


def test_install_puts_a_backup_into_a_fresh_place(run: Run, tmp_path: Path) -> None:
    async def test(keeper: KeyKeeper) -> None:
        fresh = KeyKeeper(os.fsencode(tmp_path / "fresh"), policy=CHEAP, harden=lambda: None)
        await fresh.install(await keeper.data(), password(PASSWORD), source=HERE)
        assert fresh.session.state is SessionState.LOCKED
        await fresh.unlock(password(PASSWORD), source=HERE)
        assert fresh.session.fingerprint == (await keeper.info()).fingerprint

    run(test)


# --- secrets -----------------------------------------------------------------------------------------------------
def test_no_secret_gets_into_logs_errors_or_reprs(run: Run, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, other = "Tr0ub4dor and a horse", "s3cond s3cret"
    said: list[str] = []

    async def attempt(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except Exception as exc:  # noqa: BLE001  # whatever it is: it may not tell
            chain: BaseException | None = exc
            while chain is not None:
                said.extend((repr(chain), str(chain), str(vars(chain)), str(getattr(chain, "hint", ""))))
                chain = chain.__cause__ or chain.__context__

    async def test(keeper: KeyKeeper) -> None:
        words, device = RecoveryKey.generate(), DeviceKey.generate()
        await keeper.set_recovery_key(words, proof=password(PASSWORD), source=HERE)
        await keeper.set_password(words, password(secret), source=HERE)
        await keeper.unlock(password(secret), source=HERE)
        with keeper.session.borrow_sdek() as sdek:
            sdek_hex = bytes(sdek.view()).hex()
        said.extend(map(repr, (keeper, keeper.session, words, device, password(secret), await keeper.info())))
        for key in (password(other), device, RecoveryKey.generate()):
            await attempt(partial(keeper.verify, key, source=HERE))
            await attempt(partial(keeper.set_password, key, password(other), source=HERE))
        (directory / "keyset.json").write_bytes((directory / "keyset.json").read_bytes()[:-30])
        await attempt(partial(keeper.unlock, password(secret), source=HERE))
        (directory / "keyset.json.bak").unlink()
        await attempt(partial(keeper.restore_backup, password(secret), source=HERE))
        (directory / "keyset.json").unlink()
        await attempt(partial(keeper.set_password, password(secret), password(other), source=HERE))
        text = "\n".join([*said, caplog.text])
        assert len(said) > 20
        assert not [hidden for hidden in (secret, other, sdek_hex, *_pairs(words.words())) if hidden in text]

    run(test)


def _pairs(words: list[str]) -> list[str]:
    return [f"{one} {two}" for one, two in itertools.pairwise(words)]
