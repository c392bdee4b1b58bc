"""How mount(8) calls a helper, and what ``pcvfs mount`` is asked to do then."""

from __future__ import annotations

import pytest

from pcvfs.cli.mount_helper import main, translate
from pcvfs.errors import ExitCode, UsageError


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["C", "M", "-o", "rw"], ["--rw"]),
        (["C", "M", "-o", "rw,passfile=/root/pw,allow_other"], ["--rw", "--passfile=/root/pw", "--allow_other"]),
        (["C", "M", "-sv", "-n", "-o", "ro"], ["--ro"]),
        (["-o", "ro", "C", "M"], ["--ro"]),
        (["C", "M", "-t", "fuse.pcvfs", "-o", "ro"], ["--ro"]),
        (["C", "M", "-o", "rw,noauto,nofail,user,_netdev,x-systemd.idle-timeout=5,X-mount.mkdir,defaults"], ["--rw"]),
        (["C", "M", "-o", "rw,noatime,sync"], ["--rw", "--ko=noatime", "--ko=sync"]),
        (["C", "M", "-o", "passfile=/a\\,b,idle=10m"], ["--passfile=/a,b", "--idle=10m"]),
        (["C", "M"], []),
    ],
)
def test_translate_options_of_mount_become_ours(args: list[str], options: list[str]) -> None:
    assert translate(args) == ["mount", "--quiet", *options, "--", "C", "M"]


def test_translate_fake_mount_does_nothing() -> None:
    assert translate(["C", "M", "-fv", "-o", "rw"]) is None


@pytest.mark.parametrize("args", [[], ["C"], ["C", "M", "X"], ["C", "M", "-o"], ["C", "M", "-z"], ["C", "M", "--bad"]])
def test_translate_wrong_call_is_a_usage_error(args: list[str]) -> None:
    with pytest.raises(UsageError):
        translate(args)


def test_main_wrong_call_ends_with_usage_code(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["C"], lambda _: 0) == ExitCode.USAGE
    assert "mount.fuse.pcvfs CIPHERDIR MOUNTPOINT" in capfd.readouterr().err
