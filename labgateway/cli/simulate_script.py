"""What ``labgateway simulate`` plays: a driver's captures, with another specimen, with other tests and values."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway import captures, simulator
from labgateway.errors import LabgatewayError
from labgateway.instruments import decode, recognise
from labgateway.instruments.order_form import RawOrderForm
from labgateway.instruments.queries import questions
from labgateway.instruments.spec import TABLE
from labgateway.instruments.tables import is_workbook
from labgateway.model import Kind, Result
from labgateway.protocols.raw_framing import FRAMINGS, Framing, find, wrap
from labgateway.simulator.raw import is_text, steps_of

if TYPE_CHECKING:
    from labgateway.instruments.driver import Driver


class SimulateError(LabgatewayError):
    """It cannot be played; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for. tests: code to the value it is to have, None: as captured; {} all tests."""

    specimen: str | None = None
    tests: dict[str, str | None] | None = None
    capture: str | None = None
    kind: str | None = None
    query: tuple[str, ...] = ()
    repeat: int = 1


def read_tests(text: str | None) -> dict[str, str | None] | None:
    """``WBC,HGB=13.4`` as codes and values."""
    if not text:
        return None
    out: dict[str, str | None] = {}
    for each in text.split(","):
        code, sign, value = each.partition("=")
        out[code.strip()] = value.strip() if sign else None
    return out


def messages_of(drivers: Sequence[Driver], wanted: Wanted) -> tuple[Driver, list[bytes]]:
    """Whose messages are played, and they. Raises SimulateError when there is nothing to play."""
    for driver in drivers:
        found = _queries(driver, wanted.query) if wanted.query else _captured(driver, wanted)
        if found and not wanted.query:
            rounds = [_round(driver, found, wanted, number) for number in range(max(1, wanted.repeat))]
            found = [message for each in rounds for message in each]
        elif found:
            found *= max(1, wanted.repeat)
        if found:
            return driver, found
    what = "query in its captures that could be asked" if wanted.query else "capture to play"
    raise SimulateError(f"{drivers[0].name} has no {what}; see the folder captures of its driver.")


def _round(driver: Driver, found: list[bytes], wanted: Wanted, number: int) -> list[bytes]:
    if wanted.tests:
        found = _only(driver, found, wanted.tests)
    if wanted.specimen is None:
        return found
    return [_with_specimen(driver, each, wanted.specimen.replace("{n}", str(number + 1))) for each in found]


def _queries(driver: Driver, specimens: Iterable[str]) -> list[bytes]:
    """The driver's own query of one specimen, once for each of these."""
    if driver.orders is None:
        return []
    for path in sorted((driver.folder / "captures").glob("*.wire")):
        for message in captures.read_capture(path.read_bytes(), protocol=driver.protocol):
            framing = FRAMINGS.get(driver.protocol)
            for part in (message,) if framing is None else steps_of(message, framing):
                found = questions(driver, part)
                if (
                    len(found) == 1
                    and len(found[0].specimens) == 1
                    and not (found[0].taken_back or found[0].unreadable)
                ):
                    return [_asking(driver, part, found[0].specimens[0], wanted) for wanted in specimens]
    return []


def _asking(driver: Driver, message: bytes, known: str, wanted: str) -> bytes:
    """A query of a capture with another specimen."""
    if not driver.layout:
        return simulator.with_specimen(message, (known,), wanted)
    made = _in_raw(driver, message, FRAMINGS[driver.protocol], [known], wanted, fixed=_in_columns(driver))
    if [one.specimens for one in questions(driver, made)] != [(wanted,)]:
        raise SimulateError(f'"{wanted}" does not fit where {driver.name} asks for orders; take one such as {known}.')
    return made


def _in_columns(driver: Driver) -> bool:
    """Whether the ids of its queries stand in columns, so that blanks make up for their length."""
    return isinstance(driver.orders, RawOrderForm) and any(
        "{specimen}" not in text.parts for text in driver.orders.texts
    )


def _captured(driver: Driver, wanted: Wanted) -> list[bytes]:
    """The messages of a driver's captures, in the order of their names."""
    out: list[bytes] = []
    for path in captures_of(driver):
        if wanted.capture and path.stem != wanted.capture:
            continue
        data = path.read_bytes()
        whole = [data] if driver.protocol == TABLE else captures.read_capture(data, protocol=driver.protocol)
        for message in whole:
            if driver.layout is None and recognise.header_rows(message)[0] != driver.protocol:
                continue
            results = decode.decode(driver, message).results
            if wanted.kind and all(result.kind.value != wanted.kind for result in results):
                continue
            out.append(message)
    return out


def captures_of(driver: Driver) -> list[Path]:
    """The captures of a driver, without what is expected of them."""
    return sorted(p for p in (driver.folder / "captures").glob("*") if p.is_file() and not p.name.endswith(".json"))


def ending_of(driver: Driver) -> str:
    """How the names of its files end."""
    if driver.protocol == TABLE:
        return captures_of(driver)[0].suffix
    return {"astm": ".astm", "hl7": ".hl7"}.get(driver.protocol, ".txt")


# --- another specimen ---


def _with_specimen(driver: Driver, message: bytes, wanted: str) -> bytes:
    found = sorted({r.specimen for r in _people(driver, message) if r.specimen}, key=len, reverse=True)
    if driver.protocol == TABLE:
        made = _in_table(message, found, wanted)
    elif driver.layout:
        made = _in_raw(driver, message, FRAMINGS[driver.protocol], found, wanted)
    else:
        made = simulator.with_specimen(message, found, wanted)
    if any(r.specimen not in (wanted, None) for r in _people(driver, made)):
        raise SimulateError(
            f'"{wanted}" does not fit where {driver.name} says its specimen ids; take one of at most '
            f"{max(map(len, found))} characters, such as {found[0]}."
        )
    return made


def _people(driver: Driver, message: bytes) -> list[Result]:
    """Its results and questions, without those of controls."""
    return [r for r in decode.decode(driver, message).results if r.kind in (Kind.PATIENT, Kind.QUERY)]


def _in_table(data: bytes, found: list[str], wanted: str) -> bytes:
    if not is_workbook(data):
        return simulator.with_specimen(data, found, wanted)
    import openpyxl
    from openpyxl.cell import Cell

    book = openpyxl.load_workbook(io.BytesIO(data))
    for sheet in book.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                if str(cell.value).strip() in found and isinstance(cell, Cell):
                    cell.value = wanted
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _in_raw(
    driver: Driver, message: bytes, framing: Framing, found: list[str], wanted: str, *, fixed: bool | None = None
) -> bytes:
    """Each text with the specimen replaced, in columns of the same width, and its check computed anew."""
    if fixed is None:
        fixed = any(form.columns or form.cells for form in driver.layout.messages) if driver.layout else False
    out: list[bytes] = []
    for step in steps_of(message, framing):
        one = find(step, framing) if is_text(step, framing) else None
        if one is None:
            out.append(step)
            continue
        text = one.text
        for old in found:
            text = (
                _fitted(text, old.encode(), wanted.encode()) if fixed else text.replace(old.encode(), wanted.encode())
            )
        out.append(step if text == one.text else wrap(text, framing, last=one.last))
    return b"".join(out)


def _fitted(text: bytes, old: bytes, new: bytes) -> bytes:
    """The new id in the place of the old one: filled up with what fills up the old one, or eating that."""
    at = text.find(old)
    if at < 0:
        return text
    before, after = text[:at], text[at + len(old) :]
    more = len(new) - len(old)
    filler = before[-1:] if before[-1:] in (b" ", b"0") and not after.startswith(b" ") else b" "
    if more <= 0:
        return before + filler * -more + new + after if filler == before[-1:] else before + new + b" " * -more + after
    if before[-more:] == filler * more:
        return before[:-more] + new + after
    if after[:more] == b" " * more:
        return before + new + after[more:]
    return text


# --- other tests and values ---


def _only(driver: Driver, found: list[bytes], tests: dict[str, str | None]) -> list[bytes]:
    """The messages that hold one of these tests, without all other results; with the values that were asked for."""
    if driver.layout:
        raise SimulateError(f"--tests is for ASTM and HL7; {driver.name} speaks {driver.protocol}. Choose a --capture.")
    out: list[bytes] = []
    shown: set[str] = set()
    for message in found:
        results = [r for r in decode.decode(driver, message).results if r.kind is not Kind.QUERY]
        shown |= {r.code for r in results}
        if any(r.code in tests for r in results):
            out.append(_kept_rows(driver, message, results, tests))
            tests = {code: value for code, value in tests.items() if code not in {r.code for r in results}}
            if not tests:
                return out
    raise SimulateError(
        f"No capture of {driver.name} shows {', '.join(tests)}. They show: {', '.join(sorted(shown)) or 'no test'}."
    )


_NUMBERED = re.compile(r"([A-Z]+)(\d+)")
_HANGS = frozenset({"C", "M", "NTE", "TCD", "INV"})


def _kept_rows(driver: Driver, message: bytes, results: list[Result], tests: dict[str, str | None]) -> bytes:
    drop = {r.where for r in results if r.code not in tests}
    values = {r.where: (r, value) for r in results if (value := tests.get(r.code)) is not None}
    out: list[bytes] = []
    count: dict[str, int] = {}
    dropped = False
    for row in message.replace(b"\n", b"\r").split(b"\r"):
        name = re.match(rb"[A-Z][A-Z0-9]{0,2}(?=[^0-9A-Za-z])|[A-Z]", row)
        if not row.strip() or name is None:
            continue
        key = name[0].decode()
        count[key] = count.get(key, 0) + 1
        where = f"{key}{count[key]}"
        dropped = where in drop or (dropped and key in _HANGS)
        if dropped:
            continue
        if where in values:
            result, value = values[where]
            row = _value(driver, row, result, value)  # noqa: PLW2901 - the row with its new value
        out.append(row)
    return b"\r".join(out) + b"\r"


def _value(driver: Driver, row: bytes, result: Result, value: str) -> bytes:
    place = next(place for place in driver.where["value"])
    bar = row[3:4] if driver.protocol == "hl7" else row[len(place.row) : len(place.row) + 1]
    fields = row.split(bar)
    at = place.field if driver.protocol == "hl7" else place.field - 1
    if result.value is None or result.value.encode() not in fields[at]:
        raise SimulateError(f"{result.code} has no value in its capture that could be replaced.")
    fields[at] = fields[at].replace(result.value.encode(), value.encode(), 1)
    return bar.join(fields)
