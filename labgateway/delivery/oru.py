r"""A report as an HL7 message, ORU^R01, v2.5.1 or older. Pure: the same report gives the same bytes.

    MSH
    PID
    [PV1]                    the first order that names a ward or class
    { ORC RE                 one group an order; a panel's tests stand under the panel's OBR
      OBR
      { OBX
        { NTE } }
      SPM }

No text from a result, a mapping or an order can add a segment or a field (``hl7.escape``, ``hl7.segment``).

Choices where HL7 leaves room:

- OBR-25 (table 0123): any P in the group makes it P; else all X makes it X; else any C, D or W makes it
  C; else F. A group that is partly withheld stays F: what there is, is final.
- OBX-2 is NM only for what NM can hold (2.A.47: sign, digits, point, digits, 16 characters), FT for text
  beyond the 199 characters of ST or with line breaks, empty with no value (then OBX-11 is X). ``<5`` is ST,
  or SN where a destination asks.
- OBX-3 ends after the third component when there is no LOINC.
- OBX-6 claims UCUM only for text that UCUM could have written: printable ASCII without blank or ``^``.
- OBX-7 is the laboratory's range where the mapping declares ranges, else the analyzer's, in the analyzer's unit: where value
  and unit were converted that one moves into the NTE that says what was measured.
- OBX-14 and OBX-19 are both the time that the analyzer gave; it knows no other.
- OBX-18 repeats: ``instrument^model``, then ``serial^model`` when the analyzer says its serial number.
- OBX-21 is pre-adopted from v2.6, as IHE LAW does; v2.5.1 reserves it.
- Required fields without content: PID-3 ``^^^^U`` and PID-5 ``^^^^^^U`` (unspecified, tables 0203 and 0200),
  SPM-4 ``U^Unknown^HL70353``, PV1-2 ``U``; never ``""``, which would tell the EMR to delete what it has.
- Versions before 2.5.1 get what they know (``FORMS``). Without OBX-21 our id of the observation does not travel.
  Before 2.5 there is no SPM: OBR-15 says what the specimen is, OBR-20 (the filler's own field) its id. Before 2.4
  no OBX-18 and 19, and OBX-2 and OBX-4 are required (ST beside an empty OBX-5; 1). 2.3 has two components in MSH-9,
  no W in table 0085 (D takes its place), and wants ORC-7 and OBR-27 (the priority of the order).
- Without an order (sites without orders, tests that nobody ordered) there is one group an instrument: OBR-3
  is the specimen under our name, OBR-4 the instrument.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from zoneinfo import ZoneInfo

from labgateway.delivery.facts import (
    TS,
    flags_of,
    letter_of,
    one_patient,
    patient_of,
    range_is_of_old_unit,
    range_of,
    value_of,
)
from labgateway.delivery.oru_forms import AS_USUAL, FORMS, Form, OruOptions
from labgateway.model import Attachment, Observation, Order, Priority, Report, ResultLetter, Settings
from labgateway.protocols.hl7 import escape, segment

_SPECIAL = re.compile(r"[|^~\\&\x00-\x1f\x7f]")
_NM = re.compile(r"(?=.{1,16}\Z)[+-]?[0-9]+(?:\.[0-9]+)?")
_SN = re.compile(r"(<=|>=|<>|<|>|=)?([+-]?[0-9]+(?:\.[0-9]+)?)(?:([-+/.:])([0-9]+(?:\.[0-9]+)?)?)?")
_UCUM = re.compile(r"[!-\]_-~]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_ST_LENGTH = 199  # HL7 2.5.1, 2.A.74
_UNKNOWN_TYPE = "U^Unknown^HL70353"

_ED_TYPES = {"application": "AP", "audio": "AU", "image": "IM", "text": "TEXT", "multipart": "multipart"}  # table 0191


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What every segment of one message needs. name: MSH-3, escaped. local: a moment as text, None as nothing."""

    report: Report
    name: str
    options: OruOptions
    form: Form
    local: Callable[[datetime | None], str]


def render(report: Report, settings: Settings, control_id: str, options: OruOptions = AS_USUAL) -> bytes:
    """The message in UTF-8, segments ended by CR, without MLLP framing.

    control_id: MSH-10; keep it over retries, at most 20 characters or old receivers cut it in MSA-2.
    Raises ValueError for a report without observations, or whose observations name different patients:
    such a report must not exist.
    """
    one_patient(report)
    form = FORMS[options.version]
    sheet = _Sheet(report, _text(settings.name), options, form, _clock(settings.timezone))
    released = sheet.local(report.released_at)
    lines = [
        segment(
            "MSH",
            "^~\\&",
            sheet.name,
            _text(settings.facility),
            _text(options.receiving_application),
            _text(options.receiving_facility),
            released,
            None,
            form.message,
            _text(control_id),
            "P",
            options.version,
            None,
            None,
            options.accept,
            options.application,
            None,
            "UNICODE UTF-8",
        ),
        _pid(report),
    ]
    lines.extend(_pv1(report.observations))
    groups: dict[object, list[Observation]] = {}
    for observation in report.observations:
        groups.setdefault(_group_key(observation), []).append(observation)
    for number, group in enumerate(groups.values(), 1):
        lines.extend(_group(number, group, sheet))
    text = "".join(lines)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate is no character; nothing can send it
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()


def _text(text: str | None) -> str:
    """Escaped; the search first, because nearly no text needs it."""
    if not text:
        return ""
    return escape(text) if _SPECIAL.search(text) else text


def _clock(timezone: str) -> Callable[[datetime | None], str]:
    """Local time with offset, seconds; one report names few moments, each is computed once."""
    zone = ZoneInfo(timezone)
    known: dict[datetime, str] = {}

    def local(moment: datetime | None) -> str:
        if moment is None:
            return ""
        text = known.get(moment)
        if text is None:
            there = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(zone)
            offset = there.utcoffset()
            minutes = int(offset.total_seconds() // 60) if offset else 0
            sign = "-" if minutes < 0 else "+"
            text = f"{there:%Y%m%d%H%M%S}{sign}{abs(minutes) // 60:02}{abs(minutes) % 60:02}".rjust(19, "0")
            known[moment] = text
        return text

    return local


# Segments


def _pid(report: Report) -> str:
    patient = patient_of(report)
    return segment(
        "PID",
        "1",
        None,
        patient.pid3 or _text(patient.id) or "^^^^U",
        None,
        patient.pid5 or "^^^^^^U",
        None,
        _text(patient.birth_date),
        _text(patient.sex),
    )


def _pv1(observations: Iterable[Observation]) -> Iterator[str]:
    order = next((o.order for o in observations if o.order and (o.order.ward or o.order.patient_class)), None)
    if order:
        yield segment("PV1", "1", order.patient_class or "U", order.ward)


def _group_key(observation: Observation) -> object:
    order = observation.order
    if order is None:
        return observation.instrument, observation.model
    return order.id, order.source, order.placer, order.filler, order.code


def _group(number: int, group: list[Observation], sheet: _Sheet) -> Iterator[str]:
    """ORC OBR {OBX {NTE}} SPM of the observations that answer one order."""
    order = group[0].order
    specimen = _text(sheet.report.specimen)
    letters = [_letter(o, sheet) for o in group]
    if order:
        placer, filler = order.placer, order.filler
        service = order.service or _text(order.code)
        kind = _specimen_type(order)
        collected = order.collected_text if TS.fullmatch(order.collected_text) else sheet.local(order.collected_at)
    else:
        placer, filler = "", f"{specimen}^{sheet.name}"
        model = _text(group[0].model)
        service = f"{_text(group[0].instrument)}^{model}^L"
        kind = collected = ""
    if not kind:
        kind = next((_text(o.result.specimen_type) for o in group if o.result.specimen_type), _UNKNOWN_TYPE)
    timing = f"^^^^^{order.priority if order else Priority.ROUTINE}" if sheet.form.timing else None
    yield segment("ORC", "RE", placer, filler, *(None,) * 3, timing)
    yield segment(
        "OBR",
        str(number),
        placer,
        filler,
        service,
        None,
        None,
        collected,
        *(None,) * 7,
        None if sheet.form.spm else _as_source(order, kind),
        *(None,) * 4,
        None if sheet.form.spm else specimen,
        None,
        sheet.local(sheet.report.released_at),
        None,
        None,
        _group_status(letters),
        None,
        timing,
    )
    numbers = count(1)
    sent: set[Attachment] = set()
    for o, letter, run in zip(group, letters, _runs(group), strict=True):
        yield _obx(str(next(numbers)), o, letter, run, sheet)
        yield from _notes(o)
        if sheet.options.attachments:
            for nth, attachment in enumerate(o.result.attachments, 1):
                if attachment not in sent:
                    sent.add(attachment)
                    yield _attached(str(next(numbers)), o, letter, nth, sheet)
    if sheet.form.spm:
        yield segment("SPM", "1", specimen, None, kind)


def _letter(o: Observation, sheet: _Sheet) -> ResultLetter:
    letter = letter_of(o, sheet.options.status)
    return ResultLetter.DELETED if letter is ResultLetter.WRONG and not sheet.form.wrong else letter


def _specimen_type(order: Order) -> str:
    """SPM-4. OBR-15 holds the same code as subcomponents of its first component (SPS, 2.A.71)."""
    first = order.specimen_type.split("^", 1)[0]
    return first.replace("&", "^") if "&" in first else order.specimen_type


def _as_source(order: Order | None, kind: str) -> str:
    """OBR-15 of versions without SPM: as ordered when it came so, else the code as its first component."""
    if order and "&" in order.specimen_type.split("^", 1)[0]:
        return order.specimen_type
    return kind.replace("^", "&")


def _group_status(letters: list[ResultLetter]) -> str:
    """OBR-25, table 0123."""
    said = set(letters)
    if ResultLetter.PRELIMINARY in said:
        return "P"
    if said == {ResultLetter.NO_RESULT}:
        return "X"
    if said & {ResultLetter.CORRECTED, ResultLetter.DELETED, ResultLetter.WRONG}:
        return "C"
    return "F"


def _runs(group: list[Observation]) -> list[str]:
    """OBX-4: the run, and a number where the same test would stand twice in one group (OBX-4 must then differ)."""
    keys = [(o.code, o.result.run or "") for o in group]
    if len(set(keys)) == len(keys):
        return [_text(run) for _, run in keys]
    total, seen, runs = Counter(keys), Counter[tuple[str, str]](), list[str]()
    for key in keys:
        seen[key] += 1
        run = key[1]
        if total[key] > 1:
            run = f"{run}.{seen[key]}" if run else str(seen[key])
        runs.append(_text(run))
    return runs


def _obx(number: str, o: Observation, letter: ResultLetter, run: str, sheet: _Sheet) -> str:
    result = o.result
    leaving = value_of(o, letter)
    kind, value = _value(leaving, sheet.options) if leaving else ("", "")
    what = _what(o.code, o.name, o.loinc)
    unit = _unit(o.unit) if o.unit else ""
    measured = sheet.local(o.measured_at)
    if o.added is None:
        reference = None if range_is_of_old_unit(o) else result.range
        said = result.flags
    else:
        reference, said = range_of(o), flags_of(o)
    flags = "~".join([_text(flag) for flag in said]) if said else ""
    if not sheet.form.bare_obx:
        kind, run = kind or "ST", run or "1"
    # Every part is escaped; written out because this line is most of what a report costs.
    line = (
        f"OBX|{number}|{kind}|{what}|{run}|{value}|{unit}|{_text(reference)}|{flags}|||{letter.value}|||{measured}"
        f"||{_text(result.operator)}"
    )
    return (line + _tail(o, measured, _text(o.id), sheet.form)).rstrip("|") + "\r"


def _tail(o: Observation, measured: str, number: str, form: Form) -> str:
    """OBX-17 to OBX-21, as far as the version has them."""
    if form.obx < 18:
        return ""
    tail = f"||{_equipment(o.instrument, o.model, o.result.serial)}|{measured}"
    return tail if form.obx < 21 else f"{tail}||{number}"


# A laboratory has a few thousand of each of these; the rest of an OBX differs every time.


@lru_cache(maxsize=4096)
def _what(code: str, name: str, loinc: str) -> str:
    """OBX-3."""
    what = f"{_text(code)}^{_text(name)}^L"
    return f"{what}^{_text(loinc)}^^LN" if loinc else what


@lru_cache(maxsize=1024)
def _unit(unit: str) -> str:
    """OBX-6."""
    return f"{_text(unit)}^^UCUM" if _UCUM.fullmatch(unit) else _text(unit)


@lru_cache(maxsize=1024)
def _equipment(instrument: str, model: str, serial: str | None) -> str:
    """OBX-18."""
    mine = f"{_text(instrument)}^{_text(model)}".rstrip("^")
    return f"{mine}~{_text(serial)}^{_text(model)}".rstrip("^") if serial else mine


def _value(value: str, options: OruOptions) -> tuple[str, str]:
    """OBX-2 and OBX-5."""
    if _NM.fullmatch(value):
        return "NM", value
    if options.structured and (found := _SN.fullmatch(value)):
        return "SN", "^".join(_text(part) for part in found.groups()).rstrip("^")
    text = _text(value)
    return "FT" if len(text) > _ST_LENGTH or "\n" in value else "ST", text


def _notes(o: Observation) -> Iterator[str]:
    texts = list(o.result.comments)
    if o.value is not None and (o.original_value is not None or o.original_unit is not None):
        value = o.value if o.original_value is None else o.original_value
        unit = o.unit if o.original_unit is None else o.original_unit
        measured = f"as measured: {value or ''} {unit}".rstrip()
        if range_is_of_old_unit(o) and o.result.range:
            measured += f" (range {o.result.range})"
        texts.append(measured)
    if o.added is not None:
        texts += o.added.notes
    if o.replaces:
        texts.append(f"replaces observation {o.replaces}")
    for number, text in enumerate(texts, 1):
        yield segment("NTE", str(number), "L", _text(text))


def _attached(number: str, o: Observation, letter: ResultLetter, nth: int, sheet: _Sheet) -> str:
    """An image or the like as OBX of type ED: ``^IM^PNG^Base64^...`` (2.A.24)."""
    attachment = o.result.attachments[nth - 1]
    top, _, sub = attachment.media_type.partition("/")
    encoding = "Base64" if _BASE64.fullmatch(attachment.text) else "A"
    data = "".join(attachment.text.split()) if encoding == "Base64" else _text(attachment.text)
    measured = sheet.local(o.measured_at)
    what = f"{_text(attachment.code)}^^L|{'' if sheet.form.bare_obx else nth}"
    value = f"^{_ED_TYPES.get(top, 'AP')}^{_text(sub)}^{encoding}^{data}"
    status = "P" if letter is ResultLetter.PRELIMINARY else "F"
    tail = _tail(o, measured, f"{_text(o.id)}.{nth}", sheet.form)
    return f"OBX|{number}|ED|{what}|{value}||||||{status}|||{measured}||{tail}".rstrip("|") + "\r"
