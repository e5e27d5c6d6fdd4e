"""Identities: ids that say nothing; do a result and an order name the same person; do two orders?

Two questions with opposite care. ``differing``: a fold (case, diacritics, order of name parts, length of a
date) may make two spellings agree, because a difference only ever holds. ``same_patient``: no fold of names,
because sameness lets a result through; what is missing proves nothing (Open-O #114: two patients without a
health card number are not one).
"""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import Literal, get_args

from labgateway.model import Order, Patient, Result
from labgateway.protocols.rows import HL7, unescape

SecondId = Literal["patient", "birth_date", "sex", "name"]
SECOND_IDS: tuple[SecondId, ...] = get_args(SecondId)

# Compared without case and without anything but letters and digits: "No read" is NOREAD.
_NOT_KNOWN = re.compile(r"UNK|UNKN|UNKNOWN|UNDEFINED|NONE|NULL|NIL|NA|NOID|NOREAD|NOBARCODE|NOLABEL|EMPTY|BLANK")
_NO_PATIENT = re.compile(r"QC.*|X+|ERR|ERROR|READERROR|BARCODEERROR|TEST|DUMMY|DEFAULT")
_SEX = {
    word: letter
    for letter, words in {"M": "M MALE MAN NAM", "F": "F FEMALE WOMAN NU"}.items()
    for word in words.split()
}
_DATE = re.compile(r"(\d{4})(?:([-/.]?)(\d\d)(?:\2(\d\d).*)?)?", re.ASCII | re.DOTALL)
_GARBLED = "\ufffd"  # stands where bytes did not decode: two different texts may both show it


def says_nothing(text: str | None) -> bool:
    """True for None, blanks, only zeros, only punctuation, and the words for "not known" (UNKNOWN, NONE, N/A ...)."""
    if text is None or not any(c.isalpha() or unicodedata.numeric(c, 0) != 0 for c in text):
        return True
    return _NOT_KNOWN.fullmatch(_bare(text)) is not None


@lru_cache(maxsize=1024)
def is_placeholder(specimen: str) -> bool:
    """True when a specimen id is no patient's: it says nothing, or it is a word such instruments fill in.

    ``QC...`` (whatever follows), only X, ERROR, TEST, DUMMY, DEFAULT and the like; and an id with a
    character that could not be decoded.
    """
    return says_nothing(specimen) or _NO_PATIENT.fullmatch(_bare(specimen)) is not None or _GARBLED in specimen


def differing(result: Result, patient: Patient) -> tuple[SecondId, ...]:
    """Which second identifiers are on both sides and differ, in a fixed order. Empty: nothing speaks against it.

    patient: exact after outer blanks. birth_date: as dates, a shorter one (year, year and month)
    agrees with every date within it. sex: M and F with their words; U and N say nothing. name: as
    ``name_parts``. Text that is no date or no known sex agrees only with the same text.
    """
    return _differing(result.patient, result.patient_name, result.birth_date, result.sex, patient)


@lru_cache(maxsize=1024)
def _differing(
    number: str | None, name: str | None, birth_date: str | None, sex: str | None, patient: Patient
) -> tuple[SecondId, ...]:
    """As ``differing``; all results of one specimen ask the same question."""
    found: list[SecondId] = []
    if not says_nothing(number) and not says_nothing(patient.id) and _strip(number) != _strip(patient.id):
        found.append("patient")
    if _dates_differ(birth_date, patient.birth_date):
        found.append("birth_date")
    if _sexes_differ(sex, patient.sex):
        found.append("sex")
    ours = name_parts(name)
    theirs = [parts for one in patient.pid5.split("~") if (parts := name_parts(one))]
    if ours and theirs and ours not in theirs:
        found.append("name")
    return tuple(found)


def same_patient(one: Patient, other: Patient, *, same_source: bool) -> bool:
    """True only when it is proven that both are one person.

    By the patient id: equal, with nothing else against it; across two sources of orders (same_source
    False) only together with the same assigning authority (PID-3.4) or the full birth date. Both
    without patient id: by the same PID-3 of one source, else by name, full birth date and sex, all three
    given and equal as text. One with and one without: not proven.
    """
    if _dates_differ(one.birth_date, other.birth_date) or _sexes_differ(one.sex, other.sex):
        return False
    if _proves(one.id) and _proves(other.id):
        if _strip(one.id) != _strip(other.id):
            return False
        authorities = _authority(one), _authority(other)
        if all(authorities):
            return authorities[0] == authorities[1]
        return same_source or (_full_date(one) is not None and _full_date(one) == _full_date(other))
    if _proves(one.id) or _proves(other.id):
        return False
    if same_source and one.pid3 == other.pid3 and _proves(one.pid3.split("~")[0].split("^")[0]):
        return True
    return (
        one.pid5 == other.pid5
        and _is_a_name(one.pid5)
        and _full_date(one) is not None
        and _full_date(one) == _full_date(other)
        and _sex(one.sex) in ("M", "F")
        and _sex(one.sex) == _sex(other.sex)
    )


def all_one_patient(orders: list[Order]) -> bool:
    """True when every two of the orders are proven to be for the same person. One order alone always is."""
    if len(orders) < 2:
        return True
    distinct = list(dict.fromkeys((order.source, order.patient) for order in orders))
    # each with itself too: two orders whose patient is the same blank are not proven to be one person's
    return all(
        same_patient(a, b, same_source=source_a == source_b)
        for at, (source_a, a) in enumerate(distinct)
        for source_b, b in distinct[at:]
    )


def name_parts(name: str | None) -> tuple[str, ...]:
    """Family, given and middle name for comparing, sorted: case, diacritics (Đ too), hyphens, blanks and order folded.

    name: XPN (``NGUYEN^VAN A``) or plain text; components behind the third (suffix, prefix, degree) do
    not count. Empty when nothing is said.
    """
    if says_nothing(name) or name is None:
        return ()
    text = unescape(" ".join(c.split("&")[0] for c in name.split("^")[:3]), HL7, is_hl7=True)
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", text.casefold().replace("đ", "d")) if not unicodedata.combining(c)
    )
    return tuple(sorted(re.findall(r"[^\W_]+", plain)))


def sex_of(text: str | None) -> Literal["F", "M"] | None:
    """F or M; None when it is not known, or another word."""
    match _sex(text):
        case "F":
            return "F"
        case "M":
            return "M"
        case _:
            return None


def birth_days(text: str | None) -> tuple[date, date] | None:
    """The first and last day on which somebody may have been born; one day twice when it is given whole, else None."""
    said = _date(text)
    if not said.isdigit():
        return None
    year, month, day = int(said[:4]), int(said[4:6] or 0), int(said[6:] or 0)
    try:
        first = date(year, month or 1, day or 1)
        last = first if day else date(year, month or 12, monthrange(year, month or 12)[1])
    except ValueError:
        return None
    return first, last


def _bare(text: str) -> str:
    return "".join(c for c in text.upper() if c.isalnum())


def _strip(text: str | None) -> str:
    return (text or "").strip()


def _proves(text: str | None) -> bool:
    return text is not None and not says_nothing(text) and _GARBLED not in text


def _date(text: str | None) -> str:
    """Digits YYYY, YYYYMM or YYYYMMDD; empty when nothing is said (year 0 and 1 too); other text behind a ``?``."""
    stripped = _strip(text)
    match = _DATE.fullmatch(stripped)
    if match is None:
        return "" if says_nothing(stripped) else "?" + stripped
    year, month, day = match[1], match[3] or "00", match[4] or "00"
    if int(month) > 12 or int(day) > 31:
        return "?" + stripped
    if int(year) < 2:  # 00000000, and 00010101: the empty date of several platforms
        return ""
    return year + (month if month != "00" else "") + (day if "00" not in (month, day) else "")


def _dates_differ(one: str | None, other: str | None) -> bool:
    a, b = _date(one), _date(other)
    if not a or not b:
        return False
    shorter, longer = sorted((a, b), key=len)
    return not longer.startswith(shorter) if shorter.isdigit() else a != b


def _full_date(patient: Patient) -> str | None:
    date = _date(patient.birth_date)
    return date if len(date) == 8 and date.isdigit() else None


def _sex(text: str | None) -> str:
    word = _bare(unicodedata.normalize("NFD", (text or "").split("^")[0]))  # a mark apart is no letter
    if says_nothing(word) or word in ("U", "N"):  # HL7 table 0001: unknown, not applicable
        return ""
    return _SEX.get(word, word)


def _sexes_differ(one: str | None, other: str | None) -> bool:
    a, b = _sex(one), _sex(other)
    return bool(a) and bool(b) and a != b


def _authority(patient: Patient) -> str:
    """CX.4 of the PID-3 repetition that holds the patient's id; empty when it names none."""
    for repetition in patient.pid3.split("~"):
        parts = repetition.split("^")
        if parts[0].strip() == _strip(patient.id) and len(parts) > 3:
            return parts[3]
    return ""


def _is_a_name(name: str) -> bool:
    parts = name_parts(name)
    return bool(parts) and not any(says_nothing(part) for part in parts)
