import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.format.blocks import OFFSET_MAX, BlockLayout

GCM, XCHACHA = BlockLayout(32), BlockLayout(40)
LAYOUTS = pytest.mark.parametrize("layout", [GCM, XCHACHA], ids=["gcm", "xchacha"])
layouts = st.sampled_from([GCM, XCHACHA])
sizes = st.integers(0, 50_000)


def naive_blocks(plain_size, overhead):
    """(plain start, plain end, cipher start, cipher end) of each block, by laying one after the other."""
    blocks = []
    plain, cipher = 0, 18
    while plain < plain_size:
        payload = min(4096, plain_size - plain)
        blocks.append((plain, plain + payload, cipher, cipher + overhead + payload))
        plain += payload
        cipher += overhead + payload
    return blocks


@pytest.mark.parametrize(("group", "layout"), [("gcm_siv", GCM), ("xchacha", XCHACHA)])
def test_sizes_match_vectors(primitives, group, layout):
    for plain_size, cipher_size in primitives["sizes"][group]:
        assert layout.plain_to_cipher_size(plain_size) == cipher_size
        assert layout.cipher_to_plain_size(cipher_size) == plain_size
        assert layout.is_regular_size(cipher_size)


@given(layouts, sizes)
def test_plain_to_cipher_size_is_end_of_last_block(layout, plain_size):
    blocks = naive_blocks(plain_size, layout.overhead)
    assert layout.plain_to_cipher_size(plain_size) == (blocks[-1][3] if blocks else 0)


@given(layouts, sizes)
def test_cipher_to_plain_size_undoes_plain_to_cipher_size(layout, plain_size):
    assert layout.cipher_to_plain_size(layout.plain_to_cipher_size(plain_size)) == plain_size


@LAYOUTS
def test_cipher_to_plain_size_irregular_sizes_are_rounded_as_documented(layout):
    stride = 4096 + layout.overhead
    for cipher_size in range(1, 19):  # nothing but (a part of) the header
        assert layout.cipher_to_plain_size(cipher_size) == 0
        assert not layout.is_regular_size(cipher_size)
    for blocks in (0, 1, 7):
        for last in range(1, layout.overhead + 1):  # a last block without payload counts as one byte
            cipher_size = 18 + blocks * stride + last
            assert layout.cipher_to_plain_size(cipher_size) == blocks * 4096 + 1
            assert not layout.is_regular_size(cipher_size)
        assert layout.is_regular_size(18 + blocks * stride + layout.overhead + 1)


@given(layouts, st.integers(0, 100_000))
def test_cipher_to_plain_size_never_decreases(layout, cipher_size):
    assert layout.cipher_to_plain_size(cipher_size) <= layout.cipher_to_plain_size(cipher_size + 1)


@given(layouts, st.integers(0, 20_000), st.integers(1, 20_000))
def test_span_covers_the_range_and_no_block_more(layout, plain_off, length):
    blocks = naive_blocks(plain_off + length, layout.overhead)
    touched = [number for number, block in enumerate(blocks) if block[1] > plain_off]
    span = layout.span(plain_off, length)
    assert (span.first_block, span.last_block) == (touched[0], touched[-1])
    assert span.block_count == len(touched)
    assert span.cipher_off == blocks[touched[0]][2]
    assert span.cipher_off + span.cipher_len == blocks[touched[-1]][2] + layout.cipher_block_size
    assert span.skip == plain_off - blocks[touched[0]][0]


@given(layouts, st.integers(0, 40_000))
def test_block_of_agrees_with_offsets_of_block(layout, plain_off):
    number = layout.block_of(plain_off)
    assert layout.plain_off_of_block(number) <= plain_off < layout.plain_off_of_block(number + 1)
    assert layout.cipher_off_of_block(number) == naive_blocks(plain_off + 1, layout.overhead)[-1][2]


@given(layouts, st.integers(0, 40_000))
def test_block_of_cipher_off_finds_the_block_that_holds_the_byte(layout, cipher_off):
    number = layout.block_of_cipher_off(cipher_off)
    assert cipher_off < layout.cipher_off_of_block(number + 1)
    assert number == 0 or layout.cipher_off_of_block(number) <= cipher_off


@given(layouts, st.integers(0, 40_000))
def test_first_block_from_cipher_off_is_the_next_block_start(layout, cipher_off):
    number = layout.first_block_from_cipher_off(cipher_off)
    assert number == 0 or layout.cipher_off_of_block(number) >= cipher_off
    assert number == 0 or layout.cipher_off_of_block(number - 1) < cipher_off


@LAYOUTS
def test_plain_size_max_is_the_last_size_that_int64_can_express(layout):
    limit = layout.plain_size_max
    assert limit % 4096 == 0
    assert (
        layout.plain_to_cipher_size(limit) <= OFFSET_MAX < layout.plain_to_cipher_size(limit) + 4096 + layout.overhead
    )
    assert layout.span(limit - 1, 1).block_count == 1


@LAYOUTS
def test_offsets_beyond_int64_raise_efbig(layout):
    limit = layout.plain_size_max
    calls = [
        lambda: layout.plain_to_cipher_size(limit + 1),
        lambda: layout.plain_to_cipher_size(OFFSET_MAX),
        lambda: layout.block_of(limit),
        lambda: layout.span(limit - 1, 2),
        lambda: layout.span(OFFSET_MAX, 1 << 62),
        lambda: layout.cipher_off_of_block(1 << 62),
        lambda: layout.plain_off_of_block(1 << 62),
    ]
    for call in calls:
        with pytest.raises(OSError, match="too large") as caught:
            call()
        assert caught.value.errno == errno.EFBIG


def test_sizes_of_any_backing_file_are_answered():
    # A sparse backing file may have any size up to int64; showing it must not fail.
    assert GCM.cipher_to_plain_size(OFFSET_MAX) > GCM.plain_size_max
    assert isinstance(GCM.is_regular_size(OFFSET_MAX), bool)


@pytest.mark.parametrize(
    "call",
    [
        lambda: GCM.plain_to_cipher_size(-1),
        lambda: GCM.cipher_to_plain_size(-1),
        lambda: GCM.block_of(-1),
        lambda: GCM.cipher_off_of_block(-1),
        lambda: GCM.block_of_cipher_off(-1),
        lambda: GCM.first_block_from_cipher_off(-1),
        lambda: GCM.span(-1, 1),
        lambda: GCM.span(0, 0),
        lambda: BlockLayout(16),
    ],
)
def test_arguments_out_of_range_raise_value_error(call):
    with pytest.raises(ValueError, match=r"negative|range|overhead"):
        call()
