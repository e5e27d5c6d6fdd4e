"""[layout]: how a text without records becomes rows, told by columns, tags, expressions or a table's headers.

    D1210101U9605012359000110123-456-78901M...041  150 042   75     columns, and cells that repeat
    mtrsl|ciA1207|rtTSH|qn2.31 mUI/l|                                tags
    WBC 7.5                                                           expressions with named groups
    Sample ID;Test;Result                                             a table (tables.py makes the grid)

Each result becomes one row ``R`` (a query one row ``Q``) whose fields are the layout's names in order, so that
everything behind it works as for ASTM. Not here: framing (protocols/raw_framing), reading driver.toml
(layout_keys). Pure; linear in the text but for what a driver's own expressions cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from labgateway.instruments.paths import Place
from labgateway.protocols.rows import Delimiters, Row

RESULT_ROW, QUERY_ROW = "R", "Q"
PLAIN = Delimiters("", "\x1e", "\x1f", "", "")
"""Rows of ours: pieces of a flag are repetitions; nothing is escaped."""
MESSAGE_KINDS = ("result", "query", "ignore")
_POINTLESS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Columns:
    """A name and the columns it stands in: first and last, from 1; piece: it is a list of pieces of this width."""

    name: str
    first: int
    last: int
    piece: int = 0

    def of(self, text: str) -> str:
        """What stands there; pieces that are blank are none."""
        found = text[self.first - 1 : self.last]
        if not self.piece:
            return found.strip()
        pieces = (found[at : at + self.piece].strip() for at in range(0, len(found), self.piece))
        return PLAIN.repetition.join(filter(None, pieces))


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of one width behind a column, or behind an expression, to the end or to the first that does not fit."""

    width: int
    columns: tuple[Columns, ...]
    start: int = 1
    after: re.Pattern[str] | None = None
    fits: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """One result whose code the text does not say: where its value and flag stand, or which tag holds it."""

    code: str
    columns: Columns | None = None
    flag: Columns | None = None
    tag: str = ""
    unit: str = ""
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """What texts of one form hold. None of cells, named, each, repeat: the text is one row."""

    when: re.Pattern[str]
    kind: str = "result"
    columns: tuple[Columns, ...] = ()
    cells: Cells | None = None
    named: tuple[Named, ...] = ()
    head: tuple[re.Pattern[str], ...] = ()
    each: re.Pattern[str] | None = None
    repeat: str = ""
    """The tag that begins each result."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A file with a header row. columns: name to the headers it may have; wide: a header that is itself a test."""

    columns: tuple[tuple[str, tuple[str, ...]], ...]
    delimiter: str = ","
    sheet: str = ""
    above: tuple[tuple[str, str], ...] = ()
    """Name to the first cell of a row above the headers; its second cell counts."""
    wide: re.Pattern[str] | None = None
    flag: str = ""
    """Header of a wide column's flag; {code} stands for its code."""
    optional: frozenset[str] = frozenset()
    """Names whose column may be missing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """names: of all that its messages or its table say, in the order of the rows' fields."""

    names: tuple[str, ...]
    messages: tuple[Message, ...] = ()
    tags: tuple[str, ...] = ()
    decimals: tuple[tuple[re.Pattern[str], int], ...] = ()
    """Code to the implied decimals of its value; the first that fits."""
    no_flag: frozenset[str] = frozenset()
    one_text: bool = False
    """Without its framing a file is one text, not one a line."""
    table: TableLayout | None = None

    def place(self, name: str) -> Place | None:
        """Where a name stands in a result row; None when no text says it."""
        return Place(RESULT_ROW, self.names.index(name) + 2) if name in self.names else None


class LayoutError(ValueError):
    """A text fits no form of the layout; says which text by number, never its content."""


def rows_of_texts(layout: Layout, texts: Iterable[str]) -> list[Row]:
    """The rows of a message's texts; each text begins a group of its own. Raises LayoutError."""
    out: list[Row] = []
    rows = 0
    for number, text in enumerate(texts, 1):
        message = next((each for each in layout.messages if each.when.search(text)), None)
        if message is None:
            raise LayoutError(f"text {number} has no form that the driver knows")
        if message.kind != "ignore":
            out.append(Row("H", ("H",), PLAIN, number))
            name = QUERY_ROW if message.kind == "query" else RESULT_ROW
            for said in _said(layout, message, text):
                rows += 1
                out.append(make_row(layout, name, said, rows))
    return out


def make_row(layout: Layout, name: str, said: dict[str, str], number: int) -> Row:
    """A row of what was said: its fields are the layout's names in order."""
    flag = said.get("flag")
    if flag and layout.no_flag:
        kept = (piece for piece in flag.split(PLAIN.repetition) if piece not in layout.no_flag)
        said = {**said, "flag": PLAIN.repetition.join(kept)}
    if layout.decimals and (value := said.get("value")):
        places = next((n for code, n in layout.decimals if code.search(said.get("code", ""))), 0)
        said = {**said, "value": with_point(value, places)}
    return Row(name, (name, *(said.get(each, "") for each in layout.names)), PLAIN, number)


def with_point(digits: str, places: int) -> str:
    """Digits with their implied decimals: 0402 with two is 4.02. What is not digits alone stays as sent."""
    if places <= 0 or not _POINTLESS.fullmatch(digits):
        return digits.lstrip("0") or "0" if _POINTLESS.fullmatch(digits) else digits
    digits = digits.rjust(places + 1, "0")
    return f"{digits[:-places].lstrip('0') or '0'}.{digits[-places:]}"


def _said(layout: Layout, message: Message, text: str) -> Iterator[dict[str, str]]:
    """What each result of a text says, the text's own parts included."""
    common = {column.name: column.of(text) for column in message.columns}
    for pattern in message.head:
        if found := pattern.search(text):
            common |= _groups(found)
    tags = _tags(layout, text) if layout.tags else []
    first_repeat = next((n for n, (tag, _) in enumerate(tags) if tag == message.repeat), len(tags))
    for tag, said in tags[:first_repeat]:
        common.setdefault(tag, said)
    for named in message.named:
        yield common | _named(named, common, text)
    if message.cells:
        yield from (common | cell for cell in _cells(message.cells, text))
    if message.each:
        yield from (common | _groups(found) for found in message.each.finditer(text))
    if message.repeat:
        yield from (common | part for part in _repeated(message.repeat, tags[first_repeat:]))
    if not (message.named or message.cells or message.each or message.repeat):
        yield common


def _groups(found: re.Match[str]) -> dict[str, str]:
    said = {name: said.strip() for name, said in found.groupdict().items() if said is not None}
    if second := said.pop("flag2", ""):
        said["flag"] = PLAIN.repetition.join(filter(None, (said.get("flag", ""), second)))
    return said


def _named(named: Named, common: dict[str, str], text: str) -> dict[str, str]:
    value = named.columns.of(text) if named.columns else common.get(named.tag, "")
    said = {"code": named.code, "value": with_point(value, named.decimals) if named.columns else value}
    if named.flag:
        said["flag"] = named.flag.of(text)
    if named.unit:
        said["unit"] = named.unit
    return said


def _cells(cells: Cells, text: str) -> Iterator[dict[str, str]]:
    at = cells.start - 1
    if cells.after:
        found = cells.after.search(text)
        at = found.end() if found else len(text)
    while at < len(text):
        cell = text[at : at + cells.width]
        at += cells.width
        if cells.fits and not cells.fits.search(cell):
            return
        if cell.strip():
            yield {column.name: column.of(cell) for column in cells.columns}


def _tags(layout: Layout, text: str) -> list[tuple[str, str]]:
    """Tag and text of each field: ``ci1207|rtTSH|``; the tag is two characters. RS begins a line and says nothing."""
    fields = text.replace("\x1e", "").replace("\r", "").replace("\n", "").split("|")
    return [(each[:2], each[2:].strip()) for each in fields if each[:2] in layout.tags]


def _repeated(tag: str, tags: Sequence[tuple[str, str]]) -> Iterator[dict[str, str]]:
    group: dict[str, str] | None = None
    for name, said in tags:
        if name == tag:
            if group:
                yield group
            group = {}
        elif group is not None:
            group.setdefault(name, said)
    if group:
        yield group
