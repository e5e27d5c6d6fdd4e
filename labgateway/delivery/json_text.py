"""JSON in which a number is written as its text stands: 5.10 stays 5.10."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_UNPRINTED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DIGITS = 18
"""More digits than that are no decimal of FHIR, and no receiver keeps them all."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as text, written as it stands. Make it with ``number``."""

    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """JSON that is written already: a part that stands in many places. Make it with ``written``."""

    text: str


Value = Mapping[str, "Value"] | list["Value"] | str | Number | Written | bool | int | None


def number(text: str | None) -> Number | None:
    """The text as a number when JSON can write it just so, else None: ``+1``, ``.5``, ``007`` and ``1e3`` are none."""
    if text is None or not _NUMBER.fullmatch(text) or sum(c.isdigit() for c in text) > _DIGITS:
        return None
    return Number(text)


def dumps(value: Value) -> bytes:
    """In one line, UTF-8. A lone surrogate is no character; a mark stands in its place."""
    return _encoded(_write(value))


def dumps_lean(value: Value) -> bytes:
    """The same, as FHIR wants it: no empty text, list or object anywhere, and in texts no control characters but \\t \\r \\n."""
    return _encoded(_lean(value))


def written(value: Value) -> Written:
    """A part of what ``dumps_lean`` will write."""
    return Written(_lean(value))


def _encoded(text: str) -> bytes:
    return (text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).encode()


def _write(value: Value) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, Mapping):
        return "{" + ",".join([f"{encode_basestring(key)}:{_write(inner)}" for key, inner in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_write(inner) for inner in value]) + "]"
    if isinstance(value, Number | Written):
        return value.text
    return json.dumps(value)


def _lean(value: Value) -> str:
    """ "" for what has no content. Keys are names of FHIR and need no escapes."""
    if isinstance(value, str):
        clean = value if value.isprintable() else _UNPRINTED.sub("", value)
        return encode_basestring(clean) if clean and not clean.isspace() else ""
    if isinstance(value, Number | Written):
        return value.text
    if isinstance(value, dict):
        parts = [f'"{key}":{text}' for key, inner in value.items() if (text := _lean(inner))]
        return "{" + ",".join(parts) + "}" if parts else ""
    if isinstance(value, list):
        texts = [text for inner in value if (text := _lean(inner))]
        return "[" + ",".join(texts) + "]" if texts else ""
    return "" if value is None else json.dumps(value)
