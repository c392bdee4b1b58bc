"""Directories deeper than descriptors are kept open, deeper than any path, deeper than Python recurses."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pcvfs.fs.dir_cache import cached_dirs_max
from pcvfs.types import Inode
from tests.fs.bench import Bench
from tests.fs.kernel import ROOT, SUPERUSER, Kernel
from tests.fs.mirror import snapshot_mount

DEPTH = 1100
LONG = b"L" * 180

pytestmark = pytest.mark.flavours("default", "plaintextnames")


@pytest.fixture(autouse=True)
def removal(tmp_path: Path) -> Iterator[None]:
    """Whatever comes of the test: rm removes what pytest, recursing, can't."""
    yield
    subprocess.run(["rm", "-rf", tmp_path / "cipher"], check=True)


@contextmanager
def descriptor_limit(spare: int) -> Iterator[None]:
    """At most ``spare`` more descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def name_at(level: int) -> bytes:
    """Now and then a long one."""
    return LONG if level % 100 == 99 else b"d"


def dig(kernel: Kernel) -> list[Inode]:
    """Make a chain of directories by inode, without paths; returns the inodes from the top."""
    inodes = [ROOT]
    for level in range(DEPTH):
        attr = kernel.fs.mkdir(inodes[-1], name_at(level), 0o755, SUPERUSER)
        kernel.fs.trim()
        kernel.nlookup[attr.inode] += 1
        kernel.dentries[inodes[-1], name_at(level)] = attr.inode
        inodes.append(attr.inode)
    return inodes


def fill_in(kernel: Kernel, inodes: list[Inode]) -> None:
    """Remove the chain from the bottom up, by inode again."""
    names = {kernel.dentries[dentry]: dentry for dentry in kernel.dentries}
    for inode in reversed(inodes[1:]):
        parent, name = names[inode]
        kernel.fs.rmdir(parent, name)
        kernel.fs.trim()
        del kernel.dentries[parent, name]
        kernel.fs.forget(inode, kernel.nlookup.pop(inode))  # at once, else its descriptor is kept for it


def use(kernel: Kernel, inode: Inode) -> None:
    """Make, write, read and remove a file in a directory."""
    handle, attr = kernel.fs.create(inode, b"f", 0o600, os.O_RDWR, SUPERUSER)
    kernel.write(handle, 0, b"content")
    assert kernel.read(handle) == b"content"
    kernel.fs.release(handle)
    kernel.fs.unlink(inode, b"f")
    kernel.fs.forget(attr.inode, 1)
    kernel.fs.trim()


def test_chain_deeper_than_the_cache_works_everywhere(bench: Bench) -> None:
    kernel, most = bench.kernel, cached_dirs_max()
    assert most < DEPTH > sys.getrecursionlimit()
    with descriptor_limit(2 * most + 20):
        inodes = dig(kernel)
        assert bench.fs.statistics().dirfds == most
        for depth in (DEPTH, 0, DEPTH // 2, 1, DEPTH - 1, most, most + 1, DEPTH):
            use(kernel, inodes[depth])
            assert bench.fs.statistics().dirfds <= most
        bench.fs.rename(inodes[700], name_at(700), ROOT, b"moved", 0)
        bench.fs.trim()
        kernel.dentries[ROOT, b"moved"] = kernel.dentries.pop((inodes[700], name_at(700)))
        assert kernel.lookup(b"moved").inode == inodes[701]
        use(kernel, inodes[DEPTH])
        assert bench.problems() == []
        fill_in(kernel, inodes)


def test_chain_is_walked_again_when_nothing_of_it_is_cached(bench: Bench) -> None:
    kernel, most = bench.kernel, cached_dirs_max()
    inodes = dig(kernel)
    with descriptor_limit(2 * most + 20):
        for number in range(most):
            kernel.mkdir(b"%d" % number)
            kernel.mkdir(b"%d/below" % number)
        if bench.engine == "python":
            assert bench.fs._table.get(inodes[-2]).dirfd < 0
        use(kernel, inodes[-1])
        assert bench.fs.statistics().dirfds <= most
        use(kernel, inodes[DEPTH // 2])
        fill_in(kernel, inodes)


def test_chain_is_forgotten_from_the_top_down_without_recursion(bench: Bench) -> None:
    kernel = bench.kernel
    inodes, dentries = dig(kernel), dict(kernel.dentries)
    kernel.dentries.clear()
    for inode in inodes[1:]:  # the kernel goes from the leaves up; whoever does not must do no harm
        bench.fs.forget(inode, kernel.nlookup.pop(inode))
    assert bench.fs.statistics().inodes == 1
    inode = ROOT
    for _, name in dentries:
        inode = kernel._lookup(inode, name).inode
    assert inode == inodes[-1]
    fill_in(kernel, inodes)


def test_path_longer_than_the_system_allows(bench: Bench) -> None:
    kernel = bench.kernel
    path = b""
    for _ in range(40):
        path += LONG if not path else b"/" + LONG
        kernel.mkdir(path)
    kernel.put(path + b"/file", b"content")
    assert len(path) > 4096
    kernel = bench.remount()
    assert kernel.get(path + b"/file") == b"content"
    assert len(snapshot_mount(kernel)) == 41
