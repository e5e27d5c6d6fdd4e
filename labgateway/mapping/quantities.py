"""Questions about units and codes that checks ask: is it UCUM, a LOINC, the same kind of quantity?"""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib import import_module
from typing import Any

from labgateway.mapping import units

_ALIKE = {"IU": "unit", "U": "unit", "arb'U": "unit", "kat": "unit", "eq": "mol", "mHg": "pressure", "Pa": "pressure"}


def dimension(unit: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """What kind of quantity a unit is for, as LOINC's property sees it; None when the unit is not understood."""
    found = units.read(unit)
    if found is None:
        return None
    above, below = (
        tuple(_ALIKE.get(kind, kind) for kind in kinds if not kind.startswith("{") and kind != "copies")
        for kinds in (found.above, found.below)
    )
    return above, below


_AMOUNT = {"g", "mol", "eq", "osm", "unit", "copies"}


def convertible(one: str, other: str) -> bool:
    """Whether some factor may lead from a unit to the other; yes where one of them is not understood.

    What counts an amount (mass, moles, activity, copies) may be any other amount: that depends on the substance.
    """
    here, there = units.read(one), units.read(other)
    if here is None or there is None:
        return True
    return _amounts(here) == _amounts(there)


def _amounts(unit: units.Unit) -> Counter[str]:
    """How often each kind stands above the line; below it counts down, so that mg/g and mg/mmol are both nothing."""
    found: Counter[str] = Counter()
    for kinds, count in ((unit.above, 1), (unit.below, -1)):
        for kind in (_ALIKE.get(kind, kind) for kind in kinds if not kind.startswith("{")):
            found["amount" if kind in _AMOUNT else kind] += count
    return Counter({kind: count for kind, count in found.items() if count})


def check_digit_fits(code: str) -> bool:
    """LOINC's mod 10 check digit (LOINC Users' Guide, appendix on check digits: Luhn's algorithm)."""
    number, dash, digit = code.partition("-")
    if not (dash and code.isascii() and number.isdigit() and digit.isdigit() and len(digit) == 1 and len(number) <= 7):
        return False
    total = 0
    for place, char in enumerate(reversed(number)):
        value = int(char) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return (10 - total % 10) % 10 == int(digit)


@cache
def is_ucum(unit: str) -> bool:
    """Whether a text is a UCUM unit, as ucumvert reads it."""
    from lark.exceptions import LarkError

    try:
        _ucum_parser().parse(unit)
    except LarkError:
        return False
    return True


@cache
def _ucum_parser() -> Any:
    # Half a second to import and build: only check pays for it, never the gateway's start.
    return import_module("ucumvert").get_ucum_parser()
