"""Who is measured: pcvfs with each of its engines, others of its kind, and a plain directory as the ceiling.

Everyone runs with the options it has by default, with one exception: the key derivation is made as cheap as it can be,
since it is slow on purpose and says nothing about a filesystem.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from bench.errors import BenchError, PeerUnavailableError, RefusalError
from bench.proc import Command, run

_LIMIT_S: Final = 60.0
_PASSWORD: Final = "a password of the benchmark"  # of volumes that live for a minute

# An installed program has its bytecode. An editable install writes it when it is first run, if the environment lets it.
_PYTHON: Final = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True, slots=True)
class Volume:
    """An encrypted directory, and a private one for what a peer keeps elsewhere (password file, log, state)."""

    cipherdir: Path
    private: Path

    @property
    def passfile(self) -> Path:
        return self.private / "password"

    @property
    def log(self) -> Path:
        return self.private / "log"

    @property
    def error_log(self) -> Path:
        """What the mount process writes to standard error."""
        return self.private / "stderr"


@dataclass(frozen=True, slots=True)
class Peer(ABC):
    """One of those that are measured.

    Attributes:
        label: its name in the results.
        program: path or name of its program.
        args: further arguments of the mount command.
    """

    product: ClassVar[str]
    package: ClassVar[str] = ""  # of Debian, to be installed when it is asked for
    is_fuse: ClassVar[bool] = True
    fixed_kdf: ClassVar[str] = ""  # why its time to mount can't be compared

    label: str
    program: str
    args: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where the program is.

        Raises:
            PeerUnavailableError: nowhere.
        """
        found = shutil.which(self.program)
        if found is None:
            hint = f" (Debian's package {self.package})" if self.package else ""
            raise PeerUnavailableError(f"{self.program} is not installed{hint}")
        return found

    def check(self) -> None:
        """Raises: PeerUnavailableError if it can't run here."""
        _ = self.path

    def version(self) -> str:
        """What it says about itself, on one line."""
        return _first_line(run(Command([self.path, "--version"]), limit_s=_LIMIT_S, must_succeed=False))

    def create(self, volume: Volume) -> None:
        """Make the empty volume. Raises: BenchError."""
        volume.passfile.write_text(f"{_PASSWORD}\n")
        command = self.create_command(volume)
        if command is not None:
            run(command, limit_s=_LIMIT_S)

    def create_command(self, volume: Volume) -> Command | None:
        """The command that makes a volume; None if the first mount does."""
        return None

    @abstractmethod
    def mount_command(self, volume: Volume, mountpoint: Path) -> Command:
        """The command that mounts, in the background, as users do."""


@dataclass(frozen=True, slots=True)
class Plain(Peer):
    """A directory of the backing: what the machine could do if nothing had to be encrypted."""

    product: ClassVar[str] = "plain"
    is_fuse: ClassVar[bool] = False

    def check(self) -> None:
        pass

    def version(self) -> str:
        return "a directory of the backing filesystem"

    def mount_command(self, volume: Volume, mountpoint: Path) -> Command:
        raise NotImplementedError


class Pcvfs(Peer):
    """Ours. ``args`` names the engine."""

    product: ClassVar[str] = "pcvfs"

    def check(self) -> None:
        help_text = run(Command([self.path, "mount", "--help"], {"COLUMNS": "200"}), limit_s=_LIMIT_S).stdout
        match = re.search(r"--engine\s+<([\w|]+)>", help_text)
        engines = match[1].split("|") if match else []
        wanted = dict(zip(self.args, self.args[1:], strict=False)).get("--engine", "")
        if wanted and wanted not in engines:
            known = ", ".join(engines) or "none to choose"
            raise PeerUnavailableError(f"this pcvfs has no engine {wanted!r} (it has {known})")

    def version(self) -> str:
        return _first_line(run(Command([self.path, "version"]), limit_s=_LIMIT_S))

    def create_command(self, volume: Volume) -> Command:
        options = ["-q", "--scryptn", "10", "--passfile", str(volume.passfile)]
        return Command([self.path, "init", *options, str(volume.cipherdir)])

    def mount_command(self, volume: Volume, mountpoint: Path) -> Command:
        options = ["-q", "--nosyslog", "--passfile", str(volume.passfile), *self.args]
        return Command([self.path, "mount", *options, str(volume.cipherdir), str(mountpoint)], _PYTHON)


class Gocryptfs(Peer):
    """The original: whom the goals are set against."""

    product: ClassVar[str] = "gocryptfs"
    package: ClassVar[str] = "gocryptfs"

    def create_command(self, volume: Volume) -> Command:
        options = ["-init", "-q", "-scryptn", "10", "-passfile", str(volume.passfile)]
        return Command([self.path, *options, "--", str(volume.cipherdir)])

    def mount_command(self, volume: Volume, mountpoint: Path) -> Command:
        options = ["-q", "-nosyslog", "-passfile", str(volume.passfile), *self.args]
        return Command([self.path, *options, "--", str(volume.cipherdir), str(mountpoint)])


class Securefs(Peer):
    """Its default format ("lite"), with the quick one of its key derivations."""

    product: ClassVar[str] = "securefs"
    package: ClassVar[str] = "securefs"

    def version(self) -> str:
        package = run(
            Command(["dpkg-query", "-W", "-f", "${Version}", self.package]), limit_s=_LIMIT_S, must_succeed=False
        )
        return f"securefs {package.stdout or 'of unknown version'}"  # Debian's build does not know its own

    def create_command(self, volume: Volume) -> Command:
        derivation = ["--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "--rounds", "1"]
        return Command([self.path, "create", *derivation, "--pass", _PASSWORD, str(volume.cipherdir)])

    def mount_command(self, volume: Volume, mountpoint: Path) -> Command:
        options = ["-b", "--log", str(volume.log), "--pass", _PASSWORD, *self.args]
        return Command([self.path, "mount", *options, str(volume.cipherdir), str(mountpoint)])


class Encfs(Peer):
    """Its standard mode. The first mount makes the volume."""

    product: ClassVar[str] = "encfs"
    package: ClassVar[str] = "encfs"
    fixed_kdf: ClassVar[str] = "its key derivation takes half a second, by its standard mode"

    def mount_command(self, volume: Volume, mountpoint: Path) -> Command:
        options = ["--standard", "--stdinpass", *self.args]
        return Command([self.path, *options, str(volume.cipherdir), str(mountpoint)], stdin=f"{_PASSWORD}\n")


class Cryfs(Peer):
    """With its defaults. The first mount makes the volume."""

    product: ClassVar[str] = "cryfs"
    package: ClassVar[str] = "cryfs"
    fixed_kdf: ClassVar[str] = "the cost of its key derivation can't be chosen"

    def mount_command(self, volume: Volume, mountpoint: Path) -> Command:
        env = {
            "CRYFS_FRONTEND": "noninteractive",
            "CRYFS_NO_UPDATE_CHECK": "true",
            "CRYFS_LOCAL_STATE_DIR": str(volume.private / "state"),
        }
        options = ["--logfile", str(volume.log), *self.args]
        return Command([self.path, *options, str(volume.cipherdir), str(mountpoint)], env, f"{_PASSWORD}\n")


def _first_line(outcome: object) -> str:
    text = f"{getattr(outcome, 'stdout', '')}{getattr(outcome, 'stderr', '')}".strip()
    return text.splitlines()[0] if text else "says nothing"


# --- by name ------------------------------------------------------------------------------------------------------
DEFAULT: Final = ("plain", "lane", "gocryptfs", "python")
"""Neighbours run one after the other, so those that matter most to each other stand together."""

QUICK_NAMES: Final = ("plain", "lane", "gocryptfs")
NAMES: Final = (*DEFAULT, "securefs", "encfs", "cryfs")


def make_peer(name: str, *, label: str = "", program: str = "", args: Sequence[str] = ()) -> Peer:
    """A peer by its name on the command line.

    Raises:
        RefusalError: there is no such peer.
    """
    label, extra = label or name, tuple(args)
    if name in ("lane", "python"):
        return Pcvfs(label, program or str(Path(sys.executable).with_name("pcvfs")), ("--engine", name, *extra))
    others: dict[str, type[Peer]] = {p.product: p for p in (Plain, Gocryptfs, Securefs, Encfs, Cryfs)}
    if name not in others:
        raise RefusalError(f"no peer is called {name!r}; there are {', '.join(NAMES)}")
    return others[name](label, program or name, extra)


def parse_variant(text: str) -> Peer:
    """A peer with other options or another program, from ``LABEL=PEER [program:PATH] [ARGUMENTS]``.

    Raises:
        RefusalError: it does not read like that.
    """
    label, _, rest = text.partition("=")
    words = shlex.split(rest)
    if not label or not words:
        raise RefusalError(f"--variant {text!r}: write LABEL=PEER [program:PATH] [ARGUMENTS]")
    programs = [word.removeprefix("program:") for word in words if word.startswith("program:")]
    args = [word for word in words[1:] if not word.startswith("program:")]
    return make_peer(words[0], label=label, program=programs[-1] if programs else "", args=args)


def install_packages(peers: Sequence[Peer]) -> None:
    """Install Debian's packages of peers that were asked for by name and are missing. Needs root.

    Raises:
        RefusalError: apt-get can't.
    """
    missing = sorted({p.package for p in peers if p.package and p.program == p.product and not shutil.which(p.program)})
    if not missing:
        return
    apt = ["apt-get", "-q", "-y", "-o", "Acquire::Retries=3"]
    try:
        run(Command([*apt, "update"]), limit_s=300, must_succeed=False)
        noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
        run(Command([*apt, "install", "--no-install-recommends", *missing], noninteractive), limit_s=600)
    except BenchError as exc:
        raise RefusalError(f"can't install {', '.join(missing)}: {exc}") from exc
