"""Flat rows, the JSON document, CSV and table 4 of the insurance XML."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.delivery import document, sheets
from labgateway.delivery.flat import rows
from labgateway.fields import EARLIER, FIELDS, TABLE_4
from labgateway.model import Added, ResultLetter
from tests.delivery.reports import PERSON, SETTINGS, observation, order, report

CBC = order(placer="P17^EMR", ward="HSTC&x^P1")
COLUMNS = {"MA_LK": "placer", "MA_DICH_VU": "order_code"}


def hgb(**changes: object) -> dict[str, str | None]:
    one = observation("HGB", "134", of=CBC, unit="g/L", original_value="13.4", original_unit="g/dL", range="12-16",
                      moh="22.0121", **changes)  # fmt: skip
    (row,) = rows(report(one, patient=PERSON), SETTINGS, "MSG1")
    return row


def test_a_row_says_what_obx_says() -> None:
    row = hgb(flags=("H", "*"), comments=("one", "two"))
    assert set(row) == set(FIELDS)
    assert row | {
        "message": "MSG1", "specimen": "A123", "patient_id": "000123", "patient_name": "TRẦN THỊ B", "sex": "F",
        "birth_date": "19800229", "placer": "P17", "order_code": "CBC", "ward": "HSTC", "specimen_type": "BLD",
        "code": "HGB", "value": "134", "unit": "g/L", "original_value": "13.4", "original_unit": "g/dL", "range": None,
        "flags": "H *", "comments": "one\ntwo", "letter": "F", "measured_at": "2026-11-22T08:15:00+07:00",
        "collected_at": "2026-11-22T07:50:00+07:00", "released_at": "2026-11-22T08:16:02+07:00", "replaces": None,
    } == row  # fmt: skip


def test_preliminary_and_withheld() -> None:
    plain = observation("HGB", "5", of=CBC)
    withheld = observation("WBC", None, of=CBC)
    wrong = observation("PLT", None, of=CBC, letter=ResultLetter.WRONG, replaces="X")
    found = rows(report(plain, withheld, wrong, patient=PERSON), SETTINGS, "MSG1", "P")
    assert [(row["letter"], row["value"], row["replaces"]) for row in found] == [
        ("P", "5", None), ("X", None, None), ("W", None, "X"),
    ]  # fmt: skip


def test_two_patients_are_one_too_many() -> None:
    other = order("GLU", patient=replace(PERSON, id="other"))
    with pytest.raises(ValueError, match="different patients"):
        rows(report(observation(of=CBC), observation("GLU", of=other)), SETTINGS, "MSG1")


def test_a_document_is_read_back_as_it_was() -> None:
    whole = report(observation("HGB", "5.10", of=CBC), observation("WBC", None, of=CBC), patient=PERSON)
    body = document.render(whole, SETTINGS, "MSG1")
    top, found = document.read(body)
    assert found == [{**row, EARLIER: None} for row in rows(whole, SETTINGS, "MSG1")]
    assert (top["message"], top["instrument"], top["site"]) == ("MSG1", "xn1", "LABGATEWAY")
    assert body == document.render(whole, SETTINGS, "MSG1"), "byte-identical"
    assert json.loads(body)["results"][0]["value"] == "5.10", "text, not a number"
    mixed = report(observation("HGB", of=CBC), observation("WBC", of=CBC, instrument="xn2"))
    assert json.loads(document.render(mixed, SETTINGS, "M"))["instrument"] == "several"
    for broken in (b"[]", b"{}", b'{"schema": 2, "results": []}'):
        with pytest.raises(ValueError, match="no document"):
            document.read(broken)


@given(st.text())
def test_any_text_survives_the_document(text: str) -> None:
    (row,) = rows(report(observation("HGB", text, of=CBC, comments=(text,))), SETTINGS, "M")
    assert document.read(document.render(report(observation("HGB", text, of=CBC, comments=(text,))), SETTINGS, "M"))[
        1
    ] == [{**row, EARLIER: None}]


@pytest.mark.parametrize("text", ["-1.5", "+1", "1e-3", "-", "+", "++", "+-", "<5", "12-16", "-0,5", "007"])
def test_numbers_and_urine_signs_are_left_alone(text: str) -> None:
    assert sheets.safe_cell(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=", "@"])
def test_formulas_are_defused(text: str) -> None:
    assert sheets.safe_cell(text) == "'" + text


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_csv_is_read_back_as_it_was(texts: list[str]) -> None:
    """X6: no cell starts a formula; all else is as it was, whatever it holds."""
    whole = report(*(observation(f"T{n}", text, of=CBC) for n, text in enumerate(texts)))
    found = rows(whole, SETTINGS, "M")
    body = sheets.csv_file(found, {"test": "code", "result": "value"})
    header, *lines = csv.reader(io.StringIO(body.decode(), newline=""))
    assert header == ["test", "result"]
    assert lines == [[row["code"], sheets.safe_cell(row["value"])] for row in found]
    for _, cell in lines:
        assert cell[:1] not in ("=", "@", "\t", "\r")


def test_table_4_has_its_twelve_fields_in_order() -> None:
    body = sheets.table_4([hgb(), hgb() | {"value": None, "letter": "X"}, hgb() | {"value": "<5 & >2"}], COLUMNS)
    root = ElementTree.fromstring(body)
    assert root.tag == "DSACH_CHI_TIET_CLS"
    first, second = root
    assert [child.tag for child in first] == list(TABLE_4)
    assert {child.tag: child.text for child in first} == {
        "MA_LK": "P17", "STT": "1", "MA_DICH_VU": "CBC", "MA_CHI_SO": "22.0121", "TEN_CHI_SO": "Tên HGB",
        "GIA_TRI": "134", "DON_VI_DO": "g/L", "MO_TA": None, "KET_LUAN": None, "NGAY_KQ": "202611220816",
        "MA_BS_DOC_KQ": None, "DU_PHONG": None,
    }  # fmt: skip
    assert (second.findtext("STT"), second.findtext("GIA_TRI")) == ("2", "<5 & >2")
    assert not sheets.unfit(body)


def test_table_4_counts_bytes_and_cuts_nothing() -> None:
    fits, over = "ê" * 25, "ê" * 25 + "x"
    assert not sheets.unfit(sheets.table_4([hgb() | {"value": fits}], COLUMNS))
    body = sheets.table_4([hgb() | {"value": over}], COLUMNS)
    assert over in body.decode()
    assert "GIA_TRI has 51 bytes and may have 50" in sheets.unfit(body)
    assert not sheets.unfit(sheets.table_4([hgb() | {"value": "&" * 50}], COLUMNS)), (
        "the content counts, not its escapes"
    )
    assert "XML does not know" in sheets.unfit(sheets.table_4([hgb() | {"value": "1\x00"}], COLUMNS))
    taken_back = sheets.table_4([hgb() | {"value": None, "letter": "W"}], COLUMNS)
    assert "taken back" in sheets.unfit(taken_back)


@given(st.text(max_size=60))
def test_table_4_is_xml_whatever_a_value_holds(text: str) -> None:
    body = sheets.table_4([hgb() | {"value": text or None}], COLUMNS)
    said = [one.findtext("GIA_TRI") for one in ElementTree.fromstring(body)]
    if text and not sheets.unfit(body):
        assert said == [text]


def test_the_lab_s_own_range_flags_and_notes() -> None:
    """What a mapping declares goes to every destination, not by HL7 alone."""
    row = hgb(flags=("H", "*"), comments=("one",), added=Added(range="130-175", flags=("N", "*"), notes=("call",)))
    assert (row["range"], row["flags"], row["comments"]) == ("130-175", "N *", "one\ncall")
    assert hgb(flags=("H",), added=Added(range=""))["range"] is None, "no range rather than the analyzer's"


@pytest.mark.parametrize("letter", [ResultLetter.WRONG, ResultLetter.DELETED])
def test_what_is_taken_back_is_no_value_again(letter: ResultLetter) -> None:
    """A table or template that has no place for the letter would show the wrong value once more, and newer."""
    row = hgb(letter=letter, replaces="X")
    assert (row["letter"], row["value"], row["original_value"], row["replaces"]) == (letter.value, None, None, "X")
