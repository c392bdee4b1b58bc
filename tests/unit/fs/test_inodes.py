"""The inode table alone: numbers, lookup counts, pins and names, without a filesystem."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from pcvfs.errors import InternalError
from pcvfs.fs.inodes import ROOT_INODE, InodeTable, TableNode
from pcvfs.fs.lane_tree import LaneInodes
from pcvfs.fs.tree import Inodes, Node, path_of
from pcvfs.native import Aead
from pcvfs.native.files import FilePolicy
from pcvfs.native.names import NameFormat
from pcvfs.native.tree import Tree, TreeOptions
from pcvfs.types import Inode
from tests.unit.native.places import AES_GCM, OVERHEAD

ROOT = os.stat("/")  # the root of the table in C has to be a real directory
ROOT_DEV, OTHER_DEV = ROOT.st_dev, ROOT.st_dev + 1
KINDS = ["by-identity", "by-name", "in-c"]


def stat_of(st_ino: int, mode: int = stat.S_IFREG | 0o644, st_dev: int = ROOT_DEV) -> os.stat_result:
    return os.stat_result((mode, st_ino, st_dev, 1, 0, 0, 0, 0, 0, 0))


def dir_stat(st_ino: int) -> os.stat_result:
    return stat_of(st_ino, stat.S_IFDIR | 0o755)


@contextlib.contextmanager
def new_table(kind: str) -> Iterator[Inodes]:
    """An empty table. The one in C is by identity alone."""
    if kind != "in-c":
        yield InodeTable(ROOT, by_name=kind == "by-name", on_drop=lambda node: None)
        return
    aead = Aead(AES_GCM, bytearray(32))
    files = FilePolicy(aead, OVERHEAD, None, prealloc=0, is_shared=False)
    fd = os.open("/", os.O_PATH)
    options = TreeOptions(64, 64, 0, is_ro=False, gives_away=False, owner=None, has_capabilities=False, has_xattrs=True)
    names = NameFormat(None, aead, 16, has_diriv=False, is_raw64=False, hashes_long=True, long_name_max=255)
    tree = Tree(fd, names, files, options)
    yield LaneInodes(tree)
    tree.close()
    os.close(fd)


@pytest.fixture(params=KINDS)
def table(request: pytest.FixtureRequest) -> Iterator[Inodes]:
    with new_table(request.param) as table:
        yield table


by_identity = pytest.mark.parametrize("table", ["by-identity", "in-c"], indirect=True)
by_name = pytest.mark.parametrize("table", ["by-name"], indirect=True)


def looked_up(table: Inodes, st: os.stat_result, parent: Node, cname: bytes) -> Node:
    node = table.intern(st, parent, cname)
    table.looked_up(node)
    return node


def is_known(table: Inodes, node: Node) -> bool:
    return any(each is node for each in table)


# --- numbers ----------------------------------------------------------------------------------------------------
def test_root_is_1_and_is_never_dropped(table: Inodes) -> None:
    assert table.get(ROOT_INODE) is table.root
    assert table.root.is_dir
    assert path_of(table.root) is None
    table.release_if_unused(table.root)
    assert len(table) == 1
    with pytest.raises(InternalError):
        table.forget(ROOT_INODE, 1)


def test_get_unknown_number_is_estale(table: Inodes) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        table.get(Inode(5))


@by_identity
def test_intern_keeps_the_backing_number_on_the_device_of_the_root(table: Inodes) -> None:
    assert looked_up(table, stat_of(55), table.root, b"a").inode == 55


@by_identity
@pytest.mark.parametrize(("st_ino", "st_dev"), [(55, OTHER_DEV), (1, ROOT_DEV), (0, ROOT_DEV), (1 << 63, ROOT_DEV)])
def test_intern_numbers_that_could_clash_come_from_a_counter(table: Inodes, st_ino: int, st_dev: int) -> None:
    first = looked_up(table, stat_of(st_ino, st_dev=st_dev), table.root, b"a")
    second = looked_up(table, stat_of(st_ino + 1, st_dev=OTHER_DEV), table.root, b"b")
    assert first.inode >= 1 << 63
    assert second.inode > first.inode


@by_name
def test_intern_by_name_never_gives_a_number_twice(table: Inodes) -> None:
    numbers = set()
    for _ in range(3):
        node = looked_up(table, stat_of(55), table.root, b"a")
        numbers.add(node.inode)
        table.forget(node.inode, 1)
    assert len(numbers) == 3


@by_identity
def test_intern_of_a_number_that_a_deleted_object_still_has(table: Inodes) -> None:
    old = looked_up(table, stat_of(55), table.root, b"a")
    table.remove_link(old, table.root, b"a")
    new = looked_up(table, dir_stat(55), table.root, b"b")
    assert old.inode == 55
    assert new.inode >= 1 << 63
    table.forget(Inode(55), 1)
    assert table.find(dir_stat(55), table.root, b"b") is new, "the old one took the identity of the new one along"


# --- identity ---------------------------------------------------------------------------------------------------
@by_identity
def test_intern_same_object_under_two_names_is_one_node(table: Inodes) -> None:
    node = looked_up(table, stat_of(55), table.root, b"a")
    assert looked_up(table, stat_of(55), table.root, b"b") is node
    assert looked_up(table, stat_of(55), table.root, b"b") is node
    assert node.links == ((table.root, b"a"), (table.root, b"b"))
    assert table.root.pins == 3


@by_name
def test_intern_by_name_same_object_under_two_names_is_two_nodes(table: Inodes) -> None:
    assert looked_up(table, stat_of(55), table.root, b"a") is not looked_up(table, stat_of(55), table.root, b"b")


@by_name
def test_intern_by_name_another_object_under_the_name_is_another_node(table: Inodes) -> None:
    old = looked_up(table, stat_of(55), table.root, b"a")
    new = looked_up(table, stat_of(56), table.root, b"a")
    assert new is not old
    assert table.find(stat_of(56), table.root, b"a") is new
    table.forget(old.inode, 1)
    assert table.find(stat_of(56), table.root, b"a") is new


@by_identity
def test_root_inside_itself_is_an_internal_error(table: Inodes) -> None:
    with pytest.raises(InternalError):
        table.intern(dir_stat(ROOT.st_ino), table.root, b"loop")


# --- names ------------------------------------------------------------------------------------------------------
def test_path_leads_up_to_the_root(table: Inodes) -> None:
    a = looked_up(table, dir_stat(10), table.root, b"a")
    b = looked_up(table, dir_stat(11), a, b"b")
    file = looked_up(table, stat_of(12), b, b"file")
    assert path_of(file) == b"a/b/file"
    table.rename_link(a, table.root, b"a", table.root, b"z")
    assert path_of(file) == b"z/b/file"
    table.remove_link(a, table.root, b"z")
    assert path_of(file) is None


@by_identity
def test_directory_found_under_a_new_name_has_only_that(table: Inodes) -> None:
    """Renamed from outside, while we knew it under the old name."""
    a, b = (looked_up(table, dir_stat(ino), table.root, name) for ino, name in ((10, b"a"), (11, b"b")))
    moved = looked_up(table, dir_stat(12), a, b"moved")
    assert looked_up(table, dir_stat(12), b, b"moved") is moved
    assert moved.links == ((b, b"moved"),)
    assert (a.pins, b.pins) == (0, 1)


def test_exchange_links_swaps_and_forgets_nobody(table: Inodes) -> None:
    one, two = (looked_up(table, stat_of(ino), table.root, name) for ino, name in ((10, b"1"), (11, b"2")))
    table.exchange_links(one, (table.root, b"1"), two, (table.root, b"2"))
    assert (path_of(one), path_of(two)) == (b"2", b"1")
    assert table.root.pins == 3
    table.exchange_links(None, (table.root, b"1"), None, (table.root, b"2"))
    table.exchange_links(one, (table.root, b"2"), None, (table.root, b"3"))
    assert path_of(one) == b"3"


@by_identity
def test_exchange_of_two_names_of_one_node_changes_nothing(table: Inodes) -> None:
    node = looked_up(table, stat_of(10), table.root, b"1")
    looked_up(table, stat_of(10), table.root, b"2")
    table.exchange_links(node, (table.root, b"1"), node, (table.root, b"2"))
    assert set(node.links) == {(table.root, b"1"), (table.root, b"2")}


def test_remove_link_that_is_not_known_does_nothing(table: Inodes) -> None:
    node = looked_up(table, stat_of(10), table.root, b"a")
    table.remove_link(node, table.root, b"b")
    assert path_of(node) == b"a"
    assert table.root.pins == 2


# --- leaving ----------------------------------------------------------------------------------------------------
def test_forget_drops_a_node_and_then_the_parents_that_only_it_needed(table: Inodes) -> None:
    a = looked_up(table, dir_stat(10), table.root, b"a")
    b = looked_up(table, dir_stat(11), a, b"b")
    file = looked_up(table, stat_of(12), b, b"file")
    table.forget(a.inode, 1)
    table.forget(b.inode, 1)
    assert all(is_known(table, node) for node in (a, b, file))
    table.forget(file.inode, 1)
    assert len(table) == 1
    assert table.root.pins == 1


def test_forget_in_parts(table: Inodes) -> None:
    node = looked_up(table, stat_of(10), table.root, b"a")
    for _ in range(4):
        table.looked_up(node)
    table.forget(node.inode, 2)
    table.forget(node.inode, 2)
    assert is_known(table, node)
    for count in (2, 1 << 40):
        with pytest.raises(InternalError):
            table.forget(node.inode, count)
    table.forget(node.inode, 1)
    assert not is_known(table, node)
    with pytest.raises(InternalError):
        table.forget(node.inode, 1)


def test_pin_keeps_a_node_without_lookups(table: Inodes) -> None:
    node = looked_up(table, stat_of(10), table.root, b"a")
    table.pin(node)
    table.forget(node.inode, 1)
    assert is_known(table, node)
    table.unpin(node)
    assert not is_known(table, node)


@by_identity
def test_forget_of_a_chain_of_any_depth_does_not_recurse(table: Inodes) -> None:
    node = table.root
    nodes = []
    for depth in range(5000):
        node = looked_up(table, dir_stat(2000 + depth), node, b"d")
        nodes.append(node)
    for node in nodes:
        table.forget(node.inode, 1)
    assert len(table) == 1


def test_node_is_given_away_before_its_parents_are() -> None:
    dropped: list[TableNode] = []
    table = InodeTable(ROOT, by_name=False, on_drop=dropped.append)
    a = looked_up(table, dir_stat(10), table.root, b"a")
    file = looked_up(table, stat_of(11), a, b"file")
    table.forget(a.inode, 1)
    table.forget(file.inode, 1)
    assert dropped == [file, a]


def test_node_in_c_that_is_gone_is_an_error_and_no_crash() -> None:
    with new_table("in-c") as table:
        node = looked_up(table, stat_of(10), table.root, b"a")
        table.forget(node.inode, 1)
        for use in (
            lambda: node.links,
            lambda: node.nlookup,
            lambda: node.orphan_fd,
            lambda: node.is_dir,
            lambda: table.pin(node),
            lambda: table.looked_up(node),
            lambda: table.remove_link(node, table.root, b"a"),
            lambda: table.intern(stat_of(11), node, b"b"),
        ):
            with pytest.raises(InternalError):
                use()
        table.release_if_unused(node)
        root = table.root
    with pytest.raises(InternalError):
        table.get(root.inode)
    with pytest.raises(InternalError):
        root.links  # noqa: B018  # the access is what is tested


# --- any sequence -----------------------------------------------------------------------------------------------
class TableMachine(RuleBasedStateMachine):
    """Any sequence of what a filesystem does to its table."""

    nodes = Bundle("nodes")

    @initialize(kind=st.sampled_from(KINDS))
    def make(self, kind: str) -> None:
        self.scope = contextlib.ExitStack()
        self.table = self.scope.enter_context(new_table(kind))
        self.next_ino = 2000
        self.pinned: list[Node] = []

    def is_known(self, node: Node) -> bool:
        return is_known(self.table, node)

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
        self.table.looked_up(node)
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
        assert self.table.lookups == sum(node.nlookup for node in self.table)

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.scope.close()


def is_below(node: Node, above: Node) -> bool:
    while node is not above and node.links:
        node = node.links[0][0]
    return node is above


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
