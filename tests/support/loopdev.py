"""Small disks of our own, for full disks, quotas and features that the machine's disk lacks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import kernel
from tests.support.requirements import require_root, require_tool, unavailable


@contextmanager
def loop_disk(parent: Path, *, size_mib: int, mkfs: Sequence[str], options: str = "loop") -> Iterator[Path]:
    """Make a disk image in *parent*, mount it on ``parent/disk`` and take both away at the end."""
    require_root("loop mounts need root")
    image, mountpoint = parent / "disk.img", parent / "disk"
    with image.open("wb") as stream:
        stream.truncate(size_mib << 20)
    subprocess.run([require_tool(mkfs[0]), *mkfs[1:], image], check=True, capture_output=True, timeout=60)
    mountpoint.mkdir()
    result = subprocess.run(
        ["mount", "-o", options, image, mountpoint], check=False, capture_output=True, text=True, timeout=60
    )
    if result.returncode != 0:
        unavailable("loop", f"can't mount an image here: {result.stderr.strip()}")
    try:
        yield mountpoint
    finally:
        kernel.lazy_unmount(mountpoint)
        image.unlink()


@contextmanager
def loop_ext4(parent: Path, *, size_mib: int, features: str = "", options: str = "loop") -> Iterator[Path]:
    """A loop-mounted ext4 without reserved blocks; *features* as for ``mkfs.ext4 -O``."""
    words = ["mkfs.ext4", "-q", "-F", "-m", "0", *(["-O", features] if features else [])]
    with loop_disk(parent, size_mib=size_mib, mkfs=words, options=options) as mountpoint:
        yield mountpoint
