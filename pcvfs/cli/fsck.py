"""``pcvfs fsck``: read everything in a volume and say what can't be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvfs.cli import console
from pcvfs.cli.declare import argument, path, verb_command
from pcvfs.cli.options import (
    CommonOptions,
    MasterKeyOptions,
    VolumeFlags,
    common_options,
    config_option,
    master_key_options,
    password_options,
    volume_flags,
)
from pcvfs.cli.passwords import PasswordOptions, read_password, wiping
from pcvfs.errors import ExitCode, FsckError

if TYPE_CHECKING:
    from pcvfs.cipherdir.report import FsckProgress, FsckReport, Problem
    from pcvfs.cipherdir.volume import Volume


@verb_command(
    "fsck",
    help="""Check a volume.

    Decrypts every name, every block of every file, every symlink target and attribute, and reports what is corrupt:
    one line each, with the path in the volume and the path in CIPHERDIR, which is the file to restore from a backup.
    Nothing is changed. What can't be read for lack of permission is counted as skipped.

    Best done while the volume is not mounted: a file that is being written may look corrupt for a moment.""",
    examples=[
        ("check a volume", "pcvfs fsck ~/cipher"),
        ("in a script, with output only if something is wrong", "pcvfs fsck -q --passfile /root/password /srv/cipher"),
    ],
    exit_codes=[
        ExitCode.OK,
        ExitCode.USAGE,
        ExitCode.CIPHERDIR,
        ExitCode.READ_PASSWORD,
        ExitCode.OTHER,
        ExitCode.WRONG_PASSWORD,
        ExitCode.MASTERKEY,
        ExitCode.FSCK_ERRORS,
        ExitCode.CONFIG_UNSUPPORTED,
    ],
)
@argument("cipherdir", convert=path)
@password_options
@master_key_options
@volume_flags
@config_option
@common_options
def verb(
    *,
    cipherdir: bytes,
    source: PasswordOptions,
    master: MasterKeyOptions,
    flags: VolumeFlags,
    config: bytes | None,
    common: CommonOptions,
) -> None:
    from pcvfs.cipherdir.fsck import check_volume
    from pcvfs.cipherdir.intents import has_pending_write
    from pcvfs.crypto.secret import harden_process

    harden_process()
    master.refuse_beside(source)
    flags.warn_if_idle(master)
    with _unlock(cipherdir, source, master, flags, config) as volume, console.progress("checking") as meter:
        if has_pending_write(volume.root_fd):
            console.warn(
                "a mount of this volume was killed while it wrote: what it was writing may look corrupt",
                hint="mount and unmount the volume, which finishes that write, then check again",
            )

        def show_progress(progress: FsckProgress) -> None:
            meter(progress.files, progress.bytes)

        report = check_volume(volume, progress=show_progress, on_problem=_print_problem)
    if report.is_clean:
        common.say(f"fsck summary: {_summary(report)}")
        return
    console.say(f"fsck summary: {_summary(report)}")
    raise FsckError(
        "the volume is damaged", hint="restore the files in brackets from a backup of the encrypted directory"
    )


def _unlock(
    cipherdir: bytes, source: PasswordOptions, master: MasterKeyOptions, flags: VolumeFlags, config: bytes | None
) -> Volume:
    from pcvfs.cipherdir.lifecycle import read_config, unlock_volume

    if master.is_given:
        with master.read() as master_key:
            return unlock_volume(
                cipherdir, master_key=master_key, options=flags.as_format(), hash_long_names=flags.longnames
            )
    read_config(cipherdir, config)  # what is wrong with it is told before a password is asked for
    with wiping(read_password(source)) as password:
        return unlock_volume(cipherdir, password=password, config_path=config)


def _print_problem(problem: Problem) -> None:
    kind = problem.kind
    where = "?" if problem.plain_path is None else console.printable(b"/" + problem.plain_path)
    detail = f" ({problem.detail})" if problem.detail else ""
    console.say(f"{kind.severity.value}: {where}: {kind.summary}{detail} [{console.printable(problem.cipher_path)}]")


def _summary(report: FsckReport) -> str:
    parts = [_count(report.errors, "error") if report.errors else "no problems found"]
    parts += [_count(report.warnings, "warning")] if report.warnings else []
    parts += [f"{report.skipped} not checked for lack of permission"] if report.skipped else []
    seen = f"{_count(report.files, 'file')}, {_count(report.dirs, 'directory', 'directories')}"
    return f"{', '.join(parts)} ({seen}, {console.format_size(report.bytes)})"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
