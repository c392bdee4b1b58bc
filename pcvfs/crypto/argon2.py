"""Argon2id: keys from passwords, at a price in memory. The result is written straight into wipeable memory.

The primitive takes any price that the algorithm allows; what is cheap enough to accept and dear enough to use is
decided in ``pcvfs.keys.cost``. Its own module, because only keysets need the library.

Working memory is wiped by the library before it goes back, but neither locked nor left out of swap: it is too large.

Threads: any number at once, each with its own working memory. The GIL is released.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from argon2.low_level import ARGON2_VERSION, Type, core, error_to_str, ffi

from pcvfs import spec
from pcvfs.crypto.secret import Secret
from pcvfs.errors import InternalError

_VERSION: Final = 0x13
_DEFAULT_FLAGS: Final = 0
_MEMORY_ALLOCATION_ERROR: Final = -22
_SALT_MIN: Final = 8  # bytes
_UINT32_MAX: Final = (1 << 32) - 1
_LANES_MAX: Final = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """What a derivation costs: ``time`` passes over ``memory_kib`` KiB, in ``lanes`` that may run at once."""

    time: int
    memory_kib: int
    lanes: int


def argon2id(password: Secret, salt: bytes, cost: Argon2Cost) -> Secret:
    """Derive a key-encryption key from a password.

    Args:
        password: taken as it is.
        salt: at least 8 bytes.

    Returns:
        32 bytes.

    Raises:
        ValueError: the cost or the salt is out of the algorithm's range. Nothing was allocated.
        MemoryError: no working memory.

    Source: RFC 9106, version 0x13, no secret and no associated data.
    """
    if not (1 <= cost.lanes <= _LANES_MAX and 1 <= cost.time <= _UINT32_MAX):
        raise ValueError("Argon2 lanes or passes are out of range")
    if not 8 * cost.lanes <= cost.memory_kib <= _UINT32_MAX:
        raise ValueError("Argon2 memory is out of range")
    if not _SALT_MIN <= len(salt) <= _UINT32_MAX:
        raise ValueError(f"an Argon2 salt has at least {_SALT_MIN} bytes")
    if ARGON2_VERSION != _VERSION:
        raise InternalError(f"the Argon2 library is version {ARGON2_VERSION:#x}, not {_VERSION:#x}")
    kek = Secret(spec.KEY_SIZE)
    with (
        ffi.from_buffer("uint8_t[]", password.view()) as pwd,
        ffi.from_buffer("uint8_t[]", kek.view(), require_writable=True) as out,
        ffi.from_buffer("uint8_t[]", salt) as salt_data,
    ):
        context = ffi.new(
            "argon2_context *",
            {
                "out": out,
                "outlen": len(out),
                "pwd": pwd,
                "pwdlen": len(pwd),
                "salt": salt_data,
                "saltlen": len(salt_data),
                "secret": ffi.NULL,
                "secretlen": 0,
                "ad": ffi.NULL,
                "adlen": 0,
                "t_cost": cost.time,
                "m_cost": cost.memory_kib,
                "lanes": cost.lanes,
                "threads": min(cost.lanes, len(os.sched_getaffinity(0))),  # the result depends on lanes alone
                "version": _VERSION,
                "allocate_cbk": ffi.NULL,
                "free_cbk": ffi.NULL,
                "flags": _DEFAULT_FLAGS,
            },
        )
        rc = core(context, Type.ID.value)
    if rc == _MEMORY_ALLOCATION_ERROR:
        kek.wipe()
        raise MemoryError(f"Argon2 found no {cost.memory_kib} KiB of memory")
    if rc != 0:
        kek.wipe()
        raise InternalError(f"Argon2 refused: {error_to_str(rc)}")
    return kek
