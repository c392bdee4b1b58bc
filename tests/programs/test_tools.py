"""Programs people use: rsync, a compiler, pip, fio."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.interop.gallery import fill_gallery
from tests.support.mounts import LiveMount
from tests.support.playground import Playground
from tests.support.requirements import require_tool
from tests.support.tree import assert_same_tree

pytestmark = pytest.mark.flavours("default")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program to its end and return its output.

    Raises: AssertionError with the output if it fails.
    """
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False, timeout=300
    )
    assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"
    return result.stdout


# --- rsync -------------------------------------------------------------------------------------------------------
@pytest.mark.flavours("default", "plaintextnames")
def test_rsync_copies_everything_in_and_out(own_mount: LiveMount, playground: Playground) -> None:
    rsync = require_tool("rsync")
    source, back = playground.new_directory("source"), playground.new_directory("back")
    fill_gallery(source)
    inside = own_mount.path / "copy"
    flags = ["-aHAX", "--sparse", "--numeric-ids", "--modify-window=-1"]  # times to the nanosecond
    run(rsync, *flags, f"{source}/", f"{inside}/")
    assert_same_tree(source, inside, with_times=True)
    assert run(rsync, *flags, "-n", "-i", "--checksum", f"{source}/", f"{inside}/") == ""
    run(rsync, *flags, f"{inside}/", f"{back}/")
    assert_same_tree(source, back, with_times=True)


def test_rsync_updates_in_place_and_deletes(own_mount: LiveMount, playground: Playground, seed: int) -> None:
    rsync, rng = require_tool("rsync"), random.Random(seed)
    source, inside = playground.new_directory("source"), own_mount.path / "copy"
    for number in range(40):
        (source / f"file{number}").write_bytes(rng.randbytes(rng.randrange(200_000)))
    run(rsync, "-a", f"{source}/", f"{inside}/")
    for number in range(0, 40, 3):
        with open(source / f"file{number}", "r+b") as stream:
            stream.seek(rng.randrange(100_000))
            stream.write(rng.randbytes(5000))
        os.utime(source / f"file{number}", ns=(1, number + 1))
    (source / "file1").unlink()
    run(rsync, "-a", "--modify-window=-1", "--inplace", "--no-whole-file", "--delete", f"{source}/", f"{inside}/")
    assert_same_tree(source, inside, with_times=True)


# --- compiler ----------------------------------------------------------------------------------------------------
def write_project(root: Path, units: int) -> None:
    """A C program of many files: main() adds up what they return."""
    (root / "src").mkdir(parents=True)
    for number in range(units):
        (root / "src" / f"unit{number}.h").write_text(f"int unit{number}(void);\n")
        (root / "src" / f"unit{number}.c").write_text(
            f'#include <stdio.h>\n#include "unit{number}.h"\nint unit{number}(void) {{ return {number}; }}\n'
        )
    includes = "".join(f'#include "unit{n}.h"\n' for n in range(units))
    total = " + ".join(f"unit{n}()" for n in range(units))
    (root / "src" / "main.c").write_text(
        f'#include <stdio.h>\n{includes}int main(void) {{ printf("%d\\n", {total}); return 0; }}\n'
    )
    (root / "Makefile").write_text(
        "SRC := $(wildcard src/*.c)\nOBJ := $(SRC:src/%.c=build/%.o)\n"
        "program: $(OBJ)\n\t$(CC) -o $@ $^\n"
        "build/%.o: src/%.c | build\n\t$(CC) -O1 -g -MMD -c -o $@ $<\n"
        "build:\n\tmkdir -p $@\n-include $(OBJ:.o=.d)\n"
    )


def test_compiler_builds_and_rebuilds_a_project(own_mount: LiveMount) -> None:
    make, units = require_tool("make"), 40
    require_tool("gcc")
    root = own_mount.path / "project"
    write_project(root, units)
    run(make, "-j2", "CC=gcc", cwd=root)
    assert run(root / "program") == f"{sum(range(units))}\n"
    assert "up to date" in run(make, "CC=gcc", cwd=root)
    (root / "src" / "unit3.c").write_text('#include "unit3.h"\nint unit3(void) { return 1000; }\n')
    rebuilt = run(make, "-j2", "CC=gcc", cwd=root)
    assert rebuilt.count("-c -o") == 1
    assert run(root / "program") == f"{sum(range(units)) - 3 + 1000}\n"


# --- pip ---------------------------------------------------------------------------------------------------------
def make_wheel(directory: Path, modules: int) -> Path:
    """A wheel with many modules and a console script, made by hand so that no network is needed."""
    files = {f"manymodules/m{n}.py": f"VALUE = {n}\n" for n in range(modules)}
    files["manymodules/__init__.py"] = (
        "from importlib import import_module\n\n\ndef main():\n"
        f"    print(sum(import_module(f'manymodules.m{{n}}').VALUE for n in range({modules})))\n"
    )
    info = "manymodules-1.0.dist-info"
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\nName: manymodules\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = "[console_scripts]\nmanymodules = manymodules:main\n"
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    wheel = directory / "manymodules-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


@pytest.mark.timeout(180)
def test_pip_installs_into_a_virtual_environment_on_the_mount(own_mount: LiveMount) -> None:
    environment = own_mount.path / "venv"
    run(sys.executable, "-m", "venv", environment)
    wheel = make_wheel(own_mount.path, 150)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-index", "--disable-pip-version-check", wheel)
    assert run(environment / "bin" / "manymodules") == f"{sum(range(150))}\n"
    own_mount.unmount()
    own_mount.start()
    assert run(environment / "bin" / "manymodules") == f"{sum(range(150))}\n"
    run(python, "-m", "pip", "check")
    run(python, "-m", "pip", "uninstall", "-q", "-y", "manymodules")
    assert not list(environment.rglob("manymodules*"))


# --- fio ---------------------------------------------------------------------------------------------------------
@pytest.mark.flavours("default", "xchacha", "aessiv")
@pytest.mark.parametrize("mode", ["write", "randwrite", "randrw"])
def test_fio_verifies_what_it_wrote(own_mount: LiveMount, mode: str, seed: int) -> None:
    fio = require_tool("fio")
    run(
        fio,
        f"--name={mode}",
        f"--directory={own_mount.path}",
        f"--rw={mode}",
        "--size=16M",
        "--bsrange=512-64k",
        "--bs_unaligned=1",
        "--ioengine=psync",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--do_verify=1",
        "--fsync=200",
        "--numjobs=2",
        f"--randseed={seed}",
        cwd=own_mount.log_path.parent,  # fio leaves state files where it runs
    )
