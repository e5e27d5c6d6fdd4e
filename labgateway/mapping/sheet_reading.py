"""Pages of a spreadsheet that a person edited, read as what shall stand in the mapping file.

Nothing is taken for right that a spreadsheet may have changed: a number in a text column may have lost its zeros, a
date was a code such as 1-2, `1,000` may be one or a thousand. Each is a complaint that names its cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from labgateway.errors import Complaint, ComplaintsError
from labgateway.mapping.sheet import NOTHING, Values, split
from labgateway.mapping.sheet_columns import COLUMNS, Column


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell, outer blanks stripped.

    line: in a text file, from 1; None in a workbook. place: how a person finds it, such as ``tests!C5``. doubt: why the
    text may not be what was typed: number, date, formula, error, merged; "" for none.
    """

    text: str
    line: int | None
    place: str
    doubt: str = ""


Row = Mapping[str, Cell]
"""The filled cells of a row by column key."""


@dataclass(slots=True)
class Entered:
    """What pages say shall stand in a mapping file.

    version: of the file that was exported, "" when the pages do not say. decimal_comma: None: nothing is said at the
    top. places: key path in the file, joined by points, to the cell that says it.
    """

    instrument: str = ""
    version: str = ""
    decimal_comma: bool | None = None
    tests: dict[str, list[Values]] = field(default_factory=dict[str, list[Values]])
    panels: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    orders: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    leave_out: dict[str, str] = field(default_factory=dict[str, str])
    places: dict[str, Cell] = field(default_factory=dict[str, Cell])


def entered(pages: Mapping[str, list[Row]], file: str) -> Entered:
    """What pages say. Raises ComplaintsError with every mistake, each with its cell."""
    reading = _Reading(file)
    for row in pages.get("tests", ()):
        reading.test(row)
    for row in pages.get("panels", ()):
        reading.names(row, "panels", reading.said.panels)
    for row in pages.get("orders", ()):
        reading.names(row, "orders", reading.said.orders)
    for row in pages.get("leave_out", ()):
        reading.leave_out(row)
    for row in pages.get("file", ()):
        reading.top(row)
    if reading.complaints:
        raise ComplaintsError(reading.complaints)
    return reading.said


class _Reading:
    """One pass over the pages of one spreadsheet."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.said = Entered()
        self.complaints: list[Complaint] = []

    def wrong(self, cell: Cell, what: str, cure: str) -> None:
        self.complaints.append(Complaint(self.file, cell.line, cell.place, what, cure))

    def code(self, row: Row, column: Column) -> str:
        """The code that a row is about; "" after complaining."""
        cell = row.get(column.key)
        if cell is None:
            some = next(iter(row.values()))
            cure = f"Write it in the column `{column.key}`, or empty the whole row."
            self.wrong(some, f"stands in a row without `{column.key}`.", cure)
            return ""
        return self.text(cell)

    def text(self, cell: Cell) -> str:
        """What a text column says; "" after complaining."""
        match cell.doubt:
            case "":
                return cell.text
            case "number":
                cure = "Format the cell as Text, then type it again with all its zeros."
                self.wrong(cell, f"is a number ({cell.text}); a spreadsheet drops zeros of numbers.", cure)
            case _:
                self.doubtful(cell)
        return ""

    def doubtful(self, cell: Cell) -> None:
        match cell.doubt:
            case "date":
                cure = "Format the cell as Text, then type it again."
                self.wrong(cell, "is a date; a spreadsheet makes dates of codes such as 1-2.", cure)
            case "formula":
                self.wrong(cell, "is a formula.", "Type what it says instead, or paste it as a value.")
            case "merged":
                cure = "Take the cells apart and write the value into each row it is for."
                self.wrong(cell, "is merged with other cells.", cure)
            case _:
                self.wrong(cell, "is an error of the spreadsheet.", "Type what is meant.")

    def test(self, row: Row) -> None:
        columns = {column.key: column for column in COLUMNS["tests"]}
        code = self.code(row, columns["code"])
        if not code:
            return
        lines = self.said.tests.setdefault(code, [])
        where = f"tests.{code}" if not lines else f"tests.{code}.{len(lines)}"
        self.said.places.setdefault(f"tests.{code}", row["code"])
        self.said.places[where] = row["code"]
        line: Values = {}
        for key, cell in row.items():
            if key in ("code", "lowest", "highest"):
                continue
            value = self.value(columns[key], cell)
            if value is not None:
                line[key] = value
            self.said.places[f"{where}.{key}"] = cell
            self.said.places.setdefault(f"tests.{code}.{key}", cell)
        if "lowest" in row or "highest" in row:
            self.sane(row, line)
            cell = row.get("lowest") or row["highest"]
            self.said.places[f"{where}.sane"] = cell
        lines.append(line)

    def value(self, column: Column, cell: Cell) -> Any:
        """What a cell says as the file will; None after complaining."""
        match column.kind:
            case "text":
                return self.text(cell) or None
            case "names":
                return self.cell_names(cell)
            case "number":
                return self.number(cell)
            case "count":
                number = self.number(cell)
                if number is None:
                    return None
                if number != number.to_integral_value():
                    self.wrong(
                        cell, "must be a whole number.", "Write how many digits stand behind the point, 0 to 10."
                    )
                    return None
                return int(number)
            case _:
                return self.choice(column, cell)

    def cell_names(self, cell: Cell) -> Any:
        text = self.text(cell)
        if not text:
            return None
        names = split(text)
        if not names:
            cure = 'Write ; between several names; a name that holds a comma stands in quotes: "A, B".'
            self.wrong(cell, "can be one name or several.", cure)
            return None
        return names[0] if len(names) == 1 else names

    def number(self, cell: Cell) -> Decimal | None:
        """An exact number; a decimal comma is read as such, unless it could part thousands."""
        if cell.doubt not in ("", "number"):
            self.doubtful(cell)
            return None
        text = cell.text
        if cell.doubt == "" and _THOUSANDS.fullmatch(text):
            whole, _, rest = text.partition(",")
            self.wrong(
                cell, f"{text} may be {whole}.{rest} or {whole}{rest}.", "Write it with a point, or without the comma."
            )
            return None
        if cell.doubt == "" and not _NUMBER.fullmatch(text):
            self.wrong(
                cell, "must be a number.", "Write digits with one point or comma, such as 0.0555; no unit, no blanks."
            )
            return None
        try:
            return Decimal(text.replace(",", "."))
        except InvalidOperation:
            self.wrong(
                cell, "must be a number.", "Write digits with one point or comma, such as 0.0555; no unit, no blanks."
            )
            return None

    def choice(self, column: Column, cell: Cell) -> Any:
        if cell.doubt not in ("", "number"):
            self.doubtful(cell)
            return None
        text = cell.text.casefold()
        if column.kind == "yes_no":
            if text in _YES:
                return _YES[text]
        elif text in column.choices:
            return text
        self.wrong(cell, "is none of the words that it may be.", f"Write one of: {', '.join(column.choices)}.")
        return None

    def sane(self, row: Row, line: Values) -> None:
        ends = [row.get("lowest"), row.get("highest")]
        numbers = [None if cell is None else self.number(cell) for cell in ends]
        for cell, other in zip(ends, reversed(ends), strict=True):
            if cell is None and other is not None:
                self.wrong(other, "stands without its other end.", "Fill both `lowest` and `highest`, or neither.")
        if None not in numbers:
            line["sane"] = numbers

    def names(self, row: Row, page: str, found: dict[str, list[str]]) -> None:
        """A row of panels or orders: a name, and names in one cell."""
        first, second = COLUMNS[page]
        code = self.code(row, first)
        if not code:
            return
        cell = row.get(second.key)
        where = f"{page}.{code}"
        self.said.places[where] = cell or row[first.key]
        if code in found:
            self.wrong(row[first.key], f"{code} has a row already.", "Put both into one row.")
        elif cell is None:
            hint = " Write - when the instrument is never asked for it." if page == "orders" else ""
            self.wrong(
                row[first.key], f"has nothing in the column `{second.key}`.", f"Fill it, or empty the row.{hint}"
            )
        elif page == "orders" and cell.text == NOTHING:
            found[code] = []
        elif (value := self.cell_names(cell)) is not None:
            found[code] = [value] if isinstance(value, str) else value

    def leave_out(self, row: Row) -> None:
        code = self.code(row, COLUMNS["leave_out"][0])
        if not code:
            return
        cell = row.get("why")
        self.said.places[f"leave_out.{code}"] = cell or row["code"]
        if code in self.said.leave_out:
            self.wrong(row["code"], f"{code} has a row already.", "Put both into one row.")
        elif cell is None:
            self.wrong(row["code"], "needs a reason.", "Write in the column `why` why it stops here.")
        else:
            self.said.leave_out[code] = self.text(cell)

    def top(self, row: Row) -> None:
        key, cell = row.get("key"), row.get("value")
        if key is None or cell is None:
            return
        match key.text:
            case "instrument":
                self.said.instrument = self.text(cell)
            case "version":
                self.said.version = cell.text
            case "decimal_comma":
                column = next(column for column in COLUMNS["tests"] if column.key == "decimal_comma")
                self.said.decimal_comma = self.choice(column, cell)
            case _:
                pass


def dropped(old: dict[str, Any], new: dict[str, Any], said: Entered) -> list[Complaint]:
    """Codes that a spreadsheet surely changed: 7 is new and 007 is gone. old, new: data of the files."""
    before, after = ({*data.get("tests", {}), *data.get("leave_out", {})} for data in (old, new))
    gone = {_without_zeros(code): code for code in before - after}
    found: list[Complaint] = []
    for code in sorted(after - before):
        if (twin := gone.get(_without_zeros(code))) is not None:
            cell = said.places.get(f"tests.{code}") or said.places[f"leave_out.{code}"]
            what = f"{code} is new and {twin} is gone; a spreadsheet drops zeros of numbers."
            found.append(Complaint("", cell.line, cell.place, what, f"Type {twin} again, in a cell formatted as Text."))
    return found


def _without_zeros(code: str) -> str:
    bare = code.lstrip("0")
    return (bare.rstrip("0").rstrip(".") if "." in bare else bare) or "0"


_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)")


_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


_YES = {"yes": True, "true": True, "x": True, "có": True, "no": False, "false": False, "không": False}
