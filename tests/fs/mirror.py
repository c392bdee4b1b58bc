"""Does the same to a mount and to a plain directory, and compares: the plain directory is the model of POSIX."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from pcvfs import native
from tests.fs.bench import Bench
from tests.fs.kernel import Kernel

LONGEST_SHORT = 175  # bytes of a name that is not hashed, in the default flavour

Outcome: TypeAlias = "bytes | int | frozenset[bytes] | None"


class Step(NamedTuple):
    """One operation in both worlds: on the kernel's side of a mount, and on a plain directory.

    ``is_change`` of something that is there: an error may come after it was made, in the look at its outcome.
    ``is_listing``: an I/O error may hide entries whose names are in files of their own.
    """

    name: str
    on_mount: Callable[[Kernel], Outcome]
    on_plain: Callable[[bytes], Outcome]
    is_change: bool = False
    is_listing: bool = False


class Entry(NamedTuple):
    """What a user sees of an object."""

    mode: int
    nlink: int
    content: bytes  # of a file, target of a symlink
    xattrs: tuple[tuple[bytes, bytes], ...]


class Mirror:
    """A bench and a plain directory that went through the same operations."""

    def __init__(self, bench: Bench, plain: Path) -> None:
        self.bench = bench
        plain.mkdir()
        self.plain = os.fsencode(plain)

    def run(self, step: Step) -> None:
        """Do a step on both; they must do the same, or fail alike."""
        expected = outcome(lambda: step.on_plain(self.plain))
        got = outcome(lambda: step.on_mount(self.bench.kernel))
        assert got == expected, step.name

    def run_with_fault(self, step: Step, error: int) -> bool:
        """Do a step that may fail with ``error``, and then must not have happened; whether it failed so."""
        got = outcome(lambda: step.on_mount(self.bench.kernel))
        if got != ("error", error):
            expected = outcome(lambda: step.on_plain(self.plain))
            if step.is_listing and error == errno.EIO and got != expected:
                assert all(len(name) > LONGEST_SHORT for name in expected[1] - got[1])
                got = "result", got[1] | expected[1]
            assert got == expected, step.name
            return False
        after = snapshot_mount(self.bench.kernel)
        if step.is_change and after != snapshot_plain(self.plain):
            step.on_plain(self.plain)
        assert after == snapshot_plain(self.plain), f"{step.name} failed and left traces"
        return True

    def compare(self) -> None:
        """Both trees are the same, as far as a user can see."""
        assert snapshot_mount(self.bench.kernel) == snapshot_plain(self.plain)


def outcome(call: Callable[[], Outcome]) -> tuple[str, Outcome]:
    """What came of a call: ("result", ...) or ("error", errno)."""
    try:
        return "result", call()
    except OSError as exc:
        return "error", exc.errno


# --- steps ------------------------------------------------------------------------------------------------------
def mkdir(path: bytes, mode: int = 0o755) -> Step:
    return Step(f"mkdir {path!r}", lambda k: none(k.mkdir(path, mode)), lambda p: os.mkdir(join(p, path), mode))


def rmdir(path: bytes) -> Step:
    return Step(f"rmdir {path!r}", lambda k: none(k.rmdir(path)), lambda p: os.rmdir(join(p, path)))


def unlink(path: bytes) -> Step:
    return Step(f"unlink {path!r}", lambda k: none(k.unlink(path)), lambda p: os.unlink(join(p, path)))


def mkfifo(path: bytes) -> Step:
    mode = stat.S_IFIFO | 0o640
    return Step(f"mkfifo {path!r}", lambda k: none(k.mknod(path, mode)), lambda p: os.mknod(join(p, path), mode))


def symlink(path: bytes, target: bytes) -> Step:
    return Step(
        f"symlink {path!r}", lambda k: none(k.symlink(path, target)), lambda p: os.symlink(target, join(p, path))
    )


def link(old: bytes, new: bytes) -> Step:
    def on_plain(plain: bytes) -> None:
        source = join(plain, old)
        os.lstat(source)  # the kernel looks at the old name first
        os.link(source, join(plain, new), follow_symlinks=False)

    return Step(f"link {old!r} {new!r}", lambda k: none(k.link(old, new)), on_plain)


def rename(old: bytes, new: bytes, flags: int = 0) -> Step:
    def on_plain(plain: bytes) -> None:
        if flags:
            native.renameat2(-1, join(plain, old), -1, join(plain, new), flags)
        else:
            os.rename(join(plain, old), join(plain, new))

    return Step(f"rename {old!r} {new!r} {flags}", lambda k: k.rename(old, new, flags), on_plain)


def create(path: bytes, mode: int = 0o644) -> Step:
    """Make an empty file."""

    def on_plain(plain: bytes) -> None:
        os.close(os.open(join(plain, path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))

    return Step(f"create {path!r}", lambda k: k.release(k.create(path, mode)), on_plain)


def write(path: bytes, offset: int, data: bytes) -> Step:
    """Open, write and close a file."""

    def on_mount(kernel: Kernel) -> None:
        handle = kernel.open(path, os.O_RDWR)
        try:
            kernel.write(handle, offset, data)
        finally:
            kernel.release(handle)

    def on_plain(plain: bytes) -> None:
        fd = os.open(regular(join(plain, path)), os.O_RDWR)
        os.pwrite(fd, data, offset)
        os.close(fd)

    return Step(f"write {path!r} {offset}+{len(data)}", on_mount, on_plain)


def truncate(path: bytes, size: int) -> Step:
    return Step(
        f"truncate {path!r} {size}",
        lambda k: k.setattr(path, size=size).size,
        lambda p: none(os.truncate(regular(join(p, path)), size)) or size,
        is_change=True,
    )


def read(path: bytes) -> Step:
    return Step(f"read {path!r}", lambda k: k.get(path), lambda p: read_plain(join(p, path)))


def readlink(path: bytes) -> Step:
    return Step(f"readlink {path!r}", lambda k: k.readlink(path), lambda p: os.readlink(join(p, path)))


def chmod(path: bytes, mode: int) -> Step:
    return Step(
        f"chmod {path!r} {mode:o}",
        lambda k: none(k.setattr(path, mode=mode)),
        lambda p: os.chmod(unfollowed(join(p, path), errno.EOPNOTSUPP), mode),
        is_change=True,
    )


def utimens(path: bytes, time_ns: int) -> Step:
    return Step(
        f"utimens {path!r}",
        lambda k: none(k.setattr(path, atime_ns=time_ns, mtime_ns=time_ns)),
        lambda p: os.utime(join(p, path), ns=(time_ns, time_ns), follow_symlinks=False),
        is_change=True,
    )


def size(path: bytes) -> Step:
    return Step(f"stat {path!r}", lambda k: k.stat(path).size, lambda p: os.lstat(join(p, path)).st_size)


def listdir(path: bytes) -> Step:
    return Step(
        f"list {path!r}",
        lambda k: frozenset(k.list(path)),
        lambda p: frozenset(os.listdir(unfollowed(join(p, path), errno.ENOTDIR))),
        is_listing=True,
    )


def setxattr(path: bytes, name: bytes, value: bytes) -> Step:
    return Step(
        f"setxattr {path!r}",
        lambda k: k.setxattr(path, name, value),
        lambda p: os.setxattr(join(p, path), name, value, follow_symlinks=False),
    )


def removexattr(path: bytes, name: bytes) -> Step:
    return Step(
        f"removexattr {path!r}",
        lambda k: k.removexattr(path, name),
        lambda p: os.removexattr(join(p, path), name, follow_symlinks=False),
    )


# --- both sides -------------------------------------------------------------------------------------------------
def none(_: object) -> None:
    """Drop a result that the other side doesn't have."""


def join(plain: bytes, path: bytes) -> bytes:
    """The path on the plain side. The kernel in the tests follows no symlinks, so this side must not either."""
    below = plain
    for component in path.split(b"/")[:-1]:
        below += b"/" + component
        if not stat.S_ISDIR(os.lstat(below).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return plain + b"/" + path if path else plain


def regular(path: bytes) -> bytes:
    """The path, if it is that of a regular file. What else it may be is refused before a filesystem is asked."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, os.strerror(code))
    return path


def unfollowed(path: bytes, error: int) -> bytes:
    """The path, if it is not that of a symlink."""
    if stat.S_ISLNK(os.lstat(path).st_mode):
        raise OSError(error, os.strerror(error))
    return path


def read_plain(path: bytes) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def snapshot_plain(root: bytes) -> dict[bytes, Entry]:
    """Path -> entry of everything below a plain directory."""
    found: dict[bytes, Entry] = {}
    pending = [b""]
    while pending:
        directory = pending.pop()
        for name in os.listdir(join(root, directory)):
            path = directory + b"/" + name if directory else name
            full = join(root, path)
            st = os.lstat(full)
            xattrs = [(os.fsencode(key), os.getxattr(full, key, follow_symlinks=False)) for key in _user_xattrs(full)]
            content = b""
            if stat.S_ISREG(st.st_mode):
                content = read_plain(full)
            elif stat.S_ISLNK(st.st_mode):
                content = os.readlink(full)
            elif stat.S_ISDIR(st.st_mode):
                pending.append(path)
            found[path] = _entry(st, content, xattrs)
    return found


def _user_xattrs(path: bytes) -> list[str]:
    return [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]


def snapshot_mount(kernel: Kernel) -> dict[bytes, Entry]:
    """Path -> entry of everything in a mount."""
    found: dict[bytes, Entry] = {}
    pending = [b""]
    while pending:
        directory = pending.pop()
        for name, attr in kernel.list(directory).items():
            path = directory + b"/" + name if directory else name
            st = attr.st
            content = b""
            if stat.S_ISREG(st.st_mode):
                content = kernel.get(path)
                assert attr.size == len(content)
            elif stat.S_ISLNK(st.st_mode):
                content = kernel.readlink(path)
                assert attr.size == len(content)
            elif stat.S_ISDIR(st.st_mode):
                pending.append(path)
            found[path] = _entry(st, content, [(key, kernel.getxattr(path, key)) for key in _xattrs(kernel, path)])
    return found


def _xattrs(kernel: Kernel, path: bytes) -> list[bytes]:
    try:
        return kernel.listxattr(path)
    except OSError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            return []
        raise


def _entry(st: os.stat_result, content: bytes, xattrs: list[tuple[bytes, bytes]]) -> Entry:
    nlink = 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink  # of a directory: depends on the filesystem below
    return Entry(st.st_mode, nlink, content, tuple(sorted(xattrs)))
