"""Skip locally, fail where the environment promises the feature.

``PCVFS_REQUIRE`` is a comma separated list, for example ``fuse,gocryptfs``. A feature that is named there must be
present. Once the variable is set at all, a missing program is a failure too: such a run is meant to be complete.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest


def required_features() -> frozenset[str]:
    """Return the features that this run promises."""
    return frozenset(word.strip() for word in os.environ.get("PCVFS_REQUIRE", "").split(",") if word.strip())


def unavailable(feature: str, reason: str) -> NoReturn:
    """End the test: failure if *feature* was promised, else a skip."""
    if feature in required_features():
        pytest.fail(f"{feature} is required by PCVFS_REQUIRE, but {reason}", pytrace=False)
    pytest.skip(f"{feature}: {reason}")


@cache
def _missing_for_fuse() -> str:
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    return "" if shutil.which("fusermount3") else "fusermount3 is not installed"


def require_fuse() -> None:
    """Skip or fail unless this machine can mount FUSE filesystems."""
    if reason := _missing_for_fuse():
        unavailable("fuse", reason)


def require_gocryptfs() -> None:
    """Skip or fail unless the original implementation is installed."""
    require_fuse()
    if shutil.which("gocryptfs") is None:
        unavailable("gocryptfs", "gocryptfs is not installed")


def require_tool(name: str) -> str:
    """Return the path of a program; a run with PCVFS_REQUIRE fails without it.

    Source: PATH, and the system directories that a user's PATH may lack.
    """
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is not None:
        return path
    if required_features():
        pytest.fail(f"{name} is not installed (PCVFS_REQUIRE is set)", pytrace=False)
    pytest.skip(f"{name} is not installed")


def require_root(why: str) -> None:
    """Skip or fail (feature ``root``) unless running as root."""
    if os.geteuid() != 0:
        unavailable("root", why)


REPOSITORY = Path(__file__).resolve().parents[2]
