"""The life of a volume outside of a mount: create, unlock, change the password, own.

Owns the order in which the files of a volume are written, so that a crash leaves either what was there before or what
was asked for, and the exit codes of the original. Prints and asks nothing: passwords come in, keys go out.

Concurrency: functions, no state. Two processes that write a config at the same time are kept apart by the temporary
file (O_EXCL), two that own a cipherdir by a lock on its root.
"""

from __future__ import annotations

import errno
import logging
from typing import Final

from pcvfs._version import __version__
from pcvfs.cipherdir import backing
from pcvfs.cipherdir.config_file import ConfigFile
from pcvfs.cipherdir.volume import Volume, VolumeFormat, random_bytes
from pcvfs.cipherdir.wording import reason, shown
from pcvfs.crypto.aead import Engine
from pcvfs.crypto.secret import Secret
from pcvfs.errors import (
    ExitCode,
    VolumeBusyError,
    VolumeError,
    VolumeExistsError,
    VolumeNotFoundError,
)
from pcvfs.format.config_record import VolumeConfig
from pcvfs.format.keys import CreateOptions, Password, VolumeKeys, make_config, rewrap, unwrap_master_key
from pcvfs.spec import (
    CONFIG_NAME,
    CONFIG_NONCE_SIZE_HKDF,
    CONFIG_NONCE_SIZE_LEGACY,
    CONFIG_TMP_SUFFIX,
    DIRIV_NAME,
    DIRIV_SIZE,
    KEY_SIZE,
    SALT_SIZE,
)
from pcvfs.types import DirIV

log = logging.getLogger(__name__)

CREATOR: Final = f"pcvfs {__version__}"

_LOCKS_UNSUPPORTED: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


# --- opening and owning -----------------------------------------------------------------------------------------
def open_cipherdir(path: bytes) -> int:
    """Open the root of a cipherdir, which may be a symlink to it.

    Raises:
        VolumeNotFoundError: missing, not a directory, or not ours to read.
    """
    try:
        return backing.open_root(path)
    except OSError as exc:
        raise VolumeNotFoundError(
            f"cipherdir {shown(path)} can't be opened: {reason(exc)}",
            hint="it must be an existing directory that you may read",
        ) from exc


def lock_cipherdir(root_fd: int, *, shared: bool) -> None:
    """Own a cipherdir until ``root_fd`` is closed: alone, or together with others who share it.

    An advisory lock (flock) on the root directory; gocryptfs takes none, so it keeps only pcvfs processes apart. The
    lock belongs to the open description: a forked child that keeps the descriptor keeps the lock.

    Args:
        shared: other shared owners are fine; an exclusive one is not.

    Raises:
        VolumeBusyError: another process owns it in a way that does not go together.
    """
    try:
        is_locked = backing.try_lock(root_fd, shared=shared)
    except OSError as exc:
        if exc.errno not in _LOCKS_UNSUPPORTED:
            raise
        log.warning("the filesystem below has no locks (%s): nothing keeps others from this cipherdir", reason(exc))
        return
    if is_locked:
        return
    if shared:
        raise VolumeBusyError(
            "another process has this cipherdir mounted for itself alone",
            hint="unmount that one, or mount both with --sharedstorage",
        )
    raise VolumeBusyError(
        "another process has this cipherdir mounted",
        hint="unmount that one, or mount with --sharedstorage if it is shared too",
    )


def read_config(path: bytes, config_path: bytes | None = None) -> VolumeConfig:
    """Read and validate the config of a volume.

    Args:
        path: the cipherdir.
        config_path: a config kept elsewhere; it may be a symlink or a pipe.

    Raises:
        VolumeNotFoundError: there is no such cipherdir.
        ConfigError: the config is missing, not readable, or not a config.
        UnsupportedFeatureError: a config that can't be used.
    """
    backing.close(open_cipherdir(path))
    return ConfigFile.of(path, config_path).read()


# --- create -----------------------------------------------------------------------------------------------------
def create_volume(
    path: bytes,
    password: Password,
    options: CreateOptions | None = None,
    *,
    config_path: bytes | None = None,
    master_key: Secret | None = None,
    creator: str = CREATOR,
) -> Secret:
    """Make an empty directory into a volume, durably.

    The config comes last: without one nothing takes the directory for a volume, so a crash leaves either a remnant,
    which the next attempt names, or a complete volume.

    Args:
        path: an existing empty directory.
        password: stays the caller's, who wipes it.
        config_path: put the config there instead of into the directory.
        master_key: 32 bytes, for a volume that shares its key with another; stays the caller's. Default: random.

    Returns:
        The master key, for showing it once; the caller wipes it.

    Raises:
        VolumeNotFoundError: ``path`` is missing or not a directory.
        VolumeExistsError: the directory is not empty (exit code 6), or there is a config already (7).
        VolumeBusyError: another process is at work in it.
        UsageError, PasswordSourceError: bad options or password; nothing was written.
        VolumeError: exit code 7 or 24, writing failed; what was written has been removed again.
    """
    options = options or CreateOptions()
    config_file = ConfigFile.of(path, config_path)
    root_fd = open_cipherdir(path)
    try:
        lock_cipherdir(root_fd, shared=False)
        _check_creatable(root_fd, path, config_file)
        new_key = Secret.random(KEY_SIZE) if master_key is None else Secret.from_bytes(master_key.view())
        try:
            config = make_config(
                options,
                password,
                new_key,
                salt=random_bytes(SALT_SIZE),
                nonce=random_bytes(CONFIG_NONCE_SIZE_HKDF if options.hkdf else CONFIG_NONCE_SIZE_LEGACY),
                creator=creator,
            )
            _write_volume(root_fd, config_file, config)
        except BaseException:
            new_key.wipe()
            raise
        return new_key
    finally:
        backing.close(root_fd)


def check_creatable(path: bytes, *, config_path: bytes | None = None) -> None:
    """Find out before asking for a password whether ``create_volume`` would refuse this place.

    Raises:
        VolumeNotFoundError, VolumeExistsError: as ``create_volume``.
    """
    root_fd = open_cipherdir(path)
    try:
        _check_creatable(root_fd, path, ConfigFile.of(path, config_path))
    finally:
        backing.close(root_fd)


def _check_creatable(root_fd: int, path: bytes, config_file: ConfigFile) -> None:
    found = backing.listdir(root_fd)
    if found:
        hint = "choose an empty directory"
        if {DIRIV_NAME, CONFIG_NAME + CONFIG_TMP_SUFFIX}.issuperset(found):
            hint = "what is in it is left over from an interrupted creation; delete that and try again"
        raise VolumeExistsError(f"directory {shown(path)} is not empty", hint=hint)
    if config_file.exists():
        raise VolumeExistsError(
            f"config {shown(config_file.path)} exists already",
            hint="choose another place for it",
            exit_code=ExitCode.INIT,
        )


def _write_volume(root_fd: int, config_file: ConfigFile, config: VolumeConfig) -> None:
    if config.has_diriv:
        try:
            backing.create_diriv(root_fd, DirIV(random_bytes(DIRIV_SIZE)))
        except OSError as exc:
            raise _diriv_error(exc) from exc
    try:
        if config.has_diriv:
            _sync_root_diriv(root_fd)
        config_file.write(config, replace=False)
    except BaseException:
        if config.has_diriv and not config_file.exists():
            backing.unlink_quietly(root_fd, DIRIV_NAME)
        raise


def _sync_root_diriv(root_fd: int) -> None:
    try:
        backing.fsyncat(root_fd, DIRIV_NAME)
        backing.fsync_if_supported(root_fd)
    except OSError as exc:
        raise _diriv_error(exc) from exc


def _diriv_error(exc: OSError) -> VolumeError:
    return VolumeError(f"{shown(DIRIV_NAME)} can't be written: {reason(exc)}", exit_code=ExitCode.INIT)


# --- unlock -----------------------------------------------------------------------------------------------------
def unlock_volume(
    path: bytes,
    *,
    password: Password | None = None,
    master_key: Secret | None = None,
    config_path: bytes | None = None,
    options: CreateOptions | None = None,
    hash_long_names: bool = True,
    engine: Engine = "native",
) -> Volume:
    """Open a volume with its password, or with its master key and no config.

    A wrong master key can't be told from a right one: the volume opens, and nothing in it decrypts.

    Args:
        path: the cipherdir.
        password: or ``master_key``; exactly one. Both stay the caller's, who wipes them.
        config_path: a config kept elsewhere.
        options: the format of the volume when it is opened with the master key; ignored with a password.
        hash_long_names: False makes names that need hashing impossible.

    Raises:
        VolumeNotFoundError, ConfigError, UnsupportedFeatureError: as ``read_config``.
        WrongPasswordError, PasswordSourceError, UnlockError: see ``format.keys.unwrap_master_key``.
        ValueError: both or neither of password and master key.
    """
    config: VolumeConfig | None = None
    if master_key is not None and password is None:
        volume_format = VolumeFormat.from_options(options or CreateOptions())
        keys = volume_format.derive_keys(master_key)
    elif password is not None and master_key is None:
        config = read_config(path, config_path)
        volume_format = VolumeFormat.from_config(config)
        with unwrap_master_key(config, password) as unwrapped:
            keys = volume_format.derive_keys(unwrapped)
    else:
        raise ValueError("exactly one of password and master key opens a volume")
    with keys:
        return _open_keys(path, volume_format, keys, config, hash_long_names=hash_long_names, engine=engine)


def open_volume(
    path: bytes, volume_format: VolumeFormat, master_key: Secret, *, hash_long_names: bool = True
) -> Volume:
    """Open a volume of which everything is known. Arguments and errors as of ``unlock_volume``."""
    with volume_format.derive_keys(master_key) as keys:
        return _open_keys(path, volume_format, keys, None, hash_long_names=hash_long_names, engine="native")


def _open_keys(
    path: bytes,
    volume_format: VolumeFormat,
    keys: VolumeKeys,
    config: VolumeConfig | None,
    *,
    hash_long_names: bool,
    engine: Engine,
) -> Volume:
    root_fd = open_cipherdir(path)
    try:
        return Volume.open_keys(
            root_fd, path, volume_format, keys, config=config, hash_long_names=hash_long_names, engine=engine
        )
    except BaseException:
        backing.close(root_fd)
        raise


# --- change the password ----------------------------------------------------------------------------------------
def change_password(
    path: bytes,
    new_password: Password,
    *,
    old_password: Password | None = None,
    master_key: Secret | None = None,
    log_n: int | None = None,
    config_path: bytes | None = None,
) -> bytes | None:
    """Wrap the master key of a volume with another password; atomically, durably, also while it is mounted.

    At every moment, a crash included, either the old or the new password opens the volume. The master key stays:
    whoever has an old config and its password keeps access.

    Args:
        old_password: or ``master_key``; exactly one. A master key can't be checked, so the old config is kept as
            ``<config>.bak``.
        log_n: new scrypt cost, N = 2**log_n; None keeps the old.

    Returns:
        Path of the backup, if one was made.

    Raises:
        VolumeNotFoundError, ConfigError, UnsupportedFeatureError, WrongPasswordError: nothing was changed.
        UsageError: exit code 13, bad ``log_n``; nothing was changed.
        VolumeExistsError: exit code 7, the backup's name is taken; nothing was changed.
        VolumeError: exit code 24, the config could not be written.
    """
    config = read_config(path, config_path)
    config_file = ConfigFile.of(path, config_path).resolved()
    if old_password is not None and master_key is None:
        with unwrap_master_key(config, old_password) as unwrapped:
            config_file.write(_rewrap(config, unwrapped, new_password, log_n), replace=True)
        return None
    if master_key is None or old_password is not None:
        raise ValueError("exactly one of old password and master key is needed")
    new_config = _rewrap(config, master_key, new_password, log_n)
    config_file.back_up()
    try:
        config_file.write(new_config, replace=True)
    except BaseException:
        config_file.drop_backup_if_unchanged()
        raise
    return config_file.backup_path


def _rewrap(config: VolumeConfig, master_key: Secret, new_password: Password, log_n: int | None) -> VolumeConfig:
    return rewrap(
        config,
        master_key,
        new_password,
        salt=random_bytes(SALT_SIZE),
        nonce=random_bytes(config.key_nonce_size),
        log_n=log_n,
    )
