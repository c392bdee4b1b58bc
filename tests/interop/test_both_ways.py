"""Volumes written by one implementation are read, checked and changed by the other."""

from __future__ import annotations

import pytest

from tests.interop.gallery import assert_writable, fill_gallery
from tests.support.drivers import Driver
from tests.support.flavours import FLAVOURS, Flavour, every_flavour
from tests.support.places import check_volume
from tests.support.playground import Playground
from tests.support.tree import assert_same_tree

QUICK_SAMPLE = 13  # of the full matrix, every n-th flavour also in the quick tier


def exchange(playground: Playground, writer: Driver, reader: Driver, flavour: Flavour) -> None:
    """Write with one, read, check and change with the other, read again with the first."""
    model = playground.new_directory("model")
    live = playground.new_mount(writer, flavour)
    for root in (model, live.path):
        fill_gallery(root)
    assert_same_tree(model, live.path)
    live.unmount()
    assert check_volume(live, {writer.name, reader.name}) == []

    other = playground.mount(reader, live.volume)
    assert_same_tree(model, other.path)
    for root in (model, other.path):
        assert_writable(root)
    other.unmount()
    assert check_volume(live, {writer.name, reader.name}) == []

    live.start()
    assert_same_tree(model, live.path)
    live.unmount()


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=lambda flavour: flavour.name)
def test_volume_of_one_is_read_and_changed_by_the_other(
    playground: Playground, both: tuple[Driver, Driver], flavour: Flavour
) -> None:
    exchange(playground, *both, flavour)


@pytest.mark.parametrize("flavour", every_flavour()[::QUICK_SAMPLE], ids=lambda flavour: flavour.name)
def test_sampled_flag_combinations_work_in_both(
    playground: Playground, both: tuple[Driver, Driver], flavour: Flavour
) -> None:
    exchange(playground, *both, flavour)


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("flavour", every_flavour(), ids=lambda flavour: flavour.name)
def test_every_flag_combination_works_in_both(
    playground: Playground, both: tuple[Driver, Driver], flavour: Flavour
) -> None:
    exchange(playground, *both, flavour)
