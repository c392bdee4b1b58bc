"""``pcvfs version``: what runs here, in one line, as bug reports need it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import platform
from typing import Final

from pcvfs._version import __version__
from pcvfs.cli import console
from pcvfs.cli.declare import verb_command
from pcvfs.errors import ExitCode

_UNKNOWN: Final = "not found"
_LIBFUSE: Final = ("libfuse3.so.4", "libfuse3.so.3")


@verb_command(
    "version",
    help="""Show the versions of pcvfs and of what it stands on.

    The line starts with `pcvfs VERSION`; the parts are separated by semicolons.""",
    examples=[("see what is installed", "pcvfs version")],
    exit_codes=[ExitCode.OK, ExitCode.USAGE],
)
def verb() -> None:
    console.say(version_line())


def version_line() -> str:
    return "; ".join(
        (
            f"pcvfs {__version__}",
            f"pyfuse3 {_pyfuse3()}",
            f"libfuse {_libfuse()}",
            f"OpenSSL {_openssl()}",
            f"python {platform.python_version()} {platform.system().lower()}/{platform.machine()}",
        )
    )


def _pyfuse3() -> str:
    try:
        return importlib.metadata.version("pyfuse3")
    except importlib.metadata.PackageNotFoundError:
        return _UNKNOWN


def _libfuse() -> str:
    """Ask the library itself: importing pyfuse3 would load trio as well."""
    for name in _LIBFUSE:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.fuse_pkgversion.restype = ctypes.c_char_p
        return str(library.fuse_pkgversion().decode())
    return _UNKNOWN


def _openssl() -> str:
    """The libcrypto that the C extension links, e.g. ``3.0.17``."""
    try:
        library = ctypes.CDLL("libcrypto.so.3")
    except OSError:
        return _UNKNOWN
    library.OpenSSL_version.restype = ctypes.c_char_p
    return str(library.OpenSSL_version(0).decode().split()[1])
