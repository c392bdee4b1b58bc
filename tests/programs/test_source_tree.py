"""A source tree is unpacked, compared by checksum, copied and removed."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.mounts import LiveMount
from tests.support.playground import Playground
from tests.support.requirements import require_tool
from tests.support.sourcetree import make_source_tree
from tests.support.tree import differences, snapshot

pytestmark = pytest.mark.flavours("default")

QUICK_FILES = 3000
LONG_FILES = 52_000


@pytest.mark.parametrize("files", [QUICK_FILES, pytest.param(LONG_FILES, marks=pytest.mark.long)])
def test_unpacked_source_tree_equals_its_original(
    own_mount: LiveMount, playground: Playground, files: int, seed: int
) -> None:
    tar = require_tool("tar")
    outside = playground.new_directory("source")
    make_source_tree(outside / "tree", files, seed)
    archive = outside / "tree.tar"
    subprocess.run([tar, "--format=posix", "-cf", archive, "-C", outside, "tree"], check=True, timeout=600)
    original = snapshot(outside / "tree", with_times=True)

    subprocess.run([tar, "-xf", archive, "-C", own_mount.path], check=True, timeout=3600)
    assert differences(original, snapshot(own_mount.path / "tree", with_times=True)) == [], f"seed {seed}"
    own_mount.unmount()
    own_mount.start()
    assert differences(original, snapshot(own_mount.path / "tree", with_times=True)) == [], f"seed {seed}"

    packed_again = outside / "again.tar"
    subprocess.run([tar, "--format=posix", "-cf", packed_again, "-C", own_mount.path, "tree"], check=True, timeout=3600)
    subprocess.run([tar, "-df", packed_again, "-C", outside], check=True, timeout=600)
    shutil.rmtree(own_mount.path / "tree")
    assert os.listdir(own_mount.path) == []
    own_mount.unmount()
    left = {p.name for p in own_mount.volume.cipherdir.iterdir()}
    assert left <= {"gocryptfs.conf", "gocryptfs.diriv"} or not own_mount.driver.is_fuse
