"""A mapping file through a spreadsheet: nothing changes unless a person changes it, and what a spreadsheet spoils is said."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from labgateway.errors import ComplaintsError, LabgatewayError
from labgateway.mapping import holding, sheet_csv, sheet_xlsx, table
from labgateway.mapping.sheet import joined, pages_of, split
from labgateway.mapping.sheet_columns import COLUMNS
from labgateway.mapping.sheet_reading import dropped, entered
from labgateway.mapping.table import parse
from labgateway.mapping.writing import with_entered

SAMPLES = sorted((Path(__file__).parents[2] / "mappings").glob("*.toml"))
FILE = b"""\
# The XN in room 3
instrument = "xn1"
checked    = "nobody"

[tests]                          # as on the screen
WBC = { emr = "WBC", unit = "10*9/L", times = 1.0, sane = [0, 5e2] }   # as it is set
HGB = { emr = "HGB", loinc = "718-7", unit = "g/L", times = 10, comes = "g/dL" }
"007" = { emr = "GLU" }
GLU = [ { specimen = "urine", emr = "UGLU", decimals = 1 }, { emr = ["GLU", "GLU, 2H"] } ]  # two kinds
# the end of the tests

[panels]
CBC = ["WBC", "HGB"]

[orders]
NOTHING = []

[leave_out]
"=SUM(A1)" = "-1 is no reason"
"""


def through_xlsx(raw: bytes, edit: Callable[[Any], None] = lambda _: None) -> bytes:
    book = load_workbook(io.BytesIO(sheet_xlsx.written(pages_of(raw, "m"), "m")))
    edit(book)
    out = io.BytesIO()
    book.save(out)
    return with_entered(raw, entered(sheet_xlsx.read(out.getvalue(), "x.xlsx"), "x.xlsx"), "xn1")


def through_csv(raw: bytes, edit: Callable[[str], str] = lambda text: text, delimiter: str = ";") -> bytes:
    text = edit(sheet_csv.written(pages_of(raw, "m"), delimiter).decode())
    return with_entered(raw, entered(sheet_csv.read(text.encode(), "x.csv"), "x.csv"), "xn1")


def complaints(edit: Callable[[Any], None]) -> list[tuple[str, str]]:
    with pytest.raises(ComplaintsError) as caught:
        through_xlsx(FILE, edit)
    assert all(one.cure for one in caught.value.complaints)
    return [(one.key, one.what) for one in caught.value.complaints]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_comes_back_letter_by_letter(path: Path) -> None:
    raw = path.read_bytes()
    assert through_xlsx(raw) == raw
    assert through_csv(raw) == through_csv(raw, delimiter=",") == raw


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=12).map(
    str.strip
)
words = words.filter(lambda text: bool(text) and text != "?")
awkward = st.sampled_from(
    [
        "=1+1",
        "+3",
        "-5",
        "@x",
        "'",
        "'=1",
        "1-2",
        "007",
        "1.10",
        "a;b",
        'q"q',
        '"',
        "a, b",
        "-",
        "x\ny",
        "yes",
        "TRUE",
        "§",
    ]
)
names = words | awkward
numbers = st.decimals(Decimal("0.0001"), 10_000, places=4)


@st.composite
def lines(draw: st.DrawFn) -> dict[str, Any]:
    line: dict[str, Any] = {"emr": draw(names | st.lists(names, min_size=1, max_size=3, unique=True))}
    for key in ("name", "loinc", "comes", "moh"):
        if draw(st.booleans()):
            line[key] = draw(names)
    if draw(st.booleans()):
        line |= {"unit": draw(names), "times": draw(numbers)}
    if draw(st.booleans()):
        line["decimals"] = draw(st.integers(0, 10))
    if draw(st.booleans()):
        line["sane"] = draw(st.lists(numbers | st.integers(-9, 9), min_size=2, max_size=2))
    if draw(st.booleans()):
        line["decimal_comma"] = draw(st.booleans())
    if draw(st.booleans()):
        line["rerun"] = draw(st.sampled_from(("hold", "last")))
    return line


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Any valid mapping file, with a comment behind every line."""
    codes = draw(st.lists(names, max_size=6, unique=True))
    tests: dict[str, str] = {}
    for code in codes:
        types = draw(st.lists(st.sampled_from(("urine", "serum", "CSF")), max_size=2, unique=True))
        found = [{"specimen": one} | draw(lines()) for one in types]
        if not found or draw(st.booleans()):
            found.append(draw(lines()))
        tests[code] = _value(found[0] if len(found) == 1 else found)
    panels = draw(st.dictionaries(names, st.lists(names, min_size=1, max_size=4, unique=True), max_size=3))
    orders = draw(st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=2))
    out = draw(st.dictionaries(names.filter(lambda code: code not in codes), names, max_size=3))
    text = "# top\n" + draw(st.sampled_from(("", "decimal_comma = true\n", 'instrument = "xn1"\n')))
    for name, entries in (
        ("tests", tests),
        ("panels", {code: _value(value) for code, value in panels.items()}),
        ("orders", {code: _value(value) for code, value in orders.items()}),
        ("leave_out", {code: _value(value) for code, value in out.items()}),
    ):
        if entries or draw(st.booleans()):
            text += f"\n[{name}]  # {name}\n"
            text += "".join(f"{tomlkit.string(c).as_string()} = {value}  # c\n" for c, value in entries.items())
    return text.encode()


def _value(value: Any) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {_value(part)}" for key, part in value.items()) + " }"
        case list():
            return "[ " + ", ".join(_value(part) for part in value) + " ]"
        case bool():
            return str(value).lower()
        case str():
            return tomlkit.string(value).as_string()
        case _:
            return str(value)


def is_whole(raw: bytes) -> bool:
    mapping, found = parse(raw, "m")
    return mapping is not None and not found


@settings(max_examples=60, deadline=None)
@given(files().filter(is_whole))
def test_what_nobody_edits_does_not_change(raw: bytes) -> None:
    assert through_csv(raw) == raw
    assert through_csv(raw, delimiter=",") == raw
    assert through_xlsx(raw) == raw


@settings(max_examples=60, deadline=None)
@given(files().filter(is_whole), files().filter(is_whole))
def test_any_file_becomes_any_other(old: bytes, new: bytes) -> None:
    """Whatever a person makes of a sheet stands in the file, and only that; comments of lines that stay, stay."""
    said = entered(sheet_csv.read(sheet_csv.written(pages_of(new, "m")), "x"), "x")
    written = with_entered(old, said, "xn1")
    got, found = parse(written, "m")
    want, _ = parse(new, "m")
    assert not found
    assert got is not None
    assert want is not None
    assert pages_of(written, "m") | {"file": []} == _sorted(pages_of(new, "m"), written)
    assert b"# top\n" in written


def _sorted(pages: dict[str, list[dict[str, str]]], written: bytes) -> dict[str, list[dict[str, str]]]:
    """The pages with the rows in the order that the written file has them (the old codes stand first)."""
    have = pages_of(written, "m")
    result: dict[str, list[dict[str, str]]] = {"file": []}
    for page, columns in COLUMNS.items():
        if page != "file":
            order = list(dict.fromkeys(row[columns[0].key] for row in have[page]))
            result[page] = sorted(pages[page], key=lambda row: order.index(row[columns[0].key]))
    return result


def test_only_what_is_edited_changes() -> None:
    def edit(book: Any) -> None:
        tests = book["tests"]
        assert [cell.value.split(" · ")[0] for cell in tests[1]] == [column.key for column in COLUMNS["tests"]]
        tests["H3"] = "0,1"  # HGB times
        tests["C6"] = "GLU; GLU2H"
        tests.append(["NA", None, "NA", "Natri", "2951-2", None, "mmol/L", "1"])
        book["leave_out"].append(["=cmd", "=why"])
        for typed in book["leave_out"][3]:
            typed.data_type = "s"  # as a spreadsheet keeps what is typed into a text cell

    expected = FILE.replace(b"times = 10,", b"times = 0.1,")
    expected = expected.replace(b'{ emr = ["GLU", "GLU, 2H"] }', b'{ emr = ["GLU", "GLU2H"] }')
    written = through_xlsx(FILE, edit).decode()
    for line in expected.decode().splitlines():
        assert line in written.splitlines(), line
    assert 'NA = { emr = "NA", name = "Natri", loinc = "2951-2", unit = "mmol/L", times = 1 }' in written
    assert '"=cmd" = "=why"' in written
    assert parse(written.encode(), "m")[1] == []


def test_a_deleted_row_is_a_deleted_line() -> None:
    written = through_csv(
        FILE, lambda t: "".join(line for line in t.splitlines(True) if not line.startswith("test;HGB"))
    )
    assert written == FILE.replace(FILE.splitlines(keepends=True)[6], b"")


def test_no_cell_begins_a_formula() -> None:
    """RELIABILITY X6: text stays text in both forms; numbers are not touched."""
    raw = FILE.replace(b"sane = [0, 5e2]", b"sane = [-1.5, 500]")
    book = load_workbook(io.BytesIO(sheet_xlsx.written(pages_of(raw, "m"), "m")))
    for sheet in book.worksheets:
        for row in sheet.iter_rows():
            assert {cell.data_type for cell in row} <= {"s", "inlineStr", "n"}  # n: empty
            assert all(cell.number_format == "@" for cell in row if cell.value is not None)
    text = sheet_csv.written(pages_of(raw, "m")).decode("utf-8-sig")
    assert ";'=SUM(A1);" in text
    assert ";'-1 is no reason" in text
    assert ";-1.5;500;" in text


def test_a_sheet_explains_itself() -> None:
    book = load_workbook(io.BytesIO(sheet_xlsx.written(pages_of(FILE, "m"), "m")))
    assert book.sheetnames == [*COLUMNS, "help"]
    assert book["tests"].freeze_panes == "B2"
    assert {d.formula1 for d in book["tests"].data_validations.dataValidation} >= {'"hold,last"', '"yes,no"'}
    told = {str(cell.value) for row in book["help"].iter_rows() for cell in row}
    for columns in COLUMNS.values():
        for column in columns:
            assert {column.help_en, column.help_vi} <= told


def test_every_word_of_a_line_has_a_column() -> None:
    """But for the rules that hold, which stay in the file whatever a spreadsheet says."""
    columns = {column.key for column in COLUMNS["tests"]} - {"code", "lowest", "highest"} | {"sane"}
    assert columns == set(table._KEYS) - set(holding.KEYS)


def cell(sheet: str, place: str, value: Any) -> Callable[[Any], None]:
    def edit(book: Any) -> None:
        book[sheet][place] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "key", "what"),
    [
        (
            cell("tests", "A4", date(2026, 2, 1)),
            "tests!A4",
            "is a date; a spreadsheet makes dates of codes such as 1-2.",
        ),
        (cell("tests", "A4", 7), "tests!A4", "is a number (7); a spreadsheet drops zeros of numbers."),
        (cell("tests", "C4", 1.1), "tests!C4", "is a number (1.1); a spreadsheet drops zeros of numbers."),
        (cell("tests", "H3", "=1/18"), "tests!H3", "is a formula."),
        (cell("tests", "C3", "=A3"), "tests!C3", "is a formula."),
        (cell("tests", "H3", "#N/A"), "tests!H3", "is an error of the spreadsheet."),
        (cell("tests", "H3", "1,000"), "tests!H3", "1,000 may be 1.000 or 1000."),
        (cell("tests", "H3", "1.000,5"), "tests!H3", "must be a number."),
        (cell("tests", "H3", "ten"), "tests!H3", "must be a number."),
        (cell("tests", "H3", "Infinity"), "tests!H3", "must be a number."),
        (cell("tests", "I3", "1.5"), "tests!I3", "must be a whole number."),
        (cell("tests", "J3", "5"), "tests!J3", "stands without its other end."),
        (cell("tests", "L3", "newest"), "tests!L3", "is none of the words that it may be."),
        (cell("tests", "C3", "A, B"), "tests!C3", "can be one name or several."),
        (cell("tests", "A3", None), "tests!C3", "stands in a row without `code`."),
        (cell("tests", "P1", "Extra"), "tests!P1", "Extra is no column of this page."),
        (cell("tests", "P1", "emr"), "tests!P1", "emr is there twice."),
        (cell("tests", "P3", "lost"), "tests!P3", "stands in a column without a header."),
        (cell("tests", "A1", "Codes"), "tests", "has no header row with `code · mã máy gửi`."),
        (cell("tests", "A30000", "x"), "tests", "goes down to row 30000."),
        (cell("panels", "B2", None), "panels!A2", "has nothing in the column `tests`."),
        (cell("panels", "A3", "CBC"), "panels!A3", "CBC has a row already."),
        (cell("leave_out", "B2", None), "leave_out!A2", "needs a reason."),
        (lambda book: book["tests"].merge_cells("C3:C4"), "tests!C3", "is merged with other cells."),
        (lambda book: book.remove(book["tests"]), "", "has no page `tests`."),
    ],
)
def test_what_a_spreadsheet_spoils_is_said(edit: Callable[[Any], None], key: str, what: str) -> None:
    found = complaints(edit)
    assert found[0][1] == what or (key, what) in found
    assert key in [one for one, _ in found]


def test_all_mistakes_come_at_once() -> None:
    def edit(book: Any) -> None:
        book["tests"]["H3"], book["tests"]["I2"], book["leave_out"]["B2"] = "ten", "x", None

    assert len(complaints(edit)) == 3


def test_numbers_and_harmless_things_are_taken() -> None:
    """Numbers as floats, empty rows, a title above, columns in another order, a column of notes, words in Vietnamese."""

    def edit(book: Any) -> None:
        tests = book["tests"]
        tests["H3"], tests["I3"], tests["J3"], tests["K3"], tests["M3"] = 0.1 + 0.2, 2, "0,5", 300.0, "không"
        tests.insert_rows(1)
        tests["A1"] = "Phòng 3"
        tests.insert_rows(4)
        tests.move_range("N1:N9", cols=5)
        tests["N2"], tests["N3"] = "Ghi chú", "ask Hoa"

    line = parse(through_xlsx(FILE, edit), "m")[0]
    assert line is not None
    (hgb,) = line.tests["HGB"]
    assert (hgb.times, hgb.decimals, hgb.sane) == (Decimal("0.3"), 2, (Decimal("0.5"), Decimal(300)))
    assert not hgb.decimal_comma


def test_traps_are_refused() -> None:
    for raw in (
        b"PK\x03\x04nonsense",
        _packed("xl/big.xml", b"0" * (30 << 20)),
        _packed("x.xml", b"<!DOCTYPE a>"),
        b"",
    ):
        with pytest.raises(ComplaintsError):
            sheet_xlsx.read(raw, "x")
    for raw in (
        b"",
        b"code;emr\n",
        b"kind;code\n\xff;",
        b'kind;code\ntest;"x',
        b"x" * (5 << 20),
        b"kind;code\nfoo;x\n",
    ):
        with pytest.raises(ComplaintsError):
            sheet_csv.read(raw, "x")


def _packed(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, data)
    return out.getvalue()


def test_a_far_away_cell_costs_nothing() -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "tests"
    sheet["A1"], sheet["A2"], sheet["C1"], sheet["C2"] = "code", "WBC", "emr", "WBC"
    sheet["XFD9"].number_format = "@"
    out = io.BytesIO()
    book.save(out)
    said = entered(sheet_xlsx.read(out.getvalue(), "x"), "x")
    assert said.tests == {"WBC": [{"emr": "WBC"}]}
    assert with_entered(None, said, "new").startswith(b'instrument = "new"')


def test_csv_as_excel_writes_it() -> None:
    """With sep=, as UTF-16 with tabs, with a decimal comma."""
    text = "kind\tcode\temr\tunit\ttimes\ntest\tGLU\tGLU\tmmol/L\t0,0555\n"
    for raw in (text.encode("utf-16"), ("sep=;\r\n" + text.replace("\t", ";")).encode(), text.encode("utf-8-sig")):
        said = entered(sheet_csv.read(raw, "x"), "x")
        assert said.tests["GLU"][0]["times"] == Decimal("0.0555")
    with pytest.raises(ComplaintsError) as caught:
        sheet_csv.read("kind;code;emr\ntest;Đ;x".encode("cp1258"), "x")
    assert caught.value.complaints[0].what == "is not UTF-8."


def test_lost_zeros_are_noticed() -> None:
    """A CSV that went through a spreadsheet: 007 came back as 7."""
    said = entered(sheet_csv.read(b"kind;code;emr\ntest;7;GLU\n", "x"), "x")
    (one,) = dropped({"tests": {"007": {}}}, {"tests": {"7": {}}}, said)
    assert (one.line, one.what) == (2, "7 is new and 007 is gone; a spreadsheet drops zeros of numbers.")


@given(st.lists(names, max_size=5))
def test_names_of_one_cell(several: list[str]) -> None:
    assert split(joined(several)) == several


def test_what_no_cell_can_hold_is_refused() -> None:
    for bad in ("\\u0007", "_x0041_", "a\\rb"):
        raw = f'[tests]\nA = {{ emr = "{bad}" }}\n'.encode()
        with pytest.raises(ComplaintsError):
            sheet_xlsx.written(pages_of(raw, "m"), "m")
        assert through_csv(raw) == raw
    with pytest.raises(ComplaintsError):
        pages_of(b'[leave_out]\n" A" = "blank"\n', "m")


def test_other_layouts_of_the_file() -> None:
    """Tests as tables of their own, dotted keys: kept where they stay, made a line where they change."""
    raw = b'[tests.WBC]\nemr = "WBC"  # a\n[tests.HGB]\nemr = "HGB"  # b\n'
    assert through_csv(raw) == raw
    said = entered(sheet_csv.read(b"kind;code;emr\ntest;WBC;W\ntest;HGB;HGB\n", "x"), "x")
    written = with_entered(raw, said, "")
    assert b'WBC = { emr = "W" }' in written
    assert b'emr = "HGB"  # b' in written


def test_undecided_lines_travel() -> None:
    """A draft with `emr = "?"` is what a spreadsheet is for."""
    raw = b'[tests]\nWBC = { emr = "?", unit = "10*9/L", times = 1 }\n'
    assert through_xlsx(raw) == raw
    with pytest.raises(ComplaintsError):
        pages_of(b'[tests]\nWBC = { emr = "" }\n', "m")


def test_keys_of_later_versions_stay() -> None:
    """What the sheet has no column for is not lost. (Only table.py knows such keys; here by its own list.)"""
    assert set(table._TOP) >= {"tests", "panels", "orders", "leave_out", "instrument", "checked", "decimal_comma"}
    with pytest.raises(LabgatewayError):
        pages_of(b"nonsense", "m")
