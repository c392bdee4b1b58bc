"""Options that several verbs share, and the value types of options.

Each group reaches its verb as one frozen record. Values are checked here; what they mean is the verbs' affair.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pcvfs.cli import console, passwords
from pcvfs.cli.declare import Decorator, IntRange, P, only_one, option, option_group, path
from pcvfs.cli.passwords import PasswordOptions
from pcvfs.errors import ExitCode, UsageError
from pcvfs.records import record
from pcvfs.spec import KEY_SIZE, LONG_NAME_MAX_FLOOR, NAME_MAX, SCRYPT_LOG_N_MAX, SCRYPT_LOG_N_MIN

if TYPE_CHECKING:
    from pcvfs.crypto.secret import Secret
    from pcvfs.format.keys import CreateOptions


_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNIT_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_NO_ID: Final = (1 << 32) - 1  # to the kernel: leave the owner as it is


def parse_duration(text: str) -> float:
    """A duration as Go writes it (``10m``, ``1h30m``, ``500ms``, ``0``), in seconds.

    Raises:
        ValueError: anything else, a negative one too.
    """
    if text == "0":
        return 0.0
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.removeprefix("+"):
        raise ValueError(f"{text!r} is not a duration such as 10m, 1h30m or 500ms")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def parse_owner(text: str) -> tuple[int, int]:
    """``UID:GID``, both numbers.

    Raises:
        ValueError: anything else.
    """
    match = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text, re.ASCII)
    owner = (int(match[1]), int(match[2])) if match else (_NO_ID, _NO_ID)
    if max(owner) >= _NO_ID:
        raise ValueError(f"{text!r} is not UID:GID, such as 1000:1000")
    return owner


# --- every verb -----------------------------------------------------------------------------------------------


@record
class CommonOptions:
    quiet: bool
    debug: bool

    def say(self, text: str = "") -> None:
        """Print news, unless ``--quiet``."""
        if not self.quiet:
            console.say(text)


def common_options(function: Callable[P, int | None]) -> Callable[P, int | None]:
    panel = "Messages"
    return option_group(
        "common",
        CommonOptions,
        option(
            "--quiet",
            "-q",
            is_flag=True,
            panel=panel,
            help="Print errors and warnings only.",
        ),
        option(
            "--debug",
            "-d",
            is_flag=True,
            panel=panel,
            help="Print what happens inside, and tracebacks.",
        ),
    )(function)


def config_option(function: Callable[P, int | None]) -> Callable[P, int | None]:
    return option(
        "--config",
        metavar="FILE",
        convert=path,
        panel="Volume",
        help="Use this config file instead of CIPHERDIR/gocryptfs.conf.",
    )(function)


# --- passwords ------------------------------------------------------------------------------------------------


def password_options(function: Callable[P, int | None]) -> Callable[P, int | None]:
    panel = "Password"
    return option_group(
        "source",
        PasswordOptions,
        option(
            "--passfile",
            metavar="FILE",
            convert=path,
            multiple=True,
            panel=panel,
            help="Read the password from the first line of FILE. Given several times, the lines are joined.",
        ),
        option(
            "--extpass",
            metavar="CMD",
            multiple=True,
            panel=panel,
            help="Run CMD and read the password from its output. Once: CMD is split at spaces. Several times: one "
            "argument each.",
        ),
    )(function)


def scryptn_option(*, default: int | None) -> Decorator:
    """``--scryptn``, capped here. The floor is the verb's: init and passwd have different exit codes for it."""
    return option(
        "--scryptn",
        metavar="N",
        convert=IntRange(high=SCRYPT_LOG_N_MAX),
        default=default,
        show_default=True,
        panel="Password",
        help=f"Make each try of a password cost 2^N scrypt steps, N from {SCRYPT_LOG_N_MIN}. Every step up doubles "
        "time and memory: 16 takes 64 MiB, 20 takes 1 GiB.",
    )


# --- master key -----------------------------------------------------------------------------------------------


@record
class MasterKeyOptions:
    """A master key given by hand, which stands in for a password."""

    masterkey: str | None
    masterkey_file: bytes | None
    zerokey: bool

    def __post_init__(self) -> None:
        only_one(
            masterkey=self.masterkey,
            masterkey_file=self.masterkey_file,
            zerokey=self.zerokey,
        )

    @property
    def is_given(self) -> bool:
        return bool(self.masterkey or self.masterkey_file or self.zerokey)

    def refuse_beside(self, source: PasswordOptions) -> None:
        """Raises: UsageError if a password source is given as well."""
        only_one(masterkey=self.is_given, passfile=source.passfile, extpass=source.extpass)

    def read(self) -> Secret:
        """Fetch the key from where the options say.

        Raises:
            PasswordSourceError: it can't be read.
            MasterKeyError: it is not 32 bytes of hex.
        """
        from pcvfs.crypto.secret import Secret
        from pcvfs.format.keys import parse_master_key

        if self.zerokey:
            return Secret.from_bytes(bytes(KEY_SIZE))
        if self.masterkey_file:
            text = passwords.read_first_line(self.masterkey_file)
        elif self.masterkey == "stdin":
            text = passwords.read_line("Master key: ")
        else:
            console.warn(
                "a master key on the command line can be read by every user of this machine",
                hint="use --masterkey stdin or --masterkey-file FILE",
            )
            text = bytearray((self.masterkey or "").encode())
        with passwords.wiping(text):
            return parse_master_key(bytes(text))


def master_key_options(function: Callable[P, int | None]) -> Callable[P, int | None]:
    panel = "Master key"
    return option_group(
        "master",
        MasterKeyOptions,
        option(
            "--masterkey",
            metavar="stdin|HEX",
            panel=panel,
            help="Use this master key instead of a password. stdin: read it from standard input. HEX can be seen by "
            "every user in the list of processes.",
        ),
        option(
            "--masterkey-file",
            metavar="FILE",
            convert=path,
            panel=panel,
            help="Use the master key in the first line of FILE instead of a password.",
        ),
        option(
            "--zerokey",
            is_flag=True,
            panel=panel,
            help="Use the all-zero master key. For tests only.",
        ),
    )(function)


@record
class VolumeFlags:
    """How a volume is encrypted, for when a master key is used and no config file says it."""

    aessiv: bool
    xchacha: bool
    plaintextnames: bool
    deterministic_names: bool
    longnamemax: int
    longnames: bool
    raw64: bool
    hkdf: bool

    def as_format(self) -> CreateOptions:
        """Raises: UsageError for flags that no volume has together."""
        from pcvfs.cli.ciphers import cipher_of
        from pcvfs.format.keys import CreateOptions

        if self.xchacha and not self.hkdf:
            raise UsageError("--xchacha and --no-hkdf can't be used together")
        return CreateOptions(
            cipher=cipher_of(aessiv=self.aessiv, xchacha=self.xchacha),
            plaintext_names=self.plaintextnames,
            deterministic_names=self.deterministic_names,
            long_name_max=self.longnamemax,
            hkdf=self.hkdf,
            raw64=self.raw64,
        )

    def warn_if_idle(self, master: MasterKeyOptions) -> None:
        """Say so if a flag is given where the config file decides."""
        if not master.is_given and self != DEFAULT_FLAGS:
            console.warn("format options matter with a master key only: otherwise the config file decides")


DEFAULT_FLAGS: Final = VolumeFlags(
    aessiv=False,
    xchacha=False,
    plaintextnames=False,
    deterministic_names=False,
    longnamemax=NAME_MAX,
    longnames=True,
    raw64=True,
    hkdf=True,
)


def long_name_max_option(*, panel: str) -> Decorator:
    return option(
        "--longnamemax",
        metavar="N",
        convert=IntRange(LONG_NAME_MAX_FLOOR, NAME_MAX),
        default=NAME_MAX,
        show_default=True,
        panel=panel,
        help=f"Hash encrypted names longer than N bytes, {LONG_NAME_MAX_FLOOR}..{NAME_MAX}.",
    )


def volume_flags(function: Callable[P, int | None]) -> Callable[P, int | None]:
    panel = "Format of the volume (with a master key only; else the config file says)"
    return option_group(
        "flags",
        VolumeFlags,
        option("--aessiv", is_flag=True, panel=panel, help="AES-SIV file content."),
        option(
            "--xchacha",
            is_flag=True,
            panel=panel,
            help="XChaCha20-Poly1305 file content.",
        ),
        option(
            "--plaintextnames",
            is_flag=True,
            panel=panel,
            help="Names and symlink targets are not encrypted.",
        ),
        option(
            "--deterministic-names",
            is_flag=True,
            panel=panel,
            help="Names without a random value per directory.",
        ),
        long_name_max_option(panel=panel),
        option(
            "--longnames/--no-longnames",
            default=True,
            panel=panel,
            help="Long names have files of their own.",
        ),
        option(
            "--raw64/--no-raw64",
            default=True,
            panel=panel,
            help="base64 names without padding.",
        ),
        option("--hkdf/--no-hkdf", default=True, panel=panel, help="Keys derived by HKDF."),
    )(function)


def require_min_log_n(log_n: int | None, exit_code: ExitCode) -> None:
    """Raises: UsageError with ``exit_code`` if ``--scryptn`` is below the floor."""
    if log_n is not None and log_n < SCRYPT_LOG_N_MIN:
        raise UsageError(
            f"--scryptn {log_n} is too low, the minimum is {SCRYPT_LOG_N_MIN}",
            exit_code=exit_code,
        )
