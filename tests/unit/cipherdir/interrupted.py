"""A cipherdir with one file that somebody was writing to when they were killed."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

from pcvfs.cipherdir.intents import IntentLog
from tests.fs.children import in_child

FILE_ID = b"0123456789abcdef"
HEADER = b"\0\2" + FILE_ID
OLD = HEADER + b"o" * 20_000
NEW = bytes(range(256)) * 40  # 10 240 bytes
OFFSET = 4146
AFTER = OLD[:OFFSET] + NEW + OLD[OFFSET + len(NEW) :]
SLOT_SIZE = 8192 + (5 << 18)
HEAD = struct.Struct("=Q16sQQQQQQqQ16sH")
FIELDS = ("state", "boot", "root_dev", "root_ino", "dev", "ino", "offset", "size", "final", "begun", "id", "path_size")


class Place:
    """A cipherdir with one file in it, and a directory for the slots."""

    def __init__(self, directory: Path) -> None:
        self.slots = directory / "slots"
        self.cipherdir = directory / "cipher"
        self.slots.mkdir(mode=0o700)
        self.cipherdir.mkdir()
        (self.cipherdir / "d").mkdir()
        self.file = self.cipherdir / "d" / "file"
        self.file.write_bytes(OLD)
        self.root_fd = os.open(self.cipherdir, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self.root_fd)

    def open(self) -> IntentLog:
        return IntentLog(self.root_fd, directory=self.slots)

    def begin(self, log: IntentLog, path: bytes = b"d/file", final_size: int | None = None, data: bytes = NEW) -> None:
        log.begin(path, self.file.stat(), FILE_ID, OFFSET, data, final_size)

    def die_while_writing(self, written: int = 5000, final_size: int | None = None, path: bytes = b"d/file") -> None:
        """In another process: begin, write a part, be killed."""

        def write() -> None:
            log = self.open()
            self.begin(log, path, final_size)
            fd = os.open(self.file, os.O_WRONLY)
            os.pwrite(fd, NEW[:written], OFFSET)
            os.kill(os.getpid(), signal.SIGKILL)

        assert in_child(write) == -signal.SIGKILL

    def replay(self) -> int:
        """As the next mount does."""
        log = self.open()
        try:
            return log.replay(self.root_fd)
        finally:
            log.close()

    @property
    def slot(self) -> Path:
        (path,) = self.slots.iterdir()
        return path

    def patch_slot(self, **fields: object) -> None:
        """Change fields of the first slot, as a stranger or a fault would."""
        with self.slot.open("r+b") as stream:
            values = dict(zip(FIELDS, HEAD.unpack(stream.read(HEAD.size)), strict=True))
            assert values["state"] == 1
            stream.seek(0)
            stream.write(HEAD.pack(*(values | fields).values()))
