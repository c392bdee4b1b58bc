"""The kernel's end of a lane, with a socket in place of /dev/fuse, and a Python that answers its events.

Layouts of the messages: <linux/fuse.h>.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from pcvfs.native.lane import Event, Lane

IN_HEADER: Final = struct.Struct("=IIQQIIIHH")
OUT_HEADER: Final = struct.Struct("=IiQ")
READ_IN: Final = struct.Struct("=QQIIQII")
WRITE_IN: Final = struct.Struct("=QQIIQII")

ENTRY_OUT: Final = struct.Struct("=QQQQIIQQ72x")  # the first fields of its attributes are number and size

LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, RELEASE, FSYNC = 1, 2, 3, 14, 15, 16, 18, 20
GETXATTR, FLUSH, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, BATCH_FORGET = 22, 25, 27, 28, 29, 30, 42
PYTHONS_ERROR: Final = errno.ENOTSUP
ROOM: Final = 1 << 17
PATIENCE_S: Final = 20


class Reply(NamedTuple):
    """What came back: an errno or 0, and data."""

    error: int
    data: bytes


class Device:
    """Both ends of what would be /dev/fuse. ``fd`` is the lane's."""

    def __init__(self) -> None:
        self._ours, self._lanes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(PATIENCE_S)
        self._uniques = itertools.count(2, 2)
        self._replies: dict[int, Reply] = {}

    @property
    def fd(self) -> int:
        return self._lanes.fileno()

    def send(self, opcode: int, node: int, body: bytes = b"") -> int:
        """Send a request; returns its unique number."""
        unique = next(self._uniques)
        self._ours.send(IN_HEADER.pack(IN_HEADER.size + len(body), opcode, unique, node, 0, 0, 0, 0, 0) + body)
        return unique

    def receive(self, unique: int) -> Reply:
        """Wait for the reply to that request."""
        while unique not in self._replies:
            message = self._ours.recv(ROOM)
            size, error, got = OUT_HEADER.unpack_from(message)
            assert size == len(message)
            assert got not in self._replies, "a second reply"
            self._replies[got] = Reply(-error, message[OUT_HEADER.size :])
        return self._replies[unique]

    def call(self, opcode: int, node: int, body: bytes = b"") -> Reply:
        """Send a request and wait for its reply."""
        return self.receive(self.send(opcode, node, body))

    def hang_up(self) -> None:
        """The kernel's end is gone."""
        self._ours.close()

    def close(self) -> None:
        self._ours.close()
        self._lanes.close()


class Server:
    """Serves a lane in a thread, until the end of the ``with`` block.

    Attributes:
        answer: what a file that is needed is given: path and flags to open it with, or an errno.
        events: all that came, with node and value.
        bad_names: those of the events BAD_NAME.
        messages: what was forwarded, and answered with ``PYTHONS_ERROR``.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.answer: tuple[Path, int] | int = errno.ENOENT
        self.bad_names: list[bytes] = []
        self.events: list[tuple[Event, int, int]] = []
        self.messages: list[bytes] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lane.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while (event := self._lane.wait()) is not Event.ENDED:
                self.events.append((event, *self._lane.details))
                self._handle(event)
        except BaseException as exc:  # noqa: BLE001  # raised again where the test sees it
            self._failure = exc

    def _handle(self, event: Event) -> None:
        node, _ = self._lane.details
        if event is Event.REQUEST:
            self._answer(os.read(self._lane.python_fd, ROOM))
        elif event is Event.BAD_NAME:
            self.bad_names.append(self._lane.bad_name)
        elif event is Event.NEED_FILE and isinstance(self.answer, int):
            self._lane.refuse(self.answer)
        elif event is Event.NEED_FILE:
            path, flags = self.answer
            self._lane.give_fd(node, os.open(path, flags), is_writable=flags == os.O_RDWR)

    def _answer(self, message: bytes) -> None:
        self.messages.append(message)
        size, _, unique, *_ = IN_HEADER.unpack_from(message)
        assert size == len(message)
        os.write(self._lane.python_fd, OUT_HEADER.pack(OUT_HEADER.size, -PYTHONS_ERROR, unique))


class Entry(NamedTuple):
    """The reply to a LOOKUP; node 0: there is nothing."""

    node: int
    entry_valid: int
    size: int


def entry(reply: Reply) -> Entry:
    assert reply.error == 0
    node, _, valid, _, _, _, number, size = ENTRY_OUT.unpack(reply.data)
    assert number == node
    return Entry(node, valid, size)


def read(offset: int, size: int) -> bytes:
    return READ_IN.pack(0, offset, size, 0, 0, 0, 0)


def write(offset: int, data: bytes) -> bytes:
    return WRITE_IN.pack(0, offset, len(data), 0, 0, 0, 0) + data


def forget(count: int = 1) -> bytes:
    return struct.pack("=Q", count)
