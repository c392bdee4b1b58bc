"""Snapshots of directory trees, to compare what two filesystems show."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """What a user can see of one name. Sizes of directories and times are not compared here.

    ``mode`` holds the type too; ``links`` the names (bytes) in the tree that are the same file.
    """

    mode: int
    size: int = 0
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    target: bytes = b""
    sha256: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    links: tuple[bytes, ...] = ()
    mtime_ns: int = 0
    error: str = ""


def file_digest(path: bytes | str | Path) -> str:
    """Return the SHA-256 of a file's content, as hex.

    Raises: OSError.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def paths_below(root: Path) -> list[Path]:
    """Return every path inside a directory; follows no symlinks, whatever their targets look like."""
    found = []
    for directory, subdirectories, files in os.walk(root):
        found += [Path(directory, name) for name in subdirectories + files]
    return found


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))
    except OSError as exc:
        if exc.errno in (errno.EPERM, errno.EOPNOTSUPP):  # symlinks and special files have none
            return ()
        raise


def _entry(path: bytes, info: os.stat_result, links: tuple[bytes, ...], *, with_times: bool) -> Entry:
    is_file, is_link = stat.S_ISREG(info.st_mode), stat.S_ISLNK(info.st_mode)
    return Entry(
        mode=info.st_mode,
        size=info.st_size if is_file or is_link else 0,
        nlink=info.st_nlink,
        uid=info.st_uid,
        gid=info.st_gid,
        rdev=info.st_rdev,
        target=os.readlink(path) if is_link else b"",
        sha256=file_digest(path) if is_file else "",
        xattrs=_xattrs(path),
        links=links,
        mtime_ns=info.st_mtime_ns if with_times else 0,
    )


def snapshot(root: Path, *, with_times: bool = False) -> dict[bytes, Entry]:
    """Return path below *root* (bytes, ``b"."`` for the root) -> entry; what can't be read has an error instead."""
    infos: dict[bytes, os.stat_result] = {b".": os.lstat(root)}
    tree: dict[bytes, Entry] = {}
    base = os.fsencode(root)
    pending = [b"."]
    while pending:
        directory = pending.pop()
        try:
            names = os.listdir(os.path.join(base, directory))
        except OSError as exc:
            tree[directory] = Entry(mode=0, error=f"listing: {errno.errorcode[exc.errno or 0]}")
            continue
        for name in names:
            path = os.path.normpath(os.path.join(directory, name))
            try:
                infos[path] = os.lstat(os.path.join(base, path))
            except OSError as exc:
                tree[path] = Entry(mode=0, error=f"lstat: {errno.errorcode[exc.errno or 0]}")
                continue
            if stat.S_ISDIR(infos[path].st_mode):
                pending.append(path)
    same_file = defaultdict(list)
    for path, info in infos.items():
        if not stat.S_ISDIR(info.st_mode):
            same_file[info.st_ino].append(path)
    for path, info in infos.items():
        if path in tree:
            continue
        links = tuple(sorted(same_file[info.st_ino])) if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode) else ()
        try:
            tree[path] = _entry(os.path.join(base, path), info, links, with_times=with_times)
        except OSError as exc:
            tree[path] = Entry(mode=info.st_mode, error=errno.errorcode[exc.errno or 0])
    return tree


def differences(expected: dict[bytes, Entry], got: dict[bytes, Entry], *, limit: int = 20) -> list[str]:
    """Return one line per difference between two snapshots, at most *limit*."""
    lines = [f"missing: {path!r}" for path in sorted(expected.keys() - got.keys())]
    lines += [f"unexpected: {path!r}" for path in sorted(got.keys() - expected.keys())]
    for path in sorted(expected.keys() & got.keys()):
        if expected[path] != got[path]:
            wanted, have = asdict(expected[path]), asdict(got[path])
            fields = [f"{key} {wanted[key]!r} != {have[key]!r}" for key in wanted if wanted[key] != have[key]]
            lines.append(f"{path!r}: {'; '.join(fields)}")
    return lines[:limit] + ([f"... and {len(lines) - limit} more"] if len(lines) > limit else [])


def assert_same_tree(expected: Path, got: Path, *, with_times: bool = False) -> None:
    """Fail with the list of differences unless both trees look the same."""
    found = differences(snapshot(expected, with_times=with_times), snapshot(got, with_times=with_times))
    assert not found, f"{got} differs from {expected}:\n" + "\n".join(found)
