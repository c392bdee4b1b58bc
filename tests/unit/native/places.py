"""What the tests of the door to C share besides fixtures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pcvfs.native.files import File, FilePolicy

AES_GCM: Final = 1
OVERHEAD: Final = 32  # of a block with it


def open_file(policy: FilePolicy, backing: Path, flags: int = os.O_RDWR) -> File:
    return File(policy, os.open(backing, flags), is_writable=flags == os.O_RDWR, path=b"path")


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
