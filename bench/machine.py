"""What the run ran on: recorded with every result, because without it a number means nothing."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, as far as it decides how fast things are. No host name: records are published."""

    cpu: str
    cpus: int
    memory_gib: int
    kernel: str
    distribution: str
    python: str

    def identity(self) -> dict[str, object]:
        """What has to be equal for absolute numbers to be comparable."""
        return {key: value for key, value in asdict(self).items() if key in ("cpu", "cpus", "memory_gib", "kernel")}


def describe_machine() -> Machine:
    """This machine."""
    return Machine(
        cpu=_cpu_name(),
        cpus=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB),
        kernel=platform.release(),
        distribution=_distribution(),
        python=platform.python_version(),
    )


def _cpu_name() -> str:
    """Model and stepping: clouds call different CPUs by one name."""
    first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    fields = {key.strip(): value.strip() for key, _, value in (row.partition(":") for row in first.splitlines())}
    name = fields.get("model name", platform.machine())
    numbers = [fields.get(key, "?") for key in ("cpu family", "model", "stepping")]
    return f"{name} ({'-'.join(numbers)})"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown"


@dataclass(frozen=True, slots=True)
class CpuClock:
    """CPU seconds of the whole machine since boot: busy with anything, and taken by the hypervisor for others."""

    busy_s: float
    stolen_s: float

    @classmethod
    def now(cls) -> CpuClock:
        """Source: proc_stat(5)."""
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields)
        tick = os.sysconf("SC_CLK_TCK")
        return cls((user + nice + system + irq + softirq) / tick, steal / tick)


def background_load(seconds: float) -> float:
    """CPUs that are busy while we do nothing: 0.0 on a quiet machine, 1.0 if one CPU is taken."""
    before = CpuClock.now()
    time.sleep(seconds)
    return (CpuClock.now().busy_s - before.busy_s) / seconds
