"""What the workloads read from outside the volume, made when it is first needed: the tree, a repository, SQL."""

from __future__ import annotations

import functools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.proc import Command, run
from bench.scale import Scale
from bench.tree import TOP, Tree, generate_tree

_LIMIT_S: Final = 600.0
_ROW_SIZE: Final = 200

_GIT_CONFIG: Final = """\
[user]
    name = bench
    email = bench@localhost
[safe]
    directory = *
[gc]
    auto = 0
[maintenance]
    auto = false
[advice]
    detachedHead = false
"""


@dataclass(frozen=True)
class Assets:
    """The inputs of one run; the same for the same scale and seed."""

    directory: Path
    scale: Scale
    seed: int

    @functools.cached_property
    def environment(self) -> dict[str, str]:
        """For the programs of the workloads: nothing of the user's settings."""
        config = self.directory / "gitconfig"
        config.write_text(_GIT_CONFIG)
        return {
            "HOME": str(self.directory),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(config),
            "GIT_TERMINAL_PROMPT": "0",
        }

    @functools.cached_property
    def tree(self) -> Tree:
        return generate_tree(self.directory, "tree", files=self.scale.tree_files, seed=self.seed)

    @functools.cached_property
    def repository(self) -> Path:
        """A bare git repository with one commit, packed."""
        source = generate_tree(self.directory, "source", files=self.scale.git_files, seed=self.seed + 1)
        work, bare = self.directory / "work", self.directory / "repository.git"
        work.mkdir()
        self._run("tar", "-xf", str(source.tar), "-C", str(work), "--no-same-owner")
        for words in (["init", "-q", "-b", "main"], ["add", TOP], ["commit", "-q", "-m", "the tree"]):
            self._run("git", "-C", str(work), *words)
        self._run("git", "clone", "-q", "--bare", "--no-local", str(work), str(bare))
        shutil.rmtree(work)
        source.tar.unlink()
        return bare

    @functools.cached_property
    def schema_sql(self) -> Path:
        """Makes the table, in the journal mode that the file then keeps."""
        path = self.directory / "schema.sql"
        path.write_text("PRAGMA journal_mode=WAL;\nCREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);\n")
        return path

    @functools.cached_property
    def transactions_sql(self) -> Path:
        """One transaction a line."""
        path = self.directory / "transactions.sql"
        with path.open("w") as sql:
            sql.write("PRAGMA synchronous=FULL;\n")
            for number in range(self.scale.transactions):
                sql.write(f"INSERT INTO t (v) VALUES ('{number:0{_ROW_SIZE}}');\n")
        return path

    def warm(self, path: Path) -> None:
        """Have a file or a directory of ours in memory, so that reading it is not part of what is timed."""
        files = [path] if path.is_file() else [Path(at, name) for at, _, names in os.walk(path) for name in names]
        for file in files:
            with file.open("rb", buffering=0) as stream:
                while stream.read(1 << 20):
                    pass

    def _run(self, *argv: str) -> None:
        run(Command(argv, self.environment), limit_s=_LIMIT_S)
