"""JSON as Go's ``encoding/json`` reads and writes it, as far as gocryptfs.conf needs it.

Existing configs are defined by what that library accepts, which is not what :mod:`json` accepts: keys match whatever
their case, a key given twice is assigned twice, null leaves a value alone, integers have no fraction or exponent,
base64 may hold line breaks. Writing is byte for byte what Go's ``MarshalIndent`` with a tab does.

Errors name the field, so that someone with a text editor can find it. Knows nothing of what the fields mean.

Source: docs/format.md "How the JSON is read"; checked against gocryptfs 2.3.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn, TypeAlias

from pcvfs.errors import ConfigError
from pcvfs.records import record

_HINT: Final = "restore gocryptfs.conf from a backup, or start over with the master key"
_BOMS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_INTEGER: Final = re.compile("-?[0-9]{1,20}")  # 20 digits hold any 64-bit integer; more is out of range anyway
_SHOWN_MAX: Final = 40  # characters of an offending value in a message


@record
class JsonNumber:
    """A number as it was spelled."""

    text: str


@record
class JsonObject:
    """An object with its keys in order, duplicates included.

    Args:
        path: how to call this object in messages: empty for the outermost, else ending in a dot.
    """

    pairs: tuple[tuple[str, JsonValue], ...]
    path: str = ""

    # The readers below share one contract: keys match without regard to case; absent or null gives the empty
    # value; ConfigError for a value of another type, even if a later duplicate replaces it.

    def text(self, name: str) -> str:
        """Return a string; the last one if there are several."""
        result = ""
        for value in self._values(name):
            if not isinstance(value, str | None):
                self._refuse(name, value, "a string")
            result = result if value is None else _clean(value)
        return result

    def integer(self, name: str, low: int, high: int) -> int:
        """Return a whole number in ``low..high``; 0 if absent."""
        result = 0
        for value in self._values(name):
            if value is None:
                continue
            # Go reads "-0" as zero for signed types and not at all for unsigned ones.
            if not isinstance(value, JsonNumber) or not _INTEGER.fullmatch(value.text):
                self._refuse(name, value, "a whole number")
            if not low <= int(value.text) <= high or (low == 0 and value.text.startswith("-")):
                self._refuse(name, value, f"a whole number from {low} to {high}")
            result = int(value.text)
        return result

    def data(self, name: str) -> bytes:
        """Return the bytes of a string in standard base64 with padding."""
        result = b""
        for value in self._values(name):
            if value is None:
                result = b""
                continue
            if not isinstance(value, str):
                self._refuse(name, value, "a string of base64")
            try:
                result = binascii.a2b_base64(value.replace("\r", "").replace("\n", ""), strict_mode=True)
            except ValueError:
                raise ConfigError(
                    f"config field {self.path}{name} is not standard base64 with padding", hint=_HINT
                ) from None
        return result

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return a list of strings; None if it is absent or null."""
        result: tuple[str, ...] | None = None
        for value in self._values(name):
            if value is None:
                result = None
                continue
            if not isinstance(value, list):
                self._refuse(name, value, "a list of strings")
            items: list[str] = []
            for item in value:
                if not isinstance(item, str):
                    self._refuse(name, item, "a list of strings only")
                items.append(_clean(item))
            result = tuple(items)
        return result

    def child(self, name: str, *, null_clears: bool) -> JsonObject | None:
        """Return an object; the members of several are put one after the other.

        Args:
            null_clears: whether null forgets what came before (Go: a pointer), or does nothing (Go: a struct).
        """
        result: JsonObject | None = None
        for value in self._values(name):
            if value is None:
                result = None if null_clears else result
                continue
            if not isinstance(value, JsonObject):
                self._refuse(name, value, "an object")
            earlier = result.pairs if result is not None else ()
            result = JsonObject(earlier + value.pairs, path=f"{self.path}{name}.")
        return result

    def _values(self, name: str) -> Iterator[JsonValue]:
        wanted = _fold(name)
        return (value for key, value in self.pairs if _fold(key) == wanted)

    def _refuse(self, name: str, value: JsonValue, expected: str) -> NoReturn:
        raise ConfigError(f"config field {self.path}{name} is {_show(value)}, expected {expected}", hint=_HINT)


JsonValue: TypeAlias = "bool | str | JsonNumber | list[JsonValue] | JsonObject | None"


def parse_object(data: bytes, size_max: int) -> JsonObject:
    """Return the one JSON object that ``data`` consists of, white space around it aside.

    Args:
        size_max: bytes; anything larger is refused unread.

    Raises:
        ConfigError: not JSON, not an object, too large, or nested too deep.
    """
    if len(data) > size_max:
        raise ConfigError(f"config has {len(data)} bytes, more than {size_max}", hint=_HINT)
    if not data.strip(b" \t\r\n"):
        raise ConfigError("config is empty", hint=_HINT)
    if data.startswith(_BOMS):
        raise ConfigError("config starts with a byte order mark", hint="save it as UTF-8 without one")
    if b"\0" in data:
        raise ConfigError("config has a NUL byte inside", hint=_HINT)
    decoder = json.JSONDecoder(
        object_pairs_hook=_make_object, parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=_refuse_constant
    )
    try:
        # As in Go, bytes that are not UTF-8 become U+FFFD: harmless in a string, a syntax error elsewhere.
        value: JsonValue = decoder.decode(data.decode("utf-8", "replace"))
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno} column {exc.colno}"
        raise ConfigError(f"config is not JSON: {exc.msg.lower()}, {where}", hint=_HINT) from exc
    except RecursionError as exc:
        raise ConfigError("config is nested too deep", hint=_HINT) from exc
    if not isinstance(value, JsonObject):
        raise ConfigError(f"config is {_show(value)}, expected an object", hint=_HINT)
    return value


def _make_object(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    return JsonObject(tuple(pairs))


def _refuse_constant(text: str) -> NoReturn:
    raise ConfigError(f"config is not JSON: {text} is not a JSON value", hint=_HINT)


def _fold(key: str) -> str:
    # Go compares keys by Unicode simple folding: long s and the Kelvin sign are the non-ASCII letters that reach ASCII.
    return key.replace("\u017f", "s").lower()


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)  # "\ud800" alone is valid JSON, but not a character


def _show(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case JsonNumber(text):
            return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."
        case str():
            return ascii(value) if len(value) <= _SHOWN_MAX else f"{value[:_SHOWN_MAX]!a}..."
        case list():
            return "a list"
        case JsonObject():
            return "an object"


# --- writing ----------------------------------------------------------------------------------------------------

_ESCAPES: Final = {
    **{code: f"\\u{code:04x}" for code in range(0x20)},
    **{ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"},  # Go makes its JSON safe to put into HTML
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    ord('"'): '\\"',
    ord("\\"): "\\\\",
}

Writable: TypeAlias = "int | str | bytes | Sequence[str] | dict[str, Writable] | None"


def write_object(members: dict[str, Writable]) -> bytes:
    """Return the JSON of an object in Go's layout: tab-indented, members in order, bytes as base64, final newline."""
    return (_write(members, 0) + "\n").encode("utf-8")


def _write(value: Writable, depth: int) -> str:
    match value:
        case None:
            return "null"
        case int():
            return str(value)
        case str():
            return f'"{_clean(value).translate(_ESCAPES)}"'
        case bytes():
            return f'"{binascii.b2a_base64(value, newline=False).decode("ascii")}"'
        case dict():
            lines = [f'"{name}": {_write(member, depth + 1)}' for name, member in value.items()]
            return _write_block(lines, "{}", depth)
        case _:
            return _write_block([_write(item, depth + 1) for item in value], "[]", depth)


def _write_block(lines: list[str], brackets: str, depth: int) -> str:
    if not lines:
        return brackets
    indent = "\n" + "\t" * (depth + 1)
    end = "\n" + "\t" * depth
    return brackets[0] + indent + f",{indent}".join(lines) + end + brackets[1]
