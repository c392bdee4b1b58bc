"""The lane seen through its Python class: events, what it owns, and names. What it does under load is tested in C."""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcvfs.crypto.eme import NativeNameCipher
from pcvfs.crypto.secret import Secret
from pcvfs.format.names import NameCodec
from pcvfs.native.files import File, FilePolicy
from pcvfs.native.lane import WORKERS_MAX, Event, Lane
from pcvfs.types import DirIV
from tests.unit.native import device as fuse
from tests.unit.native.device import IN_HEADER, PYTHONS_ERROR, Device, Reply, Server
from tests.unit.native.places import count_descriptors

NODE = 77
LARGE = 70_000  # worth a worker
TIMEOUT_S = 9
ABSENT = struct.pack("=QQQQII88x", 0, 0, TIMEOUT_S, 0, 0, 0)


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.close()


def new_lane(device_fd: int, *, workers: int = 2, has_capabilities: bool = False) -> Lane:
    return Lane(
        device_fd,
        workers=workers,
        spin_us=0,
        attr_timeout_s=TIMEOUT_S,
        has_capabilities=has_capabilities,
        serves_attrs=True,
        has_cached_dirs=True,
    )


@pytest.fixture
def lane(device: Device) -> Iterator[Lane]:
    lane = new_lane(device.fd)
    yield lane
    lane.close()
    os.close(lane.python_fd)


@pytest.fixture
def server(lane: Lane) -> Iterator[Server]:
    with Server(lane) as server:
        yield server


def needs(server: Server) -> list[tuple[Event, int, int]]:
    return [event for event in server.events if event[0] is not Event.REQUEST]


# --- life -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [-1, 0, WORKERS_MAX + 1])
def test_lane_refuses_a_wrong_number_of_workers(device: Device, workers: int) -> None:
    with pytest.raises(OSError) as info:
        new_lane(device.fd, workers=workers)
    assert info.value.errno == errno.EINVAL


def test_lane_on_something_that_is_no_descriptor_fails_and_leaks_nothing() -> None:
    before = count_descriptors()
    with pytest.raises(OSError) as info:
        new_lane(12345)
    assert info.value.errno == errno.EBADF
    assert count_descriptors() == before


def test_closed_lane_leaves_nothing_open(device: Device, policy: FilePolicy, backing: Path) -> None:
    before, threads = count_descriptors(), threads_of_this_process()
    lane = new_lane(device.fd, workers=WORKERS_MAX)
    file = File(policy, os.open(backing, os.O_RDWR), is_writable=True, path=b"path")
    lane.give_file(NODE, file)
    file.close()
    assert threads_of_this_process() == threads + WORKERS_MAX
    lane.close()
    os.close(lane.python_fd)
    assert count_descriptors() == before
    assert threads_of_this_process() == threads


def threads_of_this_process() -> int:
    return len(os.listdir("/proc/self/task"))


def test_stop_from_another_thread_ends_the_wait(lane: Lane) -> None:
    threading.Timer(0.02, lane.stop).start()
    assert lane.wait() is Event.ENDED
    assert lane.wait() is Event.ENDED


def test_device_that_hangs_up_is_an_error(lane: Lane, device: Device) -> None:
    device.hang_up()
    with pytest.raises(OSError) as info:
        lane.wait()
    assert info.value.errno == errno.EPROTO  # a real device says ENODEV, which is the regular end


def test_python_that_hangs_up_is_an_error(device: Device) -> None:
    lane = new_lane(device.fd)
    os.close(lane.python_fd)
    device.send(fuse.LOOKUP, 1, b"name\0")
    with pytest.raises(OSError) as info:
        lane.wait()
    assert info.value.errno == errno.EPIPE
    lane.close()


# --- requests ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("opcode", "error"), [(fuse.OPEN, errno.ENOSYS), (fuse.FLUSH, errno.ENOSYS), (fuse.RELEASE, 0)]
)
def test_opening_and_closing_is_answered_without_python(
    server: Server, device: Device, opcode: int, error: int
) -> None:
    assert device.call(opcode, NODE, bytes(24)) == Reply(error, b"")
    assert not server.messages


@pytest.mark.parametrize("size", [0, 1, 5000, 66_000])
def test_what_is_not_served_goes_to_python_as_it_is(server: Server, device: Device, lane: Lane, size: int) -> None:
    body = os.urandom(size)
    assert device.call(99, NODE, body) == Reply(PYTHONS_ERROR, b"")
    (message,) = server.messages
    assert message[IN_HEADER.size :] == body
    assert lane.statistics().forwarded == 1


def test_file_is_asked_for_once_and_then_used(server: Server, device: Device, file: File, lane: Lane) -> None:
    server.files[NODE] = file
    assert device.call(fuse.WRITE, NODE, fuse.write(0, b"content")).data == (7).to_bytes(8, "little")
    assert device.call(fuse.READ, NODE, fuse.read(3, 100)) == Reply(0, b"tent")
    assert device.call(fuse.FSYNC, NODE, bytes(16)) == Reply(0, b"")
    assert needs(server) == [(Event.NEED_FILE, NODE, True)]
    assert file.read(0, 10) == b"content"
    assert (lane.statistics().served, lane.statistics().need_file) == (3, 1)


def test_file_that_is_only_readable_is_asked_for_again_to_write(
    server: Server, device: Device, policy: FilePolicy, backing: Path
) -> None:
    server.files[NODE] = file = File(policy, os.open(backing, os.O_RDONLY), is_writable=False, path=b"path")
    assert device.call(fuse.READ, NODE, fuse.read(0, 10)) == Reply(0, b"")
    file.upgrade(os.open(backing, os.O_RDWR))
    assert device.call(fuse.WRITE, NODE, fuse.write(0, b"x")).error == 0
    assert needs(server) == [(Event.NEED_FILE, NODE, False)]  # the file is one: what upgrades it upgrades it for all
    file.close()


@pytest.mark.parametrize("error", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_refused_file_fails_that_request_alone(server: Server, device: Device, file: File, error: int) -> None:
    server.files[NODE] = error
    assert device.call(fuse.READ, NODE, fuse.read(0, 10)) == Reply(error, b"")
    server.files[NODE] = file
    assert device.call(fuse.READ, NODE, fuse.read(0, 10)) == Reply(0, b"")


def test_dropped_file_is_asked_for_again(server: Server, device: Device, file: File) -> None:
    server.files[NODE] = file
    for _ in range(3):
        assert device.call(fuse.READ, NODE, fuse.read(0, 10)).error == 0
        device.send(fuse.FORGET, NODE, bytes(8))
        device.send(fuse.FORGET, NODE, bytes(8))
    assert needs(server) == [(Event.NEED_FILE, NODE, False)] * 3


def test_dropping_a_file_waits_for_the_requests_under_way(
    server: Server, device: Device, policy: FilePolicy, backing: Path
) -> None:
    """Each time the file is opened anew, so what one has not written yet the next does not know of."""
    opened: list[File] = []
    for number in range(20):
        server.files[NODE] = file = File(policy, os.open(backing, os.O_RDWR), is_writable=True, path=b"path")
        opened.append(file)
        for part in range(2):
            device.send(fuse.WRITE, NODE, fuse.write((2 * number + part) * LARGE, bytes([number + 1]) * LARGE))
        device.send(fuse.FORGET, NODE, bytes(8))
        device.call(fuse.LOOKUP, 1, b"name\0")
    content = b"".join(file.read(n * LARGE, LARGE) for file in opened[-1:] for n in range(40))
    assert content == b"".join(bytes([n // 2 + 1]) * LARGE for n in range(40))
    for file in opened:
        file.close()


def test_directory_is_synced_by_a_descriptor_of_its_own(server: Server, device: Device, tmp_path: Path) -> None:
    before = count_descriptors()
    server.directories[NODE] = str(tmp_path)
    for _ in range(5):
        assert device.call(fuse.FSYNCDIR, NODE, bytes(16)) == Reply(0, b"")
    assert device.call(fuse.FSYNCDIR, NODE + 1, bytes(16)) == Reply(errno.ENOENT, b"")
    assert needs(server) == [(Event.NEED_DIR, NODE, 0)] * 5 + [(Event.NEED_DIR, NODE + 1, 0)]
    wait_for(lambda: count_descriptors() == before)  # the last is closed after the reply


def test_bad_block_is_eio_for_the_reader_and_an_event_for_python(
    server: Server, device: Device, file: File, backing: Path
) -> None:
    file.write(0, b"x" * 20_000)
    with backing.open("r+b") as stream:
        stream.seek(18 + 2 * 4128 + 50)
        stream.write(bytes(8))
    server.files[NODE] = file
    assert device.call(fuse.READ, NODE, fuse.read(0, 20_000)) == Reply(errno.EIO, b"")
    assert device.call(fuse.READ, NODE, fuse.read(0, 8192)) == Reply(0, b"x" * 8192)
    device.call(fuse.LOOKUP, 1, b"name\0")
    assert (Event.CORRUPT, NODE, 2) in server.events


def test_lane_that_has_files_says_when_it_is_idle(server: Server, device: Device, file: File) -> None:
    server.files[NODE] = file
    device.call(fuse.READ, NODE, fuse.read(0, 10))
    wait_for(lambda: server.events[-1][0] is Event.IDLE)
    device.call(fuse.READ, NODE, fuse.read(0, 10))
    assert [event[0] for event in needs(server)] == [Event.NEED_FILE, Event.IDLE]


def wait_for(condition: object) -> None:
    end = time.monotonic() + fuse.PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_many_forgets_in_one_message_come_as_several(lane: Lane, device: Device) -> None:
    """The kernel fills whatever buffer it is offered; libfuse's is smaller than the lane's."""
    count = 6000
    forgets = b"".join(struct.pack("=QQ", node, 1) for node in range(count))
    with Server(lane) as server:
        device.send(fuse.BATCH_FORGET, 0, struct.pack("=II", count, 0) + forgets)
        device.call(fuse.LOOKUP, 1, b"name\0")
    *parts, _ = server.messages
    assert len(parts) > 1
    seen = []
    for part in parts:
        (in_part,) = struct.unpack_from("=I", part, IN_HEADER.size)
        seen += struct.unpack_from(f"={2 * in_part}Q", part, IN_HEADER.size + 8)[::2]
        assert len(part) == IN_HEADER.size + 8 + 16 * in_part <= 1 << 16
    assert sorted(seen) == list(range(count))


# --- names ------------------------------------------------------------------------------------------------------
NAMES = [b"x" * n for n in range(1, 256)] + [b"\xff\xfe", "grüße".encode(), b" ", b"-", b"gocryptfs.diriv", b"..."]


@pytest.fixture
def cipher() -> Iterator[NativeNameCipher]:
    key = Secret.from_bytes(bytes(range(32)))
    cipher = NativeNameCipher(key)
    yield cipher
    cipher.close()


@pytest.mark.parametrize("is_raw64", [True, False])
@pytest.mark.parametrize("long_name_max", [255, 62, 100])
def test_lookup_is_answered_for_absent_names_alone(
    lane: Lane, device: Device, cipher: NativeNameCipher, tmp_path: Path, is_raw64: bool, long_name_max: int
) -> None:
    codec = NameCodec(cipher, has_diriv=True, long_name_max=long_name_max, raw64=is_raw64)
    diriv = DirIV(bytes(range(16, 32)))
    present = set(NAMES[::2])
    for name in present:
        (tmp_path / os.fsdecode(codec.encode(name, diriv).cname)).touch()
    fd = os.open(tmp_path, os.O_PATH)
    lane.set_names(cipher.eme, is_raw64=is_raw64, long_name_max=long_name_max)
    lane.give_directory(NODE, fd, diriv)
    with Server(lane):
        replies = {name: device.call(fuse.LOOKUP, NODE, name + b"\0") for name in NAMES}
    os.close(fd)
    for name, reply in replies.items():
        is_hashed = codec.encode(name, diriv).long_name is not None
        is_pythons = name in present or is_hashed
        assert reply == (Reply(PYTHONS_ERROR, b"") if is_pythons else Reply(0, ABSENT)), name


def test_lookup_in_a_volume_with_plaintext_names(lane: Lane, device: Device, tmp_path: Path) -> None:
    (tmp_path / "present").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    fd = os.open(tmp_path, os.O_PATH)
    lane.set_names(None, is_raw64=False, long_name_max=255)
    lane.give_directory(NODE, fd, bytes(16))
    with Server(lane):
        for name in (b"present", b"dangling", b"", b".", b"..", b"a/b", b"x" * 256):
            assert device.call(fuse.LOOKUP, NODE, name + b"\0").error == PYTHONS_ERROR, name
        assert device.call(fuse.LOOKUP, NODE, b"unterminated").error == PYTHONS_ERROR
        assert device.call(fuse.LOOKUP, NODE + 1, b"absent\0").error == PYTHONS_ERROR
        assert device.call(fuse.LOOKUP, NODE, b"absent\0") == Reply(0, ABSENT)
        (tmp_path / "absent").touch()
        assert device.call(fuse.LOOKUP, NODE, b"absent\0").error == PYTHONS_ERROR
    lane.drop_directory(NODE)
    os.close(fd)


def test_directory_that_was_dropped_is_pythons(lane: Lane, device: Device, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    lane.set_names(None, is_raw64=False, long_name_max=255)
    lane.give_directory(NODE, fd, bytes(16))
    lane.drop_directory(NODE)
    lane.drop_directory(NODE + 1)
    os.close(fd)
    with Server(lane) as server:
        device.call(fuse.LOOKUP, NODE, b"absent\0")
        device.call(fuse.GETATTR, NODE, bytes(16))
    assert len(server.messages) == 2


@pytest.mark.parametrize("has_capabilities", [True, False])
def test_capabilities_are_asked_for_only_where_they_count(device: Device, has_capabilities: bool) -> None:
    lane = new_lane(device.fd, has_capabilities=has_capabilities)
    with Server(lane) as server:
        reply = device.call(fuse.GETXATTR, NODE, bytes(8) + b"security.capability\0")
        other = device.call(fuse.GETXATTR, NODE, bytes(8) + b"security.capabilities\0")
    assert reply.error == (PYTHONS_ERROR if has_capabilities else errno.EOPNOTSUPP)
    assert other.error == PYTHONS_ERROR
    assert len(server.messages) == 1 + has_capabilities
    lane.close()
    os.close(lane.python_fd)
