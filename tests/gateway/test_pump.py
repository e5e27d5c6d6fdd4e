"""Processing steps back while the intake is faster, and no longer than is decent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.gateway.pump import LONGEST_PAUSE_S, PATIENCE_S, YIELD, Pace


def test_a_calm_intake_costs_no_pause() -> None:
    pace = Pace()
    assert pace.pause_s(0.0, 0.1, stored=8, processed=8, left=20) == 0
    assert pace.pause_s(0.1, 0.2, stored=0, processed=8, left=12) == 0


def test_a_faster_intake_has_most_of_the_time() -> None:
    pace = Pace()
    assert pace.pause_s(5.0, 5.02, stored=30, processed=8, left=100) == YIELD * (5.02 - 5.0)


def test_a_batch_for_which_the_disk_was_slow_is_no_reason_to_wait_long() -> None:
    """It kept the interpreter from nobody: seconds of a commit do not become minutes of a pause."""
    assert Pace().pause_s(5.0, 11.0, stored=4, processed=1, left=3) == LONGEST_PAUSE_S <= 0.5


def test_with_nothing_left_there_is_nothing_to_put_off() -> None:
    assert Pace().pause_s(0.0, 0.1, stored=30, processed=8, left=0) == 0


def test_patience_ends_and_begins_anew_after_catching_up() -> None:
    pace = Pace()
    assert pace.pause_s(0.0, 0.1, stored=30, processed=8, left=50) > 0
    assert pace.pause_s(PATIENCE_S, PATIENCE_S + 0.1, stored=30, processed=8, left=50) == 0
    assert pace.pause_s(PATIENCE_S + 1, PATIENCE_S + 2, stored=0, processed=8, left=0) == 0
    assert pace.pause_s(PATIENCE_S + 3, PATIENCE_S + 4, stored=30, processed=8, left=50) > 0


@given(st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(9, 100)), min_size=1, max_size=200))
def test_never_behind_for_longer_than_patience_with_pauses(batches: list[tuple[float, int]]) -> None:
    """However the intake rages: once it has been behind for PATIENCE_S, processing has all the time it can get."""
    pace, now = Pace(), 0.0
    for worked, stored in batches:
        pause = pace.pause_s(now, now + worked, stored=stored, processed=8, left=1000)
        now += worked
        assert pause == (0.0 if now >= PATIENCE_S else pytest.approx(min(YIELD * worked, LONGEST_PAUSE_S)))
        now += pause
