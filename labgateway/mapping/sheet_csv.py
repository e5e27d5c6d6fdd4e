"""Pages of a mapping file as one CSV table, and back.

    kind;code · mã máy gửi;specimen · loại mẫu;emr · mã EMR;…;members;why;value
    test;HGB;;HGB;…
    panel;CBC;…;"WBC; RBC; HGB"
    leave_out;SCAT_WDF;…;scattergram

UTF-8 with a byte order mark, so that Excel opens it right. A text that a spreadsheet would take for a formula (it begins with
= + - @ or a tab) gets a ' in front, which reading takes away again; columns of numbers never do (CWE-1236).
CSV cannot keep a spreadsheet from dropping zeros or making dates: XLSX can.
"""

from __future__ import annotations

import csv
import io

from labgateway.errors import Complaint, ComplaintsError
from labgateway.mapping.sheet import Pages
from labgateway.mapping.sheet_columns import COLUMNS, column_of, header_of, is_note
from labgateway.mapping.sheet_reading import Cell, Row

MAX_BYTES = 4 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_KINDS = {"test": "tests", "panel": "panels", "order": "orders", "leave_out": "leave_out", "file": "file"}
_PLACES = {
    "panels": {"panel": "code", "tests": "members"},
    "orders": {"ordered": "code", "codes": "members"},
    "file": {"key": "code"},
}
"""Where the columns of the other pages stand in the one table."""
_MORE = ("members", "why", "value")
_NUMBERS = {column.key for column in COLUMNS["tests"] if column.kind in ("number", "count")}


def written(pages: Pages, delimiter: str = ";") -> bytes:
    """The table."""
    keys = ["kind", *(column.key for column in COLUMNS["tests"]), *_MORE]
    headers = ["kind · loại", *(header_of(column) for column in COLUMNS["tests"]), *_MORE]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(headers)
    for kind, page in _KINDS.items():
        for row in pages[page]:
            cells = {_PLACES.get(page, {}).get(key, key): text for key, text in row.items()}
            writer.writerow([kind, *(_safe(key, cells.get(key, "")) for key in keys[1:])])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _safe(key: str, text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) and key not in _NUMBERS else text


def _plain(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def read(raw: bytes, name: str) -> dict[str, list[Row]]:
    """The filled rows of each page. Raises ComplaintsError with every mistake of form."""
    wrong: list[Complaint] = []
    grid = _grid(raw, name)
    if not grid:
        raise ComplaintsError([Complaint(name, None, "", "is empty.", _BEGIN)])
    header_line, header = grid[0]
    columns: dict[int, str] = {}
    for number, title in enumerate(header):
        column = column_of("tests", title)
        words = {part.strip().casefold() for part in title.split("·")}
        word = column.key if column else next((key for key in ("kind", *_MORE) if key in words), "")
        if word and word in columns.values():
            wrong.append(Complaint(name, header_line, title, f"{word} is there twice.", "Delete one of the two."))
        elif word:
            columns[number] = word
        elif title.strip() and not is_note(title):
            known = ", ".join(column.key for column in COLUMNS["tests"])
            cure = f"Call it `note` when it is for people only. Known here: {known}."
            wrong.append(Complaint(name, header_line, title, f"{title} is no column of this page.", cure))
    if not {"kind", "code"} <= set(columns.values()):
        raise ComplaintsError(
            [Complaint(name, header_line, "", "has no columns `kind` and `code` in its first line.", _BEGIN)]
        )
    pages: dict[str, list[Row]] = {}
    for line, cells in grid[1:]:
        _row(line, cells, columns, pages, name, wrong)
    if wrong:
        raise ComplaintsError(wrong)
    return pages


_BEGIN = "Begin with `labgateway mapping export`, and keep its headers."


def _row(
    line: int, cells: list[str], columns: dict[int, str], pages: dict[str, list[Row]], name: str, wrong: list[Complaint]
) -> None:
    filled = {
        columns[number]: Cell(text, line, columns[number])
        for number, cell in enumerate(cells)
        if number in columns and (text := (cell.strip() if columns[number] in _NUMBERS else _plain(cell).strip()))
    }
    if not filled:
        return
    extra = [cell for number, cell in enumerate(cells) if cell.strip() and number >= max(columns) + 1]
    if extra and len(cells) > max(columns) + 1:
        wrong.append(
            Complaint(
                name, line, "", "has more cells than the header.", "Put a text that holds the separator in quotes."
            )
        )
        return
    kind = filled.pop("kind", None)
    page = _KINDS.get(kind.text.casefold()) if kind else None
    if page is None:
        cure = f"Write one of: {', '.join(_KINDS)}."
        wrong.append(Complaint(name, line, "kind", "is none of the words that it may be.", cure))
        return
    back = {there: here for here, there in _PLACES.get(page, {}).items()}
    known = {column.key for column in COLUMNS[page]}
    row: dict[str, Cell] = {}
    for key, cell in filled.items():
        own = back.get(key, key)
        if own in known and not (own == key and key in _PLACES.get(page, {})):
            row[own] = cell
        else:
            wrong.append(
                Complaint(
                    name, line, key, f"{key} is no column of a row of kind {kind and kind.text}.", "Empty the cell."
                )
            )
    if row:
        pages.setdefault(page, []).append(row)


def _grid(raw: bytes, name: str) -> list[tuple[int, list[str]]]:
    """The lines that hold something, each with its number in the file."""
    if len(raw) > MAX_BYTES:
        raise ComplaintsError(
            [Complaint(name, None, "", "is larger than a mapping can be.", "Delete what is no mapping.")]
        )
    try:
        text = raw.decode("utf-16") if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        cure = "Save it as CSV UTF-8 in your spreadsheet program."
        raise ComplaintsError([Complaint(name, None, "", "is not UTF-8.", cure)]) from None
    delimiter = ""
    skipped = 0
    if text[:4].casefold() == "sep=":
        first, _, text = text.partition("\n")
        delimiter, skipped = first[4:].strip("\r") or "\t", 1
    first = text.partition("\n")[0]
    delimiter = delimiter if len(delimiter) == 1 else max(";,\t", key=first.count)
    found: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    before = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append((before + 1 + skipped, cells))
            before = reader.line_num
    except csv.Error:
        what = "is no table from here on."
        cure = "Look for a quote that does not end."
        raise ComplaintsError([Complaint(name, before + 1 + skipped, "", what, cure)]) from None
    return found
