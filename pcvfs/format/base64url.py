"""URL-safe base64 with exactly one spelling per byte string.

Names on disk are compared and hashed as text, so a second spelling of the same bytes (a line break inside, stray bits
in the last character, missing or surplus padding) would be a second directory entry for one name. All of them are
refused.

Source: docs/format.md "Base64"; RFC 4648 sections 3 and 5.
"""

from __future__ import annotations

import binascii
from typing import Final

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_REFUSED: Final = ord("!")  # in no base64 alphabet: strict decoding stops there

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes(
    {ord("-"): ord("+"), ord("_"): ord("/")}.get(char, char) if char in _ALPHABET else _REFUSED for char in range(256)
)
_PADDING: Final = (b"", b"", b"==", b"=")  # by length mod 4 of the unpadded text

# Which last characters leave no stray bits, by length mod 4: 2 characters carry 12 bits for one byte, 3 carry 18 for
# two. A lone character (mod 4 == 1) carries less than a byte and is never right.
_LAST_CHARS: Final = (
    frozenset(_ALPHABET),
    frozenset[int](),
    frozenset(_ALPHABET[i] for i in range(0, 64, 16)),
    frozenset(_ALPHABET[i] for i in range(0, 64, 4)),
)


class Base64Url:
    """One of the two spellings that a volume can use.

    Args:
        raw: without ``=`` padding (feature flag Raw64).
    """

    __slots__ = ("_encode_deletes", "raw")

    def __init__(self, raw: bool) -> None:
        self.raw = raw
        self._encode_deletes = b"=" if raw else b""

    def encode(self, data: bytes) -> bytes:
        """Return ``data`` as ASCII text without line breaks."""
        return binascii.b2a_base64(data, newline=False).translate(_TO_URL, self._encode_deletes)

    def decode(self, text: bytes) -> bytes:
        """Return the bytes that ``text`` is the one spelling of; ``b""`` for ``b""``.

        Raises:
            ValueError: anything that :meth:`encode` would not have written.
        """
        if not self.raw:
            unpadded = text.rstrip(b"=")
            if len(text) - len(unpadded) != -len(unpadded) % 4:
                raise ValueError("wrong base64 padding")
            text = unpadded
        if not text:
            return b""
        remainder = len(text) % 4
        if text[-1] not in _LAST_CHARS[remainder]:
            raise ValueError("base64 text ends in a character that no encoder writes there")
        return binascii.a2b_base64(text.translate(_FROM_URL) + _PADDING[remainder], strict_mode=True)
