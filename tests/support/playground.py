"""Where tests keep their volumes and mountpoints: made on a real disk, checked for leftovers, removed at the end."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import tempfile
from pathlib import Path

from tests.support import kernel
from tests.support.drivers import Driver, MountOptions, Volume, new_volume
from tests.support.flavours import DEFAULT, Flavour
from tests.support.mounts import LiveMount
from tests.support.watchdog import Watchdog


def disk_directory() -> Path:
    """Return a directory for test data on a real filesystem: memory filesystems hide torn writes.

    ``PCVFS_TEST_DIR`` overrides the choice.
    """
    if chosen := os.environ.get("PCVFS_TEST_DIR"):
        return Path(chosen)
    candidates = [Path(tempfile.gettempdir()), Path("/var/tmp")]
    on_disk = [path for path in candidates if path.is_dir() and kernel.fs_type_of(path) not in ("tmpfs", "ramfs")]
    return (on_disk or candidates)[0]


class Playground:
    """One directory with volumes ``v<n>/cipher`` and mountpoints ``m<n>``; short paths, so that sockets fit."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="pcvt-", dir=disk_directory())).resolve()
        self.base.chmod(0o755)
        self.watchdog = watchdog
        self.mounts: list[LiveMount] = []
        self._numbers = itertools.count(1)

    def new_directory(self, prefix: str = "d") -> Path:
        """Return a new empty directory outside all mounts."""
        path = self.base / f"{prefix}{next(self._numbers)}"
        path.mkdir(mode=0o755)
        return path

    def new_volume(
        self, driver: Driver, flavour: Flavour = DEFAULT, *, owner: int | None = None, parent: Path | None = None
    ) -> Volume:
        """Create an empty volume, on another disk if *parent* is there."""
        return new_volume(driver, flavour, (parent or self.base) / f"v{next(self._numbers)}", owner=owner)

    def mount(
        self, driver: Driver, volume: Volume, options: MountOptions | None = None, *, mountpoint: Path | None = None
    ) -> LiveMount:
        """Mount a volume.

        Raises: MountFailedError.
        """
        number = next(self._numbers)
        path = (mountpoint or self.base / f"m{number}") if driver.is_fuse else volume.cipherdir
        log_path = self.base / f"m{number}.log"
        live = LiveMount(driver, volume, path, options or MountOptions(), self.watchdog, log_path)
        self.mounts.append(live)
        live.start()
        return live

    def new_mount(self, driver: Driver, flavour: Flavour = DEFAULT, options: MountOptions | None = None) -> LiveMount:
        """Create a volume and mount it."""
        owner = None if options is None else options.user
        return self.mount(driver, self.new_volume(driver, flavour, owner=owner), options)

    def close(self) -> list[str]:
        """End all mounts, remove everything and return what was left behind by them (empty: all is well)."""
        leftovers = []
        for live in self.mounts:
            live.close()
        for live in self.mounts:
            leftovers += live.leftovers()
        for entry in mounted_below(self.base):
            leftovers.append(f"still mounted: {entry}")
            kernel.lazy_unmount(Path(entry))
        remove_tree(self.base)
        return leftovers


def mounted_below(base: Path) -> list[str]:
    """Return the mountpoints inside a directory, the innermost first."""
    inside = [e.mountpoint for e in kernel.mount_table() if Path(e.mountpoint).is_relative_to(base)]
    return sorted(inside, key=len, reverse=True)


def remove_tree(path: Path) -> None:
    """Remove a directory whatever the modes inside it; refuses to cross into a mount."""
    if mounted := mounted_below(path):
        raise RuntimeError(f"refusing to remove {path}: {mounted} is mounted")
    if os.geteuid() != 0:
        for directory, subdirectories, _ in os.walk(path):
            for name in subdirectories:  # from the top: os.walk goes into them next
                if not os.path.islink(os.path.join(directory, name)):
                    os.chmod(os.path.join(directory, name), stat.S_IRWXU)
    shutil.rmtree(path)
