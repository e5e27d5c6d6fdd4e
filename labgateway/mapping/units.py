"""How units are spelled, and which factor lies between two of one kind. Exact, small, no guess.

Analyzers write one unit in many ways: ``10*3/uL``, ``10^3/ul``, ``10E3/mm3``, ``x10^3/µL`` are the same. Here the parts
of a unit are read into a power of ten and what is counted:

    10*3/uL  ->  10^9   / L            g/dL   ->  10^1   g / L
    um3      ->  10^-15 L              %      ->  10^-2

What is not read here (``COI``, ``/100WBC``) equals only itself. Whether a text is UCUM is lint.py's question, asked of
ucumvert; a test holds the factors of both together.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

_PREFIX = {"k": 3, "": 0, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18}
_BASES = {
    "L": "L",
    "l": "L",
    "g": "g",
    "mol": "mol",
    "eq": "eq",
    "Eq": "eq",
    "[IU]": "IU",
    "[iU]": "IU",
    "IU": "IU",
    "UI": "IU",
    "U": "U",
    "[arb'U]": "arb'U",
    "osm": "osm",
    "Osm": "osm",
    "osmol": "osm",
    "kat": "kat",
    "m[Hg]": "mHg",
    "mHg": "mHg",
    "Pa": "Pa",
    "m": "m",
    "s": "s",
    "min": "min",
    "h": "h",
}
_WHOLE = {
    # UCUM reads these as kelvin, gauss and tesla; laboratories mean thousand, giga and tera.
    "K": (3, ()),
    "M": (6, ()),
    "G": (9, ()),
    "T": (12, ()),
    "%": (-2, ()),
    "1": (0, ()),
    "um3": (-15, ("L",)),
    "um^3": (-15, ("L",)),
    "mm3": (-6, ("L",)),
    "mm^3": (-6, ("L",)),
    "cells": (0, ()),
    "cell": (0, ()),
    "copies": (0, ("copies",)),
    "cp": (0, ("copies",)),
    "sec": (0, ("s",)),
    "Sec": (0, ("s",)),
    "hr": (0, ("h",)),
}
_SHOUTED = {
    unit.upper(): unit
    for unit in (
        *("mg/dL", "g/dL", "ug/dL", "ng/dL", "mg/L", "ug/L", "ng/L", "ng/mL", "pg/mL", "ug/mL"),
        *("mmol/L", "umol/L", "nmol/L", "pmol/L", "mEq/L", "IU/mL", "mIU/mL", "mIU/L", "uIU/mL"),
    )
}
"""Units that some instruments write in capitals. G/L and T/L are not among them: there capitals have a meaning."""

_TENS = re.compile(r"[xX]?10(?:\*\*|\*|\^|[eE])([+-]?[0-9]{1,2})")
_ANNOTATION = re.compile(r"\{([^{}]*)\}")
UCUM_OF = {"mmHg": "mm[Hg]", "pH": "[pH]", "K/uL": "10*3/uL", "M/uL": "10*6/uL", "G/L": "10*9/L", "T/L": "10*12/L"}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that was read: 10 to the power of tens, times what stands above and below the line, in base units."""

    tens: int
    above: tuple[str, ...]
    below: tuple[str, ...]


@lru_cache(maxsize=4096)
def read(text: str) -> Unit | None:
    """The unit of a text, None when it is not one that is understood here."""
    text = plain(text)
    text = _SHOUTED.get(text, text)
    tens = 0
    kinds: Counter[str] = Counter()
    for number, part in enumerate(text.split("/")):
        if not part:
            if number == 0 and "/" in text:
                continue
            return None
        found = _part(part)
        if found is None:
            return None
        power, kind = found
        tens += -power if number else power
        for each in kind:
            kinds[each] += -1 if number else 1
    return Unit(
        tens,
        tuple(sorted(kind for kind, count in kinds.items() for _ in range(count))),
        tuple(sorted(kind for kind, count in kinds.items() for _ in range(-count))),
    )


def _part(part: str) -> tuple[int, tuple[str, ...]] | None:
    """The power of ten and the kinds of one part between strokes."""
    marks = tuple(sorted("{" + mark.strip().lower() + "}" for mark in _ANNOTATION.findall(part)))
    bare = _ANNOTATION.sub("", part)
    if not bare:
        # {copies}/mL and copies/mL are one unit.
        names = [mark[1:-1] for mark in marks]
        return _WHOLE[names[0]] if len(names) == 1 and names[0] in _WHOLE else (0, marks)
    power = 0
    if found := _TENS.match(bare):
        power, bare = int(found[1]), bare[found.end() :]
    if not bare:
        return power, marks
    if bare in _WHOLE:
        more, kinds = _WHOLE[bare]
        return power + more, kinds + marks
    for prefix, more in _PREFIX.items():
        if bare.startswith(prefix) and (base := _BASES.get(bare[len(prefix) :])):
            return power + more, (base, *marks)
    return None


def plain(text: str) -> str:
    """A unit without what never matters: blanks, and which of the two micro signs."""
    return "".join(text.split()).replace("\u00b5", "u").replace("\u03bc", "u")


def same(one: str, other: str) -> bool:
    """Whether two texts are one unit, spelled in the same or another way."""
    return plain(one) == plain(other) or factor(one, other) == 1


def factor(sent: str, wanted: str) -> Decimal | None:
    """By what a value in sent is multiplied to be in wanted; None when that is not known here.

    Only between units of the same kind: mg/dL to mmol/L depends on the substance, see catalogue.py.
    """
    if plain(sent) == plain(wanted):
        return Decimal(1)
    here, there = read(sent), read(wanted)
    if here is None or there is None or (here.above, here.below) != (there.above, there.below):
        return None
    return _power(here.tens - there.tens)


def _power(tens: int) -> Decimal:
    """Ten to this power, written without an exponent where it is a whole number."""
    return Decimal(10**tens) if tens >= 0 else Decimal((0, (1,), tens))


def ucum(text: str) -> str | None:
    """How UCUM writes a unit that laboratories write otherwise; None when that is not known here."""
    bare = plain(text)
    if bare in UCUM_OF:
        return UCUM_OF[bare]
    bare = _SHOUTED.get(bare, bare)
    parts = [_part_in_ucum(part) for part in bare.split("/")]
    return None if None in parts else "/".join(part or "" for part in parts)


def _part_in_ucum(part: str) -> str | None:
    if not part or part in {"%", "1"} or part.startswith("{"):
        return part
    written = ""
    if found := _TENS.match(part):
        written, part = f"10*{int(found[1])}", part[found.end() :]
    if not part:
        return written
    whole = {"um3": "fL", "um^3": "fL", "mm3": "uL", "mm^3": "uL", "sec": "s", "Sec": "s", "hr": "h"}
    whole |= {"copies": "{copies}", "cp": "{copies}", "cells": "{cells}", "cell": "{cells}"}
    bases = {"IU": "[IU]", "UI": "[IU]", "l": "L", "Eq": "eq", "Osm": "osm", "osmol": "osm", "mHg": "m[Hg]"}
    if part in whole:
        return written + whole[part]
    mark = "".join(f"{{{mark}}}" for mark in _ANNOTATION.findall(part))
    bare = _ANNOTATION.sub("", part)
    for prefix in _PREFIX:
        base = bare[len(prefix) :]
        if bare.startswith(prefix) and base in _BASES:
            return f"{written}{prefix}{bases.get(base, base)}{mark}"
    return None
