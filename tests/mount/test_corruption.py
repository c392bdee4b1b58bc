"""Damaged volumes: the damage is reported, the rest stays readable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.mounts import LiveMount
from tests.support.tree import paths_below

pytestmark = pytest.mark.fuse_only
content_flavours = pytest.mark.flavours("default", "xchacha")
name_flavours = pytest.mark.flavours("default", "deterministic-names", "longnamemax-62")

BLOCK = 4096
HEADER = 18
EXIT_FSCK = 26
CONTENT = b"".join(bytes([65 + n]) * BLOCK for n in range(10)) + b"tail"
BLOCKS = 11


def stored_paths(live: LiveMount) -> set[Path]:
    return set(paths_below(live.volume.cipherdir))


def create(live: LiveMount, name: str, data: bytes = CONTENT) -> Path:
    """Write a file and return where it is stored (the object, not its long-name sidecar)."""
    before = stored_paths(live)
    (live.path / name).write_bytes(data)
    (new,) = [path for path in stored_paths(live) - before if path.suffix != ".name"]
    return new


def block_size(live: LiveMount) -> int:
    """Bytes of a whole stored block."""
    return BLOCK + (40 if live.volume.flavour.cipher == "xchacha" else 32)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change a stored file; the volume must not be mounted."""
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def flip_bit(path: Path, offset: int) -> None:
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ 1]))


def write_and_sync(fd: int, data: bytes, offset: int) -> None:
    os.pwrite(fd, data, offset)
    os.fsync(fd)


def new_lines(live: LiveMount) -> list[str]:
    """What the log says since the last start, but for the start itself."""
    return [line for line in live.log()[live.log_start :].splitlines() if "mounted" not in line]


def readable_blocks(path: Path) -> set[int]:
    """Numbers of the blocks that show CONTENT; the others must give EIO."""
    good = set()
    fd = os.open(path, os.O_RDONLY)
    try:
        for number in range(BLOCKS):
            try:
                data = os.pread(fd, BLOCK, number * BLOCK)
            except OSError as exc:
                assert exc.errno == errno.EIO
                continue
            assert data == CONTENT[number * BLOCK :][:BLOCK], f"wrong plaintext in block {number}"
            good.add(number)
    finally:
        os.close(fd)
    return good


def check_the_rest_works(live: LiveMount) -> None:
    assert (live.path / "other").read_bytes() == CONTENT
    (live.path / "new").write_bytes(b"still writable")
    (live.path / "new").unlink()
    assert "Traceback" not in live.log()


# --- content -----------------------------------------------------------------------------------------------------
@pytest.mark.flavours("default", "xchacha", "aessiv", "legacy")
@pytest.mark.gocryptfs_differs("logs every read of a corrupt block")
def test_flipped_bits_make_those_blocks_unreadable_and_no_others(own_mount: LiveMount) -> None:
    create(own_mount, "other")
    size, damaged = block_size(own_mount), {0, 4, BLOCKS - 1}
    paths = {part: create(own_mount, part) for part in ("nonce", "middle", "last byte")}
    own_mount.unmount()
    for part, path in paths.items():
        for start in (HEADER + block * size for block in damaged):
            end = min(start + size, path.stat().st_size)
            flip_bit(path, {"nonce": start, "middle": (start + end) // 2, "last byte": end - 1}[part])
    own_mount.start()
    for part in [*paths, *paths]:
        assert readable_blocks(own_mount.path / part) == set(range(BLOCKS)) - damaged
    reports = len(damaged) * len(paths)
    assert reports <= len(new_lines(own_mount)) <= 2 * reports  # reported, and not with every read
    check_the_rest_works(own_mount)


@content_flavours
def test_damaged_block_can_be_overwritten_whole_and_not_in_part(own_mount: LiveMount) -> None:
    path = create(own_mount, "file")
    own_mount.unmount()
    flip_bit(path, HEADER + 3 * block_size(own_mount) + 100)
    own_mount.start()
    fd = os.open(own_mount.path / "file", os.O_RDWR)
    try:
        assert errno_of(lambda: write_and_sync(fd, b"part", 3 * BLOCK + 10)) == errno.EIO
        write_and_sync(fd, b"n" * BLOCK, 3 * BLOCK)
        assert os.pread(fd, BLOCK, 3 * BLOCK) == b"n" * BLOCK
    finally:
        os.close(fd)
    own_mount.unmount()
    assert own_mount.driver.fsck(own_mount.volume).returncode == 0


@content_flavours
def test_damaged_header_makes_the_file_unreadable(own_mount: LiveMount) -> None:
    create(own_mount, "other")
    version, zero, file_id = (create(own_mount, name) for name in ("version", "zero", "file id"))
    own_mount.unmount()
    overwrite(version, 0, b"\0\3")
    overwrite(zero, 0, bytes(HEADER))
    flip_bit(file_id, 10)
    own_mount.start()
    for name in ("version", "zero", "file id"):
        assert errno_of((own_mount.path / name).read_bytes) == errno.EIO
    check_the_rest_works(own_mount)
    own_mount.unmount()
    assert own_mount.driver.fsck(own_mount.volume).returncode == EXIT_FSCK


@content_flavours
def test_blocks_swapped_within_a_file_and_between_files_are_noticed(own_mount: LiveMount) -> None:
    one, two, three = (create(own_mount, name) for name in ("one", "two", "three"))
    own_mount.unmount()
    size = block_size(own_mount)
    blocks = [one.read_bytes()[HEADER + n * size :][:size] for n in range(2)]
    overwrite(one, HEADER, blocks[1] + blocks[0])
    overwrite(three, HEADER, two.read_bytes()[HEADER:][:size])
    own_mount.start()
    assert readable_blocks(own_mount.path / "one") == set(range(2, BLOCKS))
    assert readable_blocks(own_mount.path / "three") == set(range(1, BLOCKS))


@content_flavours
def test_file_cut_inside_its_header_reads_as_empty_and_can_be_written(own_mount: LiveMount) -> None:
    lengths = (0, 1, 17, 18)
    paths = {length: create(own_mount, f"cut {length}") for length in lengths}
    own_mount.unmount()
    for length, path in paths.items():
        os.truncate(path, length)
    own_mount.start()
    for length in lengths:
        assert (own_mount.path / f"cut {length}").read_bytes() == b""
        with open(own_mount.path / f"cut {length}", "r+b") as stream:
            stream.write(CONTENT)
    own_mount.unmount()
    own_mount.start()
    assert all((own_mount.path / f"cut {length}").read_bytes() == CONTENT for length in lengths)


@content_flavours
def test_file_cut_inside_a_block_loses_that_block_only(own_mount: LiveMount) -> None:
    lengths = (1, 20, 35, 4000)
    paths = {length: create(own_mount, f"cut {length}") for length in lengths}
    own_mount.unmount()
    for length, path in paths.items():
        os.truncate(path, HEADER + 9 * block_size(own_mount) + length)
    own_mount.start()
    for length in lengths:
        fd = os.open(own_mount.path / f"cut {length}", os.O_RDONLY)
        try:
            assert os.pread(fd, 9 * BLOCK, 0) == CONTENT[: 9 * BLOCK]
            assert errno_of(lambda d=fd: os.pread(d, BLOCK, 9 * BLOCK)) == errno.EIO  # type: ignore[misc]  # int
        finally:
            os.close(fd)


@content_flavours
def test_zeroed_block_reads_as_a_hole(own_mount: LiveMount) -> None:
    path = create(own_mount, "file")
    own_mount.unmount()
    overwrite(path, HEADER + 2 * block_size(own_mount), bytes(block_size(own_mount)))
    own_mount.start()
    assert (own_mount.path / "file").read_bytes() == CONTENT[: 2 * BLOCK] + bytes(BLOCK) + CONTENT[3 * BLOCK :]


# --- names -------------------------------------------------------------------------------------------------------
@name_flavours
@pytest.mark.gocryptfs_differs("logs every listing of an undecryptable name")
def test_undecryptable_names_are_hidden_and_the_rest_listed(own_mount: LiveMount) -> None:
    bad_names = ["A" * 22, "not base64!", "x.sync-conflict", "="]
    create(own_mount, "other")
    own_mount.unmount()
    for bad in [*bad_names, "gocryptfs.diriv.rmdir.1234"]:  # the last is what an interrupted rmdir leaves behind
        (own_mount.volume.cipherdir / bad).write_bytes(b"")
    own_mount.start()
    for _ in range(3):
        assert os.listdir(own_mount.path) == ["other"]
    for bad in bad_names:
        assert errno_of(lambda b=bad: os.stat(own_mount.path / b)) == errno.ENOENT  # type: ignore[misc]  # str
    assert 1 <= len(new_lines(own_mount)) <= 3 * (len(bad_names) + 1)
    check_the_rest_works(own_mount)
    own_mount.unmount()
    result = own_mount.driver.fsck(own_mount.volume)
    assert result.returncode == EXIT_FSCK
    assert all(bad in result.stdout + result.stderr for bad in bad_names)


@name_flavours
def test_damaged_long_names_are_hidden_and_the_rest_listed(own_mount: LiveMount) -> None:
    create(own_mount, "other")
    paths = {how: create(own_mount, how + "l" * 200) for how in ("missing", "empty", "huge", "directory")}
    own_mount.unmount()
    for how, path in paths.items():
        sidecar = path.with_name(path.name + ".name")
        sidecar.unlink()
        if how == "directory":
            sidecar.mkdir()
        elif how != "missing":
            sidecar.write_bytes(b"" if how == "empty" else b"A" * 1000)
    own_mount.start()
    assert os.listdir(own_mount.path) == ["other"]
    check_the_rest_works(own_mount)


@pytest.mark.flavours("default", "longnamemax-62")
def test_damaged_directory_iv_makes_that_directory_unusable_and_no_other(own_mount: LiveMount) -> None:
    create(own_mount, "other")
    damages: dict[str, bytes | None] = {"missing": None, "short": b"short", "zero": bytes(16)}
    ivs = {}
    for name in damages:
        before = stored_paths(own_mount)
        (own_mount.path / name).mkdir()
        (own_mount.path / name / "inside").write_bytes(b"x")
        (ivs[name],) = [path for path in stored_paths(own_mount) - before if path.name == "gocryptfs.diriv"]
    own_mount.unmount()
    for name, data in damages.items():
        ivs[name].unlink()
        if data is not None:
            ivs[name].write_bytes(data)
    own_mount.start()
    assert sorted(os.listdir(own_mount.path)) == sorted([*damages, "other"])
    for name in damages:
        directory = own_mount.path / name
        assert errno_of(lambda d=directory: os.listdir(d)) in (errno.EIO, errno.ENOENT)  # type: ignore[misc]  # Path
        assert errno_of(lambda d=directory: os.stat(d / "inside")) != 0  # type: ignore[misc]  # Path
        assert errno_of(lambda d=directory: (d / "new").write_bytes(b"")) != 0  # type: ignore[misc]  # Path
        assert os.stat(directory).st_nlink >= 2
    check_the_rest_works(own_mount)


# --- symlinks and attributes -------------------------------------------------------------------------------------
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
    check_the_rest_works(own_mount)


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
