"""Keys and passwords in memory that can be wiped.

Owns: where a secret lies. The memory is locked against swapping as far as RLIMIT_MEMLOCK allows, is left out of core
dumps, and is overwritten on ``wipe``. What this can't promise is in the threat model: Python and libcrypto may have
made copies elsewhere.

Threads: a Secret may be read by any number; wiping one that another thread is using is a mistake of the caller.
"""

from __future__ import annotations

import resource
from types import TracebackType
from typing import NoReturn, Self

from pcvfs import native
from pcvfs.native import Buffer


class Secret:
    """A fixed number of secret bytes, zero at first.

    Never printed, pickled or copied by accident: ``repr`` shows the size alone, equality takes constant time, and
    there is no hash. The memory goes back to the kernel when the Secret and all its views are gone.

    Args:
        size: bytes, at least 1.

    Raises:
        ValueError: size < 1.
        MemoryError: the kernel gave no memory.
    """

    __slots__ = ("_memory", "_size")

    def __init__(self, size: int) -> None:
        self._memory: memoryview | None = native.secret_alloc(size)
        self._size = size

    @classmethod
    def from_bytes(cls, data: Buffer) -> Self:
        """Copy; wiping ``data`` itself, if it can be, is the caller's."""
        with memoryview(data).cast("B") as source:
            secret = cls(source.nbytes)
            secret.view()[:] = source
        return secret

    @classmethod
    def random(cls, size: int) -> Self:
        """Fill from the kernel's random number generator."""
        secret = cls(size)
        native.random_into(secret.view())
        return secret

    def view(self) -> memoryview:
        """Writable view of the memory itself. ValueError after ``wipe``."""
        if self._memory is None:
            raise ValueError("the secret has been wiped")
        return self._memory

    def wipe(self) -> None:
        """Overwrite with zeros; also seen through earlier views. May be repeated."""
        if self._memory is not None:
            native.wipe(self._memory)
            self._memory = None

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # here, because it loads hashlib, and hardly anyone compares secrets

        return hmac.compare_digest(self.view(), other.view())

    __hash__ = None  # type: ignore[assignment]  # typeshed declares object.__hash__ as a method; None is the protocol

    def __repr__(self) -> str:
        return f"<Secret of {self._size} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be copied or pickled")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wipe()


def harden_process() -> None:
    """Keep this process' memory to itself: no core dumps, no ptrace by processes of the same user.

    For the whole process and for good, so only the owner of a process calls it, at its start.
    """
    native.set_undumpable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
