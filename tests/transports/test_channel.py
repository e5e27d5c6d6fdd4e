"""Waiting times and sparing words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labgateway.transports.channel import Sparing, backoff_s


@given(attempt=st.integers(0, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_backoff_doubles_to_its_limit(attempt: int, chance: float) -> None:
    """The wait lies in the last quarter below 1, 2, 4, ... 30 seconds and never outside."""
    top = min(30.0, 2.0 ** min(attempt, 5))
    assert 0.75 * top <= backoff_s(attempt, lambda: chance) <= top


def test_sparing_counts_what_it_leaves_out() -> None:
    """One line a minute for each event; the next one tells how many were left out in between."""
    now = 0.0
    said: list[tuple[str, dict[str, object]]] = []
    sparing = Sparing(lambda event, /, **ids: said.append((event, ids)), lambda: now)
    for _ in range(100):
        sparing("a", peer="p")
    sparing("b")
    now = 60.0
    sparing("a", peer="q")
    sparing("a", peer="r")
    assert said == [("a", {"peer": "p"}), ("b", {}), ("a", {"peer": "q", "suppressed": 99})]
