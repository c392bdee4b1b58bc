"""``pcvfs speed``: how fast this machine encrypts, by cipher, engine and size of request."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pcvfs.cli import console
from pcvfs.cli.ciphers import cipher_name
from pcvfs.cli.declare import verb_command
from pcvfs.cli.options import CommonOptions, common_options
from pcvfs.cli.version import version_line
from pcvfs.errors import ExitCode
from pcvfs.spec import BLOCK_SIZE, FILE_ID_SIZE

if TYPE_CHECKING:
    from pcvfs.crypto.aead import CipherKind, Engine

_ENGINES: Final[tuple[Engine, ...]] = ("native", "reference")
_REQUEST_BLOCKS: Final = (1, 32, 256)  # one block, the kernel's classic request, the largest request
_MEASURE_S: Final = 0.2
_FILE_ID: Final = bytes(range(FILE_ID_SIZE))


@verb_command(
    "speed",
    help="""Measure how fast this machine encrypts file content.

    One line for each cipher, engine and request size; MB are 10^6 bytes of plaintext, on one CPU, with no file
    involved: how fast a mount is depends on the disk, the kernel and the CPU count as well. `native` is what mounts
    use, `reference` is the same in Python and there to check it.""",
    examples=[("which cipher suits this machine?", "pcvfs speed")],
    exit_codes=[ExitCode.OK, ExitCode.USAGE],
)
@common_options
def verb(*, common: CommonOptions) -> None:
    from pcvfs.crypto.aead import CipherKind

    if not common.quiet:
        console.say(version_line())
        console.say(f"cpu: {_cpu_name()}; {_cpu_features()}; AES-GCM by {_gcm_library()}")
    for kind in CipherKind:
        for engine in _ENGINES:
            for blocks in _REQUEST_BLOCKS:
                rate = measure(kind, engine, blocks)
                label = f"{cipher_name(kind)}-{engine}"
                request = f"{console.format_size(blocks * BLOCK_SIZE)} requests"
                console.say(f"{label:<29}\t{rate / 1e6:8.2f} MB/s\t({request})")


def measure(kind: CipherKind, engine: Engine, blocks: int) -> float:
    """Bytes of plaintext sealed a second, in requests of ``blocks`` blocks."""
    from pcvfs.crypto.aead import content_cipher
    from pcvfs.crypto.secret import Secret

    plaintext = os.urandom(blocks * BLOCK_SIZE)
    with Secret.random(kind.key_size) as key:
        cipher = content_cipher(kind, key, engine=engine)
    try:
        return len(plaintext) * _calls_per_second(lambda: cipher.seal_blocks(plaintext, 0, _FILE_ID))
    finally:
        cipher.close()


def _calls_per_second(call: Callable[[], object]) -> float:
    call()  # the first one pays for lazy set-up
    count = 1
    while True:
        started = time.perf_counter()
        for _ in range(count):
            call()
        elapsed = time.perf_counter() - started
        if elapsed >= _MEASURE_S:
            return count / elapsed
        # Straight for the goal, but never by more than tenfold: the first tries are too short to trust.
        count = min(count * 10, int(count * 1.2 * _MEASURE_S / max(elapsed, 1e-9)) + 1)


def _cpu_name() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return match[1] if match else "unknown"


def _cpu_features() -> str:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return f"with{'' if match and 'aes' in match[1].split() else 'out'} AES acceleration"


def _gcm_library() -> str:
    from pcvfs import native

    return "libIPSec_MB" if native.has_ipsec_library() else "libcrypto"


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
