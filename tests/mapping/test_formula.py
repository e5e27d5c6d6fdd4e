"""Formulas: read right, computed exactly, rounded once; and what check says of a line that cannot be right."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.mapping.difference import changes
from labgateway.mapping.formula import (
    Formula,
    FormulaError,
    Name,
    Negative,
    Number,
    Pair,
    constant,
    evaluate,
    names,
    parse,
    rounded,
)
from labgateway.mapping.lint import lint
from labgateway.mapping.table import Mapping
from labgateway.mapping.table import parse as read

VALUES = {"A": Decimal("5.20"), "B": Decimal("1.3"), "C": Decimal("0"), "NEU%": Decimal(60)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A - B - B / 2", Fraction("3.25")),
        ("A-B-B", Fraction("2.6")),
        ("A / B / 2", Fraction(2)),
        ("(A − B) × 2 ÷ 3", Fraction("2.6")),
        ("-A + B * 2", Fraction("-2.6")),
        ("- (A - B) * -1", Fraction("3.9")),
        ("'NEU%' * A / 100", Fraction("3.12")),
        ("1 / 3", Fraction(1, 3)),
    ],
)
def test_value(text: str, value: Fraction) -> None:
    """Multiplication before addition, from left to right, nothing rounded."""
    assert evaluate(parse(text), VALUES) == value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "ends too early."),
        ("A +", "ends too early."),
        ("(A - B", "misses a closing parenthesis."),
        ("A B", "cannot be read from B on."),
        ("A ** 2", "cannot be read from * on."),
        ("A ^ 2", "cannot be read from ^ 2 on."),
        ("1,5 * A", "cannot be read from ,5 * A on."),
        ("__import__('os')", "cannot be read from ( on."),
        ("'A", "cannot be read from 'A on."),
        ("(" * 60 + "A" + ")" * 60, "is nested too deep."),
        ("A + " * 200 + "A", "is longer than 500 characters."),
    ],
)
def test_what_is_no_formula(text: str, what: str) -> None:
    with pytest.raises(FormulaError, match="^" + what.replace("(", r"\(").replace("*", r"\*").replace("^", r"\^")):
        parse(text)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (Fraction("2.345"), 2, "2.34"),
        (Fraction("2.355"), 2, "2.36"),
        (Fraction("-0.004"), 2, "0.00"),
        (Fraction(-7, 2), 0, "-4"),
        (Fraction(1, 3), 3, "0.333"),
        (Fraction(10**20), 1, "100000000000000000000.0"),
    ],
)
def test_rounded_once_half_to_even(value: Fraction, decimals: int, text: str) -> None:
    assert rounded(value, decimals) == text


LEAVES = st.one_of(
    st.decimals(0, 1000, places=2).map(lambda n: Number(abs(n))), st.sampled_from([Name(n) for n in VALUES])
)
FORMULAS: st.SearchStrategy[Formula] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Negative, inner),
        st.builds(Pair, st.sampled_from("+-*/"), inner, inner),  # pyright: ignore[reportArgumentType]
    ),
    max_leaves=12,
)


def written(formula: Formula) -> str:
    match formula:
        case Number(value):
            return f"{value:f}"
        case Name(name):
            return f"'{name}'"
        case Negative(of):
            return f"-({written(of)})"
        case Pair(sign, left, right):
            return f"({written(left)}) {sign} ({written(right)})"


@given(FORMULAS)
def test_what_is_written_is_read_as_the_same(formula: Formula) -> None:
    assert parse(written(formula)) == formula


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        assert isinstance(names(parse(text)), tuple)
    except FormulaError as error:
        assert str(error).endswith(".")


def test_constants() -> None:
    assert (constant(parse("2 - 4 / 2")), constant(parse("A - A")), constant(parse("1 / 0"))) == (0, None, None)


# --- what check says ---

TESTS = """\
[tests]
CHOL = { emr = "CHOL", unit = "mmol/L", times = 1 }
HDL = { emr = "HDL", unit = "mmol/L", times = 1 }
TG = { emr = "TG", comes = "mg/dL" }
WBC = { emr = "WBC", unit = "10*9/L", times = 1 }
NEUP = { emr = "NEU%", unit = "%", times = 1 }
FREE = { emr = "FREE" }
[computed]
"""


def mapping(line: str) -> Mapping:
    found, complaints = read((TESTS + line).encode(), "m.toml")
    assert found is not None and not complaints, complaints
    return found


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('X = { emr = "X", formula = "CHOL - HDLC", unit = "mmol/L", decimals = 1 }', "no line answers HDLC."),
        (
            'X = { emr = "X", formula = "CHOL - FAR", unit = "mmol/L", decimals = 1 }',
            "FAR is measured by another analyzer.",
        ),
        ('X = { emr = "X", formula = "CHOL - TG", unit = "mmol/L", decimals = 1 }', "mmol/L and mg/dL cannot be added"),
        ('X = { emr = "X", formula = "CHOL - HDL", unit = "g/L", decimals = 1 }', "is no quantity in g/L."),
        ('X = { emr = "X", formula = "CHOL / 2", unit = "fL", decimals = 1 }', "is no quantity in fL."),
        ('X = { emr = "X", formula = "CHOL / HDL", unit = "mmol/L", decimals = 1 }', "is no quantity in mmol/L."),
        ('X = { emr = "X", formula = "CHOL / (2 - 2)", unit = "mmol/L", decimals = 1 }', "divides by zero."),
        ('X = { emr = "X", formula = "FREE / 2", unit = "mmol/L", decimals = 1 }', "which unit FREE has"),
        ('X = { emr = "HDL", formula = "CHOL / 2", unit = "mmol/L", decimals = 1 }', "HDL is answered by HDL already."),
        ('X = { emr = "X", formula = "CHOL / 2", unit = "mmol/L", decimals = 1, loinc = "2089-2" }', "no LOINC code"),
        (
            'X = { emr = "X", formula = "CHOL / 2", unit = "mmol", decimals = 1, units = { Z = "g" } }',
            "Z does not stand in",
        ),
        ('X = { emr = "X", formula = "CHOL / 2", unit = "mmoll", decimals = 1 }', "mmoll is no UCUM unit."),
    ],
)
def test_what_cannot_be_right(line: str, what: str) -> None:
    found = [one for one in lint(mapping(line), "m.toml", None, elsewhere={"FAR"}) if "computed" in one.key]
    assert any(what in one.what for one in found), found
    assert all(one.line == 9 and one.cure for one in found)


@pytest.mark.parametrize(
    "line",
    [
        'X = { emr = "X", formula = "CHOL - HDL / 2.2", unit = "mmol/L", decimals = 1 }',
        'X = { emr = "X", formula = "CHOL / HDL", unit = "1", decimals = 1 }',
        'X = { emr = "X", formula = "CHOL * 38.67", unit = "mg/dL", decimals = 0 }',
        'X = { emr = "X", formula = "\'NEU%\' * WBC / 100", unit = "10*9/L", decimals = 2 }',
        'X = { emr = "X", formula = "FAR * 2", unit = "g/L", decimals = 2, units = { FAR = "g/L" } }',
        'X = { emr = "X", formula = "CHOL - TG / 38.67", unit = "mmol/L", decimals = 2 }',
    ],
)
def test_what_may_be_right(line: str) -> None:
    assert lint(mapping(line), "m.toml", None, elsewhere={"FAR"}) == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('X = { emr = "X", formula = "A + Y", unit = "1", decimals = 1 }\n'
         'Y2 = { emr = "Y", formula = "X", unit = "1", decimals = 1 }', "need each other: X, Y2."),
        ('X = { emr = "X", formula = "X + 1", unit = "1", decimals = 1 }', "need each other: X."),
        ('X = { emr = "X", formula = "1 + 1", unit = "1", decimals = 1 }', "names no test."),
        ('X = { emr = "X", formula = "CHOL +", unit = "1", decimals = 1 }', "ends too early."),
        ('X = { emr = "X", formula = "CHOL", decimals = 1 }', "is missing."),
        ('X = { emr = "X", formula = "CHOL", unit = "1" }', "is missing."),
        ('X = { emr = "X", unit = "1", decimals = 1 }', "is missing."),
        ('X = { emr = ["X", "Z"], formula = "CHOL", unit = "1", decimals = 1 }', "names several tests."),
        ('X = { emr = "X", formula = "CHOL", unit = "1", decimals = 1, times = 2 }', "is no key of a test line."),
        ('X = { emr = "X", formula = "CHOL", unit = "1", decimals = 1, units = "g" }', "must hold a unit for each test."),
        ("X = 7", "must be in braces."),
    ],
)  # fmt: skip
def test_what_cannot_be_used(line: str, what: str) -> None:
    _, found = read((TESTS + line).encode(), "m.toml")
    assert [one.what for one in found][:1] == [what]


def test_in_words() -> None:
    """What a change means for the laboratory."""
    one = mapping('X = { emr = "X", formula = "CHOL / 2", unit = "mmol/L", decimals = 1 }')
    other = mapping('X = { emr = "X", formula = "CHOL / 3", unit = "mmol/L", decimals = 1, limits = [0, 3] }')
    none = mapping("")
    assert changes(none, one) == ["X is computed from now on: X = CHOL / 2, in mmol/L."]
    assert changes(one, none) == ["X is no longer computed; it was X = CHOL / 2."]
    assert changes(one, other) == [
        "X is computed as CHOL / 3 instead of CHOL / 2.",
        "X goes out by itself within [0, 3] instead of no limits.",
    ]
    assert changes(one, one) == []
