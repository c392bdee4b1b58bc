"""Entry point of ``pcvfs``, and the only translator from errors to exit codes."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import signal
import sys
from collections.abc import Sequence

import rich_click as click
from click.exceptions import Exit

from pcvfs.cli import console
from pcvfs.cli.command import COMPLETION_VARIABLE, VERBS, root
from pcvfs.errors import ExitCode, PcvfsError, UsageError


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
    command = root()
    if COMPLETION_VARIABLE in os.environ:
        command.main(prog_name=console.PROGRAM)  # completes a line for the shell, and exits
    try:
        # Not command.main(): it would turn a broken pipe and Ctrl-C into exit codes of its own.
        words = [_verb_of(args[0]), *args[1:]] if args else ["--help"]
        with command.make_context(console.PROGRAM, words) as ctx:
            command.invoke(ctx)
    except click.ClickException as exc:
        raise _usage_error(exc) from exc
    except Exit as exc:
        return exc.exit_code if args else ExitCode.USAGE
    return ExitCode.OK


def _verb_of(word: str) -> str:
    """Take gocryptfs' ``-init`` for ``init``, and help whoever mistypes a verb or leaves out ``mount``.

    Raises:
        UsageError: not a verb and not an option.
    """
    name = word.lstrip("-")
    if word.startswith("-"):
        # `--version` is an option of ours, `-version` an action of the original.
        return name if name in VERBS and word != "--version" else f"--{name}" if name == "help" else word
    if name in VERBS:
        return name
    shown = console.printable(os.fsencode(word))
    if os.path.isdir(word):
        raise UsageError(f"no command given for {shown}", hint=f"pcvfs mount {shown} MOUNTPOINT")
    near = difflib.get_close_matches(word, VERBS, n=1)
    raise UsageError(
        f"no command {shown}", hint=f"did you mean {near[0]}?" if near else f"commands are {', '.join(VERBS)}"
    )


def _usage_error(exc: click.ClickException) -> PcvfsError:
    message = exc.format_message().rstrip(".")
    path = exc.ctx.command_path if isinstance(exc, click.UsageError) and exc.ctx else console.PROGRAM
    return UsageError(message[:1].lower() + message[1:], hint=f"see {path} --help")


def _is_debugging() -> bool:
    return logging.getLogger(console.PROGRAM).isEnabledFor(logging.DEBUG)


def _trace() -> None:
    if _is_debugging():
        logging.getLogger(__name__).debug("traceback", exc_info=sys.exception())
