"""What reaches the terminal: names that can't steer it, sizes that can be read."""

from __future__ import annotations

import pytest

from pcvfs.cli.console import error, format_size, printable
from pcvfs.errors import PcvfsError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain name", "plain name"),
        ("größe".encode(), "größe"),
        (b"a\nb", "a\\nb"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("rtl\u202eoverride".encode(), "rtl\\u202eoverride"),
        (b"", ""),
    ],
)
def test_printable_control_characters_are_escaped(name: bytes, text: str) -> None:
    assert printable(name) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (5 << 20, "5 MiB"),
        (3 << 40, "3 TiB"),
        (1 << 50, "1024 TiB"),
    ],
)
def test_format_size_picks_a_unit(size: int, text: str) -> None:
    assert format_size(size) == text


def test_error_without_terminal_is_plain_text_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    error(PcvfsError("it broke", hint="mend it\nor leave it"))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "pcvfs: it broke\nhint: mend it\nhint: or leave it\n"
