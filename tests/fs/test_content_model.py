"""Random sequences of reads, writes, truncations and reopenings of one file with two names, against a bytearray."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fs.bench import ENGINES, Bench
from tests.support.flavours import FLAVOURS

BLOCK = 4096
OFFSET_MAX = 12 * BLOCK

near_an_edge = st.builds(
    lambda block, delta: max(0, block * BLOCK + delta), st.integers(0, 8), st.integers(-3, 3) | st.integers(-40, 40)
)
offsets = near_an_edge | st.integers(0, OFFSET_MAX)
lengths = near_an_edge.map(lambda length: length + 1) | st.integers(1, 2 * BLOCK)
operations = st.one_of(
    st.tuples(st.just("write"), offsets, lengths, st.integers(0, 1)),
    st.tuples(st.just("truncate"), offsets),
    st.tuples(st.just("read"), offsets, lengths, st.integers(0, 1)),
    st.tuples(st.just("reopen"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("remount")),
)


@pytest.fixture(scope="module", params=itertools.product(["default", "xchacha", "aessiv"], ENGINES), ids="-".join)
def shared_bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One volume for all examples."""
    directory: Path = tmp_path_factory.mktemp("content")
    flavour, engine = request.param
    bench = Bench(directory / "cipher", FLAVOURS[flavour], engine)
    yield bench
    bench.finish()


class Model:
    """A file of zeros and what was written to it, and which of its blocks were ever touched."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.touched: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        self._touch_end(offset)
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset : offset + len(data)] = data
        self.touched.update(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))

    def truncate(self, size: int) -> None:
        self._touch_end(size)
        if size < len(self.data):
            del self.data[size:]
            self.touched = {block for block in self.touched if block * BLOCK < size}
        else:
            self.data.extend(bytes(size - len(self.data)))
        if size % BLOCK:
            self.touched.add(size // BLOCK)

    def _touch_end(self, offset: int) -> None:
        """A partial last block is padded before something goes behind it."""
        if offset > len(self.data) and len(self.data) % BLOCK:
            self.touched.add(len(self.data) // BLOCK)


class World:
    """The file on a bench, open twice, once by each of its names."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.kernel = bench.kernel
        self.paths = (b"file", b"link")
        self.kernel.put(b"file", b"")
        self.kernel.link(b"file", b"link")
        self.handles = [self.kernel.open(path, os.O_RDWR) for path in self.paths]

    def reopen(self, which: int, *, is_writable: bool) -> None:
        self.kernel.release(self.handles[which])
        self.handles[which] = self.kernel.open(self.paths[which], os.O_RDWR if is_writable else os.O_RDONLY)

    def remount(self) -> None:
        self.close()
        self.kernel = self.bench.remount()
        self.handles = [self.kernel.open(path, os.O_RDWR) for path in self.paths]

    def close(self) -> None:
        for handle in self.handles:
            self.kernel.release(handle)

    def remove(self) -> None:
        self.close()
        for path in self.paths:
            self.kernel.unlink(path)
        self.kernel.forget_everything()


@given(steps=st.lists(operations, min_size=1, max_size=12), seed=st.randoms(use_true_random=False))
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_sequence_of_operations_matches_a_bytearray(
    shared_bench: Bench, steps: list[tuple[object, ...]], seed: object
) -> None:
    world, model = World(shared_bench), Model()
    try:
        for step in steps:
            match step:
                case ("write", int(offset), int(length), int(which)):
                    data = os.urandom(length)
                    world.kernel.write(world.handles[which], offset, data)
                    model.write(offset, data)
                case ("truncate", int(size)):
                    assert world.kernel.setattr(b"link", size=size).size == size
                    model.truncate(size)
                case ("read", int(offset), int(length), int(which)):
                    assert (
                        world.kernel.read(world.handles[which], offset, length) == model.data[offset : offset + length]
                    )
                case ("reopen", int(which), bool(is_writable)):
                    world.reopen(which, is_writable=is_writable)
                case _:
                    world.remount()
            check_both_names(world, model)
    finally:
        world.remove()


def check_both_names(world: World, model: Model) -> None:
    """Both handles show the model, and the blocks on disk that nobody touched are holes."""
    for handle, path in zip(world.handles, world.paths, strict=True):
        assert world.kernel.read(handle) == model.data
        assert world.kernel.stat(path).size == len(model.data)
    backing = world.bench.cipher_file(b"file")
    backing.check_header()
    assert backing.plain_size() == len(model.data)
    assert {number for number, block in enumerate(backing.blocks()) if any(block)} == model.touched
