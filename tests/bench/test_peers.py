"""Peers by name and by variant."""

from __future__ import annotations

import shutil

import pytest

from bench.errors import PeerUnavailableError, RefusalError
from bench.peers import NAMES, Pcvfs, make_peer, parse_variant


@pytest.mark.parametrize("name", NAMES)
def test_make_peer_knows_every_name(name: str) -> None:
    assert make_peer(name).label == name


def test_make_peer_unknown_name_is_refused() -> None:
    with pytest.raises(RefusalError, match="nonsense"):
        make_peer("nonsense")


def test_parse_variant_with_program_and_options() -> None:
    peer = parse_variant("old=lane program:/opt/pcvfs --no-writeback --ko 'a b'")
    assert (peer.label, peer.program) == ("old", "/opt/pcvfs")
    assert peer.args == ("--engine", "lane", "--no-writeback", "--ko", "a b")


@pytest.mark.parametrize("text", ["", "old", "old=", "=lane"])
def test_parse_variant_that_does_not_read_like_one_is_refused(text: str) -> None:
    with pytest.raises(RefusalError):
        parse_variant(text)


def test_check_missing_program_is_unavailable() -> None:
    with pytest.raises(PeerUnavailableError, match="not installed"):
        make_peer("gocryptfs", program="/nonexistent/gocryptfs").check()


def test_check_pcvfs_without_the_engine_is_unavailable() -> None:
    program = make_peer("python").program
    make_peer("python").check()
    with pytest.raises(PeerUnavailableError, match="no engine 'warp'"):
        Pcvfs("warp", program, ("--engine", "warp")).check()


def test_check_program_that_is_no_pcvfs_is_unavailable() -> None:
    echo = shutil.which("echo")
    assert echo is not None
    with pytest.raises(PeerUnavailableError, match="no engine"):
        make_peer("lane", program=echo).check()
