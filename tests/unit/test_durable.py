"""Files that are there whole or not at all: the order of syncs, and what a failure leaves behind."""

import errno
import os
import stat

import pytest

from pcvfs import durable


@pytest.fixture
def root_fd(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def file_fd(root_fd):
    fd = durable.openat(root_fd, b"file", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


def errno_of(function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    return caught.value.errno


def write(root_fd, data=b"new", **options):
    durable.write_file_durably(root_fd, b"file", data, 0o400, tmp=b"file.tmp", **options)


def test_write_file_durably_replaces_with_exact_mode(root_fd, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o644)
    write(root_fd)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o400
    assert os.listdir(tmp_path) == ["file"]


def test_write_file_durably_syncs_file_before_rename_and_directory_after(root_fd, tmp_path, monkeypatch):
    events = []
    fsync, renameat2 = durable.fsync, durable.renameat2

    def logging_fsync(fd):
        events.append("dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def logging_rename(*args):
        events.append("rename")
        renameat2(*args)

    monkeypatch.setattr(durable, "fsync", logging_fsync)
    monkeypatch.setattr(durable, "renameat2", logging_rename)
    write(root_fd)
    assert events == ["file", "rename", "dir"]


@pytest.mark.parametrize("fallback", [False, True], ids=["renameat2", "link"])
def test_write_file_durably_without_replace_keeps_what_is_there(root_fd, tmp_path, monkeypatch, fallback):
    if fallback:

        def unsupported(*_args):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(durable, "renameat2", unsupported)
    write(root_fd, b"first", replace=False)
    with pytest.raises(FileExistsError):
        write(root_fd, b"second", replace=False)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"first"


def test_write_file_durably_left_over_temporary_file_is_refused_and_kept(root_fd, tmp_path):
    (tmp_path / "file.tmp").write_bytes(b"left")
    with pytest.raises(FileExistsError):
        write(root_fd)
    assert (tmp_path / "file.tmp").read_bytes() == b"left"
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("call", ["fchmod", "pwrite_full", "fsync", "renameat2"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_write_file_durably_failure_keeps_the_old_file(root_fd, tmp_path, monkeypatch, call, code):
    (tmp_path / "file").write_bytes(b"old")

    def failing(*_args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable, call, failing)
    assert errno_of(write, root_fd) == code
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_pwrite_full_short_counts_are_completed(file_fd, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    durable.pwrite_full(file_fd, b"0123456789", 5)
    assert os.pread(file_fd, 100, 0) == bytes(5) + b"0123456789"


def test_pwrite_full_without_progress_is_an_error(file_fd, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    assert errno_of(durable.pwrite_full, file_fd, b"data", 0) == errno.EIO


def test_fsync_if_supported_unsupported_syncs_all_and_errors_pass(file_fd, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))

    def failing(code):
        def fsync(_fd):
            raise OSError(code, os.strerror(code))

        return fsync

    monkeypatch.setattr(durable, "fsync", failing(errno.EINVAL))
    durable.fsync_if_supported(file_fd)
    assert synced == [True]
    monkeypatch.setattr(durable, "fsync", failing(errno.EIO))
    assert errno_of(durable.fsync_if_supported, file_fd) == errno.EIO


def test_make_directory_durably_syncs_the_directory_around_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    durable.make_directory_durably(os.fsencode(tmp_path / "new"), 0o700)
    assert synced == [str(tmp_path)]
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        durable.make_directory_durably(os.fsencode(tmp_path / "new"), 0o700)
