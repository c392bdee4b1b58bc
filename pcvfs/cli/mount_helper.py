"""``mount.fuse.pcvfs``: what mount(8) runs for ``mount -t fuse.pcvfs`` and for lines of /etc/fstab.

Translates the arguments of mount(8) into those of ``pcvfs mount``. Knows which mount options are for mount(8) or
systemd alone, and which are for the kernel; all others are options of ``pcvfs mount``.

Source: mount(8) "EXTERNAL HELPERS", mount.fuse3(8).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from pcvfs.cli import console
from pcvfs.cli.argv import split_mount_options
from pcvfs.errors import ExitCode, UsageError

# For mount(8), systemd or other filesystems; nothing that we could do about them.
_NOT_OURS: Final = frozenset(
    (
        *("auto", "noauto", "nofail", "user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup"),
        *("_netdev", "defaults", "async", "atime", "diratime", "relatime", "norelatime", "strictatime"),
        *("nostrictatime", "iversion", "noiversion", "mand", "nomand", "loud", "silent", "comment", "pri"),
    )
)
_NOT_OURS_PREFIXES: Final = ("x-", "X-")
_FOR_KERNEL: Final = frozenset(["noatime", "nodiratime", "sync", "dirsync"])
# mount(8) runs helpers with hardly any environment; gocryptfs takes the same PATH then.
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_USAGE: Final = "usage: mount.fuse.pcvfs CIPHERDIR MOUNTPOINT [-sfnv] [-o OPTION[,OPTION...]]"


def main(argv: Sequence[str], run: Callable[[list[str]], int]) -> int:
    """Do one mount for mount(8) and return its exit code.

    Args:
        run: what runs ``pcvfs`` with the arguments it gets.
    """
    os.environ.setdefault("PATH", _PATH)
    try:
        words = translate(argv)
    except UsageError as exc:
        console.error(exc)
        return ExitCode.USAGE
    return ExitCode.OK if words is None else run(words)


def translate(args: Sequence[str]) -> list[str] | None:
    """The arguments of ``pcvfs`` for those of mount(8); None for a dry run (``-f``).

    Raises:
        UsageError: not how mount(8) calls helpers.
    """
    positionals: list[str] = []
    options: list[str] = []
    is_fake = False
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word in ("-o", "-t", "-N"):
            if not rest:
                raise UsageError(f"{word} needs a value", hint=_USAGE)
            value = rest.pop(0)
            options += split_mount_options(value) if word == "-o" else []
        elif len(word) > 1 and word.startswith("-") and set(word[1:]) <= set("sfnvw"):
            is_fake = is_fake or "f" in word
        elif word.startswith("-"):
            raise UsageError(f"unknown option {word}", hint=_USAGE)
        else:
            positionals.append(word)
    if len(positionals) != 2:
        raise UsageError(f"expected CIPHERDIR and MOUNTPOINT, got {len(positionals)} arguments", hint=_USAGE)
    return None if is_fake else ["mount", "--quiet", *_pcvfs_options(options), "--", *positionals]


def _pcvfs_options(options: Sequence[str]) -> list[str]:
    words: list[str] = []
    for option in options:
        name = option.partition("=")[0]
        if name in _FOR_KERNEL:
            words.append(f"--ko={option}")
        elif name not in _NOT_OURS and not name.startswith(_NOT_OURS_PREFIXES):
            words.append(f"--{option}")
    return words
