"""A random workload, done on an encrypted mount and on a plain directory at the same time.

The plain directory is the model: after every step both must have given the same result, or failed with the same
errno. Hypothesis chooses the steps and, when something differs, looks for the shortest sequence that shows it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.interop.gallery import MAGIC_NAMES, pattern
from tests.support.mounts import LiveMount
from tests.support.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from tests.support.tree import assert_same_tree

log = logging.getLogger(__name__)

BLOCK = 4096
EDGES = (0, 1, 31, 4095, 4096, 4097, 8191, 8192, 8193, 12_288, 131_071, 131_072, 131_073)
STEPS_BETWEEN_REMOUNTS = 40
FAR = 5_000_001  # beyond any hole that is filled in one request

pick = st.integers(0, 1 << 16)  # which of the existing paths; taken modulo their number
offsets = st.one_of(st.sampled_from(EDGES), st.integers(0, 200_000), st.just(FAR))
sizes = st.one_of(st.sampled_from(EDGES), st.integers(0, 150_000))
lengths = st.one_of(st.sampled_from(EDGES), st.integers(0, 20_000))
salts = st.integers(0, 255)
MODES = [0o000, 0o200, 0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o1777, 0o2755]
modes = st.sampled_from(MODES if os.geteuid() == 0 else [0o700, 0o755, 0o777, 0o1777])  # what can still be compared
names = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]),
    st.builds(
        lambda char, length: char * length,
        st.sampled_from([b"x", b"y", b"z"]),
        st.sampled_from([31, 63, 175, 176, 200, 255]),
    ),
    st.sampled_from(MAGIC_NAMES),
)
attributes = st.sampled_from(["user.a", "user.b", "user." + "c" * 100])
times = st.integers(0, 4_000_000_000_000_000_000)

Outcome = tuple[str, object]


class Workload(RuleBasedStateMachine):
    """Subclass with ``live`` (the mount) and ``model_base`` (an empty plain directory) set.

    ``is_judged``: every difference is a failure. Otherwise they are only counted, and the first one is logged.
    """

    live: ClassVar[LiveMount]
    model_base: ClassVar[Path]
    is_judged: ClassVar[bool] = True
    differences: ClassVar[int] = 0
    steps: ClassVar[int] = 0
    examples: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.name = f"e{self.examples}"
        self.model = self.model_base / self.name
        self.real = self.live.path / self.name
        self.handles: list[tuple[int, int]] = []
        self.since_remount = 0
        self.known: dict[int, list[bytes]] | None = None  # file type -> paths in the model, until the next change

    @initialize()
    def start(self) -> None:
        """A small tree, so that the first steps have something to work on."""
        for root in (self.model, self.real):
            (root / "dir" / ("sub" + "s" * 200)).mkdir(parents=True)
            for number, size in enumerate((0, 1, 4096, 10_000)):
                (root / f"file{number}").write_bytes(pattern(size, number))
            (root / "dir" / ("file" + "f" * 200)).write_bytes(pattern(200_000))
            os.link(root / "file3", root / "dir" / "hard")
            (root / "link").symlink_to("file1")

    # --- doing a thing twice ----------------------------------------------------------------------------------
    def both(self, action: Callable[[bytes], object]) -> Outcome:
        """Run *action* with the root of the model and of the mount; both must end alike."""
        type(self).steps += 1
        self.since_remount += 1
        self.known = None
        expected, got = outcome(action, self.model), outcome(action, self.real)
        self.compare(expected, got)
        return got

    def compare(self, expected: Outcome, got: Outcome) -> None:
        """Judge one result."""
        if got == expected:
            return
        text = f"the mount gave {got!r:.200}, the plain directory {expected!r:.200}"
        assert not self.is_judged, text
        if not self.differences:
            log.info("%s", text)
        type(self).differences += 1

    def on_handles(self, index: int, action: Callable[[int], object]) -> None:
        """Run *action* with an open descriptor of the model and the one of the mount."""
        type(self).steps += 1
        self.since_remount += 1
        model, real = self.handles[index % len(self.handles)]
        self.compare(attempt(lambda: action(model)), attempt(lambda: action(real)))

    def paths(self, *kinds: int) -> list[bytes]:
        """Relative paths of the given file types that exist in the model, sorted."""
        if self.known is None:
            self.known = {}
            base = os.fsencode(self.model)
            for directory, subdirectories, files in os.walk(base):
                for path in (os.path.join(directory, name) for name in subdirectories + files):
                    kind = stat.S_IFMT(os.lstat(path).st_mode)
                    self.known.setdefault(kind, []).append(os.path.relpath(path, base))
        return sorted(path for kind in kinds for path in self.known.get(kind, []))

    def file(self, index: int) -> bytes:
        """One of the regular files; a name that doesn't exist if there is none."""
        return choose(self.paths(stat.S_IFREG), index)

    def directory(self, index: int) -> bytes:
        """One of the directories, the root among them."""
        return choose([b".", *self.paths(stat.S_IFDIR)], index)

    def anything(self, index: int) -> bytes:
        """Any path."""
        return choose(self.paths(stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO), index)

    # --- names ------------------------------------------------------------------------------------------------
    @rule(where=pick, name=names, length=lengths, salt=salts)
    def create(self, where: int, name: bytes, length: int, salt: int) -> None:
        path = os.path.join(self.directory(where), name)
        self.both(lambda root: write_whole(os.path.join(root, path), pattern(length, salt)))

    @rule(where=pick, name=names, mode=modes)
    def create_exclusive(self, where: int, name: bytes, mode: int) -> None:
        path = os.path.join(self.directory(where), name)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        self.both(lambda root: os.close(os.open(os.path.join(root, path), flags, mode)))

    @rule(where=pick, name=names, mode=modes)
    def mkdir(self, where: int, name: bytes, mode: int) -> None:
        path = os.path.join(self.directory(where), name)
        self.both(lambda root: os.mkdir(os.path.join(root, path), mode))

    @rule(where=pick, name=names, content=st.sampled_from([b"a", b"../b", b"/abs", b"t" * 300]))
    def symlink(self, where: int, name: bytes, content: bytes) -> None:
        path = os.path.join(self.directory(where), name)
        self.both(lambda root: os.symlink(content, os.path.join(root, path)))
        self.both(lambda root: os.readlink(os.path.join(root, path)))

    @rule(where=pick, name=names)
    def mkfifo(self, where: int, name: bytes) -> None:
        path = os.path.join(self.directory(where), name)
        self.both(lambda root: os.mkfifo(os.path.join(root, path)))

    @rule(source=pick, where=pick, name=names)
    def link(self, source: int, where: int, name: bytes) -> None:
        old, new = self.file(source), os.path.join(self.directory(where), name)
        self.both(lambda root: os.link(os.path.join(root, old), os.path.join(root, new)))

    @rule(source=pick, where=pick, name=names)
    def rename(self, source: int, where: int, name: bytes) -> None:
        old, new = self.anything(source), os.path.join(self.directory(where), name)
        self.both(lambda root: os.rename(os.path.join(root, old), os.path.join(root, new)))

    @rule(source=pick, over=pick)
    def rename_over(self, source: int, over: int) -> None:
        old, new = self.anything(source), self.anything(over)
        self.both(lambda root: os.rename(os.path.join(root, old), os.path.join(root, new)))

    @rule(source=pick, over=pick, flag=st.sampled_from([RENAME_EXCHANGE, RENAME_NOREPLACE]))
    def rename_with_flag(self, source: int, over: int, flag: int) -> None:
        old, new = self.anything(source), self.anything(over)
        self.both(lambda root: renameat2(as_path(root, old), as_path(root, new), flag))

    @rule(index=pick)
    def unlink(self, index: int) -> None:
        path = self.anything(index)
        self.both(lambda root: os.unlink(os.path.join(root, path)))

    @rule(index=pick)
    def rmdir(self, index: int) -> None:
        path = self.anything(index)
        self.both(lambda root: os.rmdir(os.path.join(root, path)))

    # --- content ----------------------------------------------------------------------------------------------
    @rule(index=pick, offset=offsets, length=lengths, salt=salts)
    def write(self, index: int, offset: int, length: int, salt: int) -> None:
        path = self.file(index)
        self.both(lambda root: write_at(os.path.join(root, path), pattern(length, salt), offset))

    @rule(index=pick, length=lengths, salt=salts)
    def append(self, index: int, length: int, salt: int) -> None:
        path = self.file(index)
        flags = os.O_WRONLY | os.O_APPEND
        self.both(lambda root: with_fd(os.path.join(root, path), flags, lambda fd: os.write(fd, pattern(length, salt))))

    @rule(index=pick, size=sizes)
    def truncate(self, index: int, size: int) -> None:
        path = self.file(index)
        self.both(lambda root: os.truncate(os.path.join(root, path), size))

    @rule(index=pick, offset=offsets, length=lengths)
    def read(self, index: int, offset: int, length: int) -> None:
        path = self.file(index)
        self.both(lambda root: with_fd(os.path.join(root, path), os.O_RDONLY, lambda fd: os.pread(fd, length, offset)))

    # --- attributes -------------------------------------------------------------------------------------------
    @rule(index=pick, mode=modes)
    def chmod(self, index: int, mode: int) -> None:
        path = choose(self.paths(stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO), index)
        self.both(lambda root: os.chmod(os.path.join(root, path), mode))

    @rule(index=pick, atime=times, mtime=times)
    def utimens(self, index: int, atime: int, mtime: int) -> None:
        path = self.anything(index)

        def set_and_get(root: bytes) -> tuple[int, int]:
            os.utime(os.path.join(root, path), ns=(atime, mtime), follow_symlinks=False)
            info = os.lstat(os.path.join(root, path))
            return info.st_atime_ns, info.st_mtime_ns

        self.both(set_and_get)

    @rule(index=pick, name=attributes, length=st.integers(0, 300), salt=salts, flags=st.sampled_from([0, 1, 2]))
    def setxattr(self, index: int, name: str, length: int, salt: int, flags: int) -> None:
        path = choose(self.paths(stat.S_IFREG, stat.S_IFDIR), index)
        self.both(lambda root: os.setxattr(os.path.join(root, path), name, pattern(length, salt), flags))

    @rule(index=pick, name=attributes)
    def removexattr(self, index: int, name: str) -> None:
        path = choose(self.paths(stat.S_IFREG, stat.S_IFDIR), index)
        self.both(lambda root: os.removexattr(os.path.join(root, path), name))
        self.both(lambda root: sorted(os.listxattr(os.path.join(root, path))))

    @rule(index=pick, name=attributes)
    def getxattr(self, index: int, name: str) -> None:
        path = choose(self.paths(stat.S_IFREG, stat.S_IFDIR), index)
        self.both(lambda root: os.getxattr(os.path.join(root, path), name))

    @rule(index=pick)
    def look(self, index: int) -> None:
        path = self.anything(index)
        self.both(lambda root: visible(os.path.join(root, path)))

    @rule(index=pick)
    def listdir(self, index: int) -> None:
        path = self.directory(index)
        self.both(lambda root: sorted(os.listdir(os.path.join(root, path))))

    # --- open files, with or without a name -------------------------------------------------------------------
    @rule(index=pick, flags=st.sampled_from([os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_TRUNC]))
    def open(self, index: int, flags: int) -> None:
        if len(self.handles) < 5 and (path := self.file(index)) != NO_PATH:
            model = os.open(os.path.join(os.fsencode(self.model), path), flags)
            try:
                real = os.open(os.path.join(os.fsencode(self.real), path), flags)
            except OSError as exc:
                os.close(model)
                self.compare(("ok", None), ("error", exc))
            else:
                self.handles.append((model, real))

    @precondition(lambda self: self.handles)
    @rule(index=pick, offset=offsets, length=lengths, salt=salts)
    def handle_write(self, index: int, offset: int, length: int, salt: int) -> None:
        self.on_handles(index, lambda fd: os.pwrite(fd, pattern(length, salt), offset))

    @precondition(lambda self: self.handles)
    @rule(index=pick, offset=offsets, length=lengths)
    def handle_read(self, index: int, offset: int, length: int) -> None:
        self.on_handles(index, lambda fd: os.pread(fd, length, offset))

    @precondition(lambda self: self.handles)
    @rule(index=pick, size=sizes)
    def handle_truncate(self, index: int, size: int) -> None:
        self.on_handles(index, lambda fd: os.ftruncate(fd, size))

    @precondition(lambda self: self.handles)
    @rule(index=pick, mode=modes)
    def handle_chmod_and_stat(self, index: int, mode: int) -> None:
        self.on_handles(index, lambda fd: os.fchmod(fd, mode))
        self.on_handles(index, lambda fd: describe(os.fstat(fd)))

    @precondition(lambda self: self.handles)
    @rule(index=pick)
    def handle_fsync(self, index: int) -> None:
        self.on_handles(index, os.fsync)

    @precondition(lambda self: self.handles)
    @rule(index=pick)
    def handle_close(self, index: int) -> None:
        for fd in self.handles.pop(index % len(self.handles)):
            os.close(fd)

    # --- the mount --------------------------------------------------------------------------------------------
    @precondition(lambda self: self.since_remount > STEPS_BETWEEN_REMOUNTS)
    @rule()
    def remount(self) -> None:
        self.close_handles()
        self.live.unmount()
        self.live.start()
        self.since_remount = 0
        self.compare_trees()

    def close_handles(self) -> None:
        while self.handles:
            for fd in self.handles.pop():
                os.close(fd)

    def teardown(self) -> None:
        self.close_handles()
        if self.live.is_alive() and self.real.exists():
            self.compare_trees()

    def compare_trees(self) -> None:
        """Everything that can be seen must be the same."""
        if self.is_judged:
            assert_same_tree(self.model, self.real)


# --- single operations, given full paths -------------------------------------------------------------------------
NO_PATH = b"does-not-exist"


def choose(candidates: list[bytes], index: int) -> bytes:
    return candidates[index % len(candidates)] if candidates else NO_PATH


def as_path(root: bytes, path: bytes) -> Path:
    return Path(os.fsdecode(os.path.join(root, path)))


def attempt(action: Callable[[], object]) -> Outcome:
    """Return what came out: a value, or the name of the errno (one name for what POSIX lets a filesystem choose)."""
    try:
        return "ok", action()
    except OSError as exc:
        code = {errno.EEXIST: errno.ENOTEMPTY}.get(exc.errno or 0, exc.errno or 0)
        return "error", errno.errorcode[code]


def outcome(action: Callable[[bytes], object], root: Path) -> Outcome:
    return attempt(lambda: action(os.fsencode(root)))


def write_whole(path: bytes, data: bytes) -> None:
    with_fd(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK, lambda fd: os.write(fd, data))


def write_at(path: bytes, data: bytes, offset: int) -> object:
    return with_fd(path, os.O_WRONLY, lambda fd: os.pwrite(fd, data, offset))


def with_fd(path: bytes, flags: int, action: Callable[[int], object]) -> object:
    fd = os.open(path, flags, 0o644)
    try:
        return action(fd)
    finally:
        os.close(fd)


def describe(info: os.stat_result) -> tuple[int, ...]:
    """What both filesystems must agree on; the size of a directory is the backing's own."""
    size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
    return info.st_mode, info.st_nlink, info.st_uid, info.st_gid, size


def visible(path: bytes) -> tuple[int, ...]:
    return describe(os.lstat(path))
