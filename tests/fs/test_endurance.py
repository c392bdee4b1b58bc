"""Very many operations in one mount: nothing may grow but what there is to know."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pcvfs.fs.objects import Attr
from pcvfs.types import Handle, Inode
from tests.fs.bench import Bench, check_counts
from tests.fs.kernel import ROOT, SUPERUSER, Kernel

NAMES = [b"%d" % number for number in range(30)] + [b"%d" % number + b"L" * 200 for number in range(10)]
DIRS_MAX = 60
OPEN_MAX = 40
CHECKS = 10
GROWTH_MAX = 16 << 20  # bytes of memory between the first check and the last; a leak of 1 KiB each would be 100 MiB

pytestmark = pytest.mark.flavours()


@dataclass(slots=True, eq=False)
class File:
    """A file of the model, as long as it has a name or a handle."""

    inode: Inode
    content: bytes = b""
    links: int = 1


@dataclass(slots=True, eq=False)
class Directory:
    """A directory of the model."""

    inode: Inode
    parent: Directory | None
    name: bytes
    entries: dict[bytes, File | Directory] = field(default_factory=dict)

    def is_inside(self, other: Directory) -> bool:
        above: Directory | None = self
        while above is not None and above is not other:
            above = above.parent
        return above is not None


class Crowd:
    """Users who do everything at random, and know what must come of it."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self.kernel = kernel
        self.fs = kernel.fs
        self.rng = random.Random(seed)
        self.root = Directory(ROOT, None, b"")
        self.dirs = [self.root]
        self.open: list[tuple[Handle, File]] = []
        self.done = 0
        self.actions: list[Callable[[Directory, bytes], None]] = []
        for action, weight in (
            (self.lookup, 30),
            (self.getattr, 10),
            (self.create, 14),
            (self.use, 10),
            (self.unlink, 8),
            (self.rename, 8),
            (self.link, 4),
            (self.mkdir, 3),
            (self.rmdir, 2),
            (self.readdir, 2),
            (self.forget, 20),
        ):
            self.actions += [action] * weight

    def run(self, operations: int) -> None:
        """Do so many operations; an operation that makes no sense where it falls is not counted."""
        end = self.done + operations
        while self.done < end:
            directory = self.rng.choice(self.dirs)
            if directory is self.root or directory.inode in self.kernel.nlookup or self._reach(directory):
                self.rng.choice(self.actions)(directory, self.rng.choice(NAMES))
                self.fs.trim()

    def _reach(self, directory: Directory) -> bool:
        """Look up what the kernel has forgotten on the way to a directory."""
        chain = []
        above = directory
        while above.parent is not None:
            chain.append(above)
            above = above.parent
        for each in reversed(chain):
            if each.inode not in self.kernel.nlookup:
                self._expect(each, self._found(each.parent, each.name, self.fs.lookup(each.parent.inode, each.name)))
        return True

    def _found(self, directory: Directory, name: bytes, attr: Attr) -> Attr:
        self.kernel.nlookup[attr.inode] += 1
        self.kernel.dentries[directory.inode, name] = attr.inode
        self.done += 1
        return attr

    @staticmethod
    def _expect(entry: File | Directory, attr: Attr) -> None:
        assert attr.inode == entry.inode
        if isinstance(entry, File):
            assert (attr.size, attr.st.st_nlink) == (len(entry.content), entry.links)

    # --- operations ---------------------------------------------------------------------------------------------
    def lookup(self, directory: Directory, name: bytes) -> None:
        entry = directory.entries.get(name)
        if entry is None:
            with pytest.raises(FileNotFoundError):
                self.fs.lookup(directory.inode, name)
            self.done += 1
        else:
            self._look_up(directory, name, entry)

    def _look_up(self, directory: Directory, name: bytes, entry: File | Directory) -> None:
        attr = self._found(directory, name, self.fs.lookup(directory.inode, name))
        if attr.inode != entry.inode:  # forgotten, and its number is taken by somebody deleted meanwhile
            assert entry.inode not in self.kernel.nlookup
            entry.inode = attr.inode
        self._expect(entry, attr)

    def getattr(self, directory: Directory, name: bytes) -> None:
        entry = directory.entries.get(name)
        if entry is not None and entry.inode in self.kernel.nlookup:
            self._expect(entry, self.fs.getattr(entry.inode))
            self.done += 1

    def create(self, directory: Directory, name: bytes) -> None:
        if name in directory.entries:
            with pytest.raises(FileExistsError):
                self.fs.create(directory.inode, name, 0o600, os.O_RDWR | os.O_EXCL, SUPERUSER)
            self.done += 1
            return
        handle, attr = self.fs.create(directory.inode, name, 0o600, os.O_RDWR, SUPERUSER)
        self._found(directory, name, attr)
        directory.entries[name] = file = File(attr.inode)
        self.kernel.open_files[handle] = attr.inode
        self.open.append((handle, file))
        if len(self.open) > OPEN_MAX:
            handle, file = self.open.pop(self.rng.randrange(len(self.open)))
            self.kernel.release(handle)
            self.done += 1

    def use(self, directory: Directory, name: bytes) -> None:
        """Write to an open file and read it, whether it has a name or not."""
        if self.open:
            handle, file = self.rng.choice(self.open)
            data = b"%d" % self.done * self.rng.randrange(1, 30)
            file.content = data + file.content[len(data) :]
            self.fs.write(handle, 0, data)
            assert self.kernel.read(handle) == file.content
            self.done += 2

    def unlink(self, directory: Directory, name: bytes) -> None:
        entry = directory.entries.get(name)
        if isinstance(entry, File):
            self.fs.unlink(directory.inode, name)
            self._unname(directory, name, entry)
            self.done += 1

    def _unname(self, directory: Directory, name: bytes, file: File) -> None:
        del directory.entries[name]
        self.kernel.dentries.pop((directory.inode, name), None)
        file.links -= 1
        if not file.links and self._is_closed(file) and file.inode in self.kernel.nlookup:
            self.fs.forget(file.inode, self.kernel.nlookup.pop(file.inode))

    def rename(self, directory: Directory, name: bytes) -> None:
        entry, target, new_name = directory.entries.get(name), self.rng.choice(self.dirs), self.rng.choice(NAMES)
        if entry is None or not self._reach(target):
            return
        replaced = target.entries.get(new_name)
        is_possible = replaced is None or (isinstance(entry, File) and isinstance(replaced, File))
        is_inside = isinstance(entry, Directory) and target.is_inside(entry)
        if not is_possible or is_inside or replaced is entry or (replaced and replaced.inode == entry.inode):
            return
        if entry.inode not in self.kernel.nlookup:
            self._look_up(directory, name, entry)
        self.fs.rename(directory.inode, name, target.inode, new_name, 0)
        if isinstance(replaced, File):
            self._unname(target, new_name, replaced)
        self.kernel.dentries.pop((directory.inode, name), None)
        self.kernel.dentries[target.inode, new_name] = entry.inode
        target.entries[new_name] = directory.entries.pop(name)
        if isinstance(entry, Directory):
            entry.parent, entry.name = target, new_name
        self.done += 1

    def link(self, directory: Directory, name: bytes) -> None:
        if name in directory.entries or not self.open:
            return
        _, file = self.rng.choice(self.open)
        if file.inode not in self.kernel.nlookup:
            return
        if not file.links:
            with pytest.raises(FileNotFoundError):
                self.fs.link(file.inode, directory.inode, name)
            self.done += 1
            return
        file.links += 1
        self._expect(file, self._found(directory, name, self.fs.link(file.inode, directory.inode, name)))
        directory.entries[name] = file

    def mkdir(self, directory: Directory, name: bytes) -> None:
        if name not in directory.entries and len(self.dirs) < DIRS_MAX:
            attr = self._found(directory, name, self.fs.mkdir(directory.inode, name, 0o700, SUPERUSER))
            directory.entries[name] = new = Directory(attr.inode, directory, name)
            self.dirs.append(new)

    def rmdir(self, directory: Directory, name: bytes) -> None:
        if directory.parent is None or directory.entries:
            return
        self.fs.rmdir(directory.parent.inode, directory.name)
        del directory.parent.entries[directory.name]
        self.kernel.dentries.pop((directory.parent.inode, directory.name), None)
        self.dirs.remove(directory)
        if count := self.kernel.nlookup.pop(directory.inode, 0):
            self.fs.forget(directory.inode, count)
        self.done += 1

    def readdir(self, directory: Directory, name: bytes) -> None:
        handle = self.kernel.opendir_inode(directory.inode)
        listed = self.kernel.readdir(handle)
        self.kernel.releasedir(handle)
        assert set(listed) == set(directory.entries)
        for found, attr in listed.items():
            directory.entries[found].inode = attr.inode
        self.done += len(listed) + 3

    def forget(self, directory: Directory, name: bytes) -> None:
        """Single files often; once in a while everything that is not in use."""
        entry = directory.entries.get(name)
        if self.rng.random() < 0.005:
            self.kernel.forget_everything()
        elif isinstance(entry, File) and entry.inode in self.kernel.nlookup and self._is_closed(entry):
            self.fs.forget(entry.inode, self.kernel.nlookup.pop(entry.inode))
            self.kernel.dentries = {key: inode for key, inode in self.kernel.dentries.items() if inode != entry.inode}
        else:
            return
        self.done += 1

    def _is_closed(self, file: File) -> bool:
        return all(file is not opened for _, opened in self.open)


def resident_memory() -> int:
    """Bytes."""
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run_and_watch(bench: Bench, seed: int, operations: int) -> None:
    crowd = Crowd(bench.kernel, seed)
    memory: list[int] = []
    others = len(os.listdir("/proc/self/fd"))
    for _ in range(CHECKS):
        crowd.run(operations // CHECKS)
        check_counts(bench.fs, bench.kernel)
        statistics = bench.fs.statistics()
        assert statistics.open_files == len(crowd.open)
        assert statistics.inodes <= len(bench.kernel.nlookup) + len(crowd.dirs) + 1
        descriptors = len(os.listdir("/proc/self/fd"))
        orphans = sum(node.orphan_fd >= 0 for node in bench.fs._table)
        opened = sum(node.file is not None for node in bench.fs._table)
        assert descriptors == others + statistics.dirfds + opened + orphans
        memory.append(resident_memory())
    assert memory[-1] - memory[0] < GROWTH_MAX, memory
    crowd.kernel = bench.remount()
    compare(crowd.kernel, crowd.root, b"")


def compare(kernel: Kernel, directory: Directory, path: bytes) -> None:
    """The whole tree, through another mount."""
    assert set(kernel.list(path)) == set(directory.entries)
    for name, entry in directory.entries.items():
        below = path + b"/" + name if path else name
        if isinstance(entry, Directory):
            compare(kernel, entry, below)
        else:
            assert kernel.get(below) == entry.content


@pytest.mark.timeout(120)
def test_a_hundred_thousand_operations(bench: Bench, seed: int) -> None:
    run_and_watch(bench, seed, 100_000)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.flavours("default", "plaintextnames", "longnamemax-62")
def test_a_million_operations(bench: Bench, seed: int) -> None:
    run_and_watch(bench, seed, 1_000_000)
