"""What is readable in a mapping file but not right, each with its line and its cure.

    codes    sent by the driver and answered by no line; answered, but never sent; two codes for one EMR test
    units    a factor that does not lead from the driver's unit to the EMR's; a choice left open; no UCUM
    LOINC    a wrong check digit; mass where the unit says moles
    limits   lowest above highest, or rounded to nothing;  panels   a member that nothing answers
    rules    of the lab's own, see lint_rules.py;  formulas   see lint_computed.py

The driver's codes and units come as a plain table; nothing here knows drivers. Nothing here changes a result: what
`apply` does with a doubtful line is to hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from labgateway.errors import Complaint
from labgateway.mapping import catalogue, specimens, units
from labgateway.mapping.apply import known_factors, plain_number
from labgateway.mapping.lint_computed import computed
from labgateway.mapping.lint_rules import rules
from labgateway.mapping.quantities import check_digit_fits, convertible, dimension, is_ucum
from labgateway.mapping.table import Declared, Line, Mapping, read


def examine(
    path: str | Path,
    declared: Declared | None,
    driver: str = "",
    *,
    open_codes: bool = False,
    elsewhere: Set[str] = frozenset(),
) -> list[Complaint]:
    """Everything that is wrong with a mapping file, what `table.load` refuses and what `lint` finds, by line."""
    mapping, found = read(path)
    if mapping is not None:
        found = found + lint(mapping, str(path), declared, driver, open_codes=open_codes, elsewhere=elsewhere)
    return sorted(found, key=lambda one: (one.line is None, one.line or 0))


def lint(
    mapping: Mapping,
    file: str,
    declared: Declared | None,
    driver: str = "",
    *,
    open_codes: bool = False,
    elsewhere: Set[str] = frozenset(),
) -> list[Complaint]:
    """Every complaint about what could be read of a mapping file, in the order of its lines.

    file: how complaints call it. declared: the driver's codes, each with its possible units; None: the driver is not
    known. open_codes: the driver leaves the codes to the site, and declared holds only some of them ({} is then none);
    an empty declared means the same. elsewhere: EMR tests that other instruments answer, for panels shared with them.
    """
    if declared is not None and not open_codes and declared:
        declared = mapping.beyond.declared(declared)
    look = _Look(mapping, file, declared, driver or "of this instrument", open_codes or not declared)
    lines = [line for lines in mapping.tests.values() for line in lines]
    found = [
        *look.codes(),
        *(complaint for line in lines for complaint in look.line(line)),
        *look.targets(lines),
        *look.panels(lines, elsewhere),
        *rules(mapping, file),
        *computed(mapping, file, elsewhere),
    ]
    return sorted(found, key=lambda one: (one.line is None, one.line or 0))


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at one file."""

    mapping: Mapping
    file: str
    declared: Declared | None
    driver: str
    is_open: bool

    def wrong(self, line: Line, key: str, what: str, cure: str) -> Complaint:
        number = self.mapping.index.get(("tests", line.code, key), line.number)
        return Complaint(self.file, number, f"tests.{line.code}.{key}", what, cure)

    def codes(self) -> Iterator[Complaint]:
        if self.declared is None or self.is_open:
            return
        known = self.mapping.tests.keys() | self.mapping.leave_out.keys()
        # A line that is there but could not be read has its own complaint already.
        written = {str(path[1]) for path in self.mapping.index if len(path) == 2 and path[0] in {"tests", "leave_out"}}
        missing = [code for code in self.declared if code not in known | written]
        if missing:
            what = f"driver {self.driver} can also send {', '.join(missing)}: no line answers."
            cure = f'Add {_key(missing[0])} = {{ emr = "..." }} here, or {_key(missing[0])} = "why" under [leave_out].'
            if len(missing) > 1:
                cure = f"Each needs a line of its own. {cure}"
            yield Complaint(self.file, self.mapping.index.get(("tests",), 1), "tests", what, cure)
        for table, codes in (("tests", self.mapping.tests), ("leave_out", self.mapping.leave_out)):
            for code in codes:
                if code not in self.declared:
                    close = get_close_matches(code, list(self.declared), n=1, cutoff=0.5)
                    cure = f"Did you mean {close[0]}? " if close else ""
                    cure += "Write the code as the instrument does, or take the line out."
                    number = self.mapping.index.get((table, code))
                    yield Complaint(
                        self.file, number, f"{table}.{code}", f"driver {self.driver} never sends {code}.", cure
                    )

    def line(self, line: Line) -> Iterator[Complaint]:
        choices = tuple(unit for unit in (self.declared or {}).get(line.code, ()) if unit)
        if line.comes is not None and choices and not any(units.same(line.comes, unit) for unit in choices):
            what = f"driver {self.driver} declares {_either(choices)}, not {line.comes}."
            yield self.wrong(line, "comes", what, "Write one of those, as the instrument sends it.")
        if line.unit is not None:
            yield from self.factor(line, (line.comes,) if line.comes is not None else choices)
            yield from self.ucum(line, line.unit)
        if line.sane is not None:
            if line.sane[0] > line.sane[1]:
                low, high = (f"{end:f}" for end in line.sane)
                what = f"the lowest value {low} is above the highest {high}: every result would be held."
                yield self.wrong(line, "sane", what, f"Write [{high}, {low}].")
            if line.decimals is not None and line.sane[1] > 0 and round(line.sane[1], line.decimals) == 0:
                what = f"rounded to {line.decimals} decimals, the highest limit {line.sane[1]:f} is shown as 0."
                yield self.wrong(line, "decimals", what, "Write more `decimals`, or correct `sane`.")
        if line.loinc:
            yield from self.loinc(line, line.unit or line.comes or (choices[0] if len(choices) == 1 else ""))

    def factor(self, line: Line, choices: tuple[str, ...]) -> Iterator[Complaint]:
        """Whether `times` leads from what comes to `unit`. choices: the units that may come, the usual one first."""
        if not choices:
            if self.declared is not None and line.times != 1:
                what = f"nothing says which unit {line.code} comes in; a factor fits one unit only."
                yield self.wrong(line, "times", what, 'Say what this instrument sends: comes = "...".')
            return
        known = {unit: known_factors(line, unit) for unit in choices}
        fitting = [unit for unit in choices if any(catalogue.close(line.times, one) for one in known[unit])]
        usual = choices[0]
        if line.unit is not None and not any(convertible(unit, line.unit) for unit in choices):
            what = f"{line.code} comes in {_either(choices)}: no factor leads from there to {line.unit}."
            yield self.wrong(line, "unit", what, "One of the two units belongs to another test; correct it.")
            return
        if usual in fitting or (len(choices) == 1 and not known[usual]):
            return
        whose = "" if line.comes is not None else f" (driver {self.driver})"
        others = f", on some instruments {_either(choices[1:])}" if len(choices) > 1 else ""
        what = f"{line.code} comes in {usual}{whose}{others}."
        if not known[usual]:
            yield self.wrong(line, "times", what, 'A factor fits one unit: say which, comes = "...".')
            return
        cure = f"To get {line.unit} multiply by {plain_number(known[usual][0])}; you wrote {plain_number(line.times)}."
        if fitting:
            cure += f' If this instrument sends {fitting[0]}, add comes = "{fitting[0]}".'
        yield self.wrong(line, "times", what, cure)

    def ucum(self, line: Line, unit: str) -> Iterator[Complaint]:
        better = units.ucum(unit)
        if unit in units.UCUM_OF:
            what = f"{unit} means something else in UCUM."
            yield self.wrong(line, "unit", what, f'Write unit = "{units.UCUM_OF[unit]}".')
        elif not is_ucum(unit):
            cure = "Look it up at ucum.org; what is no unit of measure stands in braces, such as {ratio}."
            if better is not None and is_ucum(better):
                cure = f'Write unit = "{better}".'
            yield self.wrong(line, "unit", f"{unit} is no UCUM unit.", cure)

    def loinc(self, line: Line, unit: str) -> Iterator[Complaint]:
        if not check_digit_fits(line.loinc):
            what = f"{line.loinc} is no LOINC code: its check digit does not fit."
            yield self.wrong(line, "loinc", what, "Look it up again at loinc.org; two digits may have changed places.")
            return
        analyte = catalogue.by_loinc().get(line.loinc)
        if analyte is None or not unit:
            return
        fitting = analyte.ucum if line.loinc == analyte.loinc else analyte.conventional_unit
        if not fitting:
            if line.unit is not None:
                what = f"LOINC {line.loinc} is a finding ({analyte.name_en}), no quantity in {unit}."
                yield self.wrong(line, "loinc", what, "Take `unit` and `times` out, or look up the LOINC again.")
            return
        one, other = dimension(unit), dimension(fitting)
        if one is not None and other is not None and one != other:
            twin = analyte.conventional_loinc if line.loinc == analyte.loinc else analyte.loinc
            twin_unit = analyte.conventional_unit if line.loinc == analyte.loinc else analyte.ucum
            fits = bool(twin) and dimension(twin_unit) == one
            cure = f"For {unit} it is {twin}." if fits else f"Look up the LOINC for {unit}."
            what = f"LOINC {line.loinc} ({analyte.name_en}) is for {fitting}, the unit is {unit}."
            yield self.wrong(line, "loinc", what, cure)

    def targets(self, lines: list[Line]) -> Iterator[Complaint]:
        """Two codes that would report one EMR test of one specimen type."""
        seen: dict[str, list[Line]] = {}
        for line in lines:
            for emr in line.emr:
                twin = next((one for one in seen.get(emr, ()) if _meet(one, line)), None)
                if twin is not None:
                    what = f"{emr} is answered by {twin.code} already, in line {twin.number}."
                    cure = "Put one of the two under [leave_out], or give them different EMR tests."
                    yield self.wrong(line, "emr", what, cure)
                seen.setdefault(emr, []).append(line)

    def panels(self, lines: list[Line], elsewhere: Set[str]) -> Iterator[Complaint]:
        known = {emr for line in lines for emr in line.emr} | {
            one.line.emr[0] for one in self.mapping.computed.values()
        }
        # What a line that could not be read answers is not known; its own complaint comes first.
        unread = {str(path[1]) for path in self.mapping.index if len(path) == 2 and path[0] == "tests"}
        known |= unread - self.mapping.tests.keys()
        for panel, members in self.mapping.panels.items():
            for member in members:
                if member not in known and member not in elsewhere:
                    close = get_close_matches(member, sorted(known), n=1, cutoff=0.6)
                    cure = f"Did you mean {close[0]}?" if close else "Add a line for it, or take it out of the panel."
                    number = self.mapping.index.get(("panels", panel))
                    what = f"no line under [tests] answers {member}."
                    yield Complaint(self.file, number, f"panels.{panel}", what, cure)


def _meet(one: Line, other: Line) -> bool:
    if one.code == other.code:
        return False
    if one.specimen is None or other.specimen is None:
        return one.specimen is other.specimen
    return specimens.same(one.specimen, other.specimen)


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names)


def _key(code: str) -> str:
    """A TOML key for a code."""
    return code if code.isascii() and code.replace("-", "").replace("_", "").isalnum() else f'"{code}"'
