"""Programs as people run them: tar, ls, find, md5sum and rm on a source tree; git; sqlite3."""

from __future__ import annotations

from typing import Final

from bench.mounted import Measured, Mounted
from bench.scale import Scale
from bench.scenarios.here import Here, Scenario
from bench.tree import TOP

_FILE_SIZE: Final = 20_000  # the mean of a generated file, rounded up generously, with what formats add
_ROW_SIZE: Final = 1_000  # of a transaction, in the log and in the table
_EXTRA: Final = 16 << 20


def _tree(here: Here) -> None:
    tree, env = here.assets.tree, here.assets.environment
    with here.mounted() as m:

        def program(*argv: str, syncs: bool = False) -> Measured:
            return m.run_program(argv, syncs=syncs, env=env)

        here.assets.warm(tree.tar)
        here.measure("untar", lambda: program("tar", "-xf", str(tree.tar), "--no-same-owner", syncs=True))
        if here.wants("ls", "ls-warm"):
            here.prepare("ls", m.make_cold)
            here.measure("ls", lambda: program("ls", "-lR", TOP))
            here.measure("ls-warm", lambda: program("ls", "-lR", TOP))
        if here.wants("checksum"):
            here.prepare("checksum", m.make_cold)
            here.measure("checksum", lambda: program("md5sum", "--quiet", "-c", str(tree.checksums)))
        if here.wants("find"):
            here.prepare("find", m.make_cold)
            here.measure("find", lambda: program("find", TOP, "-type", "f"))
        if here.wants("rename"):
            here.measure("rename", lambda: m.run("rename", TOP, syncs=True))
        if here.wants("rm"):
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
    with here.mounted() as m:
        here.prepare("sqlite", lambda: _run_sql(here, m, str(here.assets.schema_sql)))
        path = here.assets.transactions_sql
        here.assets.warm(path)
        here.measure("sqlite", lambda: _counted(_run_sql(here, m, str(path)), here.scale.transactions))
        check = f"SELECT iif(count(*) = {here.scale.transactions}, 1, abs(-9223372036854775808)) FROM t;"
        m.run_program(["sqlite3", "-bail", "db", check], env=here.assets.environment)


def _run_sql(here: Here, m: Mounted, path: str) -> Measured:
    return m.run_program(["sqlite3", "-bail", "db", f".read {path}"], env=here.assets.environment)
