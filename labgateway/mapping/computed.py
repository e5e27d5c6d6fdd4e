"""[computed] of a mapping file: values that are worked out from results of the same specimen, as the lab declares them.

    [computed]
    LDL = { emr = "LDLC", formula = "CHOL - HDL - TG / 2.2", unit = "mmol/L", decimals = 2 }

The names in a formula are EMR tests: of this file's lines, of other [computed] lines, or, with `units`, of whichever analyzer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labgateway.mapping import formula as formulas
from labgateway.mapping.formula import Formula, FormulaError
from labgateway.mapping.reading import Reading, is_table
from labgateway.toml_lines import KeyPath

if TYPE_CHECKING:
    from labgateway.mapping.table import Line

KEYS = ("emr", "formula", "unit", "decimals", "name", "loinc", "moh", "sane", "units")


@dataclass(frozen=True, slots=True)
class Input:
    """One test of a formula. unit: which its value must have, None: nothing says so, or several do.

    is_own: it must be this analyzer's result; False: whichever analyzer's.
    """

    name: str
    unit: str | None
    is_own: bool = True
    decimal_comma: bool = False


@dataclass(frozen=True, slots=True)
class Computed:
    """One line. line: what the EMR calls the value, its unit, decimals and rules, as of a line of [tests].

    text: the formula as written. units: of tests that another file answers.
    """

    line: Line
    text: str
    formula: Formula
    units: Mapping[str, str]
    inputs: tuple[Input, ...] = ()


def read(
    reading: Reading, code: str, value: object, as_line: Callable[[KeyPath, dict[str, Any]], Line | None]
) -> Computed | None:
    """The line; None after complaining. as_line: reads what every line of a mapping file has."""
    where: KeyPath = ("computed", code)
    if not is_table(value):
        cure = 'Write { emr = "LDLC", formula = "CHOL - HDL - TG / 2.2", unit = "mmol/L", decimals = 2 }.'
        reading.complain(where, "must be in braces.", cure)
        return None
    before = len(reading.complaints)
    line = as_line(where, value)
    for key, cure in (
        ("formula", 'Write how it is computed: formula = "CHOL - HDL - TG / 2.2".'),
        ("unit", 'Write the unit of the result; of a plain ratio unit = "1".'),
        ("decimals", "Write how many digits stand behind the point: decimals = 2."),
    ):
        if key not in value:
            reading.complain((*where, key), "is missing.", cure)
    formula = _formula(reading, (*where, "formula"), reading.text(value, where, "formula"))
    units = _units(reading, (*where, "units"), value["units"]) if "units" in value else {}
    if line is not None and len(line.emr) > 1:
        cure = "Write one; a further one needs a line of its own."
        reading.complain((*where, "emr"), "names several tests.", cure)
    if line is None or formula is None or len(reading.complaints) > before:
        return None
    return Computed(line, reading.text(value, where, "formula"), formula, units)


def _formula(reading: Reading, where: KeyPath, text: str) -> Formula | None:
    if not text:
        return None
    try:
        found = formulas.parse(text)
    except FormulaError as error:
        cure = "Use tests, numbers with a point, + - * / and parentheses; other names than letters and digits in '...'."
        reading.complain(where, str(error), cure)
        return None
    if not formulas.names(found):
        reading.complain(where, "names no test.", "Write the EMR's names of the tests it is computed from.")
        return None
    return found


def _units(reading: Reading, where: KeyPath, value: object) -> dict[str, str]:
    if is_table(value) and all(isinstance(unit, str) and unit.strip() for unit in value.values()):
        return {name: str(unit).strip() for name, unit in value.items()}
    reading.complain(where, "must hold a unit for each test.", 'Write { TG = "mmol/L" }.')
    return {}


def in_order(
    found: Mapping[str, Computed], answered: Mapping[str, Iterable[Line]]
) -> tuple[dict[str, Computed], list[str]]:
    """The lines, each behind those it needs, with what is known of their inputs; and the codes that need each other.

    answered: EMR test to the lines of [tests] that answer it.
    """
    by_emr = {one.line.emr[0]: code for code, one in found.items()}
    needs = {
        code: {by_emr[name] for name in formulas.names(one.formula) if name in by_emr} for code, one in found.items()
    }
    done: dict[str, Computed] = {}
    while ready := [code for code in found if code not in done and needs[code] <= done.keys()]:
        for code in ready:
            one = found[code]
            inputs = tuple(_input(name, one, found, by_emr, answered) for name in formulas.names(one.formula))
            done[code] = Computed(one.line, one.text, one.formula, one.units, inputs)
    return done, [code for code in found if code not in done]


def _input(
    name: str,
    one: Computed,
    found: Mapping[str, Computed],
    by_emr: Mapping[str, str],
    answered: Mapping[str, Iterable[Line]],
) -> Input:
    if name in one.units:
        return Input(name, one.units[name], is_own=False)
    if name in by_emr:
        return Input(name, found[by_emr[name]].line.unit)
    lines = list(answered.get(name, ()))
    fixed = {line.unit or line.comes for line in lines}
    return Input(
        name, fixed.pop() if len(fixed) == 1 else None, decimal_comma=any(line.decimal_comma for line in lines)
    )
