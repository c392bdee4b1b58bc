"""Makes the system calls of the filesystem layer countable, and the N-th of them fail or kill the process.

Stands between pcvfs and the ``os`` module (and the extension's three system calls), so a fault hits exactly one
call, wherever it is made: in ``backing``, or on a descriptor in ``fs``. Giving a descriptor back never fails here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from pcvfs import durable, native
from pcvfs.cipherdir import backing
from pcvfs.fs import dirs, files, objects, volume_fs

CREATING = frozenset(
    {"creat", "mkdir", "mknod", "symlink", "link", "rename", "renameat2", "pwrite", "fallocate", "setxattr"}
)
OPENING = frozenset({"open", "dup", "scandir", "listdir"})
OTHERS = frozenset(
    [
        "stat",
        "fstat",
        "unlink",
        "rmdir",
        "readlink",
        "chmod",
        "chown",
        "fchmod",
        "fchown",
        "utime",
        "utimensat",
        "pread",
        "preadv",
        "ftruncate",
        "fsync",
        "fdatasync",
        "lseek",
        "getxattr",
        "listxattr",
        "removexattr",
        "fstatvfs",
    ]
)
EVERY = CREATING | OPENING | OTHERS
POSSIBLE = {
    errno.EIO: EVERY,
    errno.ENOSPC: CREATING,
    errno.EDQUOT: CREATING,
    errno.EMFILE: OPENING | {"creat"},
}


class Faults:
    """The calls made so far, and what happens at the one that is armed.

    Attributes:
        calls: names of the calls counted since ``arm``.
        hit: the name of the call that was made to fail, or "".
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.hit = ""
        self._counted: frozenset[str] = frozenset()
        self._at = -1
        self._action: Callable[[], object] = lambda: None

    def arm(self, at: int, action: Callable[[], object], counted: frozenset[str] = EVERY) -> None:
        """Count the calls in ``counted`` from now on, and run ``action`` instead of number ``at``, from 0."""
        self.calls, self.hit = [], ""
        self._at, self._action, self._counted = at, action, counted

    def disarm(self) -> None:
        """Let everything through; what was counted stays."""
        self._at, self._counted = -1, frozenset()

    @contextmanager
    def failing(self, name: str, error: int, *, at: int = 0) -> Iterator[None]:
        """Within the block, the call ``name`` fails, once: the ``at``-th time it is made."""
        self.arm(at, lambda: fail(error), frozenset({name}))
        try:
            yield
        finally:
            self.disarm()
        assert self.hit, f"{name} was not called"

    def wrap(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        """``call``, counted."""

        def counted(*args: object, **kwargs: object) -> object:
            what = "creat" if name == "open" and args[1] & os.O_CREAT else name
            if what in self._counted:
                index = len(self.calls)
                self.calls.append(what)
                if index == self._at:
                    self.hit = what
                    self._action()
            return call(*args, **kwargs)

        return counted


def fail(error: int) -> None:
    """An action: the call fails."""
    raise OSError(error, os.strerror(error))


class _Counted:
    """A module whose system calls are counted; everything else of it as it is."""

    def __init__(self, module: ModuleType, faults: Faults) -> None:
        self._module = module
        for name in EVERY:
            if hasattr(module, name):
                setattr(self, name, faults.wrap(name, getattr(module, name)))

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)


def install(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Put a counter in front of the system calls of the filesystem layer, until the test ends."""
    faults = Faults()
    counted = _Counted(os, faults)
    for module in (backing, durable, files, objects, dirs, volume_fs):
        monkeypatch.setattr(module, "os", counted)
    for module in (backing, durable):
        monkeypatch.setattr(module, "native", _Counted(native, faults))
    for alias in ("fstat", "fstatvfs", "ftruncate", "fsync", "fdatasync", "fchmod", "fchown"):
        monkeypatch.setattr(backing, alias, faults.wrap(alias, getattr(os, alias)))
    return faults
