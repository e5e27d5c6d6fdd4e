"""mappings/<instrument>.toml to a table: every mistake that makes a line unusable, with its line number and its cure.

What can be read but is not right (a factor that does not fit, a wrong LOINC) is lint.py's part. DESIGN 5.3.

    [tests]                         code -> one line, or a list of lines by specimen type
    HGB = { emr = "HGB", unit = "g/L", times = 10, decimals = 0 }
    [panels]                        what the EMR orders -> the EMR tests that answer it
    [orders]                        what the EMR orders -> what is asked of the instrument, where that is not [tests] read backwards
    [leave_out]                     code -> why it stops here
    [ranges]                        EMR test -> the lab's own ranges by sex and age, see ranges.py
    [control]                       specimen ids that are control material, see control.py
    [words]                         what this analyzer says that its driver does not know, see beyond.py
    [computed]                      code of our own -> what is worked out of other results, see computed.py
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from labgateway.errors import Complaint, ComplaintsError
from labgateway.mapping import beyond, computed, control, holding, ranges, specimens
from labgateway.mapping.beyond import Beyond
from labgateway.mapping.computed import Computed
from labgateway.mapping.control import Control
from labgateway.mapping.holding import Holding
from labgateway.mapping.ranges import Range
from labgateway.mapping.reading import Reading, is_list, is_table, number_of, unknown_key
from labgateway.toml_lines import KeyPath, line_of, parse_toml

Declared = dict[str, tuple[str, ...]]
"""What a driver declares: code to its possible units, "" where it may send none."""

_TOP = (
    *("instrument", "checked", "decimal_comma", "rerun", *holding.FILE_KEYS, "range_flags"),
    *("tests", "panels", "orders", "leave_out", "ranges", "computed", "words", "control"),
)
_KEYS = (
    *("emr", "name", "loinc", "unit", "times", "decimals", "sane", "comes", "specimen", "moh", "rerun"),
    *("decimal_comma", *holding.KEYS),
)
_MOST_DECIMALS = 10
UNDECIDED = "?"
"""The `emr` of a drafted line: a person has to say what the EMR calls the test."""
NOT_DECIDED = "is not decided yet."
"""What is said of such a line."""


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one analyzer code (on one specimen type).

    emr: the EMR's tests, several: the one that was ordered. unit: what the EMR gets, None: as it comes. times:
    exact factor, 1 when none is declared. decimals: None: not rounded. sane: lowest and highest value, in unit.
    comes: the unit that this instrument sends, None: as the driver declares. specimen: None: every other type.
    rerun: "hold" a rerun with another value, or let the "last" one stand. number: line in the file, from 1.
    holding: rules that let a person look first, None: none.
    """

    code: str
    emr: tuple[str, ...]
    name: str = ""
    loinc: str = ""
    unit: str | None = None
    times: Decimal = Decimal(1)
    decimals: int | None = None
    sane: tuple[Decimal, Decimal] | None = None
    comes: str | None = None
    specimen: str | None = None
    moh: str = ""
    rerun: Literal["hold", "last"] = "hold"
    decimal_comma: bool = False
    number: int | None = None
    holding: Holding | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping file.

    tests: code to its lines, those with a specimen type first. version: SHA-256 (hex) of the file.
    declared: what the driver declares, see `settle`; None: not known. index: where keys stand in the file. raw: the file.
    ranges: EMR test to the lab's own ranges. range_flags: high and low are told by them, not by the analyzer.
    compares: some line has a delta rule. computed: by code, each behind those it needs.
    beyond: what this analyzer says that its driver does not know. control: ids of control material.
    """

    instrument: str
    checked: str
    version: str
    tests: dict[str, tuple[Line, ...]]
    panels: dict[str, tuple[str, ...]]
    leave_out: dict[str, str]
    orders: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    ranges: dict[str, tuple[Range, ...]] = field(default_factory=dict[str, tuple[Range, ...]])
    range_flags: bool = False
    compares: bool = False
    computed: dict[str, Computed] = field(default_factory=dict[str, Computed])
    control: tuple[Control, ...] = ()
    beyond: Beyond = field(default_factory=Beyond)
    declared: Declared | None = None
    index: dict[KeyPath, int] = field(default_factory=dict[KeyPath, int], compare=False, repr=False)
    raw: bytes = field(default=b"", compare=False, repr=False)


def load(path: str | Path) -> Mapping:
    """The mapping of a file. Raises ComplaintsError with every mistake at once, in the order of their lines."""
    mapping, complaints = read(path)
    if mapping is None or complaints:
        raise ComplaintsError(complaints)
    return mapping


def read(path: str | Path) -> tuple[Mapping | None, list[Complaint]]:
    """As `load`, but what is good of a file comes beside what is wrong with it; None when it is no TOML at all."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        what = f"cannot be read: {os.strerror(error.errno) if error.errno else 'it failed'}."
        return None, [Complaint(str(path), None, "", what, "Put the file there, or correct `mapping` in config.toml.")]
    return parse(raw, str(path))


def parse(raw: bytes, name: str) -> tuple[Mapping | None, list[Complaint]]:
    """As `read`, for text that is not on disk yet; name says how complaints call it."""
    try:
        _, index = parse_toml(raw, name=name)
        # Once more, with exact numbers: tomllib's own floats have lost 0.1 before anyone can ask for it.
        data: dict[str, Any] = tomllib.loads(raw.decode("utf-8-sig"), parse_float=Decimal)
    except ComplaintsError as error:
        return None, error.complaints
    except (ValueError, ArithmeticError, RecursionError):
        # tomllib and the line walk give up on numbers of thousands of digits and on very deep nesting.
        cure = "Compare with a sample under mappings/."
        return None, [Complaint(name, None, "", "is nested too deep or holds a number too long.", cure)]
    reading = _Reading(name, index)
    mapping = replace(reading.mapping(data, hashlib.sha256(raw).hexdigest()), raw=raw)
    return mapping, sorted(reading.complaints, key=lambda c: c.line or 0)


def settle(mapping: Mapping, declared: Declared | None) -> Mapping:
    """The mapping together with what its driver declares, so that `apply` can tell one unit from another.

    declared: code to possible units; {} for a driver that leaves all codes open; None: the driver is not known, and
    then only what the mapping itself says is checked.
    """
    return replace(mapping, declared=None if declared is None else mapping.beyond.declared(declared))


class _Reading(Reading):
    """One pass over one file."""

    comma = False
    file_rerun = "hold"
    holding: Holding | None = None

    def mapping(self, data: dict[str, Any], version: str) -> Mapping:
        for key, value in data.items():
            if key not in _TOP:
                what = "is no key of a mapping file."
                cure = unknown_key(key, _TOP)
                if is_table(value) and "emr" in value:
                    cure = f"A test stands under [tests]: {key} = {{ ... }}."
                self.complain((key,), what, cure)
        self.comma = self.yes_no(data, (), "decimal_comma", default=False)
        self.file_rerun = self.rerun(data, ())
        self.holding = holding.read(self, (), {key: data[key] for key in holding.FILE_KEYS if key in data})
        tests = {code: lines for code, value in self.table(data, "tests").items() if (lines := self.lines(code, value))}
        leave_out: dict[str, str] = {}
        for code, why in self.table(data, "leave_out").items():
            if not isinstance(why, str) or not why.strip():
                self.complain(("leave_out", code), "needs a reason.", f'Write why it stops here: "{code}" = "why".')
            leave_out[code] = why if isinstance(why, str) else ""
            if code in self.table(data, "tests"):
                line = line_of(self.index, ("tests", code))
                what = f"stands in [tests] (line {line}) and in [leave_out]."
                self.complain(("leave_out", code), what, "Take one of the two out.")
        panels = {code: self.names(("panels", code), tests) for code, tests in self.table(data, "panels").items()}
        orders = {code: self.asked(code, asked) for code, asked in self.table(data, "orders").items()}
        worked_out = self.worked_out(self.table(data, "computed"), tests)
        holdings = [line.holding for lines in tests.values() for line in lines]
        holdings += [one.line.holding for one in worked_out.values()]
        return Mapping(
            orders=orders,
            instrument=self.text(data, (), "instrument"),
            checked=self.text(data, (), "checked"),
            version=version,
            tests=tests,
            panels={code: tests for code, tests in panels.items() if tests},
            leave_out=leave_out,
            ranges={emr: ranges.read(self, ("ranges", emr), said) for emr, said in self.table(data, "ranges").items()},
            range_flags=self.yes_no(data, (), "range_flags", default=False),
            compares=any(rules is not None and rules.delta is not None for rules in holdings),
            computed=worked_out,
            control=control.read(self, self.table(data, "control")),
            beyond=beyond.read(self, self.table(data, "words")),
            index=self.index,
        )

    def worked_out(self, table: dict[str, Any], tests: dict[str, tuple[Line, ...]]) -> dict[str, Computed]:
        """The lines of [computed], each behind those it needs."""
        found: dict[str, Computed] = {}
        for code, value in table.items():
            one = computed.read(
                self, code, value, lambda where, line, code=code: self.line(code, where, line, computed.KEYS)
            )
            if one is not None:
                found[code] = one
        answered: dict[str, list[Line]] = {}
        for lines in tests.values():
            for line in lines:
                for emr in line.emr:
                    answered.setdefault(emr, []).append(line)
        ordered, circle = computed.in_order(found, answered)
        if circle:
            what = f"need each other: {', '.join(circle)}."
            cure = "Let each formula begin with tests that an analyzer measures."
            self.complain(("computed", circle[0], "formula"), what, cure)
        return ordered

    def asked(self, code: str, value: object) -> tuple[str, ...]:
        """The analyzer's codes for what the EMR orders; an empty list: it is never asked of this instrument."""
        return () if value == [] else self.names(("orders", code), value)

    def lines(self, code: str, value: object) -> tuple[Line, ...]:
        """The lines of one code, those with a specimen type first; () after complaining."""
        where: KeyPath = ("tests", code)
        if not code.strip():
            self.complain(where, "is no code.", "Write the code that the analyzer sends.")
            return ()
        if is_table(value):
            line = self.line(code, where, value)
            return () if line is None else (line,)
        if not is_list(value) or not value:
            cure = f'Write {code} = {{ emr = "{code}" }}.'
            self.complain(where, "must be a line in braces.", cure)
            return ()
        found: list[Line] = []
        for number, item in enumerate(value):
            if not is_table(item):
                self.complain((*where, number), "must be in braces.", 'Write { specimen = "urine", emr = "UGLU" }.')
            elif (line := self.line(code, (*where, number), item)) is not None:
                twin = next((one for one in found if _same_specimen(one.specimen, line.specimen)), None)
                if twin is not None:
                    what = f"is meant for the same specimen type as the one in line {twin.number}."
                    cure = "Give each its own `specimen`; at most one may go without, for all other types."
                    self.complain((*where, number), what, cure)
                found.append(line)
        return tuple(sorted(found, key=lambda line: line.specimen is None))

    def line(self, code: str, where: KeyPath, table: dict[str, Any], keys: tuple[str, ...] = ()) -> Line | None:
        """One line in braces; None after complaining. keys: of a computed line, () of a test's."""
        before = len(self.complaints)
        known = (*keys, *holding.KEYS) if keys else _KEYS
        for key in table:
            if key not in known:
                self.complain((*where, key), "is no key of a test line.", unknown_key(key, known))
        if "emr" not in table:
            self.complain((*where, "emr"), "is missing.", f'Write what the EMR calls the test: emr = "{code}".')
        emr = self.names((*where, "emr"), table["emr"]) if "emr" in table else ()
        if UNDECIDED in emr:
            cure = "Write what the EMR calls the test, or move the code under [leave_out] with the reason."
            self.complain((*where, "emr"), NOT_DECIDED, cure)
        unit = self.text(table, where, "unit", empty=False) if "unit" in table else None
        times = self.times(table, where)
        if "unit" in table and "times" not in table and not keys:
            cure = "Add `times`: 1 when the value stays as it is, else what turns the analyzer's unit into this one."
            self.complain((*where, "unit"), "has no `times` beside it.", cure)
        elif "times" in table and "unit" not in table:
            cure = "Add `unit`: the unit that the EMR gets after the factor."
            self.complain((*where, "times"), "has no `unit` beside it.", cure)
        line = Line(
            code=code,
            emr=emr,
            name=self.text(table, where, "name"),
            loinc=self.text(table, where, "loinc"),
            unit=unit,
            times=times,
            decimals=self.decimals(table, where),
            sane=self.sane(table, where),
            comes=self.text(table, where, "comes", empty=False) if "comes" in table else None,
            specimen=self.text(table, where, "specimen", empty=False) if "specimen" in table else None,
            moh=self.text(table, where, "moh"),
            rerun=self.rerun(table, where),
            decimal_comma=self.yes_no(table, where, "decimal_comma", default=self.comma),
            number=line_of(self.index, where),
            holding=holding.read(self, where, table, self.holding),
        )
        return line if len(self.complaints) == before else None

    def times(self, table: dict[str, Any], where: KeyPath) -> Decimal:
        if "times" not in table:
            return Decimal(1)
        number = number_of(table["times"])
        if number is None:
            cure = "Write it with a point and without quotes, such as 10 or 0.0555."
            self.complain((*where, "times"), "must be a number.", cure)
        elif number <= 0:
            self.complain((*where, "times"), "must be above zero.", "Write the factor between the units, such as 10.")
        else:
            return number
        return Decimal(1)

    def decimals(self, table: dict[str, Any], where: KeyPath) -> int | None:
        value = table.get("decimals")
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_DECIMALS:
            return value
        cure = f"Write how many digits stand behind the point, 0 to {_MOST_DECIMALS}."
        self.complain((*where, "decimals"), "must be a small whole number.", cure)
        return None

    def sane(self, table: dict[str, Any], where: KeyPath) -> tuple[Decimal, Decimal] | None:
        if "sane" not in table:
            return None
        cure = "Write the lowest and the highest value that can be true, such as [0, 500]."
        return self.pair((*where, "sane"), table["sane"], cure)

    def rerun(self, table: dict[str, Any], where: KeyPath) -> Literal["hold", "last"]:
        match table.get("rerun", self.file_rerun):
            case "hold":
                return "hold"
            case "last":
                return "last"
            case _:
                cure = 'Write "hold" (a person decides) or "last" (the newest value stands).'
                self.complain((*where, "rerun"), "is none of the words that it may be.", cure)
                return "hold"


def _same_specimen(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return specimens.same(one, other)
