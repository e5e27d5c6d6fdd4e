"""About two hundred common analytes: names, LOINC, usual units and the factors between them. Read from analytes.csv.

A catalogue proposes and checks; it never changes a result. factor is exact enough to check with: what a lab writes
into its mapping file, with its own rounding, is what is used. Sources of the codes stand in the column notes.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources

from labgateway.mapping import units

TOLERANCE = Decimal("0.01")
"""How far a written factor may be from the catalogue's: laboratories round 0.0555 and 0.05551 alike."""


@dataclass(frozen=True, slots=True)
class Analyte:
    """One analyte. loinc fits ucum, conventional_loinc fits conventional_unit; empty where none is given.

    ucum empty: no quantity but a finding. factors: unit and what turns a value in it into ucum.
    decimals: how many are usually shown, None for findings.
    """

    short_code: str
    name_en: str
    name_vi: str
    loinc: str
    ucum: str
    decimals: int | None
    conventional_unit: str
    conventional_loinc: str
    factors: tuple[tuple[str, Decimal], ...]
    notes: str


@cache
def analytes() -> tuple[Analyte, ...]:
    """The whole catalogue, in the order of the file."""
    text = resources.files("labgateway.mapping").joinpath("analytes.csv").read_text(encoding="utf-8")
    found: list[Analyte] = []
    for row in csv.DictReader(text.splitlines()):
        factors = [(row["conventional_unit"], Decimal(row["factor"]))] if row["factor"] else []
        for pair in filter(None, row["other_factors"].split(";")):
            unit, _, factor = pair.rpartition(":")
            factors.append((unit, Decimal(factor)))
        found.append(
            Analyte(
                row["short_code"],
                row["name_en"],
                row["name_vi"],
                row["loinc"],
                row["ucum"],
                int(row["decimals"]) if row["decimals"] else None,
                row["conventional_unit"],
                row["conventional_loinc"],
                tuple(factors),
                row["notes"],
            )
        )
    return tuple(found)


@cache
def by_loinc() -> dict[str, Analyte]:
    """Analytes by each of their LOINC codes."""
    found = {a.conventional_loinc: a for a in analytes() if a.conventional_loinc}
    return found | {a.loinc: a for a in analytes() if a.loinc}


@cache
def by_code() -> dict[str, Analyte]:
    """Analytes by short code, such as GLU."""
    return {a.short_code: a for a in analytes()}


def factors(analyte: Analyte, sent: str, wanted: str) -> list[Decimal]:
    """The factors that may lie between two units of one analyte, as far as it is known; empty when it is not."""
    found: list[Decimal] = []
    for unit, times in analyte.factors:
        forward = (units.factor(sent, unit), units.factor(analyte.ucum, wanted))
        if forward[0] is not None and forward[1] is not None:
            found.append(forward[0] * times * forward[1])
        backward = (units.factor(sent, analyte.ucum), units.factor(unit, wanted))
        if backward[0] is not None and backward[1] is not None:
            found.append(backward[0] / times * backward[1])
    return found


def close(written: Decimal, known: Decimal) -> bool:
    """Whether a written factor is the known one, rounded."""
    return abs(written - known) <= abs(known) * TOLERANCE
