"""What a check of a volume can find, and what it tells about it.

Kinds and records only; ``fsck`` fills them in. Plaintext paths are in here, so a report is for the user and never for
a log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self, TypeAlias

PROBLEMS_KEPT: Final = 10_000
PROGRESS_INTERVAL_S: Final = 0.1


class Severity(Enum):
    """How bad it is."""

    ERROR = "error"  # something can't be read, named or reached
    WARNING = "warning"  # litter, or a trace of a crash: what is readable is all there is
    SKIPPED = "skipped"  # not checked, for lack of permission


class ProblemKind(Enum):
    """What is wrong. The value is a stable identifier for scripts; ``summary`` says it in words."""

    DIR_UNREADABLE = "dir-unreadable", Severity.ERROR, "directory can't be read"
    DIRIV_MISSING = "diriv-missing", Severity.ERROR, "directory has no gocryptfs.diriv: the names in it are lost"
    DIRIV_CORRUPT = "diriv-corrupt", Severity.ERROR, "gocryptfs.diriv is corrupt: the names in this directory are lost"
    NAME_UNDECRYPTABLE = "name-undecryptable", Severity.ERROR, "name does not decrypt"
    NAME_UNREACHABLE = "name-unreachable", Severity.ERROR, "entry is listed but can't be reached by its name"
    NAME_DUPLICATE = "name-duplicate", Severity.ERROR, "two entries have the same name"
    LONG_NAME_MISSING = "long-name-missing", Severity.ERROR, "the .name file is missing: the name is lost"
    LONG_NAME_CORRUPT = "long-name-corrupt", Severity.ERROR, "the .name file can't be used: the name is lost"
    LONG_NAME_MISMATCH = "long-name-mismatch", Severity.ERROR, "the .name file belongs to another entry"
    LONG_NAME_ORPHAN = "long-name-orphan", Severity.WARNING, "a .name file without the entry it names"
    MKDIR_REMNANT = "mkdir-remnant", Severity.WARNING, "left over from an interrupted creation of a directory"
    RMDIR_REMNANT = "rmdir-remnant", Severity.WARNING, "left over from an interrupted removal of a directory"
    CONFIG_REMNANT = "config-remnant", Severity.WARNING, "a backup or an interrupted change of the config"
    ENTRY_UNREADABLE = "entry-unreadable", Severity.ERROR, "entry can't be examined"
    FILE_UNREADABLE = "file-unreadable", Severity.ERROR, "file can't be read"
    FILE_INTERRUPTED = (
        "file-interrupted",
        Severity.WARNING,
        "file has nothing but (part of) a header: reads as empty",
    )
    FILE_TRUNCATED = "file-truncated", Severity.ERROR, "file ends within its last block"
    HEADER_CORRUPT = "header-corrupt", Severity.ERROR, "file header is corrupt: the whole file can't be read"
    BLOCK_CORRUPT = "block-corrupt", Severity.ERROR, "file has corrupt blocks"
    SYMLINK_CORRUPT = "symlink-corrupt", Severity.ERROR, "symlink target does not decrypt"
    SYMLINK_UNREADABLE = "symlink-unreadable", Severity.ERROR, "symlink can't be read"
    XATTR_NAME_CORRUPT = "xattr-name-corrupt", Severity.ERROR, "attribute name does not decrypt"
    XATTR_VALUE_CORRUPT = "xattr-value-corrupt", Severity.ERROR, "attribute value does not decrypt"
    XATTR_UNREADABLE = "xattr-unreadable", Severity.ERROR, "attributes can't be read"
    XATTR_OLD_ACL = "xattr-old-acl", Severity.WARNING, "POSIX ACL encrypted by gocryptfs 1.x: not in force"
    PERMISSION_DENIED = "permission-denied", Severity.SKIPPED, "not checked: permission denied"

    severity: Severity
    summary: str

    def __new__(cls, identifier: str, severity: Severity, summary: str) -> Self:
        kind = object.__new__(cls)
        kind._value_ = identifier
        kind.severity = severity
        kind.summary = summary
        return kind


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: what.
        plain_path: path in the volume, without a leading slash, ``b""`` for its root; None if a name on it is lost.
        cipher_path: path in the cipherdir, alike.
        detail: more about it, e.g. which blocks; may be empty.
    """

    kind: ProblemKind
    plain_path: bytes | None
    cipher_path: bytes
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FsckProgress:
    """How far a check is: objects and bytes of plaintext looked at, errors and warnings found."""

    files: int
    dirs: int
    bytes: int
    problems: int


@dataclass(slots=True)
class FsckReport:
    """The outcome of a check.

    Attributes:
        problems: in the order they were found; no more than the first ``PROBLEMS_KEPT``.
        counts: of all problems, by kind.
        files: regular files; one with several names counts once.
        dirs: directories, the root included.
        others: symlinks, fifos, sockets, devices.
        bytes: plaintext that was read and authenticated; holes are not read.
    """

    problems: list[Problem] = field(default_factory=list)
    counts: Counter[ProblemKind] = field(default_factory=Counter)
    files: int = 0
    dirs: int = 0
    others: int = 0
    bytes: int = 0

    def count(self, severity: Severity) -> int:
        """Number of problems of a severity."""
        return sum(count for kind, count in self.counts.items() if kind.severity is severity)

    @property
    def errors(self) -> int:
        """Number of errors."""
        return self.count(Severity.ERROR)

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return self.count(Severity.WARNING)

    @property
    def skipped(self) -> int:
        """Number of files and directories that were not checked, for lack of permission."""
        return self.count(Severity.SKIPPED)

    @property
    def is_clean(self) -> bool:
        """Whether all that could be looked at is readable. Warnings don't spoil that, nor does what was skipped."""
        return not self.errors


OnProgress: TypeAlias = Callable[[FsckProgress], None]
OnProblem: TypeAlias = Callable[[Problem], None]


class Recorder:
    """Fills a report and tells listeners about it, about progress at a limited rate."""

    __slots__ = ("_next_progress", "_on_problem", "_on_progress", "report")

    def __init__(self, on_progress: OnProgress | None, on_problem: OnProblem | None) -> None:
        self.report = FsckReport()
        self._on_progress = on_progress
        self._on_problem = on_problem
        self._next_progress = 0.0

    def add(self, problem: Problem) -> None:
        """Record a problem."""
        self.report.counts[problem.kind] += 1
        if len(self.report.problems) < PROBLEMS_KEPT:
            self.report.problems.append(problem)
        if self._on_problem is not None:
            self._on_problem(problem)

    def step(self) -> None:
        """Something was looked at; tell how far we are if it is time to."""
        if self._on_progress is None:
            return
        now = time.monotonic()
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_INTERVAL_S
            self.tell()

    def tell(self) -> None:
        """Tell how far we are, now."""
        if self._on_progress is not None:
            report = self.report
            self._on_progress(FsckProgress(report.files, report.dirs, report.bytes, report.errors + report.warnings))
