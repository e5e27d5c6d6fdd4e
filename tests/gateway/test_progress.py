"""The remaining time of a backlog is honest: rounded up, today's results counted in, and not said when it is not known."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.gateway.progress import Pace, Progress, Standing, pace, words


def progress() -> Progress:
    """Without a store; the tests note what it would have counted."""
    return Progress(cast(Any, None), dict)


@given(backlog=st.integers(100, 2_000_000), sent=st.integers(2, 20_000), come=st.integers(0, 20_000))
def test_the_remaining_time_is_what_it_takes(backlog: int, sent: int, come: int) -> None:
    """At a steady pace the time told is right to the rounding; when as many come as leave there is none."""
    history = [Standing(15.0 * n, backlog + n * (come - sent) * 15 // 60, n * sent * 15 // 60) for n in range(5)]
    found = pace(history)
    assert found is not None
    if come >= sent:
        assert found.minutes is None
    elif backlog > 5 * sent:
        assert found.minutes == pytest.approx(history[-1].waiting / (sent - come), rel=0.2, abs=2) or sent - come < 20


@pytest.mark.parametrize(
    ("waiting", "found", "said"),
    [
        (0, None, ""),
        (5000, None, "pace not known yet"),
        (55_000, Pace(9000, 8000, 6.9), "9000 a minute, about 7 min left"),
        (55_000, Pace(100, 100, 550), "100 a minute, about 10 h left"),
        (900_000, Pace(100, 100, 9000), "100 a minute, about 7 days left"),
        (55_000, Pace(100, -20, None), "100 a minute, and it does not get less"),
        (40, Pace(9000, 0, None), ""),
    ],
)
def test_the_words(waiting: int, found: Pace | None, said: str) -> None:
    """Short, and never better than what is known."""
    assert words(waiting, found, answering=True) == said
    assert words(waiting, found, answering=False) == "", "while it is away nothing is foretold"


def test_an_outage_does_not_count_in_the_pace() -> None:
    """What was noted before the destination went away says nothing of how fast it takes now."""
    seen = progress()
    for n in range(10):
        seen.note(15.0 * n, {"emr": 10_000 + n}, {"emr": 0})
    assert "does not get less" in seen.words("emr", 10_009, answering=True)
    seen.note(150.0, {"emr": 20_000}, {})
    seen.note(165.0, {"emr": 20_000}, {"emr": 0})
    assert seen.words("emr", 20_000, answering=True) == "pace not known yet"
    for n in range(1, 5):
        seen.note(165.0 + 15 * n, {"emr": 20_000 - 1000 * n}, {"emr": 1000 * n})
    assert seen.words("emr", 16_000, answering=True) == "4000 a minute, about 4 min left"


def test_only_the_last_minutes_count() -> None:
    """A pace of an hour ago is no pace."""
    seen = progress()
    waiting, taken = 100_000, 0
    for n in range(100):
        step = 10 if n < 60 else 500
        waiting, taken = waiting - step, taken + step
        seen.note(15.0 * n, {"emr": waiting}, {"emr": taken})
    assert seen.words("emr", waiting, answering=True).startswith("2000 a minute")
