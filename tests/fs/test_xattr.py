"""Extended attributes, by name and on objects that lost theirs."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from pcvfs.cipherdir.report import ProblemKind
from pcvfs.errors import AuthenticationError
from tests.fs.bench import Bench
from tests.fs.kernel import Kernel

LONG = b"L" * 250
ACL = b"system.posix_acl_access"


def raises(error: int) -> object:
    return pytest.raises(OSError, match=os.strerror(error))


def test_values_come_back_and_are_encrypted_below(bench: Bench) -> None:
    values = {b"user.a": b"1", b"user.empty": b"", b"user.big": os.urandom(2000), b"user.\xff": b"\0\xff"}
    for path in (b"file", LONG, b"d"):
        bench.kernel.mkdir(path) if path == b"d" else bench.kernel.put(path, b"x")
        for name, value in values.items():
            bench.kernel.setxattr(path, name, value)
        assert set(bench.kernel.listxattr(path)) == set(values)
    kernel = bench.remount()
    for path in (b"file", LONG, b"d"):
        assert {name: kernel.getxattr(path, name) for name in kernel.listxattr(path)} == values
        below = bench.cipher_path(path)
        stored = {os.fsencode(name): os.getxattr(below, name) for name in os.listxattr(below)}
        assert all(name.startswith(b"user.gocryptfs.") for name in stored)
        assert not set(values.values()) - {b""} & set(stored.values())


def test_other_namespaces_become_user_attributes(bench: Bench) -> None:
    bench.kernel.put(b"file", b"x")
    for name in (b"trusted.one", b"security.two", b"no-namespace"):
        bench.kernel.setxattr(b"file", name, b"value")
        assert bench.kernel.getxattr(b"file", name) == b"value"
    assert all(name.startswith("user.gocryptfs.") for name in os.listxattr(bench.cipher_path(b"file")))


def test_setxattr_again_replaces_and_removexattr_removes(kernel: Kernel) -> None:
    kernel.put(b"file", b"x")
    kernel.setxattr(b"file", b"user.a", b"1")
    kernel.setxattr(b"file", b"user.a", b"2")
    assert kernel.getxattr(b"file", b"user.a") == b"2"
    kernel.removexattr(b"file", b"user.a")
    assert kernel.listxattr(b"file") == []
    for call in (kernel.getxattr, kernel.removexattr):
        with raises(errno.ENODATA):
            call(b"file", b"user.a")


def test_symlinks_and_special_files_can_have_none(kernel: Kernel) -> None:
    kernel.symlink(b"symlink", b"target")
    kernel.mknod(b"fifo", stat.S_IFIFO | 0o600)
    for path in (b"symlink", b"fifo"):
        with raises(errno.EPERM):
            kernel.setxattr(path, b"user.a", b"1")
        assert kernel.listxattr(path) == []


def test_acls_pass_through_unencrypted(bench: Bench) -> None:
    acl = bytes.fromhex("0200000001000600ffffffff04000400ffffffff20000400ffffffff")
    bench.kernel.put(b"file", b"x")
    try:
        bench.kernel.setxattr(b"file", ACL, acl)
    except OSError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            pytest.skip("no ACLs on the filesystem below")
        raise
    extended = bytes.fromhex(
        "0200000001000600ffffffff0200060039300000 04000400ffffffff10000600ffffffff20000400ffffffff"
    )
    bench.kernel.setxattr(b"file", ACL, extended)
    assert bench.kernel.getxattr(b"file", ACL) == extended
    assert os.getxattr(bench.cipher_path(b"file"), ACL) == extended
    assert bench.kernel.listxattr(b"file") == [ACL]
    bench.kernel.removexattr(b"file", ACL)
    assert bench.kernel.listxattr(b"file") == []


@pytest.mark.flavours
def test_security_capability_costs_no_system_call_unless_suid_counts(bench: Bench) -> None:
    bench.kernel.put(b"file", b"x")
    with raises(errno.EOPNOTSUPP):
        bench.kernel.getxattr(b"file", b"security.capability")
    kernel = bench.remount(suid=True)
    with raises(errno.ENODATA):
        kernel.getxattr(b"file", b"security.capability")
    kernel.setxattr(b"file", b"security.capability", b"cap")
    assert kernel.getxattr(b"file", b"security.capability") == b"cap"


@pytest.mark.flavours
def test_noxattr_has_none_and_takes_none(bench: Bench) -> None:
    bench.kernel.put(b"file", b"x")
    bench.kernel.setxattr(b"file", b"user.a", b"1")
    kernel = bench.remount(noxattr=True)
    assert kernel.listxattr(b"file") == []
    with raises(errno.ENODATA):
        kernel.getxattr(b"file", b"user.a")
    for call in (lambda: kernel.setxattr(b"file", b"user.a", b"2"), lambda: kernel.removexattr(b"file", b"user.a")):
        with raises(errno.EOPNOTSUPP):
            call()
    assert bench.remount(noxattr=False).getxattr(b"file", b"user.a") == b"1"


def test_longest_name_fits_and_one_more_byte_is_an_error(kernel: Kernel) -> None:
    kernel.put(b"file", b"x")
    longest = b"user." + b"n" * 170
    kernel.setxattr(b"file", longest, b"1")
    assert kernel.listxattr(b"file") == [longest]
    with pytest.raises(OSError) as caught:  # which errno is the filesystem's below
        kernel.setxattr(b"file", longest + b"n", b"1")
    assert caught.value.errno in (errno.ERANGE, errno.ENAMETOOLONG)


def test_value_larger_than_the_filesystem_below_takes_is_its_error(kernel: Kernel) -> None:
    kernel.put(b"file", b"x")
    with pytest.raises(OSError) as caught:  # likewise
        kernel.setxattr(b"file", b"user.a", bytes(65536))
    assert caught.value.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE)
    assert kernel.listxattr(b"file") == []


def test_foreign_attributes_are_hidden(bench: Bench) -> None:
    bench.kernel.put(b"file", b"x")
    bench.kernel.setxattr(b"file", b"user.mine", b"1")
    os.setxattr(bench.cipher_path(b"file"), "user.not-encrypted", b"value")
    assert bench.kernel.listxattr(b"file") == [b"user.mine"]


def test_damaged_names_are_hidden_and_damaged_values_are_errors(bench: Bench) -> None:
    bench.kernel.put(b"file", b"x")
    bench.kernel.setxattr(b"file", b"user.mine", b"1" * 20)
    below = bench.cipher_path(b"file")
    (stored,) = os.listxattr(below)
    value = bytearray(os.getxattr(below, stored))
    value[-1] ^= 1
    os.setxattr(below, stored, bytes(value))
    os.setxattr(below, "user.gocryptfs.AAAAAAAAAAAAAAAAAAAAAA", b"value")
    assert bench.kernel.listxattr(b"file") == [b"user.mine"]
    with pytest.raises(AuthenticationError):
        bench.kernel.getxattr(b"file", b"user.mine")
    bench.expected_problems = frozenset({ProblemKind.XATTR_NAME_CORRUPT, ProblemKind.XATTR_VALUE_CORRUPT})
    bench.expect_log("an attribute name can't be decrypted")
