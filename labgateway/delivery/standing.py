"""How a destination stands, for the status page, and what the sender says of it in the log: seldom."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from labgateway.delivery.ports import Health, State

LOG_EVERY_S = 60.0


class Standing:
    """The state of one destination and what was counted since the start of the process."""

    def __init__(self, name: str, state: State, utcnow: Callable[[], datetime]) -> None:
        self._name = name
        self._utcnow = utcnow
        self._state = state
        self._since = utcnow()
        self._last_answer_at: datetime | None = None
        self.why = ""
        self.trouble = ""
        self.accepted = self.refused = self.parked = 0

    def turn(self, state: State, why: str) -> None:
        """From now on it stands so."""
        self._state, self.why, self._since = state, why, self._utcnow()

    def answered(self) -> None:
        """It has answered, whatever it said."""
        self._last_answer_at = self._utcnow()
        if self._state is not State.ANSWERING:
            self.turn(State.ANSWERING, "")

    def health(self, *, in_hand: int, attempts: int) -> Health:
        """See ``ports.Health``."""
        return Health(
            self._name, self._state, self._since, self.why, self._last_answer_at, in_hand, attempts, self.accepted,
            self.refused, self.parked, self.trouble,
        )  # fmt: skip


class Seldom:
    """Says a thing at most once a minute of each kind; ``suppressed`` counts those between."""

    def __init__(self, destination: str, say: Callable[..., None], time: Callable[[], float]) -> None:
        self._destination = destination
        self._say = say
        self._time = time
        self._said: dict[str, tuple[float, int]] = {}

    def __call__(self, event: str, **ids: object) -> bool:
        """False: it was not said."""
        now = self._time()
        last, unsaid = self._said.get(event, (now - LOG_EVERY_S, 0))
        if now - last < LOG_EVERY_S:
            self._said[event] = (last, unsaid + 1)
            return False
        self._said[event] = (now, 0)
        self._say(event, destination=self._destination, **ids, **({"suppressed": unsaid} if unsaid else {}))
        return True


def mute(event: str, **ids: object) -> None:
    """Say nothing."""


def nothing(_: BaseException | None) -> None:
    """Nothing waits for this commit."""
