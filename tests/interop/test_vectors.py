"""The golden volumes: made by gocryptfs 2.3, their plaintext is described in plain.json."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import TypedDict

import pytest

from tests.support.drivers import DRIVERS, Driver, MountOptions, Volume
from tests.support.flavours import DEFAULT
from tests.support.playground import Playground
from tests.support.requirements import REPOSITORY, require_root, require_tool, unavailable
from tests.support.tree import Entry, differences, snapshot

SOURCES = (REPOSITORY / "tests" / "vectors" / "gocryptfs", REPOSITORY.parent / "shared" / "vectors" / "gocryptfs")
FORWARD = (
    "default",
    "xchacha",
    "aessiv",
    "plaintextnames",
    "deterministic-names",
    "longnamemax-100",
    "legacy-nohkdf-gcm",
    "legacy-nohkdf-plaintextnames",
)
pytestmark = pytest.mark.fuse_only


class PlainEntry(TypedDict, total=False):
    """One value of plain.json; ``mode`` is an octal string with the file type."""

    mode: str
    nlink: int
    size: int
    sha256: str
    target: str
    xattrs_hex: dict[str, str]


Description = dict[str, PlainEntry]


def archive_of(name: str) -> Path:
    """Return the archive of a golden volume."""
    found = [path for source in SOURCES if (path := source / f"{name}.tar.gz").exists()]
    if not found:
        unavailable("vectors", f"no {name}.tar.gz in {[str(s) for s in SOURCES]}")
    return found[0]


def unpack(name: str, into: Path) -> tuple[Volume, Description]:
    """Unpack with owners, modes, hard links and attributes; return the volume and its description."""
    require_root("owners and modes come back for root only")
    tar = require_tool("tar")
    flags = ["--xattrs", "--xattrs-include=user.*", "--strip-components=1"]
    subprocess.run([tar, *flags, "-xzf", archive_of(name), "-C", into], check=True, timeout=60)
    meta = json.loads((into / "meta.json").read_text())
    plain = json.loads((into / "plain.json").read_text())
    return Volume(into / "cipher", DEFAULT, password=meta["password"]), plain


def described(plain: Description) -> dict[bytes, Entry]:
    """Turn plain.json into a snapshot."""
    tree = {}
    for name, entry in plain.items():
        mode = int(entry["mode"], 8)
        attributes = entry.get("xattrs_hex", {})
        has_size = stat.S_ISREG(mode) or stat.S_ISLNK(mode)
        tree[os.fsencode(name)] = Entry(
            mode=mode,
            size=entry["size"] if has_size else 0,
            nlink=entry["nlink"],
            target=os.fsencode(entry.get("target", "")),
            sha256=entry.get("sha256", ""),
            xattrs=tuple(sorted((key, bytes.fromhex(value)) for key, value in attributes.items())),
        )
    return tree


def comparable(tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
    """Leave out what plain.json doesn't state: the root, owners, and which names are the same file."""
    strip = functools.partial(dataclasses.replace, uid=0, gid=0, links=(), rdev=0)
    return {path: strip(entry) for path, entry in tree.items() if path != b"."}


@pytest.mark.parametrize("options", [MountOptions(), MountOptions(ro=True)], ids=["rw", "ro"])
@pytest.mark.parametrize("name", FORWARD)
def test_golden_volume_shows_what_its_description_says(
    playground: Playground, driver: Driver, name: str, options: MountOptions
) -> None:
    driver.require()
    volume, plain = unpack(name, playground.new_directory("vector"))
    live = playground.mount(driver, volume, options)
    found = differences(comparable(described(plain)), comparable(snapshot(live.path)))
    assert not found, "\n".join(found)
    live.unmount()


@pytest.mark.parametrize("name", FORWARD)
def test_golden_volume_keeps_its_hard_links(playground: Playground, driver: Driver, name: str) -> None:
    driver.require()
    volume, plain = unpack(name, playground.new_directory("vector"))
    live = playground.mount(driver, volume)
    linked = [key for key, entry in plain.items() if entry["nlink"] > 1 and not stat.S_ISDIR(int(entry["mode"], 8))]
    assert linked or name.startswith("legacy")
    assert len({os.stat(live.path / key).st_ino for key in linked}) <= 1
    if linked:
        (live.path / linked[0]).write_bytes(b"through one name")
        assert {(live.path / key).read_bytes() for key in linked} == {b"through one name"}
    live.unmount()


@pytest.mark.parametrize("name", FORWARD)
def test_golden_volume_passes_fsck(playground: Playground, driver: Driver, name: str) -> None:
    driver.require()
    volume, _ = unpack(name, playground.new_directory("vector"))
    result = driver.fsck(volume)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", FORWARD)
def test_golden_volume_is_extended_and_still_passes_the_other_fsck(
    playground: Playground, driver: Driver, name: str
) -> None:
    driver.require()
    volume, plain = unpack(name, playground.new_directory("vector"))
    live = playground.mount(driver, volume)
    (live.path / "added").write_bytes(b"added" * 2000)
    (live.path / ("long" * 60)).write_bytes(b"long")
    with open(live.path / "b8192" if "b8192" in plain else live.path / "added", "ab") as stream:
        stream.write(b"appended")
    (live.path / "newdir").mkdir()
    (live.path / "newdir" / "link").symlink_to("../added")
    live.unmount()
    for checker in {driver.name, "gocryptfs"}:
        result = DRIVERS[checker].fsck(volume)
        assert result.returncode == 0, f"{checker}: {result.stdout}{result.stderr}"
