"""The PEP 517 build backend: setuptools, after cffi has written the C source of the extension.

``pyproject.toml`` names the extension in ``[[tool.setuptools.ext-modules]]`` with ``native/_native_ffi.c`` among its
sources. That file is generated here from ``pcv_ffi.cdef`` before any hook that needs it, so there is no setup.py and
no way to build a wheel without the extension. Run as a program it only writes the file (tools/check does that).
"""

from __future__ import annotations

from pathlib import Path

import cffi
from setuptools import build_meta

NATIVE_DIR = Path(__file__).resolve().parent
CDEF = NATIVE_DIR / "pcv_ffi.cdef"
GENERATED = NATIVE_DIR / "_native_ffi.c"
MODULE = "pcvfs._native_ffi"
PREAMBLE = """
#include "pcv_aead.h"
#include "pcv_dirs.h"
#include "pcv_eme.h"
#include "pcv_err.h"
#include "pcv_file.h"
#include "pcv_intent.h"
#include "pcv_inodes.h"
#include "pcv_kdf.h"
#include "pcv_lane.h"
#include "pcv_names.h"
#include "pcv_secret.h"
#include "pcv_spec.h"
#include "pcv_sys.h"
#include "pcv_tree.h"
"""

get_requires_for_build_wheel = build_meta.get_requires_for_build_wheel
get_requires_for_build_editable = build_meta.get_requires_for_build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable


def generate() -> None:
    """Write the C source of the extension; leaves an identical file alone, so that nothing is rebuilt for it."""
    ffi = cffi.FFI()
    ffi.cdef(CDEF.read_text())
    ffi.set_source(MODULE, PREAMBLE)
    ffi.emit_c_code(str(GENERATED))


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, str | list[str] | None] | None = None,
    metadata_directory: str | None = None,
) -> str:
    generate()
    file_name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    return file_name


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, str | list[str] | None] | None = None,
    metadata_directory: str | None = None,
) -> str:
    generate()
    file_name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    return file_name


def build_sdist(sdist_directory: str, config_settings: dict[str, str | list[str] | None] | None = None) -> str:
    generate()
    file_name: str = build_meta.build_sdist(sdist_directory, config_settings)
    return file_name


if __name__ == "__main__":
    generate()
