"""Entry point of ``pcvfs``, and the only translator from errors to exit codes."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pcvfs.cli import console, quick
from pcvfs.cli.declare import COMPLETION_VARIABLE
from pcvfs.errors import ExitCode, PcvfsError

if TYPE_CHECKING:
    from pcvfs.fs.forked import ForkedServer


def main(argv: Sequence[str], server: ForkedServer | None = None) -> int:
    """Run one command. Prints its error, if any, and returns its exit code.

    Args:
        argv: arguments without the program name.
        server: of a mount; stays the caller's.
    """
    try:
        status = _run(list(argv), {} if server is None else {"server": server})
        if sys.stdout is not None:  # closed from the start
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


def _run(args: list[str], given: Mapping[str, object]) -> int:
    found = None if COMPLETION_VARIABLE in os.environ else quick.read(args)
    if found is None:
        from pcvfs.cli import command  # help, completion, or something wrong: worth loading click for

        gc.enable()
        return command.run(args, given)
    verb, values = found
    console.set_up_logging(debug=bool(values.get("debug")))
    gc.enable()
    return verb.callback(**values, **given) or ExitCode.OK


def _is_debugging() -> bool:
    return logging.getLogger(console.PROGRAM).isEnabledFor(logging.DEBUG)


def _trace() -> None:
    if _is_debugging():
        logging.getLogger(__name__).debug("traceback", exc_info=sys.exception())
