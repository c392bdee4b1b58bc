"""Files, by the C client: one large one, random places in it, several clients, and many small ones."""

from __future__ import annotations

from typing import Final

from bench.scale import MIB, Scale
from bench.scenarios.here import Here, Scenario

_KIB: Final = 1024
_PAGE: Final = 4096
_CLIENTS: Final = 4
_FILE_OVERHEAD: Final = 8 * _KIB  # blocks, header and name of a small encrypted file


def _stream(here: Here) -> None:
    size = here.scale.stream
    with here.mounted() as m:
        if here.wants("write-128k", "memory-stream"):
            here.measure("write-128k", lambda: m.run("write", "f", size, 128 * _KIB, max_file=size))
            here.prepare("write-1m", lambda: m.run_program(["rm", "f.0"]))
        # The other lines need the file of this one.
        written = here.measure("write-1m", lambda: m.run("write", "f", size, MIB, max_file=size))
        here.record_cpu("write", written)
        if here.wants("read-128k", "memory-stream"):
            here.prepare("read-128k", m.make_cold)
            here.measure("read-128k", lambda: m.run("read", "f", size, 128 * _KIB))
        if here.wants("read-1m", "cpu-read-server", "cpu-read-total", "memory-stream"):
            here.prepare("read-1m", m.make_cold)
            here.record_cpu("read", here.measure("read-1m", lambda: m.run("read", "f", size, MIB)))
        here.record_memory("memory-stream", m.peak_resident_bytes())


def _random(here: Here) -> None:
    size, ops = here.scale.random_file, here.scale.random_ops
    with here.mounted() as m:
        if here.wants("read-random", "write-random"):
            here.prepare("read-random", lambda: m.run("write", "f", size, MIB, max_file=size))
            m.make_cold()
            here.measure("read-random", lambda: m.run("randread", "f", size, _PAGE, ops))
            here.measure("write-random", lambda: m.run("randwrite", "f", size, _PAGE, ops, max_file=size))
        if here.wants("append"):
            appended = here.scale.append
            here.measure("append", lambda: m.run("append", "log", appended, _PAGE, max_file=appended))


def _clients(here: Here) -> None:
    size, ops = here.scale.stream // _CLIENTS, here.scale.random_ops // _CLIENTS
    files = here.scale.small_files // _CLIENTS
    with here.mounted() as m:
        if here.wants("write-4c", "read-4c", "read-random-4c"):
            here.measure("write-4c", lambda: m.run("write", "f", size, MIB, clients=_CLIENTS, max_file=size))
        if here.wants("read-4c"):
            here.prepare("read-4c", m.make_cold)
            here.measure("read-4c", lambda: m.run("read", "f", size, MIB, clients=_CLIENTS))
        if here.wants("read-random-4c"):
            here.prepare("read-random-4c", m.make_cold)
            here.measure("read-random-4c", lambda: m.run("randread", "f", size, _PAGE, ops, clients=_CLIENTS))
        if here.wants("create-4c"):
            create = ("create", "d", files, here.scale.small_size)
            here.measure("create-4c", lambda: m.run(*create, clients=_CLIENTS, syncs=True))


def _small(here: Here) -> None:
    files = ("d", here.scale.small_files, here.scale.small_size)
    with here.mounted() as m:
        here.measure("create", lambda: m.run("create", *files, syncs=True))
        if here.wants("read-small", "read-small-warm", "delete"):  # deleted are files that have been read
            here.prepare("read-small", m.make_cold)
            here.measure("read-small", lambda: m.run("readfiles", *files))
            here.measure("read-small-warm", lambda: m.run("readfiles", *files))
        if here.wants("delete"):
            here.measure("delete", lambda: m.run("delete", *files, syncs=True))


def _need_small(scale: Scale) -> int:
    return scale.small_files * (scale.small_size + _FILE_OVERHEAD)


STREAM: Final = Scenario("stream", _stream, lambda scale: scale.stream)
RANDOM: Final = Scenario("random", _random, lambda scale: scale.random_file + scale.append)
CLIENTS: Final = Scenario("clients", _clients, lambda scale: scale.stream + _need_small(scale))
SMALL: Final = Scenario("small", _small, _need_small)
