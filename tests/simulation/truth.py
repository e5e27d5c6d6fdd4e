"""What is so in truth: persons, tubes, what the EMR said of its orders and when, and what instruments sent.

Nothing here asks the gateway. A moment is told apart by the number of the last delivery that was made before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

DAY = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
WINDOW_H, WAIT_H, EARLY_MIN = 72, 240, 10
TESTS = ("GLU", "WBC", "HGB")
ASKED = {"GLU": ("GLU",), "CBC": ("WBC", "HGB"), "HGB": ("HGB",)}
"""What an order's code asks for."""
PEOPLE = {"lan": ("1001", "1091"), "hung": ("1002",), "mai": ("1003",)}
"""Who has which numbers; the EMR merges the second into the first."""
BIRTHS = {"lan": ("19700512", "F"), "hung": ("19811130", "M"), "mai": ("20010203", "F")}
MISTYPED = "19990909"
"""A birth date that the EMR may have wrong until it says the right one (A08)."""


def who_has(pid: str) -> str:
    """The person behind a patient number."""
    return next(name for name, ids in PEOPLE.items() if pid in ids)


@dataclass(eq=False)
class Tube:
    """Blood of one person under a label that may be on another tube at another time."""

    number: int
    specimen: str
    person: str
    said: str
    """The patient number that its label and request carry."""
    drawn: datetime
    measured: set[str] = field(default_factory=set[str])
    """Tests that were sent for it at least once."""
    disturbed: bool = False
    """Something happened to its orders that a person may have to look at."""
    taken_from: Taken | None = None


@dataclass
class Taken:
    """The EMR said that a tube was taken from another. behind: the last delivery that was made before."""

    behind: int
    parent: Tube


@dataclass
class Stand:
    """An order on one tube as the EMR says it from a moment on. behind: the last delivery that was made before."""

    behind: int
    at: datetime
    tube: Tube
    pid: str
    born: str
    is_open: bool


@dataclass(eq=False)
class Order:
    """One test or panel that the EMR asked for, and all it ever said of it."""

    placer: str
    code: str
    history: list[Stand] = field(default_factory=list[Stand])

    @property
    def now(self) -> Stand:
        """As it stands."""
        return self.history[-1]

    def on(self, tube: Tube, made: int | None = None) -> Stand | None:
        """How it stood on a tube when a delivery was made, None: not at all; without one, how it stands."""
        of_tube = [s for s in self.history if s.tube is tube and (made is None or s.behind < made)]
        return of_tube[-1] if of_tube else None

    def stands(self) -> list[Stand]:
        """How it stands on each tube that it was ever on."""
        return list({s.tube.number: s for s in self.history}.values())


@dataclass(frozen=True)
class Sent:
    """One value as an instrument sent it. named, born: what stood beside it of the patient, None when nothing did."""

    tube: Tube
    test: str
    in_emr: str
    named: str | None
    born: str | None
    arrivals: list[datetime] = field(default_factory=list[datetime])
    by: set[str] = field(default_factory=set[str])
    """The instruments that sent it."""


def line_of(tube: Tube, made: int | None = None) -> list[Tube]:
    """A tube and what it was taken from, as far as the EMR had said so."""
    found = [tube]
    while (taken := found[-1].taken_from) is not None and (made is None or taken.behind < made):
        found.append(taken.parent)
    return found


def in_window(tube: Tube, received: datetime) -> bool:
    """May a value that came then be of an order of this tube?"""
    early, late = timedelta(minutes=EARLY_MIN), timedelta(hours=WINDOW_H)
    return tube.drawn - early <= received <= tube.drawn + late
