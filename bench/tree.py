"""A source tree that nobody wrote: the same for the same seed, as a tar and a list of checksums.

Sizes, depth and names are like those of a large C project: half of the files below 4 KiB, most below 32 KiB, a few up
to half a MiB; a dozen files in a directory; text that compresses as source does.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOP: Final = "tree"

_FILES_PER_DIR: Final = 12
_MAX_DEPTH: Final = 7
_MEDIAN_SIZE: Final = 4000.0
_SIGMA: Final = 1.3  # of the size's logarithm; the mean is 2.3 medians
_MAX_SIZE: Final = 512 << 10
_MTIME: Final = 1_600_000_000
_CORPUS_SIZE: Final = 1 << 20
_SUFFIXES: Final = (".c", ".c", ".c", ".h", ".h", ".py", ".S", ".txt", ".rst", ".yaml", "")
_CONSONANTS: Final = "bcdfgklmnprst"
_VOWELS: Final = "aeiou"


@dataclass(frozen=True, slots=True)
class Tree:
    """A generated tree: a tar of ``files`` files and ``bytes`` bytes of content, and its list for ``md5sum -c``."""

    tar: Path
    checksums: Path
    files: int
    bytes: int


def generate_tree(directory: Path, name: str, *, files: int, seed: int) -> Tree:
    """Write ``NAME.tar`` and ``NAME.md5`` into ``directory``."""
    rng = random.Random(seed)
    tar_path, sums_path = directory / f"{name}.tar", directory / f"{name}.md5"
    corpus = _corpus(rng)
    directories = _directories(rng, max(1, files // _FILES_PER_DIR))
    total = 0
    with tarfile.open(tar_path, "w", format=tarfile.GNU_FORMAT) as tar, sums_path.open("w") as sums:
        for path in directories:
            tar.addfile(_entry(path, tarfile.DIRTYPE, 0o755))
        for path in _file_names(rng, directories, files):
            content = _content(rng, corpus, path)
            entry = _entry(path, tarfile.REGTYPE, 0o755 if rng.random() < 0.02 else 0o644)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            sums.write(f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  {path}\n")
            total += len(content)
    return Tree(tar_path, sums_path, files, total)


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(2, 5)))


def _corpus(rng: random.Random) -> bytes:
    """Lines that look like statements; files are cut out of it."""
    words = [_word(rng) for _ in range(2000)]
    lines: list[str] = []
    size = 0
    while size < _CORPUS_SIZE:
        a, b, c = rng.choices(words, k=3)
        line = f"{'    ' * rng.randint(0, 3)}{a} = {b}({c}, {rng.randint(0, 4096)});\n"
        lines.append(line)
        size += len(line)
    return "".join(lines).encode()


def _directories(rng: random.Random, count: int) -> list[str]:
    """Distinct paths, each after its parent."""
    directories = [TOP]
    while len(directories) < count:
        parent = rng.choice(directories)
        if parent.count("/") < _MAX_DEPTH:
            # The number makes it distinct among its siblings.
            directories.append(f"{parent}/{_word(rng)}{len(directories)}")
    return directories


def _file_names(rng: random.Random, directories: list[str], count: int) -> Iterator[str]:
    """Directory by directory, as tars of real trees are."""
    places = sorted(rng.choices(range(len(directories)), k=count))
    for number, place in enumerate(places):
        yield f"{directories[place]}/{_word(rng)}_{number}{rng.choice(_SUFFIXES)}"


def _content(rng: random.Random, corpus: bytes, path: str) -> bytes:
    size = min(_MAX_SIZE, int(rng.lognormvariate(math.log(_MEDIAN_SIZE), _SIGMA)))
    content = f"/* {path} */\n".encode()  # no two files are the same
    while len(content) < size:
        start = rng.randrange(len(corpus))
        content += corpus[start : start + size - len(content)]
    return content[: max(size, 1)]


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.mtime = kind, mode, _MTIME
    return entry
