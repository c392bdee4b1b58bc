"""The golden volumes that gocryptfs made, unpacked."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.requirements import REPOSITORY

VECTORS = REPOSITORY / "tests" / "vectors" / "gocryptfs"


@dataclass(frozen=True)
class GoldenVolume:
    """One of them, with what opens it."""

    cipherdir: Path
    password: str
    master_key: str


def unpack(name: str, parent: Path) -> GoldenVolume:
    """Unpack the volume ``name`` below ``parent``."""
    command = ["tar", "--xattrs", "--xattrs-include=user.*", "-xzf", VECTORS / f"{name}.tar.gz", "-C", parent]
    subprocess.run(command, check=True, timeout=60)
    meta = json.loads((parent / name / "meta.json").read_text())
    return GoldenVolume(parent / name / "cipher", meta["password"], meta["masterkey"])
