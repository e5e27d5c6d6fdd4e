"""One observation as one flat row of named texts: what tables, CSV files and JSON documents are made of.

Text is as it goes into OBX, nothing converted; None: there is none. Times are local to the site with their offset,
``2026-11-22T08:15:00+07:00``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from labgateway.delivery.facts import WITHOUT_VALUE, flags_of, letter_of, one_patient, patient_of, range_of, value_of
from labgateway.fields import FIELDS
from labgateway.model import Observation, Order, Report, Settings
from labgateway.protocols.rows import HL7, unescape

Row = dict[str, str | None]
"""Field -> its text."""


def rows(report: Report, settings: Settings, control_id: str, status: str = "as_sent") -> list[Row]:
    """One row an observation, in the order of the report; every key of FIELDS is in each.

    status "P": everything that has a value leaves as preliminary. Raises ValueError as ``facts.one_patient``.
    """
    one_patient(report)
    zone = ZoneInfo(settings.timezone)
    person = patient_of(report)
    common: Row = {
        "message": control_id,
        "site": settings.name,
        "facility": settings.facility or None,
        "specimen": report.specimen or None,
        "patient_id": person.id or plain(person.pid3) or None,
        "patient_name": _in_one_line(person.pid5) or None,
        "birth_date": person.birth_date,
        "sex": person.sex,
        "released_at": local(report.released_at, zone),
    }
    return [_row(o, common, zone, status) for o in report.observations]


def _row(o: Observation, common: Row, zone: ZoneInfo, status: str) -> Row:
    result, letter = o.result, letter_of(o, status)
    # A table may have no column for the letter: what is taken back must not stand there as a value once more.
    is_gone = letter in WITHOUT_VALUE
    notes = o.added.notes if o.added is not None else ()
    own: Row = {
        "id": o.id,
        "replaces": o.replaces,
        "specimen_type": (plain(o.order.specimen_type) if o.order else "") or result.specimen_type,
        "code": o.code,
        "name": o.name,
        "loinc": o.loinc,
        "moh": o.moh,
        "value": None if is_gone else value_of(o, letter),
        "unit": o.unit,
        "range": range_of(o),
        "flags": " ".join(flags_of(o)),
        "letter": letter.value,
        "comments": "\n".join((*result.comments, *notes)),
        "original_value": None if is_gone else o.original_value,
        "original_unit": None if is_gone else o.original_unit,
        "measured_at": local(o.measured_at, zone),
        "received_at": local(o.received_at, zone),
        "instrument": o.instrument,
        "model": o.model,
        "serial": result.serial,
        "operator": result.operator,
        "run": result.run,
        **_ordered(o.order, zone),
    }
    whole: Row = {**common, **own}
    return {name: _clean(whole.get(name)) for name in FIELDS}


def _ordered(order: Order | None, zone: ZoneInfo) -> Row:
    if order is None:
        return {}
    return {
        "ward": plain(order.ward),
        "placer": plain(order.placer),
        "filler": plain(order.filler),
        "order_code": order.code,
        "collected_at": local(order.collected_at, zone),
    }


def plain(field: str) -> str:
    """The first component of an HL7 field as text: ``P17^EMR`` is P17, ``BLD&blood`` is BLD."""
    first = field.split("~", 1)[0].split("^", 1)[0].split("&", 1)[0]
    return unescape(first, HL7, is_hl7=True).strip()


def _in_one_line(name: str) -> str:
    """Family, given and middle name of a PID-5 in this order, as sent."""
    parts = name.split("~", 1)[0].split("^")[:3]
    return " ".join(text for part in parts if (text := plain(part)))


def local(moment: datetime | None, zone: ZoneInfo) -> str | None:
    """A moment in the site's time with its offset, to the second."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(zone).isoformat(timespec="seconds")


def _clean(text: str | None) -> str | None:
    """None for nothing; a lone surrogate is no character and nothing can send it."""
    if not text:
        return None
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
