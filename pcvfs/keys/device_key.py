"""A device key: 32 random bytes in a file, for a machine or a stick that opens the keyset by being there.

Whoever has the file has the key: no password is asked. It is for the owner to decide where it lies and whether there
is one at all. The file is one line of text with a check on its own, so that rot does not look like a wrong key.

Source: docs/format.md "Device key file".
"""

from __future__ import annotations

import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NoReturn, Self

from pcvfs import durable, native, spec
from pcvfs.crypto.secret import Secret
from pcvfs.errors import DeviceKeyError, KeysetAccessError, UnlockError, WrongDeviceKeyError
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.record import Slot, SlotKind
from pcvfs.keys.slots import empty_slot, random_kdf

_ID_SIZE: Final = 8
_LABEL_MAX: Final = 64  # characters
_FILE_SIZE: Final = len(spec.DEVICE_KEY_PREFIX) + (spec.DEVICE_KEY_SIZE + spec.DEVICE_KEY_CHECK_SIZE) // 3 * 4 + 1
_OTHERS: Final = 0o077


class DeviceKey:
    """Opens, and makes, one of the device slots.

    Args:
        key: 32 random bytes; from now on this object's.
        label: shown in the list of slots, 64 characters at most; not secret. Only counts when a slot is made.

    Raises:
        ValueError: a wrong size, or a label that is too long or not printable.
    """

    __slots__ = ("_key", "_label")

    def __init__(self, key: Secret, *, label: str = "") -> None:
        if len(key) != spec.DEVICE_KEY_SIZE:
            raise ValueError(f"a device key is {spec.DEVICE_KEY_SIZE} bytes, not {len(key)}")
        if len(label) > _LABEL_MAX or not label.isprintable():
            raise ValueError(f"a label is at most {_LABEL_MAX} printable characters")
        self._key = key
        self._label = label

    @classmethod
    def generate(cls, *, label: str = "") -> Self:
        """A new one."""
        return cls(Secret.random(spec.DEVICE_KEY_SIZE), label=label)

    @classmethod
    def read_file(cls, path: bytes) -> Self:
        """The key in a file.

        Raises:
            DeviceKeyError: no such file, not a regular file, open to others, damaged, or not a device key.
        """
        line = bytearray(_FILE_SIZE + 1)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                st = os.fstat(fd)
                size = os.preadv(fd, [line], 0)
            finally:
                os.close(fd)
        except OSError as exc:
            raise DeviceKeyError(f"the device key can't be read: {(exc.strerror or 'error').lower()}") from exc
        try:
            if not stat.S_ISREG(st.st_mode) or st.st_mode & _OTHERS:
                raise DeviceKeyError("the device key is no file of its owner alone", hint="chmod 600")
            return cls(_decode(line[:size]))
        finally:
            native.wipe(line)

    def write_file(self, path: bytes) -> None:
        """Put the key into a new file, mode 0600, whole or not at all.

        Raises:
            KeysetAccessError: there is something of that name already, or it can't be written.
        """
        line = _encode(self._key)
        directory, name = os.path.split(path)
        try:
            dirfd = os.open(directory or b".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                durable.write_file_durably(
                    dirfd, name, line, spec.DEVICE_KEY_FILE_MODE, tmp=name + spec.KEYSET_TMP_SUFFIX, replace=False
                )
            finally:
                os.close(dirfd)
        except OSError as exc:
            raise KeysetAccessError(f"the device key can't be written: {(exc.strerror or 'error').lower()}") from exc
        finally:
            native.wipe(line)

    @property
    def kind(self) -> SlotKind:
        return SlotKind.DEVICE_KEY

    def materials(self, slot: Slot) -> Iterator[Secret]:
        """The key, whatever the slot: the file does not say to which one it belongs."""
        return iter([self._key])

    def draft(self, policy: CostPolicy) -> Slot:
        slot_id = f"device-{secrets.token_hex(_ID_SIZE)}"
        return empty_slot(slot_id, SlotKind.DEVICE_KEY, random_kdf(), label=self._label)

    def refusal(self) -> UnlockError:
        return WrongDeviceKeyError(
            "the device key opens nothing here", hint="its slot was removed, or it belongs to another device"
        )

    def wipe(self) -> None:
        self._key.wipe()

    def __repr__(self) -> str:
        return "<DeviceKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a DeviceKey can't be copied or pickled")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wipe()


def _encode(key: Secret) -> bytearray:
    """The line; the caller wipes it. What base64 leaves on the heap nobody can."""
    payload = bytearray(key.view())
    payload += _check(key)
    try:
        return bytearray(spec.DEVICE_KEY_PREFIX) + binascii.b2a_base64(payload)
    finally:
        native.wipe(payload)


def _decode(line: bytearray) -> Secret:
    if len(line) != _FILE_SIZE or not line.startswith(spec.DEVICE_KEY_PREFIX) or not line.endswith(b"\n"):
        native.wipe(line)
        raise DeviceKeyError("that is no device key")
    payload = _payload(line[len(spec.DEVICE_KEY_PREFIX) : -1])
    native.wipe(line)
    key = Secret.from_bytes(payload[: spec.DEVICE_KEY_SIZE]) if payload else Secret(spec.DEVICE_KEY_SIZE)
    is_whole = len(payload) > spec.DEVICE_KEY_SIZE and payload[spec.DEVICE_KEY_SIZE :] == _check(key)
    native.wipe(payload)
    if not is_whole:
        key.wipe()
        raise DeviceKeyError("the device key is damaged", hint="the password opens the device all the same")
    return key


def _payload(text: bytearray) -> bytearray:
    """The bytes that base64 stands for; none if it is not base64."""
    try:
        return bytearray(binascii.a2b_base64(text, strict_mode=True))
    except ValueError:
        return bytearray()
    finally:
        native.wipe(text)


def _check(key: Secret) -> bytes:
    return hashlib.sha256(key.view()).digest()[: spec.DEVICE_KEY_CHECK_SIZE]
