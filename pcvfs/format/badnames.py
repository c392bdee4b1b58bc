"""Showing, and finding again, entries whose name does not decrypt.

Sync programs rename files on the backing side ("X.sync-conflict-2024…"). Such names are undecryptable and hidden,
unless the user asks for them with patterns: then the longest prefix that decrypts is shown in plaintext, the rest as
it is, and a suffix says that something is wrong. Access goes the other way: the plaintext that was shown could come
from several names on disk, so all of them are computed and the caller looks which one exists.

What the original lists but can't reach (bad names that are also long) is reachable here, and the files that a volume
is made of (directory IV, config, sidecars) are never reached by this way.

Source: docs/format.md "Undecryptable names".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pcvfs import spec
from pcvfs.errors import NameDecodeError, UsageError
from pcvfs.format.names import NameClass, NameCodec, is_legal_name
from pcvfs.types import DirIV

BADNAME_SUFFIX: Final = b" GOCRYPTFS_BAD_NAME"


def is_badname(name: bytes) -> bool:
    """Whether a plaintext name looks like one that :meth:`BadNames.decode` makes."""
    return name.endswith(BADNAME_SUFFIX)


class BadNames:
    """Bad names of one volume, as far as they match the user's patterns. Immutable.

    Args:
        names: the volume's codec; not one for plaintext names, where no name is bad.
        patterns: shell patterns for encrypted names; ``*``, ``?``, ``[a-z]``, ``[^a-z]`` and ``\\`` to quote.

    Raises:
        UsageError: a pattern has a syntax error.
    """

    __slots__ = ("_names", "_prefix_lengths", "_regexes")

    def __init__(self, names: NameCodec, patterns: Iterable[bytes]) -> None:
        if names.is_plaintext:
            raise ValueError("plaintext names can't be bad")
        self._names = names
        self._regexes = tuple(_compile_glob(pattern) for pattern in patterns)
        encode = names.base64.encode
        blocks = range(spec.NAME_MAX // spec.EME_BLOCK_SIZE + 1, 0, -1)
        self._prefix_lengths = tuple(len(encode(bytes(count * spec.EME_BLOCK_SIZE))) for count in blocks)

    def matches(self, full_cname: bytes) -> bool:
        """Whether the user asked to see this name, should it not decrypt."""
        text = full_cname.decode("utf-8", "surrogateescape")
        return any(regex.fullmatch(text) for regex in self._regexes)

    def decode(self, full_cname: bytes, diriv: DirIV) -> bytes:
        """Return the plaintext name under which to show an undecryptable name.

        Args:
            full_cname: the name on disk that did not decrypt; for long names, the content of the sidecar.

        Raises:
            NameDecodeError: no pattern matches, or what there is to show is not a legal name (too long, or the
                sidecar holds a slash or NUL).
        """
        if not self.matches(full_cname):
            raise NameDecodeError("name on disk does not decrypt and no pattern asks for it")
        shown = self._shown(full_cname, diriv)
        if not is_legal_name(shown):
            raise NameDecodeError("name on disk does not decrypt and can't be shown")
        return shown

    def candidates(self, name: bytes, diriv: DirIV, *, is_root: bool) -> list[bytes]:
        """Return the names on disk that are listed as ``name``, in no meaningful order.

        To be tried when the ordinary encryption of ``name`` does not exist. If exactly one of them exists, that is
        the object; with more than one, it is ambiguous and the lookup fails.

        Args:
            name: plaintext name; a list of none for one without the suffix.
            is_root: whether the directory is the root of the volume, where the config must stay out of reach.
        """
        if not is_badname(name) or not is_legal_name(name):
            return []
        stem = name[: -len(BADNAME_SUFFIX)]
        heads = [stem[:length] for length in range(1, len(stem)) if is_legal_name(stem[:length])]
        full_cnames = [stem] if stem else []
        for head, cname in zip(heads, self._names.encrypt_many(heads, diriv), strict=True):
            full_cnames.append(cname + stem[len(head) :])
        full_cnames = [cname for cname in full_cnames if self.matches(cname)]
        found: dict[bytes, None] = {}
        for full_cname, plain in zip(full_cnames, self._names.decode_many(full_cnames, diriv), strict=True):
            if plain is None and self._shown(full_cname, diriv) == name:
                found.update(dict.fromkeys(self._on_disk(full_cname, is_root)))
        return list(found)

    def _shown(self, full_cname: bytes, diriv: DirIV) -> bytes:
        heads = [full_cname[:length] for length in self._prefix_lengths if length < len(full_cname)]
        for head, plain in zip(heads, self._names.decode_many(heads, diriv), strict=True):
            if plain is not None:
                return plain + full_cname[len(head) :] + BADNAME_SUFFIX
        return full_cname + BADNAME_SUFFIX

    def _on_disk(self, full_cname: bytes, is_root: bool) -> list[bytes]:
        """Return the directory entries that may hold a bad name: itself, its hash, both, or none."""
        names = self._names
        entries: list[bytes] = []
        is_hidden = (full_cname == spec.DIRIV_NAME and names.has_diriv) or (full_cname == spec.CONFIG_NAME and is_root)
        if is_legal_name(full_cname) and names.classify(full_cname) is NameClass.NORMAL and not is_hidden:
            entries.append(full_cname)
        if names.hash_long_names and names.long_name_max < len(full_cname) <= spec.LONG_NAME_FILE_MAX:
            entries.append(names.hashed(full_cname))
        return entries


# --- patterns ---------------------------------------------------------------------------------------------------
# The pattern language is that of Go's path/filepath, which the option of the same name in gocryptfs uses; Python's
# fnmatch differs ("!" negates, no quoting, no syntax errors).


def _compile_glob(pattern: bytes) -> re.Pattern[str]:
    text = pattern.decode("utf-8", "surrogateescape")
    parts: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            part, position = _compile_class(text, position, pattern)
            parts.append(part)
        elif char == "\\":
            if position == len(text):
                raise _bad_pattern(pattern)
            parts.append(re.escape(text[position]))
            position += 1
        else:
            parts.append(re.escape(char))
    return re.compile("".join(parts), re.DOTALL)


def _compile_class(text: str, position: int, pattern: bytes) -> tuple[str, int]:
    """Return the regular expression of a class whose ``[`` is just in front of ``position``, and where it ends."""
    is_negated = text.startswith("^", position)
    position += is_negated
    ranges: list[str] = []
    is_empty = True
    while is_empty or not text.startswith("]", position):
        low, position = _class_char(text, position, pattern)
        high = low
        if text.startswith("-", position):
            high, position = _class_char(text, position + 1, pattern)
        if low <= high:  # an inverted range is legal and matches nothing
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        is_empty = False
    if not ranges:
        return ("." if is_negated else "(?!)"), position + 1
    return f"[{'^' if is_negated else ''}{''.join(ranges)}]", position + 1


def _class_char(text: str, position: int, pattern: bytes) -> tuple[str, int]:
    if text.startswith(("-", "]"), position):
        raise _bad_pattern(pattern)
    if text.startswith("\\", position):
        position += 1
    if position + 1 >= len(text):  # a closing bracket must follow
        raise _bad_pattern(pattern)
    return text[position], position + 1


def _bad_pattern(pattern: bytes) -> UsageError:
    shown = pattern.decode("utf-8", "backslashreplace")
    return UsageError(
        f"bad name pattern {shown!r} has a syntax error", hint="close brackets and quote - ] and \\ inside"
    )
