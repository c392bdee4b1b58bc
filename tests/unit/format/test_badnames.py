import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.errors import NameDecodeError, UsageError
from pcvfs.format.badnames import BADNAME_SUFFIX, BadNames, is_badname
from pcvfs.format.names import NameClass, NameCodec, pad
from pcvfs.spec import CONFIG_NAME, DIRIV_NAME
from pcvfs.types import DirIV

DIRIV = DirIV(bytes(range(16, 32)))
SUFFIX = b" GOCRYPTFS_BAD_NAME"


def codec_of(eme, *, long_name_max=0, raw64=True, hash_long_names=True):
    return NameCodec(eme, has_diriv=True, long_name_max=long_name_max, raw64=raw64, hash_long_names=hash_long_names)


def bad_names_of(eme, *patterns, **options):
    return BadNames(codec_of(eme, **options), patterns or [b"*"])


def test_suffix_is_that_of_the_original():
    assert BADNAME_SUFFIX == SUFFIX
    assert is_badname(b"x" + SUFFIX)
    assert not is_badname(SUFFIX + b"x")


@pytest.mark.parametrize("raw64", [True, False], ids=["raw", "padded"])
@pytest.mark.parametrize("name", [b"a", b"file.txt", b"x" * 15, b"y" * 40])
@pytest.mark.parametrize("rest", [b".sync-conflict-2024", b" (1)", b"A", b"~"])
def test_decode_shows_the_decryptable_prefix_and_the_rest(eme, raw64, name, rest):
    bad = bad_names_of(eme, raw64=raw64)
    cname = codec_of(eme, raw64=raw64).encode(name, DIRIV).cname + rest
    assert bad.decode(cname, DIRIV) == name + rest + SUFFIX
    assert cname in bad.candidates(name + rest + SUFFIX, DIRIV, is_root=True)


def test_decode_takes_the_longest_prefix(eme):
    codec = codec_of(eme)
    name = b"two blocks of name 007884"  # chosen so that the first 22 of its 43 characters decrypt as well
    cname = codec.encode(name, DIRIV).cname
    assert codec.decode(cname[:22], DIRIV)
    bad = bad_names_of(eme)
    assert bad.decode(cname + b".x", DIRIV) == name + b".x" + SUFFIX
    # The shorter prefix would show the same entry under another name, which must not lead to it.
    other = codec.decode(cname[:22], DIRIV) + cname[22:] + b".x" + SUFFIX
    assert cname + b".x" not in bad.candidates(other, DIRIV, is_root=False)


@pytest.mark.parametrize("cname", [b"garbage", b"gocryptfs.diriv.rmdir.123", b"\xff\xfe", b"A" * 21, b"A" * 22])
def test_decode_without_decryptable_prefix_shows_the_name_on_disk(eme, cname):
    bad = bad_names_of(eme)
    assert bad.decode(cname, DIRIV) == cname + SUFFIX
    assert bad.candidates(cname + SUFFIX, DIRIV, is_root=False)[0] == cname


def test_decode_name_that_decrypts_to_an_illegal_one_is_shown_as_on_disk(eme):
    codec = codec_of(eme)
    cname = codec.base64.encode(eme.encrypt(DIRIV, pad(b"a/b")))
    assert bad_names_of(eme).decode(cname, DIRIV) == cname + SUFFIX


@pytest.mark.parametrize("full_cname", [b"a\0b", b"x" * 237, b"x" * 344])
def test_decode_what_can_not_be_a_name_raises(eme, full_cname):
    with pytest.raises(NameDecodeError, match="can't be shown"):
        bad_names_of(eme).decode(full_cname, DIRIV)


def test_decode_slash_from_a_sidecar_raises(eme):
    with pytest.raises(NameDecodeError, match="can't be shown"):
        bad_names_of(eme, b"a/*").decode(b"a/b", DIRIV)


def test_decode_without_matching_pattern_raises(eme):
    bad = bad_names_of(eme, b"*.conflict", b"x?")
    assert bad.decode(b"1.conflict", DIRIV) == b"1.conflict" + SUFFIX
    assert bad.decode(b"xy", DIRIV) == b"xy" + SUFFIX
    with pytest.raises(NameDecodeError, match="no pattern"):
        bad.decode(b"xyz", DIRIV)
    assert bad.candidates(b"xyz" + SUFFIX, DIRIV, is_root=False) == []


def test_candidates_bad_long_name_is_found_by_its_hash(eme):
    codec = codec_of(eme, long_name_max=62)
    bad = bad_names_of(eme, long_name_max=62)
    full_cname = codec.encrypt_many([b"n" * 50], DIRIV)[0] + b".bak"
    shown = bad.decode(full_cname, DIRIV)
    assert shown == b"n" * 50 + b".bak" + SUFFIX
    # Stored under its own name by a sync program, or hashed with a sidecar: either may exist.
    found = bad.candidates(shown, DIRIV, is_root=False)
    assert full_cname in found
    assert codec.hashed(full_cname) in found


def test_candidates_name_too_long_for_a_directory_entry_is_found_by_its_hash_alone(eme):
    codec, bad = codec_of(eme), bad_names_of(eme)
    full_cname = codec.encrypt_many([b"n" * 180], DIRIV)[0] + b".bak"
    assert len(full_cname) > 255
    shown = bad.decode(full_cname, DIRIV)
    found = bad.candidates(shown, DIRIV, is_root=False)
    assert codec.hashed(full_cname) in found
    assert all(len(cname) <= 255 for cname in found)
    assert codec.hashed(full_cname) not in bad_names_of(eme, hash_long_names=False).candidates(
        shown, DIRIV, is_root=False
    )


@pytest.mark.parametrize("is_root", [True, False])
@pytest.mark.parametrize(
    "stem", [b"gocryptfs.diriv", b".", b"..", b"", b"gocryptfs.longname.x", b"gocryptfs.longname.x.name"]
)
def test_candidates_never_reach_what_the_volume_is_made_of(eme, stem, is_root):
    assert stem not in bad_names_of(eme).candidates(stem + SUFFIX, DIRIV, is_root=is_root)


def test_candidates_config_is_out_of_reach_in_the_root_alone(eme):
    bad = bad_names_of(eme)
    name = b"gocryptfs.conf" + SUFFIX
    assert b"gocryptfs.conf" not in bad.candidates(name, DIRIV, is_root=True)
    assert b"gocryptfs.conf" in bad.candidates(name, DIRIV, is_root=False)


@pytest.mark.parametrize("name", [b"x", b"GOCRYPTFS_BAD_NAME", b"a/b" + SUFFIX, b"a\0" + SUFFIX, b"x" * 256 + SUFFIX])
def test_candidates_of_other_names_are_none(eme, name):
    assert bad_names_of(eme).candidates(name, DIRIV, is_root=False) == []


def test_candidates_do_not_include_names_that_decrypt(eme):
    # "plain + suffix" could be read as the encryption of "plain" with nothing behind it; that entry is not bad.
    good = codec_of(eme).encode(b"plain", DIRIV).cname
    assert good not in bad_names_of(eme).candidates(b"plain" + SUFFIX, DIRIV, is_root=False)


@given(st.binary(min_size=1, max_size=120), st.booleans())
def test_whatever_is_shown_leads_back(eme, full_cname, with_prefix):
    codec, bad = codec_of(eme, long_name_max=100), bad_names_of(eme, long_name_max=100)
    if with_prefix:
        full_cname = codec.encode(b"some name", DIRIV).cname + full_cname
    if codec.decode_many([full_cname], DIRIV) != [None] or full_cname in (DIRIV_NAME, CONFIG_NAME):
        return  # not a bad name: it decrypts, or is never listed
    try:
        shown = bad.decode(full_cname, DIRIV)
    except NameDecodeError:
        return
    found = bad.candidates(shown, DIRIV, is_root=True)
    if full_cname in (b".", b"..") or codec.classify(full_cname) is not NameClass.NORMAL:
        assert full_cname not in found
    else:
        assert full_cname in found


def test_bad_names_of_plaintext_names_raises():
    with pytest.raises(ValueError, match="plaintext"):
        BadNames(NameCodec(None, has_diriv=False, long_name_max=0, raw64=False), [b"*"])


# --- patterns: expected results of Go's path/filepath.Match ---------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (b"abc", b"abc", True),
        (b"abc", b"abcd", False),
        (b"*", b"", True),
        (b"*", b"a\nb", True),
        (b"*", b"a/b", False),
        (b"?", b"/", False),
        (b"a*b*c", b"a12b34c", True),
        (b"?", "é".encode(), True),
        (b"?", b"\xff", True),
        (b"[a-c]x", b"bx", True),
        (b"[^a-c]x", b"bx", False),
        (b"[!a]", b"a", True),  # no negation in Go
        (b"[!a]", b"b", False),
        (b"[a-c0-9]", b"5", True),
        (b"[c-a]", b"b", False),
        (b"[^c-a]", b"b", True),
        (b"[\\]]", b"]", True),
        (b"[\\-x]", b"-", True),
        (b"[a^]", b"^", True),
        (b"[[]", b"[", True),
        (b"\\*", b"*", True),
        (b"\\*", b"x", False),
        (b"a]", b"a]", True),
        (b"a.c", b"abc", False),
        (b"(a|b)", b"a", False),
        ("[ä-ü]".encode(), "ö".encode(), True),
    ],
)
def test_pattern_matches_as_in_go(eme, pattern, text, expected):
    assert bad_names_of(eme, pattern).matches(text) is expected


@pytest.mark.parametrize(
    "pattern", [b"[", b"[]", b"[]a]", b"[^]", b"[a", b"[a-", b"[a-]", b"[-a]", b"[-]", b"x\\", b"[\\", b"[a-b-c]"]
)
def test_pattern_syntax_error_raises(eme, pattern):
    with pytest.raises(UsageError, match="syntax error"):
        bad_names_of(eme, pattern)
