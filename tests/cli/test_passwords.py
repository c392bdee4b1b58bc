"""Password sources: what counts as the password, to the byte, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pcvfs.cli.passwords import PasswordOptions, read_line, read_new_password, read_password, wipe, wiping
from pcvfs.errors import ExitCode, PasswordSourceError, UsageError

StdinIs = Callable[[bytes], None]


@pytest.fixture
def stdin_is() -> Iterator[StdinIs]:
    """Make file descriptor 0 a pipe with the given bytes, for the length of the test."""
    saved = os.dup(0)

    def feed(data: bytes) -> None:
        reader, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        os.dup2(reader, 0)
        os.close(reader)

    yield feed
    os.dup2(saved, 0)
    os.close(saved)


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (b"secret\n", b"secret"),
        (b"secret", b"secret"),
        (b"secret\r\n", b"secret\r"),
        (b" spaces kept \n", b" spaces kept "),
        (b"\xff\x00\xfe\n", b"\xff\x00\xfe"),
        (b"first\nsecond\n", b"first"),
        (b"x" * 2048 + b"\n", b"x" * 2048),
        (b"x" * 2048, b"x" * 2048),
    ],
)
def test_read_password_from_pipe_is_the_exact_first_line(stdin_is: StdinIs, data: bytes, password: bytes) -> None:
    stdin_is(data)
    assert bytes(read_password(PasswordOptions())) == password


@pytest.mark.parametrize("data", [b"", b"\n", b"\nsecond\n", b"x" * 2049, b"x" * 2049 + b"\n"])
def test_read_password_empty_or_too_long_is_refused(stdin_is: StdinIs, data: bytes) -> None:
    stdin_is(data)
    with pytest.raises(PasswordSourceError) as caught:
        read_password(PasswordOptions())
    assert caught.value.exit_code == ExitCode.READ_PASSWORD


def test_read_line_from_pipe_leaves_the_next_line(stdin_is: StdinIs) -> None:
    stdin_is(b"old\nnew\n")
    assert bytes(read_line("")) == b"old"
    assert bytes(read_new_password(PasswordOptions())) == b"new"


@pytest.mark.parametrize("source", ["file", "program"])
@pytest.mark.parametrize("data", [b"", b"\n", b"x" * 2049])
def test_read_password_bad_source_is_refused(tmp_path: Path, source: str, data: bytes) -> None:
    file = tmp_path / "pw"
    file.write_bytes(data)
    options = (
        PasswordOptions(passfile=(os.fsencode(file),))
        if source == "file"
        else PasswordOptions(extpass=("cat", os.fspath(file)))
    )
    with pytest.raises(PasswordSourceError):
        read_password(options)


def test_read_password_several_files_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\n")
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "c").write_bytes(b"\xff\r\n")
    files = tuple(os.fsencode(tmp_path / name) for name in "abc")
    assert bytes(read_password(PasswordOptions(passfile=files))) == b"onetwo\xff\r"


def test_read_password_file_with_more_lines_warns(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pw").write_bytes(b"secret\nother\n")
    assert bytes(read_password(PasswordOptions(passfile=(os.fsencode(tmp_path / "pw"),)))) == b"secret"
    assert "6 bytes after it are ignored" in capfd.readouterr().err


def test_read_password_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PasswordSourceError, match="nothing-here: No such file"):
        read_password(PasswordOptions(passfile=(os.fsencode(tmp_path / "nothing-here"),)))


def test_read_password_one_extpass_is_split_at_spaces() -> None:
    assert bytes(read_password(PasswordOptions(extpass=("echo  a   b",)))) == b"a b"


def test_read_password_several_extpass_are_arguments() -> None:
    assert bytes(read_password(PasswordOptions(extpass=("echo", "a   b", "-n")))) == b"a   b -n"


@pytest.mark.parametrize("words", [("false",), ("sh", "-c", "echo secret; exit 3"), ("/nonexistent/program",), (" ",)])
def test_read_password_failing_program_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(PasswordSourceError):
        read_password(PasswordOptions(extpass=words))


def test_read_password_program_gets_no_stdin(stdin_is: StdinIs) -> None:
    stdin_is(b"not for the program\n")
    with pytest.raises(PasswordSourceError, match="empty"):
        read_password(PasswordOptions(extpass=("cat",)))
    assert bytes(read_line("")) == b"not for the program"


def test_password_options_both_sources_are_refused() -> None:
    with pytest.raises(UsageError):
        PasswordOptions(passfile=(b"a",), extpass=("b",))


def test_wiping_leaves_zeros_also_after_an_error() -> None:
    secret = bytearray(b"secret")
    with pytest.raises(KeyError), wiping(secret) as inside:
        {}[bytes(inside)]
    assert secret == bytes(6)


def test_wipe_overwrites_the_buffer_itself() -> None:
    secret = bytearray(b"secret")
    with memoryview(secret) as view:
        wipe(secret)
        assert bytes(view) == bytes(6)
