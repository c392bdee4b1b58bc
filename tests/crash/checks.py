"""What must be true after the mount came back, judged by the workers' journals."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypedDict

from tests.crash.workers import GIT, MIB, PAGE, SLOT_SIZE, SLOTS, page_stamp, slot_content


class Fact(TypedDict, total=False):
    """One line of a journal; which keys it has depends on the worker that wrote it."""

    file: str
    removed: str
    sha256: str
    records: int
    name: str
    version: int
    slots: dict[str, int]
    tree: str
    leaving: str
    row: int
    commit: str
    large_slots: dict[str, int]
    writing: list[int]
    marker: str


Facts = list[Fact]


def read_journal(path: Path) -> Facts:
    """Return the facts of a journal, oldest first."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def check_large_files(directory: Path, facts: Facts) -> list[str]:
    removed = {fact["removed"] for fact in facts if "removed" in fact}
    synced = {fact["file"]: fact["sha256"] for fact in facts if "file" in fact}
    problems = []
    for name, digest in synced.items():
        if name not in removed:
            data = (directory / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                problems.append(f"{name}: fsynced content differs")
    return problems


def check_log_lines(directory: Path, facts: Facts) -> list[str]:
    if not facts:
        return []
    wanted = facts[-1]["records"]
    lines = (directory / "log").read_bytes().split(b"\n")
    numbers = [int(line.split(b":")[0]) for line in lines[:wanted] if line]
    return [] if numbers == list(range(wanted)) else [f"log: {wanted} records were fsynced, {len(numbers)} are there"]


def check_replaced_file(directory: Path, facts: Facts) -> list[str]:
    problems = []
    for name, version in {fact["name"]: fact["version"] for fact in facts}.items():
        data = (directory / name).read_bytes()
        found = int(data[:8])
        if found < version:
            problems.append(f"{name[:20]}: version {found} after version {version} was made durable")
        if not data.endswith(b":end") or set(data[9:-4]) - {65 + found % 26}:
            problems.append(f"{name[:20]}: version {found} is not complete")
        if name not in os.listdir(directory):
            problems.append(f"{name[:20]}: not listed")
    return problems


def check_overwritten_slots(directory: Path, facts: Facts) -> list[str]:
    versions: dict[int, int] = {}
    for fact in facts:
        versions.update({int(slot): version for slot, version in fact["slots"].items()})
    if not versions:
        return []
    data, newest, problems = (directory / "slots").read_bytes(), max(versions.values()), []
    for slot in range(SLOTS):
        content = data[slot * SLOT_SIZE :][:SLOT_SIZE]
        in_flight = slot_content(slot, newest + 1)  # may or may not have arrived
        if content not in (slot_content(slot, versions[slot]), in_flight):
            problems.append(f"slot {slot}: {content[:16]!r} instead of version {versions[slot]}")
    return problems


def check_changing_names(directory: Path, facts: Facts) -> list[str]:
    trees: dict[str, str] = {}
    optional: set[str] = set()
    for fact in facts:
        if "tree" in fact:
            trees[fact["tree"]] = fact["sha256"]
        else:
            optional.add(fact["leaving"])
    problems, listed = [], set(os.listdir(directory))
    for name, digest in trees.items():
        if name in optional and name not in listed:
            continue
        if name not in listed:
            problems.append(f"{name[:20]}: fsynced directory is not listed")
            continue
        inside = directory / name / "inside"
        if name in optional and not inside.exists():
            continue
        if hashlib.sha256(inside.read_bytes()).hexdigest() != digest:
            problems.append(f"{name[:20]}/inside: fsynced content differs")
    return problems


def check_database_rows(directory: Path, facts: Facts) -> list[str]:
    if not facts:
        return []
    with closing(sqlite3.connect(directory / "data.db", timeout=30)) as database:
        integrity = database.execute("pragma integrity_check").fetchall()
        rows = {row for (row,) in database.execute("select id from t")}
    problems = [] if integrity == [("ok",)] else [f"database: {integrity[:3]}"]
    lost = {fact["row"] for fact in facts} - rows
    return problems + ([f"database: {len(lost)} committed rows lost"] if lost else [])


def check_git_commits(directory: Path, facts: Facts) -> list[str]:
    if not facts:
        return []
    checks = [["fsck", "--full", "--no-dangling"]]
    checks += [["merge-base", "--is-ancestor", fact["commit"], "HEAD"] for fact in facts[-3:]]
    problems = []
    for words in checks:
        result = subprocess.run(
            [*GIT, "-C", directory, *words], capture_output=True, text=True, check=False, timeout=60
        )
        if result.returncode != 0:
            problems.append(f"git {words[0]}: {result.stdout[-300:]}{result.stderr[-300:]}")
    return problems


def check_large_slots(directory: Path, facts: Facts) -> list[str]:
    synced: dict[int, int] = {}
    under_way: dict[int, int] = {}
    for fact in facts:
        if "writing" in fact:
            under_way = dict.fromkeys(fact["writing"], fact["version"])
        else:
            synced |= {int(slot): version for slot, version in fact["large_slots"].items()}
            under_way = {}
    problems = []
    data = (directory / "large-slots").read_bytes() if synced else b""
    for slot, version in synced.items():
        allowed = [page_stamp(slot, version)] + ([page_stamp(slot, under_way[slot])] if slot in under_way else [])
        allowed_pages = {stamp.ljust(PAGE, b".") for stamp in allowed}
        found = {data[at : at + PAGE] for at in range(slot * MIB, (slot + 1) * MIB, PAGE)}
        if not found <= allowed_pages:
            strange = sorted(page[:13] for page in found - allowed_pages)[:3]
            problems.append(f"slot {slot}: {strange} where version {version} was made durable")
    return problems


def check_restless_names(directory: Path, facts: Facts) -> list[str]:
    there = set(os.listdir(directory))
    return [f"{fact['marker']} was made durable and is gone" for fact in facts if fact["marker"] not in there]


CHECKS: dict[str, Callable[[Path, Facts], list[str]]] = {
    "large_files": check_large_files,
    "log_lines": check_log_lines,
    "replaced_file": check_replaced_file,
    "overwritten_slots": check_overwritten_slots,
    "changing_names": check_changing_names,
    "database_rows": check_database_rows,
    "git_commits": check_git_commits,
    "large_slots": check_large_slots,
    "restless_names": check_restless_names,
}


def check_round(directory: Path, journals: Path) -> list[str]:
    """Check the facts of all workers of a round, and that everything in its directory can be read."""
    problems = []
    for kind, check in CHECKS.items():
        try:
            problems += check(directory / kind, read_journal(journals / kind))
        except (OSError, sqlite3.Error) as exc:
            problems.append(f"{kind}: {exc}")
    return problems + unreadable(directory)


def unreadable(root: Path) -> list[str]:
    """Return what gives an error when it is looked at: no crash may leave such things, fsynced or not."""
    problems: list[str] = []

    def failed(exc: OSError) -> None:
        problems.append(f"unreadable: {exc.filename!r:.60}: {errno.errorcode[exc.errno or 0]}")

    for directory, _, files in os.walk(root, onerror=failed):
        for name in files:
            path = Path(directory, name)
            try:
                os.lstat(path)
                if path.is_symlink():
                    os.readlink(path)
                else:
                    path.read_bytes()
            except OSError as exc:
                failed(exc)
    return problems
