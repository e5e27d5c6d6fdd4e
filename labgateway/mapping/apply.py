"""One result through the mapping: what the EMR calls it, in the EMR's unit, exactly, or why it has to wait. Pure.

    code ── not in the file ─────────────> Problem UNMAPPED
      |  └─ in [leave_out] ──────────────> LeftOut
      v
    line for its specimen type
      v
    unit ── not the one that the factor is for ──> Mapped, held UNIT_CHANGED, value and unit as sent
      v
    value ─ no plain decimal, and a factor ──────> Mapped, held NOT_A_DECIMAL, value and unit as sent
      |   ├ `1,234`: decimal, or thousands? ───────> Mapped, held TWO_READINGS, value as sent
      |   └ outside `sane` ──────────────────────> Mapped, held NOT_SANE
      v
    Mapped

No text is touched unless a factor or decimals are declared and it is a plain decimal: ``5.10``, ``007``, ``1e-3``,
``POSITIVE`` leave as they came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from labgateway.errors import Problem, Reason
from labgateway.mapping import catalogue, decimals, specimens, units
from labgateway.mapping.table import Line, Mapping
from labgateway.model import Result
from labgateway.quick import quick

_ONE = Decimal(1)
_CLEARLY_OFF = Decimal("0.05")
"""A factor further than this from the known one was written for another unit; rounding explains less."""


@quick
@dataclass(frozen=True, slots=True)
class Target:
    """One test of the EMR that a result may answer."""

    emr: str
    name: str
    loinc: str
    moh: str


@quick
@dataclass(frozen=True, slots=True)
class Mapped:
    """A result in the EMR's words.

    targets: one, or several of which matching takes the ordered one. value: None when the analyzer withheld it.
    unit: "" for none. original_value, original_unit: as sent, both set when value or unit text was changed, else
    None; of a value that a factor changed and that came without its unit the unit that is declared, "" where none is.
    hold: why a person must look first, None when nothing is wrong. rerun: see `Line`. line: which made it.
    """

    targets: tuple[Target, ...]
    value: str | None
    unit: str
    original_value: str | None = None
    original_unit: str | None = None
    hold: Problem | None = None
    rerun: Literal["hold", "last"] = "hold"
    line: Line | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A result that stops here, as the lab manager decided."""

    code: str
    why: str


def apply(mapping: Mapping, result: Result) -> Mapped | LeftOut | Problem:
    """What becomes of one result; never raises.

    result.problem and result.kind are not looked at. For units to be told apart where a driver leaves a choice, the
    mapping must have met its driver: `table.settle`.
    """
    if result.code in mapping.leave_out:
        return LeftOut(result.code, mapping.leave_out[result.code])
    lines = mapping.tests.get(result.code)
    if lines is None:
        return Problem(Reason.UNMAPPED, f"code {result.code}")
    line = _line_for(lines, result.specimen_type)
    if line is None:
        return Problem(Reason.UNMAPPED, f"code {result.code}, on this specimen type")
    targets = tuple(Target(emr, line.name, line.loinc, line.moh) for emr in line.emr)
    declared = None if mapping.declared is None else mapping.declared.get(result.code, ())

    if (hold := _unit_problem(line, result.unit, declared)) is not None:
        return Mapped(targets, result.value, result.unit or "", hold=hold, rerun=line.rerun, line=line)
    unit = line.unit or result.unit or line.comes or ""
    value, hold = _value(line, result.value)
    if hold is not None and hold.reason is Reason.NOT_A_DECIMAL:
        return Mapped(targets, result.value, result.unit or "", hold=hold, rerun=line.rerun, line=line)
    was = _unit_before(line, result.unit, declared)
    changed = value != result.value or (was is not None and unit != was)
    return Mapped(
        targets,
        value,
        unit,
        original_value=result.value if changed else None,
        original_unit=was if changed else None,
        hold=hold,
        rerun=line.rerun,
        line=line,
    )


def _unit_before(line: Line, sent: str | None, declared: tuple[str, ...] | None) -> str | None:
    """The unit of the value as measured; None where none was sent and the value is still in it.

    A note that says the measured number beside the EMR's unit would be another value.
    """
    if sent is not None or line.times == _ONE:
        return sent
    choices = [unit for unit in declared or () if unit]
    return line.comes or (choices[0] if len(choices) == 1 else "")


def _line_for(lines: tuple[Line, ...], specimen_type: str | None) -> Line | None:
    """The line of this specimen type, else the one without a type; None when there is none."""
    for line in lines:
        if line.specimen is None or (specimen_type and specimens.same(line.specimen, specimen_type)):
            return line
    return None


def _value(line: Line, value: str | None) -> tuple[str | None, Problem | None]:
    """The value in the EMR's unit, and why it is held."""
    if value is None:
        return None, None
    number = decimals.read(value, comma=line.decimal_comma)
    if number is None:
        if line.times != _ONE:
            return value, Problem(Reason.NOT_A_DECIMAL, f"code {line.code}")
        is_doubtful = decimals.is_doubtful(value, comma=line.decimal_comma)
        return value, Problem(Reason.TWO_READINGS, f"code {line.code}") if is_doubtful else None
    if line.times != _ONE:
        number = decimals.scale(number, line.times)
    hold = None
    if line.sane is not None and not line.sane[0] <= number.number <= line.sane[1]:
        limits = f"{line.sane[0]:f} to {line.sane[1]:f}"
        hold = Problem(Reason.NOT_SANE, f"code {line.code}, limits {limits}{' ' + line.unit if line.unit else ''}")
    if line.times == _ONE and line.decimals is None:
        return value, hold
    if line.decimals is not None:
        number = decimals.to_places(number, line.decimals)
    return str(number), hold


def _unit_problem(line: Line, sent: str | None, declared: tuple[str, ...] | None) -> Problem | None:
    """Why this unit may not pass through this line; None when it may.

    declared: the driver's units of this code, () when it leaves them open, None when the driver is not known.
    """
    choices = [unit for unit in declared or () if unit]
    if line.comes is not None:
        if sent is None or units.same(sent, line.comes):
            return None
        return _changed(line, f"{sent} came, {line.comes} is declared")
    if line.unit is None:
        return None
    if sent is None:
        if line.times == _ONE or len(choices) <= 1:
            return None
        return _changed(line, f"no unit came; write `comes`, one of {', '.join(choices)}")
    known = known_factors(line, sent)
    if known:
        if any(abs(line.times - factor) <= factor * _CLEARLY_OFF for factor in known):
            return None
        right = f"{plain_number(known[0])} leads from {sent} to {line.unit}, the mapping says {line.times:f}"
        return _changed(line, right)
    if declared is None and line.times != _ONE:
        return None
    if len(choices) == 1 and units.same(sent, choices[0]):
        return None
    return _changed(line, f'{sent} came; if that is right, write comes = "{sent}"')


def _changed(line: Line, detail: str) -> Problem:
    return Problem(Reason.UNIT_CHANGED, f"code {line.code}: {detail}")


def known_factors(line: Line, sent: str) -> list[Decimal]:
    """The factors that may lead from a unit to the line's, as far as the units or the analyte tell; [] if unknown.

    The analyte is known by the line's LOINC, else by the EMR's code for it.
    """
    if line.unit is None:
        return []
    factor = units.factor(sent, line.unit)
    if factor is not None:
        return [factor]
    analyte = catalogue.by_loinc().get(line.loinc) if line.loinc else catalogue.by_code().get(line.emr[0])
    return [] if analyte is None else catalogue.factors(analyte, sent, line.unit)


def plain_number(number: Decimal) -> str:
    """A factor as a person would write it: at most five digits that count, no exponent."""
    short = number if len(number.as_tuple().digits) <= 5 else Decimal(f"{number:.5g}")
    return f"{short.normalize():f}"
