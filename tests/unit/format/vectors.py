"""Loads the vectors: fixed inputs from primitives.json, and whole volumes written by gocryptfs 2.3."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VECTORS = Path(__file__).parents[2] / "vectors" / "gocryptfs"
VOLUME_NAMES = sorted(path.name.removesuffix(".tar.gz") for path in VECTORS.glob("*.tar.gz"))


@cache
def load_primitives() -> dict:
    return json.loads((VECTORS / "primitives.json").read_text())


@dataclass(frozen=True)
class GoldenVolume:
    """One volume as gocryptfs left it, in memory."""

    name: str
    meta: dict
    plain: dict[str, dict]  # expected plaintext tree
    cipher: dict[str, dict]  # metadata of the backing tree
    files: dict[str, bytes]  # content of the regular files of the backing tree

    @property
    def password(self) -> bytes:
        return self.meta["password"].encode()

    @property
    def master_key(self) -> bytes:
        return bytes.fromhex(self.meta["masterkey"])

    @property
    def config(self) -> bytes:
        return self.files["gocryptfs.conf"]


@cache
def load_volume(name: str) -> GoldenVolume:
    root = f"{name}/cipher/"
    with tarfile.open(VECTORS / f"{name}.tar.gz", encoding="utf-8", errors="surrogateescape") as tar:
        documents = {part: json.load(tar.extractfile(f"{name}/{part}.json")) for part in ("meta", "plain", "cipher")}
        files = {
            member.name.removeprefix(root): tar.extractfile(member).read()
            for member in tar
            if (member.isreg() or member.islnk()) and member.name.startswith(root)
        }
    return GoldenVolume(name=name, files=files, **documents)
