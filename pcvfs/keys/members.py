"""Strict reading of JSON objects: each member has the type it should have, or the file is corrupt.

Messages name the member and never its value. Knows nothing of what the members mean.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Final, TypeAlias

from pcvfs.errors import CorruptKeysetError

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"

_HINT: Final = "restore the keyset from its copy or from a backup"
_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*")


def corrupt(message: str) -> CorruptKeysetError:
    """The error for a file that can't be a keyset."""
    return CorruptKeysetError(f"the keyset is damaged: {message}", hint=_HINT)


class Members:
    """The members of one object, taken out one by one; what was not asked for shows at the end.

    Args:
        path: how to call this object in messages: empty for the outermost, else ending in a dot.
    """

    def __init__(self, members: dict[str, JsonValue], path: str = "") -> None:
        self._members = members
        self._path = path
        self._taken: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._members

    def names(self) -> list[str]:
        """The names in the order of the file."""
        return list(self._members)

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number in ``low..high``."""
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise corrupt(f"{self._path}{name} is not a whole number")
        if not low <= value <= high:
            raise corrupt(f"{self._path}{name} is not from {low} to {high}")
        return value

    def text(self, name: str) -> str:
        """A string of characters that UTF-8 can express."""
        value = self._take(name)
        if not isinstance(value, str):
            raise corrupt(f"{self._path}{name} is not a string")
        if any(0xD800 <= ord(char) <= 0xDFFF for char in value):
            raise corrupt(f"{self._path}{name} is not text")
        return value

    def name(self, name: str) -> str:
        """A string of 1 to 64 lower-case letters, digits and dashes."""
        value = self.text(name)
        if not _NAME.fullmatch(value):
            raise corrupt(f"{self._path}{name} is not a name")
        return value

    def boolean(self, name: str) -> bool:
        """true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise corrupt(f"{self._path}{name} is neither true nor false")
        return value

    def data(self, name: str, size: int) -> bytes:
        """``size`` bytes in base64 without padding, spelled in the one right way."""
        text = self.text(name)
        if not _BASE64.fullmatch(text):
            raise corrupt(f"{self._path}{name} is not base64")
        try:
            data = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        except ValueError:
            raise corrupt(f"{self._path}{name} is not base64") from None
        if len(data) != size or encode_data(data) != text:
            raise corrupt(f"{self._path}{name} is not {size} bytes in base64")
        return data

    def child(self, name: str) -> Members:
        """An object."""
        value = self._take(name)
        if not isinstance(value, dict):
            raise corrupt(f"{self._path}{name} is not an object")
        return Members(value, f"{self._path}{name}.")

    def children(self, name: str, count_max: int) -> list[Members]:
        """A list of 1 to ``count_max`` objects."""
        value = self._take(name)
        if not isinstance(value, list) or not 1 <= len(value) <= count_max:
            raise corrupt(f"{self._path}{name} is not a list of 1 to {count_max}")
        result = []
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise corrupt(f"{self._path}{name} holds something that is not an object")
            result.append(Members(item, f"{self._path}{name}.{index}."))
        return result

    def refuse_others(self) -> None:
        """Raise if there are members that nobody has asked for: they would be lost when the file is written."""
        if self._members.keys() - self._taken:
            raise corrupt(f"{self._path or 'the file '}has a member that does not belong there")

    def _take(self, name: str) -> JsonValue:
        if name not in self._members:
            raise corrupt(f"{self._path}{name} is missing")
        self._taken.add(name)
        return self._members[name]


def parse_members(data: bytes, size_max: int) -> Members:
    """The one JSON object that ``data`` consists of.

    Raises:
        CorruptKeysetError: not JSON, not an object, too large, nested too deep, a member twice, a fraction.
    """
    if len(data) > size_max:
        raise corrupt(f"it has more than {size_max} bytes")
    try:
        value: JsonValue = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_make_object,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as exc:  # also what is not UTF-8, and numbers of thousands of digits
        raise corrupt("it is not JSON") from exc
    if not isinstance(value, dict):
        raise corrupt("it is not a JSON object")
    return Members(value)


def encode_data(data: bytes) -> str:
    """Base64 without padding."""
    return binascii.b2a_base64(data, newline=False).decode("ascii").rstrip("=")


def _make_object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise corrupt("a member is there twice")
    return members


def _refuse_number(_text: str) -> JsonValue:
    raise corrupt("it has a number that is not whole")
