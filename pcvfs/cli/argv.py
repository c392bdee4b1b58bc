"""gocryptfs' way of writing options, turned into what click reads.

Owns the spelling only: one or two dashes, underscores, ``name=true``, ``-o a,b=c``, options after positionals. Knows
no verb; the caller says which options exist. Pure functions, no input or output.

Source: gocryptfs(1) and its behaviour; docs/operations.md "Options".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from pcvfs.errors import UsageError

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_REVERSE: Final = "reverse mode is not supported yet"
_FIDO2: Final = "FIDO2 tokens are not supported"

# Options of the original that ask for something we can't do. Ignoring them would do the wrong thing silently.
UNSUPPORTED: Final[Mapping[str, str]] = {
    "reverse": _REVERSE,
    "e": _REVERSE,
    "ew": _REVERSE,
    "exclude": _REVERSE,
    "exclude-wildcard": _REVERSE,
    "exclude-from": _REVERSE,
    "one-file-system": _REVERSE,
    "fido2": _FIDO2,
    "fido2-assert-option": _FIDO2,
}

# Options of the original that need no action from us, with whether they take a value.
IGNORED: Final[Mapping[str, bool]] = {
    "devrandom": False,
    "forcedecode": False,
    "openssl": True,
    "kernel-cache": False,
    "nofail": False,
    "nosyslog": False,
    "serialize-reads": False,
}


class OptionSpec(NamedTuple):
    """One spelling of an option.

    ``name`` is the long option it stands for, without dashes. ``off`` is the option that says the opposite, if there
    is one; a flag without one is simply left out when it is given as ``=false``.
    """

    name: str
    takes_value: bool
    off: str | None = None


OptionTable: TypeAlias = Mapping[str, OptionSpec]
_Item: TypeAlias = tuple[OptionSpec, str]


def normalise(args: Sequence[str], table: OptionTable) -> list[str]:
    """Rewrite arguments as ``--name=value`` options, then ``--``, then the positionals.

    Options from ``-o`` go first, so that one given by itself wins over them. Flags given several times collapse to
    the last value.

    Raises:
        UsageError: unknown or unsupported option, missing or superfluous value.
    """
    direct: list[_Item] = []
    listed: list[_Item] = []
    positionals: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            positionals += rest
            break
        if word == "-" or not word.startswith("-"):
            positionals.append(word)
            continue
        name, has_value, value = _split_word(word)
        if name == "o":
            text = value if has_value else _next_value(rest, "-o")
            for part in split_mount_options(text):
                _add(listed, part, *_split_word(part), table, [])
        else:
            _add(direct, word, name, has_value, value, table, rest)
    return [*_render(listed + direct), "--", *positionals]


def split_mount_options(text: str) -> list[str]:
    r"""Split the argument of ``-o`` at its commas; ``\,`` is a comma inside a value. Empty parts are dropped."""
    parts = [""]
    chars = iter(text)
    for char in chars:
        if char == ",":
            parts.append("")
        elif char == "\\":
            following = next(chars, "")
            parts[-1] += following if following == "," else char + following
        else:
            parts[-1] += char
    return [part for part in parts if part]


def _split_word(word: str) -> tuple[str, bool, str]:
    """``--Name_x=v`` -> (``Name-x``, True, ``v``). Only the name loses its dashes and underscores."""
    name, equals, value = word.partition("=")
    name = name.removeprefix("-").removeprefix("-").replace("_", "-")
    return name, bool(equals), value


def _add(
    items: list[_Item],
    word: str,
    name: str,
    has_value: bool,
    value: str,
    table: OptionTable,
    rest: list[str],
) -> None:
    """Append the option ``word``, taking its value from ``rest`` where it has none of its own."""
    if name in table:
        spec = table[name]
    elif name in IGNORED:
        spec = OptionSpec("", IGNORED[name])
    elif name in UNSUPPORTED:
        raise UsageError(f"{word.partition('=')[0]}: {UNSUPPORTED[name]}")
    else:
        raise _unknown(word, name, table)
    if not has_value:
        value = _next_value(rest, word) if spec.takes_value else "true"
    if spec.name:
        items.append((spec, value))
    elif not spec.takes_value:
        _parse_bool(name, value)


def _next_value(rest: list[str], word: str) -> str:
    if not rest:
        raise UsageError(f"option {word} needs a value")
    return rest.pop(0)


def _render(items: Sequence[_Item]) -> list[str]:
    flags: dict[str, tuple[OptionSpec, bool]] = {}
    rendered: list[str] = []
    for spec, value in items:
        if spec.takes_value:
            rendered.append(f"--{spec.name}={value}")
        else:
            # `--no-x` and `--x` are one switch, so they share a place.
            place = min(spec.name, spec.off or spec.name)
            flags[place] = (spec, _parse_bool(spec.name, value))
    for spec, is_on in flags.values():
        if is_on:
            rendered.append(f"--{spec.name}")
        elif spec.off:
            rendered.append(f"--{spec.off}")
    return rendered


def _parse_bool(name: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(
        f"option --{name} is a switch and can't be {value!r}",
        hint="use =true or =false, or no value",
    )


def _unknown(word: str, name: str, table: OptionTable) -> UsageError:
    import difflib  # only for those who mistyped

    near = difflib.get_close_matches(name, [known for known in table if len(known) > 1], n=1) if len(name) > 1 else []
    return UsageError(f"unknown option {word.partition('=')[0]}", hint=f"did you mean --{near[0]}?" if near else "")
