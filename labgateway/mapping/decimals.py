"""Exact decimals as analyzers write them: text in, text out, no binary float between, nothing lost.

A plain decimal is an optional ``<``, ``>``, ``<=`` or ``>=`` (blanks behind it are kept), an optional sign, and ASCII
digits with at most one decimal point; with ``comma`` the point is a comma, and a point is then none. Nothing else is:
no exponent, no thousands separator, no unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal

from labgateway.quick import quick

_PLAIN = re.compile(r"([<>]=? *)?([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))")
_PLAIN_COMMA = re.compile(r"([<>]=? *)?([+-]?(?:[0-9]+,?[0-9]*|,[0-9]+))")


_THOUSANDS = re.compile(r"(?:[<>]=? *)?[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_POINT = re.compile(r"(?:[<>]=? *)?[+-]?[0-9]*\.[0-9.]*")


@quick
@dataclass(frozen=True, slots=True)
class Plain:
    """A plain decimal. sign: the comparison in front with its blanks, "" for none."""

    sign: str
    number: Decimal

    def __str__(self) -> str:
        """With a decimal point, without an exponent; never ``-0``."""
        number = abs(self.number) if self.number.is_zero() else self.number
        return f"{self.sign}{number:f}"


def read(text: str, *, comma: bool = False) -> Plain | None:
    """The plain decimal that a text is; None when it is none. comma: it is written with a decimal comma."""
    found = (_PLAIN_COMMA if comma else _PLAIN).fullmatch(text)
    if found is None:
        return None
    number = Decimal(found[2].replace(",", "."))
    return Plain(found[1] or "", number)


def is_doubtful(text: str, *, comma: bool) -> bool:
    """Whether it is a number that two readers may read as two: ``1,234`` with no comma declared, ``1.234`` with one."""
    return (_POINT if comma else _THOUSANDS).fullmatch(text) is not None and text.strip("<>= +-.") != ""


def scale(plain: Plain, times: Decimal) -> Plain:
    """The number times a factor, exactly."""
    return replace(plain, number=_exact(plain.number, times).multiply(plain.number, times))


def to_places(plain: Plain, decimals: int) -> Plain:
    """The number with so many decimals, rounded half to even."""
    places = Decimal((0, (1,), -decimals))
    context = _exact(plain.number, places)
    return replace(plain, number=plain.number.quantize(places, rounding=ROUND_HALF_EVEN, context=context))


def _exact(one: Decimal, other: Decimal) -> Context:
    """A context wide enough that neither a product nor a quantization of the two is rounded by it."""
    width = len(one.as_tuple().digits) + len(other.as_tuple().digits) + abs(one.adjusted()) + abs(other.adjusted())
    return Context(prec=width + 2, Emax=MAX_EMAX, Emin=MIN_EMIN)
