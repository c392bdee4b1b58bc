"""Where passwords and master keys come from: terminal, pipe, file, program. Never argv, never the environment.

Owns the reading and the limits; doesn't know what a password is for. Every function returns a ``bytearray`` that
belongs to the caller, who wipes it (``wiping``). Bytes are read straight into buffers that are wiped too, so no
immutable copy is left behind. Python may still have made copies we can't see; docs/operations.md says so.

Source: gocryptfs(1) for the order of sources and the limits.
"""

from __future__ import annotations

import contextlib
import os
import sys
import termios
from collections.abc import Iterator, Sequence
from typing import Final

from pcvfs.cli import console
from pcvfs.errors import PasswordSourceError, UsageError
from pcvfs.records import record
from pcvfs.spec import PASSWORD_MAX

_STDIN: Final = 0
_TRAILING_MAX: Final = 1 << 16  # of what follows the first line of a password file; only counted for the warning
_NEWLINE: Final = ord("\n")


@record
class PasswordOptions:
    """``--passfile`` and ``--extpass`` as given. With neither, the password comes from stdin."""

    passfile: tuple[bytes, ...] = ()
    extpass: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.passfile and self.extpass:
            raise UsageError("--passfile and --extpass can't be used together")

    @property
    def is_given(self) -> bool:
        return bool(self.passfile or self.extpass)


@contextlib.contextmanager
def wiping(secret: bytearray) -> Iterator[bytearray]:
    """Hand out a secret for the length of a block, then overwrite it."""
    try:
        yield secret
    finally:
        wipe(secret)


def wipe(secret: bytearray) -> None:
    """Overwrite with zeros in place. The length stays."""
    secret[:] = bytes(len(secret))


def read_password(options: PasswordOptions, *, prompt: str = "Password: ") -> bytearray:
    """Read the password of an existing volume.

    Returns: 1 to 2048 bytes, exactly as they came, without the newline at the end.

    Raises:
        PasswordSourceError: the password is empty or too long, or its source failed.
    """
    if options.passfile:
        return _read_files(options.passfile)
    if options.extpass:
        return _run_program(options.extpass)
    return read_line(prompt)


def read_new_password(options: PasswordOptions, *, prompt: str = "Password: ") -> bytearray:
    """Like ``read_password``, but a person at a terminal types it twice.

    Raises:
        PasswordSourceError: as ``read_password``; also when the two don't match.
    """
    if options.is_given or not os.isatty(_STDIN):
        return read_password(options, prompt=prompt)
    first = read_line(prompt)
    try:
        with wiping(read_line("Repeat: ")) as second:
            if first != second:
                raise PasswordSourceError("the passwords don't match")
    except BaseException:
        wipe(first)
        raise
    return first


def read_line(prompt: str) -> bytearray:
    """Read one secret line from stdin: without echo from a terminal, else byte for byte up to the newline.

    Nothing after the newline is consumed, so a pipe can carry an old and a new password.

    Raises:
        PasswordSourceError: nothing there, or longer than 2048 bytes.
    """
    if not os.isatty(_STDIN):
        return _checked(_read_fd_line(_STDIN, "stdin"), "stdin")
    with _no_echo(_STDIN):
        sys.stderr.write(prompt)
        sys.stderr.flush()
        try:
            line = _read_fd_line(_STDIN, "the terminal")
        finally:
            sys.stderr.write("\n")
            sys.stderr.flush()
    return _checked(line, "the terminal")


def read_first_line(path: bytes) -> bytearray:
    """Read the first line of a file that holds a secret, at most 2048 bytes.

    Raises:
        PasswordSourceError: the file can't be read, or its first line is empty or too long.
    """
    shown = console.printable(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise PasswordSourceError(f"can't read {shown}: {exc.strerror}") from exc
    try:
        line = _checked(_read_fd_line(fd, shown), shown)
        surplus = _count_rest(fd)
    finally:
        os.close(fd)
    if surplus:
        console.warn(f"only the first line of {shown} is used, {surplus} bytes after it are ignored")
    return line


def _read_files(paths: Sequence[bytes]) -> bytearray:
    lines: list[bytearray] = []
    try:
        for path in paths:
            lines += [read_first_line(path)]  # one by one: those that were read are wiped if the next one fails
        return bytearray().join(lines)
    finally:
        for line in lines:
            wipe(line)


def _run_program(words: Sequence[str]) -> bytearray:
    """Run ``--extpass``: one word is split at spaces, several are the argument vector."""
    import subprocess  # most passwords come from elsewhere

    argv = words[0].split() if len(words) == 1 else list(words)
    if not argv:
        raise PasswordSourceError("--extpass is empty")
    try:
        process = subprocess.Popen(  # noqa: S603  # running what the user asks for is the purpose; no shell
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0
        )
    except OSError as exc:
        raise PasswordSourceError(f"can't run {argv[0]}: {exc.strerror}") from exc
    with process:
        if process.stdout is None:
            raise PasswordSourceError(f"{argv[0]} has no output")
        fd = process.stdout.fileno()
        try:
            line = _read_fd_line(fd, argv[0])
            _count_rest(fd)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        wipe(line)
        raise PasswordSourceError(f"{argv[0]} failed with exit status {process.returncode}")
    return _checked(line, argv[0])


def _checked(line: bytearray, source: str) -> bytearray:
    if not line:
        raise PasswordSourceError(f"{source} gave an empty line")
    return line


def _read_fd_line(fd: int, source: str) -> bytearray:
    """Read up to and without the first newline, or to the end. One byte a time: what follows isn't ours."""
    buffer = bytearray(PASSWORD_MAX + 1)
    with memoryview(buffer) as view, wiping(buffer):
        length = 0
        while length <= PASSWORD_MAX:
            if not os.readv(fd, [view[length : length + 1]]) or view[length] == _NEWLINE:
                line = bytearray(length)
                line[:] = view[:length]
                return line
            length += 1
    raise PasswordSourceError(f"{source} gave a line of more than {PASSWORD_MAX} bytes")


def _count_rest(fd: int) -> int:
    """Drain ``fd``, bounded; returns the bytes seen."""
    scratch = bytearray(4096)
    total = 0
    with wiping(scratch):
        while total < _TRAILING_MAX and (count := os.readv(fd, [scratch])):
            total += count
    return total


@contextlib.contextmanager
def _no_echo(fd: int) -> Iterator[None]:
    saved = termios.tcgetattr(fd)
    silent = termios.tcgetattr(fd)
    silent[3] &= ~(termios.ECHO | termios.ECHONL)
    termios.tcsetattr(fd, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
