"""Damage to a volume, kind by kind: found, named, and nothing else reported."""

import errno
import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from pcvfs.cipherdir import backing, fsck, report
from pcvfs.cipherdir.fsck import check_volume
from pcvfs.cipherdir.lifecycle import unlock_volume
from pcvfs.cipherdir.report import Problem, ProblemKind, Severity
from pcvfs.crypto.secret import Secret
from pcvfs.format.names import NO_DIRIV, pad
from pcvfs.spec import BLOCK_SIZE, HEADER_SIZE, XATTR_NAME_TWEAK, XATTR_PREFIX
from tests.support.accounts import NOBODY, run_as
from tests.support.requirements import require_root
from tests.unit.cipherdir.builder import (
    VOLUME_NAMES,
    Builder,
    damage,
    fast_options,
    open_fds,
    unpack,
)

LONG = b"l" * 200


def check(builder: Builder) -> report.FsckReport:
    return check_volume(builder.volume)


def found(builder: Builder) -> list[tuple[ProblemKind, bytes | None, bytes]]:
    return [(p.kind, p.plain_path, p.cipher_path) for p in check(builder).problems]


def sidecar_of(path: Path) -> Path:
    return path.with_name(path.name + ".name")


# --- clean ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("volume_name", VOLUME_NAMES)
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_check_golden_volume_is_clean_and_complete(volume_name, engine, tmp_path):
    home = unpack(volume_name, tmp_path)
    meta = json.loads((home / "meta.json").read_text())
    with unlock_volume(os.fsencode(home / "cipher"), password=meta["password"].encode(), engine=engine) as volume:
        result = check_volume(volume)
    plain = json.loads((home / "plain.json").read_text())
    plain.pop(".gocryptfs.reverse.conf", None)
    modes = [int(entry["mode"], 8) for entry in plain.values()]
    assert result.problems == []
    assert result.is_clean
    assert result.dirs == sum(map(stat.S_ISDIR, modes)) + ("" not in plain)
    assert result.others == sum(not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) for mode in modes)
    further_links = sum(
        (path.lstat().st_nlink - 1) / path.lstat().st_nlink
        for path in (home / "cipher").rglob("*")
        if not path.is_symlink() and path.is_file()
    )
    assert result.files == sum(map(stat.S_ISREG, modes)) - further_links


@pytest.mark.parametrize(
    "options",
    [{}, {"deterministic_names": True}, {"plaintext_names": True}, {"long_name_max": 62}, {"raw64": False}],
    ids=str,
)
def test_check_volume_with_one_of_everything_is_clean(options, tmp_path):
    builder = Builder(tmp_path / "volume", fast_options(**options))
    root = builder.root
    builder.file(root, b"empty", b"")
    big = builder.file(root, b"big", bytes(range(256)) * 160)
    builder.set_xattr(big, b"user.comment", b"value")
    builder.set_xattr(big, b"user.empty", b"")
    sub = builder.mkdir(root, LONG)
    builder.set_xattr(sub, b"user.comment", b"value")
    deep = builder.file(sub, b"m" * 200)
    (root / os.fsdecode(builder.path(root, b"link").name)).hardlink_to(deep)
    builder.symlink(sub, b"s" * 190, b"target")
    os.mkfifo(builder.path(sub, b"fifo"))
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(sub)
        try:
            server.bind(builder.path(sub, b"socket").name)
        finally:
            os.chdir("/")
    with builder.volume:
        result = check(builder)
    assert result.problems == []
    assert (result.files, result.dirs, result.others) == (3, 2, 3)
    assert result.bytes == 256 * 160 + len(b"Hello, World!\n")


def test_check_with_wrong_master_key_finds_the_names_undecryptable(builder):
    for number in range(20):
        builder.file(builder.root, b"file %d" % number)
    with (
        Secret.from_bytes(bytes(range(32))) as wrong,
        unlock_volume(os.fsencode(builder.root), master_key=wrong) as volume,
    ):
        result = check_volume(volume)
    # One name in 256 has valid padding by chance; its content does not decrypt then.
    assert result.counts[ProblemKind.NAME_UNDECRYPTABLE] > 10
    assert result.errors == 20


# --- file content -----------------------------------------------------------------------------------------------
BIG = bytes(range(256)) * 16 * 10  # ten blocks


def test_block_with_a_flipped_bit_is_named(builder):
    path = builder.file(builder.root, b"big", BIG)
    damage(path, builder.block(path, 3).start + 100)
    (problem,) = check(builder).problems
    assert problem == Problem(ProblemKind.BLOCK_CORRUPT, b"big", builder.relative(path), "1 of them bad: 3")


def test_swapped_and_scattered_bad_blocks_are_all_listed(builder):
    path = builder.file(builder.root, b"big", BIG)
    first, second = builder.block(path, 1), builder.block(path, 2)
    content = path.read_bytes()
    damage(path, first.start, content[second])
    damage(path, second.start, content[first])
    damage(path, builder.block(path, 9).stop - 1)
    result = check(builder)
    assert [problem.detail for problem in result.problems] == ["3 of them bad: 1-2, 9"]
    assert result.bytes == 7 * BLOCK_SIZE


def test_many_bad_blocks_in_a_file_longer_than_a_run_are_counted(builder):
    blocks = 600
    path = builder.file(builder.root, b"long", bytes(blocks * BLOCK_SIZE))
    content = bytearray(path.read_bytes())
    for block_no in range(0, blocks, 2):
        content[builder.block(path, block_no).start] ^= 1
    path.write_bytes(content)
    result = check(builder)
    assert result.problems[0].detail.startswith("300 of them bad: 0, 2, 4,")
    assert result.problems[0].detail.endswith(", ...")
    assert result.bytes == 300 * BLOCK_SIZE


@pytest.mark.parametrize(
    "header", [bytes(HEADER_SIZE), b"\0\1" + b"x" * 16, b"\0\2" + bytes(16)], ids=["zero", "version", "zero-id"]
)
def test_bad_header_is_named(builder, header):
    path = builder.file(builder.root, b"file")
    damage(path, 0, header)
    assert found(builder) == [(ProblemKind.HEADER_CORRUPT, b"file", builder.relative(path))]


@pytest.mark.parametrize("size", [1, 17, 18])
def test_lone_header_is_a_warning(builder, size):
    path = builder.file(builder.root, b"file")
    os.truncate(path, size)
    result = check(builder)
    assert [problem.kind for problem in result.problems] == [ProblemKind.FILE_INTERRUPTED]
    assert result.is_clean
    assert result.warnings == 1


@pytest.mark.parametrize("left", [1, 31, 32])
def test_last_block_without_payload_is_an_error(builder, left):
    path = builder.file(builder.root, b"file", BIG)
    os.truncate(path, builder.block(path, 4).start + left)
    result = check(builder)
    assert [(p.kind, p.detail) for p in result.problems] == [
        (ProblemKind.FILE_TRUNCATED, f"{left} bytes of the last block are left")
    ]
    assert result.bytes == 4 * BLOCK_SIZE


def test_last_block_cut_short_is_corrupt(builder):
    path = builder.file(builder.root, b"file", BIG)
    os.truncate(path, builder.block(path, 9).stop - 1)
    assert [problem.detail for problem in check(builder).problems] == ["1 of them bad: 9"]


def test_holes_are_clean_and_not_counted(builder):
    path = builder.file(builder.root, b"sparse", b"x" * BLOCK_SIZE)
    os.truncate(path, builder.volume.layout.plain_to_cipher_size(1000 * BLOCK_SIZE))
    result = check(builder)
    assert result.problems == []
    assert result.bytes <= 2 * BLOCK_SIZE


def test_partial_last_block_in_a_hole_is_corrupt(builder):
    path = builder.file(builder.root, b"sparse", b"x" * BLOCK_SIZE)
    os.truncate(path, builder.volume.layout.plain_to_cipher_size(1000 * BLOCK_SIZE + 5))
    assert [problem.detail for problem in check(builder).problems] == ["1 of them bad: 1000"]


@pytest.mark.timeout(10)
def test_tebibyte_of_hole_with_data_in_it_is_quick_and_exact(builder):
    path = builder.file(builder.root, b"huge", b"x" * BLOCK_SIZE)
    layout = builder.volume.layout
    sealed = path.read_bytes()
    os.truncate(path, layout.plain_to_cipher_size(1 << 40))
    far = (1 << 39) // BLOCK_SIZE
    with path.open("r+b") as file:  # block 0 of the file in the place of a far one
        file.seek(layout.cipher_off_of_block(far))
        file.write(sealed[HEADER_SIZE:])
    assert [problem.detail for problem in check(builder).problems] == [f"1 of them bad: {far}"]


def test_hard_linked_file_is_checked_once(builder):
    path = builder.file(builder.root, b"one", BIG)
    sub = builder.mkdir(builder.root, b"sub")
    for directory, name in ((builder.root, b"two"), (sub, b"three")):
        builder.path(directory, name).hardlink_to(path)
    result = check(builder)
    assert (result.files, result.bytes) == (1, len(BIG))


def test_unreadable_block_does_not_hide_the_others(builder, monkeypatch):
    path = builder.file(builder.root, b"file", BIG)
    damage(path, builder.block(path, 8).start)
    bad = builder.block(path, 5)

    def failing(fd, buffer, offset, read=backing.pread_into):
        if offset < bad.stop and bad.start < offset + len(buffer):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, buffer, offset)

    monkeypatch.setattr(backing, "pread_into", failing)
    result = check(builder)
    assert [(p.kind, p.detail) for p in result.problems] == [
        (ProblemKind.BLOCK_CORRUPT, "1 of them bad: 8"),
        (ProblemKind.FILE_UNREADABLE, "I/O error in blocks, 1 of them bad: 5"),
    ]
    assert result.bytes == 8 * BLOCK_SIZE


# --- directories ------------------------------------------------------------------------------------------------
def test_lost_diriv_is_reported_and_what_is_below_still_checked(builder):
    sub = builder.mkdir(builder.root, b"sub")
    good, bad = builder.file(sub, b"good"), builder.file(sub, b"bad")
    below = builder.mkdir(sub, b"below")
    deep = builder.file(below, b"deep")
    damage(bad, 60)
    damage(deep, 60)
    builder.symlink(sub, b"link")
    (sub / "gocryptfs.diriv").unlink()
    result = check(builder)
    assert good.exists()
    assert {(p.kind, p.plain_path, p.cipher_path) for p in result.problems} == {
        (ProblemKind.DIRIV_MISSING, b"sub", builder.relative(sub)),
        (ProblemKind.BLOCK_CORRUPT, None, builder.relative(bad)),
        (ProblemKind.BLOCK_CORRUPT, None, builder.relative(deep)),
    }
    (missing,) = [p for p in result.problems if p.kind is ProblemKind.DIRIV_MISSING]
    assert missing.detail == "no such file; entries in it: 4"


def _replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 15),
        lambda path: path.write_bytes(b"x" * 17),
        lambda path: path.write_bytes(bytes(16)),
        _replace_by_fifo,
    ],
    ids=["empty", "short", "long", "zero", "fifo"],
)
def test_unusable_diriv_is_named(builder, spoil):
    sub = builder.mkdir(builder.root, b"sub")
    spoil(sub / "gocryptfs.diriv")
    assert found(builder) == [(ProblemKind.DIRIV_CORRUPT, b"sub", builder.relative(sub))]


def test_diriv_that_is_a_symlink_is_not_followed(builder):
    sub = builder.mkdir(builder.root, b"sub")
    _replace_by_symlink(sub / "gocryptfs.diriv")
    assert (ProblemKind.DIRIV_CORRUPT, b"sub", builder.relative(sub)) in found(builder)


def test_missing_root_diriv_is_named(builder):
    builder.file(builder.root, b"file")
    (builder.root / "gocryptfs.diriv").unlink()
    assert found(builder) == [(ProblemKind.DIRIV_MISSING, b"", b"")]


def test_check_deeper_than_descriptors_and_recursion_allow_reaches_the_bottom(tmp_path, monkeypatch):
    monkeypatch.setattr(fsck, "OPEN_DIRS_MAX", 4)
    monkeypatch.setattr(report, "PROGRESS_INTERVAL_S", 0.0)
    depth = 1100  # more than Python's recursion limit, and a path longer than PATH_MAX
    builder = Builder(tmp_path / "volume", fast_options(deterministic_names=True))
    directory = builder.volume.names.encode(b"d", NO_DIRIV).cname
    broken = builder.volume.names.encode(b"broken", NO_DIRIV).cname
    fd = os.open(builder.root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(directory, dir_fd=fd)
        child = os.open(directory, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.symlink("not a target", broken, dir_fd=fd)
    os.close(fd)
    open_counts = []
    before = len(open_fds())
    with builder.volume:
        result = check_volume(builder.volume, progress=lambda _: open_counts.append(len(open_fds())))
    subprocess.run(["rm", "-rf", builder.root], check=True, timeout=30)  # pytest can't: it goes down by recursion
    assert result.dirs == depth + 1
    assert [problem.plain_path for problem in result.problems] == [b"d/" * depth + b"broken"]
    assert max(open_counts) - before <= 10


def test_siblings_of_a_deep_branch_are_visited_though_descriptors_were_closed(builder, monkeypatch):
    monkeypatch.setattr(fsck, "OPEN_DIRS_MAX", 2)
    broken = set()
    for branch in (b"a", b"b"):
        directory, path = builder.root, b""
        for level in range(6):
            spine = branch if level == 0 else b"spine"
            for name in (branch + b"-leaf", spine):
                child = builder.mkdir(directory, name)
                builder.path(child, b"broken").symlink_to("not a target")
                broken.add(path + name + b"/broken")
            directory, path = child, path + spine + b"/"
    assert {problem.plain_path for problem in check(builder).problems} == broken
    assert len(broken) == 24


def test_directory_moved_during_the_check_is_reported(builder, monkeypatch):
    monkeypatch.setattr(fsck, "OPEN_DIRS_MAX", 2)
    parent = builder.mkdir(builder.mkdir(builder.root, b"a"), b"b")
    for name in (b"one", b"two"):
        builder.mkdir(parent, name)
    refuge = builder.root.with_name("refuge")
    refuge.mkdir()

    def moving(dirfd, read=backing.read_diriv):
        diriv = read(dirfd)
        visited = Path(os.readlink(f"/proc/self/fd/{dirfd}"))
        if visited.parent == parent:
            visited.rename(refuge / visited.name)
        return diriv

    monkeypatch.setattr(backing, "read_diriv", moving)
    result = check(builder)
    assert [(p.kind, p.plain_path, p.detail) for p in result.problems] == [
        (ProblemKind.DIR_UNREADABLE, b"a/b", "was moved during the check")
    ]


# --- names ------------------------------------------------------------------------------------------------------
def test_undecryptable_names_are_named_and_their_content_left_alone(builder):
    (builder.root / "junk").write_bytes(b"junk")
    sub = builder.mkdir(builder.root, b"sub")
    (sub / "gocryptfs.conf").write_bytes(b"{}")
    (sub / "lost+found").mkdir()
    (sub / "lost+found" / "more").write_bytes(b"junk")
    assert set(found(builder)) == {
        (ProblemKind.NAME_UNDECRYPTABLE, None, b"junk"),
        (ProblemKind.NAME_UNDECRYPTABLE, None, builder.relative(sub) + b"/gocryptfs.conf"),
        (ProblemKind.NAME_UNDECRYPTABLE, None, builder.relative(sub) + b"/lost+found"),
    }


def test_renamed_directory_with_an_iv_is_checked_below(builder):
    sub = builder.mkdir(builder.root, b"sub")
    damage(builder.file(sub, b"file"), 60)
    moved = sub.rename(sub.with_name(sub.name + ".sync-conflict"))
    (inside,) = [path for path in moved.iterdir() if path.name != "gocryptfs.diriv"]
    assert set(found(builder)) == {
        (ProblemKind.NAME_UNDECRYPTABLE, None, builder.relative(moved)),
        (ProblemKind.BLOCK_CORRUPT, None, builder.relative(inside)),
    }


def test_remnants_of_interrupted_operations_are_warnings(builder):
    (builder.root / "gocryptfs.diriv.rmdir.1234567890").write_bytes(b"x" * 16)
    (builder.root / "gocryptfs.diriv.mkdir.1234567890").mkdir()
    (builder.root / "gocryptfs.conf.bak").write_bytes(b"{}")
    (builder.root / "gocryptfs.conf.tmp").write_bytes(b"{}")
    result = check(builder)
    assert {(p.kind, p.cipher_path) for p in result.problems} == {
        (ProblemKind.RMDIR_REMNANT, b"gocryptfs.diriv.rmdir.1234567890"),
        (ProblemKind.MKDIR_REMNANT, b"gocryptfs.diriv.mkdir.1234567890"),
        (ProblemKind.CONFIG_REMNANT, b"gocryptfs.conf.bak"),
        (ProblemKind.CONFIG_REMNANT, b"gocryptfs.conf.tmp"),
    }
    assert (result.errors, result.warnings, result.is_clean) == (0, 4, True)


def test_missing_sidecar_is_named_and_content_still_checked(builder):
    path = builder.file(builder.root, LONG)
    damage(path, 60)
    sidecar_of(path).unlink()
    assert found(builder) == [
        (ProblemKind.LONG_NAME_MISSING, None, builder.relative(path)),
        (ProblemKind.BLOCK_CORRUPT, None, builder.relative(path)),
    ]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"A" * 345),
        lambda path: path.write_bytes(b"A" * 342),
        lambda path: path.write_bytes(b"not base64!" * 30),
        _replace_by_fifo,
    ],
    ids=["empty", "too-long", "undecryptable", "no-base64", "fifo"],
)
def test_unusable_sidecar_is_named(builder, spoil):
    path = builder.file(builder.root, LONG)
    spoil(sidecar_of(path))
    assert found(builder) == [(ProblemKind.LONG_NAME_CORRUPT, None, builder.relative(path))]


def test_sidecar_of_another_entry_is_a_mismatch_and_a_duplicate(builder):
    one, two = builder.file(builder.root, b"1" * 200), builder.file(builder.root, b"2" * 200)
    sidecar_of(two).write_bytes(sidecar_of(one).read_bytes())
    assert found(builder) == [
        (ProblemKind.LONG_NAME_MISMATCH, b"1" * 200, builder.relative(two)),
        (ProblemKind.NAME_DUPLICATE, b"1" * 200, builder.relative(two)),
    ]


def test_sidecar_whose_hash_leads_nowhere_is_a_mismatch_alone(builder):
    path = builder.file(builder.root, b"1" * 200)
    moved = path.rename(path.with_name("gocryptfs.longname." + "A" * 43))
    sidecar_of(path).rename(sidecar_of(moved))
    assert found(builder) == [(ProblemKind.LONG_NAME_MISMATCH, b"1" * 200, builder.relative(moved))]


def test_short_name_in_a_sidecar_is_unreachable(builder):
    short = builder.file(builder.root, b"short")
    hashed = builder.root / os.fsdecode(builder.volume.names.hashed(os.fsencode(short.name)))
    sidecar_of(hashed).write_bytes(os.fsencode(short.name))
    short.rename(hashed)
    assert found(builder) == [(ProblemKind.NAME_UNREACHABLE, b"short", builder.relative(hashed))]


def test_name_that_should_have_been_hashed_is_unreachable(tmp_path):
    builder = Builder(tmp_path / "volume", fast_options(long_name_max=62))
    with builder.volume:
        path = builder.file(builder.root, b"n" * 100)
        full_cname = sidecar_of(path).read_bytes()
        sidecar_of(path).unlink()
        moved = path.rename(builder.root / os.fsdecode(full_cname))
        assert found(builder) == [(ProblemKind.NAME_UNREACHABLE, b"n" * 100, builder.relative(moved))]


def test_orphan_sidecar_is_a_warning(builder):
    path = builder.file(builder.root, LONG)
    path.unlink()
    result = check(builder)
    assert [(p.kind, p.cipher_path) for p in result.problems] == [
        (ProblemKind.LONG_NAME_ORPHAN, builder.relative(sidecar_of(path)))
    ]
    assert result.is_clean


def test_plaintext_names_that_look_special_are_ordinary(tmp_path):
    builder = Builder(tmp_path / "volume", fast_options(plaintext_names=True))
    with builder.volume:
        sub = builder.mkdir(builder.root, b"sub")
        for name in (b"gocryptfs.longname.x", b"gocryptfs.longname.x.name", b"gocryptfs.diriv", b"gocryptfs.conf.bak"):
            builder.file(builder.root, name)
        builder.file(sub, b"gocryptfs.conf")
        result = check(builder)
        assert (result.problems, result.files) == ([], 5)


# --- symlinks and attributes --------------------------------------------------------------------------------------
def test_symlink_with_a_foreign_target_is_named(builder):
    path = builder.path(builder.root, b"link")
    path.symlink_to("plain target")
    other = builder.symlink(builder.root, b"other")
    stored = bytearray(os.fsencode(os.readlink(other)))
    stored[5] ^= 1
    other.unlink()
    other.symlink_to(os.fsdecode(bytes(stored)))
    assert set(found(builder)) == {
        (ProblemKind.SYMLINK_CORRUPT, b"link", builder.relative(path)),
        (ProblemKind.SYMLINK_CORRUPT, b"other", builder.relative(other)),
    }


@pytest.mark.parametrize("kind", ["file", "directory", "root"])
def test_bad_attributes_are_named(builder, kind):
    path, name = builder.root, b""
    if kind != "root":
        name = b"entry"
        path = (builder.file if kind == "file" else builder.mkdir)(builder.root, name)
    os.setxattr(path, b"user.foreign", b"ignored")
    os.setxattr(path, XATTR_PREFIX + b"AAAA", b"")
    os.setxattr(path, builder.volume.xattr_names.encode(b"user.spoilt"), b"no ciphertext" * 5)
    details = {(p.kind, p.plain_path, p.cipher_path, p.detail) for p in check(builder).problems}
    assert details == {
        (ProblemKind.XATTR_NAME_CORRUPT, name, builder.relative(path), "user.gocryptfs.AAAA"),
        (ProblemKind.XATTR_VALUE_CORRUPT, name, builder.relative(path), "user.spoilt"),
    }


def test_attribute_value_of_old_versions_is_clean(builder):
    path = builder.file(builder.root, b"file")
    cname = builder.set_xattr(path, b"user.old", b"value")
    os.setxattr(path, cname, builder.volume.names.base64.encode(os.getxattr(path, cname)))
    assert check(builder).problems == []


@pytest.mark.parametrize("options", [{}, {"plaintext_names": True}], ids=str)
def test_encrypted_acl_of_old_versions_is_a_warning(tmp_path, options):
    builder = Builder(tmp_path / "volume", fast_options(**options))
    with builder.volume as volume:
        path = builder.file(builder.root, b"file")
        encrypted = volume.name_cipher.encrypt(XATTR_NAME_TWEAK, pad(b"system.posix_acl_access"))
        os.setxattr(path, XATTR_PREFIX + volume.names.base64.encode(encrypted), volume.encode_xattr_value(b"", b"acl"))
        result = check(builder)
    assert [p.kind for p in result.problems] == [ProblemKind.XATTR_OLD_ACL]
    assert result.is_clean


# --- circumstances ------------------------------------------------------------------------------------------------
def test_what_may_not_be_read_is_skipped_and_counted(builder):
    require_root("files of one user must be read by another")
    denied_file = builder.file(builder.root, b"file")
    denied_file.chmod(0o200)
    denied_dir = builder.mkdir(builder.root, b"dir")
    denied_dir.chmod(0)
    readable = builder.file(builder.root, b"readable")
    damage(readable, 60)
    readable.chmod(0o644)
    kinds = run_as(NOBODY, lambda: [(p.kind.value, p.plain_path) for p in check(builder).problems])
    assert sorted(kinds) == [
        (ProblemKind.BLOCK_CORRUPT.value, b"readable"),
        (ProblemKind.PERMISSION_DENIED.value, b"dir"),
        (ProblemKind.PERMISSION_DENIED.value, b"file"),
    ]


def test_skipped_files_leave_the_volume_clean():
    recorder = report.Recorder(None, None)
    recorder.add(Problem(ProblemKind.PERMISSION_DENIED, b"file", b"cname"))
    assert (recorder.report.skipped, recorder.report.is_clean) == (1, True)


@pytest.mark.parametrize("step", ["statat", "openat", "readlinkat", "listxattrat", "getxattrat", "read_long_name"])
def test_entries_that_vanish_during_the_check_are_no_problem(builder, monkeypatch, step):
    for name in (b"one", LONG):
        builder.set_xattr(builder.file(builder.root, name), b"user.name", b"value")
    builder.symlink(builder.root, b"link")
    sub = builder.mkdir(builder.root, b"sub")
    builder.file(sub, b"inside")
    original = getattr(backing, step)
    vanished = []

    def vanishing(dirfd, cname, *rest):
        victim = cname.removesuffix(b".name")
        if victim not in (b".", b"gocryptfs.diriv"):
            for name in (victim, victim + b".name"):
                where = Path(f"/proc/self/fd/{dirfd}") / os.fsdecode(name)
                if where.is_dir() and not where.is_symlink():
                    where.rename(builder.root.with_name("elsewhere"))
                else:
                    where.unlink(missing_ok=True)
            vanished.append(victim)
        return original(dirfd, cname, *rest)

    monkeypatch.setattr(backing, step, vanishing)
    assert check(builder).problems == []
    assert vanished


def test_file_written_during_the_check_is_read_again(builder, monkeypatch):
    path = builder.file(builder.root, b"file", BIG)
    good = path.read_bytes()
    damage(path, 60)
    reads = []

    def changing(fd, buffer, offset, read=backing.pread_into):
        got = read(fd, buffer, offset)
        if not reads:  # the writer finishes right behind us
            path.write_bytes(good)
            os.utime(path, ns=(0, 12345))
        reads.append(offset)
        return got

    monkeypatch.setattr(backing, "pread_into", changing)
    assert check(builder).problems == []


def test_progress_is_limited_in_rate_and_ends_with_the_totals(builder, monkeypatch):
    for number in range(200):
        builder.file(builder.root, b"%d" % number)
    (builder.root / "junk").write_bytes(b"")
    now = iter(range(10**6))
    monkeypatch.setattr(report.time, "monotonic", lambda: next(now) / 1000)  # each look at the clock takes 1 ms
    told = []
    result = check_volume(builder.volume, progress=told.append)
    assert 2 < len(told) < 12
    last = told[-1]
    assert (last.files, last.dirs, last.bytes, last.problems) == (200, 1, 200 * 14, 1)
    assert (last.files, last.bytes) == (result.files, result.bytes)


def test_problems_beyond_the_limit_are_counted_and_told(builder, monkeypatch):
    monkeypatch.setattr(report, "PROBLEMS_KEPT", 3)
    for number in range(10):
        (builder.root / f"junk{number}").write_bytes(b"")
    told = []
    result = check_volume(builder.volume, on_problem=told.append)
    assert (len(result.problems), len(told), result.errors) == (3, 10, 10)


def test_check_changes_nothing(builder):
    builder.file(builder.root, LONG)
    sub = builder.mkdir(builder.root, b"sub")
    builder.symlink(sub, b"link")
    before = {path: path.lstat().st_ctime_ns for path in builder.root.rglob("*")}
    check(builder)
    assert {path: path.lstat().st_ctime_ns for path in builder.root.rglob("*")} == before


def test_problem_kinds_have_unique_identifiers():
    identifiers = [kind.value for kind in ProblemKind]
    assert len(set(identifiers)) == len(identifiers)
    assert all(kind.value and kind.summary for kind in ProblemKind)
    assert {kind.severity for kind in ProblemKind} == set(Severity)
