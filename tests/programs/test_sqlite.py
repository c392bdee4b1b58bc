"""SQLite in WAL mode with synchronous=FULL: the writer is killed, nothing committed is lost."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount

pytestmark = pytest.mark.flavours("default")

ROUNDS = 6
WRITER = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute("pragma journal_mode=wal"); db.execute("pragma synchronous=full"); db.execute("pragma wal_autocheckpoint=50")
db.execute("create table if not exists t (id integer primary key, who integer, data blob)")
who, number = int(sys.argv[2]), 0
while True:
    db.execute("begin immediate")
    db.execute("insert into t (who, data) values (?, ?)", (who, os.urandom(number % 5000)))
    row = db.execute("select last_insert_rowid()").fetchone()[0]
    if number % 7 == 3:
        db.execute("update t set data = zeroblob(100) where id = ?", (row // 2,))
    db.execute("commit")
    print(row, flush=True)
    number += 1
"""


def start_writer(database: Path, who: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, database, str(who)], stdout=subprocess.PIPE, text=True)


def check(database: Path, committed: set[int]) -> None:
    """Every row that was reported as committed is there, and the file is sound."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        rows = {row for (row,) in connection.execute("select id from t")}
    assert committed <= rows, sorted(committed - rows)


def test_killed_writers_lose_no_committed_row(own_mount: LiveMount, seed: int) -> None:
    database, committed, rng = own_mount.path / "data.db", set[int](), random.Random(seed)
    for round_no in range(ROUNDS):
        writers = [start_writer(database, who) for who in range(1 + round_no % 2)]
        wanted = rng.randrange(5, 60)
        for _ in range(wanted):
            for writer in writers:
                assert writer.stdout is not None
                committed.add(int(writer.stdout.readline()))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            assert writer.stdout is not None
            committed.update(int(line) for line in writer.stdout if line.endswith("\n"))
            writer.wait(timeout=30)
            writer.stdout.close()
        check(database, committed)
    own_mount.unmount()
    own_mount.start()
    check(database, committed)


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_every_journal_mode_keeps_a_database_sound(own_mount: LiveMount, mode: str) -> None:
    database = own_mount.path / f"{mode}.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("pragma page_size=1024")
        assert connection.execute(f"pragma journal_mode={mode}").fetchone() == (mode,)
        connection.execute("create table t (a integer primary key, b text)")
        for number in range(30):
            connection.execute("insert into t values (?, ?)", (number, "x" * number * 40))
        connection.execute("begin")
        connection.execute("delete from t")
        connection.execute("rollback")
        connection.execute("vacuum")
    own_mount.unmount()
    own_mount.start()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert connection.execute("select count(*), sum(length(b)) from t").fetchone() == (30, 40 * 435)
