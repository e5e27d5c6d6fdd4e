"""JSON in which a number is written as its text stands: 5.10 stays 5.10."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_DIGITS = 18
"""More digits than that are no decimal of FHIR, and no receiver keeps them all."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as text, written as it stands. Make it with ``number``."""

    text: str


Value = Mapping[str, "Value"] | list["Value"] | str | Number | bool | int | None


def number(text: str | None) -> Number | None:
    """The text as a number when JSON can write it just so, else None: ``+1``, ``.5``, ``007`` and ``1e3`` are none."""
    if text is None or not _NUMBER.fullmatch(text) or sum(c.isdigit() for c in text) > _DIGITS:
        return None
    return Number(text)


def dumps(value: Value) -> bytes:
    """In one line, UTF-8. A lone surrogate is no character; a mark stands in its place."""
    text = _write(value)
    return (text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).encode()


def _write(value: Value) -> str:
    match value:
        case Number(text):
            return text
        case Mapping():
            return "{" + ",".join(f"{_text(key)}:{_write(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_write, value)) + "]"
        case str():
            return _text(value)
        case _:
            return json.dumps(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
