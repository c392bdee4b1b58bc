"""What a mount loads: the time to mount is the time to load modules, so none may slip in unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcvfs.cipherdir.lifecycle import create_volume
from pcvfs.errors import ExitCode
from pcvfs.format.keys import CreateOptions
from tests.support.requirements import require_fuse

# Each of these takes from half a millisecond (shutil) to a tenth of a second (trio), and no mount of root needs it.
HEAVY = {
    *("asyncio", "click", "cryptography", "ctypes", "dataclasses", "difflib", "email", "hashlib", "importlib.metadata"),
    *("inspect", "pathlib", "rich", "rich_click", "shutil", "socket", "ssl", "subprocess", "tempfile", "trio._core"),
    *("logging.handlers", "uuid", "zipfile"),
}
PASSWORD = b"a good password"

# Runs the program as its script does, and has both processes say at their end what they have loaded.
SPY = """
import os, sys
directory = sys.argv.pop(1)
def tell(status, leave=os._exit):
    with open(f"{directory}/modules.{os.getpid()}", "w") as file:
        file.write("\\n".join(sys.modules))
    leave(status)
os._exit = tell
from pcvfs.cli.program import run
run()
"""


@pytest.fixture
def cipherdir(tmp_path: Path) -> Path:
    path = tmp_path / "cipher"
    path.mkdir()
    create_volume(os.fsencode(path), PASSWORD, CreateOptions(log_n=10)).wipe()
    return path


def bare_modules() -> set[str]:
    """What an interpreter has loaded before it runs anything; an editable install adds to that."""
    argv = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.split())


def loaded_by(tmp_path: Path, *words: str) -> tuple[int, list[set[str]]]:
    """The exit code of a command, and what each of its processes had loaded at its end."""
    argv = [sys.executable, "-c", SPY, tmp_path, *words]
    done = subprocess.run(argv, input=PASSWORD, capture_output=True, check=False, timeout=60)
    return done.returncode, [set(path.read_text().split("\n")) for path in sorted(tmp_path.glob("modules.*"))]


def test_mount_loads_nothing_heavy_in_either_process(tmp_path: Path, cipherdir: Path) -> None:
    require_fuse()
    mountpoint = tmp_path / "plain"
    mountpoint.mkdir()
    status, loaded = loaded_by(tmp_path, "mount", "--fg", "--idle", "50ms", str(cipherdir), str(mountpoint))
    assert status == ExitCode.OK
    assert len(loaded) == 2
    assert any("pyfuse3" in modules for modules in loaded)
    for modules in loaded:
        assert not {name for name in modules - bare_modules() if name in HEAVY or name.partition(".")[0] in HEAVY}


def test_trio_is_a_stand_in_until_it_is_used() -> None:
    code = """
import sys
from pcvfs.fs.later import put_off_trio
put_off_trio()
import pyfuse3, trio
assert "trio._core" not in sys.modules and "importlib.metadata" not in sys.modules
async def main():
    await pyfuse3.trio.lowlevel.checkpoint()
    return "ran"
print(trio.run(main), sys.modules["trio"].run is trio.run)
import trio.abc
import importlib.metadata
print(importlib.metadata.version("pyfuse3"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("ran True\n3.")


@pytest.mark.parametrize("words", [["mount", "--help"], ["mount", "/nonexistent", "/nonexistent"], ["mount"]])
def test_child_that_was_not_needed_ends_with_the_command(tmp_path: Path, words: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from pcvfs.cli.program import run; run()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        process.communicate(timeout=60)  # a child that stayed would keep the pipes open
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_child_that_dies_is_an_error_with_the_code_for_it() -> None:
    code = """
import os, signal
from pcvfs.fs.forked import ForkedServer
with ForkedServer() as server:
    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    from pcvfs import CreateOptions, MountOptions, Secret
    from pcvfs.errors import MountError
    from pcvfs.fs.handover import LogTarget, MasterKey, Order
    key = MasterKey(Secret(32), CreateOptions())
    try:
        server.start(Order(MountOptions(cipherdir=b"/a", mountpoint=b"/b"), key, LogTarget(), False))
    except MountError as exc:
        print(int(exc.exit_code), server.poll())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{ExitCode.FORK_CHILD:d} -9\n"
