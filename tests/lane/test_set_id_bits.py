"""Who changes a file takes its set-user-ID and set-group-ID bits away, however it is changed; as on a plain directory.

The kernel leaves that to us (FUSE_HANDLE_KILLPRIV_V2 and before), so it has to be right on every way to a change.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support import syscalls
from tests.support.accounts import SOMEONE, SOMEONES_GROUP, errno_of, run_as
from tests.support.drivers import MountOptions, Pcvfs
from tests.support.flavours import DEFAULT
from tests.support.mounts import LiveMount
from tests.support.playground import Playground
from tests.support.requirements import require_root, require_tool

pytestmark = pytest.mark.fuse_only

OTHER: Final = 2345  # neither owner nor in the group
MODES: Final = (0o4755, 0o2755, 0o6777, 0o2745, 0o4711, 0o6766, 0o2766)
BLOCK: Final = 4096


def pwrite(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, b"changed", 10)
    os.close(fd)


def direct_write(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    os.pwrite(fd, mmap.mmap(-1, BLOCK), 0)
    os.close(fd)


def append(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"more")
    os.close(fd)


def truncate_on_open(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def allocate(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        syscalls.fallocate(fd, 0, 0, 50_000)
    finally:
        os.close(fd)


def copy_in(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    source = os.memfd_create("source")
    os.write(source, b"x" * 100)
    try:
        os.lseek(source, 0, os.SEEK_SET)
        os.sendfile(fd, source, None, 100)
    finally:
        os.close(source)
        os.close(fd)


ACTIONS: Final[dict[str, Callable[[Path], object]]] = {
    "write": pwrite,
    "direct write": direct_write,
    "append": append,
    "cut": lambda path: os.truncate(path, 100),
    "grow": lambda path: os.truncate(path, 100_000),
    "same size": lambda path: os.truncate(path, 3 * BLOCK),
    "truncate on open": truncate_on_open,
    "allocate": allocate,
    "sendfile": copy_in,
    "change group": lambda path: os.chown(path, -1, SOMEONES_GROUP),
    "touch": lambda path: os.utime(path, None),
    "read": lambda path: path.read_bytes(),
}


WRITES: Final = {"write", "direct write", "append", "sendfile"}


def is_lane(live: LiveMount) -> bool:
    return live.driver.name == "pcvfs-lane"


def is_out_of_reach(mode: int, actor: int) -> bool:
    """Set-group-ID without group-execute, and a writer outside the group.

    Without FUSE_HANDLE_KILLPRIV_V2 the kernel leaves that bit alone, and pyfuse3 does not say who writes.
    """
    return bool(mode & stat.S_ISGID) and not mode & stat.S_IXGRP and actor == OTHER


def can_allocate(live: LiveMount) -> bool:
    """pyfuse3 knows no FALLOCATE."""
    path = live.path / "allocated"
    path.touch()
    failure = errno_of(lambda: allocate(path))
    assert failure == (0 if is_lane(live) else errno.EOPNOTSUPP)
    return failure == 0


def outcome(directory: Path, mode: int, actor: int, action: Callable[[Path], object]) -> tuple[int, int]:
    """The mode of a file after somebody did something to it, and the errno if that failed."""
    path = directory / f"{mode:o}-{actor}"
    path.write_bytes(b"x" * (3 * BLOCK))
    os.chown(path, SOMEONE, SOMEONES_GROUP)
    path.chmod(mode)
    failure = 0

    def act() -> None:
        action(path)

    try:
        run_as(actor, act) if actor else act()
    except OSError as exc:
        failure = exc.errno or -1
    return stat.S_IMODE(path.stat().st_mode), failure


@pytest.fixture
def control(playground: Playground) -> Path:
    """A plain directory on the same machine: what is right."""
    directory = playground.new_directory()
    directory.chmod(0o777)
    return directory


@pytest.fixture(params=["lane", "python"])
def shared(playground: Playground, request: pytest.FixtureRequest) -> LiveMount:
    require_root("the test becomes other users")
    driver = Pcvfs(request.param)
    driver.require()
    live = playground.new_mount(driver, DEFAULT, MountOptions(allow_other=True, suid=True))
    live.path.chmod(0o777)
    return live


@pytest.mark.parametrize("name", ACTIONS)
def test_bits_go_as_they_go_on_a_plain_directory(shared: LiveMount, control: Path, name: str) -> None:
    action = ACTIONS[name]
    cases = [(mode, actor) for mode in MODES for actor in (0, SOMEONE, OTHER)]
    expected = {case: outcome(control, *case, action) for case in cases}
    got = {case: outcome(shared.path, *case, action) for case in cases}
    if name == "allocate" and not can_allocate(shared):
        return
    if not is_lane(shared) and name in WRITES:
        expected |= {
            case: (expected[case][0] | stat.S_ISGID, expected[case][1]) for case in cases if is_out_of_reach(*case)
        }
    different = {
        f"{mode:o} by {actor}": f"{got[mode, actor][0]:o}, not {expected[mode, actor][0]:o}"
        for mode, actor in cases
        if got[mode, actor] != expected[mode, actor]
    }
    assert not different
    shared.unmount()
    shared.start()
    for mode, actor in cases:  # what the kernel showed is also what is stored
        stored = stat.S_IMODE((shared.path / f"{mode:o}-{actor}").stat().st_mode)
        assert stored == got[mode, actor][0], f"{mode:o} by {actor} after a remount"


@pytest.mark.parametrize(
    ("name", "keeps"), [("write", True), ("direct write", False), ("cut", False), ("truncate on open", False)]
)
def test_member_through_another_group_may_lose_the_bit_and_nothing_else(
    shared: LiveMount, control: Path, name: str, keeps: bool
) -> None:
    """A request names one group of the user. Where the kernel does not judge itself, we take the safe side."""
    modes = []
    for directory in (control, shared.path):
        path = directory / "file"
        path.write_bytes(b"x" * (3 * BLOCK))
        os.chown(path, SOMEONE, SOMEONES_GROUP)
        path.chmod(0o2766)
        run_as(OTHER, lambda path=path: ACTIONS[name](path), groups=[SOMEONES_GROUP])  # type: ignore[misc]
        modes.append(stat.S_IMODE(path.stat().st_mode))
    assert modes == [0o2766, 0o2766 if keeps or (name in WRITES and not is_lane(shared)) else 0o766]


# --- what executing makes of it ---------------------------------------------------------------------------------
WHO_AM_I = """
#include <stdio.h>
#include <unistd.h>
int main(void) { return printf("%d\\n", (int)geteuid()) < 0; }
"""

HARMLESS: Final[dict[str, Callable[[Path], object]]] = {
    "append": append,
    "direct write": lambda path: rewrite_directly(path),
    "grow": lambda path: os.truncate(path, 1 << 20),
    "allocate": lambda path: allocate_more(path),
}


def rewrite_directly(path: Path) -> None:
    """The first page again, as it was."""
    memory = mmap.mmap(-1, BLOCK)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    os.preadv(fd, [memory], 0)
    os.pwrite(fd, memory, 0)
    os.close(fd)


def allocate_more(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        syscalls.fallocate(fd, 0, 0, 1 << 20)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", HARMLESS)
def test_changed_program_runs_at_once_without_the_rights_it_had(
    shared: LiveMount, playground: Playground, name: str
) -> None:
    """Without a stat in between: what the kernel remembers of the mode must not be what it was."""
    if name == "allocate" and not can_allocate(shared):
        return
    source, built = playground.new_directory() / "who.c", playground.new_directory() / "who"
    source.write_text(WHO_AM_I)
    subprocess.run([require_tool("gcc"), "-static", "-o", built, source], check=True, timeout=60)
    program = shared.path / "who"
    program.write_bytes(built.read_bytes())
    program.chmod(0o4777)

    def run() -> int:
        return int(subprocess.run([program], check=True, capture_output=True, timeout=20).stdout)

    def change_and_run() -> tuple[int, int]:
        failure = errno_of(lambda: HARMLESS[name](program))
        return failure, run()

    assert run_as(OTHER, run) == 0, "set-user-ID has no effect here"
    failure, user = run_as(OTHER, change_and_run)
    assert (failure, user) == (0, OTHER)


# --- file capabilities ------------------------------------------------------------------------------------------
CAPABILITY: Final = "security.capability"
CAP_NET_RAW: Final = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # permitted and effective, version 2


def has_capability_after(directory: Path, action: Callable[[Path], object], actor: int) -> bool:
    path = directory / f"cap-{actor}"
    path.write_bytes(b"x" * (3 * BLOCK))
    path.chmod(0o777)
    os.setxattr(path, CAPABILITY, CAP_NET_RAW)
    assert os.getxattr(path, CAPABILITY) == CAP_NET_RAW
    run_as(actor, lambda: errno_of(lambda: action(path)))
    return CAPABILITY in os.listxattr(path)


@pytest.mark.parametrize("name", ["write", "direct write", "append", "cut", "grow", "truncate on open", "allocate"])
def test_capabilities_of_a_changed_program_are_gone(shared: LiveMount, control: Path, name: str) -> None:
    action = ACTIONS[name]
    assert not has_capability_after(control, action, OTHER)
    assert not has_capability_after(control, action, 0)
    if name == "allocate" and not can_allocate(shared):
        return
    assert not has_capability_after(shared.path, action, OTHER)
    assert not has_capability_after(shared.path, action, 0)
