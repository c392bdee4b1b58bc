"""``tools/bench``: choose what to measure, measure it, show and keep the result."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench.assets import Assets
from bench.errors import BenchError, PeerUnavailableError, RefusalError
from bench.lines import LINES, Line, choose
from bench.machine import describe_machine
from bench.peers import DEFAULT, NAMES, QUICK_NAMES, Peer, install_packages, make_peer, parse_variant
from bench.place import Place, make_place
from bench.record import LOCAL_RESULTS, RESULTS, PeerInfo, Record, describe_commit, load, save
from bench.rounds import Turn, plan, run_rounds
from bench.scale import FULL, QUICK, SCALES, Scale
from bench.scenarios import SCENARIOS, Here
from bench.table import show_results
from bench.watcher import ConsoleWatcher
from pcvfs._version import __version__

_QUICK_BUDGET_S = 270.0
_NO_BUDGET_S = 24 * 3600.0

_USAGE = """\
tools/bench [OPTIONS]              measure
       tools/bench compare OLD NEW        two records of one machine
       tools/bench report                 bring docs/performance.md up to date
       tools/bench micro [PYTEST OPTIONS] the codec, and single requests"""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asks for."""

    peers: tuple[Peer, ...]
    are_chosen: bool  # by name, so that what is missing may be installed
    lines: tuple[Line, ...]
    scale: Scale
    baseline: str
    backing: str
    seed: int
    out: Path
    budget_s: float


def _parse(argv: Sequence[str]) -> Settings:
    parser = argparse.ArgumentParser(prog="tools/bench", usage=_USAGE, allow_abbrev=False)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_const", dest="scale", const="quick", help="a first look: under 5 minutes"
    )
    size.add_argument(
        "--tiny", action="store_const", dest="scale", const="tiny", help="does it work? no numbers to keep"
    )
    parser.add_argument("--peers", metavar="A,B", help=f"of {', '.join(NAMES)}, or all; default: {', '.join(DEFAULT)}."
                        " What is named and missing is installed from Debian")  # fmt: skip
    parser.add_argument("--variant", action="append", default=[], metavar="LABEL=PEER [program:PATH] [ARGS]",
                        help="another peer: the same with other options, or another program; repeatable")  # fmt: skip
    parser.add_argument("--gocryptfs", metavar="PATH", default="", help="this program instead of Debian's")
    parser.add_argument("--baseline", metavar="LABEL", default="gocryptfs", help="whom to compare with")
    parser.add_argument("--backing", default="tmpfs", metavar="tmpfs|disk|DIR", help="what is below the volumes")
    parser.add_argument("--lines", metavar="A,B", default="", help="lines, scenarios or globs; see --list")
    parser.add_argument("--list", action="store_true", help="show all lines, and end")
    parser.add_argument("--pairs", type=int, metavar="N", help="rounds; default: 5, less with --quick and --tiny")
    parser.add_argument("--inodes", type=int, metavar="N", help="of memory-inodes; default: a million")
    parser.add_argument("--seed", type=int, default=1, help="of the generated tree")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="start nothing new after that time")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"for the record; default: {RESULTS.name}, or"
                        f" {RESULTS.name}/{LOCAL_RESULTS.name} for what is not a full run")  # fmt: skip
    args = parser.parse_args(argv)
    if args.list:
        _list_lines()
        sys.exit(0)
    return _settings(args)


def _settings(args: argparse.Namespace) -> Settings:
    """Raises: RefusalError: it contradicts itself."""
    scale = SCALES[args.scale or "full"]
    changes = {"pairs": args.pairs, "inodes": args.inodes}
    scale = dataclasses.replace(scale, **{name: value for name, value in changes.items() if value})
    default = QUICK_NAMES if scale.name == QUICK.name else DEFAULT
    names = NAMES if args.peers == "all" else default if args.peers is None else args.peers.split(",")
    peers = [make_peer(name, program=args.gocryptfs if name == "gocryptfs" else "") for name in names if name]
    peers += [parse_variant(text) for text in args.variant]
    labels = [peer.label for peer in peers]
    if len(set(labels)) < len(labels) or not peers:
        raise RefusalError("each peer needs a label of its own" if peers else "nobody to measure")
    is_whole = scale.sizes() == FULL.sizes() and scale.pairs >= FULL.pairs and not args.lines
    return Settings(
        peers=tuple(peers),
        are_chosen=args.peers is not None,
        lines=choose(name for name in args.lines.split(",") if name),
        scale=scale,
        baseline=args.baseline,
        backing=args.backing,
        seed=args.seed,
        out=args.out or (RESULTS if is_whole else LOCAL_RESULTS),
        budget_s=args.budget or (_NO_BUDGET_S if scale.name != QUICK.name else _QUICK_BUDGET_S),
    )


def _list_lines() -> None:
    console = Console()
    for name in SCENARIOS:
        console.print(name, style="bold", highlight=False)
        for line in LINES:
            if line.scenario == name:
                console.print(f"  {line.name:<18} {line.quantity.value:>6}  {line.title}", highlight=False)


def measure(settings: Settings, console: Console) -> Record:
    """Do the whole run. Returns what there is, also when it was interrupted.

    Raises:
        RefusalError: it can't start.
    """
    if settings.are_chosen:
        install_packages(settings.peers)
    deadline = time.monotonic() + settings.budget_s
    record = _new_record(settings)
    able = [peer for peer in settings.peers if _is_able(peer, record, console)]
    if settings.baseline not in record.peers:
        raise RefusalError(f"the baseline {settings.baseline!r} is not among those that run; choose with --baseline")
    rounds = plan(able, settings.lines, settings.scale.pairs)
    size = max(SCENARIOS[line.scenario].need(settings.scale) for line in settings.lines)
    try:
        with (
            ConsoleWatcher(console, sum(map(len, rounds))) as watcher,
            make_place(settings.backing, size=size) as place,
        ):
            record.backing = f"{place.backing.name} {place.backing.fs_type}"
            record.drops_caches = place.can_drop_caches
            run_rounds(rounds, record, _here_maker(settings, place), watcher, deadline=deadline)
    except KeyboardInterrupt:
        console.print("interrupted; everything is unmounted and removed", style="yellow")
    return record


def _here_maker(settings: Settings, place: Place) -> Callable[[Turn, Callable[[str], None]], Here]:
    assets = Assets(place.assets, settings.scale, settings.seed)

    def make(turn: Turn, on_step: Callable[[str], None]) -> Here:
        wanted = frozenset(line.name for line in turn.lines)
        return Here(turn.peer, place, assets, settings.scale, turn.round, wanted, on_step)

    return make


def _new_record(settings: Settings) -> Record:
    commit, has_changes = describe_commit()
    return Record(
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        version=__version__,
        commit=commit,
        has_changes=has_changes,
        backing="",
        scale=settings.scale.name,
        sizes=settings.scale.sizes(),
        seed=settings.seed,
        flags=sys.argv[1:],
        baseline=settings.baseline,
        drops_caches=False,
    )


def _is_able(peer: Peer, record: Record, console: Console) -> bool:
    try:
        peer.check()
        record.peers[peer.label] = PeerInfo(peer.product, peer.version(), peer.args)
    except (PeerUnavailableError, BenchError) as exc:
        record.unavailable[peer.label] = str(exc)
        console.print(f"{peer.label} does not run: {exc}", style="yellow", highlight=False)
        return False
    return True


def _main(argv: Sequence[str]) -> int:
    # A terminated run cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console, news = Console(), Console(stderr=True)
    try:
        if argv[:1] == ["compare"]:
            return _compare(argv[1:], console)
        if argv[:1] == ["report"]:
            return _report(console)
        settings = _parse(argv)
        record = measure(settings, news)
        if record.series:
            show_results(console, record)
            console.print(f"record: {save(record, settings.out)}", highlight=False)
        return 0 if record.is_complete else 1
    except RefusalError as exc:
        news.print(f"bench: {exc}", style="red", highlight=False, markup=False)
        return 2


def _compare(argv: Sequence[str], console: Console) -> int:
    from bench.compare import show_changes

    if len(argv) != 2:
        raise RefusalError("compare takes two records: OLD NEW")
    show_changes(console, *(load(Path(path)) for path in argv))
    return 0


def _report(console: Console) -> int:
    try:
        from bench.report import full_records, write_report
    except ModuleNotFoundError as exc:
        raise RefusalError(f"{exc}; tools/setup --dev gets what the pictures need") from exc
    for path in write_report(full_records()):
        console.print(f"written: {path}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
