"""How a verb says which options it has, as plain data: read by ``quick``, and by ``command`` for click and its help.

Owns the list of verbs. Knows no verb's meaning, and doesn't load click: that takes longer than mounting.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, Protocol, TypeAlias

from pcvfs.cli.argv import OptionSpec
from pcvfs.errors import UsageError
from pcvfs.records import field_names, record

if TYPE_CHECKING:
    from pcvfs.errors import ExitCode

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

P = ParamSpec("P")
Convert: TypeAlias = Callable[[str], object]  # ValueError, with a text for people, if the value is no good


class Decorator(Protocol):
    """Adds something to a function that will be a verb."""

    def __call__(self, function: Callable[P, int | None], /) -> Callable[P, int | None]: ...


# --- values -------------------------------------------------------------------------------------------------------
def path(value: str) -> bytes:
    """A path as bytes, not looked at: a stat of a mount that hangs would hang as well."""
    return os.fsencode(value)


@record
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def __call__(self, value: str) -> str:
        if value not in self.words:
            raise ValueError(f"{value!r} is not one of {', '.join(self.words)}")
        return value


@record
class IntRange:
    """A whole number within limits."""

    low: int | None = None
    high: int | None = None

    def __call__(self, value: str) -> int:
        number = int(value)
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise ValueError(f"{number} is not in the range")
        return number


# --- parameters ---------------------------------------------------------------------------------------------------
class Option(NamedTuple):
    """One option of a verb.

    Attributes:
        name: the long spelling, without dashes.
        spellings: all of them, with dashes.
        off: the long spelling of the opposite, without dashes, or "".
        field: keyword under which its value reaches the verb; "": it does not.
        takes_value: it is not a switch.
        convert: makes a value of the text.
        default: value if it is not given; a text is converted.
        is_multiple: may be given several times; the value is a tuple.
        panel, metavar, help, shows_default: for the help page.
    """

    name: str
    spellings: tuple[str, ...]
    off: str
    field: str
    takes_value: bool
    convert: Convert
    default: object
    is_multiple: bool
    panel: str
    metavar: str | None
    help: str
    shows_default: bool

    @property
    def initial(self) -> object:
        """The value if it is not given."""
        return self.convert(self.default) if isinstance(self.default, str) else self.default


class Argument(NamedTuple):
    """One positional argument of a verb; all are required."""

    field: str
    convert: Convert


Parameter: TypeAlias = Option | Argument


class Callback(Protocol):
    """What a verb does."""

    def __call__(self, **values: object) -> int | None: ...


class Verb(NamedTuple):
    """A verb of ``pcvfs``.

    Attributes:
        callback: does it; takes the values of the parameters as keywords, returns the exit code or None for 0.
        help: its first paragraph is the line in the list of verbs.
        examples: pairs of what one would like to do and the command line that does it.
        exit_codes: the codes it can end with, in the order of the help page.
    """

    name: str
    callback: Callback
    parameters: tuple[Parameter, ...]
    help: str
    examples: Sequence[tuple[str, str]]
    exit_codes: Sequence[ExitCode]

    @property
    def options(self) -> list[Option]:
        return [parameter for parameter in self.parameters if isinstance(parameter, Option)]

    @property
    def arguments(self) -> list[Argument]:
        return [parameter for parameter in self.parameters if isinstance(parameter, Argument)]

    def spellings(self) -> dict[str, OptionSpec]:
        """Each way to write an option, as ``argv.normalise`` wants them."""
        table: dict[str, OptionSpec] = {}
        for option in self.options:
            for spelling in option.spellings:
                table[spelling.lstrip("-")] = OptionSpec(option.name, option.takes_value, option.off or None)
            if option.off:
                table[option.off] = OptionSpec(option.off, option.takes_value, option.name)
        return table


def find_verb(name: str) -> Verb:
    """Import the module of one of ``VERBS``."""
    verb = importlib.import_module(f"pcvfs.cli.{name}").verb
    if not isinstance(verb, Verb):
        raise TypeError(f"pcvfs.cli.{name}.verb is not a Verb")
    return verb


# --- decorators ---------------------------------------------------------------------------------------------------
def verb_command(
    name: str,
    *,
    help: str,
    examples: Sequence[tuple[str, str]],
    exit_codes: Sequence[ExitCode],
) -> Callable[[Callable[P, int | None]], Verb]:
    """Turn a function with the decorators below into a verb."""

    def decorate(function: Callable[P, int | None]) -> Verb:
        def callback(**values: object) -> int | None:
            return function(**values)  # type: ignore[arg-type, call-arg]  # what was declared is what it takes

        return Verb(name, callback, tuple(reversed(_declared(function))), help, examples, exit_codes)

    return decorate


def argument(field: str, *, convert: Convert) -> Decorator:
    """A positional argument."""
    return _adder(Argument(field, convert))


def option(
    *names: str,
    panel: str,
    help: str,
    is_flag: bool = False,
    convert: Convert = str,
    default: object = None,
    multiple: bool = False,
    metavar: str | None = None,
    show_default: bool = False,
    expose_value: bool = True,
) -> Decorator:
    """One option of a verb, listed under ``panel`` in its help.

    Args:
        names: spellings with dashes; ``--x/--no-x`` is a switch with an opposite; a word without dashes is the keyword
            under which the verb gets the value, if it isn't the long spelling.
    """
    given = next((name for name in names if not name.startswith("-")), "")
    spellings = [name for name in names if name.startswith("-")]
    off = ""
    if "/" in spellings[0]:
        spellings[0], _, off = spellings[0].partition("/")
    name = max(spellings, key=len).lstrip("-")
    is_switch = is_flag or bool(off)
    if default is None and (is_switch or multiple):
        default = () if multiple else False
    return _adder(
        Option(
            name=name,
            spellings=tuple(spellings),
            off=off.lstrip("-"),
            field=(given or name.replace("-", "_")) if expose_value else "",
            takes_value=not is_switch,
            convert=convert,
            default=default,
            is_multiple=multiple,
            panel=panel,
            metavar=metavar,
            help=help,
            shows_default=show_default,
        )
    )


def option_group(name: str, group: type[object], *options: Decorator) -> Decorator:
    """Several options that reach the verb as one frozen record.

    Args:
        name: keyword under which the verb receives the record.
        group: a record with one field for each option, named as the option.
    """
    taken = field_names(group)

    def decorate(function: Callable[P, int | None], /) -> Callable[P, int | None]:
        @wraps(function)
        def collect(*args: P.args, **values: P.kwargs) -> int | None:
            values[name] = group(**{field: values.pop(field) for field in taken})
            return function(*args, **values)

        decorated: Callable[P, int | None] = collect
        for add_option in reversed(options):
            decorated = add_option(decorated)
        return decorated

    return decorate


def only_one(**given: object) -> None:
    """Refuse options that exclude each other.

    Raises:
        UsageError: more than one of the values is set.
    """
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} can't be used together")


def _adder(parameter: Parameter) -> Decorator:
    def decorate(function: Callable[P, int | None], /) -> Callable[P, int | None]:
        _declared(function).append(parameter)
        return function

    return decorate


def _declared(function: Callable[P, int | None]) -> list[Parameter]:
    """What was declared about a function so far, the last parameter first; ``wraps`` hands it on."""
    declared: list[Parameter] = vars(function).setdefault("declared_parameters", [])
    return declared
