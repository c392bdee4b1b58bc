"""kill -9 of the mount process while programs write: nothing fsynced is lost, nothing is unreadable, fsck is clean."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.checks import check_round, read_journal
from tests.crash.workers import WORKERS
from tests.support import kernel
from tests.support.drivers import Driver
from tests.support.flavours import Flavour
from tests.support.mounts import LiveMount
from tests.support.places import check_volume
from tests.support.playground import Playground
from tests.support.requirements import REPOSITORY, require_tool

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.fuse_only, pytest.mark.gocryptfs_differs("large writes tear; see the limits in the docs")]

QUICK_ROUNDS = 10
LONG_ROUNDS = 200
FACTS_BEFORE_KILL = (10, 250)


def start_workers(directory: Path, journals: Path, seed: int) -> list[subprocess.Popen[bytes]]:
    """Start one worker of each kind in a directory of its own."""
    workers = []
    for kind in WORKERS:
        (directory / kind).mkdir(parents=True)
        words = [kind, str(directory / kind), str(journals / kind), str(seed)]
        command = [sys.executable, "-m", "tests.crash.workers", *words]
        workers.append(subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL))
    return workers


def facts_so_far(journals: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in journals.iterdir())


def kill_under_load(live: LiveMount, directory: Path, journals: Path, seed: int) -> None:
    """Let the workers get going, kill the mount at a random moment, and bring it back as an operator would."""
    rng = random.Random(seed)
    wanted = rng.randrange(*FACTS_BEFORE_KILL)
    workers = start_workers(directory, journals, seed)
    try:
        kernel.wait_until(lambda: facts_so_far(journals) >= wanted, timeout_s=60, what=f"{wanted} facts")
        os.kill(live.serving_pid(), signal.SIGKILL)
        for worker in workers:
            worker.wait(timeout=30)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    live.kill()
    live.start()


def run_rounds(playground: Playground, driver: Driver, flavour: Flavour, rounds: int, seed: int) -> None:
    driver.require()
    require_tool("git")
    live, facts, problems = playground.new_mount(driver, flavour), 0, list[str]()
    for round_no in range(rounds):
        name = f"round-{round_no}"
        journals = playground.new_directory("journals")
        (live.path / name).mkdir()
        kill_under_load(live, live.path / name, journals, seed + round_no)
        facts += sum(len(read_journal(path)) for path in journals.iterdir())
        found = check_round(live.path / name, journals)
        live.unmount()
        found += check_volume(live, {driver.name})
        live.start()
        removal = subprocess.run(
            ["rm", "-rf", live.path / name], capture_output=True, text=True, timeout=120, check=False
        )
        if removal.returncode != 0:
            found.append(removal.stderr[:500])
        problems += [f"round {round_no} (seed {seed}): {line}" for line in found]
    log.info(
        "%s %s: %d kills, %d facts, seed %d, %d problems", driver.name, flavour.name, rounds, facts, seed, len(problems)
    )
    assert not problems, "\n".join(problems)


@pytest.mark.timeout(300)
@pytest.mark.flavours("default")
def test_ten_kills_lose_nothing_durable(playground: Playground, driver: Driver, flavour: Flavour, seed: int) -> None:
    run_rounds(playground, driver, flavour, QUICK_ROUNDS, seed)


@pytest.mark.long
@pytest.mark.flavours("default", "xchacha", "aessiv", "plaintextnames", "longnamemax-62")
def test_many_kills_lose_nothing_durable(playground: Playground, driver: Driver, flavour: Flavour, seed: int) -> None:
    run_rounds(playground, driver, flavour, LONG_ROUNDS, seed)
