r"""The JSON of a HIS's own REST API, from a template that the site declares. Pure once the template is read.

    {"sampleCode": "{specimen}",
     "source": "labgateway {site}",
     "items": [{"testCode": "{code}", "result": "{value}", "number": "{number}", "abnormal": "{flags}"}]}

- ``"{name}"`` alone is the field: text, or null when there is none. Within other text it is put in, nothing for null.
- ``"{number}"`` is the value as a JSON number with its digits as they stand, null when it is no plain number;
  ``"{list:name}"`` a field of several (flags, comments) as a list of texts. ``{{`` and ``}}`` are braces.
- A list of exactly one item that names a field of a result is repeated, one item a result. Outside of such a list only
  fields of the whole message may stand, unless every result is a message of its own (``one_result_each``).

All other JSON stays as it is. Fields: labgateway/fields.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from labgateway.delivery.flat import Row, rows
from labgateway.delivery.json_text import Value, dumps, number
from labgateway.fields import FIELDS
from labgateway.model import Report, Settings

WHOLE = frozenset(
    {"message", "site", "facility", "specimen", "patient_id", "patient_name", "birth_date", "sex", "released_at"}
)
"""Fields that are the same for all results of a message."""
LISTS = {"flags": " ", "comments": "\n"}
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """A template that has no mistake."""

    tree: Any

    def render(self, report: Report, settings: Settings, control_id: str, status: str = "as_sent") -> bytes:
        """The body. Raises ValueError as ``facts.one_patient``."""
        found = rows(report, settings, control_id, status)
        return dumps(_filled(self.tree, found[0], found))


def read(text: str, *, single: bool) -> tuple[Template | None, list[str]]:
    """The template, or what is wrong with it, a sentence each. single: every result is a message of its own."""
    try:
        tree = json.loads(text, parse_float=_exact, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return None, [f"It is no JSON: {error}."]
    wrong = list(dict.fromkeys(_mistakes(tree, inside=single)))
    return (None, wrong) if wrong else (Template(tree), [])


def _exact(text: str) -> Value:
    return number(text) or _no_constant(text)


def _no_constant(text: str) -> Value:
    raise ValueError(f"{text} is no number that JSON can write exactly")


def _mistakes(tree: object, *, inside: bool) -> Iterator[str]:
    match tree:
        case dict():
            for value in cast(dict[str, object], tree).values():
                yield from _mistakes(value, inside=inside)
        case list():
            items = cast(list[object], tree)
            repeats = _is_repeated(items)
            for value in items:
                yield from _mistakes(value, inside=inside or repeats)
        case str():
            for name in _names(tree):
                if name is None:
                    yield f"A brace stands alone in {tree!r}: write {{{{ or }}}} for a brace."
                elif name.removeprefix("list:") not in FIELDS and name != "number":
                    yield f"{{{name}}} is no field. There are: number, {', '.join(FIELDS)}."
                elif name.startswith("list:") and name.removeprefix("list:") not in LISTS:
                    yield f"{{{name}}} has no several: only {', '.join(LISTS)} have."
                elif (name.startswith("list:") or name == "number") and tree != f"{{{name}}}":
                    yield f"{{{name}}} must stand alone between its quotes."
                elif not inside and name not in WHOLE:
                    yield (
                        f"{{{name}}} is of one result, and stands outside a list of one item: put it into one, or write "
                        "one_result_each = true."
                    )
        case _:
            return


def _names(text: str) -> Iterator[str | None]:
    """Every field that a text names; None for a brace that stands alone."""
    for found in _PLACE.finditer(text):
        if found[0] in ("{{", "}}"):
            continue
        yield found[1] if found[1] is not None else None


def _is_repeated(items: list[object]) -> bool:
    return len(items) == 1 and any(
        name is not None and name not in WHOLE for text in _texts(items[0]) for name in _names(text)
    )


def _texts(tree: object) -> Iterator[str]:
    match tree:
        case dict():
            for value in cast(dict[str, object], tree).values():
                yield from _texts(value)
        case list():
            for value in cast(list[object], tree):
                yield from _texts(value)
        case str():
            yield tree
        case _:
            return


def _filled(tree: Any, row: Row, every: list[Row]) -> Value:
    match tree:
        case dict():
            return {key: _filled(value, row, every) for key, value in cast(Mapping[str, Any], tree).items()}
        case list():
            items = cast(list[Any], tree)
            if _is_repeated(items):
                return [_filled(items[0], one, [one]) for one in every]
            return [_filled(value, row, every) for value in items]
        case str():
            return _text(tree, row)
        case _:
            return tree


def _text(text: str, row: Row) -> Value:
    alone = re.fullmatch(r"\{([^{}]+)\}", text)
    if alone is None:
        return _PLACE.sub(lambda found: found[0][0] if found[1] is None else row[found[1]] or "", text)
    name = alone[1]
    if name == "number":
        return number(row["value"])
    if name.startswith("list:"):
        field = name.removeprefix("list:")
        return [part for part in (row[field] or "").split(LISTS[field]) if part]
    return row[name]
