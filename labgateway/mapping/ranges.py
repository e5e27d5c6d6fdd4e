"""Reference ranges by sex and age, with the days from and until which they hold, as the lab declares them. Pure.

    [ranges]                        EMR test -> its ranges, in the unit that the EMR gets
    HGB = [
      { to = "28d", low = 145, high = 225 },
      { sex = "F", from = "18y", low = 120, high = 155, since = 2026-01-01 },
    ]

Ages: `from` belongs to the range, `to` does not; d days, w weeks, m months, y years. A range is chosen only when it fits
whatever is not known: a birth date of a year alone, a collection that the EMR did not time. Otherwise there is none.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

from labgateway.mapping import decimals
from labgateway.mapping.reading import Reading, is_list, is_table
from labgateway.toml_lines import KeyPath, line_of

_AGE = re.compile(r"([0-9]{1,5}) ?([dwmy])")
_KEYS = ("sex", "from", "to", "low", "high", "text", "since", "until")
_DAYS = {"d": Decimal(1), "w": Decimal(7), "m": Decimal("30.4375"), "y": Decimal("365.25")}
Days = tuple[date, date]
"""The first and the last day that it may have been; the same one when it is known."""
Sex = Literal["F", "M"]


@dataclass(frozen=True, slots=True)
class Age:
    """An age as it was written. unit: d, w, m or y."""

    count: int
    unit: str

    def after(self, born: date) -> date:
        """The day on which somebody born that day has this age; the last of a shorter month."""
        if self.unit in "dw":
            days = self.count * (7 if self.unit == "w" else 1)
            return born + timedelta(days=days) if days < (date.max - born).days else date.max
        months = born.month - 1 + self.count * (12 if self.unit == "y" else 1)
        year, month = born.year + months // 12, months % 12 + 1
        if year > date.max.year:
            return date.max
        return date(year, month, min(born.day, monthrange(year, month)[1]))

    @property
    def days(self) -> Decimal:
        """About so many days; to tell ranges apart, not to choose one."""
        return self.count * _DAYS[self.unit]

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.count}{self.unit}"


@dataclass(frozen=True, slots=True)
class Range:
    """One range. None: no such end, or everybody. since, until: both days belong to it. text: instead of low and high.

    number: line in the file, from 1.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    text: str = ""
    sex: Sex | None = None
    from_age: Age | None = None
    to_age: Age | None = None
    since: date | None = None
    until: date | None = None
    number: int | None = None

    def __str__(self) -> str:
        """As HL7 writes it (OBX-7)."""
        if self.text:
            return self.text
        if self.low is None:
            return f"<{self.high:f}"
        return f">{self.low:f}" if self.high is None else f"{self.low:f}-{self.high:f}"

    @property
    def words(self) -> str:
        """For whom it is and what it says, for a person."""
        who = [self.sex] if self.sex else []
        who += [f"from {self.from_age}"] if self.from_age else []
        who += [f"to {self.to_age}"] if self.to_age else []
        who += [f"since {self.since}"] if self.since else []
        who += [f"until {self.until}"] if self.until else []
        return f"{' '.join(who)} {self}".strip()


def read(reading: Reading, where: KeyPath, value: object) -> tuple[Range, ...]:
    """The ranges of one EMR test; what was wrong is left out, after complaining."""
    items = value if is_list(value) else [value]
    found: list[Range] = []
    for number, item in enumerate(items):
        place = (*where, number) if is_list(value) else where
        if not is_table(item):
            reading.complain(place, "must be in braces.", 'Write { sex = "F", from = "18y", low = 120, high = 155 }.')
        elif (one := _range(reading, place, item)) is not None:
            twin = next((other for other in found if _meet(one, other)), None)
            if twin is not None:
                what = f"may be meant for the same patient as the one in line {twin.number}."
                cure = "Give them different `sex`, ages or days; `to` is the age at which a range ends."
                reading.complain(place, what, cure)
            found.append(one)
    return tuple(found)


def _range(reading: Reading, where: KeyPath, table: dict[str, Any]) -> Range | None:
    before = len(reading.complaints)
    reading.known(where, table, _KEYS, "is no key of a range.")
    sex = table.get("sex")
    if sex not in (None, "F", "M"):
        reading.complain((*where, "sex"), "is none of the words that it may be.", 'Write "F" or "M", or take it out.')
    ends: dict[str, Decimal | None] = {}
    for key in ("low", "high"):
        ends[key] = None
        if key in table and reading.number((*where, key), table[key]) is not None:
            # As it is written: 3.50 has its zero for a reason.
            ends[key] = Decimal(table[key])
    text = reading.text(table, where, "text", empty=False) if "text" in table else ""
    if ("low" in table or "high" in table) == ("text" in table):
        cure = 'Write low = 120, high = 155, or one of them, or text = "negative".'
        reading.complain(where, "must say `low` and `high`, or `text`.", cure)
    low, high = ends["low"], ends["high"]
    if low is not None and high is not None and low > high:
        reading.complain((*where, "low"), f"the lowest value {low:f} is above the highest {high:f}.", "Exchange them.")
    ages = {key: _age(reading, (*where, key), table[key]) if key in table else None for key in ("from", "to")}
    first, last = ages["from"], ages["to"]
    if first is not None and last is not None and first.days >= last.days:
        reading.complain((*where, "to"), f"ends at {last}, before it begins at {first}.", "Exchange `from` and `to`.")
    since = reading.day((*where, "since"), table["since"]) if "since" in table else None
    until = reading.day((*where, "until"), table["until"]) if "until" in table else None
    if since is not None and until is not None and since > until:
        what = f"ends on {until}, before it begins on {since}."
        reading.complain((*where, "until"), what, "Exchange `since` and `until`.")
    if len(reading.complaints) > before:
        return None
    return Range(low, high, text, sex, first, last, since, until, line_of(reading.index, where))


def _age(reading: Reading, where: KeyPath, value: object) -> Age | None:
    found = _AGE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        cure = 'Write a number and d, w, m or y for days, weeks, months or years, such as "18y".'
        reading.complain(where, "must be an age.", cure)
        return None
    return Age(int(found[1]), found[2])


def _meet(one: Range, other: Range) -> bool:
    """Whether both may fit one patient on one day."""
    if one.sex and other.sex and one.sex != other.sex:
        return False
    for first, second in ((one, other), (other, one)):
        if first.to_age and second.from_age and first.to_age.days <= second.from_age.days:
            return False
        if first.until and second.since and first.until < second.since:
            return False
    return True


def choose(ranges: Sequence[Range], sex: Sex | None, born: Days | None, day: Days) -> Range | None:
    """The one range that fits for certain; None when none does, or more than one.

    sex, born: None when not known. day: of collection, in the site's time zone.
    """
    fitting = [one for one in ranges if _fits(one, sex, born, day)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(one: Range, sex: Sex | None, born: Days | None, day: Days) -> bool:
    if one.sex is not None and one.sex != sex:
        return False
    if (one.since is not None and day[0] < one.since) or (one.until is not None and day[1] > one.until):
        return False
    if one.from_age is None and one.to_age is None:
        return True
    if born is None or born[0] > day[1]:
        return False
    old_enough = one.from_age is None or one.from_age.after(born[1]) <= day[0]
    return old_enough and (one.to_age is None or day[1] < one.to_age.after(born[0]))


def flag(one: Range, value: str, *, comma: bool) -> str:
    """H, L or N by a range; "" where that is not certain: `<5` may be low or not, and words are neither."""
    number = decimals.read(value, comma=comma)
    if number is None or one.text:
        return ""
    above = one.high is not None and number.number > one.high
    below = one.low is not None and number.number < one.low
    match number.sign[:1]:
        case "":
            return "H" if above else "L" if below else "N"
        case "<":
            strictly = one.low is not None and number.number == one.low and "=" not in number.sign
            return "L" if below or strictly else ""
        case _:
            strictly = one.high is not None and number.number == one.high and "=" not in number.sign
            return "H" if above or strictly else ""
