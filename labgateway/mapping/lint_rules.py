"""What is readable in the lab's own rules but not right: limits that never hold, ranges for tests that nobody answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches

from labgateway.errors import Complaint
from labgateway.mapping import units
from labgateway.mapping.table import Line, Mapping
from labgateway.toml_lines import KeyPath, line_of


def rules(mapping: Mapping, file: str) -> Iterator[Complaint]:
    """Every complaint about rules that hold and about ranges."""
    for lines in mapping.tests.values():
        for line in lines:
            yield from _holding(mapping, file, line)
    answered: dict[str, list[Line]] = {}
    for lines in mapping.tests.values():
        for line in lines:
            for emr in line.emr:
                answered.setdefault(emr, []).append(line)
    for emr, declared in mapping.ranges.items():
        where: KeyPath = ("ranges", emr)
        lines = answered.get(emr)
        if lines is None:
            yield _nobody(mapping, file, where, emr, sorted(answered))
            continue
        fixed = {line.unit or line.comes for line in lines}
        if None in fixed and not all(one.text for one in declared):
            what = f"nothing says which unit {emr} has; a range fits one unit only."
            cure = "Write `unit` and `times`, or `comes`, in the line under [tests]."
            yield _wrong(mapping, file, where, what, cure)
        elif not _one_unit([unit for unit in fixed if unit]):
            what = f"{emr} comes in several units: {', '.join(sorted(unit for unit in fixed if unit))}."
            yield _wrong(mapping, file, where, what, "Give all its lines one `unit`; a range fits one unit only.")
    if mapping.range_flags and not mapping.ranges:
        what = "is of no use without [ranges]."
        yield _wrong(mapping, file, ("range_flags",), what, "Write [ranges], or take it out.")


def _holding(mapping: Mapping, file: str, line: Line) -> Iterator[Complaint]:
    holding = line.holding
    if holding is None:
        return
    where: KeyPath = ("tests", line.code)
    numbers: list[tuple[tuple[Decimal | None, Decimal | None], str]] = []
    if holding.limits is not None:
        numbers.append((holding.limits, "limits"))
    if holding.critical is not None:
        numbers.append(((holding.critical.below, holding.critical.above), "critical"))
    if (numbers or (holding.delta and holding.delta.absolute is not None)) and line.unit is None and line.comes is None:
        what = f"nothing says which unit {line.code} has; its numbers fit one unit only."
        cure = "Write `unit` and `times`, or `comes`, in the same line."
        yield _wrong(mapping, file, (*where, numbers[0][1] if numbers else "delta"), what, cure, line.number)
    if line.sane is None:
        return
    for ends, key in numbers:
        for end in ends:
            if end is not None and not line.sane[0] <= end <= line.sane[1]:
                what = f"{end:f} lies outside `sane`, which holds such a value already."
                yield _wrong(mapping, file, (*where, key), what, "Correct one of the two.", line.number)


def _nobody(mapping: Mapping, file: str, where: KeyPath, emr: str, known: Sequence[str]) -> Complaint:
    close = get_close_matches(emr, known, n=1, cutoff=0.6)
    cure = f"Did you mean {close[0]}?" if close else "Write what the EMR calls the test, as `emr` does."
    return _wrong(mapping, file, where, f"no line under [tests] answers {emr}.", cure)


def _one_unit(found: Sequence[str]) -> bool:
    return all(units.same(found[0], unit) for unit in found[1:])


def _wrong(mapping: Mapping, file: str, where: KeyPath, what: str, cure: str, number: int | None = None) -> Complaint:
    line = mapping.index.get(where, number) if number is not None else line_of(mapping.index, where)
    return Complaint(file, line, ".".join(str(part) for part in where), what, cure)
