"""A transcript without people: names, ids, birth dates and addresses replaced by invented ones of the same form.

    < <STX>1P|1||BN00172||NGUYEN^VAN AN||19720815|M<CR><ETX>7C<CR><LF>
    < <STX>1P|1||QX00938||KWTRDE^SOB UQ||19410326|M<CR><ETX>9B<CR><LF>      as long, checksum right, the same everywhere

What is replaced: the places that the caller names (its driver's [where]), every field of P and PID but the sex, the
fields of orders that the standards have for people; and the same texts wherever else they stand. A damaged frame is
masked as a whole and stays damaged. What is protected (codes, values, units ...) is never changed.

Not here: which places a driver names, and the proof that the results are the same (labgateway/recording.py).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from labgateway.captures.inventing import Choose, Sort, invent
from labgateway.captures.spans import Rebuild, blocks_of
from labgateway.captures.transcripts import Way, Wire
from labgateway.protocols.astm_records import read_delimiters
from labgateway.protocols.raw_framing import Framing
from labgateway.protocols.rows import ASTM, HL7, Delimiters

_SHORTEST = 4
"""Shorter texts are replaced only in their own places; elsewhere they may be anything."""
_RECORD = re.compile(r"[^\r\n\x0b\x1c]+")
_COMMENT_ROWS = frozenset({"C", "NTE"})
_HEADERS = frozenset({"H", "MSH"})
_HEADER_SHORTEST = 6


@dataclass(frozen=True, slots=True)
class Spot:
    """A place of a row, as the standard counts. component None: the whole field."""

    row: str
    field: int
    component: int | None = None
    sort: Sort = Sort.ID

    def meets(self, other: Spot) -> bool:
        """Whether both mean a common part of a row."""
        return (self.row, self.field) == (other.row, other.field) and (
            self.component is None or other.component is None or self.component == other.component
        )


Places = Callable[[bytes], tuple[tuple[Spot, ...], tuple[Spot, ...]]]
"""Of a message, header first: where people stand in it, and what is never changed."""


def _spots(row: str, sort: Sort, *fields: int) -> list[Spot]:
    return [Spot(row, number, None, sort) for number in fields]


STANDARD = {
    "astm": (
        *_spots("P", Sort.ID, 3, 4, 5, 10, 11, 12, 13, *range(15, 36)),
        *_spots("P", Sort.NAME, 6, 7, 14), *_spots("P", Sort.BIRTH, 8),
        *_spots("O", Sort.NAME, 11, 17, 18), *_spots("R", Sort.NAME, 11),
    ),
    "hl7": (
        *_spots("PID", Sort.ID, 2, 3, 4, *range(10, 40)), *_spots("PID", Sort.NAME, 5, 6, 9), *_spots("PID", Sort.BIRTH, 7),
        *(spot for row in ("NK1", "PV1", "PV2", "PD1", "GT1", "IN1") for spot in _spots(row, Sort.NAME, *range(3, 60))),
        *_spots("ORC", Sort.ID, 2, 3, 4), *_spots("ORC", Sort.NAME, 10, 11, 12, 19),
        *_spots("OBR", Sort.ID, 2, 3), *_spots("OBR", Sort.NAME, 10, 16, 17, 28, 32, 33, 34, 35),
        *_spots("SPM", Sort.ID, 2, 3), *_spots("SAC", Sort.ID, 2, 3, 4), *_spots("OBX", Sort.NAME, 16),
        *_spots("QRD", Sort.ID, 8), *_spots("QRF", Sort.ID, 5),
    ),
}  # fmt: skip
"""Where people stand by LIS02-A2 chapters 8 and 9 and HL7 2.5.1 chapters 3, 4 and 7."""
SPECIMENS = {
    "astm": (*_spots("O", Sort.ID, 3, 4), *_spots("Q", Sort.ID, 3, 4)),
    "hl7": (),
}
"""Where specimen ids stand when no driver says it more closely."""
_BCI = re.compile(r"(?:^|[|\x1e])(ci|is|p(?!s)[0-9a-z])([^|\x1d\x1e]+)")
"""bioMérieux: specimen and patient by their two-letter tags; ps is the sex."""
_LINES = re.compile(r"(?<=[\r\n])(SID|PID|ID|BIRTH|PRESC|PATIENT COMMENT|OPERATOR);([^;\r\n]+)")
"""Cell-Dyn Emerald: lines with specimen, patient, physician and user."""
_LINE_SORTS = {"SID": Sort.ID, "PID": Sort.ID, "BIRTH": Sort.BIRTH}


@dataclass(slots=True)
class _Book:
    """Every personal text that was found, and what stands for it."""

    choose: Choose
    keep: frozenset[bytes]
    made: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    words: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    def stands_for(self, text: bytes, sort: Sort) -> bytes:
        """What stands for a text, blanks around it kept."""
        bare = text.strip()
        if not bare or bare in self.keep or bare == b'""':
            return text
        return text.replace(bare, self._of(bare, sort), 1)

    def _of(self, bare: bytes, sort: Sort) -> bytes:
        if bare not in self.made:
            self.made[bare] = self._name(bare) if sort is Sort.NAME else self._new(bare, sort)
        return self.made[bare]

    def _name(self, bare: bytes) -> bytes:
        """A name word by word, so that a part of it elsewhere is the same part."""
        out: list[bytes] = []
        for word in re.split(rb"([ ,.;/]+)", bare):
            if word and re.match(rb"[^ ,.;/]", word):
                if word not in self.words:
                    self.words[word] = self._new(word, Sort.NAME)
                out.append(self.words[word])
            else:
                out.append(word)
        return b"".join(out)

    def _new(self, bare: bytes, sort: Sort) -> bytes:
        used = set(self.made.values()) | set(self.words.values())
        made = invent(bare, sort, self.choose)
        for _ in range(50):
            if made not in used and made not in self.made:
                break
            made = invent(bare, sort, self.choose)
        return made


def scrub(
    wire: Wire,
    protocol: str,
    *,
    places: Places | None = None,
    secrets: Iterable[tuple[bytes, Sort]] = (),
    keep: Iterable[bytes] = (),
    framing: Framing | None = None,
    choose: Choose | None = None,
) -> Wire:
    """The transcript without people.

    places: where else people and specimens stand in a message, and what of it is never changed, as its driver says; None:
    no driver is known, and specimens stand where the standard has them. secrets: texts of people found by other means. keep:
    texts that are no person's, such as the ids of controls. framing: of a raw protocol. choose: for tests.
    """
    book = _Book(choose or random.SystemRandom().choice, frozenset(keep))
    for text, sort in secrets:
        if len(text.strip()) >= _SHORTEST - 1:
            book.stands_for(text, sort)
    sides = [Rebuild(wire, way, blocks_of(wire.sent(way), protocol, framing)) for way in Way]
    work: list[tuple[Rebuild, str, list[_Change]]] = []
    for side in sides:
        text = side.text.decode("latin-1")
        found = list(_rows(text, protocol, places) if protocol in STANDARD else _tags(text))
        for change in found:
            for start, stop, sort in change.personal:
                book.stands_for(text[start:stop].encode("latin-1"), sort)
        work.append((side, text, found))
    everywhere = _pattern(book.made, _SHORTEST)
    for side, text, found in work:
        changed = bytearray(side.text)
        for change in found:
            for start, stop, sort in change.personal:
                changed[start:stop] = book.stands_for(side.text[start:stop], sort)
            for start, stop in change.pictures:
                changed[start:stop] = b"A" * (stop - start)
        _elsewhere(changed, text, found, book, everywhere)
        side.replace(bytes(changed))
    header = tuple((name, _said(said, book, everywhere)) for name, said in wire.header)
    return Wire(header, _woven(wire, {way: side.stream for way, side in zip(Way, sides, strict=True)}))


@dataclass(slots=True)
class _Change:
    """One record: where it stands, what of it is personal, what must stay, what is a picture. All as offsets."""

    start: int
    stop: int
    row: str
    personal: list[tuple[int, int, Sort]] = field(default_factory=list[tuple[int, int, Sort]])
    guarded: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    pictures: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def _wanted(protocol: str, places: Places | None, message: str) -> tuple[list[Spot], tuple[Spot, ...]]:
    """Where people stand in this message, and what is protected; what a driver names counts more than a standard."""
    if places is None:
        return [*SPECIMENS[protocol], *STANDARD[protocol]], ()
    named, guarded = places(message.encode("latin-1"))
    return [*named, *(s for s in STANDARD[protocol] if not any(s.meets(other) for other in guarded))], guarded


_HEADER = {"astm": re.compile(r"(?:^|(?<=[\r\n]))H[^0-9A-Za-z\s]"), "hl7": re.compile(r"(?:^|(?<=[\r\n\x0b]))MSH")}


def _rows(text: str, protocol: str, places: Places | None) -> Iterator[_Change]:
    hl7 = protocol == "hl7"
    delimiters = HL7 if hl7 else ASTM
    headers = [found.start() for found in _HEADER[protocol].finditer(text)]
    begins = dict(pairwise([*headers, len(text)]))
    wanted, guarded = _wanted(protocol, places, "")
    for found in _RECORD.finditer(text):
        record = found[0]
        if found.start() in begins:
            wanted, guarded = _wanted(protocol, places, text[found.start() : begins[found.start()]])
        if not hl7 and re.match(r"H[^0-9A-Za-z\s]", record):
            delimiters = read_delimiters(record)
        elif hl7 and record.startswith("MSH") and len(record) > 8:
            delimiters = Delimiters(record[3], record[5], record[4], record[6], record[7])
        quiet = _quiet(record, delimiters)
        name = quiet.split(delimiters.field, 1)[0].strip()
        change = _Change(found.start(), found.end(), name)
        for spot in wanted:
            if spot.row == name:
                change.personal += [
                    (found.start() + a, found.start() + b, spot.sort)
                    for start, stop in _parts(quiet, delimiters, spot, hl7=hl7)
                    for a, b in _tokens(quiet, start, stop, delimiters)
                ]
        for spot in guarded:
            if spot.row == name:
                change.guarded += [
                    (found.start() + a, found.start() + b) for a, b in _parts(quiet, delimiters, spot, hl7=hl7)
                ]
        if hl7 and name == "OBX" and quiet.split(delimiters.field)[2:3] == ["ED"]:
            for start, stop in _parts(quiet, delimiters, Spot("OBX", 5, 5), hl7=True):
                change.pictures.append((found.start() + start, found.start() + stop))
        yield change


def _quiet(record: str, d: Delimiters) -> str:
    """The record, with delimiters between two escape characters (``&|&``) out of the way; as long as before."""
    if not d.escape or record.count(d.escape) < 2 or record[:1] in "H" or record.startswith("MSH"):
        return record
    inner = re.escape(d.field + d.component + d.repetition)
    e = re.escape(d.escape)
    return re.sub(f"{e}[{inner}]{e}", "\x00\x00\x00", record)


def _parts(record: str, d: Delimiters, spot: Spot, *, hl7: bool) -> list[tuple[int, int]]:
    """Where a place stands in a record: of each repetition its component."""
    at = spot.field if hl7 else spot.field - 1
    if hl7 and spot.row == "MSH":
        at -= 1
    start = 0
    for _ in range(at):
        start = record.find(d.field, start) + 1
        if not start:
            return []
    stop = record.find(d.field, start)
    stop = len(record) if stop < 0 else stop
    if spot.component is None:
        return [(start, stop)] if stop > start else []
    found: list[tuple[int, int]] = []
    for one in _split(record, start, stop, d.repetition):
        parts = _split(record, *one, d.component)
        if spot.component <= len(parts):
            found.append(parts[spot.component - 1])
    return [(a, b) for a, b in found if b > a]


def _tokens(record: str, start: int, stop: int, d: Delimiters) -> list[tuple[int, int]]:
    found = [(start, stop)]
    for delimiter in (d.repetition, d.component, d.subcomponent):
        if delimiter:
            found = [part for a, b in found for part in _split(record, a, b, delimiter)]
    return [(a, b) for a, b in found if record[a:b].strip()]


def _split(record: str, start: int, stop: int, delimiter: str) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    at = start
    while delimiter and (end := record.find(delimiter, at, stop)) >= 0:
        out.append((at, end))
        at = end + 1
    return [*out, (at, stop)]


def _tags(text: str) -> Iterator[_Change]:
    """The whole of a raw text is one record; of bioMérieux's and the Emerald's the places of people are known."""
    change = _Change(0, len(text), "")
    for found in _BCI.finditer(text):
        sort = {"pn": Sort.NAME, "pb": Sort.BIRTH}.get(found[1], Sort.ID)
        change.personal.append((*found.span(2), sort))
    for found in _LINES.finditer(text):
        change.personal.append((*found.span(2), _LINE_SORTS.get(found[1], Sort.NAME)))
    yield change


def _pattern(made: Iterable[bytes], shortest: int) -> re.Pattern[bytes] | None:
    words = sorted((text for text in made if len(text) >= shortest), key=len, reverse=True)
    return re.compile(b"|".join(re.escape(word) for word in words)) if words else None


def _elsewhere(
    changed: bytearray, text: str, found: list[_Change], book: _Book, everywhere: re.Pattern[bytes] | None
) -> None:
    """The same texts where nobody expects them: in comments, in ids that were made of them."""
    before = text.encode("latin-1")
    words = _pattern(book.words, 2)
    for change in found:
        done = [*change.guarded, *((a, b) for a, b, _ in change.personal)]

        def free(start: int, stop: int, done: list[tuple[int, int]] = done) -> bool:
            return all(stop <= a or start >= b for a, b in done)

        if everywhere:
            for hit in everywhere.finditer(before, change.start, change.stop):
                long_enough = change.row not in _HEADERS or len(hit[0]) >= _HEADER_SHORTEST
                if long_enough and free(*hit.span()):
                    changed[hit.start() : hit.end()] = book.made[hit[0]]
                    done.append(hit.span())
        if words and change.row in _COMMENT_ROWS:
            for hit in words.finditer(before, change.start, change.stop):
                around = before[hit.start() - 1 : hit.start()] + before[hit.end() : hit.end() + 1]
                if free(*hit.span()) and not any(chr(byte).isalnum() or byte >= 0x80 for byte in around):
                    changed[hit.start() : hit.end()] = book.words[hit[0]]


def _said(text: str, book: _Book, everywhere: re.Pattern[bytes] | None) -> str:
    if not everywhere:
        return text
    return everywhere.sub(lambda hit: book.made[hit[0]], text.encode()).decode("utf-8", "replace")


def _woven(wire: Wire, streams: dict[Way, bytes]) -> tuple[tuple[Way, bytes], ...]:
    """The lines of the transcript again: each as long as it was."""
    at = dict.fromkeys(Way, 0)
    out: list[tuple[Way, bytes]] = []
    for way, data in wire.lines:
        out.append((way, streams[way][at[way] : at[way] + len(data)]))
        at[way] += len(data)
    return tuple(out)
