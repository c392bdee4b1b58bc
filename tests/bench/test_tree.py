"""The generated source tree."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from bench.tree import TOP, generate_tree

FILES = 200


def test_generate_tree_same_seed_same_bytes(tmp_path: Path) -> None:
    trees = [generate_tree(tmp_path, name, files=FILES, seed=1) for name in ("a", "b")]
    assert trees[0].tar.read_bytes() == trees[1].tar.read_bytes()
    assert trees[0].checksums.read_text() == trees[1].checksums.read_text()


def test_generate_tree_other_seed_other_tree(tmp_path: Path) -> None:
    one, two = (generate_tree(tmp_path, str(seed), files=FILES, seed=seed) for seed in (1, 2))
    assert one.checksums.read_text() != two.checksums.read_text()


def test_generate_tree_has_so_many_files_and_says_what_is_in_them(tmp_path: Path) -> None:
    tree = generate_tree(tmp_path, "tree", files=FILES, seed=1)
    listed = {}
    for row in tree.checksums.read_text().splitlines():
        digest, _, path = row.partition("  ")
        listed[path] = digest
    found, size = {}, 0
    with tarfile.open(tree.tar) as tar:
        for member in tar:
            assert member.name == TOP or member.name.startswith(f"{TOP}/")
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is not None:
                content = stream.read()
                found[member.name], size = hashlib.md5(content, usedforsecurity=False).hexdigest(), size + len(content)
    assert found == listed
    assert len(found) == FILES == tree.files
    assert size == tree.bytes


def test_generate_tree_has_parents_before_children(tmp_path: Path) -> None:
    tree = generate_tree(tmp_path, "tree", files=FILES, seed=1)
    seen = set()
    with tarfile.open(tree.tar) as tar:
        for member in tar:
            assert member.name == TOP or str(Path(member.name).parent) in seen
            seen.add(member.name)
    assert len(seen) > FILES
