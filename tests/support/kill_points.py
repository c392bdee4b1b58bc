"""Kills an action at every step that changes the disk, one after the other.

A child process does the work and ends, without clean-up, before or in the middle of its n-th call that changes the
disk. What a power cut does on top of that is the matter of the order of syncs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TypeVar

import pytest

KILLED = 99
CHANGING_CALLS = ("mkdir", "openat", "fchmod", "fchown", "pwrite_full", "fsync", "renameat2", "linkat", "unlinkat")
STEPS_MAX = 100

State = TypeVar("State")


def killed_everywhere(
    modules: Sequence[ModuleType], prepare: Callable[[int], State], action: Callable[[State], object]
) -> Iterator[State]:
    """Yield the state after each kill; the last one was killed at the last step there is.

    Args:
        modules: where the calls are looked up by the code that is killed.
        prepare: makes a new state for each try, from its number.
    """
    for step in range(1, STEPS_MAX):
        state = prepare(step)
        if not run_until(modules, lambda: action(state), step):  # noqa: B023  # runs at once
            assert step > 4, "hardly any step was seen"
            return
        yield state
    pytest.fail("never came to an end")


def run_until(modules: Sequence[ModuleType], action: Callable[[], object], step: int) -> bool:
    """Run an action in a child that ends at its ``step``-th changing call; True if it came that far."""
    child = os.fork()
    if child == 0:
        try:
            _end_at(modules, step)
            action()
            os._exit(0)
        finally:
            os._exit(1)  # an exception nobody expects
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == KILLED


def _end_at(modules: Sequence[ModuleType], step: int) -> None:
    calls = [0]

    def ending(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            calls[0] += 1
            if calls[0] == step:
                if name == "pwrite_full":
                    os.pwrite(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                os._exit(KILLED)
            return original(*args)

        return call

    for module in modules:
        for name in CHANGING_CALLS:
            if hasattr(module, name):
                setattr(module, name, ending(name, getattr(module, name)))
