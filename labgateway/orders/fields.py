"""Single fields of order messages: by place, as text, as field text to be echoed, as a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from labgateway.protocols.hl7 import recode
from labgateway.protocols.rows import Row

Place = tuple[str, int, int | None, int | None]
"""Segment, field, component, subcomponent."""

NULL = '""'
"""The HL7 null (2.5.1, 2.5.3): what it stands in is to be empty."""

_PLACE = re.compile(r"([A-Z][A-Z0-9]{2})-(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?")
_TIME = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d{1,4})?)?)?)?(?:([+-])(\d\d):?(\d\d))?", re.ASCII
)


def place(path: str) -> Place:
    """A path such as ``SPM-2.1`` taken apart. Raises ValueError for anything else; the config has none such."""
    found = _PLACE.fullmatch(path)
    if found is None:
        raise ValueError(f"{path} is no place such as SPM-2.1")
    segment, field, component, subcomponent = found.groups()
    return segment, int(field), int(component) if component else None, int(subcomponent) if subcomponent else None


def text(row: Row | None, field: int, component: int | None = None, subcomponent: int | None = None) -> str:
    """Text without outer blanks; empty when there is nothing, no row, or the HL7 null."""
    found = "" if row is None else row.value(field, component, subcomponent).strip()
    return "" if found == NULL else found


def field(row: Row | None, number: int) -> str:
    """Field text in the standard delimiters, to be sent back as it came; empty when there is nothing."""
    found = "" if row is None else recode(row.raw(number), row.delimiters).strip()
    return "" if found == NULL or not found.strip("^&~ ") else found


def read_moment(text: str, zone: tzinfo) -> datetime | None:
    """UTC of an HL7 time (2.5.1, 2.A.80) to the second; None when it is impossible or not exact to the day.

    Without an offset of its own it is local time of the zone. A bare day is its first moment.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    *parts, sign, hours, minutes = found.groups()
    try:
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(offset if sign == "+" else -offset)
        year, month, day, hour, minute, second = (int(part or 0) for part in parts)
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
