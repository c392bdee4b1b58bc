import errno
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs import spec
from pcvfs.errors import FormatError, NameDecodeError
from pcvfs.format.names import (
    NO_DIRIV,
    NameClass,
    NameCodec,
    StoredName,
    check_plain_name,
    classify,
    decode_diriv,
    is_legal_name,
    pad,
    sidecar_name,
    unpad,
)
from pcvfs.types import DirIV

DIRIV = DirIV(bytes(range(16, 32)))
ILLEGAL = [b"", b".", b"..", b"a/b", b"/", b"a\0", b"\0", b"x" * 256]

legal_names = st.binary(min_size=1, max_size=255).filter(is_legal_name)


def codec_of(eme, *, long_name_max=0, raw64=True, has_diriv=True, hash_long_names=True):
    return NameCodec(
        eme, has_diriv=has_diriv, long_name_max=long_name_max, raw64=raw64, hash_long_names=hash_long_names
    )


def plaintext_codec():
    return NameCodec(None, has_diriv=False, long_name_max=0, raw64=False)


# --- vectors ------------------------------------------------------------------------------------------------------


def test_encode_matches_vector(eme, name_vector):
    codec = codec_of(eme, long_name_max=name_vector["longnamemax"], raw64=name_vector["raw64"])
    diriv = DirIV(bytes.fromhex(name_vector["diriv_hex"]))
    full, on_disk = name_vector["encrypted"].encode(), name_vector["on_disk"].encode()
    stored = codec.encode(name_vector["plain"].encode(), diriv)
    assert stored == StoredName(on_disk, None if full == on_disk else full)
    assert codec.decode(full, diriv) == name_vector["plain"].encode()


# --- round trips --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw64", [True, False], ids=["raw", "padded"])
@pytest.mark.parametrize("long_name_max", [0, 30, 62, 100, 255])
def test_names_of_every_length_round_trip(eme, raw64, long_name_max):
    codec = codec_of(eme, raw64=raw64, long_name_max=long_name_max)
    rng = random.Random(7)
    names = [bytes(rng.choice(b"abcXYZ \xc3\xa9\xff\n") for _ in range(length)) for length in range(1, 256)]
    stored = codec.encode_many(names, DIRIV)
    assert stored == [codec.encode(name, DIRIV) for name in names]
    for name, entry in zip(names, stored, strict=True):
        full = entry.long_name or entry.cname
        blocks = len(name) // 16 + 1
        assert len(full) == (-(-blocks * 64 // 3) if raw64 else -(-blocks * 16 // 3) * 4)
        assert (entry.long_name is not None) == (len(full) > (long_name_max or 255))
        assert len(entry.cname) <= 255
        if entry.long_name:
            assert codec.classify(entry.cname) is NameClass.LONG_CONTENT
            assert len(entry.cname) == (62 if raw64 else 63)
        assert codec.decode(full, DIRIV) == name
    assert codec.decode_many([entry.long_name or entry.cname for entry in stored], DIRIV) == names


@given(legal_names)
def test_any_legal_name_round_trips(eme, name):
    codec = codec_of(eme)
    stored = codec.encode(name, DIRIV)
    assert codec.decode(stored.long_name or stored.cname, DIRIV) == name


def test_encode_without_diriv_is_deterministic_and_depends_on_nothing_else(eme):
    codec = codec_of(eme, has_diriv=False)
    assert codec.encode(b"name", NO_DIRIV) == codec.encode(b"name", NO_DIRIV)
    assert codec.encode(b"name", NO_DIRIV) != codec_of(eme).encode(b"name", DIRIV)


@pytest.mark.parametrize(("has_diriv", "diriv"), [(True, NO_DIRIV), (False, DIRIV), (True, b"short"), (False, b"")])
def test_codec_diriv_of_the_other_kind_raises(eme, has_diriv, diriv):
    codec = codec_of(eme, has_diriv=has_diriv)
    for call in (codec.encode, codec.decode):
        with pytest.raises(ValueError, match="directory IV"):
            call(b"name", diriv)


@pytest.mark.parametrize("long_name_max", [-1, 256])
def test_codec_long_name_max_out_of_range_raises(eme, long_name_max):
    with pytest.raises(ValueError, match="long_name_max"):
        codec_of(eme, long_name_max=long_name_max)


# --- long names ---------------------------------------------------------------------------------------------------


def test_encode_default_maximum_hashes_from_176_bytes(eme):
    codec = codec_of(eme)
    assert codec.encode(b"x" * 175, DIRIV).long_name is None
    assert codec.encode(b"x" * 176, DIRIV).long_name is not None


@pytest.mark.parametrize(("long_name_max", "longest"), [(100, 63), (62, 31), (30, 15)])
def test_encode_lower_maximum_hashes_earlier(eme, long_name_max, longest):
    codec = codec_of(eme, long_name_max=long_name_max)
    assert codec.encode(b"x" * longest, DIRIV).long_name is None
    assert codec.encode(b"x" * (longest + 1), DIRIV).long_name is not None


def test_hashed_is_base64_of_sha256_of_the_full_name(eme):
    digest = hashlib.sha256(b"abc").digest()
    codec = codec_of(eme)
    assert codec.hashed(b"abc") == b"gocryptfs.longname." + codec.base64.encode(digest)


def test_encode_without_hashing_names_that_do_not_fit_raise_enametoolong(eme):
    codec = codec_of(eme, long_name_max=62, hash_long_names=False)
    assert codec.encode(b"x" * 175, DIRIV).long_name is None
    with pytest.raises(OSError, match="too long") as caught:
        codec.encode(b"x" * 176, DIRIV)
    assert caught.value.errno == errno.ENAMETOOLONG
    assert codec.classify(b"gocryptfs.longname.abc") is NameClass.NORMAL


@pytest.mark.parametrize(
    ("cname", "expected"),
    [
        (b"gocryptfs.longname.abc", NameClass.LONG_CONTENT),
        (b"gocryptfs.longname.abc.name", NameClass.LONG_SIDECAR),
        (b"gocryptfs.longname.", NameClass.LONG_CONTENT),
        (b"gocryptfs.longname..name", NameClass.LONG_SIDECAR),
        (b"gocryptfs.longname", NameClass.NORMAL),
        (b"gocryptfs.diriv", NameClass.NORMAL),
        (b"abc.name", NameClass.NORMAL),
    ],
)
def test_classify_goes_by_prefix_and_suffix(cname, expected):
    assert classify(cname) is expected


def test_sidecar_name_appends_the_suffix():
    assert sidecar_name(b"gocryptfs.longname.abc") == b"gocryptfs.longname.abc.name"


# --- illegal names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ILLEGAL)
def test_encode_illegal_name_raises(eme, name):
    for codec, diriv in ((codec_of(eme), DIRIV), (plaintext_codec(), NO_DIRIV)):
        for call in (lambda: codec.encode(name, diriv), lambda: codec.encode_many([b"ok", name], diriv)):  # noqa: B023
            with pytest.raises((ValueError, OSError)) as caught:
                call()
            if len(name) > 255:
                assert caught.value.errno == errno.ENAMETOOLONG
            else:
                assert isinstance(caught.value, ValueError)


def test_check_plain_name_accepts_what_only_looks_special():
    for name in (b"...", b".x", b"gocryptfs.conf", b"gocryptfs.longname.x", b"gocryptfs.diriv", b" ", b"\n", b"\xff"):
        check_plain_name(name)


@pytest.mark.parametrize("name", ILLEGAL)
def test_decode_name_that_decrypts_to_an_illegal_one_raises(eme, name):
    cname = codec_of(eme).base64.encode(eme.encrypt(DIRIV, pad(name)))
    codec = codec_of(eme)
    with pytest.raises(NameDecodeError):
        codec.decode(cname, DIRIV)
    assert codec.decode_many([cname], DIRIV) == [None]


@pytest.mark.parametrize(
    "padded", [bytes(16), b"a" * 15 + b"\x11", b"a" * 15 + b"\2", b"\x10" * 16, b"ab" * 7 + b"\1\2"]
)
def test_decode_bad_padding_raises(eme, padded):
    codec = codec_of(eme)
    cname = codec.base64.encode(eme.encrypt(DIRIV, padded))
    with pytest.raises(NameDecodeError, match="padding"):
        codec.decode(cname, DIRIV)
    assert codec.decode_many([cname], DIRIV) == [None]


@pytest.mark.parametrize(
    "cname", [b"", b"AAAA", b"A" * 21, b"A" * 23, b"gocryptfs.conf", b"gocryptfs.diriv", b"\xff" * 22]
)
def test_decode_not_an_encrypted_name_raises(eme, cname):
    with pytest.raises(NameDecodeError):
        codec_of(eme).decode(cname, DIRIV)
    assert codec_of(eme).decode_many([cname], DIRIV) == [None]


def test_decode_oversized_name_raises_without_decrypting(eme):
    codec = codec_of(eme)
    for size in (272, 2048, 4096):
        with pytest.raises(NameDecodeError, match="blocks"):
            codec.decode(codec.base64.encode(bytes(size)), DIRIV)


@given(legal_names, st.data())
def test_decode_mutated_name_gives_an_error_or_the_one_name_that_encodes_to_it(eme, name, data):
    raw64 = data.draw(st.booleans())
    codec = codec_of(eme, raw64=raw64)
    stored = codec.encode(name, DIRIV)
    cname = bytearray(stored.long_name or stored.cname)
    position = data.draw(st.integers(0, len(cname) - 1))
    junk = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"=", b"\n", b"A", b"Q", b"w", b"_", b"/"])))
    cname[position : position + data.draw(st.integers(0, 2))] = junk
    mutated = bytes(cname)
    try:
        decoded = codec.decode(mutated, DIRIV)
    except NameDecodeError:
        assert codec.decode_many([mutated], DIRIV) == [None]
        return
    assert is_legal_name(decoded)
    assert codec.decode_many([mutated], DIRIV) == [decoded]
    again = codec.encode(decoded, DIRIV)
    assert (again.long_name or again.cname) == mutated


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_decode_many_agrees_with_decode(eme, junk):
    codec = codec_of(eme)
    cnames = [*junk, codec.encode(b"good", DIRIV).cname, *junk]
    expected = []
    for cname in cnames:
        try:
            expected.append(codec.decode(cname, DIRIV))
        except NameDecodeError:
            expected.append(None)
    assert codec.decode_many(cnames, DIRIV) == expected
    assert expected[len(junk)] == b"good"


# --- padding ------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=255))
def test_unpad_undoes_pad(name):
    padded = pad(name)
    assert len(padded) % 16 == 0
    assert 1 <= len(padded) - len(name) <= 16
    assert unpad(padded) == name


def test_pad_whole_blocks_gain_a_block():
    assert pad(b"x" * 16) == b"x" * 16 + b"\x10" * 16


@pytest.mark.parametrize("padded", [b"", bytes(16), b"a" * 15 + b"\x11", b"\x10" * 16, b"a" * 14 + b"\1\2", b"\1"])
def test_unpad_not_padding_raises(padded):
    with pytest.raises(NameDecodeError):
        unpad(padded)


# --- plaintext names ----------------------------------------------------------------------------------------------


def test_plaintext_codec_passes_names_through():
    codec = plaintext_codec()
    names = [b"a", b"gocryptfs.longname.x", b"gocryptfs.diriv", b"\xff" * 255]
    assert codec.is_plaintext
    assert codec.encode_many(names, NO_DIRIV) == [StoredName(name, None) for name in names]
    assert codec.decode_many([*names, b"a/b"], NO_DIRIV) == [*names, None]
    assert [codec.decode(name, NO_DIRIV) for name in names] == names
    assert codec.classify(b"gocryptfs.longname.x") is NameClass.NORMAL
    with pytest.raises(NameDecodeError):
        codec.decode(b"..", NO_DIRIV)
    with pytest.raises(ValueError, match="plaintext"):
        codec.encrypt_many(names, NO_DIRIV)


def test_plaintext_codec_with_directory_ivs_raises():
    with pytest.raises(ValueError, match="plaintext"):
        NameCodec(None, has_diriv=True, long_name_max=0, raw64=False)


# --- directory IV -------------------------------------------------------------------------------------------------


def test_decode_diriv_returns_16_bytes():
    assert decode_diriv(bytes(DIRIV)) == DIRIV


@pytest.mark.parametrize("data", [b"", bytes(15), b"x" * 17, bytes(16)])
def test_decode_diriv_unusable_raises(data):
    with pytest.raises(FormatError, match="directory IV"):
        decode_diriv(data)


def test_spec_zero_diriv_is_no_diriv():
    assert NO_DIRIV == spec.ZERO_DIRIV
