"""Names and symlink targets in C against pcvfs.format: the same bytes, and the same refusals."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from typing import Final, NamedTuple, ParamSpec

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pcvfs import spec
from pcvfs.crypto.aead import CipherKind, NativeCipher
from pcvfs.crypto.eme import NativeNameCipher
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError, NameDecodeError
from pcvfs.format import blobs
from pcvfs.format.names import NO_DIRIV, NameClass, NameCodec, pad
from pcvfs.fs.dirs import _LEFTOVER
from pcvfs.native import names as native_names
from pcvfs.native.names import CnameClass, NameFormat
from pcvfs.types import DirIV

DIRIV: Final = DirIV(bytes(range(16, 32)))


EME: Final = NativeNameCipher(Secret.from_bytes(bytes(range(32))))
CONTENT: Final = {kind: NativeCipher(kind, Secret.from_bytes(bytes(range(kind.key_size)))) for kind in CipherKind}
P = ParamSpec("P")


class Flavour(NamedTuple):
    """One volume, twice."""

    codec: NameCodec
    c: NameFormat
    diriv: DirIV


def flavour(
    *,
    plaintext: bool = False,
    raw64: bool = True,
    long_name_max: int = 255,
    has_diriv: bool = True,
    hashes_long: bool = True,
    kind: CipherKind = CipherKind.AES_GCM,
) -> Flavour:
    has_diriv = has_diriv and not plaintext
    codec = NameCodec(
        None if plaintext else EME,
        has_diriv=has_diriv,
        long_name_max=long_name_max,
        raw64=raw64,
        hash_long_names=hashes_long,
    )
    c = NameFormat(
        None if plaintext else EME.eme,
        CONTENT[kind].aead,
        kind.nonce_size,
        has_diriv=has_diriv,
        is_raw64=raw64,
        hashes_long=hashes_long,
        long_name_max=long_name_max,
    )
    return Flavour(codec, c, DIRIV if has_diriv else NO_DIRIV)


ENCRYPTED: Final = [
    flavour(raw64=raw64, long_name_max=long_name_max, has_diriv=has_diriv, hashes_long=hashes_long)
    for raw64, long_name_max, has_diriv, hashes_long in itertools.product(
        (True, False), (62, 64, 255), (True, False), (True, False)
    )
]
PLAINTEXT: Final = [flavour(plaintext=True), flavour(plaintext=True, hashes_long=False)]
PADDED_AND_RAW: Final = [flavour(raw64=True), flavour(raw64=False)]

flavours = st.sampled_from([*ENCRYPTED, *PLAINTEXT])
encrypted_flavours = st.sampled_from(ENCRYPTED)


def result(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> object:
    """What a call returns, or the errno that its exception stands for."""
    try:
        return call(*args, **kwargs)
    except OSError as exc:
        return exc.errno
    except (NameDecodeError, AuthenticationError):
        return errno.EBADMSG
    except ValueError:
        return errno.EINVAL


def check_encode(volume: Flavour, name: bytes) -> None:
    expected = result(volume.codec.encode, name, volume.diriv)
    assert result(volume.c.encode, name, volume.diriv) == expected


def check_decode(volume: Flavour, full_cname: bytes) -> object:
    expected = result(volume.codec.decode, full_cname, volume.diriv)
    assert result(volume.c.decode, full_cname, volume.diriv) == expected
    return expected


def full_cname_of(volume: Flavour, padded: bytes) -> bytes:
    """The base64 text of what decrypts to ``padded``."""
    return volume.codec.base64.encode(EME.encrypt(volume.diriv, padded))


@st.composite
def damaged(draw: st.DrawFn, text: bytes, most: int) -> bytes:
    """A text with a few characters changed, taken out or put in; ``most`` bytes at most."""
    for _ in range(draw(st.integers(1, 2))):
        # Mostly at the end, where padding and stray bits are.
        start = draw(st.sampled_from([0, len(text) - 4, len(text) - 2, len(text) - 1, len(text)]))
        start = max(0, start if draw(st.booleans()) else draw(st.integers(0, len(text))))
        removed = draw(st.sampled_from([0, 1, 1, 2, 4]))
        added = draw(st.one_of(st.text("AQgw9z-_=+/\n ", max_size=4).map(str.encode), st.binary(max_size=2)))
        text = text[:start] + added + text[start + removed :]
    return text[:most]


def test_numbers_are_those_of_python() -> None:
    assert native_names.NAME_MAX == spec.NAME_MAX
    assert native_names.FULL_CNAME_MAX == spec.LONG_NAME_FILE_MAX
    assert native_names.TARGET_MAX == spec.SYMLINK_TARGET_MAX


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volume", [*ENCRYPTED, *PLAINTEXT])
def test_names_of_every_length(volume: Flavour) -> None:
    for size in range(258):
        name = bytes(97 + i % 26 for i in range(size))
        check_encode(volume, name)
        if 0 < size < 256 and not volume.codec.is_plaintext:
            assert check_decode(volume, full_cname_of(volume, pad(name))) == name
        else:
            check_decode(volume, name)


@given(flavours, st.one_of(st.binary(max_size=260), st.text("./\0a", max_size=4).map(str.encode)))
@example(ENCRYPTED[0], b"..")
@example(PLAINTEXT[0], b"gocryptfs.conf")
def test_encode(volume: Flavour, name: bytes) -> None:
    check_encode(volume, name)


@given(flavours, st.binary(min_size=1, max_size=255), st.data())
def test_decode_of_damaged_names(volume: Flavour, name: bytes, data: st.DataObject) -> None:
    full_cname = name if volume.codec.is_plaintext else full_cname_of(volume, pad(name))
    check_decode(volume, full_cname)
    check_decode(volume, data.draw(damaged(full_cname, 1000)))


@pytest.mark.parametrize("volume", ENCRYPTED)
@pytest.mark.parametrize("size", [1, 16, 32])  # base64 that ends in two, three and four digits
def test_name_has_one_spelling(volume: Flavour, size: int) -> None:
    digits = full_cname_of(volume, pad(b"x" * size)).rstrip(b"=")
    for last in range(256):
        for padding in range(5):
            full_cname = digits[:-1] + bytes([last]) + b"=" * padding
            is_accepted = check_decode(volume, full_cname) == b"x" * size
            assert is_accepted == (full_cname == full_cname_of(volume, pad(b"x" * size)))


@given(flavours, st.one_of(st.binary(max_size=400), st.text("AQgw9z-_=", max_size=400).map(str.encode)))
def test_decode_of_anything(volume: Flavour, full_cname: bytes) -> None:
    check_decode(volume, full_cname)


@given(
    encrypted_flavours,
    st.integers(1, 17),
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from([0, 1, 2, 15, 16, 17, 0x2F, 0xFF])), max_size=4),
    st.integers(0, 18),
)
def test_decode_of_names_with_any_padding(
    volume: Flavour, blocks: int, changes: list[tuple[int, int]], fill: int
) -> None:
    padded = bytearray(b"x" * (blocks * 16))
    padded[len(padded) - min(fill, len(padded)) :] = bytes([fill]) * min(fill, len(padded))
    for from_end, value in changes:
        if from_end <= len(padded):
            padded[-from_end] = value
    check_decode(volume, full_cname_of(volume, bytes(padded)))


@given(encrypted_flavours, st.one_of(st.binary(max_size=15), st.sampled_from([b".", b"..", b"/", b"a\0"])))
def test_decode_of_names_that_may_be_illegal(volume: Flavour, name: bytes) -> None:
    assert check_decode(volume, full_cname_of(volume, pad(name))) in (name, errno.EBADMSG)


@pytest.mark.parametrize("has_diriv", [True, False])
def test_diriv_of_the_other_kind_is_an_error(has_diriv: bool) -> None:
    volume = flavour(has_diriv=has_diriv)
    other = NO_DIRIV if has_diriv else DIRIV
    full_cname, _ = volume.c.encode(b"name", volume.diriv)
    assert result(volume.c.encode, b"name", other) == errno.EIO
    assert result(volume.c.decode, full_cname, other) == errno.EIO


# --- what is not somebody's file --------------------------------------------------------------------------------


def class_in_python(codec: NameCodec, cname: bytes, is_root: bool) -> CnameClass:
    """What pcvfs.fs.dirs takes an entry for."""
    if cname == spec.CONFIG_NAME and is_root:
        return CnameClass.RESERVED
    if codec.is_plaintext:
        return CnameClass.PLAIN
    if cname == spec.DIRIV_NAME and codec.has_diriv:
        return CnameClass.RESERVED
    match codec.classify(cname):
        case NameClass.LONG_CONTENT:
            return CnameClass.LONG
        case NameClass.LONG_SIDECAR:
            return CnameClass.SIDECAR
        case NameClass.NORMAL:
            return CnameClass.LEFTOVER if _LEFTOVER.match(cname) else CnameClass.PLAIN


FRAGMENTS: Final = [
    *(b"gocryptfs.", b".name", b"name", b"0", b"123", b"x", b".", b"\n", b"\xff"),
    *(spec.CONFIG_NAME, spec.DIRIV_NAME, spec.LONG_NAME_PREFIX, spec.DIRIV_RMDIR_PREFIX, spec.DIRIV_MKDIR_PREFIX),
]


@pytest.mark.parametrize("is_root", [True, False])
@pytest.mark.parametrize("volume", [*ENCRYPTED, *PLAINTEXT])
def test_classify(volume: Flavour, is_root: bool) -> None:
    found = set()
    for count in range(4):
        for fragments in itertools.product(FRAGMENTS, repeat=count):
            cname = b"".join(fragments)
            expected = class_in_python(volume.codec, cname, is_root)
            assert volume.c.classify(cname, is_root=is_root) is expected, cname
            found.add(expected)
    if volume.codec.has_diriv and volume.codec.hash_long_names:
        assert found == set(CnameClass)


# --- symlink targets --------------------------------------------------------------------------------------------

kinds = st.sampled_from(list(CipherKind))
targets = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda size, byte: bytes([byte]) * size, st.integers(2900, 4100), st.integers(1, 255)),
).map(lambda target: target.replace(b"\0", b"/"))


@given(kinds, st.booleans(), targets)
@example(CipherKind.AES_GCM, True, b"x" * 3039)
@example(CipherKind.AES_GCM, True, b"x" * 3040)
@example(CipherKind.XCHACHA20_POLY1305, False, b"x" * 3029)
@example(CipherKind.XCHACHA20_POLY1305, False, b"x" * 3030)
def test_targets_both_ways(kind: CipherKind, raw64: bool, target: bytes) -> None:
    cipher, c = CONTENT[kind], flavour(raw64=raw64, kind=kind).c
    by_python = result(blobs.encode_symlink, target, cipher, b"n" * kind.nonce_size, raw64)
    by_c = result(c.encode_target, target)
    if isinstance(by_python, bytes):
        assert isinstance(by_c, bytes)
        assert len(by_c) == len(by_python)
        assert blobs.decode_symlink(by_c, cipher, raw64) == target
        assert c.decode_target(by_python) == target
    else:
        assert by_c == by_python == errno.ENAMETOOLONG


@given(kinds, st.booleans(), st.binary(max_size=100), st.data())
def test_decode_of_damaged_targets(kind: CipherKind, raw64: bool, target: bytes, data: st.DataObject) -> None:
    cipher, c = CONTENT[kind], flavour(raw64=raw64, kind=kind).c
    stored = blobs.encode_symlink(target, cipher, b"n" * kind.nonce_size, raw64)
    for text in (stored, data.draw(damaged(stored, spec.SYMLINK_TARGET_MAX))):
        expected = result(blobs.decode_symlink, text, cipher, raw64)
        assert result(c.decode_target, text) == expected


@given(targets)
def test_targets_with_plaintext_names_are_stored_as_they_are(target: bytes) -> None:
    c = PLAINTEXT[0].c
    if len(target) > spec.SYMLINK_TARGET_MAX:
        assert result(c.encode_target, target) == errno.ENAMETOOLONG
        assert result(c.decode_target, target) == errno.EBADMSG
    else:
        assert c.encode_target(target) == c.decode_target(target) == target


def test_encode_target_with_a_nul_is_refused() -> None:
    for volume in (*PADDED_AND_RAW, *PLAINTEXT):
        assert result(volume.c.encode_target, b"a\0b") == errno.EINVAL


def test_encode_target_uses_fresh_nonces() -> None:
    c = PADDED_AND_RAW[0].c
    assert len({c.encode_target(b"target") for _ in range(100)}) == 100
