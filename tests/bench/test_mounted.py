"""Real mounts of the harness: they work, they are watched, and none outlives its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench import proc
from bench.errors import BenchError
from bench.peers import make_peer
from bench.record import Failure, Sample
from bench.rounds import run_turn
from bench.scenarios import SCENARIOS
from tests.bench.conftest import HereMaker, failures
from tests.support.kernel import find_mount
from tests.support.requirements import require_fuse

REPOSITORY = Path(__file__).parents[2]
PEER = make_peer("python")


@pytest.fixture(autouse=True)
def _fuse() -> None:
    require_fuse()


def test_small_scenario_on_a_mount_yields_all_lines(make_here: HereMaker) -> None:
    here = make_here(PEER, "create", "read-small", "read-small-warm", "delete")
    results = run_turn(SCENARIOS["small"], here)
    assert failures(results) == {}
    created = results["create"]
    assert isinstance(created, Sample)
    assert created.details["server_cpu_s"] > 0
    assert not list((here.place.root / "mnt").glob("*/*"))


def test_mounted_measures_its_own_process(make_here: HereMaker) -> None:
    with make_here(PEER).mounted() as m:
        assert len(m.pids) == 1
        assert 1 << 20 < m.resident_bytes() <= m.peak_resident_bytes()
        before = m.server_cpu_s()
        measured = m.run("create", "d", 50, 100)
        assert measured.server_cpu_s > 0
        assert m.server_cpu_s() > before
        assert measured.result.ops == 50


def test_make_cold_is_another_process_with_the_same_files(make_here: HereMaker) -> None:
    with make_here(PEER).mounted() as m:
        m.run("create", "d", 5, 100)
        first = list(m.pids)
        m.make_cold()
        assert m.pids != first
        assert m.run("readfiles", "d", 5, 100).result.ops == 5


def test_mount_that_hangs_fails_its_step_and_is_gone(make_here: HereMaker) -> None:
    with make_here(PEER, step_limit_s=1.0).mounted() as m:
        path, pids = m.path, list(m.pids)
        os.kill(pids[0], signal.SIGSTOP)
        with pytest.raises(BenchError, match="did not end"):
            m.run("create", "d", 5, 100)
        assert m.was_aborted
        assert find_mount(path) is None
        assert proc.wait_gone(pids, limit_s=5.0) == []
        with pytest.raises(BenchError, match="aborted"):
            m.run("create", "e", 5, 100)


def test_mount_whose_process_dies_fails_its_lines(make_here: HereMaker) -> None:
    here = make_here(PEER, "create")

    def work() -> None:
        with here.mounted() as m:
            os.kill(m.pids[0], signal.SIGKILL)
            proc.wait_gone(m.pids, limit_s=5.0)
            here.measure("create", lambda: m.run("create", "d", 5, 100))

    with pytest.raises(BenchError, match="died"):
        work()
    assert isinstance(here.results["create"], Failure)
    assert not [entry for entry in (here.place.root / "mnt").iterdir() if find_mount(entry)]


def test_run_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    program = """
        import os, signal, sys
        from bench.assets import Assets
        from bench.peers import make_peer
        from bench.place import make_place
        from bench.scale import TINY
        from bench.scenarios import Here

        with make_place(sys.argv[1], size=1 << 20) as place:
            here = Here(make_peer("python"), place, Assets(place.assets, TINY, 1), TINY, 0, frozenset(), lambda _: None)
            with here.mounted() as m:
                m.run("create", "d", 5, 100)
                print(place.root, m.path, place.janitor.pid, *m.pids, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    killed = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    root, path, *pids = killed.stdout.split()
    assert proc.wait_gone(list(map(int, pids)), limit_s=30.0) == []
    assert find_mount(Path(path)) is None
    assert not Path(root).exists()
