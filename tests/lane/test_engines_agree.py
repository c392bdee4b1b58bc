"""Files in Python and files in C are the same files: what one writes the other reads, and both fail alike.

No mount: two benches, one with each engine, that are told the same and compared after every step.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pcvfs.cipherdir.report import ProblemKind
from pcvfs.errors import PcvfsError
from tests.fs.bench import ENGINES, Bench, open_descriptors
from tests.fs.kernel import Kernel
from tests.support.flavours import Flavour

BLOCK = 4096
ROOM = 20 * BLOCK
STEPS = 400
HUGE = (1 << 62, (1 << 63) - 1, (1 << 63) - BLOCK)
NAME = b"file"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


class Pair:
    """The same volume content twice, under different keys and engines."""

    def __init__(self, place: Path, flavour: Flavour) -> None:
        self.benches = [Bench(place / engine, flavour, engine) for engine in ENGINES]

    def each(self, action: Callable[[Kernel], object]) -> object:
        """Do something with both and return what both returned, or the error that both raised."""
        outcomes = [outcome(action, bench.kernel) for bench in self.benches]
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    def compare(self) -> bytes:
        """Content, sizes and holes are the same; returns the content."""
        files = [bench.cipher_file(NAME) for bench in self.benches]
        assert files[0].size == files[1].size
        assert [any(block) for block in files[0].blocks()] == [any(block) for block in files[1].blocks()]
        content = self.each(lambda kernel: kernel.get(NAME))
        assert isinstance(content, bytes)
        return content

    def swap(self) -> None:
        """Each goes on with the other's engine."""
        for bench in self.benches:
            bench.engine = "lane" if bench.engine == "python" else "python"
            ignore_the_other(bench)
            bench.remount()

    def finish(self, *problems: ProblemKind) -> None:
        for bench in self.benches:
            bench.expected_problems = frozenset(problems)
            bench.drop_log()
            ignore_the_other(bench)
            bench.finish()


def ignore_the_other(bench: Bench) -> None:
    """A bench checks that its mount leaves no descriptor open; here there are two in one process."""
    bench._fds = open_descriptors()


def outcome(action: Callable[[Kernel], object], kernel: Kernel) -> object:
    try:
        return action(kernel)
    except OSError as exc:
        return OSError, exc.errno
    except PcvfsError as exc:
        return type(exc), getattr(exc, "block_no", None)


@pytest.fixture
def pair(tmp_path: Path, flavour: Flavour) -> Pair:
    return Pair(tmp_path, flavour)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "flavour" in metafunc.fixturenames:
        metafunc.parametrize(
            "flavour", [Flavour(c, cipher=c) for c in ("gcm", "xchacha", "aessiv")], ids=lambda f: f.name
        )


def near_an_edge(rng: random.Random, limit: int = ROOM) -> int:
    if rng.random() < 0.05:
        return rng.choice(HUGE)
    return max(0, rng.randrange(limit // BLOCK) * BLOCK + rng.choice((0, 0, 1, -1, 15, -16, 100, -1000, 2048)))


def any_action(rng: random.Random) -> Callable[[Kernel], object]:
    offset, length = near_an_edge(rng), 1 + min(near_an_edge(rng, 5 * BLOCK), 6 * BLOCK)
    data = rng.randbytes(length)

    def with_handle(action: Callable[[Kernel, int], object]) -> Callable[[Kernel], object]:
        def act(kernel: Kernel) -> object:
            handle = kernel.open(NAME, os.O_RDWR)
            try:
                return action(kernel, handle)
            finally:
                kernel.release(handle)

        return act

    return rng.choice(
        (
            with_handle(lambda kernel, handle: kernel.write(handle, offset, data)),
            with_handle(lambda kernel, handle: kernel.write(handle, offset, data)),
            with_handle(lambda kernel, handle: kernel.read(handle, offset, length)),
            lambda kernel: kernel.setattr(NAME, size=offset).size,
            lambda kernel: kernel.stat(NAME).size,
            lambda kernel: kernel.release(kernel.open(NAME, os.O_RDWR | (os.O_TRUNC if length % 7 == 0 else 0))),
        )
    )


def test_any_operations_have_the_same_outcome_and_leave_the_same_file(pair: Pair, seed: int) -> None:
    rng = random.Random(seed)
    pair.each(lambda kernel: kernel.put(NAME, b"") and None)
    for _ in range(STEPS):
        pair.each(any_action(rng))
        pair.compare()
        if rng.random() < 0.1:
            pair.swap()
    pair.finish()


def test_what_one_engine_wrote_the_other_reads_and_goes_on_writing(pair: Pair, seed: int) -> None:
    rng = random.Random(seed)
    for size in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, (1 << 20) - 1, 1 << 20):
        content, more = rng.randbytes(size), rng.randbytes(BLOCK + 5)
        pair.each(lambda kernel, content=content: kernel.put(NAME, content) and None)
        pair.swap()
        assert pair.compare() == content
        for bench in pair.benches:
            handle = bench.kernel.open(NAME, os.O_RDWR)
            bench.kernel.write(handle, size + 10, more)
            bench.kernel.release(handle)
        pair.swap()
        assert pair.compare() == content + bytes(10) + more
        pair.each(lambda kernel: kernel.forget(kernel.unlink(NAME)))
    pair.finish()


def test_damage_gives_the_same_errors(pair: Pair, seed: int) -> None:
    rng = random.Random(seed)
    content = rng.randbytes(4 * BLOCK + 100)
    pair.each(lambda kernel: kernel.put(NAME, content) and None)
    files = [bench.cipher_file(NAME) for bench in pair.benches]
    originals = [file.data for file in files]
    positions = [0, 1, 2, 17, 18, *(rng.randrange(files[0].size) for _ in range(12)), files[0].size - 1]
    for position in positions:
        for file in files:
            file.flip(position)
        for offset, length in ((0, len(content)), (BLOCK, 1), (2 * BLOCK - 1, 2), (4 * BLOCK, BLOCK)):
            pair.each(lambda kernel, o=offset, n=length: read_once(kernel, o, n))
        for file, original in zip(files, originals, strict=True):
            file.overwrite(0, original)
            os.truncate(file.path, len(original))
        pair.swap()
    assert pair.compare() == content
    pair.finish()


def test_files_cut_short_give_the_same_sizes_and_errors(pair: Pair, seed: int) -> None:
    content = random.Random(seed).randbytes(2 * BLOCK + 100)
    pair.each(lambda kernel: kernel.put(NAME, content) and None)
    files = [bench.cipher_file(NAME) for bench in pair.benches]
    overhead, second = files[0].overhead, files[0].block_offset(1)
    for size in (second + overhead + 1, second + overhead, second + 1, second, second - 1, 19, 18, 17, 1, 0):
        for file in files:
            os.truncate(file.path, size)
        pair.swap()
        pair.each(lambda kernel: kernel.stat(NAME).size)
        pair.each(lambda kernel: read_once(kernel, 0, 3 * BLOCK))
        pair.each(lambda kernel: read_once(kernel, BLOCK, 3 * BLOCK))
    pair.each(lambda kernel: kernel.setattr(NAME, size=10).size)
    assert pair.compare() == bytes(10)
    pair.finish()


def read_once(kernel: Kernel, offset: int, length: int) -> bytes:
    handle = kernel.open(NAME)
    try:
        return kernel.read(handle, offset, length)
    finally:
        kernel.release(handle)


def test_running_out_of_room_gives_the_same_error_and_the_same_file(pair: Pair) -> None:
    for bench in pair.benches:
        ignore_the_other(bench)
        bench.remount(noprealloc=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size, offset in itertools.product((0, 10, BLOCK + 1, 3 * BLOCK - 1), (0, 5, 2 * BLOCK, 5 * BLOCK + 1)):
        pair.each(lambda kernel, size=size: kernel.put(NAME, b"x" * size) and None)
        handles = [bench.kernel.open(NAME, os.O_RDWR) for bench in pair.benches]
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(offset, size) + 3000, hard))
        try:
            outcomes = [
                outcome(lambda kernel, h=handle, o=offset: kernel.write(h, o, b"y" * (4 * BLOCK)), bench.kernel)
                for bench, handle in zip(pair.benches, handles, strict=True)
            ]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert outcomes[0] == outcomes[1]
        for bench, handle in zip(pair.benches, handles, strict=True):
            bench.kernel.release(handle)
        assert pair.compare() == b"x" * size
        pair.each(lambda kernel: kernel.forget(kernel.unlink(NAME)))
    pair.finish()
