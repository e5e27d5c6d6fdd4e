"""Rules that let a person look first, as a mapping line declares them. Pure; nothing is held unless the lab says so.

    hold_flags = ["W"]                                  the analyzer's flags, as it sends them; also at the top of the file
    limits     = [3.0, 6.0]                             what goes out by itself
    delta      = { percent = 50, days = 30 }            against the patient's value before; also at the top of the file
    critical   = { below = 2.5, above = 6.5, then = "hold" }      or "note": it goes out, with a note

A value `<0.05` may be anything from nothing to 0.05, `>400` anything above: it is held unless all of that lies inside.
What is no number cannot be looked at by limits and critical: it is held as well. Rules hold; they never change a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Literal

from labgateway.errors import Problem, Reason
from labgateway.mapping import decimals
from labgateway.mapping.decimals import Plain
from labgateway.mapping.reading import Reading, is_table
from labgateway.toml_lines import KeyPath

KEYS = ("hold_flags", "limits", "delta", "critical")
FILE_KEYS = ("hold_flags", "delta")
_MOST_DAYS = 3650
_ZERO = Decimal(0)
_WIDE = Context(prec=200)
_LONGEST = 60  # characters; no result is longer, and arithmetic must not meet a hostile length


@dataclass(frozen=True, slots=True)
class Delta:
    """How far a value may be from the patient's value before. absolute: in the EMR's unit. Either one is enough to hold."""

    days: int
    absolute: Decimal | None = None
    percent: Decimal | None = None

    @property
    def words(self) -> str:
        """As a person would say it."""
        parts = [f"{self.absolute:f}"] if self.absolute is not None else []
        parts += [f"{self.percent:f} %"] if self.percent is not None else []
        return f"more than {' or '.join(parts)} within {self.days} days"


@dataclass(frozen=True, slots=True)
class Critical:
    """Values that a ward must hear of at once, in the EMR's unit. below, above: None: no such end."""

    below: Decimal | None = None
    above: Decimal | None = None
    then: Literal["hold", "note"] = "hold"

    @property
    def words(self) -> str:
        """As a person would say it."""
        parts = [f"below {self.below:f}"] if self.below is not None else []
        parts += [f"above {self.above:f}"] if self.above is not None else []
        return " or ".join(parts)


@dataclass(frozen=True, slots=True)
class Holding:
    """The rules of one line. limits: in the EMR's unit, both ends may go out."""

    flags: tuple[str, ...] = ()
    limits: tuple[Decimal, Decimal] | None = None
    delta: Delta | None = None
    critical: Critical | None = None


def read(reading: Reading, where: KeyPath, table: dict[str, Any], file: Holding | None = None) -> Holding | None:
    """The rules that a line declares, what the file says for all lines where it does not; None when there are none."""
    flags = file.flags if file else ()
    if "hold_flags" in table:
        said = table["hold_flags"]
        flags = () if said == [] else reading.names((*where, "hold_flags"), said)
    delta = file.delta if file else None
    if "delta" in table:
        delta = None if table["delta"] is False else _delta(reading, (*where, "delta"), table["delta"])
    limits = _limits(reading, (*where, "limits"), table["limits"]) if "limits" in table else None
    critical = _critical(reading, (*where, "critical"), table["critical"]) if "critical" in table else None
    found = Holding(flags, limits, delta, critical)
    return None if found == Holding() else found


def _limits(reading: Reading, where: KeyPath, value: object) -> tuple[Decimal, Decimal] | None:
    ends = reading.pair(where, value, "Write the lowest and the highest value that goes out by itself, such as [3, 6].")
    if ends is not None and ends[0] > ends[1]:
        low, high = (f"{end:f}" for end in ends)
        what = f"the lowest value {low} is above the highest {high}: every result would be held."
        reading.complain(where, what, f"Write [{high}, {low}].")
    return ends


def _delta(reading: Reading, where: KeyPath, value: object) -> Delta | None:
    if not is_table(value):
        reading.complain(where, "must be in braces.", "Write { percent = 50, days = 30 }.")
        return None
    reading.known(where, value, ("percent", "absolute", "days"), "is no key of `delta`.")
    amounts: dict[str, Decimal | None] = {}
    for key in ("absolute", "percent"):
        amounts[key] = reading.number((*where, key), value[key]) if key in value else None
        number = amounts[key]
        if number is not None and number < 0:
            reading.complain((*where, key), "is below zero.", "Write how far a value may be from the one before.")
    days = value.get("days")
    if not isinstance(days, int) or isinstance(days, bool) or not 0 < days <= _MOST_DAYS:
        cure = f"Write for how many days the value before counts, 1 to {_MOST_DAYS}: days = 30."
        reading.complain((*where, "days"), "must be a number of days.", cure)
        return None
    if len(where) == 1 and "absolute" in value:
        what = "is one number for all tests of the file, whatever their units."
        reading.complain((*where, "absolute"), what, "Write `percent` here, and `absolute` in the lines.")
    if "absolute" not in value and "percent" not in value:
        reading.complain(where, "says no difference.", "Add `percent` or `absolute`: { percent = 50, days = 30 }.")
        return None
    return Delta(days, amounts["absolute"], amounts["percent"])


def _critical(reading: Reading, where: KeyPath, value: object) -> Critical | None:
    if not is_table(value):
        reading.complain(where, "must be in braces.", "Write { below = 2.5, above = 6.5 }.")
        return None
    reading.known(where, value, ("below", "above", "then"), "is no key of `critical`.")
    below = reading.number((*where, "below"), value["below"]) if "below" in value else None
    above = reading.number((*where, "above"), value["above"]) if "above" in value else None
    then = value.get("then", "hold")
    if then not in ("hold", "note"):
        cure = 'Write "hold" (a person sees it first) or "note" (it goes out with a note).'
        reading.complain((*where, "then"), "is none of the words that it may be.", cure)
        then = "hold"
    if "below" not in value and "above" not in value:
        reading.complain(where, "says no value.", "Add `below` or `above`: { below = 2.5, above = 6.5 }.")
        return None
    if below is not None and above is not None and below > above:
        what = f"below {below:f} and above {above:f} are all values there are."
        reading.complain(where, what, f"Write below = {above:f}, above = {below:f}.")
    return Critical(below, above, "note" if then == "note" else "hold")


def held(holding: Holding, code: str, value: str | None, flags: tuple[str, ...], *, comma: bool) -> list[Problem]:
    """Why a person must look first, every rule that says so. value: as it would go out. comma: it may be written with one."""
    found: list[Problem] = []
    if marked := [flag for flag in flags if flag in holding.flags]:
        found.append(Problem(Reason.FLAG_HOLDS, f"code {code}: flag {', '.join(marked)}"))
    if value is None:
        return found
    number = number_of(value, comma=comma)
    if (limits := holding.limits) is not None and not _inside(number, limits[0], limits[1]):
        found.append(Problem(Reason.OUT_OF_LIMITS, f"code {code}: {_limit_words(number, limits)}"))
    critical = holding.critical
    if critical is not None and critical.then == "hold" and not _inside(number, critical.below, critical.above):
        words = critical.words if number is not None else f"{critical.words} cannot be told of what is no number"
        found.append(Problem(Reason.CRITICAL, f"code {code}: {words}"))
    return found


def notes(holding: Holding, value: str | None, *, comma: bool) -> tuple[str, ...]:
    """What goes out beside the value."""
    critical = holding.critical
    if critical is None or critical.then != "note" or value is None:
        return ()
    number = number_of(value, comma=comma)
    return () if number is None or _inside(number, critical.below, critical.above) else (f"critical: {critical.words}",)


def too_far(delta: Delta, value: str | None, before: str | None, *, comma: bool) -> bool:
    """Whether two values of a patient differ by more than the rule allows. Exact; behind `<` and `>` the number counts.

    False where one of them is no number: there is nothing to compare.
    """
    one = None if value is None else number_of(value, comma=comma)
    other = None if before is None else number_of(before, comma=comma) or number_of(before, comma=False)
    if one is None or other is None:
        return False
    apart = abs(_WIDE.subtract(one.number, other.number))
    if delta.absolute is not None and apart > delta.absolute:
        return True
    return delta.percent is not None and _WIDE.multiply(apart, Decimal(100)) > _WIDE.multiply(
        delta.percent, abs(other.number)
    )


def number_of(value: str, *, comma: bool) -> Plain | None:
    """The number that a value is, None when it is none. comma: it is as the analyzer wrote it, with a decimal comma."""
    return decimals.read(value, comma=comma) if len(value) <= _LONGEST else None


def _inside(number: Plain | None, low: Decimal | None, high: Decimal | None) -> bool:
    """Whether all that a value may be lies inside; never so for what is no number."""
    if number is None:
        return False
    least = most = number.number
    match number.sign[:1]:
        case "<":
            least = min(_ZERO, number.number)
        case ">":
            if high is not None:
                return False
        case _:
            pass
    return (low is None or low <= least) and (high is None or most <= high)


def _limit_words(number: Plain | None, limits: tuple[Decimal, Decimal]) -> str:
    words = f"limits {limits[0]:f} to {limits[1]:f}"
    return words if number is not None else f"{words}, and it is no number"
