"""The system calls on a cipherdir: nothing is followed, nothing is left behind, nothing is short."""

import errno
import os
import stat

import pytest

from pcvfs.cipherdir import backing
from pcvfs.crypto.secret import harden_process
from pcvfs.errors import FormatError
from pcvfs.types import DirIV
from tests.support.accounts import NOBODY, run_as
from tests.support.requirements import require_root

DIRIV = DirIV(bytes(range(16)))


@pytest.fixture
def root_fd(tmp_path):
    fd = backing.open_root(os.fsencode(tmp_path))
    yield fd
    backing.close(fd)


@pytest.fixture
def umask_077():
    old = os.umask(0o077)
    yield
    os.umask(old)


def errno_of(function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    return caught.value.errno


# --- opening ----------------------------------------------------------------------------------------------------
def test_openat_symlink_is_refused(root_fd, tmp_path):
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to("target")
    assert errno_of(backing.openat, root_fd, b"link", os.O_RDONLY) == errno.ELOOP
    assert errno_of(backing.open_dir, root_fd, b"link") in (errno.ELOOP, errno.ENOTDIR)


def test_openat_descriptors_are_not_inherited(root_fd, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dir").mkdir()
    fds = [
        backing.openat(root_fd, b"file", os.O_RDONLY),
        backing.open_dir(root_fd, b"dir"),
        backing.open_path(root_fd, b"file"),
        backing.open_root(os.fsencode(tmp_path)),
    ]
    assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in fds:
        backing.close(fd)


def test_open_root_symlink_to_the_cipherdir_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fd = backing.open_root(os.fsencode(tmp_path / "link"))
    assert os.path.samestat(os.fstat(fd), (tmp_path / "real").stat())
    backing.close(fd)


def test_open_dir_without_read_permission_still_serves_as_dirfd(tmp_path):
    require_root("a directory of one user must be opened by another")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").write_bytes(b"x")
    (tmp_path / "dir").chmod(0o711)
    tmp_path.chmod(0o711)
    tmp_fd = backing.open_root(os.fsencode(tmp_path))

    def size_of_inner_file():
        fd = backing.open_dir(tmp_fd, b"dir")
        assert errno_of(backing.listdir, fd) == errno.EACCES
        return backing.statat(fd, b"file").st_size

    assert run_as(NOBODY, size_of_inner_file) == 1
    backing.close(tmp_fd)


def test_calls_through_proc_work_in_a_hardened_process_of_a_user(tmp_path):
    require_root("another user must be impersonated")
    (tmp_path / "dir").mkdir()
    os.chown(tmp_path / "dir", NOBODY, NOBODY)
    fd = backing.open_root(os.fsencode(tmp_path / "dir"))

    def work():
        harden_process()
        backing.create_diriv(fd, DIRIV)
        backing.chmodat(fd, b"gocryptfs.diriv", 0o400)
        backing.setxattrat(fd, b".", b"user.name", b"value")
        assert backing.fs_type(fd)
        return backing.listdir(fd), backing.getxattrat(fd, b".", b"user.name")

    assert run_as(NOBODY, work) == ([b"gocryptfs.diriv"], b"value")
    backing.close(fd)


def test_reopen_leads_to_the_object_after_a_rename(root_fd, tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    fd = backing.open_path(root_fd, b"a")
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").write_bytes(b"two")
    again = backing.reopen(fd, os.O_RDONLY)
    assert backing.pread_full(again, 10, 0) == b"one"
    backing.close(fd)
    backing.close(again)


# --- reading and writing ----------------------------------------------------------------------------------------
@pytest.fixture
def file_fd(root_fd):
    fd = backing.openat(root_fd, b"file", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    backing.close(fd)


def test_pread_full_short_counts_are_completed(file_fd, monkeypatch):
    backing.pwrite_full(file_fd, b"0123456789", 0)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 3), offset))
    assert backing.pread_full(file_fd, 10, 0) == b"0123456789"
    assert backing.pread_full(file_fd, 100, 4) == b"456789"
    assert backing.pread_full(file_fd, 10, 10) == b""


def test_pread_into_short_counts_are_completed(file_fd, monkeypatch):
    backing.pwrite_full(file_fd, b"0123456789", 0)
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:3]], offset))
    buffer = bytearray(20)
    assert backing.pread_into(file_fd, memoryview(buffer), 2) == 8
    assert buffer.startswith(b"23456789\0")


def test_fallocate_keep_size_reserves_and_keeps_the_size(file_fd):
    backing.fallocate_keep_size(file_fd, 0, 1 << 20)
    st = backing.fstat(file_fd)
    assert (st.st_size, st.st_blocks * 512) == (0, 1 << 20)


def test_seek_data_and_hole_tell_holes_and_the_end(file_fd):
    backing.pwrite_full(file_fd, b"x" * 4096, 1 << 20)
    backing.ftruncate(file_fd, 2 << 20)
    assert backing.seek_data(file_fd, 0) == 1 << 20
    assert backing.seek_hole(file_fd, 1 << 20) == (1 << 20) + 4096
    assert backing.seek_data(file_fd, (1 << 20) + 4096) is None
    assert backing.seek_hole(file_fd, 2 << 20) is None


# --- names ------------------------------------------------------------------------------------------------------
NOT_UTF8 = b"caf\xe9 \xff"


def test_listings_names_are_bytes_and_typed(root_fd, tmp_path):
    backing.mkdirat(root_fd, NOT_UTF8, 0o700)
    backing.symlinkat(b"\xfe target", root_fd, b"link")
    backing.mknodat(root_fd, b"fifo", stat.S_IFIFO | 0o600)
    backing.mknodat(root_fd, b"file", stat.S_IFREG | 0o600)
    assert sorted(backing.listdir(root_fd)) == sorted([NOT_UTF8, b"link", b"fifo", b"file"])
    entries = {entry.cname: entry for entry in backing.scandir(root_fd)}
    assert {cname: entry.type_bits for cname, entry in entries.items()} == {
        NOT_UTF8: stat.S_IFDIR,
        b"link": stat.S_IFLNK,
        b"fifo": 0,
        b"file": stat.S_IFREG,
    }
    assert entries[b"file"].st_ino == backing.statat(root_fd, b"file").st_ino
    assert backing.readlinkat(root_fd, b"link") == b"\xfe target"


def test_listdir_leaves_the_offset_of_the_descriptor_alone(root_fd, tmp_path):
    for number in range(10):
        (tmp_path / str(number)).touch()
    assert len(backing.listdir(root_fd)) == len(backing.listdir(root_fd)) == 10
    assert [len(batch) for batch in backing.listdir_batches(root_fd, 4)] == [4, 4, 2]


def test_renameat2_flags_reach_the_kernel(root_fd, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    assert errno_of(backing.renameat2, root_fd, b"a", root_fd, b"b", backing.RENAME_NOREPLACE) == errno.EEXIST
    backing.renameat2(root_fd, b"a", root_fd, b"b", backing.RENAME_EXCHANGE)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"b", b"a")
    backing.renameat2(root_fd, b"a", root_fd, b"b")
    assert os.listdir(tmp_path) == ["b"]


def test_links_of_symlinks_link_the_symlink(root_fd):
    backing.symlinkat(b"nowhere", root_fd, b"link")
    backing.linkat(root_fd, b"link", root_fd, b"second")
    fd = backing.open_path(root_fd, b"link")
    backing.link_fd(fd, root_fd, b"third")
    backing.close(fd)
    assert backing.statat(root_fd, b"third").st_nlink == 3
    assert backing.readlinkat(root_fd, b"second") == backing.readlinkat(root_fd, b"third") == b"nowhere"


def test_attribute_setters_do_not_follow_symlinks(root_fd, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"x")
    target.chmod(0o640)
    os.utime(target, ns=(1, 2))
    backing.symlinkat(b"target", root_fd, b"link")
    assert errno_of(backing.chmodat, root_fd, b"link", 0o777) == errno.EOPNOTSUPP
    backing.utimensat(root_fd, b"link", 10**18, None)
    backing.utimensat(root_fd, b"link", None, 3 * 10**18)
    backing.chownat(root_fd, b"link", os.getuid(), os.getgid())
    assert errno_of(backing.setxattrat, root_fd, b"link", b"user.name", b"v") == errno.EPERM
    assert backing.listxattrat(root_fd, b"link") == []
    st = target.stat()
    assert (stat.S_IMODE(st.st_mode), st.st_mtime_ns, os.listxattr(target)) == (0o640, 2, [])
    st = backing.statat(root_fd, b"link")
    assert (st.st_atime_ns, st.st_mtime_ns) == (10**18, 3 * 10**18)


@pytest.mark.parametrize("opened", [False, True])
def test_utimensat_none_leaves_that_time_alone(root_fd, tmp_path, opened):
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", ns=(1_000_000_001, 2_000_000_002))
    fd = backing.open_path(root_fd, b"file")

    def set_times(atime_ns, mtime_ns):
        if opened:
            backing.futimens(fd, atime_ns, mtime_ns)
        else:
            backing.utimensat(root_fd, b"file", atime_ns, mtime_ns)
        st = os.stat(tmp_path / "file")
        return st.st_atime_ns, st.st_mtime_ns

    assert set_times(None, None) == (1_000_000_001, 2_000_000_002)
    assert set_times(None, -1) == (1_000_000_001, -1)  # before 1970
    assert set_times(-2_500_000_000, None) == (-2_500_000_000, -1)
    assert set_times(3, 4) == (3, 4)
    backing.close(fd)


def test_chmod_of_o_path_descriptors_and_names(root_fd, tmp_path):
    (tmp_path / "file").touch()
    backing.chmodat(root_fd, b"file", 0o4751)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o4751
    fd = backing.open_path(root_fd, b"file")
    backing.chmod_fd(fd, 0o200)
    backing.close(fd)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o200


def test_xattrs_by_name_and_by_descriptor_are_the_same(root_fd, tmp_path):
    backing.mkdirat(root_fd, NOT_UTF8, 0o700)
    backing.setxattrat(root_fd, NOT_UTF8, b"user.\xff", b"one", backing.XATTR_CREATE)
    assert errno_of(backing.setxattrat, root_fd, NOT_UTF8, b"user.\xff", b"", backing.XATTR_CREATE) == errno.EEXIST
    fd = backing.open_path(root_fd, NOT_UTF8)
    assert backing.fgetxattr(fd, b"user.\xff") == backing.getxattrat(root_fd, NOT_UTF8, b"user.\xff") == b"one"
    backing.fsetxattr(fd, b"user.two", bytearray(b"2"))
    assert (
        sorted(backing.flistxattr(fd)) == sorted(backing.listxattrat(root_fd, NOT_UTF8)) == [b"user.two", b"user.\xff"]
    )
    backing.fremovexattr(fd, b"user.two")
    backing.removexattrat(root_fd, NOT_UTF8, b"user.\xff")
    assert errno_of(backing.getxattrat, root_fd, NOT_UTF8, b"user.\xff") == errno.ENODATA
    backing.close(fd)


# --- small files ------------------------------------------------------------------------------------------------
def test_diriv_round_trip_has_the_mode_of_the_format(root_fd, tmp_path, umask_077):
    backing.create_diriv(root_fd, DIRIV)
    assert backing.read_diriv(root_fd) == DIRIV
    assert stat.S_IMODE((tmp_path / "gocryptfs.diriv").stat().st_mode) == 0o444
    assert errno_of(backing.create_diriv, root_fd, DIRIV) == errno.EEXIST
    assert backing.read_diriv(root_fd) == DIRIV


@pytest.mark.parametrize("content", [b"", b"x" * 15, b"x" * 17, bytes(16)])
def test_read_diriv_bad_content_is_a_format_error(root_fd, tmp_path, content):
    (tmp_path / "gocryptfs.diriv").write_bytes(content)
    with pytest.raises(FormatError):
        backing.read_diriv(root_fd)


@pytest.mark.timeout(5)
def test_read_diriv_planted_fifo_does_not_block(root_fd):
    backing.mknodat(root_fd, b"gocryptfs.diriv", stat.S_IFIFO | 0o600)
    with pytest.raises(FormatError, match="not a regular file"):
        backing.read_diriv(root_fd)


@pytest.mark.parametrize("content", [b"", b"x" * 345])
def test_read_long_name_bad_length_is_a_format_error(root_fd, tmp_path, content):
    (tmp_path / "a.name").write_bytes(content)
    with pytest.raises(FormatError):
        backing.read_long_name(root_fd, b"a.name")


def test_long_name_longest_round_trip(root_fd, tmp_path, umask_077):
    backing.write_long_name(root_fd, b"a.name", b"x" * 344)
    assert backing.read_long_name(root_fd, b"a.name") == b"x" * 344
    assert stat.S_IMODE((tmp_path / "a.name").stat().st_mode) == 0o444


@pytest.mark.parametrize("call", ["pwrite_full", "fchmod"])
def test_create_small_file_failure_leaves_nothing(root_fd, tmp_path, monkeypatch, call):
    def failing(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(backing, call, failing)
    assert errno_of(backing.create_diriv, root_fd, DIRIV) == errno.ENOSPC
    assert os.listdir(tmp_path) == []


@pytest.mark.timeout(5)
def test_read_path_reads_pipes_and_does_not_wait_for_writers(tmp_path):
    fifo = os.fsencode(tmp_path / "fifo")
    os.mkfifo(fifo)
    assert backing.read_path(fifo, 100) == b""
    reader, writer = os.pipe()
    os.write(writer, b"0123456789")
    os.close(writer)
    assert backing.read_path(b"/proc/self/fd/%d" % reader, 4) == b"01234"
    os.close(reader)


# --- the filesystem below ---------------------------------------------------------------------------------------
def test_fs_type_names_the_filesystem_of_the_descriptor(root_fd):
    proc = backing.open_root(b"/proc")
    assert backing.fs_type(proc) == "proc"
    backing.close(proc)
    assert backing.fs_type(root_fd) not in ("", "proc")


@pytest.mark.parametrize(
    ("kind", "flags", "useful"),
    [
        ("ext4", None, backing.Prealloc.ALL),
        ("btrfs", 0, backing.Prealloc.NEW),
        ("btrfs", 0x00800000, backing.Prealloc.ALL),
        ("btrfs", None, backing.Prealloc.NEW),
    ],
)
def test_useful_prealloc_is_only_the_new_on_copying_btrfs(root_fd, monkeypatch, kind, flags, useful):
    monkeypatch.setattr(backing, "fs_type", lambda _fd: kind)

    def ioctl(_fd, _request, argument):
        if flags is None:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return flags.to_bytes(len(argument), "little")

    monkeypatch.setattr(backing.fcntl, "ioctl", ioctl)
    assert backing.useful_prealloc(root_fd) is useful


def test_try_lock_exclusive_and_shared_exclude_each_other(tmp_path):
    one, two, three = (backing.open_root(os.fsencode(tmp_path)) for _ in range(3))
    assert backing.try_lock(one, shared=True)
    assert backing.try_lock(two, shared=True)
    assert not backing.try_lock(three, shared=False)
    backing.close(one)
    backing.close(two)
    assert backing.try_lock(three, shared=False)
    four = backing.open_root(os.fsencode(tmp_path))
    assert not backing.try_lock(four, shared=True)
    backing.close(three)
    backing.close(four)
