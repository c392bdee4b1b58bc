"""What a scenario works with: a peer's new volume, the sizes, and a place for the results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from bench.assets import Assets
from bench.errors import BenchError
from bench.lines import BY_NAME, Quantity
from bench.mounted import Measured, Mounted
from bench.peers import Peer, Volume
from bench.place import Place
from bench.record import Failure, Sample
from bench.scale import Scale

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """A sequence of steps on one volume.

    Attributes:
        run: does the steps and records their lines.
        need: bytes on the backing at most, for a plain directory.
        max_pairs: rounds beyond that many leave it out; it takes long and varies little.
    """

    name: str
    run: Callable[[Here], None]
    need: Callable[[Scale], int]
    max_pairs: int = 1 << 30


@dataclass(slots=True)
class Here:
    """One run of one scenario with one peer."""

    peer: Peer
    place: Place
    assets: Assets
    scale: Scale
    round: int
    wanted: frozenset[str]  # names of lines
    on_step: Callable[[str], None]
    results: dict[str, Sample | Failure] = field(default_factory=dict)

    def wants(self, *lines: str) -> bool:
        """Any of these lines is asked for; steps that serve no other line may be left out."""
        return not self.wanted.isdisjoint(lines)

    @contextmanager
    def mounted(self) -> Iterator[Mounted]:
        """A new volume of the peer, mounted; gone in the end.

        Raises:
            BenchError: it can't be made, mounted, or unmounted.
        """
        volume = Volume(
            self.place.new_directory(self.place.backing.path, "volume"),
            self.place.new_directory(self.place.root, "private"),
        )
        path = self.place.new_mountpoint() if self.peer.is_fuse else volume.cipherdir
        mounted = Mounted(self.peer, volume, path, self.place, self.scale.step_limit_s)
        try:
            if self.peer.is_fuse:
                self.peer.create(volume)
            mounted.mount()
            yield mounted
            if not mounted.was_aborted:
                mounted.unmount()
        finally:
            if mounted.device:
                mounted.abort()
            shutil.rmtree(volume.cipherdir, ignore_errors=True)

    def measure(self, line: str, step: Callable[[], Measured]) -> Measured | None:
        """Do a step, and record it for the line if it is asked for.

        If it fails, the line says so and the steps after it get their chance. None if it failed.
        """
        self.on_step(line)
        try:
            measured = step()
        except BenchError as exc:
            self.fail(line, str(exc))
            return None
        self.record(line, _value(BY_NAME[line].quantity, measured), measured)
        return measured

    def prepare(self, line: str, step: Callable[[], object]) -> None:
        """Do what a line needs but does not measure. Raises: BenchError."""
        self.on_step(f"before {line}")
        step()

    def record(self, line: str, value: float, measured: Measured | None = None) -> None:
        """Record a value, in the unit of the line."""
        if line in self.wanted:
            details = {} if measured is None else _details(measured)
            self.results[line] = Sample(self.round, value, details)

    def record_cpu(self, what: str, measured: Measured | None) -> None:
        """Record the lines ``cpu-WHAT-server`` and ``cpu-WHAT-total`` of a step that moved data."""
        if measured is None:
            return
        gib = measured.result.bytes / _GIB
        self.record(f"cpu-{what}-server", measured.server_cpu_s / gib)
        self.record(f"cpu-{what}-total", measured.machine_cpu_s / gib)

    def record_memory(self, line: str, size: int) -> None:
        if size:
            self.record(line, size / _MIB)
        else:
            self.fail(line, "the mount process is gone")

    def fail(self, line: str, reason: str) -> None:
        """Record that a line has no value in this round, and why."""
        if line in self.wanted:
            self.results[line] = Failure(self.round, reason)


def _value(quantity: Quantity, measured: Measured) -> float:
    result = measured.result
    if quantity is Quantity.THROUGHPUT:
        return result.bytes / 1e6 / result.seconds
    if quantity is Quantity.RATE:
        return result.ops / result.seconds
    if quantity is Quantity.TIME:
        return result.seconds
    raise ValueError(f"a step does not yield a value in {quantity.value}")


def _details(measured: Measured) -> dict[str, float]:
    result = measured.result
    details = {
        "seconds": result.seconds,
        "client_cpu_s": result.client_cpu_s,
        "server_cpu_s": measured.server_cpu_s,
        "machine_cpu_s": measured.machine_cpu_s,
        "stolen_s": measured.stolen_s,
    }
    latencies = {"p50_us": result.p50_us, "p99_us": result.p99_us, "max_us": result.max_us}
    return details | {name: value for name, value in latencies.items() if value is not None}
