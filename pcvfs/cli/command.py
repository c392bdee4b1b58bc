"""The command line as click sees it: help pages, completion, and what is wrong with a line that ``quick`` left.

Owns the look of ``--help`` and the wording of mistakes. Knows no verb's meaning. Rich is loaded only to print help.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Mapping
from typing import Final

import rich_click as click
from click.exceptions import Exit
from rich_click import RichCommand, RichContext, RichGroup, RichHelpConfiguration

from pcvfs.cli import console, declare
from pcvfs.cli.argv import OptionSpec, normalise
from pcvfs.cli.declare import COMPLETION_VARIABLE, VERBS
from pcvfs.errors import ExitCode, PcvfsError, UsageError

EXIT_CODES: Final[Mapping[ExitCode, str]] = {
    ExitCode.OK: "success",
    ExitCode.USAGE: "wrong usage: unknown option, missing argument, options that contradict each other",
    ExitCode.CIPHERDIR: "CIPHERDIR is missing or not a directory, or (init) not empty",
    ExitCode.INIT: "the volume could not be created, or a backup of its config file is in the way",
    ExitCode.LOAD_CONFIG: "info: the config file could not be read",
    ExitCode.READ_PASSWORD: "no usable password: empty, too long, or its file or program failed",
    ExitCode.MOUNTPOINT: "MOUNTPOINT is missing, not empty, not a mount, or overlaps CIPHERDIR",
    ExitCode.OTHER: "any other error; also a config file that is missing or unreadable, and a volume that is in use",
    ExitCode.WRONG_PASSWORD: "the password is wrong",
    ExitCode.SCRYPT_PARAMS: "passwd: --scryptn is too low",
    ExitCode.MASTERKEY: "the master key is not 64 hex digits",
    ExitCode.SIGNAL: "ended by SIGINT or SIGTERM, after a clean unmount",
    ExitCode.FORK_CHILD: "the mount process could not be started, or died before it was ready",
    ExitCode.FUSE_MOUNT: "the kernel or fusermount3 refused the mount or the unmount",
    ExitCode.CTLSOCK: "the control socket could not be made",
    ExitCode.WRITE_CONFIG: "the config file could not be written, or would be invalid",
    ExitCode.FSCK_ERRORS: "fsck found problems",
    ExitCode.CONFIG_UNSUPPORTED: "the config file is well-formed but asks for something unsupported",
}

_HELP: Final = RichHelpConfiguration(
    theme="default-slim",
    enable_theme_env_var=False,
    text_markup=None,
    options_table_help_sections=["help", "default"],
    max_width=100,
)
_SETTINGS: Final[Mapping[str, object]] = {
    "help_option_names": ["-h", "--help"],
    "rich_help_config": _HELP,
}

_HELP_SPEC: Final = OptionSpec("help", takes_value=False)
_HELP_SPELLINGS: Final = ("h", "help", "hh")


class VerbCommand(RichCommand):
    """A verb: reads gocryptfs' option spelling, ends its help with examples and exit codes."""

    def __init__(self, verb: declare.Verb) -> None:
        super().__init__(
            name=verb.name,
            callback=verb.callback,
            params=[_parameter(parameter) for parameter in verb.parameters],
            help=verb.help,
            short_help=verb.help.strip().partition("\n")[0],
            context_settings=dict(_SETTINGS),
        )
        self._verb = verb

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Normalise, then let click parse. Shell completion hands over unfinished lines: those stay as they are."""
        if not ctx.resilient_parsing:
            args = normalise(args, {**self._verb.spellings(), **dict.fromkeys(_HELP_SPELLINGS, _HELP_SPEC)})
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        console.set_up_logging(debug=bool(ctx.params.get("debug")))
        ctx.params.update(ctx.obj)
        return super().invoke(ctx)

    def format_help_text(self, _ctx: RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        _write_paragraphs(self.help, formatter)

    def format_epilog(self, _ctx: RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        from rich.table import Table
        from rich.text import Text

        formatter.write(Text("Examples:", style="bold"))
        for purpose, command in self._verb.examples:
            formatter.write(Text(f"  # {purpose}", style="dim"))
            formatter.write(Text(f"  {command}"))
        formatter.write(Text("\nExit codes:", style="bold"))
        codes = Table.grid(padding=(0, 2))
        for code in self._verb.exit_codes:
            codes.add_row(Text(f"  {code:>2}", style="bold cyan"), EXIT_CODES[code])
        formatter.write(codes)


class Verbs(RichGroup):
    """The ``pcvfs`` command itself. A verb's module is imported when the verb is asked for."""

    def format_help_text(self, _ctx: RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        _write_paragraphs(self.help, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> VerbCommand | None:
        return VerbCommand(declare.find_verb(cmd_name)) if cmd_name in VERBS else None


def _write_paragraphs(text: str | None, formatter: click.RichHelpFormatter) -> None:
    """Reflow each paragraph, and keep the space between them, which rich-click would swallow."""
    from rich.padding import Padding

    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    formatter.write(Padding("\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs), (0, 0, 1, 0)))


def _show_version(ctx: click.Context, _param: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        from pcvfs.cli.version import version_line

        click.echo(version_line())
        ctx.exit()


def root() -> Verbs:
    """Make the top-level command."""
    return Verbs(
        name="pcvfs",
        help="""Encrypted directories, in the format of gocryptfs.

        A volume is a directory of encrypted files (CIPHERDIR). `pcvfs init` creates one, `pcvfs mount` shows its
        plaintext at a mountpoint, `pcvfs umount` ends that. Volumes made by gocryptfs work as they are, and gocryptfs
        reads what pcvfs writes. Options may be spelled as gocryptfs spells them: -allow_other is --allow-other.""",
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_version,
                help="Show the version and exit.",
            )
        ],
        context_settings=dict(_SETTINGS),
    )


# --- click's view of a declaration ------------------------------------------------------------------------------
class _Path(click.Path):
    """A path as bytes, completed by the shell, and not looked at."""

    def convert(self, value: object, _param: click.Parameter | None, _ctx: click.Context | None) -> bytes:
        return value if isinstance(value, bytes) else declare.path(str(value))


def _type(convert: declare.Convert) -> object:
    if isinstance(convert, declare.Choice):
        return click.Choice(convert.words)
    if isinstance(convert, declare.IntRange):
        return click.IntRange(convert.low, convert.high)
    if convert is declare.path:
        return _Path()
    return click.STRING if convert is str else _checked(convert)


def _checked(convert: declare.Convert) -> declare.Convert:
    def check(value: str) -> object:
        try:
            return convert(value)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc

    return check


def _parameter(parameter: declare.Parameter) -> click.Parameter:
    if isinstance(parameter, declare.Argument):
        return click.Argument([parameter.field], type=_type(parameter.convert))
    first, *others = parameter.spellings
    return click.RichOption(
        [f"{first}/--{parameter.off}" if parameter.off else first, *others, *filter(None, [parameter.field])],
        is_flag=not parameter.takes_value,
        type=_type(parameter.convert) if parameter.takes_value else None,
        default=None if parameter.is_multiple else parameter.default,
        multiple=parameter.is_multiple,
        metavar=parameter.metavar,
        show_default=parameter.shows_default,
        expose_value=bool(parameter.field),
        help=parameter.help,
        panel=parameter.panel,
    )


# --- running ------------------------------------------------------------------------------------------------------
def run(args: list[str], given: Mapping[str, object]) -> int:
    """Run one command line; returns its exit code.

    Args:
        given: what the verb gets besides its parameters.

    Raises:
        PcvfsError: what the verb raised, or what is wrong with the line.
    """
    command = root()
    if COMPLETION_VARIABLE in os.environ:
        command.main(prog_name=console.PROGRAM)  # completes a line for the shell, and exits
    try:
        # Not command.main(): it would turn a broken pipe and Ctrl-C into exit codes of its own.
        words = [_verb_of(args[0]), *args[1:]] if args else ["--help"]
        with command.make_context(console.PROGRAM, words, obj=given) as ctx:
            status = command.invoke(ctx)
    except click.ClickException as exc:
        raise _usage_error(exc) from exc
    except Exit as exc:
        return exc.exit_code if args else ExitCode.USAGE
    return status if isinstance(status, int) else ExitCode.OK


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
