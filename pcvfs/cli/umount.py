"""``pcvfs umount``: end a mount, or say who keeps it busy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from pcvfs.cli import console
from pcvfs.cli.declare import argument, only_one, option, path, verb_command
from pcvfs.cli.options import CommonOptions, common_options
from pcvfs.errors import ExitCode, MountpointError, VolumeBusyError
from pcvfs.fs import mounts

_HOLDERS_SHOWN: Final = 10

_HELP: Final = """Unmount a volume.

Returns when the volume is unmounted and everything written to it is in CIPHERDIR. If it is in use, says which processes
use it. Needs root only for mounts that root made; `fusermount3 -u` and umount(8) do the same."""


@verb_command(
    "umount",
    help=_HELP,
    examples=[
        ("end a mount", "pcvfs umount ~/plain"),
        ("end it as soon as nothing uses it any more", "pcvfs umount --lazy ~/plain"),
        ("end a mount that hangs", "pcvfs umount --force ~/plain"),
    ],
    exit_codes=[
        ExitCode.OK,
        ExitCode.USAGE,
        ExitCode.MOUNTPOINT,
        ExitCode.OTHER,
        ExitCode.FUSE_MOUNT,
    ],
)
@argument("mountpoint", convert=path)
@option(
    "--lazy",
    "-z",
    is_flag=True,
    panel="Unmount",
    help="Detach now; the mount ends when nothing uses it any more.",
)
@option(
    "--force",
    is_flag=True,
    panel="Unmount",
    help="Cut off a mount that hangs: waiting calls fail, and what was not yet written is lost.",
)
@common_options
def verb(*, mountpoint: bytes, lazy: bool, force: bool, common: CommonOptions) -> None:
    only_one(lazy=lazy, force=force)
    mount = mounts.find_mount(mountpoint)
    shown = console.printable(mountpoint)
    if mount is None:
        raise MountpointError(f"nothing is mounted at {shown}")
    if not mount.is_fuse:
        raise MountpointError(
            f"{shown} is a {mount.fs_type} mount, not a volume",
            hint="umount(8) can unmount it",
        )
    if force:
        mounts.cut_off(mount)
        return
    # Its end is what "unmounted" means to whoever mounts or copies CIPHERDIR next. Lazily, it may be days away.
    server = None if lazy else mounts.open_server(mount)
    try:
        mounts.unmount(mount, lazy=lazy)
        if server is not None:
            mounts.wait_for_server(server)
    except VolumeBusyError as exc:
        raise VolumeBusyError(exc.message, hint=_name_holders(mounts.find_holders(mount))) from exc
    finally:
        if server is not None:
            os.close(server)


def _name_holders(holders: Sequence[mounts.Holder]) -> str:
    advice = "close what uses it, or detach it with --lazy"
    if not holders:
        return f"{advice}; root can see who uses it"
    lines = [f"{holder.command} (process {holder.pid}): {holder.use}" for holder in holders[:_HOLDERS_SHOWN]]
    if len(holders) > _HOLDERS_SHOWN:
        lines.append(f"and {len(holders) - _HOLDERS_SHOWN} more")
    return "\n".join(["in use by", *(f"  {line}" for line in lines), advice])
