"""A source tree made from a seed: directories, text, a few binaries, links, executables, odd names."""

from __future__ import annotations

import os
import random
from pathlib import Path

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "core",
    "util",
    "net",
    "disk",
    "cache",
    "page",
    "inode",
    "block",
    "lex",
    "build",
]
SUFFIXES = [".c", ".h", ".py", ".md", ".txt", ".json", ".go", ".rs"]
FILES_PER_DIRECTORY = 25


def make_source_tree(root: Path, files: int, seed: int) -> None:
    """Fill *root* (created) with exactly *files* regular files, and symlinks and directories beside them."""
    rng = random.Random(seed)
    root.mkdir()
    directories = [root]
    for number in range(files):
        if number % FILES_PER_DIRECTORY == 0:
            directory = rng.choice(directories[-40:]) / f"{rng.choice(WORDS)}-{number // FILES_PER_DIRECTORY}"
            if len(directory.relative_to(root).parts) > 12:
                directory = root / directory.name
            directory.mkdir()
            directories.append(directory)
            os.symlink(f"../{rng.choice(WORDS)}", directory / "link")
        path = directories[-1] / _name(rng, number)
        path.write_bytes(_content(rng, number))
        if number % 50 == 0:
            path.chmod(0o755)


def _name(rng: random.Random, number: int) -> str:
    stem = f"{rng.choice(WORDS)}_{rng.choice(WORDS)}_{number}"
    if number % 97 == 0:
        stem += "_" + "long" * 45
    return stem + rng.choice(SUFFIXES)


def _content(rng: random.Random, number: int) -> bytes:
    if number % 200 == 0:
        return rng.randbytes(rng.randrange(200_000))
    if number % 31 == 0:
        return b""
    line = " ".join(rng.choices(WORDS, k=9)).encode() + b"\n"
    return b"%d\n" % number + line * rng.randrange(1, 150)
