"""How paths and system errors appear in messages. Nothing else."""

from __future__ import annotations

import os


def shown(path: bytes) -> str:
    """A path for a message: quoted, control characters escaped."""
    return repr(os.fsdecode(path))


def reason(exc: OSError) -> str:
    """What the system says about an error, in its words, e.g. ``no space left on device``."""
    return (exc.strerror or str(exc)).lower()
