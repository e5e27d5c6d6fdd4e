"""One result through the mapping: what the EMR calls it, its value and unit as the EMR wants them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labgateway.errors import Problem, Reason
from labgateway.mapping import decimals, specimens
from labgateway.mapping.table import Line, Mapping
from labgateway.model import Result


@dataclass(frozen=True, slots=True)
class Target:
    """One EMR test that a result may answer."""

    emr: str
    name: str = ""
    loinc: str = ""
    moh: str = ""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapped result.

    targets: which of them was ordered is matching's to find. value: None when the analyzer withheld it.
    original_value, original_unit: what was sent, only where value or unit are not that. hold: why a person must see it.
    """

    targets: tuple[Target, ...]
    value: str | None
    unit: str
    original_value: str | None = None
    original_unit: str | None = None
    hold: Problem | None = None
    rerun: Literal["hold", "last"] = "hold"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The mapping says that this code stops here, and why."""

    why: str


def apply(mapping: Mapping, result: Result) -> Mapped | LeftOut | Problem:
    """What the mapping makes of a result; a Problem where it says nothing, or what it says does not fit."""
    if result.code in mapping.leave_out:
        return LeftOut(mapping.leave_out[result.code])
    lines = mapping.tests.get(result.code)
    if not lines:
        return Problem(Reason.UNMAPPED, f"code {result.code[:60]}")
    line = _choose(lines, result)
    if line is None:
        return Problem(Reason.UNMAPPED, f"code {result.code[:60]} on this specimen type")
    sent = result.unit or ""
    if line.comes is not None and sent and sent != line.comes:
        return Problem(Reason.UNIT_CHANGED, f"code {result.code[:60]} came in {sent[:30]}, the mapping says {line.comes}")
    unit = sent if line.unit is None else line.unit
    if not sent and line.unit is None and line.comes is not None:
        unit = line.comes
    value, problem = result.value, None
    hold: Problem | None = None
    if value is not None:
        plain = decimals.read(value, comma=line.decimal_comma)
        if plain is None and line.times != 1:
            return Problem(Reason.NOT_A_DECIMAL, f"code {result.code[:60]}")
        if plain is not None:
            if line.times != 1:
                plain = decimals.scale(plain, line.times)
            if line.decimals is not None:
                plain = decimals.to_places(plain, line.decimals)
            if line.times != 1 or line.decimals is not None or line.decimal_comma:
                value = str(plain)
            if line.sane is not None and not line.sane[0] <= plain.number <= line.sane[1]:
                hold = Problem(Reason.NOT_SANE, f"code {result.code[:60]}, limits {line.sane[0]} to {line.sane[1]}")
    changed = value != result.value or (line.unit is not None and unit != sent)
    return Mapped(
        targets=tuple(Target(emr, line.name, line.loinc, line.moh) for emr in line.emr),
        value=value,
        unit=unit,
        original_value=result.value if changed else None,
        original_unit=sent if changed else None,
        hold=hold or problem,
        rerun=line.rerun,
    )


def _choose(lines: tuple[Line, ...], result: Result) -> Line | None:
    """The line for this specimen type; without a type on either side the only one that asks for none."""
    if result.specimen_type:
        for line in lines:
            if line.specimen is not None and specimens.same(line.specimen, result.specimen_type):
                return line
    return next((line for line in lines if line.specimen is None), None)
