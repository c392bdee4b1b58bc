"""Creating, unlocking, changing the password, owning."""

import errno
import gc
import json
import os
import stat
from pathlib import Path

import pytest

from pcvfs.cipherdir import backing, config_file, lifecycle
from pcvfs.cipherdir.fsck import check_volume
from pcvfs.cipherdir.lifecycle import (
    change_password,
    check_creatable,
    create_volume,
    lock_cipherdir,
    open_cipherdir,
    read_config,
    unlock_volume,
)
from pcvfs.crypto.aead import CipherKind
from pcvfs.crypto.secret import Secret
from pcvfs.errors import (
    ConfigError,
    ExitCode,
    PasswordSourceError,
    PcvfsError,
    UnsupportedFeatureError,
    UsageError,
    VolumeBusyError,
    VolumeError,
    VolumeExistsError,
    VolumeNotFoundError,
    WrongPasswordError,
)
from pcvfs.format.keys import CreateOptions
from tests.support.accounts import SOMEONE, SOMEONES_GROUP
from tests.support.requirements import require_root
from tests.unit.cipherdir.builder import PASSWORD, VOLUME_NAMES, fast_options, patch_call, unpack

OLD, NEW = b"old password", b"new password"


@pytest.fixture
def empty(tmp_path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


@pytest.fixture
def volume_dir(empty) -> Path:
    create_volume(os.fsencode(empty), OLD, fast_options()).wipe()
    return empty


def opens(path: Path, password: bytes, **options) -> bool:
    try:
        unlock_volume(os.fsencode(path), password=password, **options).close()
    except WrongPasswordError:
        return False
    return True


def refusal(function, *args, **options) -> PcvfsError:
    with pytest.raises(PcvfsError) as caught:
        function(*args, **options)
    return caught.value


def failing(code):
    def fail(*_args, **_options):
        raise OSError(code, os.strerror(code))

    return fail


# --- create -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, "HKDF GCMIV128 DirIV EMENames LongNames Raw64"),
        ({"cipher": CipherKind.XCHACHA20_POLY1305}, "HKDF XChaCha20Poly1305 DirIV EMENames LongNames Raw64"),
        ({"cipher": CipherKind.AES_SIV}, "HKDF GCMIV128 DirIV EMENames LongNames Raw64 AESSIV"),
        ({"plaintext_names": True}, "HKDF GCMIV128 PlaintextNames"),
        ({"deterministic_names": True}, "HKDF GCMIV128 EMENames LongNames Raw64"),
        ({"long_name_max": 62}, "HKDF GCMIV128 DirIV LongNameMax EMENames LongNames Raw64"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_create_writes_what_gocryptfs_would(empty, options, flags):
    old = os.umask(0o077)
    try:
        with create_volume(os.fsencode(empty), OLD, fast_options(**options)) as master_key:
            assert len(master_key) == 32
    finally:
        os.umask(old)
    config = json.loads((empty / "gocryptfs.conf").read_bytes())
    assert config["FeatureFlags"] == flags.split()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in empty.iterdir()}
    diriv = {"gocryptfs.diriv": 0o444} if "DirIV" in flags else {}
    assert modes == {"gocryptfs.conf": 0o400} | diriv
    assert opens(empty, OLD)
    assert not opens(empty, NEW)


def test_create_returns_the_master_key_of_the_volume(empty):
    with create_volume(os.fsencode(empty), OLD, fast_options()) as master_key:
        cname = unlock_and_encode(empty, password=OLD)
        assert unlock_and_encode(empty, master_key=master_key) == cname


def unlock_and_encode(path, **how):
    with unlock_volume(os.fsencode(path), **how) as volume:
        return volume.names.encode(b"name", volume.root_diriv()).cname


def test_create_with_a_given_master_key_uses_it_and_leaves_it_alone(empty):
    with Secret.random(32) as given, create_volume(os.fsencode(empty), OLD, fast_options(), master_key=given) as made:
        assert made == given
        made.wipe()
        assert unlock_and_encode(empty, master_key=given) == unlock_and_encode(empty, password=OLD)


def test_check_creatable_refuses_what_create_would(empty, tmp_path):
    check_creatable(os.fsencode(empty))
    (tmp_path / "a.conf").touch()
    assert refusal(check_creatable, os.fsencode(empty), config_path=os.fsencode(tmp_path / "a.conf")).exit_code == 7
    (empty / "something").touch()
    assert refusal(check_creatable, os.fsencode(empty)).exit_code == 6
    assert os.listdir(empty) == ["something"]


def test_create_two_volumes_share_nothing(tmp_path):
    keys, salts, dirivs = set(), set(), set()
    for name in ("one", "two"):
        path = tmp_path / name
        path.mkdir()
        with create_volume(os.fsencode(path), OLD, fast_options()) as master_key:
            keys.add(bytes(master_key.view()))
        salts.add(read_config(os.fsencode(path)).scrypt.salt)
        dirivs.add((path / "gocryptfs.diriv").read_bytes())
    assert len(keys) == len(salts) == len(dirivs) == 2


@pytest.mark.parametrize("kind", ["missing", "file", "not-empty"])
def test_create_bad_directory_is_exit_code_6(tmp_path, kind):
    path = tmp_path / "volume"
    if kind == "file":
        path.touch()
    elif kind == "not-empty":
        path.mkdir()
        (path / "something").touch()
    error = refusal(create_volume, os.fsencode(path), OLD, fast_options())
    assert error.exit_code == ExitCode.CIPHERDIR == 6
    assert isinstance(error, VolumeExistsError if kind == "not-empty" else VolumeNotFoundError)
    assert "volume" in error.message
    assert not (path / "gocryptfs.conf").exists()


def test_create_over_the_remnant_of_an_interrupted_one_says_so(empty):
    (empty / "gocryptfs.diriv").write_bytes(b"x" * 16)
    (empty / "gocryptfs.conf.tmp").touch()
    error = refusal(create_volume, os.fsencode(empty), OLD, fast_options())
    assert "interrupted" in error.hint
    (empty / "user-file").touch()
    assert "interrupted" not in refusal(create_volume, os.fsencode(empty), OLD, fast_options()).hint


def test_create_with_the_config_elsewhere_keeps_it_out_of_the_directory(empty, tmp_path):
    elsewhere = tmp_path / "my.conf"
    create_volume(os.fsencode(empty), OLD, fast_options(), config_path=os.fsencode(elsewhere)).wipe()
    assert os.listdir(empty) == ["gocryptfs.diriv"]
    assert opens(empty, OLD, config_path=os.fsencode(elsewhere))
    other = tmp_path / "other"
    other.mkdir()
    error = refusal(create_volume, os.fsencode(other), OLD, fast_options(), config_path=os.fsencode(elsewhere))
    assert (type(error), error.exit_code) == (VolumeExistsError, 7)
    assert os.listdir(other) == []


@pytest.mark.parametrize(
    ("password", "options", "error"),
    [
        (b"", fast_options(), PasswordSourceError),
        (b"x" * 2049, fast_options(), PasswordSourceError),
        (OLD, CreateOptions(log_n=9), UsageError),
        (OLD, fast_options(long_name_max=61), UsageError),
    ],
)
def test_create_bad_arguments_write_nothing(empty, password, options, error):
    with pytest.raises(error):
        create_volume(os.fsencode(empty), password, options)
    assert os.listdir(empty) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("step", "exit_code"),
    [("create_diriv", 7), ("fsyncat", 7), ("write_file_durably", 24), ("renameat2", 24)],
)
def test_create_failing_disk_leaves_an_empty_directory(empty, monkeypatch, step, exit_code, code):
    patch_call(monkeypatch, step, failing(code))
    error = refusal(create_volume, os.fsencode(empty), OLD, fast_options())
    assert (type(error), error.exit_code) == (VolumeError, exit_code)
    assert os.strerror(code).lower() in error.message
    assert os.listdir(empty) == []
    monkeypatch.undo()
    create_volume(os.fsencode(empty), OLD, fast_options()).wipe()


def test_create_does_not_remove_a_diriv_that_it_did_not_make(empty, monkeypatch):
    monkeypatch.setattr(backing, "listdir", lambda _fd: [])  # somebody else was quicker than our look
    (empty / "gocryptfs.diriv").write_bytes(b"x" * 16)
    assert refusal(create_volume, os.fsencode(empty), OLD, fast_options()).exit_code == 7
    assert (empty / "gocryptfs.diriv").read_bytes() == b"x" * 16


def test_create_in_a_directory_at_work_is_busy(empty):
    fd = open_cipherdir(os.fsencode(empty))
    lock_cipherdir(fd, shared=True)
    with pytest.raises(VolumeBusyError):
        create_volume(os.fsencode(empty), OLD, fast_options())
    os.close(fd)
    create_volume(os.fsencode(empty), OLD, fast_options()).wipe()


# --- unlock -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("volume_name", [name for name in VOLUME_NAMES if not name.startswith("legacy")])
def test_unlock_with_master_key_needs_no_config(tmp_path, volume_name):
    home = unpack(volume_name, tmp_path)
    (home / "cipher" / "gocryptfs.conf").unlink()
    kinds = {"xchacha": CipherKind.XCHACHA20_POLY1305, "aessiv": CipherKind.AES_SIV}
    options = CreateOptions(
        cipher=CipherKind.AES_SIV if "reverse" in volume_name else kinds.get(volume_name, CipherKind.AES_GCM),
        plaintext_names="plaintextnames" in volume_name,
        deterministic_names="deterministic" in volume_name,
        long_name_max=100 if "100" in volume_name else 0,
    )
    master_key = bytes.fromhex(json.loads((home / "meta.json").read_text())["masterkey"])
    with (
        Secret.from_bytes(master_key) as secret,
        unlock_volume(os.fsencode(home / "cipher"), master_key=secret, options=options) as volume,
    ):
        assert volume.config is None
        assert check_volume(volume).problems == []
        assert bytes(secret.view()) == master_key


@pytest.mark.parametrize(
    ("volume_name", "names"), [("legacy-nohkdf-gcm", {}), ("legacy-nohkdf-plaintextnames", {"plaintext_names": True})]
)
def test_unlock_old_volumes_with_master_key(tmp_path, volume_name, names):
    home = unpack(volume_name, tmp_path)
    master_key = bytes.fromhex(json.loads((home / "meta.json").read_text())["masterkey"])
    with (
        Secret.from_bytes(master_key) as secret,
        unlock_volume(
            os.fsencode(home / "cipher"), master_key=secret, options=CreateOptions(hkdf=False, raw64=False, **names)
        ) as volume,
    ):
        assert check_volume(volume).problems == []


def test_unlock_wrong_password_is_exit_code_12(volume_dir):
    error = refusal(unlock_volume, os.fsencode(volume_dir), password=NEW)
    assert (type(error), error.exit_code) == (WrongPasswordError, 12)


def test_unlock_wrong_password_error_that_is_kept_does_not_crash_the_collector(volume_dir):
    # CPython < 3.11.8 crashes when it collects a traceback with a frame that still uses a view of the key.
    error = refusal(unlock_volume, os.fsencode(volume_dir), password=NEW)
    assert error.__traceback__ is not None
    del error
    gc.collect()


def test_unlock_needs_exactly_one_secret(volume_dir):
    with pytest.raises(ValueError, match="exactly one"):
        unlock_volume(os.fsencode(volume_dir))
    with Secret(32) as key, pytest.raises(ValueError, match="exactly one"):
        unlock_volume(os.fsencode(volume_dir), password=OLD, master_key=key)


def test_unlock_wipes_its_copy_of_the_master_key(volume_dir, monkeypatch):
    made = []

    def recording(config, password, unwrap=lifecycle.unwrap_master_key):
        made.append(unwrap(config, password))
        return made[0]

    monkeypatch.setattr(lifecycle, "unwrap_master_key", recording)
    unlock_volume(os.fsencode(volume_dir), password=OLD).close()
    with pytest.raises(ValueError, match="wiped"):
        made[0].view()


# --- config -----------------------------------------------------------------------------------------------------
def test_read_config_missing_directory_and_missing_file_differ(tmp_path, empty):
    missing = refusal(read_config, os.fsencode(tmp_path / "nowhere"))
    assert (type(missing), missing.exit_code) == (VolumeNotFoundError, 6)
    no_config = refusal(read_config, os.fsencode(empty))
    assert (type(no_config), no_config.exit_code) == (ConfigError, 11)
    assert "gocryptfs.conf" in no_config.message
    assert no_config.hint


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["empty", "fifo", "directory", "garbage", "endless"])
def test_read_config_that_is_none_is_a_config_error(empty, kind):
    path = empty / "gocryptfs.conf"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"" if kind == "empty" else b"\xff\xfe{}")
    error = refusal(read_config, os.fsencode(empty))
    assert (type(error), error.exit_code) == (ConfigError, 11)


def test_read_config_unsupported_is_exit_code_27(volume_dir):
    path = volume_dir / "gocryptfs.conf"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b'"HKDF"', b'"Future"'))
    error = refusal(read_config, os.fsencode(volume_dir))
    assert (type(error), error.exit_code) == (UnsupportedFeatureError, 27)


# --- change the password ----------------------------------------------------------------------------------------
def test_change_password_new_opens_and_old_does_not(volume_dir):
    before = unlock_and_encode(volume_dir, password=OLD)
    config = read_config(os.fsencode(volume_dir))
    (volume_dir / "gocryptfs.conf").chmod(0o644)
    assert change_password(os.fsencode(volume_dir), NEW, old_password=OLD) is None
    assert not opens(volume_dir, OLD)
    assert unlock_and_encode(volume_dir, password=NEW) == before  # the same master key
    changed = read_config(os.fsencode(volume_dir))
    assert changed.scrypt.salt != config.scrypt.salt
    assert (changed.scrypt.n, changed.flags, changed.creator) == (config.scrypt.n, config.flags, config.creator)
    assert stat.S_IMODE((volume_dir / "gocryptfs.conf").stat().st_mode) == 0o400
    assert sorted(os.listdir(volume_dir)) == ["gocryptfs.conf", "gocryptfs.diriv"]


@pytest.mark.parametrize("volume_name", VOLUME_NAMES)
def test_change_password_of_golden_volumes_keeps_their_content_readable(tmp_path, volume_name):
    home = unpack(volume_name, tmp_path)
    old = json.loads((home / "meta.json").read_text())["password"].encode()
    change_password(os.fsencode(home / "cipher"), NEW, old_password=old, log_n=11)
    with unlock_volume(os.fsencode(home / "cipher"), password=NEW) as volume:
        assert volume.config is not None
        assert volume.config.scrypt.n == 1 << 11
        assert check_volume(volume).problems == []


def test_change_password_wrong_old_one_changes_nothing(volume_dir):
    before = (volume_dir / "gocryptfs.conf").read_bytes()
    assert refusal(change_password, os.fsencode(volume_dir), NEW, old_password=NEW).exit_code == 12
    assert (volume_dir / "gocryptfs.conf").read_bytes() == before


def test_change_password_bad_cost_is_exit_code_13(volume_dir):
    error = refusal(change_password, os.fsencode(volume_dir), NEW, old_password=OLD, log_n=9)
    assert (type(error), error.exit_code) == (UsageError, 13)
    assert opens(volume_dir, OLD)


def test_change_password_left_over_temporary_file_is_exit_code_24(volume_dir):
    tmp = volume_dir / "gocryptfs.conf.tmp"
    tmp.write_bytes(b"left over")
    error = refusal(change_password, os.fsencode(volume_dir), NEW, old_password=OLD)
    assert error.exit_code == 24
    assert "gocryptfs.conf.tmp" in error.message
    assert "delete it" in error.hint
    assert tmp.read_bytes() == b"left over"
    assert opens(volume_dir, OLD)


@pytest.mark.parametrize("step", ["fchmod", "pwrite_full", "fsync", "renameat2"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_change_password_failing_disk_keeps_the_old_one(volume_dir, monkeypatch, step, code):
    patch_call(monkeypatch, step, failing(code))
    error = refusal(change_password, os.fsencode(volume_dir), NEW, old_password=OLD)
    monkeypatch.undo()
    assert error.exit_code == 24
    assert os.strerror(code).lower() in error.message
    assert opens(volume_dir, OLD)
    change_password(os.fsencode(volume_dir), NEW, old_password=OLD)


def test_change_password_with_master_key_keeps_the_old_config(empty):
    with create_volume(os.fsencode(empty), OLD, fast_options()) as master_key:
        before = (empty / "gocryptfs.conf").read_bytes()
        backup = change_password(os.fsencode(empty), NEW, master_key=master_key)
        assert backup == os.fsencode(empty / "gocryptfs.conf.bak")
        assert Path(os.fsdecode(backup)).read_bytes() == before
        assert opens(empty, NEW)
        assert opens(empty, OLD, config_path=backup)
        error = refusal(change_password, os.fsencode(empty), OLD, master_key=master_key)
        assert (type(error), error.exit_code) == (VolumeExistsError, 7)
        assert opens(empty, NEW)


@pytest.mark.parametrize("link_error", [errno.EPERM, errno.EOPNOTSUPP])
def test_change_password_with_master_key_copies_where_there_are_no_links(empty, monkeypatch, link_error):
    patch_call(monkeypatch, "linkat", failing(link_error))
    with create_volume(os.fsencode(empty), OLD, fast_options()) as master_key:
        backup = change_password(os.fsencode(empty), NEW, master_key=master_key)
    assert backup is not None
    assert opens(empty, OLD, config_path=backup)
    assert opens(empty, NEW)


def test_change_password_with_master_key_failing_disk_drops_the_backup(empty, monkeypatch):
    with create_volume(os.fsencode(empty), OLD, fast_options()) as master_key:
        patch_call(monkeypatch, "renameat2", failing(errno.ENOSPC))
        assert refusal(change_password, os.fsencode(empty), NEW, master_key=master_key).exit_code == 24
        monkeypatch.undo()
        assert sorted(os.listdir(empty)) == ["gocryptfs.conf", "gocryptfs.diriv"]
        assert opens(empty, OLD)
        change_password(os.fsencode(empty), NEW, master_key=master_key)


def test_change_password_directory_that_fails_to_sync_keeps_the_backup(empty, monkeypatch):
    with create_volume(os.fsencode(empty), OLD, fast_options()) as master_key:
        fsync, synced = backing.fsync, []

        def fail_the_third(fd):  # backup's directory, new file, then the directory
            synced.append(fd)
            if len(synced) == 3:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(fd)

        patch_call(monkeypatch, "fsync", fail_the_third)
        assert refusal(change_password, os.fsencode(empty), NEW, master_key=master_key).exit_code == 24
    assert opens(empty, NEW)  # the rename was done
    assert opens(empty, OLD, config_path=os.fsencode(empty / "gocryptfs.conf.bak"))


def test_change_password_of_a_symlinked_config_replaces_its_target(volume_dir, tmp_path):
    real = tmp_path / "safe" / "real.conf"
    real.parent.mkdir()
    (volume_dir / "gocryptfs.conf").rename(real)
    (volume_dir / "gocryptfs.conf").symlink_to(real)
    change_password(os.fsencode(volume_dir), NEW, old_password=OLD)
    assert (volume_dir / "gocryptfs.conf").is_symlink()
    assert os.listdir(real.parent) == ["real.conf"]
    assert opens(volume_dir, NEW)


def test_change_password_by_root_keeps_the_owner(volume_dir):
    require_root("only root can change owners")
    os.chown(volume_dir / "gocryptfs.conf", SOMEONE, SOMEONES_GROUP)
    change_password(os.fsencode(volume_dir), NEW, old_password=OLD)
    st = (volume_dir / "gocryptfs.conf").stat()
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (SOMEONE, SOMEONES_GROUP, 0o400)


def test_config_that_would_not_read_back_is_never_written(volume_dir, monkeypatch):
    monkeypatch.setattr(config_file, "serialize_config", lambda _config: (volume_dir / "gocryptfs.conf").read_bytes())
    error = refusal(change_password, os.fsencode(volume_dir), NEW, old_password=OLD)
    assert type(error).__name__ == "InternalError"
    assert opens(volume_dir, OLD)


def test_config_path_may_be_relative(volume_dir, monkeypatch):
    monkeypatch.chdir(volume_dir)
    change_password(b".", NEW, old_password=OLD, config_path=b"gocryptfs.conf")
    assert opens(volume_dir, NEW)


# --- owning -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "second", "is_busy"),
    [(False, False, True), (False, True, True), (True, False, True), (True, True, False)],
)
def test_lock_owners_exclude_each_other_unless_both_share(volume_dir, first, second, is_busy):
    fds = [open_cipherdir(os.fsencode(volume_dir)) for _ in range(2)]
    lock_cipherdir(fds[0], shared=first)
    if is_busy:
        error = refusal(lock_cipherdir, fds[1], shared=second)
        assert isinstance(error, VolumeBusyError)
        assert "--sharedstorage" in error.hint
    else:
        lock_cipherdir(fds[1], shared=second)
    os.close(fds[0])
    lock_cipherdir(fds[1], shared=second)
    os.close(fds[1])


def test_lock_is_dropped_when_the_volume_is_closed(volume_dir):
    fd = open_cipherdir(os.fsencode(volume_dir))
    with unlock_volume(os.fsencode(volume_dir), password=OLD) as volume:
        lock_cipherdir(volume.root_fd, shared=False)
        with pytest.raises(VolumeBusyError):
            lock_cipherdir(fd, shared=False)
    lock_cipherdir(fd, shared=False)
    os.close(fd)


def test_lock_unsupported_by_the_filesystem_warns_and_goes_on(volume_dir, monkeypatch, caplog):
    monkeypatch.setattr(backing, "try_lock", failing(errno.ENOLCK))
    lock_cipherdir(0, shared=False)
    assert "has no locks" in caplog.text
    monkeypatch.setattr(backing, "try_lock", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        lock_cipherdir(0, shared=False)
    assert PASSWORD.decode() not in caplog.text
