"""What the documents say of keysets is checked, not trusted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pcvfs import spec
from pcvfs.keys.cost import FLOOR
from tests.unit.keys.cheap import BY_NAME

ROOT = Path(__file__).parents[3]
FORMAT = (ROOT / "docs" / "format.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def first_column(text: str, *header: str) -> list[str]:
    lines = text.splitlines()
    start = lines.index("| " + " | ".join(header) + " |") + 2
    column = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        column.append(line.split("|")[1].strip())
    assert column
    return column


def names_in(column: list[str]) -> list[str]:
    return [name for cell in column for name in re.findall(r"`([^`]+)`", cell)]


def test_tables_of_members_are_those_of_the_file() -> None:
    keyset = json.loads(BY_NAME["all-kinds"]["file_text"])
    section = FORMAT[FORMAT.index("### Version 2") :]
    assert names_in(first_column(section, "member", "JSON type", "meaning")) == list(keyset)
    for slot in keyset["slots"]:
        assert names_in(first_column(section, "member of a slot", "JSON type", "meaning")) == list(slot)
    first = json.loads(BY_NAME["cheap-with-rk"]["file_text"])
    section = FORMAT[FORMAT.index("### Version 1") :]
    assert set(names_in(first_column(section, "member", "meaning"))) == set(first)


def test_file_names_are_those_of_the_documents() -> None:
    stored = [
        spec.KEYSET_NAME,
        spec.KEYSET_NAME + spec.KEYSET_BACKUP_SUFFIX,
        spec.KEYSET_NAME + spec.KEYSET_TMP_SUFFIX,
    ]
    section = FORMAT[FORMAT.index("## keyset.json") :]
    assert [name.encode() for name in names_in(first_column(section, "stored name", "what"))] == stored
    paths = names_in(first_column(OPERATIONS, "path in the state directory", "holds", "mode", "if it is lost"))
    assert [path.encode() for path in paths] == [b"crypto/", *(b"crypto/" + name for name in stored)]


def test_numbers_of_the_documents_are_those_of_the_code() -> None:
    section = " ".join(FORMAT[FORMAT.index("## keyset.json") : FORMAT.index("## Worked example")].split())
    for said in (
        f"`memory` at most {spec.ARGON2_MEMORY_MAX_KIB >> 20} GiB, `time` at most {spec.ARGON2_TIME_MAX}",
        f"`threads` at most {spec.ARGON2_LANES_MAX}",
        f"at most {spec.ARGON2_WORK_MAX_KIB >> 20} GiB, and",
        f"least {FLOOR.memory_kib >> 10} MiB and {FLOOR.time} passes",
        f"{spec.KEYSET_SIZE_MAX >> 10} KiB at most",
        f"list, 1 to {spec.KEYSET_SLOTS_MAX}",
        f"1 to {spec.PASSPHRASE_SIZE_MAX} bytes",
        spec.HKDF_INFO_KEYSET_FINGERPRINT.decode(),
        spec.HKDF_INFO_KEYSET_SEAL.decode(),
        spec.HKDF_INFO_KEYSET_SLOT.decode(),
        f"`{spec.DEVICE_KEY_PREFIX.decode()}`, then",
    ):
        assert said in section, said


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(test_\w+)`", OPERATIONS))))
def test_tests_that_operations_names_exist(test: str) -> None:
    assert any(f"def {test}(" in path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def test_weaknesses_have_a_test_each() -> None:
    section = OPERATIONS[OPERATIONS.index("## Weaknesses of the system this replaces") :]
    rows = [line for line in section.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 10
    assert all("`test_" in row.split("|")[4] for row in rows)
