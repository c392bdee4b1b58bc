"""``pcvfs passwd``: change the password of a volume."""

from __future__ import annotations

from pcvfs.cli import console
from pcvfs.cli.declare import argument, path, verb_command
from pcvfs.cli.options import (
    CommonOptions,
    MasterKeyOptions,
    common_options,
    config_option,
    master_key_options,
    password_options,
    require_min_log_n,
    scryptn_option,
)
from pcvfs.cli.passwords import PasswordOptions, read_new_password, read_password, wiping
from pcvfs.errors import ExitCode


@verb_command(
    "passwd",
    help="""Change the password of a volume.

    Asks for the old password (or takes it from --passfile or --extpass), then for the new one, which always comes from
    the terminal or from standard input. Files are not encrypted anew: the master key stays, only what it is wrapped
    with changes. Whoever has an old copy of gocryptfs.conf can still use the old password with it.

    With --masterkey no old password is needed. The key can't be checked, so the old config file is kept beside the
    new one, with the suffix .bak.

    May be done while the volume is mounted.""",
    examples=[
        ("change the password", "pcvfs passwd ~/cipher"),
        ("make guessing it four times as expensive", "pcvfs passwd --scryptn 18 ~/cipher"),
        ("after it was forgotten", "pcvfs passwd --masterkey stdin ~/cipher"),
    ],
    exit_codes=[
        ExitCode.OK,
        ExitCode.USAGE,
        ExitCode.CIPHERDIR,
        ExitCode.INIT,
        ExitCode.READ_PASSWORD,
        ExitCode.OTHER,
        ExitCode.WRONG_PASSWORD,
        ExitCode.SCRYPT_PARAMS,
        ExitCode.MASTERKEY,
        ExitCode.WRITE_CONFIG,
        ExitCode.CONFIG_UNSUPPORTED,
    ],
)
@argument("cipherdir", convert=path)
@scryptn_option(default=None)
@password_options
@master_key_options
@config_option
@common_options
def verb(
    *,
    cipherdir: bytes,
    scryptn: int | None,
    source: PasswordOptions,
    master: MasterKeyOptions,
    config: bytes | None,
    common: CommonOptions,
) -> None:
    from pcvfs.cipherdir.lifecycle import change_password, read_config
    from pcvfs.crypto.secret import harden_process
    from pcvfs.format.keys import unwrap_master_key

    harden_process()
    master.refuse_beside(source)
    require_min_log_n(scryptn, ExitCode.SCRYPT_PARAMS)
    volume = read_config(cipherdir, config)
    if master.is_given:
        with master.read() as master_key, wiping(_ask_new(common)) as new:
            backup = change_password(cipherdir, new, master_key=master_key, log_n=scryptn, config_path=config)
        if backup is not None:
            common.say(f"The old config file is now {console.printable(backup)}.")
    else:
        with wiping(read_password(source)) as old:
            # Costs a second scrypt, and spares a person from choosing a new password in vain.
            unwrap_master_key(volume, old).wipe()
            with wiping(_ask_new(common)) as new:
                change_password(cipherdir, new, old_password=old, log_n=scryptn, config_path=config)
    common.say("Password changed.")


def _ask_new(common: CommonOptions) -> bytearray:
    common.say("Please enter your new password.")
    return read_new_password(PasswordOptions())
