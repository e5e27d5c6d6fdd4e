"""What a text looks like. Scores are for comparing places with each other, they mean nothing by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from labgateway.instruments.times import read_time
from labgateway.mapping import units

_NUMBER = re.compile(r"[<>]?=? *[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")
_CONTROL = re.compile(r"(?i)^(QC|CTRL|CTR|CONTROL|CNTRL|KONTROLLE)(?![a-z])|^(QC|CTRL|CONTROL)")
_UNIT_WORDS = frozenset(
    {
        "ratio",
        "index",
        "coi",
        "s/co",
        "rlu",
        "inr",
        "sec",
        "seconds",
        "mmhg",
        "ph",
        "ru",
        "ct",
        "copies/ml",
        "iu/ml",
        "log",
        "ch",
    }
)
TIME_FORMS = (
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
)


def is_number(text: str) -> bool:
    """Whether a text is a number as analyzers write it, with < or > in front or not."""
    return _NUMBER.fullmatch(text) is not None


def is_time(text: str) -> bool:
    """Whether a text is a date with or without a time, in the standard's form or a usual one."""
    digits = sum(char.isdigit() for char in text)
    return digits >= 8 and text[:4].isdigit() and text[:2] in ("19", "20") and read_time(text, ()) is not None


def time_form(texts: Sequence[str]) -> str:
    """The strptime form of times that are not the standard's; "" when they are, or none is known."""
    if not texts or any(read_time(text, ()) is not None for text in texts):
        return ""
    return next((form for form in TIME_FORMS if all(read_time(text, (form,)) is not None for text in texts)), "")


def is_unit(text: str) -> bool:
    """Whether a text is a unit of measure, or one of the words that stand for one."""
    if not text or len(text) > 20 or is_number(text):
        return False
    return units.read(text) is not None or text.casefold() in _UNIT_WORDS


def is_control(text: str) -> bool:
    """Whether a text begins as names of control samples do."""
    return _CONTROL.search(text) is not None


def like_a_barcode(texts: Sequence[str]) -> float:
    """How much texts, one a specimen, look like specimen ids; 0: not at all, 6: surely."""
    filled = [text for text in texts if text]
    if not filled:
        return 0.0
    total = 0.0
    for text in filled:
        score = (2.0 if 5 <= len(text) <= 25 else 1.0 if len(text) in (3, 4) else -0.5) + 0.1 * min(len(text), 12)
        score += 1.0 if any(char.isdigit() for char in text) else -0.5
        if "^" in text or len(text) > 30:
            score -= 2.0
        if is_time(text) and len(text) in (8, 12, 14):
            score -= 0.7
        if re.match(r"\d{4}-\d\d-\d\d[T ]", text):
            score -= 4.0
        if re.fullmatch(r"0*\d{0,5}", text):
            score -= 2.5 if re.fullmatch(r"0*\d{0,3}", text) else 1.5
        total += score
    distinct = len(set(filled)) / len(filled)
    same = -2.0 if len(filled) > 1 and distinct <= 0.5 else distinct
    return (total / len(filled) + same) * (len(filled) / len(texts)) + len(filled) / len(texts)
