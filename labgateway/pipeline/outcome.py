"""What a job of the pipeline did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from labgateway.errors import Problem
from labgateway.model import ObservationState, Result
from labgateway.pipeline.decide import Verdict
from labgateway.quick import quick
from labgateway.store.observed import Decided


@dataclass(slots=True)
class Outcome:
    """What a job did. destinations: whose queue has something new. states: how many observations ended where.

    doubts: how many that are out became doubtful.
    """

    destinations: set[str] = field(default_factory=set[str])
    states: dict[str, int] = field(default_factory=dict[str, int])
    problem: Problem | None = None
    doubts: int = 0

    def count(self, state: ObservationState) -> None:
        """One more of this state."""
        self.states[state.value] = self.states.get(state.value, 0) + 1

    def add(self, other: Outcome) -> None:
        """What another job did in the same transaction."""
        self.destinations |= other.destinations
        for state, count in other.states.items():
            self.states[state] = self.states.get(state, 0) + count
        self.doubts += other.doubts


Job = Callable[[Connection], Outcome]


@quick
@dataclass(frozen=True, slots=True)
class Placed:
    """A verdict on its way to disk."""

    decided: Decided
    verdict: Verdict
    result: Result
