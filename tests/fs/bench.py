"""A volume on the test bench: a real cipherdir, a ``VolumeFS`` on it, and the kernel's side of the mount."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from pathlib import Path
from typing import Final

from pcvfs.cipherdir.fsck import check_volume
from pcvfs.cipherdir.intents import IntentLog
from pcvfs.cipherdir.lifecycle import unlock_volume
from pcvfs.cipherdir.report import Problem, ProblemKind
from pcvfs.cipherdir.volume import Volume
from pcvfs.fs.lane_tree import LaneTree
from pcvfs.fs.options import Engine, MountOptions
from pcvfs.fs.volume_fs import VolumeFS
from pcvfs.records import replaced
from tests.fs.cipher_tree import CipherFile, CipherTree
from tests.fs.files_in_c import PolicyInC
from tests.fs.kernel import ROOT, Kernel
from tests.support.flavours import PASSWORD, Flavour

ENGINES: Final[tuple[Engine, ...]] = ("python", "lane")  # whose tree of names it is, and whose files


class Bench:
    """One volume, mounted in process.

    Attributes:
        cipherdir: the backing directory.
        fs: the filesystem under test.
        kernel: the one that uses it.
        tree: the view from below.
        expected_problems: kinds that the checker must find at the end, for tests that break something.

    Args:
        engine: "lane" is the tree and the files in C, as far as the options let it.
        is_new: make the volume first.
    """

    def __init__(self, cipherdir: Path, flavour: Flavour, engine: Engine = "python", *, is_new: bool = True) -> None:
        self.cipherdir = cipherdir
        self.flavour = flavour
        self.engine = engine
        if is_new:
            cipherdir.mkdir()
            flavour.write_volume(cipherdir)
        self.volume = unlock_volume(os.fsencode(cipherdir), password=PASSWORD.encode())
        self.tree = CipherTree(cipherdir, flavour)
        self.options = MountOptions(cipherdir=os.fsencode(cipherdir), mountpoint=b"/nowhere")
        self.intents: IntentLog | None = None
        self.expected_problems: frozenset[ProblemKind] = frozenset()
        self._log = _Recorder()
        self._expected_log: list[str] = []
        self._names: set[bytes] = set()
        self._mount()

    def _mount(self) -> None:
        self._fds = open_descriptors()
        self.fs = new_fs(self.volume, self.options, self.engine, self.intents)
        self.kernel = Kernel(self.fs, caches_names=not self.options.sharedstorage)

    def remount(self, *, with_intents: Path | None = None, **options: object) -> Kernel:
        """Unmount, with all checks of that, and mount again.

        Args:
            with_intents: directory for the slots of write intents; not closed at the end, since who uses them dies.
            options: replace those of before.
        """
        self.unmount()
        self.intents = IntentLog(self.volume.root_fd, directory=with_intents) if with_intents else None
        self.options = replaced(self.options, **options)
        self._mount()
        return self.kernel

    def unmount(self) -> None:
        """End as a mount ends, and check that all counts come out even and nothing stays open."""
        self._names |= self.kernel.names
        check_counts(self.fs, self.kernel)
        self.kernel.close_everything()
        self.kernel.forget_everything()
        check_counts(self.fs, self.kernel)
        assert self.fs.statistics() == (1, 0, 0, 0, 0), "not everything was let go"
        self.fs.close()
        leaked = open_descriptors() - self._fds
        assert not leaked, f"descriptors leaked: {leaked}"

    def finish(self) -> None:
        """The end of every test: unmount, then look at the volume from three sides."""
        self.unmount()
        self.check_log()
        faults = self.tree.find_faults()
        problems = self.problems()
        self.volume.close()
        self._log.close()
        assert {problem.kind for problem in problems} == self.expected_problems, problems
        assert self.expected_problems or not faults, faults

    def problems(self) -> list[Problem]:
        """What the checker finds now."""
        return check_volume(self.volume).problems

    # --- files --------------------------------------------------------------------------------------------------
    def cipher_path(self, path: bytes) -> Path:
        """The backing object of a plaintext path."""
        return Path(os.fsdecode(self.tree.path_of(self.kernel.lookup(path).st.st_ino)))

    def cipher_file(self, path: bytes) -> CipherFile:
        """The backing file of a plaintext path."""
        return CipherFile(os.fsencode(self.cipher_path(path)), self.flavour)

    # --- the log ------------------------------------------------------------------------------------------------
    def expect_log(self, *patterns: str) -> None:
        """These warnings, in any order, each once, and no others must have come when the test ends."""
        self._expected_log += patterns

    def check_log(self) -> None:
        """No warning that was not expected, none missing, and no plaintext name in any line."""
        lines = self._log.lines
        unmatched = list(self._expected_log)
        unexpected = []
        for line in lines:
            pattern = next((pattern for pattern in unmatched if re.search(pattern, line)), None)
            if pattern is None:
                unexpected.append(line)
            else:
                unmatched.remove(pattern)
        assert not unexpected, unexpected
        assert not unmatched, f"not logged: {unmatched}"
        if not self.flavour.has_plain_names:
            for name in filter(lambda name: len(name) > 5, self._names):
                assert not any(name in os.fsencode(line) for line in lines), "a plaintext name was logged"

    def drop_log(self) -> None:
        """Forget what was logged so far, for tests that inject faults by the hundred."""
        self._log.lines.clear()


def new_fs(volume: Volume, options: MountOptions, engine: Engine, intents: IntentLog | None = None) -> VolumeFS:
    """A filesystem as that engine would have it."""
    if engine == "python":
        return VolumeFS(volume, options, intents=intents)
    tree = LaneTree(volume, options, intents) if options.unknown_to_lane is None else None
    return VolumeFS(volume, options, tree=tree, policy=PolicyInC(volume, options, intents))


class _Recorder(logging.Handler):
    """Everything that pcvfs logs from WARNING up, formatted."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        logging.getLogger("pcvfs").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def close(self) -> None:
        logging.getLogger("pcvfs").removeHandler(self)
        super().close()


def open_descriptors() -> frozenset[tuple[str, str]]:
    """Every open descriptor of this process and what it leads to."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add((fd, os.readlink(f"/proc/self/fd/{fd}")))
        except FileNotFoundError:  # the listing's own
            continue
    return frozenset(found)


def check_counts(fs: VolumeFS, kernel: Kernel) -> None:
    """What the filesystem believes the kernel to hold is what it holds, and its own pins are all accounted for."""
    nodes = {node.inode: node for node in fs._table}
    assert fs._table.lookups == kernel.nlookup.total()
    assert {inode: node.nlookup for inode, node in nodes.items() if node.nlookup} == dict(kernel.nlookup)
    pins: Counter[int] = Counter({ROOT: 1})
    for node in nodes.values():
        pins.update(parent.inode for parent, _ in node.links)
    pins.update(kernel.open_files.values())
    pins.update(kernel.open_dirs.values())
    assert {inode: node.pins for inode, node in nodes.items() if node.pins} == dict(pins)
    statistics = fs.statistics()
    assert statistics.open_files == len(kernel.open_files)
    assert statistics.open_dirs == len(kernel.open_dirs)
    assert statistics.inodes == len(nodes)
    assert fs.is_busy == bool(kernel.open_files or kernel.open_dirs)
