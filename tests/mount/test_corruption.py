"""Damaged volumes: the damage is reported, the rest stays readable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.mounts import LiveMount

pytestmark = pytest.mark.fuse_only
content_flavours = pytest.mark.flavours("default", "xchacha", "aessiv", "legacy")
name_flavours = pytest.mark.flavours("default", "deterministic-names", "longnamemax-62")

BLOCK = 4096
HEADER = 18
EXIT_FSCK = 26
CONTENT = b"".join(bytes([65 + n]) * BLOCK for n in range(10)) + b"tail"


def stored_paths(live: LiveMount) -> set[Path]:
    return set(live.volume.cipherdir.rglob("*"))


def create(live: LiveMount, name: str, data: bytes = CONTENT) -> Path:
    """Write a file and return where it is stored (the object, not its long-name sidecar)."""
    before = stored_paths(live)
    (live.path / name).write_bytes(data)
    (new,) = [path for path in stored_paths(live) - before if path.suffix != ".name"]
    return new


def stored_block(live: LiveMount) -> int:
    return BLOCK + (40 if live.volume.flavour.cipher == "xchacha" else 32)


def damage(live: LiveMount, path: Path, offset: int, data: bytes | None = None) -> None:
    """Unmount, change the stored file (None: flip one bit) and mount again."""
    live.unmount()
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(offset)
        if data is None:
            data = bytes([stream.read(1)[0] ^ 1])
            stream.seek(offset)
        stream.write(data)
    live.start()


def check_others_are_fine(live: LiveMount) -> None:
    assert (live.path / "other").read_bytes() == CONTENT
    (live.path / "new").write_bytes(b"still writable")
    (live.path / "new").unlink()
    assert "Traceback" not in live.log()


@content_flavours
@pytest.mark.parametrize("block", [0, 4, 10])
@pytest.mark.parametrize("part", ["nonce", "middle", "last byte"])
def test_flipped_bit_makes_that_block_unreadable_and_no_other(own_mount: LiveMount, block: int, part: str) -> None:
    create(own_mount, "other")
    path = create(own_mount, "file")
    start = HEADER + block * stored_block(own_mount)
    end = min(start + stored_block(own_mount), path.stat().st_size)
    damage(own_mount, path, {"nonce": start, "middle": (start + end) // 2, "last byte": end - 1}[part])
    fd = os.open(own_mount.path / "file", os.O_RDONLY)
    try:
        for number in range(11):
            if number == block:
                assert errno_of(lambda n=number: os.pread(fd, BLOCK, n * BLOCK)) == errno.EIO  # type: ignore[misc]  # int
            else:
                assert os.pread(fd, BLOCK, number * BLOCK) == CONTENT[number * BLOCK : (number + 1) * BLOCK]
    finally:
        os.close(fd)
    assert "10" not in own_mount.log() or own_mount.log()  # the log exists; its wording is not ours to fix
    assert 1 <= len(own_mount.log().splitlines()) <= 20
    check_others_are_fine(own_mount)


@content_flavours
def test_damaged_block_can_be_overwritten_whole_and_not_in_part(own_mount: LiveMount) -> None:
    path = create(own_mount, "file")
    damage(own_mount, path, HEADER + 3 * stored_block(own_mount) + 100)
    fd = os.open(own_mount.path / "file", os.O_RDWR)
    try:
        assert errno_of(lambda: (os.pwrite(fd, b"part", 3 * BLOCK + 10), os.fsync(fd))) == errno.EIO
        os.pwrite(fd, b"n" * BLOCK, 3 * BLOCK)
        os.fsync(fd)
        assert os.pread(fd, BLOCK, 3 * BLOCK) == b"n" * BLOCK
    finally:
        os.close(fd)
    own_mount.unmount()
    assert own_mount.driver.fsck(own_mount.volume).returncode == 0


@content_flavours
@pytest.mark.parametrize("data", [b"\0\3", bytes(18), None], ids=["version", "all zero", "file id"])
def test_damaged_header_makes_the_file_unreadable(own_mount: LiveMount, data: bytes | None) -> None:
    create(own_mount, "other")
    path = create(own_mount, "file")
    damage(own_mount, path, 10 if data is None else 0, data)
    assert errno_of((own_mount.path / "file").read_bytes) == errno.EIO
    check_others_are_fine(own_mount)
    own_mount.unmount()
    assert own_mount.driver.fsck(own_mount.volume).returncode == EXIT_FSCK


@content_flavours
def test_swapped_blocks_are_noticed(own_mount: LiveMount) -> None:
    path = create(own_mount, "file")
    size = stored_block(own_mount)
    stored = path.read_bytes()
    blocks = [stored[HEADER + n * size :][:size] for n in range(2)]
    damage(own_mount, path, HEADER, blocks[1] + blocks[0])
    assert errno_of((own_mount.path / "file").read_bytes) == errno.EIO


@content_flavours
@pytest.mark.parametrize("keep", [0, 1, 17, 18])
def test_file_cut_inside_its_header_reads_as_empty_and_can_be_written(own_mount: LiveMount, keep: int) -> None:
    path = create(own_mount, "file")
    own_mount.unmount()
    os.truncate(path, keep)
    own_mount.start()
    assert (own_mount.path / "file").read_bytes() == b""
    (own_mount.path / "file").write_bytes(CONTENT)
    own_mount.unmount()
    own_mount.start()
    assert (own_mount.path / "file").read_bytes() == CONTENT


@content_flavours
@pytest.mark.parametrize("cut", [1, 20, 35])
def test_file_cut_inside_a_block_loses_that_block_only(own_mount: LiveMount, cut: int) -> None:
    path = create(own_mount, "file")
    own_mount.unmount()
    os.truncate(path, HEADER + 9 * stored_block(own_mount) + cut)
    own_mount.start()
    fd = os.open(own_mount.path / "file", os.O_RDONLY)
    try:
        assert os.pread(fd, 9 * BLOCK, 0) == CONTENT[: 9 * BLOCK]
        assert errno_of(lambda: os.pread(fd, BLOCK, 9 * BLOCK)) == errno.EIO
    finally:
        os.close(fd)


@content_flavours
def test_zeroed_block_reads_as_a_hole(own_mount: LiveMount) -> None:
    path = create(own_mount, "file")
    damage(own_mount, path, HEADER + 2 * stored_block(own_mount), bytes(stored_block(own_mount)))
    assert (own_mount.path / "file").read_bytes() == CONTENT[: 2 * BLOCK] + bytes(BLOCK) + CONTENT[3 * BLOCK :]


@name_flavours
@pytest.mark.parametrize("bad", ["A" * 22, "not base64!", "gocryptfs.diriv.rmdir.1234", "x.sync-conflict", "="])
def test_undecryptable_name_is_hidden_and_the_rest_listed(own_mount: LiveMount, bad: str) -> None:
    create(own_mount, "other")
    own_mount.unmount()
    (own_mount.volume.cipherdir / bad).write_bytes(b"")
    own_mount.start()
    assert os.listdir(own_mount.path) == ["other"]
    assert errno_of(lambda: os.stat(own_mount.path / bad)) == errno.ENOENT
    assert 1 <= len(own_mount.log().splitlines()) <= 12
    check_others_are_fine(own_mount)
    own_mount.unmount()
    result = own_mount.driver.fsck(own_mount.volume)
    assert result.returncode == EXIT_FSCK
    assert bad in result.stdout + result.stderr


@name_flavours
@pytest.mark.parametrize("how", ["missing", "empty", "huge", "directory"])
def test_damaged_long_name_is_hidden_and_the_rest_listed(own_mount: LiveMount, how: str) -> None:
    create(own_mount, "other")
    path = create(own_mount, "l" * 200)
    sidecar = path.with_name(path.name + ".name")
    own_mount.unmount()
    sidecar.chmod(0o600)
    if how in ("missing", "directory"):
        sidecar.unlink()
    if how == "directory":
        sidecar.mkdir()
    elif how != "missing":
        sidecar.write_bytes(b"" if how == "empty" else b"A" * 1000)
    own_mount.start()
    assert os.listdir(own_mount.path) == ["other"]
    check_others_are_fine(own_mount)


@pytest.mark.flavours("default", "longnamemax-62")
@pytest.mark.parametrize("how", ["missing", "short", "zero"])
def test_damaged_directory_iv_makes_that_directory_unusable_and_no_other(own_mount: LiveMount, how: str) -> None:
    create(own_mount, "other")
    before = stored_paths(own_mount)
    (own_mount.path / "dir").mkdir()
    (own_mount.path / "dir" / "inside").write_bytes(b"x")
    (diriv,) = [path for path in stored_paths(own_mount) - before if path.name == "gocryptfs.diriv"]
    own_mount.unmount()
    diriv.chmod(0o600)
    if how == "missing":
        diriv.unlink()
    else:
        diriv.write_bytes(bytes(16) if how == "zero" else b"short")
    own_mount.start()
    assert sorted(os.listdir(own_mount.path)) == ["dir", "other"]
    assert errno_of(lambda: os.listdir(own_mount.path / "dir")) in (errno.EIO, errno.ENOENT)
    assert errno_of(lambda: os.stat(own_mount.path / "dir" / "inside")) != 0
    assert errno_of(lambda: (own_mount.path / "dir" / "new").write_bytes(b"")) != 0
    assert os.stat(own_mount.path / "dir").st_nlink >= 2
    check_others_are_fine(own_mount)


@content_flavours
def test_damaged_symlink_target_is_eio(own_mount: LiveMount) -> None:
    create(own_mount, "other")
    before = stored_paths(own_mount)
    (own_mount.path / "link").symlink_to("somewhere")
    (stored,) = stored_paths(own_mount) - before
    own_mount.unmount()
    target = os.readlink(stored)
    stored.unlink()
    stored.symlink_to(("B" if target[0] != "B" else "C") + target[1:])
    own_mount.start()
    assert errno_of(lambda: os.readlink(own_mount.path / "link")) == errno.EIO
    assert sorted(os.listdir(own_mount.path)) == ["link", "other"]
    os.unlink(own_mount.path / "link")
    check_others_are_fine(own_mount)


@content_flavours
def test_damaged_attribute_value_is_eio_and_foreign_names_are_hidden(own_mount: LiveMount) -> None:
    path = create(own_mount, "file")
    os.setxattr(own_mount.path / "file", "user.good", b"fine")
    own_mount.unmount()
    (stored_name,) = os.listxattr(path)
    os.setxattr(path, "user.foreign", b"not ours")
    os.setxattr(path, "user.gocryptfs.AAAA", b"undecryptable name")
    value = os.getxattr(path, stored_name)
    os.setxattr(path, stored_name, value[:-1] + bytes([value[-1] ^ 1]))
    own_mount.start()
    assert os.listxattr(own_mount.path / "file") == ["user.good"]
    assert errno_of(lambda: os.getxattr(own_mount.path / "file", "user.good")) == errno.EIO
    assert errno_of(lambda: os.getxattr(own_mount.path / "file", "user.foreign")) == errno.ENODATA
    os.setxattr(own_mount.path / "file", "user.good", b"replaced")
    assert os.getxattr(own_mount.path / "file", "user.good") == b"replaced"
