"""The door to the C extension: both sides know the same names and numbers, and the system calls do what they say."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcvfs import native
from pcvfs._native_ffi import lib  # noqa: TID251  # the subject
from pcvfs.errors import InternalError

TOP = Path(__file__).parents[2]
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_FL_KEEP_SIZE = 1


def defined_in(path: str) -> set[str]:
    """Names with a value in a C header, include guards left out."""
    return set(re.findall(r"^#define (PCV_\w+) \S", (TOP / path).read_text(), re.MULTILINE))


def declared_in_stub() -> set[str]:
    tree = ast.parse((TOP / "pcvfs/_native_ffi.pyi").read_text())
    library = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Lib")
    functions = {node.name for node in library.body if isinstance(node, ast.FunctionDef)}
    constants = {
        node.target.id for node in library.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return functions | constants


# --- one set of numbers ---------------------------------------------------------------------------------------


def test_every_number_of_the_c_header_is_compared() -> None:
    limits_of_c_alone = {"PCV_NONCE_SIZE_MAX", "PCV_BLOB_SIZE_MAX"}
    assert defined_in("native/pcv_spec.h") - limits_of_c_alone == set(native.SHARED_CONSTANTS)


def test_compiled_numbers_equal_the_python_ones() -> None:
    assert {name: native.compiled_value(name) for name in native.SHARED_CONSTANTS} == native.SHARED_CONSTANTS


def test_stub_and_extension_have_the_same_names() -> None:
    assert declared_in_stub() == {name for name in dir(lib) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(native.SHARED_CONSTANTS))
def test_extension_with_another_number_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value = native.SHARED_CONSTANTS[name]
    monkeypatch.setitem(native.SHARED_CONSTANTS, name, value + b"x" if isinstance(value, bytes) else value + 1)
    with pytest.raises(InternalError, match=name):
        native._check_extension()


def test_extension_without_a_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(native.SHARED_CONSTANTS, "PCV_NEW", 1)
    with pytest.raises(InternalError, match="PCV_NEW=None"):
        native._check_extension()


# --- memory ---------------------------------------------------------------------------------------------------


def test_wipe_zeroes_a_buffer() -> None:
    buffer = bytearray(b"password")
    native.wipe(memoryview(buffer)[2:])
    assert buffer == b"pa" + bytes(6)


def test_wipe_of_a_constant_raises() -> None:
    with pytest.raises(BufferError):
        native.wipe(memoryview(b"constant"))


@pytest.mark.parametrize("size", [1, 16, 257, 100_000])
def test_random_into_fills_the_whole_buffer(size: int) -> None:
    draws = [bytearray(size) for _ in range(64)]
    for draw in draws:
        native.random_into(draw)
    assert all(any(draw[i] for draw in draws) for i in {0, size // 2, size - 1})


# --- system calls ---------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_renameat2_noreplace_keeps_an_existing_target(directory: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        native.renameat2(directory, b"a", directory, b"b", RENAME_NOREPLACE)
    assert (tmp_path / "b").read_text() == "b"
    native.renameat2(directory, b"a", directory, b"b", 0)
    assert (tmp_path / "b").read_text() == "a"
    assert not (tmp_path / "a").exists()


def test_renameat2_exchange_swaps(directory: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").mkdir()
    native.renameat2(directory, b"a", directory, b"b", RENAME_EXCHANGE)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").read_text() == "a"


def test_renameat2_errors_carry_errno(directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        native.renameat2(directory, b"missing", directory, b"b", 0)
    with pytest.raises(OSError) as caught:
        native.renameat2(directory, b"a", directory, b"b", RENAME_NOREPLACE | RENAME_EXCHANGE)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(ValueError, match="null byte"):
        native.renameat2(directory, b"a\0b", directory, b"c", 0)


def test_fallocate_keep_size_reserves_without_growing(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        native.fallocate(file.fileno(), FALLOC_FL_KEEP_SIZE, 0, 65536)
        assert os.fstat(file.fileno()).st_size == 0
        native.fallocate(file.fileno(), 0, 0, 65536)
        assert os.fstat(file.fileno()).st_size == 65536


def test_fallocate_errors_carry_errno(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        with pytest.raises(OSError) as caught:
            native.fallocate(file.fileno(), 0, -1, 1)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError) as caught:
        native.fallocate(-1, 0, 0, 1)
    assert caught.value.errno == errno.EBADF


def test_utimensat_leaves_omitted_times_alone(directory: int, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    native.utimensat(directory, b"f", 1_000_000_001, -5, follow=False)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_000_000_001, -5)
    native.utimensat(directory, b"f", None, 7, follow=False)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_000_000_001, 7)
    native.utimensat(directory, b"f", 9, None, follow=False)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (9, 7)


def test_utimensat_follows_a_symlink_only_if_asked(directory: int, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "link").symlink_to("f")
    native.utimensat(directory, b"link", 11, 12, follow=False)
    assert ((tmp_path / "link").lstat().st_atime_ns, (tmp_path / "link").lstat().st_mtime_ns) == (11, 12)
    assert (tmp_path / "f").stat().st_mtime_ns != 12
    native.utimensat(directory, b"link", 13, 14, follow=True)
    assert (tmp_path / "f").stat().st_mtime_ns == 14
