"""What passes between the process that asks for a mount and the one that serves it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from pcvfs import errors
from pcvfs.cipherdir.volume import VolumeFormat
from pcvfs.crypto.aead import CipherKind
from pcvfs.crypto.secret import Secret
from pcvfs.errors import ExitCode, InternalError, MountError, MountpointError, PcvfsError, WrongPasswordError
from pcvfs.format.keys import CreateOptions
from pcvfs.fs.handover import (
    AskerGoneError,
    Key,
    LogTarget,
    MasterKey,
    Order,
    PasswordKey,
    UnlockedKey,
    receive_order,
    receive_outcome,
    send_error,
    send_order,
    send_ready,
)
from pcvfs.fs.options import MountOptions

OPTIONS = MountOptions(cipherdir=b"/cipher \xff", mountpoint=b"/plain", badname=(b"*",), force_owner=(1, 2))
PASSWORD = b"secret \0\n\xff password"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    asker, server = socket.socketpair()
    with asker, server:
        yield asker, server


def password_key(config_path: bytes | None = None) -> PasswordKey:
    return PasswordKey(Secret.from_bytes(PASSWORD), config_path)


@pytest.mark.parametrize("config_path", [None, b"/else\xffwhere"])
@pytest.mark.parametrize(
    "log", [LogTarget(), LogTarget("syslog"), LogTarget("file", b"/l\xffog")], ids=lambda log: log.kind
)
@pytest.mark.parametrize("is_detached", [True, False])
def test_order_with_a_password_arrives_as_it_was_sent(
    ends: tuple[socket.socket, socket.socket], config_path: bytes | None, log: LogTarget, is_detached: bool
) -> None:
    send_order(ends[0].fileno(), Order(OPTIONS, password_key(config_path), log, is_detached))
    got = receive_order(ends[1].fileno())
    assert (got.options, got.log, got.is_detached) == (OPTIONS, log, is_detached)
    assert isinstance(got.key, PasswordKey)
    assert got.key.config_path == config_path
    assert bytes(got.key.password.view()) == PASSWORD


@pytest.mark.parametrize(
    "options",
    [
        CreateOptions(),
        CreateOptions(cipher=CipherKind.XCHACHA20_POLY1305, long_name_max=100),
        CreateOptions(cipher=CipherKind.AES_SIV, deterministic_names=True),
        CreateOptions(plaintext_names=True),
        CreateOptions(hkdf=False, raw64=False),
    ],
    ids=repr,
)
def test_order_with_a_master_key_arrives_as_it_was_sent(
    ends: tuple[socket.socket, socket.socket], options: CreateOptions
) -> None:
    key = MasterKey(Secret.from_bytes(bytes(range(32))), options)
    send_order(ends[0].fileno(), Order(OPTIONS, key, LogTarget(), False))
    got = receive_order(ends[1].fileno()).key
    assert isinstance(got, MasterKey)
    assert bytes(got.master_key.view()) == bytes(range(32))
    assert got.options == options


@pytest.mark.parametrize("cipher", CipherKind)
def test_order_with_a_volume_that_is_unlocked_arrives_as_it_was_sent(
    ends: tuple[socket.socket, socket.socket], cipher: CipherKind
) -> None:
    volume_format = VolumeFormat.from_options(CreateOptions(cipher=cipher, long_name_max=100))
    key = UnlockedKey(Secret.from_bytes(bytes(range(32))), volume_format)
    send_order(ends[0].fileno(), Order(OPTIONS, key, LogTarget(), True))
    got = receive_order(ends[1].fileno()).key
    assert isinstance(got, UnlockedKey)
    assert bytes(got.master_key.view()) == bytes(range(32))
    assert got.format == volume_format


def test_no_order_is_an_error_of_its_own(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].close()
    with pytest.raises(AskerGoneError):
        receive_order(ends[1].fileno())


def test_order_arrives_in_any_pieces(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = socket.socketpair()
    with near, far:
        send_order(near.fileno(), Order(OPTIONS, password_key(), LogTarget(), False))
        near.shutdown(socket.SHUT_WR)
        message = b""
        while part := far.recv(65536):
            message += part

    def dribble() -> None:
        for start in range(0, len(message), 7):
            ends[0].sendall(message[start : start + 7])

    sender = threading.Thread(target=dribble)
    sender.start()
    got = receive_order(ends[1].fileno())
    sender.join()
    assert isinstance(got.key, PasswordKey)
    assert bytes(got.key.password.view()) == PASSWORD


def test_order_cut_short_is_a_mount_error(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = socket.socketpair()
    with near, far:
        send_order(near.fileno(), Order(OPTIONS, password_key(), LogTarget(), False))
        message = far.recv(65536)
    ends[0].sendall(message[:-1])
    ends[0].close()
    with pytest.raises(MountError):
        receive_order(ends[1].fileno())


@pytest.mark.parametrize("key", [password_key(), MasterKey(Secret.from_bytes(b"k" * 32), CreateOptions())], ids=type)
def test_secret_is_neither_in_the_json_nor_in_any_repr(ends: tuple[socket.socket, socket.socket], key: Key) -> None:
    order = Order(OPTIONS, key, LogTarget(), False)
    secret = bytes((key.password if isinstance(key, PasswordKey) else key.master_key).view())
    send_order(ends[0].fileno(), order)
    line, _, rest = ends[1].recv(65536).partition(b"\n")
    assert rest == secret
    assert secret not in line
    assert secret.hex().encode() not in line
    json.loads(line)
    for shown in (repr(key), repr(order)):
        assert repr(secret)[2:-1] not in shown


# --- the way back -----------------------------------------------------------------------------------------------
def test_ready_returns(ends: tuple[socket.socket, socket.socket]) -> None:
    send_ready(ends[1].fileno())
    receive_outcome(ends[0].fileno())


@pytest.mark.parametrize(
    "error",
    [
        WrongPasswordError("password is wrong", hint="try again"),
        MountpointError("mountpoint \udcff is not empty", hint="é"),
        MountError("two\nlines"),
        errors.VolumeExistsError("exists", exit_code=ExitCode.INIT),
        InternalError("bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_is_raised_again_as_it_was(ends: tuple[socket.socket, socket.socket], error: PcvfsError) -> None:
    send_error(ends[1].fileno(), error)
    with pytest.raises(type(error)) as caught:
        receive_outcome(ends[0].fileno())
    got = caught.value
    assert (type(got), got.message, got.hint, got.exit_code) == (
        type(error),
        error.message,
        error.hint,
        error.exit_code,
    )


def test_error_of_any_class_in_the_catalogue_crosses(ends: tuple[socket.socket, socket.socket]) -> None:
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, PcvfsError)]
    assert len(classes) > 10
    for cls in classes:
        send_error(ends[1].fileno(), cls("message"))
        with pytest.raises(cls) as caught:
            receive_outcome(ends[0].fileno())
        assert type(caught.value) is cls


@pytest.mark.parametrize("name", ["NoSuchError", "ExitCode", "annotations", ""])
def test_error_of_an_unknown_class_is_an_internal_error(ends: tuple[socket.socket, socket.socket], name: str) -> None:
    error = {"class": name, "message": "m", "hint": "", "exit_code": int(ExitCode.OTHER)}
    ends[1].sendall(json.dumps({"error": error}).encode() + b"\n")
    with pytest.raises(InternalError, match="m"):
        receive_outcome(ends[0].fileno())


def test_silence_is_a_mount_error(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    with pytest.raises(MountError):
        receive_outcome(ends[0].fileno())


def test_endless_line_is_an_internal_error(ends: tuple[socket.socket, socket.socket]) -> None:
    def flood() -> None:
        try:
            for _ in range(40):
                ends[1].sendall(b"x" * 65536)
        except OSError:
            pass

    sender = threading.Thread(target=flood)
    sender.start()
    with pytest.raises(InternalError):
        receive_outcome(ends[0].fileno())
    ends[0].close()
    sender.join()
