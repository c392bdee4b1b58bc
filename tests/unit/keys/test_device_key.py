"""Device keys: slots that a file opens."""

from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import Path

import pytest

from pcvfs import durable
from pcvfs.crypto.secret import Secret
from pcvfs.errors import DeviceKeyError, KeysetAccessError, NoSuchSlotError, WrongDeviceKeyError
from pcvfs.keys.device_key import DeviceKey
from pcvfs.keys.keyset import Keyset
from tests.unit.keys.cheap import PASSWORD, VECTORS, opens, password, sdek_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "device.key"


def refused(path: Path) -> str:
    with pytest.raises(DeviceKeyError) as caught:
        DeviceKey.read_file(os.fsencode(path))
    return caught.value.message


def test_device_key_survives_its_file(path: Path, keyset: Keyset) -> None:
    key = DeviceKey.generate(label="stick")
    key.write_file(os.fsencode(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(os.listdir(path.parent)) == {"state", "device.key"}
    keyset.add_device_key(password(PASSWORD), key)
    assert sdek_of(keyset, DeviceKey.read_file(os.fsencode(path))) == sdek_of(keyset, PASSWORD)
    assert [(slot.kind, slot.label) for slot in keyset.info().slots][1] == ("device-key", "stick")


def test_device_key_file_of_the_vector_is_read_and_written(path: Path) -> None:
    vector = VECTORS["device_key"]
    path.touch(mode=0o600)
    path.write_text(vector["file_text"])
    assert DeviceKey.read_file(os.fsencode(path))._key.view() == bytes.fromhex(vector["key_hex"])
    other = path.with_name("other")
    DeviceKey(Secret.from_bytes(bytes.fromhex(vector["key_hex"]))).write_file(os.fsencode(other))
    assert other.read_text() == vector["file_text"]


def test_device_key_several_have_slots_of_their_own(keyset: Keyset) -> None:
    keys = [DeviceKey.generate() for _ in range(3)]
    for key in keys:
        keyset.add_device_key(password(PASSWORD), key)
    assert all(opens(keyset, key) for key in keys)
    assert len({slot.slot_id for slot in keyset.info().slots}) == 4
    keyset.remove_slot(keys[0], keyset.info().slots[2].slot_id)
    assert [opens(keyset, key) for key in keys] == [True, False, True]
    with pytest.raises(WrongDeviceKeyError):
        keyset.open(keys[1])


def test_device_key_the_sixteenth_slot_is_the_last(keyset: Keyset) -> None:
    for _ in range(15):
        keyset.add_device_key(password(PASSWORD), DeviceKey.generate())
    with pytest.raises(ValueError, match="no place"):
        keyset.add_device_key(password(PASSWORD), DeviceKey.generate())
    assert opens(keyset, PASSWORD)


def test_remove_slot_of_the_password_or_of_nothing_is_refused(keyset: Keyset) -> None:
    with pytest.raises(ValueError, match="password"):
        keyset.remove_slot(password(PASSWORD), "password")
    with pytest.raises(NoSuchSlotError):
        keyset.remove_slot(password(PASSWORD), "device-1")
    assert keyset.info().generation == 1


def test_device_key_file_that_is_no_key_is_refused(path: Path) -> None:
    assert "no such file" in refused(path)
    path.mkdir()
    refused(path)
    path.rmdir()
    path.symlink_to("target")
    refused(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    refused(path)
    path.unlink()
    path.touch(mode=0o600)
    for content in ("", "x", "x" * 68, "x" * 10_000, VECTORS["device_key"]["file_text"] + "\n"):
        path.write_text(content)
        assert "no device key" in refused(path)


def test_device_key_file_every_changed_byte_is_noticed(path: Path) -> None:
    data = bytearray(VECTORS["device_key"]["file_text"].encode())
    path.touch(mode=0o600)
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            path.write_bytes(data)
            refused(path)
            data[position] ^= 1 << bit


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_device_key_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    DeviceKey.generate().write_file(os.fsencode(path))
    path.chmod(mode)
    assert "owner" in refused(path)


def test_device_key_file_is_never_overwritten_nor_half_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DeviceKey.generate().write_file(os.fsencode(path))
    before = path.read_bytes()
    with pytest.raises(KeysetAccessError):
        DeviceKey.generate().write_file(os.fsencode(path))
    assert path.read_bytes() == before
    path.unlink()

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "fsync", full)
    with pytest.raises(KeysetAccessError):
        DeviceKey.generate().write_file(os.fsencode(path))
    assert not path.exists()


@pytest.mark.parametrize("label", ["x" * 65, "a\nb", "\0", "\ud800"])
def test_device_key_label_that_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="label"):
        DeviceKey.generate(label=label)


def test_device_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        DeviceKey(Secret(31))


def test_device_key_is_not_shown_or_copied() -> None:
    with DeviceKey.generate() as key:
        assert repr(key) == "<DeviceKey>"
        with pytest.raises(TypeError):
            pickle.dumps(key)
        view = key._key.view()
    assert not any(view)
