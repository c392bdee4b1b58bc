"""The mount options record: its checks, and its way through JSON."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.errors import UsageError
from pcvfs.fs.options import ENGINES, OWNED_TIMEOUT_S, MountOptions
from pcvfs.records import field_names, replaced

PATHS = {"cipherdir": b"/cipher", "mountpoint": b"/plain"}
absolute = st.binary(max_size=100).map(lambda tail: b"/" + tail)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)

every_option = st.builds(
    MountOptions,
    cipherdir=absolute,
    mountpoint=absolute,
    ro=st.just(False),
    rw=st.booleans(),
    allow_other=st.booleans(),
    nonempty=st.booleans(),
    force_owner=st.none() | st.tuples(st.integers(0, 1 << 31), st.integers(0, 1 << 31)),
    fsname=text,
    acl=st.booleans(),
    suid=st.booleans(),
    dev=st.booleans(),
    exec_=st.booleans(),
    idle_s=st.floats(0, 1e9),
    sharedstorage=st.booleans(),
    badname=st.lists(st.binary(max_size=20), max_size=3).map(tuple),
    noprealloc=st.booleans(),
    noxattr=st.booleans(),
    longnames=st.booleans(),
    ctlsock=st.none() | absolute,
    writeback=st.booleans(),
    engine=st.sampled_from(["auto", "python"]),
    kernel_options=st.lists(text, max_size=3).map(tuple),
    debug=st.booleans(),
)


@given(options=every_option)
def test_json_and_back_is_the_same_record(options: MountOptions) -> None:
    assert MountOptions.from_json(options.to_json()) == options


@given(options=every_option)
def test_json_is_plain_ascii_on_one_line(options: MountOptions) -> None:
    line = options.to_json()
    assert line.isascii()
    assert "\n" not in line


def test_json_covers_every_field() -> None:
    fields = set(field_names(MountOptions))
    assert set(json.loads(MountOptions(**PATHS).to_json())) == fields


def test_every_field_is_documented() -> None:
    for name in field_names(MountOptions):
        if name != "rw":  # the opposite of ro
            assert name in (MountOptions.__doc__ or "")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", "{", '"x"', '{"cipherdir": "/a"}', '{"cipherdir": 1, "mountpoint": "/b"}', "\0"],
)
def test_from_json_of_anything_else_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        MountOptions.from_json(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [("unknown", 1), ("force_owner", [1]), ("force_owner", ["a", "b"]), ("badname", 1), ("idle_s", "x")],
)
def test_from_json_with_a_wrong_field_is_a_usage_error(name: str, value: object) -> None:
    values = json.loads(MountOptions(**PATHS).to_json()) | {name: value}
    with pytest.raises(UsageError):
        MountOptions.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "wrong",
    [
        {"cipherdir": b"relative"},
        {"mountpoint": b"relative"},
        {"cipherdir": b""},
        {"engine": "fast"},
        {"ro": True, "rw": True},
        {"idle_s": -1.0},
        {"engine": "lane", "sharedstorage": True},
        {"engine": "lane", "badname": (b"*",)},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        MountOptions(**PATHS | wrong)


def test_every_engine_is_accepted() -> None:
    assert [MountOptions(**PATHS, engine=engine).engine for engine in ENGINES] == list(ENGINES)


def test_only_the_owner_of_a_cipherdir_lets_the_kernel_keep_things() -> None:
    assert MountOptions(**PATHS).cache_timeout_s == OWNED_TIMEOUT_S
    assert MountOptions(**PATHS, sharedstorage=True).cache_timeout_s == 0
    assert not MountOptions(**PATHS, sharedstorage=True).owns_cipherdir


def test_read_only_changes_nothing_else() -> None:
    options = MountOptions(**PATHS, acl=True, fsname="name")
    assert options.read_only() == replaced(options, ro=True)


def test_options_are_frozen() -> None:
    with pytest.raises(AttributeError):
        MountOptions(**PATHS).ro = True  # type: ignore[misc]  # that is the point


def test_paths_of_any_bytes_survive_json() -> None:
    odd = b"/" + bytes(byte for byte in range(1, 256) if byte != ord("/"))
    assert MountOptions.from_json(MountOptions(cipherdir=odd, mountpoint=odd).to_json()).cipherdir == odd
    assert os.fsdecode(odd)
