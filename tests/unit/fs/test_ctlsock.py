"""The control socket, over a real socket: the protocol of gocryptfs, so that its clients work unchanged."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from pcvfs.cipherdir.lifecycle import unlock_volume
from pcvfs.cipherdir.volume import Volume
from pcvfs.errors import ControlSocketError, ExitCode
from pcvfs.fs.ctlsock import ControlServer, bind_ctlsock
from pcvfs.fs.options import MountOptions
from pcvfs.fs.volume_fs import Caller, VolumeFS
from pcvfs.types import Inode
from tests.support.flavours import DEFAULT, PASSWORD

LONG = "L" * 250
FIELDS = ["Result", "ErrNo", "ErrText", "WarnText"]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A volume with the directory ``d`` and one with a long name in it."""
    cipherdir = tmp_path / "cipher"
    cipherdir.mkdir()
    DEFAULT.write_volume(cipherdir)
    with unlock_volume(os.fsencode(cipherdir), password=PASSWORD.encode()) as volume:
        fs = VolumeFS(volume, MountOptions(cipherdir=os.fsencode(cipherdir), mountpoint=b"/nowhere"))
        caller = Caller(os.geteuid(), os.getegid())
        directory = fs.mkdir(Inode(1), b"d", 0o755, caller).inode
        fs.mkdir(directory, LONG.encode(), 0o755, caller)
        fs.symlink(Inode(1), b"symlink", b"d", caller)
        fs.close()
        yield volume


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "socket")


Talk = Callable[[trio.SocketStream], Awaitable[None]]


def serve_and_talk(volume: Volume, path: bytes, *talks: Talk) -> None:
    """Serve the socket while some clients talk, one after the other."""

    async def main() -> None:
        with trio.fail_after(10):
            for talk in talks:
                async with await trio.open_unix_socket(path) as stream:
                    await talk(stream)

    server = ControlServer(bind_ctlsock(path), volume)
    server.start()
    try:
        trio.run(main)
    finally:
        server.close()


async def ask(stream: trio.SocketStream, request: object) -> dict[str, object]:
    """Send one request and read one line."""
    await stream.send_all(request if isinstance(request, bytes) else json.dumps(request).encode())
    line = b""
    while not line.endswith(b"\n"):
        part = await stream.receive_some()
        assert part, "the connection was closed"
        line += part
    assert line.count(b"\n") == 1
    reply = json.loads(line)
    assert list(reply) == FIELDS
    return reply


def answer(volume: Volume, path: bytes, request: object) -> dict[str, object]:
    """The reply to one request on a connection of its own."""
    got: list[dict[str, object]] = []

    async def talk(stream: trio.SocketStream) -> None:
        got.append(await ask(stream, request))

    serve_and_talk(volume, path, talk)
    return got[0]


# --- translating ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("plain", ["d", f"d/{LONG}", f"d/{LONG}/new", "new", "symlink", "d/é \udc80"], ids=len)
def test_paths_are_translated_there_and_back_on_one_connection(volume: Volume, path: bytes, plain: str) -> None:
    translated: list[str] = []

    async def talk(stream: trio.SocketStream) -> None:
        there = await ask(stream, {"EncryptPath": plain})
        assert {key: there[key] for key in FIELDS[1:]} == {"ErrNo": 0, "ErrText": "", "WarnText": ""}
        cipher_path = there["Result"]
        assert isinstance(cipher_path, str)
        translated.append(cipher_path)
        assert await ask(stream, {"DecryptPath": cipher_path}) == {**there, "Result": plain}

    serve_and_talk(volume, path, talk)
    exists = os.path.lexists(volume.path + b"/" + os.fsencode(translated[0]))
    assert exists == ("new" not in plain and "\udc80" not in plain)


@pytest.mark.parametrize(
    ("given", "clean"), [("/d", "d"), ("//d//", "d"), ("d/", "d"), ("d/./x", "d/x"), ("d/../x", "x"), ("./x", "x")]
)
def test_other_spellings_are_understood_with_a_warning(volume: Volume, path: bytes, given: str, clean: str) -> None:
    reply = answer(volume, path, {"EncryptPath": given})
    assert reply["ErrNo"] == 0
    assert reply["WarnText"] == f"Non-canonical input path '{given}' has been interpreted as '{clean}'."
    expected = answer(volume, path, {"EncryptPath": clean})
    assert (reply["Result"], expected["WarnText"]) == (expected["Result"], "")


@pytest.mark.parametrize("given", ["/", ".", "..", "../x", "/../x", "d/..", "d/../..", "d/../../x", "//", "./."])
def test_nothing_above_the_root_is_translated(volume: Volume, path: bytes, given: str) -> None:
    for key in ("EncryptPath", "DecryptPath"):
        reply = answer(volume, path, {key: given})
        assert (reply["ErrNo"], reply["ErrText"]) == (-1, "empty input after canonicalization")
        assert reply["Result"] == ""


@pytest.mark.parametrize(
    ("request_", "err_no", "text"),
    [
        ({"EncryptPath": "a", "DecryptPath": "b"}, -1, "Ambiguous"),
        ({}, -1, "empty input"),
        ({"EncryptPath": ""}, -1, "empty input"),
        ({"Other": "x"}, -1, "empty input"),
        ({"EncryptPath": "missing/x"}, 2, "no such file or directory"),
        ({"EncryptPath": "n" * 256}, -1, "file name too long"),
        ({"EncryptPath": "symlink/x"}, -1, "not a directory"),
    ],
    ids=str,
)
def test_errors_are_those_of_the_original(
    volume: Volume, path: bytes, request_: dict[str, str], err_no: int, text: str
) -> None:
    assert answer(volume, path, request_) == {"Result": "", "ErrNo": err_no, "ErrText": text, "WarnText": ""}


@pytest.mark.parametrize("name", ["not encrypted", "gocryptfs.conf", "A" * 23, "gocryptfs.longname." + "A" * 43])
def test_names_that_do_not_decrypt_are_errors(volume: Volume, path: bytes, name: str) -> None:
    reply = answer(volume, path, {"DecryptPath": name})
    assert reply["ErrNo"] in (-1, 2)
    assert reply["ErrText"]
    assert reply["Result"] == ""


def test_keys_are_matched_in_any_case_and_others_ignored(volume: Volume, path: bytes) -> None:
    expected = answer(volume, path, {"EncryptPath": "d"})
    assert answer(volume, path, {"encryptPATH": "d", "extra": [1, {}]}) == expected


@pytest.mark.parametrize(
    "request_",
    [b"x", b"[]", b"null", b'{"EncryptPath": 1}', b'{"EncryptPath": ["d"]}', b"{", b"\xff", b"[" * 4000, b"1e999"],
    ids=lambda request: request[:12],
)
def test_what_is_no_request_is_answered_and_the_connection_stays(volume: Volume, path: bytes, request_: bytes) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        for _ in range(2):
            reply = await ask(stream, request_)
            assert reply["ErrNo"] == -1
            assert str(reply["ErrText"]).startswith("JSON Unmarshal error: ")
        assert (await ask(stream, {"EncryptPath": "d"}))["ErrNo"] == 0

    serve_and_talk(volume, path, talk)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=ascii)
def test_what_is_no_path_is_an_error(volume: Volume, path: bytes, text: str) -> None:
    for key in ("EncryptPath", "DecryptPath"):
        reply = answer(volume, path, {key: text})
        assert reply["ErrNo"] in (-1, 2)
        assert reply["Result"] == ""


def test_request_too_long_ends_its_connection_alone(
    volume: Volume, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def too_long(stream: trio.SocketStream) -> None:
        await stream.send_all(json.dumps({"EncryptPath": "x" * 5000}).encode())
        with contextlib.suppress(trio.BrokenResourceError):  # what it did not read is reset
            assert await stream.receive_some() == b""

    async def next_one(stream: trio.SocketStream) -> None:
        assert (await ask(stream, {"EncryptPath": "d"}))["ErrNo"] == 0

    async def gone_at_once(stream: trio.SocketStream) -> None:
        await stream.send_all(b'{"EncryptPath": "d"}')

    serve_and_talk(volume, path, too_long, gone_at_once, next_one)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_clients_do_not_wait_for_each_other(volume: Volume, path: bytes) -> None:
    async def talk(silent: trio.SocketStream) -> None:
        async with await trio.open_unix_socket(path) as other:
            assert (await ask(other, {"EncryptPath": "d"}))["ErrNo"] == 0
        assert (await ask(silent, {"EncryptPath": "d"}))["ErrNo"] == 0

    serve_and_talk(volume, path, talk)


# --- the socket file --------------------------------------------------------------------------------------------
def test_socket_is_removed_at_the_end(volume: Volume, path: bytes) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        assert stat.S_ISSOCK(os.lstat(path).st_mode)

    serve_and_talk(volume, path, talk)
    assert not os.path.lexists(path)


def test_orphaned_socket_is_replaced(path: bytes) -> None:
    bind_ctlsock(path).close()
    assert os.path.lexists(path)
    bind_ctlsock(path).close()


def test_socket_in_use_is_refused(path: bytes) -> None:
    with bind_ctlsock(path), pytest.raises(ControlSocketError) as caught:
        bind_ctlsock(path)
    assert caught.value.exit_code == ExitCode.CTLSOCK


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_anything_else_in_the_place_is_refused_and_kept(path: bytes, kind: str) -> None:
    make = {
        "file": lambda: Path(os.fsdecode(path)).write_bytes(b"precious"),
        "directory": lambda: os.mkdir(path),
        "symlink": lambda: os.symlink("/nowhere", path),
    }
    make[kind]()
    before = os.lstat(path)
    with pytest.raises(ControlSocketError):
        bind_ctlsock(path)
    assert os.lstat(path) == before


def test_directory_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ControlSocketError):
        bind_ctlsock(b"/nonexistent/socket")


def test_symlink_to_an_orphaned_socket_is_not_removed(path: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + b".real")
    os.symlink(path + b".real", path)
    with pytest.raises(ControlSocketError):
        bind_ctlsock(path)
    assert os.path.islink(path)
    assert os.path.lexists(path + b".real")
