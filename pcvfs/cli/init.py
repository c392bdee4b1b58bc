"""``pcvfs init``: make an empty directory into a volume."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from pcvfs.cli import console
from pcvfs.cli.ciphers import cipher_of
from pcvfs.cli.declare import argument, option, option_group, path, verb_command
from pcvfs.cli.options import (
    CommonOptions,
    MasterKeyOptions,
    common_options,
    config_option,
    long_name_max_option,
    master_key_options,
    password_options,
    require_min_log_n,
    scryptn_option,
)
from pcvfs.cli.passwords import PasswordOptions, read_new_password, wiping
from pcvfs.errors import ExitCode
from pcvfs.records import record
from pcvfs.spec import SCRYPT_LOG_N_DEFAULT

if TYPE_CHECKING:
    from pcvfs.crypto.secret import Secret
    from pcvfs.format.keys import CreateOptions

_PANEL: Final = "Format of the volume (can't be changed later)"


@record
class FormatOptions:
    """What can be chosen at creation only."""

    aessiv: bool
    xchacha: bool
    plaintextnames: bool
    deterministic_names: bool
    longnamemax: int

    def with_cost(self, log_n: int) -> CreateOptions:
        from pcvfs.format.keys import CreateOptions

        return CreateOptions(
            cipher=cipher_of(aessiv=self.aessiv, xchacha=self.xchacha),
            plaintext_names=self.plaintextnames,
            deterministic_names=self.deterministic_names,
            long_name_max=self.longnamemax,
            log_n=log_n,
        )


@verb_command(
    "init",
    help="""Create a volume in an empty directory.

    Asks for a password twice, then writes gocryptfs.conf into CIPHERDIR: a random master key, encrypted with the
    password. On a terminal the master key is shown once. Whoever has it can read the volume without a password, and
    without gocryptfs.conf: keep it on paper, somewhere safe.

    Without options the volume has what suits almost everyone: AES-256-GCM for content, encrypted names.""",
    examples=[
        ("a volume with a password typed in", "mkdir ~/cipher && pcvfs init ~/cipher"),
        ("for a CPU without AES instructions (compare with `pcvfs speed`)", "pcvfs init --xchacha ~/cipher"),
        ("in a script", "pcvfs init -q --passfile /root/password /srv/cipher"),
        ("with the config file kept elsewhere", "pcvfs init --config ~/keys/work.conf ~/cipher"),
    ],
    exit_codes=[
        ExitCode.OK,
        ExitCode.USAGE,
        ExitCode.CIPHERDIR,
        ExitCode.INIT,
        ExitCode.READ_PASSWORD,
        ExitCode.MASTERKEY,
        ExitCode.WRITE_CONFIG,
    ],
)
@argument("cipherdir", convert=path)
@option_group(
    "format_options",
    FormatOptions,
    option("--xchacha", is_flag=True, panel=_PANEL, help="XChaCha20-Poly1305 content: fast without AES instructions."),
    option("--aessiv", is_flag=True, panel=_PANEL, help="AES-SIV content: harmless even if a nonce were repeated."),
    option("--plaintextnames", is_flag=True, panel=_PANEL, help="Don't encrypt names and symlink targets."),
    option(
        "--deterministic-names",
        is_flag=True,
        panel=_PANEL,
        help="Equal names look equal in all directories, and no directory has a gocryptfs.diriv file: for sync "
        "services that mix such files up.",
    ),
    long_name_max_option(panel=_PANEL),
)
@scryptn_option(default=SCRYPT_LOG_N_DEFAULT)
@password_options
@master_key_options
@config_option
@common_options
def verb(
    *,
    cipherdir: bytes,
    format_options: FormatOptions,
    scryptn: int,
    source: PasswordOptions,
    master: MasterKeyOptions,
    config: bytes | None,
    common: CommonOptions,
) -> None:
    from pcvfs.cipherdir.lifecycle import check_creatable, create_volume
    from pcvfs.crypto.secret import harden_process

    harden_process()
    require_min_log_n(scryptn, ExitCode.WRITE_CONFIG)
    options = format_options.with_cost(scryptn)
    check_creatable(cipherdir, config_path=config)
    with master.read() if master.is_given else nullcontext() as given_key:
        common.say("Choose a password for protecting your files.")
        with wiping(read_new_password(source)) as password:
            master_key = create_volume(cipherdir, password, options, config_path=config, master_key=given_key)
    with master_key:
        if not master.is_given:
            _show_master_key(master_key, common)
    shown = console.printable(cipherdir)
    common.say(f"The volume has been created. Mount it with: pcvfs mount {shown} MOUNTPOINT")


def _show_master_key(master_key: Secret, common: CommonOptions) -> None:
    """Print the key, once in its life, and only for the eyes of a person: never into a file, pipe or log."""
    from pcvfs.format.keys import format_master_key

    if not sys.stdout.isatty():
        common.say("The master key is not shown, because this is not a terminal.")
        return
    groups = format_master_key(master_key).split("-")
    half = len(groups) // 2
    common.say()
    common.say("Your master key is:")
    common.say()
    common.say(f"    {'-'.join(groups[:half])}-")
    common.say(f"    {'-'.join(groups[half:])}")
    common.say()
    common.say("With it your files can be read if the password or gocryptfs.conf is ever lost; nothing else can do")
    common.say("that. Write it down on paper and keep it safe: it is shown this one time only.")
    common.say()
