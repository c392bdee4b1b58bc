"""Programs as people run them: tar, ls, find, md5sum and rm on a source tree; git; sqlite3."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from bench.mounted import Measured
from bench.scenarios.here import Here, Scenario
from bench.tree import TOP

_FILE_SIZE: Final = 20_000  # the mean of a generated file, rounded up generously, with what formats add
_ROW_SIZE: Final = 1_000  # of a transaction, in the log and in the table
_EXTRA: Final = 16 << 20
_CLIENTS: Final = 4


def _tree(here: Here) -> None:
    tree, env = here.assets.tree, here.assets.environment

    def wants(*lines: str) -> bool:
        return here.wants("memory-tree", *lines)  # whose value depends on all steps

    with here.mounted() as m:

        def program(*argv: str, syncs: bool = False) -> Measured:
            return m.run_program(argv, syncs=syncs, env=env)

        here.assets.warm(tree.tar)
        here.measure("untar", lambda: program("tar", "-xf", str(tree.tar), "--no-same-owner", syncs=True))
        if wants("ls", "ls-warm"):
            here.prepare("ls", m.make_cold)
            here.measure("ls", lambda: program("ls", "-lR", TOP))
            here.measure("ls-warm", lambda: program("ls", "-lR", TOP))
        if wants("checksum"):
            here.prepare("checksum", m.make_cold)
            here.measure("checksum", lambda: program("md5sum", "--quiet", "-c", str(tree.checksums)))
        if wants("find"):
            here.prepare("find", m.make_cold)
            here.measure("find", lambda: program("find", TOP, "-type", "f"))
        if wants("rename"):
            here.prepare("rename", m.make_cold)
            here.measure("rename", lambda: m.run("rename", TOP, syncs=True))
        if wants("rm"):
            here.prepare("rm", m.make_cold)
            program("ls", "-lR", TOP)
            here.measure("rm", lambda: program("rm", "-rf", TOP, syncs=True))
        here.record_memory("memory-tree", m.peak_resident_bytes())


def _git(here: Here) -> None:
    repository, env = here.assets.repository, here.assets.environment
    clone = ("git", "clone", "-q", "--no-hardlinks", str(repository), "clone")
    status = ("git", "-C", "clone", "status", "--porcelain")
    with here.mounted() as m:
        here.assets.warm(repository)
        here.measure("git-clone", lambda: m.run_program(clone, syncs=True, env=env))
        if here.wants("git-status", "git-status-warm"):
            # Files that are as new as the index are read once more, and the index is written anew: not what we measure.
            here.prepare("git-status", lambda: m.run_program(status, env=env))
            m.make_cold()
            here.measure("git-status", lambda: m.run_program(status, env=env))
            here.measure("git-status-warm", lambda: m.run_program(status, env=env))


def _sqlite(here: Here) -> None:
    transactions, env = here.scale.transactions, here.assets.environment
    schema, script = here.assets.schema_sql, here.assets.transactions_sql
    # The overflow is how a query makes sqlite3 fail.
    check = f"SELECT CASE count(*) WHEN {transactions} THEN 0 ELSE abs(-9223372036854775808) END FROM t;"
    with here.mounted() as m:

        def run_sql(database: str, text: str) -> Measured:
            return m.run_program(["sqlite3", "-bail", database, text], env=env)

        def make(databases: Sequence[str]) -> None:
            for database in databases:
                run_sql(database, f".read {schema}")

        def run_transactions(databases: Sequence[str]) -> Measured:
            if len(databases) == 1:
                measured = run_sql(databases[0], f".read {script}")
            else:  # each in the background, then waited for one by one: the shell fails if one of them did
                starts = [
                    f'sqlite3 -bail {database} ".read {script}" & p{i}=$!' for i, database in enumerate(databases)
                ]
                waits = [f"wait $p{i}" for i in range(len(databases))]
                measured = m.run_program(["sh", "-c", f"{'; '.join(starts)}; {' && '.join(waits)}"], env=env)
            for database in databases:
                run_sql(database, check)
            return measured.counting(len(databases) * transactions)

        here.assets.warm(script)
        for line, databases in (("sqlite", ["db"]), ("sqlite-4c", [f"db{n}" for n in range(_CLIENTS)])):
            if here.wants(line):
                here.prepare(line, functools.partial(make, databases))
                here.measure(line, functools.partial(run_transactions, databases))


TREE: Final = Scenario("tree", _tree, lambda scale: scale.tree_files * _FILE_SIZE)
GIT: Final = Scenario("git", _git, lambda scale: 2 * scale.git_files * _FILE_SIZE)
SQLITE: Final = Scenario(
    "sqlite", _sqlite, lambda scale: 2 * (1 + _CLIENTS) * (scale.transactions * _ROW_SIZE + _EXTRA)
)
