"""When it is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labgateway.delivery.schedule import Schedule, next_try


@given(attempt=st.integers(1, 10**9), chance=st.floats(0, 1, exclude_max=True))
def test_waits_double_to_half_a_minute(attempt: int, chance: float) -> None:
    """The first within a second, then doubling, never above 30 s, never below half of the step, for ever."""
    step = min(30.0, 2.0 ** min(attempt - 1, 10))
    assert step / 2 <= next_try(attempt, lambda: chance) <= step


def test_the_steps_with_the_longest_jitter() -> None:
    """1, 2, 4, 8, 16, 30, 30: as the module says."""
    assert [round(next_try(n, lambda: 1.0)) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_many_senders_do_not_come_back_together() -> None:
    """The jitter spreads them over half of the wait."""
    chances = iter([0.0, 0.5, 0.99])
    assert len({next_try(6, lambda: next(chances)) for _ in range(3)}) == 3


@given(
    first=st.floats(0.001, 3600), longest=st.floats(0.001, 86400), attempt=st.integers(1, 10**9), chance=st.floats(0, 1)
)
def test_a_site_may_set_its_own_waits(first: float, longest: float, attempt: int, chance: float) -> None:
    """Never above the site's longest, never zero, growing with the attempts."""
    own = Schedule(first, longest)
    wait = own.wait_s(attempt, lambda: chance)
    assert 0 < wait <= longest
    assert own.wait_s(attempt + 1, lambda: chance) >= wait
    assert own.wait_s(64, lambda: 1.0) == longest
