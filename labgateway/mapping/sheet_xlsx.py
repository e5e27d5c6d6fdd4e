"""Pages of a mapping file as an XLSX workbook, and back. Uses openpyxl.

Every cell is a text cell in a column formatted as text: nothing turns into a date, loses a zero, or begins a formula (CWE-1236).
What comes back is read with all doubts: a number, date, formula, error or merged cell is told apart from a text.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import date, time, timedelta
from typing import Any

from labgateway.errors import Complaint, ComplaintsError
from labgateway.mapping.sheet import Pages
from labgateway.mapping.sheet_columns import COLUMNS, HELP, Column, column_of, header_of, is_note
from labgateway.mapping.sheet_reading import Cell, Row

MAX_BYTES = 4 << 20
MAX_UNPACKED = 24 << 20
"""A mapping file of 2,000 lines has 2 MB unpacked; a workbook that unpacks to more is none, or a trap."""
MAX_ROWS = 20_000
_MAX_COLUMNS = 60
_HEADER_WITHIN = 10
"""Rows above the header, for a title that somebody put there."""
_MAX_CELL = 32_000
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_x[0-9A-Fa-f]{4}_")
"""What no cell can hold: XML has no control characters, and spreadsheets read ``_x0041_`` as a letter."""
_BLANK_ROWS = 300
"""Rows below the last one for which a list of choices is offered."""


def written(pages: Pages, name: str) -> bytes:
    """The workbook. Raises ComplaintsError when a text cannot stand in a cell (as CSV it can)."""
    from openpyxl import Workbook

    if wrong := list(_not_portable(pages, name)):
        raise ComplaintsError(wrong)
    book = Workbook()
    book.remove(book.worksheets[0])
    for page, columns in COLUMNS.items():
        _page(book.create_sheet(page), columns, pages[page])
    _help(book.create_sheet("help"))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _not_portable(pages: Pages, name: str) -> Iterator[Complaint]:
    for page, rows in pages.items():
        for row in rows:
            for key, text in row.items():
                if _FORBIDDEN.search(text) or len(text) > _MAX_CELL:
                    what = "holds a character that no spreadsheet can, or is too long for a cell."
                    place = f"{page}.{next(iter(row.values()))}.{key}"
                    yield Complaint(name, None, place, what, "Export to CSV instead.")


def _page(sheet: Any, columns: tuple[Column, ...], rows: list[dict[str, str]]) -> None:
    from openpyxl.styles import Alignment, Font, PatternFill
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    for number, column in enumerate(columns, 1):
        letter = get_column_letter(number)
        sheet.column_dimensions[letter].width = column.width + 2
        sheet.column_dimensions[letter].number_format = "@"
        cell = _text(sheet, 1, number, header_of(column))
        cell.font, cell.alignment = Font(bold=True), Alignment(wrap_text=True, vertical="top")
        cell.fill = PatternFill("solid", fgColor="DDEBF7")
        if column.choices:
            choice: Any = DataValidation(type="list", formula1=f'"{",".join(column.choices)}"', allow_blank=True)
            choice.error = f"{', '.join(column.choices)}"
            sheet.add_data_validation(choice)
            choice.add(f"{letter}2:{letter}{len(rows) + _BLANK_ROWS}")
    for line, row in enumerate(rows, 2):
        for number, column in enumerate(columns, 1):
            if column.key in row:
                _text(sheet, line, number, row[column.key])
    sheet.freeze_panes = "B2"


def _text(sheet: Any, row: int, column: int, text: str) -> Any:
    """A cell that is text whatever it begins with."""
    cell = sheet.cell(row, column)
    cell.value = text
    cell.data_type = "s"
    cell.number_format = "@"
    cell.quotePrefix = True
    return cell


def _help(sheet: Any) -> None:
    from openpyxl.styles import Alignment, Font

    line = 1
    for texts in HELP:
        for text in texts:
            _text(sheet, line, 1, text).alignment = Alignment(wrap_text=True, vertical="top")
            sheet.merge_cells(start_row=line, start_column=1, end_row=line, end_column=4)
            sheet.row_dimensions[line].height = 32
            line += 1
    line += 1
    for page, columns in COLUMNS.items():
        for column in columns:
            for number, text in enumerate((page, header_of(column), column.help_en, column.help_vi), 1):
                cell = _text(sheet, line, number, text)
                cell.alignment = Alignment(wrap_text=True, vertical="top")
                if number <= 2:
                    cell.font = Font(bold=True)
            line += 1
    for letter, width in zip("ABCD", (12, 28, 60, 60), strict=True):
        sheet.column_dimensions[letter].width = width


def read(raw: bytes, name: str) -> dict[str, list[Row]]:
    """The filled rows of each page. Raises ComplaintsError with every mistake of form."""
    book = _opened(raw, name)
    sheets = {sheet.title.strip().casefold(): sheet for sheet in book.worksheets}
    if "tests" not in sheets:
        what = "has no page `tests`."
        raise ComplaintsError(
            [Complaint(name, None, "", what, "Begin with `labgateway mapping export`, and keep its pages.")]
        )
    pages: dict[str, list[Row]] = {}
    wrong: list[Complaint] = []
    for page in COLUMNS:
        if page in sheets:
            pages[page] = _rows(sheets[page], page, name, wrong)
    if wrong:
        raise ComplaintsError(wrong)
    return pages


def _opened(raw: bytes, name: str) -> Any:
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as packed:
            parts = packed.infolist()
            if len(raw) > MAX_BYTES or len(parts) > 500 or sum(part.file_size for part in parts) > MAX_UNPACKED:
                raise _unusable(
                    name, "is larger than a mapping can be.", "Delete what is no mapping: pictures, other pages."
                )
            for part in parts:
                if part.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in packed.read(part)[:2000].upper():
                    raise _unusable(name, "is no ordinary workbook.", _SAVE_AGAIN)
        return load_workbook(io.BytesIO(raw))
    except ComplaintsError:
        raise
    except Exception:  # a damaged workbook fails in as many ways as it has parts
        raise _unusable(name, "cannot be read as a workbook.", _SAVE_AGAIN) from None


_SAVE_AGAIN = "Open it in your spreadsheet program and save it as .xlsx again."


def _unusable(name: str, what: str, cure: str) -> ComplaintsError:
    return ComplaintsError([Complaint(name, None, "", what, cure)])


def _rows(sheet: Any, page: str, name: str, wrong: list[Complaint]) -> list[Row]:
    if sheet.max_row > MAX_ROWS:
        what = f"goes down to row {sheet.max_row}."
        wrong.append(Complaint(name, None, page, what, "Delete the empty rows below the last test."))
        return []
    merged = _merged(sheet)
    grid = [
        [_cell(cell, page, merged) for cell in row]
        for row in sheet.iter_rows(max_row=sheet.max_row, max_col=min(sheet.max_column, _MAX_COLUMNS))
    ]
    return rows_of_grid(grid, page, name, wrong)


def rows_of_grid(grid: list[list[Cell]], page: str, name: str, wrong: list[Complaint]) -> list[Row]:
    """The filled rows below the header. Complaints are appended."""
    first = COLUMNS[page][0]
    fitting = (n for n, row in enumerate(grid[:_HEADER_WITHIN]) if any(column_of(page, c.text) is first for c in row))
    at = next(fitting, None)
    if at is None:
        if any(cell.text for row in grid for cell in row):
            what = f"has no header row with `{header_of(first)}`."
            wrong.append(
                Complaint(name, None, page, what, "Begin with `labgateway mapping export`, and keep its headers.")
            )
        return []
    header = grid[at]
    columns: dict[int, Column] = {}
    for number, cell in enumerate(header):
        column = column_of(page, cell.text)
        if column is not None and column in columns.values():
            wrong.append(
                Complaint(name, cell.line, cell.place, f"{column.key} is there twice.", "Delete one of the two.")
            )
        elif column is not None:
            columns[number] = column
        elif cell.text and not is_note(cell.text):
            known = ", ".join(column.key for column in COLUMNS[page])
            cure = f"Call it `note` when it is for people only. Known here: {known}."
            wrong.append(Complaint(name, cell.line, cell.place, f"{cell.text} is no column of this page.", cure))
    found: list[Row] = []
    for row in grid[at + 1 :]:
        for number, cell in enumerate(row):
            if cell.text and number not in columns and not (number < len(header) and header[number].text):
                what = "stands in a column without a header."
                wrong.append(Complaint(name, cell.line, cell.place, what, "Move it, or call the column `note`."))
        filled = {
            column.key: row[number] for number, column in columns.items() if number < len(row) and row[number].text
        }
        if filled:
            found.append(filled)
    return found


def _merged(sheet: Any) -> set[str]:
    """Every cell of a merged range, by its name; ranges of any size, only what could hold a row of ours."""
    found: set[str] = set()
    for area in sheet.merged_cells.ranges:
        for row in range(area.min_row, min(area.max_row, MAX_ROWS) + 1):
            for column in range(area.min_col, min(area.max_col, _MAX_COLUMNS) + 1):
                found.add(f"{row},{column}")
            if len(found) > 100_000:
                return found
    return found


def _cell(cell: Any, page: str, merged: set[str]) -> Cell:
    place = f"{page}!{cell.coordinate}"
    if f"{cell.row},{cell.column}" in merged and cell.row > 1:
        return Cell("merged", None, place, "merged")
    match cell.value:
        case None:
            return Cell("", None, place)
        case bool() as value:
            return Cell("yes" if value else "no", None, place)
        case int() as value:
            return Cell(str(value), None, place, "number")
        case float() as value:
            return Cell(format(value, ".15g"), None, place, "number")
        case date() | time() | timedelta():
            return Cell("date", None, place, "date")
        case _:
            text = str(cell.value).strip()
            doubt = {"f": "formula", "e": "error"}.get(cell.data_type, "")
            return Cell(text, None, place, doubt)
