"""Files with a header row (CSV, text with tabs, XLSX, the XLS of before 2007) to rows.

Numbers of a spreadsheet become the shortest text that means them (28.34, 1250). Not here: which column means
what (the driver's [layout]).
"""

from __future__ import annotations

import csv
import importlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from labgateway.instruments.layout import PLAIN, RESULT_ROW, Layout, LayoutError, TableLayout, make_row
from labgateway.protocols.rows import Row

Grid = Sequence[Sequence[str]]
MAX_CELLS = 1_000_000
MAX_SHEET_BYTES = 64 << 20
"""Unpacked; an instrument's export has some hundred kB."""
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_ZIP = b"PK\x03\x04"


def is_workbook(data: bytes) -> bool:
    """Whether the bytes are a spreadsheet, old or new, and no text."""
    return data.startswith((_OLD_EXCEL, _ZIP))


def workbook(data: bytes, sheet: str = "") -> Grid:
    """The cells of a sheet as text; sheet "": the first. Raises LayoutError."""
    if data.startswith(_OLD_EXCEL):
        return _old_workbook(data, sheet)
    from openpyxl import load_workbook  # here: it costs 100 ms that only workbooks need

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_SHEET_BYTES:
                raise LayoutError("the workbook is larger than an export of an instrument can be")
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        if sheet and sheet not in book.sheetnames:
            raise LayoutError("the workbook has no sheet of the declared name")
        found = book[sheet] if sheet else book.worksheets[0]
        grid: list[list[str]] = []
        cells = 0
        for row in found.iter_rows(values_only=True):
            cells += len(row)
            if cells > MAX_CELLS:
                raise LayoutError("the sheet is larger than an export of an instrument can be")
            grid.append([_text(cell) for cell in row])
    except LayoutError:
        raise
    except Exception as error:  # a damaged workbook fails in as many ways as it has parts
        raise LayoutError("the workbook is damaged") from error
    return grid


def _old_workbook(data: bytes, sheet: str) -> Grid:
    """As `workbook`, for the binary form of Excel 97 to 2003."""
    xlrd: Any = importlib.import_module("xlrd")  # here: only old workbooks need it; it has no types
    try:
        book = xlrd.open_workbook(file_contents=data, on_demand=True, ragged_rows=True, logfile=io.StringIO())
        if sheet and sheet not in book.sheet_names():
            raise LayoutError("the workbook has no sheet of the declared name")
        found = book.sheet_by_name(sheet) if sheet else book.sheet_by_index(0)
        grid: list[list[str]] = []
        cells = 0
        for number in range(found.nrows):
            row = found.row(number)
            cells += len(row)
            if cells > MAX_CELLS:
                raise LayoutError("the sheet is larger than an export of an instrument can be")
            grid.append([_text(_old_value(xlrd, cell, book.datemode)) for cell in row])
    except LayoutError:
        raise
    except Exception as error:  # as above
        raise LayoutError("the workbook is damaged") from error
    return grid


def _old_value(xlrd: Any, cell: Any, datemode: int) -> object:
    match cell.ctype:
        case xlrd.XL_CELL_DATE:
            return xlrd.xldate.xldate_as_datetime(cell.value, datemode)
        case xlrd.XL_CELL_BOOLEAN:
            return bool(cell.value)
        case xlrd.XL_CELL_ERROR:
            return xlrd.error_text_from_code.get(cell.value, "#ERROR")
        case _:
            return cell.value


def _text(cell: object) -> str:
    match cell:
        case None:
            return ""
        case datetime():
            return cell.isoformat(sep=" ", timespec="seconds")
        case float() if cell.is_integer() and abs(cell) < 1e15:
            return str(int(cell))
        case _:
            return str(cell).strip()


def delimited(text: str, delimiter: str) -> Grid:
    """The cells of a CSV text. Raises LayoutError."""
    try:
        rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter)
        return [[cell.strip() for cell in row] for row in rows]
    except csv.Error:
        raise LayoutError("the text is no table") from None


def rows_of_grid(layout: Layout, grid: Grid) -> list[Row]:
    """The rows of a table; each of its lines is a group of its own. Raises LayoutError when no line is the header."""
    table = layout.table
    if table is None:
        raise LayoutError("the driver describes no table")
    at, where = _header(table, grid)
    above = {name: _beside(grid[:at], first) for name, first in table.above}
    wide = _wide(table, grid[at])
    headers = {title: n for n, title in reversed(list(enumerate(grid[at])))}
    out: list[Row] = []
    rows = 0
    for number, line in enumerate(grid[at + 1 :], at + 2):
        if not any(line):
            continue
        common = above | {name: _cell(line, column) for name, column in where.items()}
        out.append(Row("H", ("H",), PLAIN, number))
        if table.wide is None:
            rows += 1
            out.append(make_row(layout, RESULT_ROW, common, rows))
        for column, said in wide:
            value = _cell(line, column)
            flag = _cell(line, headers.get(table.flag.replace("{code}", said["code"]))) if table.flag else ""
            if value or flag:
                rows += 1
                out.append(make_row(layout, RESULT_ROW, {**common, **said, "value": value, "flag": flag}, rows))
    return out


def _header(table: TableLayout, grid: Grid) -> tuple[int, dict[str, int | None]]:
    """Which line is the header, and the column of each name: the first line that has all that are not optional."""
    for number, line in enumerate(grid):
        titles = {title.casefold(): n for n, title in reversed(list(enumerate(line))) if title}
        where = {name: _first(titles, texts) for name, texts in table.columns}
        if all(column is not None or name in table.optional for name, column in where.items()):
            return number, where
    raise LayoutError("no line has the headers that the driver names")


def _first(titles: dict[str, int], texts: Iterable[str]) -> int | None:
    return next((titles[text.casefold()] for text in texts if text.casefold() in titles), None)


def _wide(table: TableLayout, header: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    if table.wide is None:
        return []
    return [
        (n, {name: said.strip() for name, said in found.groupdict().items() if said})
        for n, title in enumerate(header)
        if (found := table.wide.search(title)) and found.groupdict().get("code")
    ]


def _cell(line: Sequence[str], column: int | None) -> str:
    return line[column] if column is not None and column < len(line) else ""


def _beside(lines: Grid, first: str) -> str:
    """The second cell of the line whose first cell is this; empty when there is none."""
    return next((line[1] for line in lines if len(line) > 1 and line[0].casefold() == first.casefold()), "")
