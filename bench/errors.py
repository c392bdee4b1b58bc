"""What can go wrong in a run, by what becomes of it."""

from __future__ import annotations


class BenchError(Exception):
    """A measurement failed: its line says so, and the run goes on."""


class PeerUnavailableError(Exception):
    """A peer can't run here: the run goes on without it."""


class RefusalError(Exception):
    """The run must not start, or the comparison would be wrong. The message is for the user."""
