"""What a code of an analyzer may be, by the catalogue: lines of a mapping file that a person decides. Pure.

A proposal never goes live by itself: its `emr` is "?", which `check` and `accept` refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import tomlkit

from labgateway.mapping import catalogue, units
from labgateway.mapping.catalogue import Analyte
from labgateway.mapping.table import UNDECIDED


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one code may be. analyte: None: not in the catalogue. loinc, unit, times: set where they fit together for sure."""

    code: str
    analyte: Analyte | None
    comes: str = ""
    loinc: str = ""
    unit: str = ""
    times: Decimal | None = None
    why: str = ""


def proposal(code: str, sent: Sequence[str], name: str = "") -> Proposal:
    """What a code may be. sent: units it comes in, "" for none; name: what the instrument calls it.

    An analyte counts only when its code or name is the catalogue's, and no unit that comes speaks against it.
    """
    known = [unit for unit in sent if unit]
    found = _find(code) or _find(name)
    if found is None:
        return Proposal(code, None)
    comes = known[0] if len(known) == 1 else ""
    if not found.ucum:
        return Proposal(code, found, loinc=found.loinc if not known else "", why=_why(found))
    fitting = [_steps(found, unit) for unit in known]
    if known and not all(fitting):
        return Proposal(code, None, why=f"{found.name_en}? Its units are others")
    if len(known) != 1 or not (steps := fitting[0]):
        return Proposal(code, found, loinc=found.loinc, why=_why(found))
    if len(set(steps)) > 1:
        return Proposal(code, found, comes=comes, why=f"{_why(found)}; several factors are possible")
    return Proposal(code, found, comes, found.loinc, found.ucum, steps[0], _why(found))


def _why(analyte: Analyte) -> str:
    return f"{analyte.name_en}, by the catalogue"


def _steps(analyte: Analyte, sent: str) -> list[Decimal]:
    """The factors that may lead from a unit to the catalogue's; empty when none is known."""
    direct = units.factor(sent, analyte.ucum)
    return [direct] if direct is not None else catalogue.factors(analyte, sent, analyte.ucum)


def _find(text: str) -> Analyte | None:
    key = _key(text)
    return _by_key().get(key) if key else None


_ALIASES = {
    "NEU#": "NEUT#", "NEU%": "NEUT%", "LYM#": "LYMPH#", "LYM%": "LYMPH%", "MON#": "MONO#", "MON%": "MONO%", "EOS#": "EO#",
    "EOS%": "EO%", "BAS#": "BASO#", "BAS%": "BASO%", "GLUC": "GLU", "GLUCOSE": "GLU", "CHOL": "TC", "HB": "HGB", "HT": "HCT",
    "GOT": "AST", "GPT": "ALT", "SGOT": "AST", "SGPT": "ALT", "ASTGOT": "AST", "ALTGPT": "ALT", "CREAT": "CREA", "CRE": "CREA",
    "ALBUMIN": "ALB", "RDWCV": "RDW-CV", "RDWSD": "RDW-SD", "GRA#": "GRAN#", "GRA%": "GRAN%",
}  # fmt: skip
"""What analyzers call tests of the catalogue otherwise; only what can mean nothing else."""


def _key(text: str) -> str:
    return "".join(char for char in text.upper() if char.isalnum() or char in "#%")


@cache
def _by_key() -> dict[str, Analyte]:
    """Analytes by short code, English name and alias; what two of them share is left out."""
    found: dict[str, Analyte | None] = {}
    for analyte in catalogue.analytes():
        for name in (analyte.short_code, analyte.name_en):
            key = _key(name)
            found[key] = None if key in found and found[key] is not analyte else analyte
    for alias, code in _ALIASES.items():
        if code in catalogue.by_code():
            found.setdefault(_key(alias), catalogue.by_code()[code])
    return {key: analyte for key, analyte in found.items() if analyte is not None}


def draft(instrument: str, tests: Mapping[str, Sequence[str]], names: Mapping[str, str], head: Iterable[str]) -> str:
    """A mapping file for a person to finish. tests: code to the units it comes in; head: words for its top."""
    lines = [*(f"# {one}" for one in head), f"instrument = {_text(instrument)}", 'checked    = ""', "", "[tests]"]
    for code, sent in tests.items():
        found = proposal(code, sent, names.get(code, ""))
        lines.append(f"{tomlkit.key(code).as_string()} = {_line(found, sent, names.get(code, ''))}")
    return "\n".join([*lines, "", "[panels]", "", "[leave_out]", ""])


def line_of(code: str, sent: Sequence[str], name: str = "") -> tuple[str, str]:
    """A drafted line in braces, and what speaks for it. sent: units it comes in, "" for none."""
    found = proposal(code, sent, name)
    text, _, note = _line(found, sent, name).partition("   # ")
    return text, note or "not in the catalogue"


def _line(found: Proposal, sent: Sequence[str], name: str) -> str:
    parts = [f"emr = {_text(UNDECIDED)}"]
    if found.analyte is not None:
        parts.append(f"name = {_text(f'{found.analyte.name_vi} / {found.analyte.name_en}')}")
    elif name:
        parts.append(f"name = {_text(name)}")
    if found.loinc:
        parts.append(f"loinc = {_text(found.loinc)}")
    if found.comes:
        parts.append(f"comes = {_text(found.comes)}")
    if found.times is not None:
        parts.append(f"unit = {_text(found.unit)}, times = {found.times:f}")
    seen = " or ".join(unit or "no unit" for unit in sent)
    note = "; ".join(filter(None, (found.why, f"comes in {seen}" if seen and not found.comes else "")))
    return "{ " + ", ".join(parts) + " }" + (f"   # {_comment(note)}" if note else "")


def _text(text: str) -> str:
    return tomlkit.string(text).as_string()


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
