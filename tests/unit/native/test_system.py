"""System calls of the C extension that Python lacks, and what they show to others."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs import native

SHOW = """
import os, sys
from pcvfs import native
native.set_command_line([word.encode() for word in {words}])
native.set_name(b"a-name-15-bytes")
sys.stdout.write(open("/proc/self/cmdline").read() + "|" + open("/proc/self/comm").read())
sys.stdout.write("|" + os.environ["TELLTALE"] + open("/proc/self/environ").read().partition("TELLTALE=")[2][:4])
"""


def shown(words: str, *args: str) -> list[str]:
    """Command line and name of a process that chose them, and a variable, as it and as the kernel see it."""
    argv = [sys.executable, "-c", SHOW.format(words=words), *args]
    environment = {"TELLTALE": "kept"}
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout.split(
        "|"
    )


def test_command_line_is_what_was_chosen_and_nothing_of_the_old_one() -> None:
    words = ["server", "a b", "/\u00fc"]
    line, name, variable = shown(repr(words), "--masterkey", "5ec2e7")
    assert line.rstrip("\0").split("\0") == words
    assert "5ec2e7" not in line
    assert name == "a-name-15-bytes\n"
    assert variable == "keptkept"


def test_command_line_longer_than_the_old_one_is_cut_off() -> None:
    line, _, variable = shown("['x' * 10_000]")
    assert set(line) == {"x", "\0"}
    assert line.endswith("x\0")
    assert len(line) < 2000
    assert variable == "keptkept"


@given(st.binary(max_size=300))
def test_sha256_equals_hashlib(data: bytes) -> None:
    assert native.sha256(data) == hashlib.sha256(data).digest()


def test_mount_and_unmount_that_can_not_be_say_why() -> None:
    with pytest.raises(OSError) as refused:
        native.umount2(b"/nonexistent", 0)
    assert refused.value.errno in (errno.ENOENT, errno.EPERM)
    with pytest.raises(OSError) as refused:
        native.mount(b"x", b"/nonexistent", b"tmpfs", 0, b"")
    assert refused.value.errno in (errno.ENOENT, errno.EPERM)


@pytest.mark.parametrize("position", range(4))
def test_mount_with_a_nul_byte_is_refused(position: int) -> None:
    texts = [b"x", b"/nonexistent", b"tmpfs", b""]
    texts[position] += b"\0"
    source, target, fs_type, data = texts
    with pytest.raises(ValueError, match="null"):
        native.mount(source, target, fs_type, 0, data)


def test_unmount_with_a_nul_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        native.umount2(b"/\0", 0)
