"""What a broken session left stays in sight until all of it has come whole."""

from __future__ import annotations

import pytest

from labgateway.protocols import astm_frames
from labgateway.store import journal
from tests.pipeline.lab import Lab

_HEAD = b"H|\\^&|||X\rP|1\r"
_FIRST = b"O|1|S100||^^^WBC\rR|1|^^^WBC|5\r"
_SECOND = b"O|2|S200||^^^WBC\rR|1|^^^WBC|6\r"


def cut(lab: Lab, raw: bytes, instrument: str = "xn1") -> int:
    """Keep what a broken session left."""
    return lab.do(
        lambda c: journal.append(
            c, instrument=instrument, protocol="astm", peer="", received_at=lab.now, raw=raw, complete=False, why="cut"
        )
    )


def state(lab: Lab, number: int) -> str:
    message = lab.do(lambda c: journal.get(c, number))
    assert message is not None
    return message.state


@pytest.mark.parametrize(
    "raw",
    [
        _HEAD + _FIRST + _SECOND,
        b"".join(astm_frames.frames(_HEAD + _FIRST + _SECOND)),
        b"".join([*astm_frames.frames(_HEAD + _FIRST + _SECOND), astm_frames.frame(7, b"R|2|^^^HG", last=False)]),
    ],
)
@pytest.mark.parametrize("first", ["S100", "S200"])
def test_a_fragment_of_two_specimens_waits_for_both(raw: bytes, first: str) -> None:
    """The analyzer sends one of them again: the other's result is nowhere but in the fragment."""
    lab = Lab()
    number = cut(lab, raw)
    lab.hours = 1
    lab.measure(first, ("WBC", "5"))
    assert state(lab, number) == "incomplete"
    lab.measure("S200" if first == "S100" else "S100", ("WBC", "6"), instrument="xn2")
    assert state(lab, number) == "incomplete", "another analyzer's is not its repeat"
    lab.measure("S200" if first == "S100" else "S100", ("WBC", "6"))
    assert state(lab, number) == "superseded"


def test_what_came_before_the_fragment_is_no_repeat_of_it() -> None:
    lab = Lab()
    lab.measure("S200", ("WBC", "6"))
    lab.hours = 1
    number = cut(lab, _HEAD + _FIRST + _SECOND)
    lab.measure("S100", ("WBC", "5"))
    assert state(lab, number) == "incomplete"


def test_a_fragment_of_one_specimen_goes_with_its_repeat() -> None:
    lab = Lab()
    numbers = [cut(lab, _HEAD + _FIRST), cut(lab, _HEAD + b"O|1|S100||^^^WBC\r")]
    lab.measure("S100", ("WBC", "5"))
    assert [state(lab, number) for number in numbers] == ["superseded"] * 2


def test_a_fragment_that_cannot_be_read_stays() -> None:
    """Nobody can say what else was in it."""
    lab = Lab()
    number = cut(lab, b"\x02" + b"2O|1|S100|\x0300\r\n")
    lab.measure("S100", ("WBC", "5"))
    assert state(lab, number) == "incomplete"
