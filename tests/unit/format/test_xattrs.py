import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs import spec
from pcvfs.errors import NameDecodeError
from pcvfs.format.base64url import Base64Url
from pcvfs.format.names import pad
from pcvfs.format.xattrs import XattrNameCodec

ACLS = [b"system.posix_acl_access", b"system.posix_acl_default"]


def on_disk(eme, padded, raw64=True):
    return b"user.gocryptfs." + Base64Url(raw64).encode(eme.encrypt(spec.XATTR_NAME_TWEAK, padded))


def test_encode_matches_vector(eme, xattr_name_vector):
    codec = XattrNameCodec(eme, raw64=True)
    name, cname = xattr_name_vector["plain"].encode(), xattr_name_vector["on_disk"].encode()
    assert codec.encode(name) == cname
    assert codec.decode(cname) == name


@given(st.binary(min_size=1, max_size=175).filter(lambda name: b"\0" not in name), st.booleans())
def test_name_round_trips(eme, name, raw64):
    codec = XattrNameCodec(eme, raw64=raw64)
    assert codec.decode(codec.encode(name)) == name


@pytest.mark.parametrize("name", [b"user.a/b", b"user.", b".", b"..", b"user.gocryptfs.x"])
def test_name_rules_of_files_do_not_apply(eme, name):
    codec = XattrNameCodec(eme, raw64=True)
    assert codec.decode(codec.encode(name)) == name


@pytest.mark.parametrize("name", ACLS)
def test_posix_acls_keep_their_name(eme, name):
    codec = XattrNameCodec(eme, raw64=True)
    assert codec.encode(name) == name
    assert codec.decode(name) == name


@pytest.mark.parametrize("name", [b"", b"user.a\0b"])
def test_encode_illegal_name_raises(eme, name):
    with pytest.raises(ValueError, match="attribute name"):
        XattrNameCodec(eme, raw64=True).encode(name)


@pytest.mark.parametrize("length", [176, 255, 256, 5000])
def test_encode_too_long_name_raises_erange(eme, length):
    with pytest.raises(OSError, match="range") as caught:
        XattrNameCodec(eme, raw64=True).encode(b"u" * length)
    assert caught.value.errno == errno.ERANGE


@pytest.mark.parametrize(
    "cname", [b"user.foo", b"trusted.x", b"security.selinux", b"user.gocryptfs", b"", b"USER.GOCRYPTFS.x"]
)
def test_decode_foreign_attribute_is_none(eme, cname):
    assert XattrNameCodec(eme, raw64=True).decode(cname) is None


@pytest.mark.parametrize("rest", [b"", b"x", b"A" * 22, b"A" * 23, b"AAAA", b"==", b"A" * 400])
def test_decode_undecryptable_attribute_raises(eme, rest):
    with pytest.raises(NameDecodeError):
        XattrNameCodec(eme, raw64=True).decode(b"user.gocryptfs." + rest)


@pytest.mark.parametrize("padded", [pad(b""), pad(b"a\0b"), b"x" * 16, *map(pad, ACLS)])
def test_decode_attribute_that_decrypts_to_an_illegal_one_raises(eme, padded):
    with pytest.raises(NameDecodeError):
        XattrNameCodec(eme, raw64=True).decode(on_disk(eme, padded))
