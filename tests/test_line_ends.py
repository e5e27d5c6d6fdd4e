"""Where messages begin and end, against a slow and obvious reader."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.line.ends import Mark, follow


def is_record(record: bytes, letter: bytes) -> bool:
    return record[:1] == letter and not re.match(rb"[0-9A-Za-z \t]", record[1:2])


records = st.sampled_from(
    [
        b"H|\\^&|||X",
        b"H|",
        b"P|1",
        b"O|1|L|H",
        b"R|1|^^^L|H",
        b"L|1|N",
        b"L",
        b"L|",
        b"LAB|1",
        b"C|1|H L",
        b"HX|1",
        b"L^1",
    ]
)


@given(
    rows=st.lists(records, max_size=12), at=st.lists(st.integers(0, 200), max_size=8), end=st.sampled_from([b"\r", b""])
)
def test_cutting_a_message_into_frames_changes_nothing(rows: list[bytes], at: list[int], end: bytes) -> None:
    """However records are cut into ETB frames, the last frame closes exactly if the last record is an L."""
    text = b"\r".join(rows) + (end if rows else b"")
    cuts = sorted({0, len(text), *(min(n, len(text)) for n in at)})
    pieces = [text[i:j] for i, j in itertools.pairwise(cuts)] or [b""]
    head, marks, closed, split = b"", 0, False, False
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        head, marks = follow(head, piece, last)
        split = split or bool(marks & Mark.SPLITS)
        if marks & Mark.CLOSES:
            closed = True
        elif piece.strip(b"\r"):
            split, closed = split or closed, False
    assert head == b""
    assert closed == (bool(rows) and is_record(rows[-1], b"L"))


@pytest.mark.parametrize(
    ("text", "last", "marks"),
    [
        (b"H|\\^&\r", True, Mark.BEGINS),
        (b"H`\\^&", True, Mark.BEGINS),
        (b"HX|1\r", True, 0),
        (b"L|1|N\r", True, Mark.CLOSES),
        (b"L`1`N", True, Mark.CLOSES),
        (b"L", True, Mark.CLOSES),
        (b"L\r\n", True, Mark.CLOSES),
        (b"L|1|N\r", False, Mark.CLOSES),
        (b"L|1|N", False, 0),
        (b"LOW|1\r", True, 0),
        (b"R|1|L|H\r", True, 0),
        (b"", True, 0),
        (b"H|\\^&\rP|1\rR|1\rL|1|N\r", True, Mark.BEGINS | Mark.CLOSES),
        (b"H|\\^&\nP|1\nL|1|N\n", True, Mark.BEGINS | Mark.CLOSES),
        (b"H|1\rL|1\rH|2\rL|1\r", True, Mark.BEGINS | Mark.CLOSES),
        (b"H|1\rL|1\rH|2\rP|1\r", True, Mark.BEGINS | Mark.SPLITS),
        (b"R|1\rL|1\rC|1|late comment\r", True, Mark.SPLITS),
        (b"L|1|N\r  \r\0", True, Mark.CLOSES),
    ],
)
def test_what_a_frame_holds(text: bytes, last: bool, marks: int) -> None:
    """H at its beginning, an L that ends the message, an L with more behind it."""
    assert follow(b"", text, last)[1] == marks


def test_a_letter_cut_from_its_delimiter() -> None:
    """An L whose delimiter stands in the next frame closes there; LAB does not."""
    head, marks = follow(b"", b"R|1\rL", False)
    assert (head, marks) == (b"L", 0)
    assert follow(head, b"|1|N\r", True) == (b"", Mark.CLOSES)
    assert follow(head, b"AB|1\r", True) == (b"", 0)


@given(st.binary(max_size=3), st.binary(max_size=60), st.booleans())
def test_any_bytes(head: bytes, text: bytes, last: bool) -> None:
    """No bytes raise, and what is remembered stays two bytes small."""
    after, _ = follow(head[:2], text, last)
    assert len(after) <= 2
