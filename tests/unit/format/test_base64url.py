import base64
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.format.base64url import Base64Url

RAW, PADDED = Base64Url(raw=True), Base64Url(raw=False)


def oracle(data, raw):
    text = base64.urlsafe_b64encode(data)
    return text.rstrip(b"=") if raw else text


@given(st.binary(max_size=300), st.sampled_from([RAW, PADDED]))
def test_encode_matches_the_standard_library_and_decode_undoes_it(data, codec):
    assert codec.encode(data) == oracle(data, codec.raw)
    assert codec.decode(codec.encode(data)) == data


@pytest.mark.parametrize("codec", [RAW, PADDED], ids=["raw", "padded"])
def test_decode_accepts_one_spelling_only(codec):
    # Every text of up to 5 characters from an alphabet with all kinds of trouble in it.
    accepted = 0
    for length in range(6):
        for characters in product(b"AQgw9B-_+/=\n\r !", repeat=length):
            text = bytes(characters)
            try:
                data = codec.decode(text)
            except ValueError:
                continue
            assert oracle(data, codec.raw) == text
            accepted += 1
    assert accepted > 1000


@pytest.mark.parametrize(
    "text",
    [
        b"A",
        b"AB",
        b"AAB",
        b"AA==",
        b"AAA=",
        b"AA\n",
        b"A\nA",
        b"AAAA\n",
        b"A+AA",
        b"A/AA",
        b"AA AA",
        b"AAAAA",
        b"\xff" * 4,
    ],
)
def test_decode_raw_other_spellings_raise(text):
    with pytest.raises(ValueError, match="base64"):
        RAW.decode(text)


@pytest.mark.parametrize(
    "text", [b"AA", b"AAA", b"AA=", b"AB==", b"AA==\n", b"AAAA====", b"=", b"====", b"A=A=", b"AA=A"]
)
def test_decode_padded_other_spellings_raise(text):
    with pytest.raises(ValueError, match="base64"):
        PADDED.decode(text)
