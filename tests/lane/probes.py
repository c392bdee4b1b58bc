"""Looking into a mount process, and slowing its disk down."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

from tests.support import kernel
from tests.support.drivers import MountOptions, Pcvfs, Volume
from tests.support.mounts import LiveMount
from tests.support.processes import open_files
from tests.support.requirements import require_tool

IDLE_TIMEOUT_S = 10  # the lane gives files back after one second without requests


def statistics(live: LiveMount) -> dict[str, int]:
    """Ask pcvfs for its counters: SIGUSR2 makes it log one line of JSON."""
    before = len(live.log())
    os.kill(live.serving_pid(), signal.SIGUSR2)
    kernel.wait_until(lambda: "}" in live.log()[before:], timeout_s=10, what="the statistics line")
    line = next(line for line in live.log()[before:].splitlines() if "nlookup" in line)
    counters: dict[str, int] = json.loads(line[line.index("{") : line.rindex("}") + 1])
    return counters


def stored_files(live: LiveMount) -> list[str]:
    """Files of the cipherdir that the mount process has open for content, by path; mere references do not count."""
    pid, inside = live.serving_pid(), str(live.volume.cipherdir) + "/"
    files = {fd: target for fd, target in open_files(pid).items() if target.startswith(inside)}
    return [target for fd, target in files.items() if _is_open_file(pid, fd)]


def _is_open_file(pid: int, fd: int) -> bool:
    try:
        mode = os.stat(f"/proc/{pid}/fd/{fd}").st_mode
        lines = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines()
    except OSError:
        return False  # closed meanwhile
    flags = next(line for line in lines if line.startswith("flags:"))
    return stat.S_ISREG(mode) and not int(flags.split()[1], 8) & os.O_PATH


def wait_until_idle(live: LiveMount) -> None:
    """Until the mount has given back every file that nobody uses at the moment."""
    kernel.wait_until(lambda: not stored_files(live), timeout_s=IDLE_TIMEOUT_S, what="files to be given back")


class Limited(Pcvfs):
    """pcvfs that may open only so many files."""

    def __init__(self, engine: str, descriptors: int) -> None:
        super().__init__(engine)
        self._descriptors = descriptors

    def mount_command(self, volume: Volume, mountpoint: Path, options: MountOptions) -> list[str]:
        limit = f"--nofile={self._descriptors}:{self._descriptors}"
        return [require_tool("prlimit"), limit, *super().mount_command(volume, mountpoint, options)]


class SlowSyncs(Pcvfs):
    """pcvfs on a disk whose syncs take as long as a file exists.

    Args:
        place: an empty directory.
    """

    SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_for_disk(void)
{
    const char *brake = getenv("PCVT_BRAKE");
    while (access(brake, F_OK) == 0)
        usleep(2000);
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_for_disk();
    return real(fd);
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_disk();
    return real(fd);
}
"""

    def __init__(self, engine: str, place: Path) -> None:
        super().__init__(engine)
        self.brake = place / "brake"
        self._library = place / "slow.so"
        source = place / "slow.c"
        source.write_text(self.SOURCE)
        command = [require_tool("gcc"), "-shared", "-fPIC", "-O1", "-o", self._library, source]
        subprocess.run(command, check=True, timeout=60)

    def environment(self, options: MountOptions) -> dict[str, str]:
        mine = {"LD_PRELOAD": str(self._library), "PCVT_BRAKE": str(self.brake)}
        return super().environment(options) | mine
