"""Whose message is this? Exactly one driver must say that it knows the sender; else nobody does.

Only for files and for learning: a line of the gateway has its driver from config.toml.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from labgateway.instruments import text
from labgateway.instruments.library import Library
from labgateway.instruments.paths import holds
from labgateway.instruments.plan import first_rows
from labgateway.instruments.spec import Driver
from labgateway.protocols import astm_frames, astm_records, hl7
from labgateway.protocols.rows import Row


def recognise(message: bytes, library: Library) -> Driver | None:
    """The only driver of the library whose [recognise] fits; None when none or several do."""
    found = candidates(message, library)
    return found[0] if len(found) == 1 else None


def candidates(message: bytes, library: Library) -> tuple[Driver, ...]:
    """Every driver whose protocol and [recognise] fit the message."""
    protocol, rows = header_rows(message)
    return tuple(
        driver for driver in library.drivers.values() if driver.protocol == protocol and knows_sender(driver, rows)
    )


def header_rows(message: bytes) -> tuple[str, Sequence[Row]]:
    """The protocol a message is in ("" when it is none of ours) and its rows, read without any driver."""
    if re.search(rb"(?:\A|[\r\n\x0b\x1c\s])MSH[^0-9A-Za-z\s]", message):
        rows = hl7.read(message).rows
        return ("hl7", rows) if rows else ("", ())
    records = b"".join(astm_frames.unframe(message).messages)
    if not records:
        header = re.search(rb"(?:\A|[\x02\r\n])[0-7]?(H[^0-9A-Za-z\s][^\r\n\x03\x17]*)", message)
        records = header[1] if header else b""
    rows = astm_records.read_records(text.guess(records)[0])
    return ("astm", rows) if rows else ("", ())


def knows_sender(driver: Driver, rows: Sequence[Row]) -> bool:
    """Whether [recognise] fits: the sender must match whole, and one of the conditions must hold if there are any.

    The sender is H-5.1 or the whole of H-5 in ASTM; in HL7 MSH-3.1, the whole of MSH-3, or MSH-3.1 and MSH-4.1
    with ^ between them.
    """
    rules = driver.recognise
    if not rows or (rules.sender is None and not rules.when):
        return False
    if rules.sender is not None and not any(rules.sender.fullmatch(name) for name in senders(rows)):
        return False
    at = first_rows(rows)
    return not rules.when or any(holds(condition, at) for condition in rules.when)


def senders(rows: Sequence[Row]) -> tuple[str, ...]:
    """The names by which a message calls its sender."""
    header = rows[0]
    if header.name == "MSH":
        name, facility = header.value(3, 1).strip(), header.value(4, 1).strip()
        return (name, f"{name}^{facility}", header.value(3).strip())
    return (header.value(5, 1).strip(), header.value(5).strip()) if header.name == "H" else ("",)
