"""The limiter of attempts, with a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.errors import TooManyAttemptsError
from pcvfs.keys.attempts import AttemptLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> AttemptLimiter:
    return AttemptLimiter(clock)


def fail(limiter: AttemptLimiter, source: str, times: int = 1) -> None:
    for _ in range(times):
        limiter.begin(source)


def wait_of(limiter: AttemptLimiter, source: str) -> float:
    """Seconds until the source may try again; 0 if now."""
    try:
        limiter.check(source)
    except TooManyAttemptsError as exc:
        assert str(int(exc.retry_after_s)) in exc.message
        return exc.retry_after_s
    return 0.0


def test_waits_double_from_the_fifth_failure_up_to_a_quarter_of_an_hour(limiter: AttemptLimiter, clock: Clock) -> None:
    waits = []
    for _ in range(14):
        fail(limiter, "a")
        waits.append(wait_of(limiter, "a"))
        clock.now += waits[-1]
        assert wait_of(limiter, "a") == 0
    assert waits == [0, 0, 0, 0, 5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_retry_after_is_never_too_early(limiter: AttemptLimiter, clock: Clock) -> None:
    fail(limiter, "a", 5)
    clock.now += 1.7
    wait = wait_of(limiter, "a")
    assert wait == 4
    clock.now += wait
    limiter.begin("a")


def test_attempt_while_waiting_is_refused_and_does_not_count(limiter: AttemptLimiter, clock: Clock) -> None:
    fail(limiter, "a", 5)
    for _ in range(50):
        with pytest.raises(TooManyAttemptsError):
            limiter.begin("a")
    clock.now += 5
    fail(limiter, "a")
    assert wait_of(limiter, "a") == 10


def test_success_clears_its_own_source_alone(limiter: AttemptLimiter) -> None:
    fail(limiter, "a", 5)
    fail(limiter, "b", 4)
    limiter.begin("b").succeeded()
    assert wait_of(limiter, "a") == 5
    assert limiter.statistics() == {"sources": 1, "blocked": 1}


def test_success_forgives_what_was_before(limiter: AttemptLimiter) -> None:
    fail(limiter, "a", 4)
    limiter.begin("a").succeeded()
    fail(limiter, "a", 4)
    assert wait_of(limiter, "a") == 0


def test_attempt_that_guessed_nothing_is_taken_back(limiter: AttemptLimiter, clock: Clock) -> None:
    for _ in range(20):
        limiter.begin("a").not_made()
    assert limiter.statistics()["sources"] == 0
    fail(limiter, "a", 5)
    clock.now += 5
    limiter.begin("a").not_made()
    assert wait_of(limiter, "a") == 0
    fail(limiter, "a")
    assert wait_of(limiter, "a") == 10


def test_attempt_that_is_never_finished_is_a_failure(limiter: AttemptLimiter) -> None:
    for _ in range(5):
        limiter.begin("a")
    assert wait_of(limiter, "a") == 5


def test_failures_are_forgotten_after_a_day(limiter: AttemptLimiter, clock: Clock) -> None:
    fail(limiter, "a", 5)
    clock.now += 86_401
    fail(limiter, "a", 4)
    assert wait_of(limiter, "a") == 0


def test_more_sources_than_there_is_room_for_share_one_place(limiter: AttemptLimiter, clock: Clock) -> None:
    for i in range(1024):
        fail(limiter, f"s{i}")
    for i in range(5):
        fail(limiter, f"late{i}")
    assert limiter.statistics() == {"sources": 1025, "blocked": 1}
    assert wait_of(limiter, "another") == 5
    assert wait_of(limiter, "s3") == 0
    for i in range(2000):
        clock.now += 1000
        fail(limiter, f"more{i}")
    assert limiter.statistics()["sources"] <= 1025


def test_success_in_the_crowd_does_not_free_the_others(limiter: AttemptLimiter, clock: Clock) -> None:
    for i in range(1024):
        fail(limiter, f"s{i}")
    for i in range(5):
        fail(limiter, f"late{i}")
    clock.now += 5
    limiter.begin("one of them").succeeded()
    fail(limiter, "another")
    assert wait_of(limiter, "a third") == 10


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["fail", "ok", "none"]), st.floats(0, 2000))))
def test_guesses_in_any_order_are_never_quicker_than_the_waits(steps: list[tuple[str, str, float]]) -> None:
    """At most four failures without a wait, then at most one for each wait, whatever else happens in between."""
    clock = Clock()
    limiter = AttemptLimiter(clock)
    failures = {"a": 0, "b": 0}
    earliest = {"a": 0.0, "b": 0.0}
    for source, result, pause in steps:
        clock.now += pause
        try:
            attempt = limiter.begin(source)
        except TooManyAttemptsError:
            assert clock.now < earliest[source]
            continue
        assert clock.now >= earliest[source]
        if result == "ok":
            attempt.succeeded()
            failures[source] = 0
        elif result == "none":
            attempt.not_made()
        else:
            failures[source] += 1
            if failures[source] > 4:
                earliest[source] = clock.now + min(5 * 2 ** (failures[source] - 5), 900)
