"""What the user sees while a run goes on: a bar on a terminal, a line for each turn elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.record import Failure, Sample

_NOISY: float = 0.1  # CPUs busy with something else


class ConsoleWatcher:
    """Shows the run on a console. A context manager: the bar is gone in the end."""

    def __init__(self, console: Console, turns: int) -> None:
        self._console = console
        self._progress = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            auto_refresh=False,  # a bar that moves by itself takes CPU time from what is measured
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=turns)
        self._turn, self._started = "", 0.0

    def __enter__(self) -> ConsoleWatcher:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show what is going on beside the turns."""
        self._progress.update(self._task, description=text, refresh=True)

    def start_round(self, number: int, background: float) -> None:
        noisy = f"; {background:.1f} CPUs are busy with something else" if background > _NOISY else ""
        self._console.print(f"round {number + 1}{noisy}", style="yellow" if noisy else "bold", highlight=False)

    def start(self, scenario: str, peer: str) -> None:
        self._turn, self._started = f"{scenario} {peer}", time.monotonic()
        self.step("")

    def step(self, line: str) -> None:
        self.say(f"{self._turn}: {line}")

    def done(self, results: dict[str, Sample | Failure]) -> None:
        failed = [(name, result.short) for name, result in results.items() if isinstance(result, Failure)]
        for name, reason in failed:
            self._console.print(f"  {self._turn}: no {name}: {reason}", style="dim", highlight=False, markup=False)
        if not self._console.is_terminal:
            counted, took = f"{len(results) - len(failed)} of {len(results)} lines", time.monotonic() - self._started
            self._console.print(f"  {self._turn}: {counted}, {took:.1f} s", highlight=False)
        self._progress.advance(self._task)
