"""Which range and flags leave: the lab's for the order's patient, none on doubt, the analyzer's where none is declared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from labgateway.store import journal
from tests.pipeline.mapped_lab import Lab

MakeLab = Callable[..., Lab]
MAPPING = """\
[tests]
HGB = { emr = "HGB", unit = "g/L", times = 10, decimals = 0 }
WBC = { emr = "WBC" }
[ranges]
HGB = [
  { from = "18y", sex = "F", low = 120, high = 155, until = 2026-11-21 },
  { from = "18y", sex = "F", low = 118, high = 150, since = 2026-11-22 },
  { from = "18y", sex = "M", low = 130, high = 175 },
]
"""


def out(lab: Lab, code: str = "HGB") -> str:
    """Range and flags of the last one that left."""
    return next("|".join(line.split("|")[3:5]) for line in reversed(lab.sent) if line.startswith(code))


@pytest.mark.parametrize(
    ("patient", "said"),
    [
        ({"sex": "M"}, "130-175|H"),
        ({"sex": "Nam"}, "130-175|H"),
        ({"sex": "F"}, "118-150|H"),
        ({"sex": "F", "collected_at": datetime(2026, 11, 21, 16, 0, tzinfo=UTC)}, "120-155|H"),  # 23:00 in Hanoi
        ({"sex": "F", "collected_at": datetime(2026, 11, 21, 18, 0, tzinfo=UTC)}, "118-150|H"),  # 01:00 of the 22nd
        ({"sex": "U"}, "|H"),
        ({"sex": "M", "born": "2015"}, "|H"),
        ({"sex": "M", "born": None}, "|H"),
        ({"sex": "F", "collected_at": None}, "|H"),
        ({"sex": "M", "collected_at": None}, "130-175|H"),
    ],
)
def test_by_the_orders_patient(make_lab: MakeLab, patient: dict[str, Any], said: str) -> None:
    """At the collection, by the site's calendar; the analyzer's flags stay unless the lab takes them over."""
    lab = make_lab(MAPPING)
    lab.order("S1", "HGB", **patient)
    lab.send("S1", "HGB 13.4 g/dL H")
    assert out(lab) == said


def test_the_analyzers_range_where_none_is_declared(make_lab: MakeLab) -> None:
    """Both are kept: the analyzer's words stand in the store, whichever went out."""
    lab = make_lab(MAPPING)
    lab.order("S1", "HGB", "WBC")
    raw = "H|\\^&|||X\rP|1\rO|1|S1||^^^ALL\rR|1|^^^WBC|5.2|10*9/L|4-10|N||F\rR|2|^^^HGB|13.4|g/dL|12-16|N||F\rL|1\r"
    number = lab.do(
        lambda c: journal.append(c, instrument="a1", protocol="astm", peer="", received_at=lab.now, raw=raw.encode())
    )
    lab.process(number)
    assert (out(lab, "WBC"), out(lab)) == ("4-10|N", "130-175|N")
    one = lab.one("S1", "HGB")
    assert one.added is not None
    assert (one.result.range, one.added.range, lab.one("S1", "WBC").added) == ("12-16", "130-175", None)


@pytest.mark.parametrize(
    ("value", "flag", "sex", "said"),
    [
        ("12.9", "N", "M", "130-175|L"),
        ("13.0", "L", "M", "130-175|N"),
        ("17.6", "", "M", "130-175|H"),
        ("13.4", "H", "U", "|"),
        ("13.4", "W", "M", "130-175|N~W"),
        (">12.0", "H", "M", "130-175|"),
    ],
)
def test_flags_by_the_range(make_lab: MakeLab, value: str, flag: str, sex: str, said: str) -> None:
    """Where the lab says so: its own high and low; the analyzer's other flags stay."""
    lab = make_lab("range_flags = true\n" + MAPPING)
    lab.order("S1", "HGB", sex=sex)
    lab.send("S1", f"HGB {value} g/dL {flag}")
    assert out(lab) == said


def test_a_result_that_waited_gets_the_range_of_its_order(make_lab: MakeLab) -> None:
    lab = make_lab(MAPPING)
    collected = lab.now
    lab.wait(minutes=5)
    lab.send("S1", "HGB 13.4 g/dL H")
    lab.order("S1", "HGB", sex="F", collected_at=collected)
    assert out(lab) == "118-150|H"


def test_a_person_who_names_the_order_names_the_patient(make_lab: MakeLab) -> None:
    """Of two orders the chosen one's patient decides about the range."""
    lab = make_lab(MAPPING)
    lab.order("S1", "HGB", sex="M")
    lab.order("S1", "HGB", sex="F", patient="P2", placer="Z9")
    lab.send("S1", "HGB 13.4 g/dL H")
    assert lab.states("S1") == ["HGB 134 held AMBIGUOUS_ORDER"]
    lab.decide("release", lab.one("S1", "HGB"), order=2, identity_checked=True)
    assert out(lab) == "118-150|H"


def test_what_is_moved_gets_the_range_of_the_patient_it_is_moved_to(make_lab: MakeLab) -> None:
    """Not that of the patient on whom it was found."""
    lab = make_lab(MAPPING)
    lab.order("S1", "HGB", sex="M")
    lab.order("S2", "HGB", sex="F", patient="P2")
    lab.send("S1", "HGB 13.4 g/dL H")
    assert out(lab) == "130-175|H"
    lab.decide("relink", lab.one("S1", "HGB"), to="S2", identity_checked=True)
    assert out(lab) == "118-150|H"


@pytest.mark.parametrize(
    ("value", "unit", "left"),
    [
        ("13.4", "", ["HGB|134.0|g/L||N|F", "NTE as measured: 13.4 g/dL (range 12-16)"]),
        ("13.4", "g/dL", ["HGB|134.0|g/L||N|F", "NTE as measured: 13.4 g/dL (range 12-16)"]),
        ("0", "", ["HGB|0|g/L||N|F", "NTE as measured: 0 g/dL (range 12-16)"]),
        ("0", "g/dL", ["HGB|0|g/L||N|F", "NTE as measured: 0 g/dL (range 12-16)"]),
    ],
)
def test_a_converted_value_stands_beside_no_range_and_no_unit_of_before(
    make_lab: MakeLab, value: str, unit: str, left: list[str]
) -> None:
    """Also where the analyzer names no unit, and where the factor changes nothing: 13.4 g/L would be another patient."""
    lab = make_lab('[tests]\nHGB = { emr = "HGB", comes = "g/dL", unit = "g/L", times = 10 }\n')
    lab.order("S1", "HGB")
    raw = f"H|\\^&|||X\rP|1\rO|1|S1||^^^ALL\rR|1|^^^HGB|{value}|{unit}|12-16|N||F\rL|1\r"
    number = lab.do(
        lambda c: journal.append(c, instrument="a1", protocol="astm", peer="", received_at=lab.now, raw=raw.encode())
    )
    lab.process(number)
    assert lab.sent == left


def test_a_unit_that_is_only_spelled_otherwise_keeps_its_range(make_lab: MakeLab) -> None:
    """Rounding too, where no unit came."""
    lab = make_lab('[tests]\nWBC = { emr = "WBC", comes = "10*3/uL", unit = "10*9/L", times = 1, decimals = 1 }\n')
    for specimen, unit in (("S1", "10^3/ul"), ("S2", "")):
        lab.order(specimen, "WBC")
        raw = f"H|\\^&|||X\rP|1\rO|1|{specimen}||^^^ALL\rR|1|^^^WBC|5.2|{unit}|4-10|N||F\rL|1\r".encode()
        number = lab.do(
            lambda c, raw=raw: journal.append(
                c, instrument="a1", protocol="astm", peer="", received_at=lab.now, raw=raw
            )
        )
        lab.process(number)
    assert [one for one in lab.sent if one.startswith("WBC")] == ["WBC|5.2|10*9/L|4-10|N|F"] * 2
