"""A fixed tree with one example of everything the format can hold; made the same way on any filesystem."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.accounts import errno_of

SIZES = (0, 1, 15, 16, 4095, 4096, 4097, 8192, 10_000, 131_072, 131_073, 400_001)
NAME_LENGTHS = (1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 175, 176, 177, 239, 240, 255)
MODES = (0o000, 0o200, 0o400, 0o444, 0o640, 0o755, 0o4755)
MAGIC_NAMES = (
    b"gocryptfs.diriv",
    b"gocryptfs.conf",
    b"gocryptfs.longname.x",
    b"gocryptfs.longname.x.name",
    b"\xff\xfe",
    "名前".encode(),
)


def pattern(length: int, salt: int = 0) -> bytes:
    """Bytes that tell their own offset, different for every *salt*."""
    return bytes((i * 31 + (i >> 8) * 17 + salt) & 0xFF for i in range(length))


def fill_gallery(root: Path) -> None:
    """Make the tree inside an existing empty directory."""
    base = os.fsencode(root)
    for size in SIZES:
        (root / f"size-{size}").write_bytes(pattern(size, size))
    names = root / "names"
    names.mkdir()
    for length in NAME_LENGTHS:
        (names / (f"{length}-" + "N" * 255)[:length]).write_bytes(b"%d" % length)
    for name in MAGIC_NAMES:
        with open(os.path.join(base, b"names", name), "wb") as stream:
            stream.write(name)
    _fill_kinds(root)
    _fill_changes(root)
    _fill_xattrs(root)


def _fill_kinds(root: Path) -> None:
    kinds = root / ("kinds" + "k" * 200)
    kinds.mkdir()
    for target in ("x", "../size-1", "/absolute/path", "t" * 300, "名前", "t" * 2900):
        (kinds / f"link-{len(target)}-{ord(target[0]) % 97}").symlink_to(target)
    os.mkfifo(kinds / "fifo", 0o640)
    os.mkfifo(kinds / ("long-fifo" + "f" * 200), 0o600)
    (kinds / ("long-link" + "s" * 200)).symlink_to("target")
    (kinds / "one").write_bytes(pattern(5000, 1))
    os.link(kinds / "one", kinds / "two")
    os.link(kinds / "one", root / ("three" + "l" * 200))
    for mode in MODES:
        if os.geteuid() != 0 and mode & 0o500 != 0o500:
            continue  # could not be compared by its owner
        (kinds / f"mode-{mode:o}").write_bytes(b"mode")
        (kinds / f"mode-{mode:o}").chmod(mode)
        (kinds / f"dir-{mode:o}").mkdir()
        (kinds / f"dir-{mode:o}" / "inside").write_bytes(b"in")
        (kinds / f"dir-{mode:o}").chmod(mode)
    deep = kinds
    for level in range(12):
        deep = deep / f"level{level}"
        deep.mkdir()
    (deep / "bottom").write_bytes(b"deep")


def _fill_changes(root: Path) -> None:
    """Files that came to their content through other ways than one write."""
    with open(root / "sparse", "wb") as stream:
        stream.write(b"start")
        stream.seek(50_000)
        stream.write(b"middle")
        stream.truncate(200_000)
    with open(root / "hole-first", "wb") as stream:
        stream.seek(12_288)
        stream.write(b"end")
    for before, after in ((0, 8192), (0, 5000), (10, 100), (10, 8192), (10_000, 5000), (10_000, 4096), (8192, 8193)):
        path = root / f"truncated-{before}-{after}"
        path.write_bytes(pattern(before))
        os.truncate(path, after)
    path = root / "rewritten"
    path.write_bytes(b"old" * 10_000)
    path.write_bytes(pattern(7000, 9))
    with open(path, "r+b") as stream:
        stream.seek(4090)
        stream.write(b"overwritten")
    with open(root / "appended", "ab", buffering=0) as stream:
        for number in range(100):
            stream.write(b"%05d" % number * 30)
    (root / "old-name").write_bytes(b"renamed")
    os.rename(root / "old-name", root / ("new-name" + "n" * 200))
    (root / ("long-to-short" + "n" * 200)).write_bytes(b"renamed back")
    os.rename(root / ("long-to-short" + "n" * 200), root / "short")


def _fill_xattrs(root: Path) -> None:
    target = root / "attributes"
    target.write_bytes(b"has attributes")
    for path in (target, root / "names"):
        os.setxattr(path, "user.foo", b"bar")
        os.setxattr(path, "user.empty", b"")
        os.setxattr(path, "user.binary", bytes(range(256)))
        os.setxattr(path, "user." + "n" * 150, b"long name")
    if os.geteuid() == 0:
        os.setxattr(target, "trusted.t", b"trusted")
        os.setxattr(target, "security.s", b"security")


def assert_writable(root: Path) -> None:
    """Change what another implementation wrote: grow, overwrite, rename, link, delete."""
    with open(root / "size-4097", "r+b") as stream:
        stream.seek(4000)
        stream.write(b"changed by the other")
        stream.seek(9000)
        stream.write(b"grown by the other")
    os.truncate(root / "sparse", 50_003)
    os.rename(root / "short", root / ("again" + "n" * 200))
    os.link(root / ("again" + "n" * 200), root / "linked-again")
    os.setxattr(root / "attributes", "user.foo", b"changed")
    os.unlink(root / "size-1")
    (root / "names" / "made-by-the-other").write_bytes(b"new")
    assert errno_of(lambda: os.stat(root / "size-1")) != 0
