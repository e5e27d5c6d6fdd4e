"""Orders as a table: every column, every complaint by line and column, and whatever else stands in a file."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.model import Action, Priority
from labgateway.orders.table import COLUMNS, TableRow, read_table


def rows(text: str | bytes) -> list[TableRow]:
    found = read_table(text if isinstance(text, bytes) else text.encode(), "files", "Asia/Ho_Chi_Minh")
    assert not isinstance(found, str), found
    return found


def test_every_column() -> None:
    head = ",".join(COLUMNS)
    (row,) = rows(
        f"{head}\nO-1,S1,CBC,BN001,NGUYỄN,VĂN AN,1972-08-15,m,2026-11-22 08:00,s,KHOA-NỘI,blood,Công thức máu,BV,xo\n"
    )
    assert row.action is not None
    order = row.action.order
    assert (row.line, row.action.action, order.priority) == (2, Action.CHANGE, Priority.STAT)
    assert (order.placer, order.specimen, order.code) == ("O-1", "S1", "CBC")
    assert (order.patient.id, order.patient.pid3, order.patient.pid5) == ("BN001", "BN001^^^BV", "NGUYỄN^VĂN AN")
    assert (order.patient.birth_date, order.patient.sex, order.ward) == ("19720815", "M", "KHOA-NỘI")
    assert (order.service, order.specimen_type) == ("CBC^Công thức máu^L", "blood")
    assert order.collected_at == datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2026-11-22", datetime(2026, 11, 21, 17, 0, tzinfo=UTC)),
        ("20261122080000", datetime(2026, 11, 22, 1, 0, tzinfo=UTC)),
        ("2026-11-22T08:00:30+00:00", datetime(2026, 11, 22, 8, 0, 30, tzinfo=UTC)),
        ("2026-11-22T08:00Z", datetime(2026, 11, 22, 8, 0, tzinfo=UTC)),
    ],
)
def test_times(said: str, moment: datetime) -> None:
    (row,) = rows(f"order,specimen,test,patient,collected\nO,S,T,P,{said}\n")
    assert row.action is not None
    assert row.action.order.collected_at == moment


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_separators_and_the_mark_of_excel(between: str) -> None:
    text = f'order,specimen,test,patient\nO,"S{between}1",T,P\n\n'.replace(",", between)
    (row,) = rows(text.encode("utf-8-sig"))
    assert row.action is not None
    assert row.action.order.specimen == f"S{between}1"


def test_a_cancelled_order_needs_its_number_alone() -> None:
    (row,) = rows("order,specimen,test,patient,action\nO-1,,,,CA\n")
    assert row.action is not None
    assert (row.action.action, row.action.order.placer) == (Action.CANCEL, "O-1")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("O,,T,P,,,,", "specimen is empty"),
        ("O,S,,P,,,,", "test is empty"),
        ("O,S,T,,,,,", "patient is empty"),
        (",S,T,P,,,,", "order is empty"),
        ("O,S,T,P,15/08/1972,,,", "birth_date must be as 1972-08-15"),
        ("O,S,T,P,1972-13-01,,,", "birth_date must be as 1972-08-15"),
        ("O,S,T,P,,man,,", "sex must be M, F, O or U"),
        ("O,S,T,P,,,22/11/2026,", "collected must be as 2026-11-22 08:00"),
        ("O,S,T,P,,,2026-02-30,", "collected must be as 2026-11-22 08:00"),
        ("O,S,T,P,,,,PLEASE", "action must be one of NW, CA, DC, XO"),
        ("O,S,T,P", "4 columns instead of 8"),
    ],
)
def test_complaints_name_line_and_column(line: str, wrong: str) -> None:
    """One row that cannot be used costs itself only."""
    good, bad = rows(f"order,specimen,test,patient,birth_date,sex,collected,action\nO,S,T,P,,,,\n{line}\n")
    assert good.action is not None
    assert (bad.line, bad.action) == (3, None)
    assert wrong in bad.wrong


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"order,specimen,test\nO,S,T\n", "lacks patient"),
        (b"order,specimen,test,patient,colour\n", "colour, which is no column"),
        (b"order,specimen,test,patient,test\n", "a column twice"),
        ("order,specimen,test,patient\nO,S,T,Lâm\n".encode("cp1258"), "UTF-8"),
        (b'order,specimen,test,patient\nO,"S,T,P\n', "no CSV"),
        (b"", "lacks order"),
    ],
)
def test_files_that_are_no_table(data: bytes, words: str) -> None:
    found = read_table(data, "files", "UTC")
    assert isinstance(found, str)
    assert words in found


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_stands_in_a_file_nothing_raises(data: bytes) -> None:
    read_table(data, "files", "UTC")
    read_table(b"order,specimen,test,patient\n" + data, "files", "UTC")
