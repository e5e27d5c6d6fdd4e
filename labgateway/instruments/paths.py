"""Where a part of a result sits: ``R-3.5``, ``OBX-3.1.2``, and the conditions built from such places.

    R-4        the whole field 4 of the R record, escapes resolved (the record letter is field 1)
    R-3.5      its component; of a component with subcomponents the first
    OBX-3.1.2  a subcomponent (HL7 only)

Not here: which row of a message a place means; that is the scope of `groups.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from labgateway.protocols.rows import Row

_FORM = re.compile(r"([A-Z][A-Z0-9]{0,2})-(\d{1,3})(?:\.(\d{1,3})(?:\.(\d{1,3}))?)?")


@dataclass(frozen=True, slots=True)
class Place:
    """RECORD-FIELD.COMPONENT.SUBCOMPONENT, each counted from 1 as the standard does; None: the whole."""

    row: str
    field: int
    component: int | None = None
    subcomponent: int | None = None

    def __str__(self) -> str:
        """As it is written in driver.toml."""
        parts = [self.field, *(n for n in (self.component, self.subcomponent) if n is not None)]
        return f"{self.row}-{'.'.join(str(n) for n in parts)}"

    def of(self, row: Row, *, repetition: int = 0) -> str:
        """Text at this place of a row of this name, outer blanks stripped; empty when there is none.

        repetition: counted from 0; without a component the whole field is meant, and only once.
        """
        if self.component is None and repetition:
            return ""
        text = row.value(self.field, self.component, self.subcomponent, repetition=repetition).strip()
        return "" if text == '""' else text

    def all_of(self, row: Row) -> list[str]:
        """As `of`, for every repetition of the field that holds something."""
        found: list[str] = []
        for number, raw in enumerate(row.repetitions(self.field)):
            if self.component is None:
                text = row.unescape(raw).strip()
            else:
                text = row.value(self.field, self.component, self.subcomponent, repetition=number).strip()
            if text and text != '""':
                found.append(text)
        return found


def read_place(text: str) -> Place | None:
    """The place that a path names; None when it is no path."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    numbers = [int(n) if n else None for n in match.groups()[1:]]
    if 0 in numbers or numbers[0] is None:
        return None
    return Place(match[1], numbers[0], numbers[1], numbers[2])


@dataclass(frozen=True, slots=True)
class Clause:
    """One ``key = 'regex'`` of a condition: places (first that is filled) and what must be found in them.

    The expression is searched, not matched: anchor it with ^ and $. An absent place is the empty text.
    """

    key: str
    places: tuple[Place, ...]
    pattern: re.Pattern[str]


Condition = tuple[Clause, ...]
"""All clauses must hold. A tuple of conditions: one of them."""


def holds(condition: Condition, text_at: Callable[[tuple[Place, ...]], str]) -> bool:
    """Whether every clause finds its expression in the text that text_at gives for its places."""
    return all(clause.pattern.search(text_at(clause.places)) for clause in condition)
