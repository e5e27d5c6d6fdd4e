"""What is readable in a mapping file but not right, each with its line and its cure. Pure.

The driver's codes and units come as a plain table; nothing here knows drivers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labgateway.errors import Complaint
from labgateway.mapping import catalogue, units
from labgateway.mapping.apply import known_factors, plain_number
from labgateway.mapping.table import Declared, Line, Mapping


def lint(mapping: Mapping, file: str, declared: Declared | None, driver: str = "") -> list[Complaint]:
    """Every complaint about a mapping that could be read, in the order of the file.

    declared: what the driver can send, code to units; {} where the site decides; None: the driver is not known.
    """
    found = [
        *_codes(mapping, file, declared or {}, driver),
        *(
            complaint
            for code, lines in mapping.tests.items()
            for line in lines
            for complaint in _line(line, file, (declared or {}).get(code, ()), driver)
        ),
        *_targets(mapping, file),
        *_panels(mapping, file),
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.line is None, one.line or 0))


def _codes(mapping: Mapping, file: str, declared: Declared, driver: str) -> Iterator[Complaint]:
    for code in declared:
        if code not in mapping.tests and code not in mapping.leave_out:
            yield Complaint(
                file, None, f"tests.{code}", f"driver {driver} can send {code}, and no line answers it.",
                f'Add {_key(code)} = {{ emr = "..." }} under [tests], or {_key(code)} = "why" under [leave_out].',
            )  # fmt: skip
    if not declared:
        return
    for code in (*mapping.tests, *mapping.leave_out):
        if code not in declared:
            table = "tests" if code in mapping.tests else "leave_out"
            yield Complaint(
                file, mapping.index.get((table, code)), f"{table}.{code}", f"driver {driver} never sends {code}.",
                "Correct the code as the instrument writes it, or take the line out.",
            )  # fmt: skip


def _line(line: Line, file: str, choices: tuple[str, ...], driver: str) -> Iterator[Complaint]:
    def wrong(key: str, what: str, cure: str) -> Complaint:
        return Complaint(file, line.number, f"tests.{line.code}.{key}", what, cure)

    sent = line.comes or (choices[0] if len(choices) == 1 else None)
    if line.comes is not None and choices and not any(units.same(line.comes, unit) for unit in choices):
        yield wrong(
            "comes", f"driver {driver} declares {' or '.join(choices)}, not {line.comes}.", "Write one of those."
        )
    if line.unit is not None:
        if sent is not None:
            known = known_factors(line, sent)
            if known and not any(catalogue.close(line.times, one) for one in known):
                whence = "" if line.comes else f" (driver {driver})"
                yield wrong(
                    "times",
                    f"{line.code} comes in {sent}{whence}.",
                    f"To get {line.unit} multiply by {plain_number(known[0])}; you wrote {plain_number(line.times)}.",
                )
        elif len([unit for unit in choices if unit]) > 1 and line.times != 1:
            yield wrong(
                "times", f"{line.code} may come in {' or '.join(unit for unit in choices if unit)}; one factor fits one unit.",
                'Say which this instrument sends: comes = "..."',
            )  # fmt: skip
        if (better := units.ucum(line.unit)) is not None and better != line.unit:
            yield wrong("unit", f"{line.unit} is not how UCUM writes this unit.", f'Write unit = "{better}".')
    if line.loinc:
        yield from _loinc(line, wrong)


def _loinc(line: Line, wrong: Callable[[str, str, str], Complaint]) -> Iterator[Complaint]:
    if not _check_digit(line.loinc):
        yield wrong(
            "loinc", f"{line.loinc} is no LOINC code: its check digit is wrong.", "Look it up again at loinc.org."
        )
        return
    analyte = catalogue.by_loinc().get(line.loinc)
    unit = line.unit or line.comes
    if analyte is None or not unit:
        return
    fitting = analyte.ucum if line.loinc == analyte.loinc else analyte.conventional_unit
    if (
        fitting
        and units.factor(unit, fitting) is None
        and units.read(unit) is not None
        and units.read(fitting) is not None
    ):
        other = analyte.conventional_loinc if line.loinc == analyte.loinc else analyte.loinc
        cure = f"For {unit} it is {other}." if other else f"It is measured in {fitting}."
        yield wrong("loinc", f"LOINC {line.loinc} is for {fitting}, the unit is {unit}.", cure)


def _check_digit(code: str) -> bool:
    """LOINC's mod 10 check digit (LOINC Users' Guide, appendix: the Luhn algorithm over the number)."""
    number, dash, digit = code.partition("-")
    if not dash or not number.isdigit() or not digit.isdigit() or len(digit) != 1:
        return False
    total = 0
    for place, char in enumerate(reversed(number)):
        value = int(char) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return (10 - total % 10) % 10 == int(digit)


def _targets(mapping: Mapping, file: str) -> Iterator[Complaint]:
    """Two codes that would report the same EMR test."""
    first: dict[tuple[str, str | None], Line] = {}
    for lines in mapping.tests.values():
        for line in lines:
            for emr in line.emr:
                before = first.setdefault((emr, line.specimen), line)
                if before.code != line.code:
                    yield Complaint(
                        file, line.number, f"tests.{line.code}.emr",
                        f"{emr} is answered by {before.code} as well (line {before.number}).",
                        "Leave one of the two out, or give them different EMR tests.",
                    )  # fmt: skip


def _panels(mapping: Mapping, file: str) -> Iterator[Complaint]:
    known = {emr for lines in mapping.tests.values() for line in lines for emr in line.emr}
    for panel, members in mapping.panels.items():
        for member in members:
            if member not in known:
                yield Complaint(
                    file, mapping.index.get(("panels", panel)), f"panels.{panel}",
                    f"no line under [tests] answers {member}.", "Correct its name, or take it out of the panel.",
                )  # fmt: skip


def _key(code: str) -> str:
    """A TOML key for a code."""
    return code if code.isascii() and code.replace("-", "").replace("_", "").isalnum() else f'"{code}"'
