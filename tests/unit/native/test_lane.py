"""The lane seen through its Python class: events, what it owns, and names. What it does under load is tested in C."""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pcvfs.crypto.eme import NativeNameCipher
from pcvfs.crypto.secret import Secret
from pcvfs.format.names import NameCodec
from pcvfs.native import Aead
from pcvfs.native.files import FilePolicy
from pcvfs.native.lane import WORKERS_MAX, Event, Lane
from pcvfs.native.names import NameFormat
from pcvfs.native.tree import Tree, TreeOptions
from pcvfs.types import DirIV
from tests.unit.native import device as fuse
from tests.unit.native.device import IN_HEADER, PYTHONS_ERROR, Device, Reply, Server
from tests.unit.native.places import OVERHEAD, count_descriptors, open_file

ROOT = 1
NONCE_SIZE = OVERHEAD - 16
LARGE = 70_000  # worth a worker
TIMEOUT_S = 9
FILE = b"file\0"
OPTIONS = TreeOptions(
    dirs_max=64,
    files_max=64,
    timeout_s=TIMEOUT_S,
    is_ro=False,
    gives_away=False,
    owner=None,
    has_capabilities=False,
    has_xattrs=True,
)

TreeMaker = Callable[..., Tree]


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.close()


@pytest.fixture
def cipherdir(tmp_path: Path) -> Path:
    path = tmp_path / "cipher"
    path.mkdir()
    return path


@pytest.fixture
def new_tree(cipherdir: Path, aead: Aead, policy: FilePolicy) -> Iterator[TreeMaker]:
    """Trees with plaintext names unless told otherwise."""
    root_fd = os.open(cipherdir, os.O_RDONLY | os.O_DIRECTORY)
    trees = []

    def make(names: NameFormat | None = None, options: TreeOptions = OPTIONS) -> Tree:
        plain = NameFormat(None, aead, NONCE_SIZE, has_diriv=False, is_raw64=False, hashes_long=True, long_name_max=255)
        trees.append(Tree(root_fd, names or plain, policy, options))
        return trees[-1]

    yield make
    for tree in trees:
        tree.close()
    os.close(root_fd)


@pytest.fixture
def tree(new_tree: TreeMaker) -> Tree:
    return new_tree()


def new_lane(tree: Tree, device_fd: int, *, workers: int = 2) -> Lane:
    return Lane(tree, device_fd, workers=workers, spin_us=0)


@pytest.fixture
def lane(tree: Tree, device: Device) -> Iterator[Lane]:
    lane = new_lane(tree, device.fd)
    yield lane
    lane.close()
    os.close(lane.python_fd)


@pytest.fixture
def server(lane: Lane) -> Iterator[Server]:
    with Server(lane) as server:
        yield server


@pytest.fixture
def stored(cipherdir: Path) -> Path:
    """A backing file that the kernel may look up."""
    path = cipherdir / "file"
    path.touch()
    return path


@pytest.fixture
def node(server: Server, device: Device, stored: Path) -> int:
    """That file, looked up once."""
    return look_up(device, FILE)


def look_up(device: Device, name: bytes, parent: int = ROOT) -> int:
    node = fuse.entry(device.call(fuse.LOOKUP, parent, name)).node
    assert node != 0
    return node


def needs(server: Server) -> list[tuple[Event, int, int]]:
    return [event for event in server.events if event[0] is not Event.REQUEST]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + fuse.PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- life -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [-1, 0, WORKERS_MAX + 1])
def test_lane_refuses_a_wrong_number_of_workers(tree: Tree, device: Device, workers: int) -> None:
    with pytest.raises(OSError) as info:
        new_lane(tree, device.fd, workers=workers)
    assert info.value.errno == errno.EINVAL


def test_lane_on_something_that_is_no_descriptor_fails_and_leaks_nothing(tree: Tree) -> None:
    before = count_descriptors()
    with pytest.raises(OSError) as info:
        new_lane(tree, 12345)
    assert info.value.errno == errno.EBADF
    assert count_descriptors() == before


def test_closed_lane_and_tree_leave_nothing_open(new_tree: TreeMaker, device: Device, stored: Path) -> None:
    before, threads = count_descriptors(), threads_of_this_process()
    tree = new_tree()
    lane = new_lane(tree, device.fd, workers=WORKERS_MAX)
    assert threads_of_this_process() == threads + WORKERS_MAX
    (stored.parent / "d").mkdir()
    with Server(lane):
        device.call(fuse.READ, look_up(device, FILE), fuse.read(0, 10))
        device.call(fuse.LOOKUP, look_up(device, b"d\0"), b"absent\0")
    assert (tree.file_count, tree.dir_count, tree.inode_count, tree.lookups) == (1, 1, 3, 2)
    lane.close()
    os.close(lane.python_fd)
    tree.close()
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


def test_python_that_hangs_up_is_an_error(tree: Tree, device: Device) -> None:
    lane = new_lane(tree, device.fd)
    os.close(lane.python_fd)
    device.send(99, ROOT, b"")
    with pytest.raises(OSError) as info:
        lane.wait()
    assert info.value.errno == errno.EPIPE
    lane.close()


# --- requests ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("opcode", "error"),
    [(fuse.OPEN, errno.ENOSYS), (fuse.FLUSH, errno.ENOSYS), (fuse.RELEASE, 0), (fuse.RELEASEDIR, 0)],
)
def test_opening_and_closing_is_answered_without_python(
    server: Server, device: Device, opcode: int, error: int
) -> None:
    assert device.call(opcode, ROOT, bytes(24)) == Reply(error, b"")
    assert not server.messages


@pytest.mark.parametrize("size", [0, 1, 5000, 66_000])
def test_what_is_not_served_goes_to_python_as_it_is(server: Server, device: Device, lane: Lane, size: int) -> None:
    body = os.urandom(size)
    assert device.call(99, ROOT, body) == Reply(PYTHONS_ERROR, b"")
    (message,) = server.messages
    assert message[IN_HEADER.size :] == body
    assert lane.statistics().forwarded == 1


def test_file_is_opened_when_it_is_first_needed(
    server: Server, device: Device, node: int, lane: Lane, policy: FilePolicy, stored: Path
) -> None:
    assert device.call(fuse.READ, node, fuse.read(0, 100)) == Reply(0, b"")
    assert device.call(fuse.WRITE, node, fuse.write(0, b"content")).data == (7).to_bytes(8, "little")
    assert device.call(fuse.READ, node, fuse.read(3, 100)) == Reply(0, b"tent")
    assert device.call(fuse.FSYNC, node, bytes(16)) == Reply(0, b"")
    assert needs(server) == []
    file = open_file(policy, stored)
    assert file.read(0, 10) == b"content"
    file.close()
    statistics = lane.statistics()
    assert (statistics.served, statistics.forwarded, statistics.need_file) == (5, 0, 0)
    assert (statistics.inodes, statistics.lookups, statistics.open_files) == (2, 1, 1)


def test_file_that_takes_more_is_asked_for_once_and_then_used(
    server: Server, device: Device, node: int, stored: Path, lane: Lane
) -> None:
    elsewhere = stored.rename(stored.with_name("elsewhere"))
    server.answer = (elsewhere, os.O_RDWR)
    assert device.call(fuse.WRITE, node, fuse.write(0, b"content")).error == 0
    assert device.call(fuse.READ, node, fuse.read(3, 100)) == Reply(0, b"tent")
    assert needs(server) == [(Event.NEED_FILE, node, True)]
    assert lane.statistics().need_file == 1


def test_file_that_is_only_readable_is_asked_for_again_to_write(
    server: Server, device: Device, node: int, stored: Path
) -> None:
    elsewhere = stored.rename(stored.with_name("elsewhere"))
    server.answer = (elsewhere, os.O_RDONLY)
    assert device.call(fuse.READ, node, fuse.read(0, 10)) == Reply(0, b"")
    server.answer = (elsewhere, os.O_RDWR)
    assert device.call(fuse.WRITE, node, fuse.write(0, b"x")).error == 0
    assert device.call(fuse.READ, node, fuse.read(0, 10)) == Reply(0, b"x")
    assert needs(server) == [(Event.NEED_FILE, node, False), (Event.NEED_FILE, node, True)]


@pytest.mark.parametrize("error", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_refused_file_fails_that_request_alone(
    server: Server, device: Device, node: int, stored: Path, error: int
) -> None:
    elsewhere = stored.rename(stored.with_name("elsewhere"))
    server.answer = error
    assert device.call(fuse.READ, node, fuse.read(0, 10)) == Reply(error, b"")
    server.answer = (elsewhere, os.O_RDONLY)
    assert device.call(fuse.READ, node, fuse.read(0, 10)) == Reply(0, b"")


def test_file_of_an_inode_that_is_no_file_is_refused(lane: Lane) -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    for number in (ROOT, 12345):
        with pytest.raises(OSError) as info:
            lane.give_fd(number, fd, is_writable=False)
        assert info.value.errno == errno.ESTALE
    os.close(fd)


def test_forgotten_file_is_closed_after_the_requests_under_way(
    server: Server, device: Device, tree: Tree, policy: FilePolicy, stored: Path
) -> None:
    """Each time the file is opened anew, so what one has not written yet the next does not know of."""
    for number in range(20):
        node = look_up(device, FILE)
        for part in range(2):
            device.send(fuse.WRITE, node, fuse.write((2 * number + part) * LARGE, bytes([number + 1]) * LARGE))
        device.send(fuse.FORGET, node, fuse.forget())
        device.call(fuse.LOOKUP, ROOT, b"absent\0")
        assert (tree.file_count, tree.inode_count) == (0, 1)
    file = open_file(policy, stored)
    content = b"".join(file.read(n * LARGE, LARGE) for n in range(40))
    file.close()
    assert content == b"".join(bytes([n // 2 + 1]) * LARGE for n in range(40))


def test_directory_is_synced_by_a_descriptor_of_its_own(server: Server, device: Device, cipherdir: Path) -> None:
    (cipherdir / "d").mkdir()
    node = look_up(device, b"d\0")
    device.call(fuse.LOOKUP, node, b"absent\0")
    before = count_descriptors()
    for _ in range(5):
        assert device.call(fuse.FSYNCDIR, node, bytes(16)) == Reply(0, b"")
    assert device.call(fuse.FSYNCDIR, 12345, bytes(16)) == Reply(errno.ESTALE, b"")
    assert needs(server) == []
    wait_for(lambda: count_descriptors() == before)  # the last is closed after the reply


def test_bad_block_is_eio_for_the_reader_and_an_event_for_python(
    server: Server, device: Device, node: int, stored: Path
) -> None:
    device.call(fuse.WRITE, node, fuse.write(0, b"x" * 20_000))
    with stored.open("r+b") as stream:
        stream.seek(18 + 2 * 4128 + 50)
        stream.write(bytes(8))
    assert device.call(fuse.READ, node, fuse.read(0, 20_000)) == Reply(errno.EIO, b"")
    assert device.call(fuse.READ, node, fuse.read(0, 8192)) == Reply(0, b"x" * 8192)
    device.call(99, ROOT)
    assert (Event.CORRUPT, node, 2) in server.events


def test_files_are_closed_when_nothing_happens(server: Server, device: Device, tree: Tree, node: int) -> None:
    device.call(fuse.READ, node, fuse.read(0, 10))
    assert tree.file_count == 1
    wait_for(lambda: tree.file_count == 0)
    assert device.call(fuse.READ, node, fuse.read(0, 10)) == Reply(0, b"")
    assert needs(server) == []


def test_forgets_may_come_in_any_number(server: Server, device: Device, tree: Tree, node: int) -> None:
    for _ in range(5999):
        device.call(fuse.LOOKUP, ROOT, FILE)
    assert tree.lookups == 6000
    forgets = struct.pack("=QQ", node, 1) * 6000
    device.send(fuse.BATCH_FORGET, 0, struct.pack("=II", 6000, 0) + forgets)
    device.send(fuse.FORGET, node, fuse.forget())  # one too many
    device.send(fuse.FORGET, 12345, fuse.forget())
    device.call(99, ROOT)
    assert (tree.lookups, tree.inode_count) == (0, 1)


# --- names ------------------------------------------------------------------------------------------------------
NAMES = [b"x" * n for n in range(1, 256)] + [b"\xff\xfe", "grüße".encode(), b" ", b"-", b"gocryptfs.diriv", b"..."]
DIRIV = DirIV(bytes(range(16, 32)))


@pytest.fixture
def cipher() -> Iterator[NativeNameCipher]:
    key = Secret.from_bytes(bytes(range(32)))
    cipher = NativeNameCipher(key)
    yield cipher
    cipher.close()


@pytest.mark.parametrize("is_raw64", [True, False])
@pytest.mark.parametrize("long_name_max", [255, 62, 100])
def test_lookup_finds_what_the_codec_of_python_stored(
    new_tree: TreeMaker,
    device: Device,
    cipher: NativeNameCipher,
    aead: Aead,
    cipherdir: Path,
    is_raw64: bool,
    long_name_max: int,
) -> None:
    codec = NameCodec(cipher, has_diriv=True, long_name_max=long_name_max, raw64=is_raw64)
    (cipherdir / "gocryptfs.diriv").write_bytes(DIRIV)
    present = set(NAMES[::2])
    for name in present:
        path = cipherdir / os.fsdecode(codec.encode(name, DIRIV).cname)
        path.write_bytes(bytes(18 + OVERHEAD + len(name)))
    names = NameFormat(
        cipher.eme,
        aead,
        NONCE_SIZE,
        has_diriv=True,
        is_raw64=is_raw64,
        hashes_long=True,
        long_name_max=long_name_max,
    )
    lane = new_lane(new_tree(names), device.fd)
    with Server(lane) as server:
        entries = {name: fuse.entry(device.call(fuse.LOOKUP, ROOT, name + b"\0")) for name in NAMES}
    assert not server.messages
    for name, entry in entries.items():
        assert entry.entry_valid == TIMEOUT_S
        assert (entry.node != 0, entry.size) == ((True, len(name)) if name in present else (False, 0)), name
    lane.close()
    os.close(lane.python_fd)


def test_lookup_in_a_volume_with_plaintext_names(server: Server, device: Device, cipherdir: Path) -> None:
    (cipherdir / "present").touch()
    (cipherdir / "dangling").symlink_to("nowhere")
    for name in (b"present", b"dangling"):
        assert look_up(device, name + b"\0")
    for name in (b"", b".", b"..", b"a/b", b"x" * 256, b"gocryptfs.conf"):
        assert device.call(fuse.LOOKUP, ROOT, name + b"\0").error == PYTHONS_ERROR, name
    assert device.call(fuse.LOOKUP, ROOT, b"unterminated").error == PYTHONS_ERROR
    assert device.call(fuse.LOOKUP, 12345, b"absent\0").error == PYTHONS_ERROR
    assert fuse.entry(device.call(fuse.LOOKUP, ROOT, b"absent\0")).node == 0
    (cipherdir / "absent").touch()
    assert look_up(device, b"absent\0")


def list_names(device: Device, node: int) -> Reply:
    return device.call(fuse.READDIR, node, fuse.read(0, 4096))


def test_what_a_listing_hides_python_is_told(
    new_tree: TreeMaker, device: Device, cipher: NativeNameCipher, aead: Aead, cipherdir: Path
) -> None:
    codec = NameCodec(cipher, has_diriv=True, long_name_max=255, raw64=True)
    (cipherdir / "gocryptfs.diriv").write_bytes(DIRIV)
    (cipherdir / os.fsdecode(codec.encode(b"d", DIRIV).cname)).mkdir()
    (cipherdir / "bad").touch()
    (cipherdir / "gocryptfs.diriv.rmdir.1").mkdir()
    names = NameFormat(cipher.eme, aead, NONCE_SIZE, has_diriv=True, is_raw64=True, hashes_long=True, long_name_max=255)
    lane = new_lane(new_tree(names), device.fd)
    with Server(lane) as server:
        listed = list_names(device, ROOT)
        node = look_up(device, b"d\0")
        assert list_names(device, node) == Reply(errno.EIO, b"")
        device.call(99, ROOT)
    assert b"d" in listed.data
    assert b"bad" not in listed.data
    assert set(needs(server)) == {(Event.BAD_NAME, ROOT, 0), (Event.LEFTOVERS, ROOT, 0), (Event.NO_DIRIV, node, 0)}
    assert server.bad_names == [b"bad"]
    lane.close()
    os.close(lane.python_fd)


@pytest.mark.parametrize("has_capabilities", [True, False])
def test_capabilities_are_asked_for_only_where_they_count(
    new_tree: TreeMaker, device: Device, stored: Path, has_capabilities: bool
) -> None:
    lane = new_lane(new_tree(options=OPTIONS._replace(has_capabilities=has_capabilities)), device.fd)
    with Server(lane) as server:
        node = look_up(device, FILE)
        reply = device.call(fuse.GETXATTR, node, bytes(8) + b"security.capability\0")
    assert reply.error == (PYTHONS_ERROR if has_capabilities else errno.EOPNOTSUPP)
    assert len(server.messages) == has_capabilities
    lane.close()
    os.close(lane.python_fd)
