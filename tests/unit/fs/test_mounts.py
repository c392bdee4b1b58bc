"""Reading the mount table, without touching what is mounted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pcvfs.fs.mounts import Mount, find_holders, find_mount, read_mounts

TABLE = rb"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /proc rw,nosuid shared:2 master:3 - proc proc rw
41 22 0:52 / /home/a\040b/c\134d rw,nosuid - fuse.pcvfs /home/x\011y rw,user_id=0
42 22 0:53 / /mnt rw - fuse.gocryptfs gocryptfs rw
43 22 8:17 / /media/usb rw - fuseblk /dev/sdb1 rw
"""


def test_read_mounts_fields_are_unescaped(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(TABLE)
    mounts = read_mounts(table)
    assert mounts[2] == Mount(41, "0:52", rb"/home/a b/c\d", "fuse.pcvfs", b"/home/x\ty")
    assert [mount.fs_type for mount in mounts] == ["ext4", "proc", "fuse.pcvfs", "fuse.gocryptfs", "fuseblk"]
    assert [mount.is_fuse for mount in mounts] == [False, False, True, True, True]
    assert mounts[2].connection == "/sys/fs/fuse/connections/52"
    assert mounts[2].read_ahead == "/sys/class/bdi/0:52/read_ahead_kb"
    assert mounts[2].server_name == b"pcvfs-52"


@pytest.mark.parametrize("path", [b"/proc", b"/proc/", b"/../proc", b"/proc/self/.."])
def test_find_mount_any_spelling_of_the_mountpoint_is_found(path: bytes) -> None:
    mount = find_mount(path)
    assert mount is not None
    assert mount.fs_type == "proc"


def test_find_mount_through_symlinks_is_found(tmp_path: Path) -> None:
    (tmp_path / "far").symlink_to("near")
    (tmp_path / "near").symlink_to("/proc")
    mount = find_mount(os.fsencode(tmp_path / "far"))
    assert mount is not None
    assert mount.mountpoint == b"/proc"


def test_find_mount_below_or_beside_a_mountpoint_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (
        b"/proc/self",
        os.fsencode(tmp_path),
        os.fsencode(tmp_path / "missing"),
        os.fsencode(tmp_path / "loop"),
    ):
        assert find_mount(path) is None


def test_find_holders_process_with_working_directory_is_named(tmp_path: Path) -> None:
    # Any directory will do as a mountpoint here: working directories are compared by path.
    mount = Mount(-1, "0:0", os.fsencode(tmp_path), "fuse.pcvfs", b"")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=tmp_path) as process:
        holders = find_holders(mount)
        process.communicate(timeout=30)
    assert [(holder.pid, holder.command, holder.use) for holder in holders] == [
        (process.pid, "cat", "working directory")
    ]
