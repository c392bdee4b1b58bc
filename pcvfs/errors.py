"""The one exception tree of pcvfs.

Each class carries an exit code (gocryptfs' own where it has one) and a hint that says what to do; fields, not only
text. POSIX outcomes of a filesystem operation (ENOENT, ENOTEMPTY, ...) stay plain ``OSError``. Only three places
translate: ``fs/fuse.py`` to errno, ``cli/main.py`` to an exit code, ``fs/ctlsock.py`` to the control socket's replies.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes. Values below 32 mean what they mean in gocryptfs."""

    OK = 0
    USAGE = 1
    CIPHERDIR = 6  # missing, not a directory, or not empty (init)
    INIT = 7  # the volume could not be created, or a backup of the config is in the way
    LOAD_CONFIG = 8  # `info`: config can't be read
    READ_PASSWORD = 9  # empty, too long, or its source failed
    MOUNTPOINT = 10
    OTHER = 11  # also: config missing or unreadable at mount, fsck, passwd
    WRONG_PASSWORD = 12
    SCRYPT_PARAMS = 13
    MASTERKEY = 14
    SIGNAL = 15  # ended by SIGINT or SIGTERM, after a clean unmount
    FORK_CHILD = 17
    FUSE_MOUNT = 19
    CTLSOCK = 20
    WRITE_CONFIG = 24
    FSCK_ERRORS = 26
    CONFIG_UNSUPPORTED = 27


class PcvfsError(Exception):
    """Base of everything pcvfs raises on purpose.

    Args:
        message: one sentence, lower case, no full stop; names what is wrong.
        hint: one sentence that says what to do about it, or empty.
    """

    exit_code: ExitCode = ExitCode.OTHER

    def __init__(self, message: str, *, hint: str = "", exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(PcvfsError):
    """The caller asked for something that makes no sense (bad option, contradiction)."""

    exit_code = ExitCode.USAGE


class FormatError(PcvfsError):
    """Bytes on disk are not what the format says."""


class HeaderError(FormatError):
    """A file header has the wrong version, or an all-zero file id."""


class NameDecodeError(FormatError):
    """A name on disk is not the encryption of a legal name."""


class ConfigError(FormatError):
    """gocryptfs.conf is missing, not readable, or not a config."""


class UnsupportedFeatureError(ConfigError):
    """gocryptfs.conf is well-formed but its values or feature flags can't be used."""

    exit_code = ExitCode.CONFIG_UNSUPPORTED


class AuthenticationError(PcvfsError):
    """An authentication tag did not match: the data was changed, or belongs elsewhere.

    ``block_no`` is the first bad block, or None for data that has no block number (symlink target, xattr value).
    """

    def __init__(self, message: str, *, block_no: int | None = None) -> None:
        super().__init__(message)
        self.block_no = block_no


class UnlockError(PcvfsError):
    """The master key could not be had."""


class WrongPasswordError(UnlockError):
    """The password does not open this volume, or the wrapped key was tampered with (not distinguishable)."""

    exit_code = ExitCode.WRONG_PASSWORD


class PasswordSourceError(UnlockError):
    """No usable password came from the terminal, pipe, file or program."""

    exit_code = ExitCode.READ_PASSWORD


class MasterKeyError(UnlockError):
    """A master key given by hand is not 32 bytes of hex."""

    exit_code = ExitCode.MASTERKEY


class VolumeError(PcvfsError):
    """Something about an encrypted directory as a whole."""

    exit_code = ExitCode.CIPHERDIR


class VolumeNotFoundError(VolumeError):
    """The cipherdir does not exist or is not a directory."""


class VolumeExistsError(VolumeError):
    """A volume can't be created where something already is."""


class VolumeBusyError(VolumeError):
    """Another mount owns this cipherdir."""

    exit_code = ExitCode.OTHER


class MountError(PcvfsError):
    """FUSE refused, or the mount process died."""

    exit_code = ExitCode.FUSE_MOUNT


class MountpointError(MountError):
    """The mountpoint is missing, not empty, busy, or inside the cipherdir."""

    exit_code = ExitCode.MOUNTPOINT


class ControlSocketError(MountError):
    """The control socket can't be made."""

    exit_code = ExitCode.CTLSOCK


class FsckError(PcvfsError):
    """`fsck` found problems."""

    exit_code = ExitCode.FSCK_ERRORS


class KeysetError(PcvfsError):
    """Something about the file that holds the sealed SDEK."""


class NotInitializedError(KeysetError):
    """There is no keyset, and there never was one as far as can be seen. Never raised for one that can't be read."""


class AlreadyInitializedError(KeysetError):
    """A keyset, or what is left of one, is where one should be created."""

    exit_code = ExitCode.INIT


class KeysetAccessError(KeysetError):
    """The keyset could not be read or written: permissions, a full or failing disk. ``__cause__`` is the OSError."""


class CorruptKeysetError(KeysetError):
    """The keyset is damaged, or was changed by someone who does not have the SDEK."""


class KeysetTooNewError(KeysetError):
    """The keyset was written by a later version of this program."""


class KeysetCostError(KeysetError):
    """The keyset asks for more memory or time than is accepted, or than this machine has."""


class RolledBackKeysetError(KeysetError):
    """The keyset is older than one that was seen before."""


class NoSuchSlotError(KeysetError):
    """The keyset can't be opened in that way: it has no recovery key, no such device key."""


class LockedError(UnlockError):
    """The SDEK is not in memory."""


class WrongRecoveryKeyError(UnlockError):
    """The recovery words are well-formed but don't open this keyset, or their slot was tampered with."""

    exit_code = ExitCode.WRONG_PASSWORD


class WrongDeviceKeyError(UnlockError):
    """The device key does not open this keyset, or its slot was tampered with."""

    exit_code = ExitCode.WRONG_PASSWORD


class UnusablePasswordError(UnlockError):
    """A password that can't be one: empty, too long, or not text."""

    exit_code = ExitCode.READ_PASSWORD


class RecoveryWordsError(UnlockError):
    """What was typed can't be a recovery key.

    ``positions`` are the numbers, from 1, of words that are in no word list; empty if the words are fine one by one
    but not together. The words themselves are not told.
    """

    exit_code = ExitCode.READ_PASSWORD

    def __init__(self, message: str, *, hint: str = "", positions: tuple[int, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.positions = positions


class DeviceKeyError(UnlockError):
    """A device key file is missing, readable for others, or not one."""

    exit_code = ExitCode.READ_PASSWORD


class TooManyAttemptsError(UnlockError):
    """Not tried: too many failures before, or too many who wait. ``retry_after_s`` says when to come back."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class InternalError(PcvfsError):
    """Our bug, or a C extension that does not match the Python code."""
