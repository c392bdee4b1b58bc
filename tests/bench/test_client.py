"""The C client: what it does, what it checks, where it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.client import Client, ClientResult, build_client
from bench.errors import BenchError

PAGE = 4096


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return build_client(tmp_path_factory.mktemp("client"))


def _device(path: Path) -> str:
    device = path.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def _run(client: Client, directory: Path, *workload: str | int, clients: int = 1, max_file: int = 0) -> ClientResult:
    return client.run(
        workload, directory=directory, device=_device(directory), clients=clients, max_file=max_file, limit_s=20.0
    )


def test_client_write_then_read_reports_what_it_moved(client: Client, tmp_path: Path) -> None:
    written = _run(client, tmp_path, "write", "f", 16 * PAGE, 4 * PAGE)
    assert (written.bytes, written.ops) == (16 * PAGE, 4)
    assert (tmp_path / "f.0").stat().st_size == 16 * PAGE
    read = _run(client, tmp_path, "read", "f", 16 * PAGE, PAGE)
    assert (read.bytes, read.ops) == (16 * PAGE, 16)
    assert read.seconds > 0


@pytest.mark.parametrize("workload", ["read", "randread"])
def test_client_reading_notices_wrong_content(client: Client, tmp_path: Path, workload: str) -> None:
    _run(client, tmp_path, "write", "f", 4 * PAGE, PAGE)
    content = (tmp_path / "f.0").read_bytes()
    (tmp_path / "f.0").write_bytes(content[PAGE:] + content[:PAGE])  # pages that belong elsewhere
    count = (4,) if workload == "randread" else ()
    with pytest.raises(BenchError, match="wrong content"):
        _run(client, tmp_path, workload, "f", 4 * PAGE, PAGE, *count)


def test_client_reading_a_short_file_fails(client: Client, tmp_path: Path) -> None:
    _run(client, tmp_path, "write", "f", 4 * PAGE, PAGE)
    with pytest.raises(BenchError, match="came up short"):
        _run(client, tmp_path, "read", "f", 8 * PAGE, PAGE)


def test_client_random_write_covers_every_page_once(client: Client, tmp_path: Path) -> None:
    pages = 37  # no power of two
    (tmp_path / "f.0").write_bytes(bytes(pages * PAGE))
    result = _run(client, tmp_path, "randwrite", "f", pages * PAGE, PAGE, pages)
    assert result.ops == pages
    assert result.p50_us is not None
    _run(client, tmp_path, "read", "f", pages * PAGE, PAGE)  # which checks each page


def test_client_appends_add_up(client: Client, tmp_path: Path) -> None:
    result = _run(client, tmp_path, "append", "log", 3 * PAGE, PAGE)
    assert result.ops == 3
    _run(client, tmp_path, "read", "log", 3 * PAGE, PAGE)


def test_client_small_files_live_and_die(client: Client, tmp_path: Path) -> None:
    files = ("d", 501, 100)  # more than one directory takes
    assert _run(client, tmp_path, "create", *files).ops == 501
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 501
    assert _run(client, tmp_path, "readfiles", *files).bytes == 50100
    assert _run(client, tmp_path, "statfiles", *files).ops == 501
    _run(client, tmp_path, "delete", *files)
    assert list(tmp_path.iterdir()) == []


def test_client_rename_gives_every_entry_a_new_name(client: Client, tmp_path: Path) -> None:
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "a" / "f").touch()
    assert _run(client, tmp_path, "rename", "top").ops == 3
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {
        "top",
        "top/a~",
        "top/a~/b~",
        "top/a~/f~",
    }


def test_client_several_clients_each_have_a_file(client: Client, tmp_path: Path) -> None:
    result = _run(client, tmp_path, "write", "f", 4 * PAGE, PAGE, clients=3)
    assert result.bytes == 3 * 4 * PAGE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.0", "f.1", "f.2"]


def test_client_on_another_device_refuses_and_writes_nothing(client: Client, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="not on 0:0"):
        client.run(["write", "f", PAGE, PAGE], directory=tmp_path, device="0:0", limit_s=20.0)
    assert list(tmp_path.iterdir()) == []


def test_client_file_can_not_outgrow_its_limit(client: Client, tmp_path: Path) -> None:
    with pytest.raises(BenchError):
        _run(client, tmp_path, "write", "f", 8 * PAGE, PAGE, max_file=4 * PAGE)
    assert (tmp_path / "f.0").stat().st_size <= 4 * PAGE


def test_client_program_that_fails_is_an_error(client: Client, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="exit code 1"):
        _run(client, tmp_path, "exec", "false")


def test_client_too_slow_is_ended(client: Client, tmp_path: Path) -> None:
    called = []
    with pytest.raises(BenchError, match="did not end"):
        client.run(
            ["exec", "sleep", "30"],
            directory=tmp_path,
            device=_device(tmp_path),
            limit_s=0.2,
            on_timeout=lambda: called.append(True),
        )
    assert called == [True]
