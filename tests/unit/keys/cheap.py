"""What the tests of keys share: a price that costs nothing, secrets, and the vectors."""

from __future__ import annotations

import json
from pathlib import Path

from pcvfs.crypto.argon2 import Argon2Cost
from pcvfs.errors import UnlockError
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.password import Password
from pcvfs.keys.slots import SlotKey

COST = Argon2Cost(time=1, memory_kib=8, lanes=1)
CHEAP = CostPolicy(COST, floor=COST)
PASSWORD, OTHER = "correct horse", "battery staple"
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "keyset" / "keysets.json").read_text())
BY_NAME = {vector["name"]: vector for vector in (*VECTORS["version_1"], *VECTORS["version_2"])}
SDEK = bytes.fromhex(VECTORS["sdek_hex"])
FINGERPRINT = VECTORS["fingerprint_hex"]


def password(text: str) -> Password:
    return Password.from_text(text)


def opens(keyset: Keyset, key: SlotKey | str) -> bool:
    """Whether a password, or another key, opens it. Anything but a wrong secret is raised."""
    try:
        keyset.open(password(key) if isinstance(key, str) else key).wipe()
    except UnlockError:
        return False
    return True


def sdek_of(keyset: Keyset, key: SlotKey | str) -> bytes:
    with keyset.open(password(key) if isinstance(key, str) else key) as opened:
        return bytes(opened.sdek.view())


def put(directory: Path, text: str | bytes, name: str = "keyset.json") -> None:
    """Write a file as a stranger would."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)
