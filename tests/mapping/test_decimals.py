"""Decimals: exact against Python's own, text in and text out."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.mapping import decimals

DIGITS = st.text("0123456789", min_size=1, max_size=60)
SIGNS = st.sampled_from(["", "<", ">", "<=", ">=", "< ", ">  "])


@st.composite
def plain_texts(draw: st.DrawFn) -> tuple[str, str]:
    """A comparison sign and a plain number."""
    number = draw(st.sampled_from(["", "-", "+"])) + draw(DIGITS)
    if draw(st.booleans()):
        number += "." + draw(DIGITS)
    return draw(SIGNS), number


FACTORS = st.decimals(min_value="0.000001", max_value="1000000", allow_nan=False, places=9).filter(lambda d: d > 0)


@given(plain_texts())
def test_a_plain_decimal_is_read_whole(text: tuple[str, str]) -> None:
    """Sign and number come back as they stand, to the last digit."""
    found = decimals.read("".join(text))
    assert found is not None
    assert found.sign == text[0]
    assert Fraction(found.number) == Fraction(text[1])


@given(plain_texts(), FACTORS)
def test_products_are_exact(text: tuple[str, str], times: Decimal) -> None:
    """Number times factor is the exact product, however many digits there are."""
    found = decimals.read("".join(text))
    assert found is not None
    product = decimals.scale(found, times)
    assert Fraction(product.number) == Fraction(text[1]) * Fraction(times)
    again = decimals.read(str(product))
    assert again is not None
    assert again.sign == text[0]
    assert Fraction(again.number) == Fraction(product.number)


@given(plain_texts(), st.integers(0, 10))
def test_rounding_is_half_even(text: tuple[str, str], places: int) -> None:
    """Rounding is that of the decimal module with room for every digit, and never prints -0."""
    found = decimals.read("".join(text))
    assert found is not None
    expected = Decimal(text[1]).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN, Context(prec=300))
    rounded = str(decimals.to_places(found, places))
    assert rounded == text[0] + (f"{expected:f}" if expected else f"{abs(expected):f}")


@pytest.mark.parametrize(
    ("text", "places", "rounded"),
    [("0.5", 0, "0"), ("1.5", 0, "2"), ("2.5", 0, "2"), ("-0.4", 0, "0"), ("8.1", 2, "8.10"), ("<0.125", 2, "<0.12")],
)
def test_halves(text: str, places: int, rounded: str) -> None:
    """A half goes to the even neighbour."""
    found = decimals.read(text)
    assert found is not None
    assert str(decimals.to_places(found, places)) == rounded


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1e-3", "3.26E+05", "1 000", "1,5", "1.2.3", "+", "-", ".", "<", "= 5", "<>5", "5 ", " 5", "5%"),
        *("NaN", "inf", "٣", "५", "1_0", "0x1", "--5", "5-", "POSITIVE", "++++", "1\n"),
    ],
)
def test_what_is_no_plain_decimal(text: str) -> None:
    """Exponents, separators, words, foreign digits and blanks around are not taken for numbers."""
    assert decimals.read(text) is None


def test_decimal_comma() -> None:
    """With a declared comma the comma is the point, and a point could be thousands, so it is none."""
    assert str(decimals.read("<7,41", comma=True)) == "<7.41"
    assert decimals.read("7.41", comma=True) is None
    assert decimals.read("1.234,5", comma=True) is None
    assert decimals.read("7,41") is None


@given(st.text(max_size=20))
def test_any_text(text: str) -> None:
    """Any text is a plain decimal or None; nothing is raised."""
    for comma in (False, True):
        found = decimals.read(text, comma=comma)
        assert found is None or found.number.is_finite()
