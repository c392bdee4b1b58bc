"""How often somebody may guess.

A failed attempt counts against its source (an address, a user, a terminal: the caller's word for it). The first few are
free; then each failure doubles the time in which nothing that this source says is even tried, the right secret
included. Success clears the source that succeeded, and no other.

An attempt is counted when it begins and forgiven when it succeeds, so breaking it off does not make it free. The table
is bounded: sources for which there is no room share one place, which makes them wait for each other.

Forgotten at restart, and after a day without a failure. Whoever can restart the machine at will can take the disk, and
guess at it elsewhere: against that there is the price of the key derivation alone.

Belongs to one thread; no method waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pcvfs.errors import TooManyAttemptsError

_FREE_FAILURES: Final = 4
_FIRST_WAIT_S: Final = 5.0
_WAIT_MAX_S: Final = 900.0
_FORGET_S: Final = 86_400.0
_SOURCES_MAX: Final = 1024
_DOUBLINGS_MAX: Final = 16
_CROWD: Final = ""  # the source of all for whom there is no room


@dataclass(frozen=True, slots=True)
class _Score:
    failures: int
    last_s: float
    blocked_until_s: float


class AttemptLimiter:
    """Counts failures.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._scores: dict[str, _Score] = {}

    def check(self, source: str) -> None:
        """Raise TooManyAttemptsError if this source has to wait."""
        now = self._clock()
        score = self._scores.get(self._place(source, now))
        if score is not None and now < score.blocked_until_s:
            raise too_many(score.blocked_until_s - now)

    def begin(self, source: str) -> Attempt:
        """Count an attempt; it is a failure until it is said to be something else.

        Raises:
            TooManyAttemptsError: this source has to wait; not counted.
        """
        self.check(source)
        now = self._clock()
        place = self._place(source, now)
        before = self._scores.get(place)
        failures = (before.failures if before else 0) + 1
        self._scores[place] = _Score(failures, now, now + _wait_s(failures))
        return Attempt(self, place)

    def statistics(self) -> dict[str, int]:
        """Sources that are remembered, and how many of them have to wait now."""
        now = self._clock()
        blocked = sum(now < score.blocked_until_s for score in self._scores.values())
        return {"sources": len(self._scores), "blocked": blocked}

    def forgive(self, place: str) -> None:
        """Forget all failures in a place."""
        self._scores.pop(place, None)

    def take_back(self, place: str) -> None:
        """Forget the last failure in a place: it was none."""
        score = self._scores.get(place)
        if score is None:
            return
        if score.failures <= 1:
            del self._scores[place]
        else:
            self._scores[place] = _Score(score.failures - 1, score.last_s, score.last_s)

    def _place(self, source: str, now: float) -> str:
        """Under which name a source is counted."""
        score = self._scores.get(source)
        if score is not None and now - score.last_s > _FORGET_S:
            del self._scores[source]
            score = None
        if score is not None or len(self._scores) < _SOURCES_MAX:
            return source
        self._scores = {
            name: score for name, score in self._scores.items() if name == _CROWD or now - score.last_s <= _FORGET_S
        }
        return source if len(self._scores) < _SOURCES_MAX else _CROWD


class Attempt:
    """One attempt under way."""

    def __init__(self, limiter: AttemptLimiter, place: str) -> None:
        self._limiter = limiter
        self._place = place

    def succeeded(self) -> None:
        """The secret was right. Forgets the failures of its source, unless that is the crowd."""
        if self._place == _CROWD:
            self._limiter.take_back(self._place)
        else:
            self._limiter.forgive(self._place)

    def not_made(self) -> None:
        """Nothing was guessed: the file could not be read, words could not be right."""
        self._limiter.take_back(self._place)


def too_many(wait_s: float) -> TooManyAttemptsError:
    """The error; whole seconds, rounded up, so that coming back in time is never too early."""
    seconds = max(1, math.ceil(wait_s))
    return TooManyAttemptsError(
        f"too many attempts: try again in {seconds} s",
        hint="nothing is tried before, not even the right secret",
        retry_after_s=float(seconds),
    )


def _wait_s(failures: int) -> float:
    doublings = failures - _FREE_FAILURES - 1
    if doublings < 0:
        return 0.0
    return min(_FIRST_WAIT_S * 2.0 ** min(doublings, _DOUBLINGS_MAX), _WAIT_MAX_S)
