"""Formulas of computed values: + - * / and parentheses over EMR tests and plain numbers. Exact; no eval.

    CHOL - HDL - TG / 2.2          'NEU%' * WBC / 100          - also as −, * as ×, / as ÷

Everything is a fraction until the end, so nothing is rounded but the result, once, half to even.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

_TOKEN = re.compile(r"\s*(?:([0-9]+(?:\.[0-9]+)?)|([^\W\d]\w*)|'([^']+)'|([-+*/()−×÷]))")
_SAME = {"−": "-", "×": "*", "÷": "/"}
_LONGEST = 500
_DEEPEST = 40


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: Decimal


@dataclass(frozen=True, slots=True)
class Name:
    """An EMR test."""

    name: str


@dataclass(frozen=True, slots=True)
class Negative:
    """Minus something."""

    of: Formula


@dataclass(frozen=True, slots=True)
class Pair:
    """Two things and what is between them."""

    sign: Literal["+", "-", "*", "/"]
    left: Formula
    right: Formula


Formula = Number | Name | Negative | Pair


class FormulaError(ValueError):
    """A text is no formula. Its words say what is wrong."""


def parse(text: str) -> Formula:
    """The formula of a text. Raises FormulaError."""
    if len(text) > _LONGEST:
        raise FormulaError(f"is longer than {_LONGEST} characters.")
    reading = _Reading(_tokens(text))
    found = reading.sum(0)
    if reading.next:
        raise FormulaError(f"cannot be read from {reading.next[1]} on.")
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    """Kind (number, name, sign) and text of each piece."""
    found: list[tuple[str, str]] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        piece = _TOKEN.match(text, at)
        if piece is None:
            raise FormulaError(f"cannot be read from {text[at:].strip()[:20]} on.")
        number, name, quoted, sign = piece.groups()
        if number is not None:
            found.append(("number", number))
        elif name is not None or quoted is not None:
            found.append(("name", name or quoted))
        else:
            found.append(("sign", _SAME.get(sign, sign)))
        at = piece.end()
    return found


class _Reading:
    """Recursive descent: sum of products of single things."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def next(self) -> tuple[str, str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, *signs: str) -> str:
        """The sign that comes, if it is one of these; then it is passed."""
        if self.next is not None and self.next[0] == "sign" and self.next[1] in signs:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return ""

    def sum(self, depth: int) -> Formula:
        found = self.product(depth)
        while sign := self._is("+", "-"):
            found = Pair("+" if sign == "+" else "-", found, self.product(depth))
        return found

    def product(self, depth: int) -> Formula:
        found = self.single(depth)
        while sign := self._is("*", "/"):
            found = Pair("*" if sign == "*" else "/", found, self.single(depth))
        return found

    def single(self, depth: int) -> Formula:
        if depth > _DEEPEST:
            raise FormulaError("is nested too deep.")
        if self._is("-"):
            return Negative(self.single(depth + 1))
        if self._is("("):
            found = self.sum(depth + 1)
            if not self._is(")"):
                raise FormulaError("misses a closing parenthesis.")
            return found
        piece = self.next
        if piece is None:
            raise FormulaError("ends too early.")
        if piece[0] == "sign":
            raise FormulaError(f"cannot be read from {piece[1]} on.")
        self._at += 1
        return Number(Decimal(piece[1])) if piece[0] == "number" else Name(piece[1])


def names(formula: Formula) -> tuple[str, ...]:
    """The EMR tests in it, each once, in their order."""
    return tuple(dict.fromkeys(part.name for part in parts(formula) if isinstance(part, Name)))


def parts(formula: Formula) -> Iterator[Formula]:
    """The formula and everything in it."""
    yield formula
    match formula:
        case Negative(of):
            yield from parts(of)
        case Pair(_, left, right):
            yield from parts(left)
            yield from parts(right)
        case _:
            return


def evaluate(formula: Formula, values: Mapping[str, Decimal]) -> Fraction:
    """The exact value. Raises ZeroDivisionError, and KeyError for a test without value."""
    match formula:
        case Number(value):
            return Fraction(value)
        case Name(name):
            return Fraction(values[name])
        case Negative(of):
            return -evaluate(of, values)
        case Pair(sign, left, right):
            one, other = evaluate(left, values), evaluate(right, values)
            match sign:
                case "+":
                    return one + other
                case "-":
                    return one - other
                case "*":
                    return one * other
                case "/":
                    return one / other


def constant(formula: Formula) -> Fraction | None:
    """The value of a formula without tests, None when it has some, or divides by zero."""
    if names(formula):
        return None
    try:
        return evaluate(formula, {})
    except ZeroDivisionError:
        return None


def rounded(value: Fraction, decimals: int) -> str:
    """The value with so many digits behind the point, half to even; never -0."""
    scaled = round(value * 10**decimals)
    number = Decimal((1 if scaled < 0 else 0, tuple(int(digit) for digit in str(abs(scaled))), -decimals))
    return f"{number:f}"
