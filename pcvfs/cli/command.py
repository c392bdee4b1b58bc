"""What every verb is made of: its click command, its help page, and records instead of loose option values.

Owns the look of ``--help`` and the list of verbs. Knows no verb's meaning. Rich is loaded only to print help.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, Protocol, TypeVar

import rich_click as click
from rich_click import RichCommand, RichContext, RichGroup, RichHelpConfiguration

from pcvfs.cli import console
from pcvfs.cli.argv import OptionSpec, normalise
from pcvfs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

VERBS: Final = (
    "init",
    "mount",
    "umount",
    "passwd",
    "info",
    "fsck",
    "speed",
    "version",
    "completion",
)

COMPLETION_VARIABLE: Final = "_PCVFS_COMPLETE"  # the name that click derives from "pcvfs"

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

_Record = TypeVar("_Record", bound="DataclassInstance")


P = ParamSpec("P")


class Decorator(Protocol):
    """Adds an option to a function that will be a verb."""

    def __call__(self, function: Callable[P, None], /) -> Callable[P, None]: ...


class Verb(RichCommand):
    """A verb of ``pcvfs``: reads gocryptfs' option spelling, ends its help with examples and exit codes.

    Args:
        examples: pairs of what one would like to do and the command line that does it.
        exit_codes: the codes this verb can end with, in the order of the help page.
    """

    def __init__(
        self,
        name: str,
        *,
        callback: Callable[P, None],
        params: list[click.Parameter],
        help: str,
        examples: Sequence[tuple[str, str]],
        exit_codes: Sequence[ExitCode],
    ) -> None:
        super().__init__(
            name=name,
            callback=callback,
            params=params,
            help=help,
            short_help=help.strip().partition("\n")[0],
            context_settings=dict(_SETTINGS),
        )
        self.examples = examples
        self.exit_codes = exit_codes

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Normalise, then let click parse. Shell completion hands over unfinished lines: those stay as they are."""
        if not ctx.resilient_parsing:
            args = normalise(args, _option_table(self, ctx))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> None:
        console.set_up_logging(debug=bool(ctx.params.get("debug")))
        super().invoke(ctx)

    def format_help_text(self, _ctx: RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        _write_paragraphs(self.help, formatter)

    def format_epilog(self, _ctx: RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        from rich.table import Table
        from rich.text import Text

        formatter.write(Text("Examples:", style="bold"))
        for purpose, command in self.examples:
            formatter.write(Text(f"  # {purpose}", style="dim"))
            formatter.write(Text(f"  {command}"))
        formatter.write(Text("\nExit codes:", style="bold"))
        codes = Table.grid(padding=(0, 2))
        for code in self.exit_codes:
            codes.add_row(Text(f"  {code:>2}", style="bold cyan"), EXIT_CODES[code])
        formatter.write(codes)


class Verbs(RichGroup):
    """The ``pcvfs`` command itself. A verb's module is imported when the verb is asked for."""

    def format_help_text(self, _ctx: RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        _write_paragraphs(self.help, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Verb | None:
        if cmd_name not in VERBS:
            return None
        verb = importlib.import_module(f"pcvfs.cli.{cmd_name}").verb
        if not isinstance(verb, Verb):
            raise TypeError(f"pcvfs.cli.{cmd_name}.verb is not a Verb")
        return verb


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


def verb_command(
    name: str,
    *,
    help: str,
    examples: Sequence[tuple[str, str]],
    exit_codes: Sequence[ExitCode],
) -> Callable[[Callable[P, None]], Verb]:
    """Turn a function with option decorators into a verb. See ``Verb``."""

    def decorate(function: Callable[P, None]) -> Verb:
        params: list[click.Parameter] = getattr(function, "__click_params__", [])
        return Verb(
            name,
            callback=function,
            params=params[::-1],
            help=help,
            examples=examples,
            exit_codes=exit_codes,
        )

    return decorate


def option(*names: str, panel: str, **settings: object) -> Decorator:
    """One option of a verb, listed under ``panel`` in its help. ``settings`` are those of ``click.option``."""
    return click.option(*names, panel=panel, **settings)  # type: ignore[arg-type]


def option_group(name: str, record: type[_Record], *options: Decorator) -> Decorator:
    """Several options that reach the verb as one frozen record.

    Args:
        name: keyword under which the verb receives the record.
        record: a dataclass with one field for each option, named as the option.
    """
    taken = tuple(field.name for field in fields(record))

    def decorate(function: Callable[P, None], /) -> Callable[P, None]:
        @wraps(function)
        def collect(*args: P.args, **values: P.kwargs) -> None:
            values[name] = record(**{field: values.pop(field) for field in taken})
            function(*args, **values)

        decorated: Callable[P, None] = collect
        for add_option in reversed(options):
            decorated = add_option(decorated)
        return decorated

    return decorate


def _option_table(command: click.Command, ctx: click.Context) -> dict[str, OptionSpec]:
    table: dict[str, OptionSpec] = {}
    for param in command.get_params(ctx):
        if not isinstance(param, click.Option):
            continue
        name = max(param.opts, key=len).lstrip("-")
        off = max(param.secondary_opts, key=len).lstrip("-") if param.secondary_opts else None
        takes_value = not (param.is_flag or param.count)
        for spelling in param.opts:
            table[spelling.lstrip("-")] = OptionSpec(name, takes_value, off)
        for spelling in param.secondary_opts:
            table[spelling.lstrip("-")] = OptionSpec(str(off), takes_value, name)
    if "help" in table:
        table["hh"] = table["help"]
    return table


def only_one(**given: object) -> None:
    """Refuse options that exclude each other.

    Raises:
        UsageError: more than one of the values is set.
    """
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} can't be used together")
