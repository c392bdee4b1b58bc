"""The result of a run: everything that was measured, where, with what; and its file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from bench.errors import RefusalError
from bench.lines import BY_NAME
from bench.machine import Machine
from bench.stats import Summary, pair_ratios, summarize

SCHEMA: Final = 1
RESULTS: Final = Path(__file__).parent / "results"
LOCAL_RESULTS: Final = RESULTS / "local"  # not for the repository: quick looks and smoke tests

_REASON_SHOWN: Final = 160
_REPOSITORY: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value, in the unit of its line, and what else was noted of its step (seconds, CPU times, latencies)."""

    round: int
    value: float
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A round that has no value, and why."""

    round: int
    reason: str

    @property
    def short(self) -> str:
        """The reason on one line, as far as it fits."""
        text = "; ".join(row.strip() for row in self.reason.splitlines() if row.strip())
        return text if len(text) <= _REASON_SHOWN else f"{text[:_REASON_SHOWN]}..."


@dataclass(slots=True)
class Series:
    """What one peer did on one line."""

    line: str
    peer: str
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, result: Sample | Failure) -> None:
        if isinstance(result, Sample):
            self.samples.append(result)
        else:
            self.failures.append(result)

    def by_round(self) -> dict[int, float]:
        return {sample.round: sample.value for sample in self.samples}

    def summary(self) -> Summary | None:
        """None if every round failed."""
        return summarize([sample.value for sample in self.samples]) if self.samples else None


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Who ran: product, what it says of its version, and the arguments of its mount command."""

    product: str
    version: str
    args: tuple[str, ...]


@dataclass(slots=True)
class Record:
    """One run.

    Attributes:
        commit: of this repository; ``has_changes``: and the tree had changes on top of it.
        backing: name and type, as ``tmpfs tmpfs`` or ``disk ext4``.
        sizes: of ``Scale``.
        background: CPUs busy with something else before each round; a noisy run shows here.
        is_complete: not interrupted, not out of time.
    """

    started: str
    machine: Machine
    version: str
    commit: str
    has_changes: bool
    backing: str
    scale: str
    sizes: dict[str, float]
    seed: int
    flags: list[str]
    baseline: str
    drops_caches: bool
    peers: dict[str, PeerInfo] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    background: list[float] = field(default_factory=list)
    series: dict[tuple[str, str], Series] = field(default_factory=dict)  # by line and peer
    rounds: int = 0
    is_complete: bool = False

    def add(self, line: str, peer: str, result: Sample | Failure) -> None:
        self.series.setdefault((line, peer), Series(line, peer)).add(result)

    def lines(self) -> list[str]:
        """The lines that were tried, in the order of the catalogue."""
        tried = {line for line, _ in self.series}
        return [name for name in BY_NAME if name in tried]

    def summary(self, line: str, peer: str) -> Summary | None:
        series = self.series.get((line, peer))
        return None if series is None else series.summary()

    def ratios(self, line: str, peer: str, baseline: str) -> list[float]:
        """How many times better ``peer`` was than ``baseline``, round by round."""
        ours, theirs = self.series.get((line, peer)), self.series.get((line, baseline))
        if ours is None or theirs is None:
            return []
        return pair_ratios(BY_NAME[line], ours.by_round(), theirs.by_round())

    # --- the file -------------------------------------------------------------------------------------------------
    def to_json(self) -> str:
        values = {name: value for name, value in asdict(self).items() if name != "series"}
        values["peers"] = {label: asdict(info) for label, info in self.peers.items()}
        rows = [self._series_json(series) for series in self.series.values()]
        return json.dumps({"schema": SCHEMA, **values, "series": rows}, indent=1) + "\n"

    def _series_json(self, series: Series) -> dict[str, object]:
        """With what follows from the samples, for readers without this program."""
        line, summary = BY_NAME[series.line], series.summary()
        ratios = self.ratios(series.line, series.peer, self.baseline)
        return {
            "line": series.line,
            "peer": series.peer,
            "unit": line.quantity.value,
            "median": None if summary is None else summary.median,
            "quartiles": None if summary is None else [summary.low, summary.high],
            "ratios": ratios,
            "ratio": summarize(ratios).median if ratios else None,
            "samples": [asdict(sample) for sample in series.samples],
            "failures": [asdict(failure) for failure in series.failures],
        }

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The inverse of ``to_json``.

        Raises:
            RefusalError: not such a record.
        """
        try:
            values = json.loads(text)
            if values.pop("schema") != SCHEMA:
                raise RefusalError("the record was written by another version of the benchmark")
            rows = values.pop("series")
            values["machine"] = Machine(**values["machine"])
            values["peers"] = {
                label: PeerInfo(info["product"], info["version"], tuple(info["args"]))
                for label, info in values["peers"].items()
            }
            record = cls(**values)
            for row in rows:
                samples = [Sample(**sample) for sample in row["samples"]]
                failures = [Failure(**failure) for failure in row["failures"]]
                if row["line"] in BY_NAME:  # a line that is no more is no loss
                    record.series[row["line"], row["peer"]] = Series(row["line"], row["peer"], samples, failures)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise RefusalError(f"not a record of the benchmark: {exc}") from exc
        return record


def load(path: Path) -> Record:
    """Raises: RefusalError: missing, or not a record."""
    try:
        return Record.from_json(path.read_text())
    except OSError as exc:
        raise RefusalError(f"{path}: {exc.strerror}") from exc
    except RefusalError as exc:
        raise RefusalError(f"{path}: {exc}") from exc


def save(record: Record, directory: Path) -> Path:
    """Write the record into a directory, under a name that sorts by time."""
    directory.mkdir(parents=True, exist_ok=True)
    time, mark = record.started[:19].replace(":", ""), "+" if record.has_changes else ""
    path = directory / f"{time}-{record.commit[:9]}{mark}-{record.backing.split()[0]}-{record.scale}.json"
    path.write_text(record.to_json())
    return path


def describe_commit() -> tuple[str, bool]:
    """The commit of this repository, and whether the tree differs from it; ("unknown", True) without git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True


def _git(*words: str) -> str:
    argv = ["git", "-C", str(_REPOSITORY), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
