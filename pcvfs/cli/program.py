"""The programs ``pcvfs`` and ``mount.fuse.pcvfs``: how their processes begin and end. What they do is ``main``'s.

Loading modules is most of what mounting has to wait for; see docs/performance.md "Time to mount".
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pcvfs.fs.forked import ForkedServer


def run() -> NoReturn:
    """``pcvfs``."""
    gc.disable()  # until a verb begins: what is loaded stays, so looking through it is wasted
    _end(_run(sys.argv[1:]))


def run_mount_helper() -> NoReturn:
    """``mount.fuse.pcvfs``."""
    gc.disable()
    from pcvfs.cli.mount_helper import main

    _end(main(sys.argv[1:], _run))


def _run(args: list[str]) -> int:
    if args[:1] != ["mount"]:
        return _main(args)
    from pcvfs.fs.forked import ForkedServer

    # Now: while the child loads what serving takes, we read the command line and ask for the password.
    with ForkedServer() as server:
        return _main(args, server)


def _main(args: list[str], server: ForkedServer | None = None) -> int:
    from pcvfs.cli.main import main

    return main(args, server)


def _end(status: int) -> NoReturn:
    """End the process without taking the interpreter apart, which would take 5 ms."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it is gone; ``main`` has said so
            if stream is not None:  # closed from the start
                stream.flush()
    os._exit(status)
