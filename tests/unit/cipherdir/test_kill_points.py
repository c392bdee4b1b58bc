"""Killed at every step of changing a password or creating a volume: what is left is one or the other, never a ruin.

A child process does the work and ends, without clean-up, before or in the middle of its n-th call that changes the
disk. What a power cut does on top of that is the matter of the order of syncs, checked in test_durable.
"""

import errno
import os

import pytest

from pcvfs import durable
from pcvfs.cipherdir import backing
from pcvfs.cipherdir.lifecycle import change_password, create_volume, unlock_volume
from pcvfs.crypto.secret import Secret
from pcvfs.errors import ConfigError, ExitCode, VolumeError, VolumeExistsError, WrongPasswordError
from tests.support.kill_points import killed_everywhere, run_until
from tests.unit.cipherdir.builder import fast_options, patch_call

OLD, NEW = b"old password", b"new password"
MODULES = (backing, durable)  # where the calls are that are killed


def opens(path, password):
    try:
        unlock_volume(os.fsencode(path), password=password).close()
    except WrongPasswordError:
        return False
    return True


def test_change_password_killed_anywhere_either_password_opens(tmp_path):
    def prepare(step):
        path = tmp_path / f"volume{step}"
        path.mkdir()
        create_volume(os.fsencode(path), OLD, fast_options()).wipe()
        return path

    outcomes = set()
    for path in killed_everywhere(
        MODULES, prepare, lambda path: change_password(os.fsencode(path), NEW, old_password=OLD)
    ):
        assert opens(path, OLD) != opens(path, NEW)
        valid = OLD if opens(path, OLD) else NEW
        outcomes.add(valid)
        tmp = path / "gocryptfs.conf.tmp"
        if tmp.exists():
            assert valid == OLD
            with pytest.raises(VolumeError) as caught:
                change_password(os.fsencode(path), NEW, old_password=valid)
            assert caught.value.exit_code == ExitCode.WRITE_CONFIG
            tmp.unlink()
        change_password(os.fsencode(path), b"third", old_password=valid)
        assert opens(path, b"third")
    assert outcomes == {OLD, NEW}


def test_change_password_with_master_key_killed_anywhere_keeps_the_old_config(tmp_path):
    keys = {}

    def prepare(step):
        path = tmp_path / f"volume{step}"
        path.mkdir()
        keys[path] = create_volume(os.fsencode(path), OLD, fast_options())
        return path

    def action(path):
        change_password(os.fsencode(path), NEW, master_key=keys[path])

    outcomes = set()
    for path in killed_everywhere(MODULES, prepare, action):
        has_old = opens(path, OLD)
        outcomes.add(has_old)
        assert has_old != opens(path, NEW)
        backup = path / "gocryptfs.conf.bak"
        if not has_old:
            unlock_volume(os.fsencode(path), password=OLD, config_path=os.fsencode(backup)).close()
    assert outcomes == {True, False}


@pytest.mark.parametrize("options", [{}, {"plaintext_names": True}], ids=str)
def test_create_killed_anywhere_is_no_volume_or_a_whole_one(tmp_path, options):
    def prepare(step):
        path = tmp_path / f"volume{step}"
        path.mkdir()
        return path

    outcomes = set()
    for path in killed_everywhere(
        MODULES, prepare, lambda path: create_volume(os.fsencode(path), OLD, fast_options(**options)).wipe()
    ):
        left = set(os.listdir(path))
        is_whole = "gocryptfs.conf" in left
        outcomes.add(is_whole)
        if is_whole:
            with unlock_volume(os.fsencode(path), password=OLD) as volume:
                volume.root_diriv()
            continue
        with pytest.raises(ConfigError):
            unlock_volume(os.fsencode(path), password=OLD)
        if left:
            with pytest.raises(VolumeExistsError) as caught:
                create_volume(os.fsencode(path), OLD, fast_options(**options))
            assert "interrupted" in caught.value.hint
            for name in left:
                (path / name).unlink()
        create_volume(os.fsencode(path), OLD, fast_options(**options)).wipe()
        assert opens(path, OLD)
    assert outcomes == {True, False}


def test_create_order_on_disk_is_diriv_synced_then_config(tmp_path, monkeypatch):
    events = []

    def recorded(name):
        original = getattr(backing, name)

        def call(*args):
            subject = args[0] if name == "fsync" else None
            events.append((name, os.path.basename(os.readlink(f"/proc/self/fd/{subject}")) if subject else args[-1]))
            return original(*args)

        return call

    for name in ("fsync", "renameat2"):
        patch_call(monkeypatch, name, recorded(name))
    path = tmp_path / "volume"
    path.mkdir()
    create_volume(os.fsencode(path), OLD, fast_options()).wipe()
    names = [name for name, _ in events]
    assert events[0] == ("fsync", "gocryptfs.diriv")
    assert events[1] == ("fsync", "volume")
    assert events[2] == ("fsync", "gocryptfs.conf.tmp")
    assert names[3:] == ["renameat2", "fsync"]
    assert events[-1] == ("fsync", "volume")


def test_kill_helper_sees_the_failure_of_the_action():
    def fail():
        raise OSError(errno.EIO, "x")

    with pytest.raises(AssertionError), Secret(32):
        run_until(MODULES, fail, 1000)
