"""The voice of pcvfs on a terminal: messages, colour, progress.

Nothing else in pcvfs writes to stdout or stderr. Rules: what the user asked for goes to stdout, everything else to
stderr with the prefix ``pcvfs:``; no capitals, no full stop; a hint says what to do. Colour only on a terminal and
without ``NO_COLOR``. Names from a volume are printed through ``printable``, so that none can steer the terminal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from pcvfs.errors import PcvfsError

PROGRAM: Final = "pcvfs"

_RED: Final = "1;31"
_YELLOW: Final = "1;33"
_CYAN: Final = "36"

Meter: TypeAlias = Callable[[int, int], None]  # (files so far, bytes so far)


def say(text: str = "") -> None:
    """Print a line that the user asked for, at once: a program may be waiting for it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line of news to stderr, unprefixed."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def warn(text: str, *, hint: str = "") -> None:
    """Print what the user should know although the command goes on."""
    _complain(f"{_paint('warning:', _YELLOW)} {_printable_text(text)}", hint)


def error(failure: PcvfsError) -> None:
    """Print an error and its hint. Never a traceback."""
    _complain(_paint(_printable_text(failure.message), _RED), failure.hint)


def _complain(text: str, hint: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        note(f"{PROGRAM}: {text}")
        for line in hint.splitlines():
            note(f"{_paint('hint:', _CYAN)} {_printable_text(line)}")


def _paint(text: str, colour: str) -> str:
    return f"\033[{colour}m{text}\033[0m" if _has_colour() else text


def _has_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb" and sys.stderr.isatty()


def printable(name: bytes) -> str:
    r"""A file name as text for the terminal: control characters and bytes that aren't UTF-8 come out as ``\xNN``."""
    return _printable_text(name.decode("utf-8", "backslashreplace"))


def _printable_text(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@contextlib.contextmanager
def progress(label: str) -> Iterator[Meter]:
    """Show a running count while the block runs, if stderr is a terminal; else show nothing.

    The meter may be called for every file: it draws at most ten times a second.
    """
    if not sys.stderr.isatty():
        yield lambda _files, _size: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None, count="")

        def meter(files: int, size: int) -> None:
            bar.update(task, count=f"{files} files, {format_size(size)}")

        yield meter


def format_size(size: int) -> str:
    """``1536`` -> ``1.5 KiB``."""
    if size < 1024:
        return f"{size} bytes"
    amount, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


class _Voice(logging.Formatter):
    """Log records in the form of the messages above."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.ERROR:
            return f"{PROGRAM}: {text}"
        return f"{PROGRAM}: {record.levelname.lower()}: {text}"


def set_up_logging(*, debug: bool) -> None:
    """Send the log records of pcvfs to stderr: from WARNING up, with ``debug`` all of them."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Voice("%(name)s: %(message)s" if debug else "%(message)s"))
    logger = logging.getLogger(PROGRAM)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    logger.propagate = False
