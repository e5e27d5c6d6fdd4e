"""A mapping file as the pages of a spreadsheet.

    tests       code  specimen  emr  name  loinc  comes  unit  times  …     one row a line of [tests]
    panels      panel  tests        GLU; UREA; CREA                         several names in one cell, ; between them
    orders      ordered  codes      - for nothing
    leave_out   code  why
    file        key  value          what stands at the top of the file

sheet_xlsx.py and sheet_csv.py carry the pages, sheet_reading.py reads them when a person has edited them, writing.py writes
the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, cast

from labgateway.errors import Complaint, ComplaintsError
from labgateway.mapping.history import version_of
from labgateway.mapping.sheet_columns import COLUMNS
from labgateway.mapping.table import NOT_DECIDED, parse

Values = dict[str, Any]
"""A line of [tests] as the file says it: text, list of text, Decimal, int, bool, two Decimals. No key for nothing."""
Pages = dict[str, list[dict[str, str]]]
"""Page to its rows, each column key to text; what is empty is left out."""

NOTHING = "-"
_QUOTED = re.compile(r'[;,"\n]')
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^;\n]*?))\s*(?:[;\n]|$)')


def data_of(raw: bytes, name: str) -> tuple[dict[str, Any], list[Complaint]]:
    """What a mapping file holds, with exact numbers, and which of its lines nobody has decided yet.

    Raises ComplaintsError when anything else is wrong with its form.
    """
    _, complaints = parse(raw, name)
    if wrong := [one for one in complaints if one.what != NOT_DECIDED]:
        raise ComplaintsError(wrong)
    return tomllib.loads(raw.decode("utf-8-sig"), parse_float=Decimal), complaints


def lines_of(value: Any) -> list[Values]:
    """The lines of one code of [tests], in the order of the file."""
    return cast("list[Values]", [value] if isinstance(value, dict) else list(value))


def pages_of(raw: bytes, name: str) -> Pages:
    """The pages of a mapping file. Raises ComplaintsError when it cannot be read, or holds what no spreadsheet can."""
    data, _ = data_of(raw, name)
    pages: Pages = {
        "tests": [_shown(code, line) for code, value in data.get("tests", {}).items() for line in lines_of(value)],
        "panels": [{"panel": p, "tests": joined(_list(t))} for p, t in data.get("panels", {}).items()],
        "orders": [{"ordered": o, "codes": joined(_list(c)) or NOTHING} for o, c in data.get("orders", {}).items()],
        "leave_out": [{"code": code, "why": why.strip()} for code, why in data.get("leave_out", {}).items()],
        "file": [
            {"key": "instrument", "value": str(data.get("instrument", "")).strip()},
            {"key": "decimal_comma", "value": _word(data.get("decimal_comma"))},
            {"key": "checked", "value": str(data.get("checked", "")).strip()},
            {"key": "version", "value": version_of(raw)},
        ],
    }
    if wrong := [one for page, rows in pages.items() for one in _not_portable(page, rows, name)]:
        raise ComplaintsError(wrong)
    return pages


def _not_portable(page: str, rows: Iterable[dict[str, str]], name: str) -> Iterable[Complaint]:
    first = COLUMNS[page][0].key
    for row in rows:
        code = row[first]
        if not code or code != code.strip():
            what = "is empty, or has blanks around it, which no one can see in a spreadsheet."
            yield Complaint(name, None, f'{page}."{code}"', what, "Write it without them.")


def _shown(code: str, line: Values) -> dict[str, str]:
    shown = {"code": code}
    known = {column.key for column in COLUMNS["tests"]}
    for key, value in line.items():
        if key not in known and key != "sane":
            continue
        match value:
            case bool():
                shown[key] = _word(value)
            case Decimal() | int():
                shown[key] = plain(value)
            case str():
                shown[key] = joined([value]) if key == "emr" else value.strip()
            case _ if key == "sane":
                shown["lowest"], shown["highest"] = (plain(end) for end in value)
            case _:
                shown[key] = joined(value)
    return {key: text for key, text in shown.items() if text}


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _word(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def plain(number: Decimal | int) -> str:
    """A number with a point and without an exponent."""
    return f"{Decimal(number):f}"


def joined(names: Iterable[str]) -> str:
    """Names in one cell; one that holds a separator stands in quotes."""
    shown: list[str] = []
    for name in names:
        text = name.strip()
        quoted = _QUOTED.search(text) or text == NOTHING
        shown.append('"' + text.replace('"', '""') + '"' if quoted else text)
    return "; ".join(shown)


def split(text: str) -> list[str] | None:
    """The names of one cell; None when a comma stands between names, or a quote does not end."""
    found: list[str] = []
    at = 0
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:
            return None
        quoted, bare = item[1], item[2]
        if quoted is not None:
            found.append(quoted.replace('""', '"').strip())
        elif bare and (bare.startswith('"') or "," in bare):
            return None
        elif bare:
            found.append(bare)
        at = item.end()
    return found
