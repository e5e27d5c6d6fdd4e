"""A line recorded as a transcript, and a transcript without people that proves itself.

    bytes as they come, either way --Recorder--> readable lines --> *.wire
    transcript --without_people--> the same results of invented people, or a refusal that says why

Where people stand is the driver's [where]; without a driver it is what the standards say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from labgateway.captures import Way, Wire, open_capture, write_wire
from labgateway.captures.inventing import Choose, Sort
from labgateway.captures.scrub import Places, Spot, scrub
from labgateway.errors import LabgatewayError
from labgateway.instruments.decode import decode, rows_of
from labgateway.instruments.encode_raw import persons
from labgateway.instruments.paths import Place, holds
from labgateway.instruments.plan import first_rows
from labgateway.instruments.queries import questions
from labgateway.instruments.spec import Driver
from labgateway.instruments.text import encode
from labgateway.model import Decoded, Kind, Result
from labgateway.protocols.raw_framing import FRAMINGS

PERSONAL = {
    "specimen": Sort.ID,
    "patient": Sort.ID,
    "patient_name": Sort.NAME,
    "birth_date": Sort.BIRTH,
    "operator": Sort.NAME,
}
"""Names of [where] that are of people."""
_FREE = ("comment",)
_LONGEST_LINE = 4096
_VT, _CR, _FS = 0x0B, 0x0D, 0x1C
_LINE_ENDS = frozenset(b"\x04\x05\x06\x15\n")


class ScrubError(LabgatewayError):
    """The people cannot be taken out of a transcript; the text says why and what to do, and quotes nothing."""


@dataclass(slots=True)
class Recorder:
    """Gathers bytes into lines of a transcript.

    A line ends behind LF, behind ENQ, ACK, NAK or EOT, behind a segment of HL7, and when the other side speaks.
    """

    _way: Way = Way.FROM
    _open: bytearray = field(default_factory=bytearray)
    _block: bool = False
    """Inside an HL7 block."""

    def feed(self, way: Way, data: bytes) -> Iterator[tuple[Way, bytes]]:
        """Bytes that went this way; the lines that are complete."""
        if way is not self._way:
            yield from self.rest()
            self._way = way
        for byte in data:
            self._open.append(byte)
            ends = byte in _LINE_ENDS
            if byte == _VT:
                self._block = True
            elif byte == _FS:
                self._block = False
            elif byte == _CR:
                ends = self._block or (len(self._open) > 1 and self._open[-2] == _FS)
            if ends or len(self._open) >= _LONGEST_LINE:
                yield from self.rest()

    def rest(self) -> Iterator[tuple[Way, bytes]]:
        """What is open, as a line."""
        if self._open:
            line = bytes(self._open)
            self._open.clear()
            yield self._way, line


def line_text(way: Way, data: bytes) -> str:
    """One line of a transcript as it is written, with its line end."""
    return write_wire(Wire((), ((way, data),))).decode()


def without_people(wire: Wire, driver: Driver | None, *, choose: Choose | None = None) -> Wire:
    """The transcript without people. With a driver it is proven to decode to the same values.

    Raises ScrubError when it would not, when a value holds a person's text, or when nothing is known of its form.
    """
    messages = _messages(wire, driver)
    if not any(messages.values()):
        raise ScrubError("It holds no readable message, so nothing says where people stand in it. Nothing was written.")
    protocol = driver.protocol if driver else _protocol(messages[Way.FROM] or messages[Way.TO])
    if driver is None and not protocol:
        raise ScrubError("It is neither ASTM nor HL7: name its driver with --driver. Nothing was written.")
    if driver is None:
        return scrub(wire, protocol, choose=choose)
    said = [decode(driver, message) for message in messages[Way.FROM]]
    made = scrub(
        wire,
        protocol,
        places=_places(driver),
        secrets=(*_secrets(driver, said), *_told(driver, messages[Way.TO])) if driver.layout else (),
        keep=_kept(driver, said, messages[Way.FROM]),
        framing=FRAMINGS.get(protocol),
        choose=choose,
    )
    _prove(driver, said, made)
    return made


def _messages(wire: Wire, driver: Driver | None) -> dict[Way, list[bytes]]:
    protocol = driver.protocol if driver else None
    return {way: open_capture(wire.sent(way), protocol=protocol).messages for way in Way}


def _protocol(messages: list[bytes]) -> str:
    first = messages[0].lstrip(b"\x0b\r\n ") if messages else b""
    return "hl7" if first[:3] == b"MSH" else "astm" if first[:1] == b"H" else ""


def _of(place: Place, sort: Sort = Sort.ID) -> Spot:
    return Spot(place.row, place.field, place.component, sort)


def _places(driver: Driver) -> Places | None:
    """Where people stand in a message of this driver, by the [[variant]] that it is."""
    if driver.layout:
        return None
    asked = [_of(place) for place in (*driver.query.specimen, *driver.query.until)]
    if driver.orders:
        asked.append(_of(driver.orders.specimen))
        asked += [_of(place, PERSONAL[name]) for name, place in driver.orders.places.items() if name in PERSONAL]

    def places(message: bytes) -> tuple[tuple[Spot, ...], tuple[Spot, ...]]:
        where = _where(driver, message)
        mine = [_of(place, PERSONAL[name]) for name, found in where.items() if name in PERSONAL for place in found]
        guarded = [
            _of(place)
            for name, found in where.items()
            if name not in PERSONAL and name not in _FREE
            for place in found
        ]  # fmt: skip
        asked_here = [spot for spot in asked if not any(spot.meets(other) for other in guarded)]
        return (*mine, *asked_here), tuple(guarded)

    return places


def _where(driver: Driver, message: bytes) -> dict[str, tuple[Place, ...]]:
    if driver.variants:
        rows, _, _ = rows_of(driver, message.strip(b"\x0b\x1c\r\n") + b"\r")
        at = first_rows(rows)
        for variant in driver.variants:
            if any(holds(condition, at) for condition in variant.when):
                return {**driver.where, **variant.where}
    return dict(driver.where)


def _kept(driver: Driver, said: Iterable[Decoded], messages: Iterable[bytes]) -> set[bytes]:
    """Ids that are nobody's: of controls, of barcodes that could not be read, and words such as ALL."""
    found: set[str] = set()
    for decoded in said:
        for result in decoded.results:
            if result.specimen and (
                result.kind in (Kind.CONTROL, Kind.CALIBRATION)
                or any(pattern.search(result.specimen) for pattern in driver.words.unreadable)
            ):
                found.add(result.specimen)
    for message in messages:
        for question in questions(driver, message):
            found |= question.unreadable
            if question.everything:
                found |= {"ALL", "all", *question.specimens}
    return {_encoded(driver, text) for text in found}


def _secrets(driver: Driver, said: Iterable[Decoded]) -> Iterator[tuple[bytes, Sort]]:
    for decoded in said:
        for result in decoded.results:
            for name, sort in PERSONAL.items():
                if text := getattr(result, name):
                    yield _encoded(driver, text), sort


def _told(driver: Driver, messages: Iterable[bytes]) -> Iterator[tuple[bytes, Sort]]:
    """Whose orders an instrument with a raw framing was told."""
    for message in messages:
        for person in persons(driver, message):
            yield from ((text.encode("latin-1"), Sort.ID) for text in person if text)


def _encoded(driver: Driver, text: str) -> bytes:
    return encode(text, driver.line.encoding or "utf-8")


def _values(result: Result) -> tuple[object, ...]:
    return (
        result.kind, result.code, result.value, result.unit, result.flags, result.status, result.measured_at, result.range,
        result.specimen_type, result.problem.reason if result.problem else None,
    )  # fmt: skip


def _prove(driver: Driver, before: list[Decoded], made: Wire) -> None:
    """The same results as before, one invented specimen for each real one."""
    after = [decode(driver, message) for message in _messages(made, driver)[Way.FROM]]
    old = [result for decoded in before for result in decoded.results]
    new = [result for decoded in after for result in decoded.results]
    if [_values(result) for result in old] != [_values(result) for result in new]:
        raise ScrubError(
            "Without its people it would not decode to the same values (an id stands in a value, or a condition of the "
            "driver looks at it). Nothing was written; replace them by hand."
        )
    pairs = {(a.specimen, b.specimen) for a, b in zip(old, new, strict=True)}
    if len({a for a, _ in pairs}) != len(pairs) or len({b for _, b in pairs}) != len(pairs):
        raise ScrubError("Two specimens would become one. Nothing was written; try again.")
    whole = made.sent() + made.sent(Way.TO)
    kept = _kept(driver, before, ())
    for secret, sort in _secrets(driver, before):
        if len(secret) >= 6 and sort is not Sort.BIRTH and secret not in kept and secret in whole:
            raise ScrubError(
                "A value, or a picture, holds the text of a person, and values are not changed. Nothing was written; "
                "take that result out by hand."
            )
