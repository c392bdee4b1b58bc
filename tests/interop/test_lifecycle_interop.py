"""Volumes made, changed and checked by one implementation, as the other one sees them."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pcvfs.cipherdir.fsck import check_volume
from pcvfs.cipherdir.lifecycle import change_password, read_config, unlock_volume
from pcvfs.cipherdir.report import ProblemKind
from pcvfs.crypto.aead import CipherKind
from pcvfs.crypto.secret import Secret
from pcvfs.errors import WrongPasswordError
from pcvfs.format.keys import CreateOptions
from pcvfs.spec import BLOCK_SIZE
from tests.support.requirements import require_gocryptfs
from tests.unit.cipherdir.builder import PASSWORD, Builder, damage

NEW_PASSWORD = b"another one"
CIPHER_FLAGS = {CipherKind.AES_GCM: [], CipherKind.XCHACHA20_POLY1305: ["-xchacha"], CipherKind.AES_SIV: ["-aessiv"]}
EVERY_COMBINATION = [
    CreateOptions(cipher=cipher, log_n=10, **names)
    for cipher in CipherKind
    for names in (
        {"plaintext_names": True},
        *(
            {"deterministic_names": deterministic, "long_name_max": longest}
            for deterministic, longest in itertools.product((False, True), (0, 62, 100, 254))
        ),
    )
]
each_combination = pytest.mark.parametrize("options", EVERY_COMBINATION, ids=lambda made: " ".join(flags_of(made)))


@pytest.fixture(autouse=True)
def _needs_the_original() -> None:
    require_gocryptfs()


def flags_of(options: CreateOptions) -> list[str]:
    """The options of ``gocryptfs -init`` that mean the same."""
    flags = list(CIPHER_FLAGS[options.cipher])
    flags += ["-plaintextnames"] * options.plaintext_names + ["-deterministic-names"] * options.deterministic_names
    flags += ["-longnamemax", str(options.long_name_max)] if options.long_name_max else []
    return flags or ["default"]


def gocryptfs(*arguments: str | Path, passwords: bytes = PASSWORD) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["gocryptfs", "-nosyslog", *arguments], input=passwords + b"\n", capture_output=True, timeout=30, check=False
    )


def init_by_gocryptfs(path: Path, options: CreateOptions) -> None:
    path.mkdir()
    flags = [] if flags_of(options) == ["default"] else flags_of(options)
    done = gocryptfs("-init", "-q", "-scryptn", str(options.log_n), *flags, path)
    assert done.returncode == 0, done.stderr


def fill(builder: Builder) -> None:
    """Put in one of everything."""
    content = bytes(range(256)) * 40
    file = builder.file(builder.root, b"file", content)
    builder.set_xattr(file, b"user.comment", b"value")
    builder.file(builder.root, b"empty", b"")
    builder.file(builder.root, b"whole block", bytes(BLOCK_SIZE))
    sub = builder.mkdir(builder.root, b"n" * 100)
    builder.set_xattr(sub, b"user.comment", b"value")
    builder.file(sub, b"l" * 255)
    builder.symlink(sub, b"s" * 40, b"../file")
    sparse = builder.file(sub, b"sparse", content)
    os.truncate(sparse, builder.volume.layout.plain_to_cipher_size(100 * BLOCK_SIZE))
    damage(sparse, builder.block(sparse, 2).start, bytes(10240 - 2 * BLOCK_SIZE + builder.volume.layout.overhead))


@each_combination
def test_volume_created_and_filled_here_is_clean_for_gocryptfs(options: CreateOptions, tmp_path: Path) -> None:
    builder = Builder(tmp_path / "volume", options)
    with builder.volume:
        fill(builder)
        assert check_volume(builder.volume).problems == []
    done = gocryptfs("-fsck", builder.root)
    assert b"no problems found" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    info = gocryptfs("-info", builder.root).stdout.decode()
    assert "Creator:           pcvfs " in info
    assert " ".join(read_config(os.fsencode(builder.root)).flags) in info
    assert "EncryptedKey:      64B" in info
    assert "ScryptObject:      Salt=32B N=1024 R=8 P=1 KeyLen=32" in info


@each_combination
def test_volume_created_by_gocryptfs_is_filled_here_and_clean_for_both(options: CreateOptions, tmp_path: Path) -> None:
    root = tmp_path / "volume"
    init_by_gocryptfs(root, options)
    twin = Builder(tmp_path / "twin", options)
    twin.volume.close()
    assert read_config(os.fsencode(root)).flags == read_config(os.fsencode(twin.root)).flags
    builder = Builder(root)
    with builder.volume:
        fill(builder)
        assert check_volume(builder.volume).problems == []
    assert gocryptfs("-fsck", "-q", root).returncode == 0


def opens_here(root: Path, password: bytes) -> bool:
    try:
        unlock_volume(os.fsencode(root), password=password).close()
    except WrongPasswordError:
        return False
    return True


def opens_there(root: Path, password: bytes) -> bool:
    returncode = gocryptfs("-fsck", "-q", root, passwords=password).returncode
    assert returncode in (0, 12)
    return returncode == 0


@pytest.mark.parametrize("creator", ["pcvfs", "gocryptfs"])
@pytest.mark.parametrize("changer", ["pcvfs", "gocryptfs"])
def test_password_changed_by_either_is_the_new_one_for_both(creator: str, changer: str, tmp_path: Path) -> None:
    root = tmp_path / "volume"
    options = CreateOptions(log_n=10)
    if creator == "pcvfs":
        Builder(root, options).volume.close()
    else:
        init_by_gocryptfs(root, options)
    if changer == "pcvfs":
        change_password(os.fsencode(root), NEW_PASSWORD, old_password=PASSWORD)
    else:
        assert gocryptfs("-passwd", "-q", root, passwords=PASSWORD + b"\n" + NEW_PASSWORD).returncode == 0
    for opens in (opens_here, opens_there):
        assert opens(root, NEW_PASSWORD)
        assert not opens(root, PASSWORD)


def test_master_key_shown_by_either_opens_for_the_other(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    Builder(root).volume.close()
    # -fsck prints no key, so the one of gocryptfs comes from its own tool for it.
    dumped = subprocess.run(
        ["gocryptfs-xray", "-dumpmasterkey", root / "gocryptfs.conf"],
        input=PASSWORD + b"\n",
        capture_output=True,
        timeout=30,
        check=True,
    ).stdout
    with Secret.from_bytes(bytes.fromhex(dumped.decode().split()[-1])) as master_key:
        assert gocryptfs("-fsck", "-q", "-masterkey", dumped.decode().split()[-1], root).returncode == 0
        assert change_password(os.fsencode(root), NEW_PASSWORD, master_key=master_key) is not None
    (root / "gocryptfs.conf.bak").unlink()
    assert opens_there(root, NEW_PASSWORD)


def _rename(path: Path) -> None:
    path.rename(path.with_name("foreign"))


def _retarget(path: Path) -> None:
    path.unlink()
    path.symlink_to("plain")


DAMAGES: dict[str, tuple[Callable[[Builder], object], ProblemKind]] = {
    "content": (lambda b: damage(b.file(b.root, b"x"), 60), ProblemKind.BLOCK_CORRUPT),
    "header": (lambda b: damage(b.file(b.root, b"x"), 0, b"\1"), ProblemKind.HEADER_CORRUPT),
    "tail": (lambda b: os.truncate(b.file(b.root, b"x", bytes(5000)), 18 + 4128 + 7), ProblemKind.FILE_TRUNCATED),
    "diriv": (lambda b: (b.mkdir(b.root, b"x") / "gocryptfs.diriv").unlink(), ProblemKind.DIRIV_MISSING),
    "name": (lambda b: _rename(b.file(b.root, b"x")), ProblemKind.NAME_UNDECRYPTABLE),
    "sidecar": (
        lambda b: Path(f"{b.file(b.root, b'x' * 200)}.name").unlink(),
        ProblemKind.LONG_NAME_MISSING,
    ),
    "symlink": (lambda b: _retarget(b.symlink(b.root, b"x")), ProblemKind.SYMLINK_CORRUPT),
    "xattr name": (
        lambda b: os.setxattr(b.file(b.root, b"x"), b"user.gocryptfs.AAAA", b"v"),
        ProblemKind.XATTR_NAME_CORRUPT,
    ),
    "xattr value": (
        lambda b: os.setxattr(b.file(b.root, b"x"), b.volume.xattr_names.encode(b"user.x"), b"v" * 40),
        ProblemKind.XATTR_VALUE_CORRUPT,
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_an_error_for_both(what: str, tmp_path: Path) -> None:
    cause, kind = DAMAGES[what]
    builder = Builder(tmp_path / "volume")
    with builder.volume:
        cause(builder)
        result = check_volume(builder.volume)
    assert list(result.counts) == [kind]
    assert not result.is_clean
    assert gocryptfs("-fsck", "-q", builder.root).returncode == 26


def test_left_over_temporary_config_stops_both(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    Builder(root).volume.close()
    shutil.copy(root / "gocryptfs.conf", root / "gocryptfs.conf.tmp")
    assert gocryptfs("-passwd", "-q", root, passwords=PASSWORD + b"\n" + NEW_PASSWORD).returncode == 24
