"""git works on the mount."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount
from tests.support.requirements import require_tool
from tests.support.sourcetree import make_source_tree
from tests.support.tree import file_digest

pytestmark = pytest.mark.flavours("default")

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.fsync=all", "-c", "gc.auto=0"]


def git(directory: Path, *words: str | Path) -> str:
    """Run git and return its output.

    Raises: AssertionError with its messages.
    """
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    command = [require_tool("git"), *IDENTITY, "-C", str(directory), *map(str, words)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, f"git {words}: {result.stderr}"
    return result.stdout


@pytest.mark.gocryptfs_differs("link replies with the size of the ciphertext, which a cloning git notices")
def test_repository_is_made_cloned_packed_and_stays_clean(own_mount: LiveMount, seed: int) -> None:
    work = own_mount.path / "work"
    make_source_tree(work, 400, seed)
    git(work, "init", "-q", "-b", "main")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "first")
    git(work, "checkout", "-q", "-b", "side")
    (work / "new-file").write_text("on the side\n")
    git(work, "add", "new-file")
    git(work, "commit", "-q", "-m", "side")
    git(work, "checkout", "-q", "main")
    (work / "other-file").write_text("on main\n")
    git(work, "add", "other-file")
    git(work, "commit", "-q", "-m", "main")
    git(work, "merge", "-q", "-m", "merged", "side")
    assert git(work, "status", "--porcelain") == ""

    clone, bare = own_mount.path / "clone", own_mount.path / "bare.git"
    git(own_mount.path, "clone", "-q", "--no-local", work, clone)
    git(own_mount.path, "clone", "-q", "--bare", work, bare)  # hard links the objects
    for repository in (work, clone, bare):
        git(repository, "fsck", "--full", "--strict", "--no-dangling")
    git(work, "gc", "-q", "--prune=now", "--aggressive")
    git(work, "repack", "-q", "-a", "-d")

    own_mount.unmount()
    own_mount.start()
    for repository in (work, clone, bare):
        git(repository, "fsck", "--full", "--strict", "--no-dangling")
    assert git(work, "status", "--porcelain") == git(clone, "status", "--porcelain") == ""
    files = git(work, "ls-files", "-z").split("\0")[:-1]
    assert len(files) >= 400
    assert all(
        file_digest(work / name) == file_digest(clone / name) for name in files if not (work / name).is_symlink()
    )
    git(clone, "checkout", "-q", "-b", "pushed")
    (clone / "pushed-file").write_text("pushed\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "pushed")
    git(clone, "push", "-q", bare, "pushed")
    assert "pushed" in git(bare, "branch", "--list")
