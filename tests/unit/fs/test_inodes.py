"""The inode table alone: numbers, lookup counts, pins and names, without a filesystem."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from pcvfs.errors import InternalError
from pcvfs.fs.inodes import ROOT_INODE, InodeTable, Node
from pcvfs.types import Inode

ROOT_DEV, OTHER_DEV, ROOT_INO = 7, 8, 1000


def stat_of(st_ino: int, mode: int = stat.S_IFREG | 0o644, st_dev: int = ROOT_DEV) -> os.stat_result:
    return os.stat_result((mode, st_ino, st_dev, 1, 0, 0, 0, 0, 0, 0))


def dir_stat(st_ino: int) -> os.stat_result:
    return stat_of(st_ino, stat.S_IFDIR | 0o755)


class Recorder:
    """Knows which nodes were dropped."""

    def __init__(self) -> None:
        self.dropped: list[Node] = []

    def table(self, *, by_name: bool = False) -> InodeTable:
        return InodeTable(dir_stat(ROOT_INO), by_name=by_name, on_drop=self.dropped.append)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=[False, True], ids=["by-identity", "by-name"])
def table(request: pytest.FixtureRequest, recorder: Recorder) -> InodeTable:
    return recorder.table(by_name=request.param)


def looked_up(table: InodeTable, st: os.stat_result, parent: Node, cname: bytes) -> Node:
    node = table.intern(st, parent, cname)
    node.nlookup += 1
    return node


# --- numbers ----------------------------------------------------------------------------------------------------
def test_root_is_1_and_is_never_dropped(table: InodeTable) -> None:
    assert table.get(ROOT_INODE) is table.root
    assert table.root.is_dir
    assert table.root.path() is None
    table.release_if_unused(table.root)
    assert len(table) == 1
    with pytest.raises(InternalError):
        table.forget(ROOT_INODE, 1)


def test_get_unknown_number_is_estale(table: InodeTable) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        table.get(Inode(5))


def test_intern_keeps_the_backing_number_on_the_device_of_the_root(recorder: Recorder) -> None:
    table = recorder.table()
    assert looked_up(table, stat_of(55), table.root, b"a").inode == 55


@pytest.mark.parametrize(("st_ino", "st_dev"), [(55, OTHER_DEV), (1, ROOT_DEV), (0, ROOT_DEV), (1 << 63, ROOT_DEV)])
def test_intern_numbers_that_could_clash_come_from_a_counter(recorder: Recorder, st_ino: int, st_dev: int) -> None:
    table = recorder.table()
    first = looked_up(table, stat_of(st_ino, st_dev=st_dev), table.root, b"a")
    second = looked_up(table, stat_of(st_ino + 1, st_dev=OTHER_DEV), table.root, b"b")
    assert first.inode >= 1 << 63
    assert second.inode > first.inode


def test_intern_by_name_never_gives_a_number_twice(recorder: Recorder) -> None:
    table = recorder.table(by_name=True)
    numbers = set()
    for _ in range(3):
        node = looked_up(table, stat_of(55), table.root, b"a")
        numbers.add(node.inode)
        table.forget(node.inode, 1)
    assert len(numbers) == 3


def test_intern_of_a_number_that_a_deleted_object_still_has(recorder: Recorder) -> None:
    table = recorder.table()
    old = looked_up(table, stat_of(55), table.root, b"a")
    table.remove_link(old, table.root, b"a")
    new = looked_up(table, dir_stat(55), table.root, b"b")
    assert old.inode == 55
    assert new.inode >= 1 << 63
    table.forget(Inode(55), 1)
    assert table.find(dir_stat(55), table.root, b"b") is new, "the old one took the identity of the new one along"


# --- identity ---------------------------------------------------------------------------------------------------
def test_intern_same_object_under_two_names_is_one_node(recorder: Recorder) -> None:
    table = recorder.table()
    node = looked_up(table, stat_of(55), table.root, b"a")
    assert looked_up(table, stat_of(55), table.root, b"b") is node
    assert looked_up(table, stat_of(55), table.root, b"b") is node
    assert node.links == ((table.root, b"a"), (table.root, b"b"))
    assert table.root.pins == 3


def test_intern_by_name_same_object_under_two_names_is_two_nodes(recorder: Recorder) -> None:
    table = recorder.table(by_name=True)
    assert looked_up(table, stat_of(55), table.root, b"a") is not looked_up(table, stat_of(55), table.root, b"b")


def test_intern_by_name_another_object_under_the_name_is_another_node(recorder: Recorder) -> None:
    table = recorder.table(by_name=True)
    old = looked_up(table, stat_of(55), table.root, b"a")
    new = looked_up(table, stat_of(56), table.root, b"a")
    assert new is not old
    assert table.find(stat_of(56), table.root, b"a") is new
    table.forget(old.inode, 1)
    assert table.find(stat_of(56), table.root, b"a") is new


def test_root_inside_itself_is_an_internal_error(recorder: Recorder) -> None:
    table = recorder.table()
    with pytest.raises(InternalError):
        table.intern(dir_stat(ROOT_INO), table.root, b"loop")


# --- names ------------------------------------------------------------------------------------------------------
def test_path_leads_up_to_the_root(table: InodeTable) -> None:
    a = looked_up(table, dir_stat(10), table.root, b"a")
    b = looked_up(table, dir_stat(11), a, b"b")
    file = looked_up(table, stat_of(12), b, b"file")
    assert file.path() == b"a/b/file"
    table.rename_link(a, table.root, b"a", table.root, b"z")
    assert file.path() == b"z/b/file"
    table.remove_link(a, table.root, b"z")
    assert file.path() is None


def test_directory_found_under_a_new_name_has_only_that(recorder: Recorder) -> None:
    """Renamed from outside, while we knew it under the old name."""
    table = recorder.table()
    a, b = (looked_up(table, dir_stat(ino), table.root, name) for ino, name in ((10, b"a"), (11, b"b")))
    moved = looked_up(table, dir_stat(12), a, b"moved")
    assert looked_up(table, dir_stat(12), b, b"moved") is moved
    assert moved.links == ((b, b"moved"),)
    assert (a.pins, b.pins) == (0, 1)


def test_exchange_links_swaps_and_forgets_nobody(table: InodeTable) -> None:
    one, two = (looked_up(table, stat_of(ino), table.root, name) for ino, name in ((10, b"1"), (11, b"2")))
    table.exchange_links(one, (table.root, b"1"), two, (table.root, b"2"))
    assert (one.path(), two.path()) == (b"2", b"1")
    assert table.root.pins == 3
    table.exchange_links(None, (table.root, b"1"), None, (table.root, b"2"))
    table.exchange_links(one, (table.root, b"2"), None, (table.root, b"3"))
    assert one.path() == b"3"


def test_exchange_of_two_names_of_one_node_changes_nothing(recorder: Recorder) -> None:
    table = recorder.table()
    node = looked_up(table, stat_of(10), table.root, b"1")
    looked_up(table, stat_of(10), table.root, b"2")
    table.exchange_links(node, (table.root, b"1"), node, (table.root, b"2"))
    assert set(node.links) == {(table.root, b"1"), (table.root, b"2")}


def test_remove_link_that_is_not_known_does_nothing(table: InodeTable) -> None:
    node = looked_up(table, stat_of(10), table.root, b"a")
    table.remove_link(node, table.root, b"b")
    assert node.path() == b"a"
    assert table.root.pins == 2


# --- leaving ----------------------------------------------------------------------------------------------------
def test_forget_drops_a_node_and_then_the_parents_that_only_it_needed(table: InodeTable, recorder: Recorder) -> None:
    a = looked_up(table, dir_stat(10), table.root, b"a")
    b = looked_up(table, dir_stat(11), a, b"b")
    file = looked_up(table, stat_of(12), b, b"file")
    table.forget(a.inode, 1)
    table.forget(b.inode, 1)
    assert recorder.dropped == []
    table.forget(file.inode, 1)
    assert recorder.dropped == [file, b, a]
    assert len(table) == 1
    assert table.root.pins == 1


def test_forget_in_parts(table: InodeTable, recorder: Recorder) -> None:
    node = looked_up(table, stat_of(10), table.root, b"a")
    node.nlookup = 5
    table.forget(node.inode, 2)
    table.forget(node.inode, 2)
    assert recorder.dropped == []
    for count in (2, 1 << 40):
        with pytest.raises(InternalError):
            table.forget(node.inode, count)
    table.forget(node.inode, 1)
    assert recorder.dropped == [node]
    with pytest.raises(InternalError):
        table.forget(node.inode, 1)


def test_pin_keeps_a_node_without_lookups(table: InodeTable, recorder: Recorder) -> None:
    node = looked_up(table, stat_of(10), table.root, b"a")
    table.pin(node)
    table.forget(node.inode, 1)
    assert recorder.dropped == []
    table.unpin(node)
    assert recorder.dropped == [node]


def test_forget_of_a_chain_of_any_depth_does_not_recurse(recorder: Recorder) -> None:
    table = recorder.table()
    node = table.root
    nodes = []
    for depth in range(5000):
        node = looked_up(table, dir_stat(2000 + depth), node, b"d")
        nodes.append(node)
    for node in nodes:
        table.forget(node.inode, 1)
    assert recorder.dropped == nodes[::-1]


# --- any sequence -----------------------------------------------------------------------------------------------
class TableMachine(RuleBasedStateMachine):
    """Any sequence of what a filesystem does to its table."""

    nodes = Bundle("nodes")

    @initialize(by_name=st.booleans())
    def make(self, by_name: bool) -> None:
        self.dropped: list[Node] = []
        self.table = InodeTable(dir_stat(ROOT_INO), by_name=by_name, on_drop=self.dropped.append)
        self.next_ino = 2000
        self.pinned: list[Node] = []

    def is_known(self, node: Node) -> bool:
        return node not in self.dropped

    def directories(self) -> list[Node]:
        return [node for node in self.table if node.is_dir and (node.links or node is self.table.root)]

    @rule(target=nodes, data=st.data(), is_dir=st.booleans(), cname=st.sampled_from([b"a", b"b", b"c"]))
    def look_up(self, data: st.DataObject, is_dir: bool, cname: bytes) -> Node:
        parent = data.draw(st.sampled_from(self.directories()))
        for node in self.table:
            if (parent, cname) in node.links:
                st_ino, mode = node.backing_id[1], node.type_bits
                break
        else:
            self.next_ino += 1
            st_ino, mode = self.next_ino, stat.S_IFDIR if is_dir else stat.S_IFREG
        node = self.table.intern(stat_of(st_ino, mode | 0o700), parent, cname)
        node.nlookup += 1
        assert (parent, cname) in node.links
        return node

    @rule(node=nodes, data=st.data())
    def forget(self, node: Node, data: st.DataObject) -> None:
        if self.is_known(node) and node.nlookup:
            self.table.forget(node.inode, data.draw(st.integers(1, node.nlookup)))

    @rule(node=nodes)
    def pin(self, node: Node) -> None:
        if self.is_known(node):
            self.table.pin(node)
            self.pinned.append(node)

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.pinned))
        self.pinned.remove(node)
        self.table.unpin(node)

    @rule(node=consumes(nodes))
    def remove_name(self, node: Node) -> None:
        has_children = any(parent is node for other in self.table for parent, _ in other.links)
        if self.is_known(node) and node.links and not has_children:
            self.table.remove_link(node, *node.links[0])
            self.table.release_if_unused(node)

    @rule(node=nodes, data=st.data(), cname=st.sampled_from([b"d", b"e"]))
    def rename(self, node: Node, data: st.DataObject, cname: bytes) -> None:
        if not self.is_known(node) or not node.links:
            return
        targets = [target for target in self.directories() if not is_below(target, node)]
        target = data.draw(st.sampled_from(targets))
        if not any((target, cname) in other.links for other in self.table):
            self.table.rename_link(node, *node.links[0], target, cname)
            assert (target, cname) in node.links

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "table"):
            return
        pins = Counter({ROOT_INODE: 1})
        for node in self.table:
            pins.update(parent.inode for parent, _ in node.links)
            assert node is self.table.root or node.nlookup or node.pins, "nobody needs it"
            assert self.table.get(node.inode) is node
            assert all(self.is_known(parent) for parent, _ in node.links)
        pins.update(node.inode for node in self.pinned)
        assert {node.inode: node.pins for node in self.table if node.pins} == dict(pins)
        assert len(self.dropped) == len(set(map(id, self.dropped)))


def is_below(node: Node, above: Node) -> bool:
    while node is not above and node.links:
        node = node.links[0][0]
    return node is above


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
