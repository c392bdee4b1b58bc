"""Entry point of ``pcvfs``, and the only translator from errors to exit codes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pcvfs.cli import console, quick
from pcvfs.cli.declare import COMPLETION_VARIABLE
from pcvfs.errors import ExitCode, PcvfsError


def run() -> NoReturn:
    """The program: as ``main``, and ends the process without taking the interpreter apart, which takes 5 ms."""
    status = main()
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):  # whoever read it is gone; ``main`` has told, if that matters
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Prints its error, if any, and returns its exit code.

    Args:
        argv: arguments without the program name; default: those of this process.
    """
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return status
    except PcvfsError as exc:
        _trace()
        console.error(exc)
        return exc.exit_code
    except KeyboardInterrupt:
        console.error(PcvfsError("interrupted"))
        return ExitCode.SIGNAL
    except BrokenPipeError:
        # Whoever read our output went away. Nothing is left to say, and nobody to say it to.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as exc:
        _trace()
        where = f"{os.fsdecode(exc.filename)}: " if isinstance(exc.filename, str | bytes) else ""
        console.error(PcvfsError(f"{where}{exc.strerror or exc}"))
        return ExitCode.OTHER
    except Exception as exc:  # noqa: BLE001  # the last frame of the program: a bug becomes a message
        _trace()
        hint = "" if _is_debugging() else "this is a bug; --debug shows where"
        console.error(PcvfsError(f"internal error: {type(exc).__name__}: {exc}", hint=hint))
        return ExitCode.OTHER


def _run(args: list[str]) -> int:
    call = None if COMPLETION_VARIABLE in os.environ else quick.read(args)
    if call is not None:
        return call() or ExitCode.OK
    from pcvfs.cli import command  # help, completion, or something wrong: worth loading click for

    return command.run(args)


def _is_debugging() -> bool:
    return logging.getLogger(console.PROGRAM).isEnabledFor(logging.DEBUG)


def _trace() -> None:
    if _is_debugging():
        logging.getLogger(__name__).debug("traceback", exc_info=sys.exception())
