"""What passes between the process that asks for a mount and the process that serves it.

Down: a JSON line (options, kind of key, sizes), then the secret as raw bytes, never part of the JSON and never in argv
or the environment. Up: one JSON line, "ready" or the error that the asker raises again.

Concurrency: none; both ends block. They are descriptors, of a socket pair or of two pipes.
"""

from __future__ import annotations

import json
import os
import select
from typing import Final, NamedTuple

from pcvfs import errors
from pcvfs.cipherdir.volume import VolumeFormat
from pcvfs.crypto.aead import CipherKind
from pcvfs.crypto.secret import Secret
from pcvfs.errors import ExitCode, InternalError, MountError, PcvfsError
from pcvfs.format.keys import CreateOptions
from pcvfs.fs.options import MountOptions
from pcvfs.records import record

_LINE_MAX: Final = 1 << 20
_START_TIMEOUT_S: Final = 300.0  # scrypt with the largest parameters, on a slow machine


@record
class PasswordKey:
    """Unlock with the password of the volume's config.

    Attributes:
        password: exact bytes; the caller wipes it.
        config_path: a config kept elsewhere than in the cipherdir.
    """

    password: Secret
    config_path: bytes | None = None


@record
class MasterKey:
    """Unlock without a config.

    Attributes:
        master_key: 32 bytes; the caller wipes it.
        options: the format of the volume, which the config would have told.
    """

    master_key: Secret
    options: CreateOptions


@record
class UnlockedKey:
    """What the command line found out by itself.

    Attributes:
        master_key: 32 bytes; the caller wipes it.
        format: of the volume.
    """

    master_key: Secret
    format: VolumeFormat


Key = PasswordKey | MasterKey | UnlockedKey


class AskerGoneError(MountError):
    """Nobody is left who could be told."""


class LogTarget(NamedTuple):
    """Where a mount process logs.

    Attributes:
        kind: "stderr" of the asker, "syslog", or "file".
        path: of the file.
    """

    kind: str = "stderr"
    path: bytes = b""


class Order(NamedTuple):
    """A mount to be made."""

    options: MountOptions
    key: Key
    log: LogTarget
    is_detached: bool  # becomes a session of its own, without our terminal


def send_order(fd: int, order: Order) -> None:
    """Asker's side.

    Raises:
        MountError: the mount process died without a word.
    """
    key = order.key
    secret = key.password if isinstance(key, PasswordKey) else key.master_key
    head: dict[str, object] = {
        "mount": order.options.to_json(),
        "log": [order.log.kind, os.fsdecode(order.log.path)],
        "is_detached": order.is_detached,
        "secret_size": len(secret),
    }
    if isinstance(key, PasswordKey):
        head["config_path"] = None if key.config_path is None else os.fsdecode(key.config_path)
    elif isinstance(key, MasterKey):
        head["options"] = _as_plain(key.options)
    else:
        head["format"] = _as_plain(key.format)
    try:
        _send(fd, json.dumps(head).encode() + b"\n")
        _send(fd, secret.view())
    except OSError as exc:
        raise _ended_early() from exc


def receive_order(fd: int) -> Order:
    """Mount process' side. The secret goes from the kernel straight into locked memory.

    Raises:
        AskerGoneError: there will be no order.
    """
    line = _receive_line(fd)
    if not line:
        raise AskerGoneError("the asking process went away")
    head = json.loads(line)
    secret = Secret(head["secret_size"])
    view = secret.view()
    received = 0
    while received < len(view):
        count = os.readv(fd, [view[received:]])
        if not count:
            raise AskerGoneError("the asking process went away")
        received += count
    key: Key
    for fields in (head.get("options"), head.get("format")):
        if fields:
            fields["cipher"] = CipherKind[fields["cipher"]]
    if "options" in head:
        key = MasterKey(secret, CreateOptions(**head["options"]))
    elif "format" in head:
        key = UnlockedKey(secret, VolumeFormat(**head["format"]))
    else:
        config_path = head["config_path"]
        key = PasswordKey(secret, None if config_path is None else os.fsencode(config_path))
    kind, path = head["log"]
    options = MountOptions.from_json(head["mount"])
    return Order(options, key, LogTarget(kind, os.fsencode(path)), head["is_detached"])


def send_ready(fd: int) -> None:
    """The kernel has the mount."""
    _send(fd, b'{"ready": true}\n')


def send_error(fd: int, exc: PcvfsError) -> None:
    """The mount failed before it was ready."""
    error = {
        "class": type(exc).__name__,
        "message": exc.message,
        "hint": exc.hint,
        "exit_code": int(exc.exit_code),
    }
    _send(fd, json.dumps({"error": error}).encode() + b"\n")


def receive_outcome(fd: int) -> None:
    """Wait until the mount is ready.

    Raises:
        PcvfsError: the error of the mount process, of the same class.
        MountError: the mount process died without a word, or takes too long.
    """
    poll = select.poll()  # not select(): an embedder may have thousands of descriptors
    poll.register(fd, select.POLLIN)
    if not poll.poll(1000 * _START_TIMEOUT_S):
        raise MountError(f"the mount was not ready after {_START_TIMEOUT_S:.0f} seconds")
    try:
        line = _receive_line(fd)
    except OSError as lost:
        raise _ended_early() from lost
    if not line:
        raise _ended_early()
    outcome = json.loads(line)
    if outcome.get("ready"):
        return
    error = outcome["error"]
    cls = getattr(errors, error["class"], None)
    if not (isinstance(cls, type) and issubclass(cls, PcvfsError)):
        cls = InternalError
    exc = cls(error["message"])
    exc.hint = error["hint"]
    exc.exit_code = ExitCode(error["exit_code"])
    raise exc


def _as_plain(fields: CreateOptions | VolumeFormat) -> dict[str, object]:
    return {**vars(fields), "cipher": fields.cipher.name}


def _ended_early() -> MountError:
    """The mount process died without a word."""
    return MountError("the mount process ended before the mount was ready", exit_code=ExitCode.FORK_CHILD)


def _send(fd: int, data: bytes | memoryview) -> None:
    with memoryview(data) as view:
        sent = 0
        while sent < len(view):
            sent += os.write(fd, view[sent:])


def _receive_line(fd: int) -> bytes:
    """Up to and without the newline, byte by byte so as not to take what follows; empty at the end."""
    line = bytearray()
    while len(line) < _LINE_MAX:
        byte = os.read(fd, 1)
        if byte in (b"", b"\n"):
            return bytes(line)
        line += byte
    raise InternalError("a message between mount processes is too long")
