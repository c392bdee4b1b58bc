"""The C program that does what is timed (``bench/client/``): how it is built, and what it reports."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchError, RefusalError
from bench.proc import Command, run

_SOURCE: Final = Path(__file__).parent / "client"
_FLAGS: Final = "-std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wshadow -Wconversion -Wsign-compare -Wvla -Werror"
_BUILD_LIMIT_S: Final = 60.0

Number = int | float


@dataclass(frozen=True, slots=True)
class ClientResult:
    """What a workload took: wall time, what it moved, CPU time of the client processes, latencies if it notes them."""

    seconds: float
    bytes: int
    ops: int
    client_cpu_s: float
    p50_us: float | None = None
    p99_us: float | None = None
    max_us: float | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """The built program."""

    program: Path

    def run(
        self,
        workload: Sequence[str | Number],
        *,
        directory: Path,
        device: str,
        syncs: Sequence[Path] = (),
        clients: int = 1,
        max_file: int = 0,
        drops_caches: bool = False,
        limit_s: float,
        on_timeout: Callable[[], None] | None = None,
        env: dict[str, str] | None = None,
    ) -> ClientResult:
        """Run one workload in ``directory``, which must be on ``device`` ("major:minor").

        Raises:
            BenchError: it failed, or took too long.
        """
        argv = [str(self.program), "--dir", str(directory), "--dev", device, "--clients", str(clients)]
        argv += [word for path in syncs for word in ("--sync", str(path))]
        argv += ["--max-file", str(max_file)] if max_file else []
        argv += ["--drop-caches"] if drops_caches else []
        command = Command([*argv, *map(str, workload)], env or {})
        outcome = run(command, limit_s=limit_s, on_timeout=on_timeout)
        try:
            return ClientResult(**json.loads(outcome.stdout))
        except (ValueError, TypeError) as exc:
            raise BenchError(f"the client said {outcome.stdout[-200:]!r}") from exc


def build_client(directory: Path) -> Client:
    """Compile the client into ``directory``.

    Raises:
        RefusalError: no compiler, or it fails.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RefusalError("there is no C compiler; tools/setup installs one")
    program = directory / "client"
    sources = sorted(str(path) for path in _SOURCE.glob("*.c"))
    try:
        run(Command([compiler, *shlex.split(_FLAGS), *sources, "-o", str(program)]), limit_s=_BUILD_LIMIT_S)
    except BenchError as exc:
        raise RefusalError(f"the client does not compile: {exc}") from exc
    return Client(program)
