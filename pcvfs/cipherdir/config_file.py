"""The file ``gocryptfs.conf``: where it is, and how it is read and replaced without ever being half there.

Owns the names next to it, ``.tmp`` and ``.bak``. What is in it is ``pcvfs.format.config``'s.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from pcvfs import durable
from pcvfs.cipherdir import backing
from pcvfs.cipherdir.wording import reason, shown
from pcvfs.errors import ConfigError, ExitCode, InternalError, VolumeError, VolumeExistsError
from pcvfs.format.config import parse_config, serialize_config
from pcvfs.format.config_record import VolumeConfig
from pcvfs.records import record
from pcvfs.spec import CONFIG_BACKUP_SUFFIX, CONFIG_MODE, CONFIG_NAME, CONFIG_SIZE_MAX, CONFIG_TMP_SUFFIX

_LINKS_UNSUPPORTED: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@record
class ConfigFile:
    """The config of one volume, by path; it is outside of the cipherdir if the user wants so."""

    path: bytes

    @classmethod
    def of(cls, cipherdir: bytes, config_path: bytes | None) -> ConfigFile:
        """The config at ``config_path``, or by default the one in the root of ``cipherdir``."""
        return cls(os.path.join(cipherdir, CONFIG_NAME) if config_path is None else config_path)

    @property
    def backup_path(self) -> bytes:
        """Where a master key given by hand leaves the old config."""
        return self.path + CONFIG_BACKUP_SUFFIX

    def exists(self) -> bool:
        """Whether something has this name, be it a dangling symlink."""
        return os.path.lexists(self.path)

    def resolved(self) -> ConfigFile:
        """The same without symlinks, so that writing replaces the file and not the symlink to it."""
        return ConfigFile(os.path.realpath(self.path))

    def read(self) -> VolumeConfig:
        """Read and validate.

        Raises:
            ConfigError: missing, not readable, or not a config.
            UnsupportedFeatureError: a config that can't be used.
        """
        try:
            data = backing.read_path(self.path, CONFIG_SIZE_MAX)
        except FileNotFoundError as exc:
            raise ConfigError(
                f"there is no config {shown(self.path)}",
                hint="is this an encrypted directory? `pcvfs init` makes one, --config says if its config is elsewhere",
            ) from exc
        except OSError as exc:
            raise ConfigError(f"config {shown(self.path)} can't be read: {reason(exc)}") from exc
        return parse_config(data)

    def write(self, config: VolumeConfig, *, replace: bool) -> None:
        """Write durably; there is always the old file, the new one, or (``replace`` False) none.

        Root writes on behalf of others: the file keeps its owner.

        Raises:
            VolumeError: exit code 24. The old file is in place, unless it was the directory that could not be synced.
        """
        data = serialize_config(config)
        if parse_config(data) != config:
            raise InternalError("the config would not read back as what was written")
        dirname, name = os.path.split(self.path)
        tmp = name + CONFIG_TMP_SUFFIX
        try:
            dirfd = backing.open_root(dirname or b".")
            try:
                owner = _owner(dirfd, name) if replace else None
                durable.write_file_durably(dirfd, name, data, CONFIG_MODE, tmp=tmp, replace=replace, owner=owner)
            finally:
                backing.close(dirfd)
        except FileExistsError as exc:
            raise self._blocked() from exc
        except OSError as exc:
            raise VolumeError(
                f"config {shown(self.path)} can't be written: {reason(exc)}", exit_code=ExitCode.WRITE_CONFIG
            ) from exc

    def _blocked(self) -> VolumeError:
        tmp_path = self.path + CONFIG_TMP_SUFFIX
        if not os.path.lexists(tmp_path):
            return VolumeError(f"config {shown(self.path)} exists already", exit_code=ExitCode.WRITE_CONFIG)
        return VolumeError(
            f"config can't be written: {shown(tmp_path)} exists",
            hint="it is left over from an interrupted change; unless one is running, delete it and try again",
            exit_code=ExitCode.WRITE_CONFIG,
        )

    def back_up(self) -> None:
        """Keep the present file under the name of the backup too, durably: a hard link, or a copy where there are none.

        Raises:
            VolumeExistsError: exit code 7, there is a backup already.
            VolumeError: exit code 7, it can't be made.
        """
        dirname, name = os.path.split(self.path)
        backup = name + CONFIG_BACKUP_SUFFIX
        try:
            dirfd = backing.open_root(dirname or b".")
            try:
                _link_or_copy(dirfd, name, backup)
                backing.fsync_if_supported(dirfd)
            finally:
                backing.close(dirfd)
        except FileExistsError as exc:
            raise VolumeExistsError(
                f"backup {shown(self.backup_path)} exists already",
                hint="it may be the only config that fits a password you know: move it away, then try again",
                exit_code=ExitCode.INIT,
            ) from exc
        except OSError as exc:
            raise VolumeError(
                f"backup {shown(self.backup_path)} can't be made: {reason(exc)}", exit_code=ExitCode.INIT
            ) from exc

    def drop_backup_if_unchanged(self) -> None:
        """Remove the backup again if the config is still the file that was backed up."""
        dirname, name = os.path.split(self.path)
        dirfd = backing.open_root(dirname or b".")
        try:
            backup = name + CONFIG_BACKUP_SUFFIX
            if backing.read_small_file(dirfd, name, CONFIG_SIZE_MAX) == backing.read_small_file(
                dirfd, backup, CONFIG_SIZE_MAX
            ):
                backing.unlink_quietly(dirfd, backup)
        finally:
            backing.close(dirfd)


def _owner(dirfd: int, name: bytes) -> tuple[int, int] | None:
    """(uid, gid) to give to the successor of a file; None if it is ours anyway or we may not."""
    if os.geteuid() != 0:
        return None
    try:
        st = backing.statat(dirfd, name)
    except FileNotFoundError:
        return None
    return st.st_uid, st.st_gid


def _link_or_copy(dirfd: int, name: bytes, backup: bytes) -> None:
    try:
        backing.linkat(dirfd, name, dirfd, backup)
    except OSError as exc:
        if exc.errno not in _LINKS_UNSUPPORTED:
            raise
        data = backing.read_small_file(dirfd, name, CONFIG_SIZE_MAX)
        backing.create_small_file(dirfd, backup, data, CONFIG_MODE)
        backing.fsyncat(dirfd, backup)
