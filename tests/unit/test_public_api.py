"""The package's front door: what is promised, and what importing it costs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import pcvfs

HEAVY = {"pyfuse3", "trio", "cryptography", "cffi", "_cffi_backend", "click", "rich", "sqlite3", "asyncio", "ssl"}


def modules_after(code: str) -> set[str]:
    """Everything that a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", pcvfs.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    value = getattr(pcvfs, name)
    assert value is getattr(pcvfs, name)
    assert callable(value) or isinstance(value, str)
    namespace: dict[str, object] = {}
    exec(f"from pcvfs import {name}", namespace)  # noqa: S102  # that is the statement
    assert namespace[name] is value


def test_public_names_are_what_their_homes_define() -> None:
    for name in pcvfs.__all__:
        value = getattr(pcvfs, name)
        if not isinstance(value, str):
            assert value.__name__ == name
            assert getattr(importlib.import_module(value.__module__), name) is value
            assert value.__doc__


def test_all_is_sorted_and_is_what_dir_shows() -> None:
    assert pcvfs.__all__ == sorted(pcvfs.__all__)
    assert dir(pcvfs) == pcvfs.__all__


def test_star_import_gives_exactly_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from pcvfs import *", namespace)  # noqa: S102  # likewise
    assert set(namespace) - {"__builtins__"} == set(pcvfs.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pcvfs.nothing  # noqa: B018  # the access is what is tested
    with pytest.raises(ImportError):
        exec("from pcvfs import nothing")  # noqa: S102  # likewise


def test_importing_the_package_loads_nothing_but_itself() -> None:
    own = {module for module in modules_after("import pcvfs") if module.split(".")[0] == "pcvfs"}
    assert own == {"pcvfs", "pcvfs._version", "pcvfs.errors"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not HEAVY & modules_after("import pcvfs")


def test_version_and_errors_cost_nothing_more() -> None:
    code = "from pcvfs import PcvfsError, __version__"
    assert not HEAVY & modules_after(code)


@pytest.mark.parametrize(
    "name", ["MountOptions", "PasswordKey", "create_volume", "unlock_volume", "check_volume", "Secret"]
)
def test_what_makes_and_checks_volumes_never_loads_fuse(name: str) -> None:
    loaded = modules_after(f"from pcvfs import {name}")
    assert not {"pyfuse3", "trio", "cryptography", "click", "rich", "sqlite3"} & loaded


def test_volume_can_be_made_opened_and_checked_without_fuse(tmp_path: object) -> None:
    code = f"""
import os
from pcvfs import CreateOptions, check_volume, create_volume, unlock_volume
path = os.fsencode({str(tmp_path)!r})
create_volume(path, b"password", CreateOptions(log_n=10)).wipe()
with unlock_volume(path, password=b"password") as volume:
    assert check_volume(volume).is_clean
"""
    assert not {"pyfuse3", "trio", "cryptography", "click", "rich"} & modules_after(code)


def test_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert pcvfs.__version__ == version("pcvfs")


def test_submodules_stay_importable_by_their_paths() -> None:
    assert importlib.import_module("pcvfs.fs.options").MountOptions is pcvfs.MountOptions
