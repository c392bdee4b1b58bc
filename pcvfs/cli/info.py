"""``pcvfs info``: what a volume's config file says, without a password."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pcvfs.cli import console
from pcvfs.cli.ciphers import cipher_name
from pcvfs.cli.declare import argument, path, verb_command
from pcvfs.cli.options import CommonOptions, common_options, config_option
from pcvfs.errors import ConfigError, ExitCode
from pcvfs.spec import SCRYPT_LOG_N_DEFAULT

if TYPE_CHECKING:
    from pcvfs.format.config import VolumeConfig


@verb_command(
    "info",
    help="""Show how a volume is encrypted.

    Reads the config file only: no password is needed, and nothing secret is shown. Warnings say what is weaker than
    in a volume made today, or can't be used here.""",
    examples=[
        ("look at a volume", "pcvfs info ~/cipher"),
        ("look at a config file that is kept elsewhere", "pcvfs info --config ~/keys/work.conf ~/cipher"),
    ],
    exit_codes=[ExitCode.OK, ExitCode.USAGE, ExitCode.CIPHERDIR, ExitCode.LOAD_CONFIG],
)
@argument("cipherdir", convert=path)
@config_option
@common_options
def verb(*, cipherdir: bytes, config: bytes | None, common: CommonOptions) -> None:
    from pcvfs.cipherdir.lifecycle import read_config

    try:
        volume = read_config(cipherdir, config)
    except ConfigError as exc:
        exc.exit_code = ExitCode.LOAD_CONFIG
        raise
    for line in describe(volume):
        console.say(line)
    if not common.quiet:
        for weakness in weaknesses(volume):
            console.warn(weakness)


def describe(config: VolumeConfig) -> Iterator[str]:
    """The lines that gocryptfs prints for the same file."""
    kdf = config.scrypt
    yield f"Creator:           {console.printable(config.creator.encode('utf-8', 'surrogateescape'))}"
    yield f"FeatureFlags:      {' '.join(config.flags)}"
    yield f"EncryptedKey:      {len(config.encrypted_key)}B"
    yield f"ScryptObject:      Salt={len(kdf.salt)}B N={kdf.n} R={kdf.r} P={kdf.p} KeyLen={kdf.key_len}"
    yield f"contentEncryption: {cipher_name(config.cipher_kind)}"


def weaknesses(config: VolumeConfig) -> Iterator[str]:
    """What the owner of such a volume should know."""
    if config.uses_fido2:
        yield "this volume is unlocked by a FIDO2 token, which pcvfs doesn't support: only its master key opens it here"
    if config.scrypt.n < 1 << SCRYPT_LOG_N_DEFAULT:
        yield (
            f"scrypt N={config.scrypt.n} makes guessing the password cheaper than the default of "
            f"{1 << SCRYPT_LOG_N_DEFAULT}: `pcvfs passwd --scryptn {SCRYPT_LOG_N_DEFAULT}` raises it"
        )
    if not config.has_hkdf:
        yield "one key encrypts both names and content (no HKDF), as before gocryptfs 1.3"
    if config.plaintext_names:
        yield "names and symlink targets are not encrypted"
    elif not config.has_diriv:
        yield "equal names look equal in all directories (deterministic names)"
