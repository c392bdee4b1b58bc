"""Secret: what it hides, when it is gone, and where it lies."""

from __future__ import annotations

import copy
import ctypes
import gc
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pcvfs.crypto.secret import Secret

KEY = bytes(range(32))


def vm_flags(view: memoryview) -> set[str]:
    """The kernel's flags (proc(5), smaps) of the mapping that holds ``view``."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(view))
    is_inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            start, end = (int(bound, 16) for bound in first.split("-"))
            is_inside = start <= address < end
        elif is_inside and first == "VmFlags:":
            return set(line.split()[1:])
    raise AssertionError("the address is in no mapping")


def test_secret_new_is_zero() -> None:
    secret = Secret(33)
    assert len(secret) == 33
    assert secret.view() == bytes(33)


@pytest.mark.parametrize("size", [0, -1])
def test_secret_without_a_byte_raises(size: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        Secret(size)


def test_from_bytes_copies() -> None:
    source = bytearray(KEY)
    secret = Secret.from_bytes(source)
    source[0] ^= 1
    assert secret.view() == KEY


def test_random_fills_every_byte() -> None:
    draws = [bytes(Secret.random(32).view()) for _ in range(64)]
    assert len(set(draws)) == len(draws)
    assert all(any(draw[i] for draw in draws) for i in range(32))  # a byte left alone would be zero in all 64


def test_view_is_writable_and_shared() -> None:
    secret = Secret(4)
    secret.view()[:] = b"abcd"
    assert bytes(secret.view()) == b"abcd"


def test_wipe_zeroes_earlier_views_and_ends_use() -> None:
    secret = Secret.from_bytes(KEY)
    view = secret.view()
    secret.wipe()
    secret.wipe()
    assert view == bytes(32)
    assert len(secret) == 32
    with pytest.raises(ValueError, match="wiped"):
        secret.view()


def test_context_manager_wipes() -> None:
    with Secret.from_bytes(KEY) as secret:
        view = secret.view()
        assert view == KEY
    assert view == bytes(32)


def test_view_outlives_the_secret() -> None:
    view = Secret.from_bytes(KEY).view()
    gc.collect()
    assert view == KEY  # unmapped memory would end the process here


def test_equality_compares_content_and_type() -> None:
    assert Secret.from_bytes(KEY) == Secret.from_bytes(KEY)
    assert Secret.from_bytes(KEY) != Secret.from_bytes(KEY[::-1])
    assert Secret.from_bytes(KEY) != Secret.from_bytes(KEY[:-1])
    assert Secret.from_bytes(KEY) != KEY


def test_repr_shows_the_size_alone() -> None:
    assert repr(Secret.from_bytes(b"password")) == "<Secret of 8 bytes>"


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy, hash], ids=lambda leak: leak.__name__)
def test_secret_leaving_its_memory_raises(leak: object) -> None:
    with pytest.raises(TypeError):
        leak(Secret(8))  # type: ignore[operator]


def test_memory_is_left_out_of_core_dumps() -> None:
    assert "dd" in vm_flags(Secret(32).view())


def test_memory_is_locked_if_the_limit_allows() -> None:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] in range(1 << 20):
        pytest.skip("RLIMIT_MEMLOCK is too small")
    assert "lo" in vm_flags(Secret(32).view())


def test_secret_without_permission_to_lock_still_works() -> None:
    code = """
import os, resource
from pcvfs.crypto.secret import Secret
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
assert bytes(Secret.from_bytes(b"k" * 5000).view()) == b"k" * 5000
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


def test_harden_process_forbids_dumps() -> None:
    code = """
import ctypes, resource
from pcvfs.crypto.secret import harden_process
PR_GET_DUMPABLE = 3
assert ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1
harden_process()
assert ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)
