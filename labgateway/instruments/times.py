"""Times as instruments write them, to local datetimes without guessing."""

from __future__ import annotations

import re
from datetime import datetime

_TIME = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:[.,]\d{1,9})?)?)?)?\s*(?:Z|[+-]\d\d:?\d\d)?", re.ASCII
)


def read_time(text: str, formats: tuple[str, ...] = ()) -> datetime | None:
    """Local time as sent, fraction and offset dropped; None when it is no possible date and time.

    YYYYMMDD[HH[MM[SS[.fraction]]]][+HHMM] (LIS02-A2 5.6.2, HL7 2.5.1 2.A.80), after the driver's own forms.
    """
    for form in formats:
        try:
            return datetime.strptime(text, form).replace(tzinfo=None, microsecond=0)  # noqa: DTZ007 - local time
        except ValueError:
            continue
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - local time of the instrument
    except ValueError:
        return None
