"""Reading a command line that has nothing wrong with it, without click: loading that takes longer than mounting.

Whatever this does not know for certain is left to ``command``: help, completion, mistakes and what to say about them.
Tests hold the two together: what both read, they read alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from pcvfs.cli.argv import normalise
from pcvfs.cli.declare import VERBS, Verb, find_verb
from pcvfs.errors import UsageError


def read(args: Sequence[str]) -> tuple[Verb, dict[str, object]] | None:
    """A verb and the values of all its parameters; None if there is anything to be said first.

    Args:
        args: without the program name.
    """
    if not args or args[0] not in VERBS:
        return None
    verb = find_verb(args[0])
    values = read_values(verb, args[1:])
    return None if values is None else (verb, values)


def read_values(verb: Verb, args: Sequence[str]) -> dict[str, object] | None:
    """The values of all parameters, by the keywords of the verb; None as above."""
    try:
        words = normalise(args, verb.spellings())
    except UsageError:
        return None
    end = words.index("--")
    positionals, arguments = words[end + 1 :], verb.arguments
    if len(positionals) != len(arguments):
        return None
    options = {option.name: option for option in verb.options}
    opposites = {option.off: option for option in verb.options if option.off}
    try:
        values = {option.field: option.initial for option in verb.options}
        values |= {
            argument.field: argument.convert(word) for argument, word in zip(arguments, positionals, strict=True)
        }
        for word in words[:end]:
            name, _, text = word.removeprefix("--").partition("=")
            if name in opposites:
                values[opposites[name].field] = False
                continue
            option = options[name]
            value = option.convert(text) if option.takes_value else True
            known = values[option.field]
            values[option.field] = (*known, value) if isinstance(known, tuple) and option.is_multiple else value
    except ValueError:
        return None
    values.pop("", None)
    return values
