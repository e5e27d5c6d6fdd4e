"""A message read again by a mended driver, whose rows are counted otherwise: nothing is lost, nothing becomes another row's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labgateway.instruments.driver import load
from labgateway.store import journal, results
from tests.pipeline import mapped_lab
from tests.pipeline.mapped_lab import Lab

MakeLab = Callable[..., Lab]
MAPPING = '[tests]\nGLU = { emr = "GLU" }\nWBC = { emr = "WBC" }\nHGB = { emr = "HGB", sane = [1, 30] }\n'
LAYOUT = """schema = 1
title = "T"
maker = "M"
codes = "open"
sources = ["s"]
protocol = "stx_etx"
[layout]
[[layout.message]]
when = '^ID'
each = '%s'
head = ['^ID (?P<id>\\S+)']
[where]
specimen = "id"
code     = "code"
value    = "value"
"""
SOME = r"(?m)^(?P<code>WBC|HGB) (?P<value>\S+)$"
ALL = r"(?m)^(?P<code>GLU|WBC|HGB) (?P<value>\S+)$"
PLATE_A = r"(?m)^(?P<id>S1) (?P<code>WBC) (?P<value>\S+)$"
PLATE = r"(?m)^(?P<id>S\d) (?P<code>WBC) (?P<value>\S+)$"


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The instrument's driver as of now: which lines of a text are its results."""

    def mend(each: str) -> None:
        text = LAYOUT % each
        if "<id>" in each:
            text = text.replace("head = ['^ID (?P<id>\\S+)']\n", "")
        folder = tmp_path / "raw_driver"
        folder.mkdir(exist_ok=True)
        (folder / "driver.toml").write_text(text)
        monkeypatch.setattr(mapped_lab, "DRIVER", load(folder))

    return mend


def receive(lab: Lab, text: str) -> int:
    raw = f"\x02{text}\x03".encode()
    number = lab.do(
        lambda c: journal.append(c, instrument="a1", protocol="stx_etx", peer="", received_at=lab.now, raw=raw)
    )
    lab.process(number)
    return int(number)


def values(lab: Lab) -> list[tuple[str, str]]:
    return [(code, value) for code, value, *_ in (one.split("|") for one in lab.sent)]


def test_a_row_that_was_not_read_before(make_lab: MakeLab, use: Callable[[str], None]) -> None:
    """It stands where another one stood that has left, and is sent; what has left is not sent again."""
    use(SOME)
    lab = make_lab(MAPPING)
    lab.order("S1", "GLU", "WBC", "HGB")
    number = receive(lab, "ID S1\rGLU 5.1\rWBC 7.5\rHGB 13\r".replace("\r", "\n"))
    assert values(lab) == [("WBC", "7.5"), ("HGB", "13")]
    use(ALL)
    lab.replay(number)
    assert values(lab) == [("WBC", "7.5"), ("HGB", "13"), ("GLU", "5.1")]
    assert sorted(lab.states("S1")) == ["GLU 5.1 released", "HGB 13 released", "WBC 7.5 released"]
    lab.replay(number)
    assert len(lab.seen("S1")) == len(lab.sent) == 3


def test_what_was_held_stays_itself(make_lab: MakeLab, use: Callable[[str], None]) -> None:
    """A held row whose number another one has now keeps its id, and is judged by its own words."""
    use(SOME)
    lab = make_lab(MAPPING)
    lab.order("S1", "GLU", "WBC", "HGB")
    number = receive(lab, "ID S1\nGLU 5.1\nHGB 99\nWBC 7.5\n")
    held = lab.one("S1", "HGB")
    use(ALL)
    lab.mappings["a1"] = MAPPING.replace("30", "100")
    lab.replay(number)
    again = lab.one("S1", "HGB")
    assert (again.id, again.value, again.state) == (held.id, "99", "released")
    assert sorted(lab.states("S1")) == ["GLU 5.1 released", "HGB 99 released", "WBC 7.5 released"]
    assert sorted(values(lab)) == [("GLU", "5.1"), ("HGB", "99"), ("WBC", "7.5")]


def test_the_same_test_and_value_of_another_specimen(make_lab: MakeLab, use: Callable[[str], None]) -> None:
    """A plate: the first row is another patient's now, with the same value."""
    use(PLATE_A)
    lab = make_lab(MAPPING)
    lab.order("S1", "WBC", patient="P1")
    lab.order("S2", "WBC", patient="P2")
    number = receive(lab, "ID\nS2 WBC neg\nS1 WBC neg\n")
    assert (lab.states("S1"), lab.states("S2")) == (["WBC neg released"], [])
    use(PLATE)
    lab.replay(number)
    assert (lab.states("S1"), lab.states("S2")) == (["WBC neg released"], ["WBC neg released"])
    assert len(lab.sent) == 2


def test_a_row_that_is_another_specimens_now(make_lab: MakeLab, use: Callable[[str], None]) -> None:
    """What was sent of the row is nowhere in the message any more: a person must look; an order does not let it go."""
    use(r"(?m)^\S+ (?P<code>WBC) (?P<value>\S+) (?P<id>S\d)$")
    lab = make_lab(MAPPING)
    lab.order("S1", "WBC", patient="P1")
    number = receive(lab, "ID\nS2 WBC 7.5 S1\n")
    assert lab.states("S1") == ["WBC 7.5 released"]
    use(r"(?m)^(?P<id>S\d) (?P<code>WBC) (?P<value>\S+) \S+$")
    lab.replay(number)
    lab.order("S2", "WBC", patient="P2")
    assert lab.states("S1") == ["WBC 7.5 released"]
    assert lab.states("S2") == ["WBC 7.5 held READ_OTHERWISE"]
    assert len(lab.sent) == 1
    lab.decide("release", lab.one("S2", "WBC"), identity_checked=True)
    assert len(lab.sent) == 2


def test_a_code_or_value_that_is_read_rightly_now(make_lab: MakeLab, use: Callable[[str], None]) -> None:
    """What is held for its code is the same result with the mended code; what has left with another value is kept."""
    use(r"(?m)^(?P<code>WB)C (?P<value>\S+)$")
    lab = make_lab(MAPPING)
    lab.order("S1", "WBC", "HGB")
    number = receive(lab, "ID S1\nWBC 7.5\n")
    assert lab.states("S1") == ["WB 7.5 held UNMAPPED"]
    use(r"(?m)^(?P<code>WBC) (?P<value>\d)\S+$")
    lab.replay(number)
    assert lab.states("S1") == ["WBC 7 released"]
    use(SOME)
    lab.replay(number)
    assert lab.states("S1") == ["WBC 7 released"]
    assert len(lab.store.read_now(lambda c: results.of_transmission(c, number))) == 1
