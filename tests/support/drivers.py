"""Three ways to get a directory to test: a bare one (the control), gocryptfs (the original), pcvfs.

A test that states POSIX behaviour must pass on ``plain``; what ``gocryptfs`` does is the second opinion.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import accounts, requirements
from tests.support.flavours import PASSWORD, Flavour

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Mount options, in words both implementations know."""

    ro: bool = False
    allow_other: bool = False
    acl: bool = False
    suid: bool = False
    dev: bool = False
    nonempty: bool = False
    sharedstorage: bool = False
    noprealloc: bool = False
    no_writeback: bool = False
    force_owner: tuple[int, int] | None = None
    fsname: str = ""
    badname: tuple[str, ...] = ()
    user: int | None = None  # uid (and gid) that runs the mount command; None: whoever runs the tests

    def arguments(self) -> list[str]:
        """Return the options as pcvfs spells them."""
        names = ("ro", "allow_other", "acl", "suid", "dev", "nonempty", "sharedstorage", "noprealloc", "no_writeback")
        words = [f"--{name.replace('_', '-')}" for name in names if getattr(self, name)]
        if self.force_owner is not None:
            words.append("--force-owner={}:{}".format(*self.force_owner))
        if self.fsname:
            words.append(f"--fsname={self.fsname}")
        return words + [f"--badname={glob}" for glob in self.badname]


@dataclass(slots=True)
class Volume:
    """An encrypted directory (for the control: just a directory) and the file that holds its password."""

    cipherdir: Path
    flavour: Flavour
    passfile: Path = field(init=False)
    password: str = PASSWORD

    def __post_init__(self) -> None:
        self.passfile = self.cipherdir.with_name(self.cipherdir.name + ".pass")
        self.passfile.write_text(self.password + "\n")
        self.passfile.chmod(0o644)  # test passwords are no secret, and other users mount, too


class Driver:
    """What a test needs to know about an implementation."""

    name = "plain"
    is_fuse = False
    fs_type = ""
    settle_s = 0.0  # how long after the start it may keep its own mount busy
    may_linger = False  # its process may stay after a clean unmount; then it is killed
    is_pcvfs = False
    is_reference = False  # a second engine of something that is tested already: one flavour of each test will do

    def require(self) -> None:
        """Skip or fail if this machine can't run it."""

    def create(self, volume: Volume) -> None:
        """Make the empty volume.

        Raises: subprocess.CalledProcessError.
        """

    def mount_command(self, volume: Volume, mountpoint: Path, options: MountOptions) -> list[str]:
        """Return the command that serves the mount in the foreground."""
        raise NotImplementedError

    def umount_command(self, mountpoint: Path) -> list[str]:
        """Return the command a user types to unmount."""
        raise NotImplementedError

    def fsck(self, volume: Volume) -> subprocess.CompletedProcess[str]:
        """Check a volume that is not mounted; stdout and stderr are text."""
        return subprocess.CompletedProcess([], 0, "", "")

    def environment(self, options: MountOptions) -> dict[str, str]:
        """Return the environment of the mount process."""
        return dict(os.environ)


class Plain(Driver):
    """The control: the mountpoint is the directory itself."""


class Gocryptfs(Driver):
    """The original, whatever version is installed."""

    name = "gocryptfs"
    is_fuse = True
    fs_type = "fuse.gocryptfs"
    settle_s = 2.0
    may_linger = True  # seen with 2.3 once in some hundred unmounts

    def require(self) -> None:
        requirements.require_gocryptfs()

    @staticmethod
    def _words(options: Sequence[str]) -> list[str]:
        renamed = {"--allow-other": "-allow_other", "--deterministic-names": "-deterministic-names"}
        words = []
        for option in options:
            option = option.replace("--force-owner", "--force_owner")
            words.append(renamed.get(option, option[1:] if option.startswith("--") else option))
        return words

    def create(self, volume: Volume) -> None:
        if volume.flavour.is_legacy:
            volume.flavour.write_volume(volume.cipherdir)
            return
        command = ["gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", str(volume.passfile)]
        command += [*self._words(volume.flavour.init_options), str(volume.cipherdir)]
        run(command)

    def mount_command(self, volume: Volume, mountpoint: Path, options: MountOptions) -> list[str]:
        words = self._words(options.arguments())
        start = ["gocryptfs", "-fg", "-nosyslog", "-passfile", str(volume.passfile)]
        return [*start, *words, "--", str(volume.cipherdir), str(mountpoint)]

    def umount_command(self, mountpoint: Path) -> list[str]:
        return ["fusermount3", "-u", str(mountpoint)]

    def fsck(self, volume: Volume) -> subprocess.CompletedProcess[str]:
        command = ["gocryptfs", "-fsck", "-passfile", str(volume.passfile), "--", str(volume.cipherdir)]
        return run(command, check=False)


class Pcvfs(Driver):
    """The product, through its command line.

    Args:
        interpreter: the Python that runs it.
        engine: who serves reads and writes; empty lets pcvfs choose.
    """

    is_fuse = True
    is_pcvfs = True
    fs_type = "fuse.pcvfs"

    def __init__(self, engine: str = "", interpreter: str = sys.executable) -> None:
        self.name = f"pcvfs-{engine}" if engine else "pcvfs"
        self.is_reference = bool(engine)
        self._engine = engine
        self._program = [interpreter, "-c", "from pcvfs.cli.program import run; run()"]

    def require(self) -> None:
        requirements.require_fuse()

    def command(self, *words: str | Path) -> list[str]:
        """Return a pcvfs command line."""
        return [*self._program, *map(str, words)]

    def create(self, volume: Volume) -> None:
        if volume.flavour.is_legacy:
            volume.flavour.write_volume(volume.cipherdir)
            return
        options = [*volume.flavour.init_options, "--scryptn", "10", "--passfile", str(volume.passfile)]
        run(self.command("init", *options, volume.cipherdir))

    def mount_command(self, volume: Volume, mountpoint: Path, options: MountOptions) -> list[str]:
        program = self if options.user is None else Pcvfs(interpreter=accounts.interpreter_for(options.user))
        words = [*options.arguments(), "--passfile", str(volume.passfile)]
        if self._engine:
            words.append(f"--engine={self._engine}")
        if engine := os.environ.get("PCVFS_TEST_ENGINE"):
            words += ["--engine", engine]
        return program.command("mount", "--fg", *words, volume.cipherdir, mountpoint)

    def umount_command(self, mountpoint: Path) -> list[str]:
        return self.command("umount", mountpoint)

    def fsck(self, volume: Volume) -> subprocess.CompletedProcess[str]:
        return run(self.command("fsck", "--passfile", volume.passfile, volume.cipherdir), check=False)

    def environment(self, options: MountOptions) -> dict[str, str]:
        environment = super().environment(options)
        if options.user is not None:
            environment["PYTHONPATH"] = os.pathsep.join(accounts.import_paths())
        return environment


def run(
    command: Sequence[str], *, check: bool = True, timeout_s: float = COMMAND_TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output goes to files, so a child that stays behind can't block us.

    Raises: subprocess.CalledProcessError with the output in its message.
    """
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout_s,
    )
    if check and result.returncode != 0:
        raise RuntimeError(f"exit {result.returncode}: {' '.join(command)}\n{result.stdout}{result.stderr}")
    return result


DRIVERS: dict[str, Driver] = {driver.name: driver for driver in (Plain(), Gocryptfs(), Pcvfs(), Pcvfs("python"))}


def new_volume(driver: Driver, flavour: Flavour, parent: Path, *, owner: int | None = None) -> Volume:
    """Create the empty volume ``parent/cipher``, owned by the user *owner*."""
    cipherdir = parent / "cipher"
    cipherdir.mkdir(parents=True, mode=0o755)
    volume = Volume(cipherdir, flavour)
    driver.create(volume)
    if owner is not None:
        for path in (cipherdir, *cipherdir.iterdir()):
            shutil.chown(path, owner, owner)
    return volume
