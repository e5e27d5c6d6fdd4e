"""[layout]: texts and tables to rows, and what is refused rather than read askew."""

from __future__ import annotations

import io
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.errors import ComplaintsError, Reason
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import Driver, load
from labgateway.instruments.layout import with_point
from labgateway.model import Kind

HEAD = 'schema = 1\ntitle = "T"\nmaker = "M"\ncodes = "open"\nsources = ["s"]\n'
COLUMNS = (
    HEAD
    + """protocol = "stx_etx"
[layout]
no_flag = "0"
decimals = [{ code = '1$', places = 1 }]
[[layout.message]]
when    = '^D'
columns = { id = [2, 6], level = [7, 8] }
cells   = { from = 9, width = 8, columns = { code = [1, 2], value = [3, 6], flag = [7, 8, 1] } }
[[layout.message]]
when    = '^Q'
is      = "query"
columns = { id = [2, 6] }
[where]
specimen = "id"
code     = "code"
value    = "value"
flag     = "flag"
[control]
when = { level = '^L' }
[query]
specimen = "id"
"""
)
TABLE = (
    HEAD
    + """protocol = "table"
[layout]
delimiter = ";"
columns   = { id = ["Sample", "Probe"], note = "Note" }
optional  = ["note"]
above     = { device = "Device" }
wide      = '^(?P<code>[A-Z]+)(?: \\[(?P<unit>.*)\\])?$'
flag      = "{code} flag"
[where]
specimen = "id"
code     = "code"
value    = "value"
unit     = "unit"
flag     = "flag"
serial   = "device"
comment  = "note"
"""
)


def driver(tmp_path: Path, text: str) -> Driver:
    """A driver of this text."""
    (tmp_path / "driver.toml").write_text(text)
    return load(tmp_path)


def test_columns_cells_flags_and_implied_decimals(tmp_path: Path) -> None:
    """Cells repeat; flags are cut in pieces; decimals follow the code; a blank cell is none."""
    said = decode(driver(tmp_path, COLUMNS), b"\x02DA12    01 102H*02 0070         \x03")
    assert [(r.specimen, r.code, r.value, r.flags) for r in said.results] == [
        ("A12", "01", "10.2", ("H", "*")),
        ("A12", "02", "7", ()),
    ]


def test_a_condition_may_name_a_part_of_the_layout(tmp_path: Path) -> None:
    """A name that [where] does not place, though it could, is the layout's."""
    said = decode(driver(tmp_path, COLUMNS), b"\x02DA12  L201 102  \x03\x02DA13    01 102  \x03")
    assert [r.kind for r in said.results] == [Kind.CONTROL, Kind.PATIENT]


def test_a_query_is_a_query(tmp_path: Path) -> None:
    """Its specimen is asked for, and nothing is a result."""
    said = decode(driver(tmp_path, COLUMNS), b"\x02QB77  \x03")
    assert [(r.kind, r.specimen) for r in said.results] == [(Kind.QUERY, "B77")]


def test_a_text_of_no_known_form_is_refused(tmp_path: Path) -> None:
    """It is said which one, never what it held, and nothing of the message is used."""
    said = decode(driver(tmp_path, COLUMNS), b"\x02DA12    01 102  \x03\x02Xsecret\x03")
    assert said.results == ()
    assert said.problem is not None
    assert said.problem.reason is Reason.UNREADABLE
    assert "text 2" in said.problem.detail
    assert "secret" not in said.problem.detail


def test_the_same_text_has_a_place_of_its_own_for_each_result(tmp_path: Path) -> None:
    """`where` tells the results of a message apart."""
    said = decode(driver(tmp_path, COLUMNS), b"\x02DA12    01 102  02 103  \x03\x02DA13    01 104  \x03")
    assert len({r.where for r in said.results}) == 3


@given(digits=st.from_regex(r"[0-9]{1,6}", fullmatch=True), places=st.integers(1, 3))
def test_implied_decimals_keep_the_number(digits: str, places: int) -> None:
    """The value is the digits divided by ten to the places, with exactly so many decimals."""
    said = with_point(digits, places)
    assert round(float(said) * 10**places) == int(digits)
    assert len(said.partition(".")[2]) == places


@pytest.mark.parametrize("text", ["***", "", "----", "1.2", "<12", "+++", "12H"])
def test_what_is_not_digits_alone_gets_no_point(text: str) -> None:
    """It stays as sent."""
    assert with_point(text, 2) == text


def test_a_table_with_a_preamble_and_wide_columns(tmp_path: Path) -> None:
    """The header is found by its names; unit and flag come with the column; an empty cell is no result."""
    text = b"Device;SN7\r\n\r\nprobe;NA [mmol/l];NA flag;K [mmol/l];Note\r\nA1;141;H;;checked\r\n;;;;\r\nA2;;;4,1;\r\n"
    said = decode(driver(tmp_path, TABLE), text)
    assert [(r.specimen, r.code, r.value, r.unit, r.flags, r.serial, r.comments) for r in said.results] == [
        ("A1", "NA", "141", "mmol/l", ("H",), "SN7", ("checked",)),
        ("A2", "K", "4,1", "mmol/l", (), "SN7", ()),
    ]


def test_a_workbook_says_the_same_as_its_csv(tmp_path: Path) -> None:
    """Numbers become the shortest text that means them."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["Sample", "NA [mmol/l]", "K"], ["A1", 141.0, 4.25], ["A2", None, "4.1"]):
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    said = decode(driver(tmp_path, TABLE), out.getvalue())
    assert [(r.specimen, r.code, r.value) for r in said.results] == [
        ("A1", "NA", "141"),
        ("A1", "K", "4.25"),
        ("A2", "K", "4.1"),
    ]


def test_an_old_workbook_says_the_same(tmp_path: Path) -> None:
    """XLS of Excel 97: numbers, text, an empty cell and a date as in XLSX; a cut or changed file is refused, not read."""
    old = (Path(__file__).parent / "old.xls").read_bytes()
    said = decode(driver(tmp_path, TABLE), old)
    assert [(r.specimen, r.code, r.value, r.comments) for r in said.results] == [
        ("A1", "NA", "141", ("2026-11-03 10:20:30",)),
        ("A1", "K", "4.25", ("2026-11-03 10:20:30",)),
        ("A2", "K", "4.1", ()),
    ]
    for cut in (600, len(old) // 2):
        assert decode(driver(tmp_path, TABLE), old[:cut]).problem is not None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "damaged"),
        (b"PK\x03\x04broken", "damaged"),
        (b"a;b\r\n1;2\r\n", "no line has the headers"),
        (b"Sample;NA\r\n" + b"x" * 200_000 + b";1", "no table"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    """With a reason that a person understands."""
    said = decode(driver(tmp_path, TABLE), data)
    assert said.problem is not None
    assert said.problem.reason is Reason.UNREADABLE
    assert why in said.problem.detail


@given(data=st.binary(max_size=200))
def test_no_input_is_a_defect(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever comes, it is read or refused."""
    folder = tmp_path_factory.mktemp("d")
    for text in (COLUMNS, TABLE):
        said = decode(driver(folder, text), data)
        assert said.problem is None or said.problem.reason is not Reason.DEFECT


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (COLUMNS.replace("id = [2, 6], level", "id = [6, 2], level"), "layout.message.1.columns.id"),
        (COLUMNS.replace('specimen = "id"\ncode', 'specimen = "R-3"\ncode'), "where.specimen"),
        (COLUMNS.replace("when    = '^D'", "when    = '^D('"), "layout.message.1.when"),
        (COLUMNS.replace("width = 8", "wide = 8"), "layout.message.1.cells.wide"),
        (HEAD + 'protocol = "bci"\n[where]\nspecimen = "ci"\ncode = "rt"\nvalue = "qn"\n', "layout"),
        (TABLE.replace('delimiter = ";"', 'delimiter = ";;"'), "layout.delimiter"),
    ],
)
def test_a_mistake_is_said_with_its_key(tmp_path: Path, wrong: str, key: str) -> None:
    """Columns the wrong way, a path in place of a name, an expression that is none, a key that is none."""
    with pytest.raises(ComplaintsError) as raised:
        driver(tmp_path, wrong)
    assert key in [complaint.key for complaint in raised.value.complaints]
