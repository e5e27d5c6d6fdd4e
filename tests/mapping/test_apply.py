"""One result through a mapping: exact, or held with the reason; text is never touched without a factor."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.errors import Problem, Reason
from labgateway.mapping.apply import LeftOut, Mapped, Target, apply
from labgateway.mapping.table import Declared, Mapping, parse, settle
from labgateway.model import Kind, Result

XN: Declared = {"HGB": ("g/dL", "g/L", "mmol/L"), "WBC": ("10*3/uL", "10*9/L"), "HCT": ("%", "L/L", ""), "MCV": ("fL",)}


def mapping(lines: str, declared: Declared | None = None, top: str = "") -> Mapping:
    read, complaints = parse(f"{top}\n[tests]\n{lines}".encode(), "m.toml")
    assert complaints == []
    assert read is not None
    return settle(read, declared)


def result(code: str, value: str | None, unit: str | None = None, specimen_type: str | None = None) -> Result:
    return Result(Kind.PATIENT, "S1", code, value, unit, specimen_type=specimen_type)


def one(
    lines: str, code: str, value: str | None, unit: str | None = None, declared: Declared | None = None, top: str = ""
) -> Mapped:
    mapped = apply(mapping(lines, declared, top), result(code, value, unit))
    assert isinstance(mapped, Mapped)
    return mapped


def reason(mapped: Mapped | LeftOut | Problem) -> Reason | None:
    assert isinstance(mapped, Mapped)
    return None if mapped.hold is None else mapped.hold.reason


HGB = 'HGB = { emr = "HGB", unit = "g/L", times = 10, decimals = 0 }'


def test_design_line() -> None:
    """13.4 g/dL of hemoglobin is 134 g/L, and what was sent is kept."""
    mapped = one(HGB, "HGB", "13.4", "g/dL", XN)
    assert mapped == Mapped((Target("HGB", "", "", ""),), "134", "g/L", "13.4", "g/dL")


@given(st.text(max_size=20), st.none() | st.text(max_size=8))
def test_text_is_untouched_without_a_factor(value: str, unit: str | None) -> None:
    """A line with a name only sends value and unit as they came, whatever they are (RELIABILITY 8, V1)."""
    mapped = one('A = { emr = "A" }', "A", value, unit)
    assert (mapped.value, mapped.unit) == (value, unit or "")
    assert (mapped.original_value, mapped.original_unit) == (None, None)
    assert reason(mapped) in (None, Reason.TWO_READINGS)


@pytest.mark.parametrize(
    ("value", "comma", "is_held"),
    [
        ("1,234", False, True), ("12,345", False, True), ("-1,234", False, True), ("< 1,234", False, True),
        ("1,234,567", False, True), ("1,234.5", False, True), ("1,23", False, False), ("1234,567", False, False),
        ("1.234", False, False), ("1+", False, False), (",", False, False), ("1:1,280", False, False),
        ("1.234", True, True), ("7.4", True, True), (">1.234", True, True), ("1.234.567", True, True),
        (".", True, False), ("1,234", True, False), ("1:2.5", True, False), ("V1.0", True, False),
    ],
)  # fmt: skip
def test_a_number_with_two_readings_waits(value: str, comma: bool, is_held: bool) -> None:
    """Nobody could say downstream whether it is a thousand or one and a quarter. The text stays as it came."""
    for more in ("", ", times = 1, unit = 'g/L', comes = 'g/L'", ", decimals = 2"):
        line = f'A = {{ emr = "A"{more}{", decimal_comma = true" if comma else ""} }}'
        mapped = one(line, "A", value)
        assert reason(mapped) is (Reason.TWO_READINGS if is_held else None)
        if is_held:
            assert mapped.value == value


@pytest.mark.parametrize("value", ["5.10", "<0.01", "1e-3", "007", "+1", "POSITIVE", "7,41", "> 15000.00", "-1^0.1"])
def test_a_factor_of_one_touches_nothing(value: str) -> None:
    """times = 1 names the unit and leaves the text alone; the unit's other spelling counts as a change."""
    mapped = one('A = { emr = "A", unit = "10*9/L", times = 1 }', "A", value, "10*3/uL")
    assert (mapped.value, mapped.unit, mapped.hold) == (value, "10*9/L", None)
    assert (mapped.original_value, mapped.original_unit) == (value, "10*3/uL")
    same = one('A = { emr = "A", unit = "10*9/L", times = 1 }', "A", value, "10*9/L")
    assert (same.original_value, same.original_unit) == (None, None)


NUMBERS = st.from_regex(r"[+-]?[0-9]{1,30}(\.[0-9]{1,20})?", fullmatch=True)
FACTORS = st.decimals(min_value="0.0001", max_value="10000", places=6).filter(lambda d: d > 0)


@given(st.sampled_from(["", "<", "> ", ">="]), NUMBERS, FACTORS, st.none() | st.integers(0, 6))
def test_products_are_exact(sign: str, number: str, times: Decimal, decimals: int | None) -> None:
    """The value sent is sign, exact product, rounded half to even where decimals are declared."""
    rounding = "" if decimals is None else f", decimals = {decimals}"
    line = f'A = {{ emr = "A", comes = "mg/dL", unit = "mmol/L", times = {times:f}{rounding} }}'
    mapped = one(line, "A", sign + number, "mg/dL")
    assert mapped.hold is None
    assert mapped.value is not None
    assert mapped.value.startswith(sign)
    exact = Fraction(number) * Fraction(times)
    if decimals is None:
        assert Fraction(mapped.value.removeprefix(sign)) == exact
    else:
        context = Context(prec=200)
        wide = context.multiply(Decimal(number), times)
        assert Decimal(mapped.value.removeprefix(sign)) == wide.quantize(
            Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN, context
        )
    if (mapped.value, mapped.unit) != (sign + number, "mg/dL"):
        assert (mapped.original_value, mapped.original_unit) == (sign + number, "mg/dL")


@pytest.mark.parametrize("value", ["POSITIVE", "3.26E+05", "7,41", "", "1 000", "++++", "1+"])
def test_no_decimal_with_a_factor_is_held(value: str) -> None:
    """What is no plain number cannot be multiplied: held, as sent, in the unit as sent."""
    mapped = one(HGB, "HGB", value, "g/dL", XN)
    assert (mapped.value, mapped.unit, reason(mapped)) == (value, "g/dL", Reason.NOT_A_DECIMAL)
    assert value not in str(mapped.hold) or not value


def test_decimal_comma() -> None:
    """A declared comma is a point; a point is then none. Undeclared, a comma is no number."""
    line = 'A = { emr = "A", comes = "g/dL", unit = "g/L", times = 10, decimal_comma = true }'
    assert one(line, "A", "<7,41", "g/dL").value == "<74.10"
    assert reason(one(line, "A", "7.41", "g/dL")) is Reason.NOT_A_DECIMAL
    plain = line.replace(", decimal_comma = true", "")
    assert reason(one(plain, "A", "7,41", "g/dL")) is Reason.NOT_A_DECIMAL
    assert one(plain, "A", "7,41", "g/dL", top="decimal_comma = true").value == "74.10"
    assert one('A = { emr = "A" }', "A", "7,41", top="decimal_comma = true").value == "7,41"
    assert one('A = { emr = "A", decimals = 1 }', "A", "7,41", top="decimal_comma = true").value == "7.4"


def test_decimals_alone() -> None:
    """Decimals without a factor round plain numbers and leave text alone."""
    line = 'A = { emr = "A", decimals = 1 }'
    assert one(line, "A", "7.25").value == "7.2"
    assert one(line, "A", "7.25").original_value == "7.25"
    assert one(line, "A", "7.2").original_value is None
    assert one(line, "A", "1e-3").value == "1e-3"
    assert one(line, "A", "NEG").hold is None


@pytest.mark.parametrize(
    ("value", "held"),
    [("0", False), ("500", False), ("500.01", True), ("-0.1", True), (">600", True), ("<0.1", False), ("NEG", False)],
)
def test_sane(value: str, held: bool) -> None:
    """Limits count, their ends included, in the EMR's unit and before rounding; text has none."""
    assert reason(one('A = { emr = "A", sane = [0, 500] }', "A", value)) is (Reason.NOT_SANE if held else None)
    line = 'A = { emr = "A", comes = "g/dL", unit = "g/L", times = 10, decimals = 0, sane = [30, 250] }'
    assert reason(one(line, "A", "25.04", "g/dL")) is Reason.NOT_SANE
    assert one(line, "A", "25.04", "g/dL").value == "250"
    assert reason(one(line, "A", "13.4", "g/dL")) is None


def test_withheld_values_map() -> None:
    """A result without a value keeps its test and unit, and is neither multiplied nor judged."""
    mapped = one(HGB, "HGB", None, "g/dL", XN)
    assert (mapped.value, mapped.unit, mapped.hold) == (None, "g/L", None)


def test_unknown_code_and_left_out() -> None:
    """A code without a line waits with its reason; a left-out one says why."""
    unknown = apply(mapping(HGB), result("XYZ", "1"))
    assert unknown == Problem(Reason.UNMAPPED, "code XYZ")
    left = apply(mapping(HGB + '\n[leave_out]\nIMG = "a picture"'), result("IMG", "1"))
    assert left == LeftOut("IMG", "a picture")


GLU = 'GLU = [ { specimen = "urine", emr = "UGLU" }, { emr = ["GLU", "GLU2H"] } ]'


@pytest.mark.parametrize(
    ("specimen_type", "emr"),
    [
        ("urine", ["UGLU"]),
        ("UR", ["UGLU"]),
        ("URN^Urine^HL70487", ["UGLU"]),
        ("Nước tiểu", ["UGLU"]),
        ("SER", ["GLU", "GLU2H"]),
        (None, ["GLU", "GLU2H"]),
        ("", ["GLU", "GLU2H"]),
    ],
)
def test_specimen_types(specimen_type: str | None, emr: list[str]) -> None:
    """The line of the specimen type, by any of its names, else the line without one; several targets are candidates."""
    mapped = apply(mapping(GLU), result("GLU", "5", None, specimen_type))
    assert isinstance(mapped, Mapped)
    assert [target.emr for target in mapped.targets] == emr


def test_no_line_for_the_specimen_type() -> None:
    """Without a line for all other types, another type is unmapped."""
    only = mapping('GLU = { emr = "UGLU", specimen = "urine" }')
    for specimen_type in ("SER", None):
        unknown = apply(only, result("GLU", "5", None, specimen_type))
        assert isinstance(unknown, Problem)
        assert unknown.reason is Reason.UNMAPPED


COMES = 'HGB = { emr = "HGB", comes = "g/dL", unit = "g/L", times = 10 }'


@pytest.mark.parametrize(
    ("line", "unit", "declared", "held"),
    [
        # `comes` declares the unit: it, another spelling of it, or none at all
        (COMES, "g/dL", None, False),
        (COMES, "g/dl", None, False),
        (COMES, None, None, False),
        (COMES, "g/L", None, True),
        (COMES, "G/L", XN, True),
        ('X = { emr = "X", comes = "COI" }', "S/CO", None, True),
        # without `comes` the factor must lead from what came to what is wanted
        (HGB, "g/dL", XN, False),
        (HGB, "g/L", XN, True),
        (HGB, "mmol/L", XN, True),
        (HGB, "g/L", None, True),
        (HGB, None, XN, True),
        (HGB, None, {"HGB": ("g/dL",)}, False),
        ('HGB = { emr = "HGB", unit = "g/L", times = 1 }', "g/L", XN, False),
        ('HGB = { emr = "HGB", unit = "g/L", times = 1 }', "g/dL", XN, True),
        ('HGB = { emr = "HGB", unit = "g/L", times = 1 }', None, XN, False),
        # mass to moles, known by LOINC or by the EMR's code
        ('G = { emr = "X", loinc = "14749-6", unit = "mmol/L", times = 0.0555 }', "mg/dL", {}, False),
        ('G = { emr = "GLU", unit = "mmol/L", times = 0.05551 }', "mg/dL", {}, False),
        ('G = { emr = "GLU", unit = "mmol/L", times = 0.0555 }', "mmol/L", {}, True),
        ('G = { emr = "GLU", unit = "mmol/L", times = 0.0555 }', "g/L", {}, True),
        # not known: only where the driver leaves no choice
        ('G = { emr = "X", unit = "mmol/L", times = 0.3 }', "mg/dL", {}, True),
        ('G = { emr = "X", unit = "mmol/L", times = 0.3 }', "mg/dL", {"G": ("mg/dL", "g/L")}, True),
        ('G = { emr = "X", unit = "mmol/L", times = 0.3 }', "mg/dL", {"G": ("mg/dL",)}, False),
        ('G = { emr = "X", unit = "{index}", times = 1 }', "COI", {}, True),
        ('G = { emr = "X", unit = "{index}", times = 1 }', "COI", {"G": ("COI",)}, False),
        # no unit wanted: it passes as it came
        ('G = { emr = "X" }', "anything", {"G": ("a", "b")}, False),
    ],
)
def test_units(line: str, unit: str | None, declared: Declared | None, held: bool) -> None:
    """A unit that the line was not written for is held, as sent; nothing is converted by guess."""
    code = line.split(" ", 1)[0]
    mapped = one(line, code, "8", unit, declared)
    assert reason(mapped) is (Reason.UNIT_CHANGED if held else None)
    if held:
        assert (mapped.value, mapped.unit) == ("8", unit or "")
        assert (mapped.original_value, mapped.original_unit) == (None, None)


def test_no_unit_came() -> None:
    """Where the instrument sends no unit, the declared one stands; a value that was converted was measured in that."""
    mapped = one('A = { emr = "A", comes = "mmol/L" }', "A", "5")
    assert (mapped.unit, mapped.original_unit, mapped.original_value) == ("mmol/L", None, None)
    mapped = one(COMES, "HGB", "13.4")
    assert (mapped.value, mapped.unit, mapped.original_value, mapped.original_unit) == ("134.0", "g/L", "13.4", "g/dL")


def test_what_travels_along() -> None:
    """Name, LOINC, the Ministry's code and the rerun rule come with the target."""
    line = 'A = { emr = "A", name = "Bạch cầu", loinc = "6690-2", moh = "22.0121.1369", rerun = "last" }'
    mapped = one(line, "A", "1")
    assert mapped.targets == (Target("A", "Bạch cầu", "6690-2", "22.0121.1369"),)
    assert mapped.rerun == "last"


@given(st.none() | st.text(max_size=12), st.none() | st.text(max_size=6), st.none() | st.text(max_size=6))
def test_any_result(value: str | None, unit: str | None, specimen_type: str | None) -> None:
    """No value, unit or specimen type raises."""
    for lines in (HGB, COMES, GLU.replace("GLU =", "HGB =", 1)):
        apply(mapping(lines, XN), result("HGB", value, unit, specimen_type))


@given(st.integers(1, 5000))
def test_long_numbers(digits: int) -> None:
    """A number of thousands of digits is multiplied like any other."""
    assert one(COMES, "HGB", "9" * digits, "g/dL").value == "9" * digits + "0"
