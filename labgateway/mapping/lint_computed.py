"""What is readable in [computed] but not right: unknown tests, units that do not add up, division by nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from difflib import get_close_matches

from labgateway.errors import Complaint
from labgateway.mapping import catalogue, formula, units
from labgateway.mapping.computed import Computed
from labgateway.mapping.formula import Formula, Name, Negative, Number, Pair
from labgateway.mapping.quantities import check_digit_fits, convertible, dimension, is_ucum
from labgateway.mapping.table import Mapping as MappingFile


def computed(mapping: MappingFile, file: str, elsewhere: Set[str]) -> Iterator[Complaint]:
    """Every complaint about computed lines. elsewhere: EMR tests that other instruments answer."""
    answered = {emr: line.code for lines in mapping.tests.values() for line in lines for emr in line.emr}
    ours: dict[str, str] = {}
    for code, one in mapping.computed.items():
        emr = one.line.emr[0]
        if emr in answered or emr in ours:
            what = f"{emr} is answered by {answered.get(emr) or ours[emr]} already."
            yield _wrong(
                mapping, file, code, "emr", what, "Give it an EMR test of its own, or take one of the two out."
            )
        ours[emr] = code
    known = answered.keys() | ours.keys()
    for code, one in mapping.computed.items():
        yield from _names(mapping, file, code, one, known, elsewhere)
        yield from _units(mapping, file, code, one)
        yield from _loinc(mapping, file, code, one)
        if any(
            isinstance(part, Pair) and part.sign == "/" and formula.constant(part.right) == 0
            for part in formula.parts(one.formula)
        ):
            yield _wrong(mapping, file, code, "formula", "divides by zero.", "Correct the divisor.")


def _names(
    mapping: MappingFile, file: str, code: str, one: Computed, known: Set[str], elsewhere: Set[str]
) -> Iterator[Complaint]:
    for name in formula.names(one.formula):
        if name in known or name in one.units:
            continue
        if name in elsewhere:
            what = f"{name} is measured by another analyzer."
            cure = f'Say in which unit the EMR gets it: units = {{ {name} = "..." }}.'
        else:
            what = f"no line answers {name}."
            close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
            cure = (
                f"Did you mean {close[0]}?" if close else "Write the EMR's name of the test, as `emr` of its line does."
            )
        yield _wrong(mapping, file, code, "formula", what, cure)
    for name in one.units:
        if name not in formula.names(one.formula):
            what = f"{name} does not stand in the formula."
            yield _wrong(mapping, file, code, "units", what, "Take it out, or correct its name.")
    for each in one.inputs:
        if each.unit is None and each.name in known:
            what = f"nothing says which unit {each.name} has; numbers of unknown units make no value."
            cure = "Write `unit` and `times`, or `comes`, in its line; the same in all of them."
            yield _wrong(mapping, file, code, "formula", what, cure)


def _units(mapping: MappingFile, file: str, code: str, one: Computed) -> Iterator[Complaint]:
    """Whether sums are of one unit, and whether the result can have the unit that is declared."""
    wanted = one.line.unit or ""
    if not is_ucum(wanted):
        better = units.ucum(wanted)
        cure = "Look it up at ucum.org; what is no unit of measure stands in braces, such as {ratio}."
        if better is not None and is_ucum(better):
            cure = f'Write unit = "{better}".'
        yield _wrong(mapping, file, code, "unit", f"{wanted} is no UCUM unit.", cure)
    known = {each.name: each.unit for each in one.inputs}
    found: list[str] = []
    result = _unit_of(one.formula, known, found)
    for what in dict.fromkeys(found):
        yield _wrong(mapping, file, code, "formula", what, "Bring them to one unit, or correct the formula.")
    if found or result is None:
        return
    text, is_scaled = result
    fits = convertible(text, wanted) if is_scaled else units.same(text, wanted)
    if not fits:
        what = f"what is computed of {text} is no quantity in {wanted}."
        yield _wrong(mapping, file, code, "unit", what, f'Write unit = "{text}", or correct the formula.')


def _unit_of(part: Formula, known: Mapping[str, str | None], wrong: list[str]) -> tuple[str, bool] | None:
    """The unit of a part, and whether a number stands for a factor in it; None when that is not known.

    wrong: gets the sums of what cannot be added.
    """
    match part:
        case Number():
            return None
        case Name(name):
            unit = known.get(name)
            return None if unit is None else (unit, False)
        case Negative(of):
            return _unit_of(of, known, wrong)
        case Pair(sign, left, right):
            one, other = _unit_of(left, known, wrong), _unit_of(right, known, wrong)
            if sign in "*/":
                return _product(sign, left, right, one, other)
            if one is None or other is None:
                return None
            scaled = one[1] or other[1]
            fits = convertible(one[0], other[0]) if scaled else units.same(one[0], other[0])
            if not fits:
                wrong.append(f"{one[0]} and {other[0]} cannot be added or subtracted.")
                return None
            return (other if one[1] else one)[0], one[1] and other[1]


def _product(
    sign: str, left: Formula, right: Formula, one: tuple[str, bool] | None, other: tuple[str, bool] | None
) -> tuple[str, bool] | None:
    """Of a product or quotient: the unit stays beside a number, and of two alike a quotient has none."""
    if one is not None and not formula.names(right):
        return one[0], True
    if other is not None and not formula.names(left) and sign == "*":
        return other[0], True
    if one is not None and other is not None and sign == "/" and units.same(one[0], other[0]):
        return "1", one[1] or other[1]
    return None


def _loinc(mapping: MappingFile, file: str, code: str, one: Computed) -> Iterator[Complaint]:
    loinc, unit = one.line.loinc, one.line.unit or ""
    if not loinc:
        return
    if not check_digit_fits(loinc):
        what = f"{loinc} is no LOINC code: its check digit does not fit."
        cure = "Look it up again at loinc.org; two digits may have changed places."
        yield _wrong(mapping, file, code, "loinc", what, cure)
        return
    analyte = catalogue.by_loinc().get(loinc)
    if analyte is None:
        return
    fitting = analyte.ucum if loinc == analyte.loinc else analyte.conventional_unit
    here, there = dimension(unit), dimension(fitting) if fitting else None
    if here is not None and there is not None and here != there:
        what = f"LOINC {loinc} ({analyte.name_en}) is for {fitting}, the unit is {unit}."
        yield _wrong(mapping, file, code, "loinc", what, f"Look up the LOINC for {unit}.")


def _wrong(mapping: MappingFile, file: str, code: str, key: str, what: str, cure: str) -> Complaint:
    number = mapping.index.get(("computed", code, key), mapping.index.get(("computed", code)))
    return Complaint(file, number, f"computed.{code}.{key}", what, cure)
