"""What an EMR's staging table looks like, and how one text fits into one of its columns. Pure.

A value is never changed to fit. What a column cannot hold exactly is refused, with the reason; and what the database
made of it is read back before the commit and compared (``same``), because some cut, round or garble in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Column, DateTime, MetaData, Table, Unicode, UnicodeText
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import registry
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable

from labgateway.delivery.flat import Row
from labgateway.fields import FIELDS, FIRST_ID, TIMES

_PLAIN = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DAY = re.compile(r"[0-9]{8}")
_LENGTHS = {
    "id": 20, "replaces": 20, "message": 20, "letter": 1, "sex": 16, "loinc": 16, "moh": 50, "birth_date": 32,
    "instrument": 64, "model": 64,
}  # fmt: skip
_LONG = frozenset({"value", "comments", "original_value", "flags", "range"})


class UnfitError(Exception):
    """A column cannot hold a value as it is. Its words name the column and hold no content."""


def default_columns() -> dict[str, str]:
    """Column -> field of the table that we propose: every field under its own name."""
    return {("reference_range" if name == "range" else name): name for name in FIELDS}


def proposed(name: str, columns: Mapping[str, str], *, update: bool) -> Table:
    """The table that would take these columns."""
    key = FIRST_ID if update else "id"
    made = [
        Column(
            column,
            _type(field),
            primary_key=field == key,
            nullable=field not in (key, "id", "code", "letter"),
        )
        for column, field in columns.items()
    ]
    schema, _, table = name.rpartition(".")
    return Table(table, MetaData(), *made, schema=schema or None)


def _type(field: str) -> sqltypes.TypeEngine[Any]:
    if field in TIMES:
        return DateTime(timezone=True)
    if field in _LONG:
        return UnicodeText()
    return Unicode(_LENGTHS.get(field, 20 if field == FIRST_ID else 255))


def ddl(name: str, columns: Mapping[str, str], dialect: str, *, update: bool) -> str:
    """The statement that makes it. dialect: as at the beginning of the database address."""
    made: Dialect = registry.load(dialect)()
    return str(CreateTable(proposed(name, columns, update=update)).compile(dialect=made)).strip() + ";"


def fit(text: str | None, column: Column[Any], zone: ZoneInfo, *, time: bool) -> Any:
    """The text as what the driver is given for this column. time: it is a moment of ours. Raises UnfitError."""
    if text is None:
        return None
    kind = column.type
    if isinstance(kind, sqltypes.DateTime):
        moment = _moment(text, time)
        if moment is None:
            raise UnfitError(f"column {column.name} takes a time, and this is none")
        return moment if _keeps_zone(kind) else moment.astimezone(zone).replace(tzinfo=None)
    if isinstance(kind, sqltypes.Date):
        if time:
            return datetime.fromisoformat(text).date()
        if not _DAY.fullmatch(text):
            raise UnfitError(f"column {column.name} takes a day, and this is none")
        try:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            raise UnfitError(f"column {column.name} takes a day, and this is none") from None
    if isinstance(kind, sqltypes.Numeric | sqltypes.Float):
        if not _PLAIN.fullmatch(text):
            raise UnfitError(f"column {column.name} takes numbers only, and this is no plain number")
        return float(text) if isinstance(kind, sqltypes.Float) else Decimal(text)
    if isinstance(kind, sqltypes.Integer):
        if not _PLAIN.fullmatch(text) or "." in text:
            raise UnfitError(f"column {column.name} takes whole numbers only, and this is none")
        return int(text)
    if isinstance(kind, sqltypes.String):
        if kind.length is not None and len(text) > kind.length:
            raise UnfitError(f"column {column.name} takes {kind.length} letters, and this has {len(text)}")
        return text
    raise UnfitError(f"column {column.name} is of a type that labgateway does not write: text, number or time only")


def same(text: str | None, column: Column[Any], held: Any, zone: ZoneInfo, *, time: bool) -> bool:
    """Whether what the database holds is what the text says. Outer blanks of CHAR columns do not count."""
    if text is None or held is None:
        return text is None and (held is None or held == "")  # Oracle knows no empty text
    try:
        given = fit(text, column, zone, time=time)
    except UnfitError:
        return False
    match given:
        case datetime():
            if not isinstance(held, datetime):
                return False
            if (held.tzinfo is None) != (given.tzinfo is None):
                held = held.replace(tzinfo=zone) if held.tzinfo is None else held.astimezone(zone).replace(tzinfo=None)
            return abs(held - given) < timedelta(seconds=1)
        case date():
            return (held.date() if isinstance(held, datetime) else held) == given
        case float() | int() | Decimal():
            return _decimal(held) == Decimal(text)
        case _:
            return isinstance(held, str) and held.rstrip(" ") == given.rstrip(" ")


def _decimal(held: Any) -> Decimal | None:
    try:
        return Decimal(str(held))
    except ArithmeticError:
        return None


def _keeps_zone(kind: sqltypes.DateTime) -> bool:
    return bool(kind.timezone)


def _moment(text: str, time: bool) -> datetime | None:
    return datetime.fromisoformat(text) if time else None


def values(row: Row, table: Table, columns: Mapping[str, str], zone: ZoneInfo) -> dict[str, Any]:
    """Column -> what the driver is given. Raises UnfitError."""
    return {
        column: fit(row.get(field), table.c[column], zone, time=field in TIMES) for column, field in columns.items()
    }


def differing(row: Row, table: Table, columns: Mapping[str, str], held: Mapping[str, Any], zone: ZoneInfo) -> list[str]:
    """The columns in which what the database holds is not what the row says."""
    return [
        column
        for column, field in columns.items()
        if not same(row.get(field), table.c[column], held[column], zone, time=field in TIMES)
    ]
