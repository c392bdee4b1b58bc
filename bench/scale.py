"""How much each line works: the sizes of a full run, a quick look, and a smoke test."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one run; sizes are bytes, the rest are counts.

    Attributes:
        stream: one sequentially written and read file; divided among the clients where several work at once.
        random_file: the file of the random accesses; ``random_ops`` of its 4 KiB pages are touched.
        append: bytes appended, 4 KiB and an fsync at a time.
        small_files: how many small files, of ``small_size`` each.
        tree_files, git_files: files in the source tree, and in the git repository.
        transactions: of SQLite.
        mounts: how often one sample of the time to mount mounts.
        idle_s: how long a mount without users is watched, seconds.
        inodes: files that a mount is made to know.
        step_limit_s: a step that takes longer is aborted, seconds.
    """

    name: str
    pairs: int
    stream: int
    random_file: int
    random_ops: int
    append: int
    small_files: int
    tree_files: int
    git_files: int
    transactions: int
    mounts: int
    idle_s: float
    inodes: int
    step_limit_s: float
    small_size: int = 2048

    def sizes(self) -> dict[str, float]:
        """Everything that changes what a number means: two records with other sizes are not comparable."""
        others = ("name", "pairs", "step_limit_s")
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}


FULL: Final = Scale(
    name="full",
    pairs=5,
    stream=512 * MIB,
    random_file=256 * MIB,
    random_ops=16384,
    append=8 * MIB,
    small_files=10_000,
    tree_files=50_000,
    git_files=10_000,
    transactions=5_000,
    mounts=5,
    idle_s=20.0,
    inodes=1_000_000,
    step_limit_s=600.0,
)
QUICK: Final = Scale(
    name="quick",
    pairs=3,
    stream=128 * MIB,
    random_file=32 * MIB,
    random_ops=8192,
    append=4 * MIB,
    small_files=1_000,
    tree_files=2_000,
    git_files=500,
    transactions=300,
    mounts=2,
    idle_s=2.0,
    inodes=5_000,
    step_limit_s=60.0,
)
TINY: Final = Scale(
    name="tiny",
    pairs=2,
    stream=8 * MIB,
    random_file=4 * MIB,
    random_ops=256,
    append=256 << 10,
    small_files=200,
    tree_files=300,
    git_files=60,
    transactions=40,
    mounts=1,
    idle_s=0.5,
    inodes=1_000,
    step_limit_s=60.0,
)
SCALES: Final = {scale.name: scale for scale in (FULL, QUICK, TINY)}
