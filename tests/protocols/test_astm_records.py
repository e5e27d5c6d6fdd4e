"""Records into rows: delimiters as declared, nothing lost, nothing raised."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labgateway.protocols.astm_records import is_header, read_delimiters, read_records
from labgateway.protocols.rows import ASTM, Delimiters


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_records_end_with_cr_lf_or_both(end: str) -> None:
    """Three line ends, one result; empty records are skipped and not counted."""
    rows = read_records(end.join(["H|\\^&", "", "P|1", "R|1|x", "  ", "R|2|y", "L|1|N", ""]))
    assert [(row.name, row.number) for row in rows] == [("H", 1), ("P", 1), ("R", 1), ("R", 2), ("L", 1)]


def test_only_line_ends_end_records() -> None:
    """Other characters that Python takes for line breaks (FF, FS, NEL, U+2028) stand inside a record."""
    (row,) = read_records("C|1|I|a\x0bb\x0c\x1c\x1e\x85\u2028c")
    assert row.raw(4) == "a\x0bb\x0c\x1c\x1e\x85\u2028c"


@pytest.mark.parametrize(
    ("header", "delimiters"),
    [
        ("H|\\^&|||x", ASTM),
        ("H|@^\\|URM", Delimiters("|", "@", "^", "\\")),
        ("H|`^&||||", Delimiters("|", "`", "^", "&")),
        ("H!~$%!", Delimiters("!", "~", "$", "%")),
        ("H|\\^&", ASTM),
        ("H|\\\\^&|x", ASTM),
        ("H|\\^|x", ASTM),
        ("H||x", ASTM),
        ("H|~|x", Delimiters("|", "~", "^", "&")),
        ("H|&^|x", Delimiters("|", "&", "^", "")),
        ("H|12A|x", ASTM),
    ],
)
def test_delimiters_come_from_the_header(header: str, delimiters: Delimiters) -> None:
    """Trap 20: as declared; a missing one is the usual one, but no character is two things, and no letter is one."""
    (row,) = read_records(header)
    assert row.delimiters == read_delimiters(header) == delimiters


def test_each_header_declares_for_what_follows() -> None:
    """Two messages in one text; what stands before the first header has the usual delimiters; numbers run on."""
    rows = read_records("R|1|^a\rH|@^\\\rR|1|b@c\rH!\\^&\rR!1!d\\e\r")
    assert [row.value(3, 2) or row.repetitions(3) for row in rows if row.name == "R"] == ["a", ["b", "c"], ["d", "e"]]
    assert [row.number for row in rows if row.name == "R"] == [1, 2, 3]


@pytest.mark.parametrize("record", ["H", "HELLO", "H1", "H \\^&", "h|\\^&", "O|1"])
def test_no_header(record: str) -> None:
    """An H is a header only with a delimiter behind it."""
    assert not is_header(record)
    assert read_records(record + "\rR|1|a^b\r")[-1].value(3, 2) == "b"


def test_escapes_are_those_of_the_message() -> None:
    """Trap 21: resolved with the declared escape character, and only then."""
    rows = read_records("H|\\^&\rO|1|DB&E&23\rC|1|I|a&F&b&S&c&R&d\rH|@^\\\rO|1|A\\F\\B&E&\r")
    assert rows[1].value(3) == "DB&23"
    assert rows[2].value(4) == "a|b^c\\d"
    assert rows[4].value(3) == "A|B&E&"


def test_a_delimiter_between_two_escapes_is_text() -> None:
    """Trap 21: the form of some vendors is read as the standard's; nothing behind it moves to another field."""
    rows = read_records("H|\\^&\rR|1|^^^A&^&B|5&|&6|g&\\&L|&E&|&E&|R&D|x&|y\rH|@^\\\rR|1|A\\|\\B|7\r")
    assert [rows[1].value(n) for n in (4, 5, 6, 7, 8, 9)] == ["5|6", "g\\L", "&", "&", "R&D", "x&"]
    assert rows[1].value(3, 4) == "A^B"
    assert [rows[3].value(n) for n in (3, 4)] == ["A|B", "7"]


@given(st.text(max_size=200))
def test_any_text_is_read_and_nothing_is_lost(text: str) -> None:
    """T1: nothing raises at any path, and the fields joined again are the records."""
    rows = read_records(text)
    assume(not re.search(r"(\W)\W\1", text))  # could be an escaped delimiter, which is written anew
    whole = [row.delimiters.field.join(row.fields) for row in rows]
    assert whole == [r for r in text.replace("\n", "\r").split("\r") if r and not r.isspace()]
    for row in rows:
        for field in range(1, 5):
            row.value(field)
            row.value(field, 2)
            row.repetitions(field)


@given(st.text("H|\\^&@`~R1\r", max_size=60))
def test_any_header_gives_usable_delimiters(text: str) -> None:
    """Whatever a header declares: field and component are there, and no two delimiters that are used are equal."""
    for row in read_records(text):
        d = row.delimiters
        assert d.field
        assert d.component
        assert not d.escape or d.escape not in (d.field, d.repetition, d.component)
