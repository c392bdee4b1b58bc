"""What a guess at the password shall cost, on this machine.

Owns: the floor below which no keyset is written, the choice for a machine, and the refusal of what does not fit into
it. The bounds on what is accepted from a file at all are in ``spec`` and checked when it is parsed.

One derivation of three passes, fastest of four, by `argon2id` alone on 2 CPUs of a VM (EPYC, Debian 12, November 2026):
64 MiB in one lane 0.17 s, 512 MiB in one lane 1.8 s, in two or four lanes 0.9 s.

Source of the floor: RFC 9106 section 4, second recommended option (64 MiB, 3 passes), which is above OWASP's minimum
(19 MiB, 2 passes).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pcvfs import spec
from pcvfs.crypto.argon2 import Argon2Cost
from pcvfs.errors import KeysetCostError

FLOOR: Final = Argon2Cost(time=3, memory_kib=64 << 10, lanes=1)

_TIME: Final = 3
_MEMORY_CHOSEN_MAX_KIB: Final = 512 << 10  # as piccolod: a second or two
_MEMORY_SHARE: Final = 8  # of the machine, one part
_LANES_MAX: Final = 4
_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class CostPolicy:
    """The price of passwords.

    Args:
        cost: of slots that are written.
        memory_max_kib: what a slot that is read may ask for on this machine.
        floor: what ``cost`` must reach. Tests lower it; nothing else should.

    Raises:
        ValueError: ``cost`` is below the floor, or above what could be read again.
    """

    cost: Argon2Cost
    memory_max_kib: int = spec.ARGON2_MEMORY_MAX_KIB
    floor: Argon2Cost = FLOOR

    def __post_init__(self) -> None:
        cost, floor = self.cost, self.floor
        if cost.time < floor.time or cost.memory_kib < floor.memory_kib or cost.lanes < floor.lanes:
            raise ValueError("the price of a password is below the floor")
        if cost.lanes > spec.ARGON2_LANES_MAX or cost.time > spec.ARGON2_TIME_MAX:
            raise ValueError("the price of a password is above what is accepted from a file")
        if cost.memory_kib > self.memory_max_kib or cost.time * cost.memory_kib > spec.ARGON2_WORK_MAX_KIB:
            raise ValueError("the price of a password is above what this machine would accept from a file")

    @classmethod
    def for_this_machine(cls) -> CostPolicy:
        """One eighth of the memory, from 64 MiB to 512 MiB, three passes, a lane for each of up to four CPUs."""
        return cls.for_machine(machine_memory_kib(), len(os.sched_getaffinity(0)))

    @classmethod
    def for_machine(cls, memory_kib: int, cpus: int) -> CostPolicy:
        """The same for a machine with so much memory."""
        share = memory_kib // _MEMORY_SHARE
        cost = Argon2Cost(
            time=_TIME,
            memory_kib=min(max(share, FLOOR.memory_kib), _MEMORY_CHOSEN_MAX_KIB),
            lanes=min(max(cpus, 1), _LANES_MAX),
        )
        return cls(cost, memory_max_kib=max(cost.memory_kib, min(memory_kib, spec.ARGON2_MEMORY_MAX_KIB)))

    def check_affordable(self, cost: Argon2Cost) -> None:
        """Refuse, before anything is allocated, what this machine does not have.

        Raises:
            KeysetCostError: more memory than that.
        """
        if cost.memory_kib > self.memory_max_kib:
            raise KeysetCostError(
                f"opening the keyset takes {cost.memory_kib >> 10} MiB of memory, "
                f"this machine allows {self.memory_max_kib >> 10} MiB",
                hint="open it on a larger machine and set the password there anew, at the price of this one",
            )


def machine_memory_kib() -> int:
    """The memory that this process could have: that of the machine, or of the control groups it is in."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *_cgroup_limits(_OWN_CGROUP, _CGROUP_ROOT)]) >> 10


def _cgroup_limits(own: Path, root: Path) -> list[int]:
    """``memory.max`` of our control group and of all above it, in bytes, as far as they can be read (version 2)."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        if not line.startswith("0::/"):
            continue
        group = root / line.removeprefix("0::/")
        for directory in (group, *group.parents):
            if not directory.is_relative_to(root):
                break
            try:
                limits.append(int((directory / "memory.max").read_text()))
            except (OSError, ValueError):  # there is none at the root; "max" is no limit
                continue
    return limits
