import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.crypto.aead import CipherKind, content_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError, NameDecodeError
from pcvfs.format.base64url import Base64Url
from pcvfs.format.blobs import decode_symlink, decode_xattr_value, encode_symlink, encode_xattr_value

CIPHERS = {kind: content_cipher(kind, Secret.from_bytes(bytes(range(1, 1 + kind.key_size)))) for kind in CipherKind}
each_cipher = pytest.mark.parametrize("cipher", CIPHERS.values(), ids=[kind.name for kind in CIPHERS])
ciphers = st.sampled_from(list(CIPHERS.values()))


def nonce_for(cipher):
    return b"\x5a" * cipher.kind.nonce_size


@given(ciphers, st.binary(max_size=2000).filter(lambda target: b"\0" not in target), st.booleans())
def test_symlink_round_trips(cipher, target, raw64):
    stored = encode_symlink(target, cipher, nonce_for(cipher), raw64)
    assert decode_symlink(stored, cipher, raw64) == target
    assert (stored == b"") == (target == b"")


@given(ciphers, st.binary(max_size=2000))
def test_xattr_value_round_trips(cipher, value):
    stored = encode_xattr_value(value, cipher, nonce_for(cipher))
    assert decode_xattr_value(stored, cipher, raw64=True) == value
    assert len(stored) == (len(value) + cipher.kind.overhead if value else 0)


@pytest.mark.parametrize(
    ("kind", "raw64", "longest"),
    [
        (CipherKind.AES_GCM, True, 3039),
        (CipherKind.AES_SIV, True, 3039),
        (CipherKind.AES_GCM, False, 3037),
        (CipherKind.XCHACHA20_POLY1305, True, 3031),
    ],
)
def test_symlink_longest_target(kind, raw64, longest):
    cipher = CIPHERS[kind]
    stored = encode_symlink(b"t" * longest, cipher, nonce_for(cipher), raw64)
    assert len(stored) <= 4095
    assert decode_symlink(stored, cipher, raw64) == b"t" * longest
    with pytest.raises(OSError, match="too long") as caught:
        encode_symlink(b"t" * (longest + 1), cipher, nonce_for(cipher), raw64)
    assert caught.value.errno == errno.ENAMETOOLONG


@each_cipher
def test_decode_symlink_changed_target_raises(cipher):
    stored = bytearray(encode_symlink(b"/target", cipher, nonce_for(cipher), raw64=True))
    stored[30] ^= 1
    with pytest.raises((AuthenticationError, NameDecodeError)):
        decode_symlink(bytes(stored), cipher, raw64=True)


@each_cipher
@pytest.mark.parametrize("size", [1, 15, 16, 31, 32, 40])
def test_decode_symlink_without_payload_raises(cipher, size):
    if size > cipher.kind.overhead:
        return
    with pytest.raises(AuthenticationError):
        decode_symlink(Base64Url(raw=True).encode(b"\1" * size), cipher, raw64=True)


def test_decode_symlink_zero_bytes_are_no_hole():
    cipher = CIPHERS[CipherKind.AES_GCM]
    with pytest.raises(AuthenticationError):
        decode_symlink(Base64Url(raw=True).encode(bytes(3000)), cipher, raw64=True)


@pytest.mark.parametrize("stored", [b"/plain/target", b"AAA", b"A" * 43 + b"\n", b"A" * 44 + b"="])
def test_decode_symlink_not_base64_raises(stored):
    cipher = CIPHERS[CipherKind.AES_GCM]
    with pytest.raises(NameDecodeError, match="base64"):
        decode_symlink(stored, cipher, raw64=False)


def test_decode_symlink_of_the_other_padding_raises():
    cipher = CIPHERS[CipherKind.AES_GCM]
    stored = encode_symlink(b"xx", cipher, nonce_for(cipher), raw64=False)
    assert stored.endswith(b"=")
    with pytest.raises(NameDecodeError, match="base64"):
        decode_symlink(stored, cipher, raw64=True)


def test_decode_symlink_nul_in_target_raises():
    cipher = CIPHERS[CipherKind.AES_GCM]
    stored = Base64Url(raw=True).encode(cipher.seal_blob(b"a\0b", nonce_for(cipher)))
    with pytest.raises(NameDecodeError, match="NUL"):
        decode_symlink(stored, cipher, raw64=True)


@pytest.mark.parametrize("raw64", [True, False])
def test_decode_xattr_value_base64_of_old_versions_is_read(raw64):
    cipher = CIPHERS[CipherKind.AES_GCM]
    stored = Base64Url(raw64).encode(cipher.seal_blob(b"old value", nonce_for(cipher)))
    assert decode_xattr_value(stored, cipher, raw64) == b"old value"


@each_cipher
@pytest.mark.parametrize("stored", [b"\1", b"=", b"junk", b"\xff" * 50, b"A" * 64, bytes(40)])
def test_decode_xattr_value_junk_raises(cipher, stored):
    with pytest.raises(AuthenticationError):
        decode_xattr_value(stored, cipher, raw64=True)
