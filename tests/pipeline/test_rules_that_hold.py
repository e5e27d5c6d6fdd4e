"""Rules of the lab: what they hold, with which words; what they leave alone; what a person released stays released."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from tests.pipeline.mapped_lab import Lab

MakeLab = Callable[..., Lab]
K = '[tests]\nK = { emr = "K", unit = "mmol/L", times = 1, '


def test_without_rules_nothing_is_held(make_lab: MakeLab) -> None:
    lab = make_lab(K.removesuffix(", ") + " }\n")
    lab.order("S1", "K")
    lab.send("S1", "K 9.9 mmol/L W")
    assert lab.states("S1") == ["K 9.9 released"]


@pytest.mark.parametrize(
    ("rules", "value", "flag", "reason"),
    [
        ("limits = [3, 6]", "6.0", "", None),
        ("limits = [3, 6]", "6.01", "", "OUT_OF_LIMITS"),
        ("limits = [3, 6]", "2.99", "", "OUT_OF_LIMITS"),
        ("limits = [3, 6]", ">5", "", "OUT_OF_LIMITS"),
        ("limits = [0, 6]", "<0.05", "", None),
        ("limits = [0.1, 6]", "<5", "", "OUT_OF_LIMITS"),
        ("limits = [3, 6]", "HAEMOLYTIC", "", "OUT_OF_LIMITS"),
        ("limits = [3, 6]", "", "", None),
        ('hold_flags = ["W", "*"]', "4.0", "W", "FLAG_HOLDS"),
        ('hold_flags = ["W", "*"]', "4.0", "H", None),
        ('hold_flags = ["W", "*"]', "", "*", "FLAG_HOLDS"),
        ("critical = { below = 2.5, above = 6.5 }", "6.5", "", None),
        ("critical = { below = 2.5, above = 6.5 }", "6.6", "", "CRITICAL"),
        ("critical = { below = 2.5 }", "2.4", "", "CRITICAL"),
        ("critical = { above = 6.5 }", ">6", "", "CRITICAL"),
        ('critical = { above = 6.5, then = "note" }', "7.0", "", None),
        ("sane = [0, 9], limits = [3, 6]", "9.5", "", "NOT_SANE"),
    ],
)
def test_one_rule(make_lab: MakeLab, rules: str, value: str, flag: str, reason: str | None) -> None:
    """Held with the rule's reason, or out; the value stays what the analyzer said."""
    lab = make_lab(f"{K}{rules} }}\n")
    lab.order("S1", "K")
    lab.send("S1", f"K {value} mmol/L {flag}")
    one = lab.one("S1", "K")
    assert (one.problem and one.problem.reason.name, one.value) == (reason, value or None)
    assert bool(lab.sent) == (reason is None)


def test_the_words_of_every_rule_that_holds(make_lab: MakeLab) -> None:
    """The first reason, the words of all; no value among them."""
    lab = make_lab(f'{K}limits = [3, 6], hold_flags = ["W"], critical = {{ above = 6.5 }} }}\n')
    lab.order("S1", "K")
    lab.send("S1", "K 7.77 mmol/L W")
    problem = lab.one("S1", "K").problem
    assert problem is not None
    assert problem.reason.name == "FLAG_HOLDS"
    assert problem.detail == "code K: flag W; code K: limits 3 to 6; code K: above 6.5"
    assert problem.reason.cure


def test_rules_of_the_file_and_of_a_line(make_lab: MakeLab) -> None:
    """What a line says itself counts instead of what the file says; an empty list, or false, takes it away."""
    lab = make_lab(
        'hold_flags = ["W"]\ndelta = { percent = 10, days = 5 }\n[tests]\nA = { emr = "A" }\n'
        'B = { emr = "B", hold_flags = [] }\nC = { emr = "C", hold_flags = ["X"], delta = false }\n'
    )
    lab.order("S1", "A", "B", "C")
    lab.send("S1", "A 1 u W", "B 1 u W", "C 1 u W")
    assert lab.states("S1") == ["A 1 held FLAG_HOLDS", "B 1 released", "C 1 released"]
    lab.wait(hours=1)
    lab.order("S2", "B", "C")
    lab.send("S2", "B 2 u", "C 2 u")
    assert lab.states("S2") == ["B 2 held DELTA", "C 2 released"]


def test_a_critical_value_goes_out_with_its_note(make_lab: MakeLab) -> None:
    lab = make_lab(f'{K}critical = {{ below = 2.5, above = 6.5, then = "note" }} }}\n')
    lab.order("S1", "K")
    lab.send("S1", "K 7.1 mmol/L")
    assert lab.sent == ["K|7.1|mmol/L|||F", "NTE critical: below 2.5 or above 6.5"]


def test_a_decimal_comma_is_read_as_such(make_lab: MakeLab) -> None:
    lab = make_lab('decimal_comma = true\n[tests]\nK = { emr = "K", unit = "mmol/L", times = 1, limits = [3, 6] }\n')
    lab.order("S1", "K")
    lab.order("S2", "K")
    lab.send("S1", "K 5,9 mmol/L")
    lab.send("S2", "K 6,1 mmol/L")
    assert (lab.states("S1"), lab.states("S2")) == (["K 5,9 released"], ["K 6,1 held OUT_OF_LIMITS"])


# --- what a person released ---


def test_what_a_person_released_is_not_held_again(make_lab: MakeLab) -> None:
    """Not by a replay, not by a resend, not as the final of the same preliminary; another value is looked at again."""
    lab = make_lab(f"{K}limits = [3, 6] }}\n")
    lab.order("S1", "K")
    number = lab.send("S1", "K 7.0 mmol/L", status="P")
    lab.decide("release", lab.one("S1", "K"))
    assert lab.sent == ["K|7.0|mmol/L|||P"]
    lab.replay(number)
    assert lab.states("S1") == ["K 7.0 released"]
    lab.send("S1", "K 7.0 mmol/L", status="P")
    lab.wait(minutes=5)
    lab.send("S1", "K 7.0 mmol/L", status="F")
    assert lab.states("S1") == ["K 7.0 released", "K 7.0 duplicate", "K 7.0 released"]
    lab.send("S1", "K 8.0 mmol/L", status="C")
    assert lab.states("S1")[-1] == "K 8.0 held OUT_OF_LIMITS"


def test_a_mended_rule_lets_go_what_it_held(make_lab: MakeLab) -> None:
    """As with every line of the file: the message is read again, what a person decided stays."""
    lab = make_lab(f"{K}limits = [3, 6] }}\n")
    lab.order("S1", "K")
    lab.order("S2", "K")
    first, second = lab.send("S1", "K 7.0 mmol/L"), lab.send("S2", "K 7.0 mmol/L")
    lab.decide("reject", lab.one("S2", "K"))
    lab.mappings["a1"] = f"{K}limits = [3, 8] }}\n"
    for number in (first, second):
        lab.replay(number)
    assert (lab.states("S1"), lab.states("S2")) == (["K 7.0 released"], ["K 7.0 rejected OUT_OF_LIMITS"])


# --- the patient's other values ---

DELTA = K + "delta = { percent = 50, days = 3 } }\n"


def test_against_the_patients_last_value(make_lab: MakeLab) -> None:
    """Of the same patient and test, within the days; 50 % exactly is still allowed."""
    lab = make_lab(DELTA)
    for specimen, patient in (("S1", "P1"), ("S2", "P1"), ("S3", "P2"), ("S4", "P1"), ("S5", "P1")):
        lab.order(specimen, "K", patient=patient)
    lab.send("S1", "K 4.0 mmol/L")
    lab.wait(hours=1)
    lab.send("S2", "K 6.0 mmol/L")
    lab.send("S3", "K 99 mmol/L")
    lab.wait(hours=1)
    lab.send("S4", "K 9.01 mmol/L")
    assert [lab.states(s)[0] for s in ("S2", "S3", "S4")] == ["K 6.0 released", "K 99 released", "K 9.01 held DELTA"]
    problem = lab.one("S4", "K").problem
    assert problem is not None
    assert problem.detail == f"code K: more than 50 % within 3 days, the one before is {lab.one('S2', 'K').id}"
    lab.wait(hours=1)
    lab.send("S5", "K 6.5 mmol/L")
    assert lab.states("S5") == ["K 6.5 released"], "what is held is no value of the patient"


def test_days_that_are_over_do_not_count(make_lab: MakeLab) -> None:
    lab = make_lab(DELTA)
    lab.order("S1", "K")
    lab.send("S1", "K 4.0 mmol/L")
    lab.wait(days=3, minutes=1)
    lab.order("S2", "K")
    lab.send("S2", "K 9.0 mmol/L")
    assert lab.states("S2") == ["K 9.0 released"]


def test_only_a_proven_patient_is_compared(make_lab: MakeLab) -> None:
    """The same number with another birth date is nobody's other value."""
    lab = make_lab(DELTA)
    lab.order("S1", "K", born="19700102")
    lab.order("S2", "K", born="19800102")
    lab.send("S1", "K 4.0 mmol/L")
    lab.wait(hours=1)
    lab.send("S2", "K 9.0 mmol/L")
    assert lab.states("S2") == ["K 9.0 released"]


def test_the_newest_version_counts_and_what_was_corrected_does_not(make_lab: MakeLab) -> None:
    lab = make_lab(DELTA)
    for specimen in ("S1", "S2"):
        lab.order(specimen, "K")
    lab.send("S1", "K 4.0 mmol/L")
    lab.wait(hours=1)
    lab.send("S1", "K 5.0 mmol/L", status="C")
    lab.wait(hours=1)
    lab.send("S2", "K 7.0 mmol/L")
    assert [*lab.states("S1"), *lab.states("S2")] == ["K 4.0 released", "K 5.0 released", "K 7.0 released"]


def test_the_value_after_is_the_one_that_stands(make_lab: MakeLab) -> None:
    """A first word that was corrected since is nobody's value any more."""
    lab = make_lab(DELTA)
    collected = lab.now
    lab.wait(hours=1)
    lab.send("S2", "K 4.0 mmol/L")
    lab.order("S1", "K", collected_at=collected)
    lab.wait(hours=1)
    lab.send("S1", "K 9.0 mmol/L")
    lab.wait(hours=1)
    lab.send("S1", "K 4.2 mmol/L", status="C")
    lab.order("S2", "K", collected_at=collected)
    assert lab.states("S2") == ["K 4.0 released"]


def test_two_specimens_in_one_message(make_lab: MakeLab) -> None:
    """What the message in hand has said already counts as well."""
    lab = make_lab(DELTA)
    for specimen in ("S1", "S2"):
        lab.order(specimen, "K")
    raw = "\r".join(
        [
            "H|\\^&|||X",
            "P|1",
            "O|1|S1||^^^K",
            "R|1|^^^K|4.0|mmol/L||||F",
            "O|2|S2||^^^K",
            "R|1|^^^K|9.0|mmol/L||||F",
            "L|1",
        ]
    )
    from labgateway.store import journal

    number = lab.do(
        lambda c: journal.append(c, instrument="a1", protocol="astm", peer="", received_at=lab.now, raw=raw.encode())
    )
    lab.process(number)
    assert [*lab.states("S1"), *lab.states("S2")] == ["K 4.0 released", "K 9.0 held DELTA"]


@pytest.mark.parametrize("arrival", list(permutations(("S1", "S2", "S3"))))
def test_whatever_comes_first_two_values_side_by_side_were_compared(
    make_lab: MakeLab, arrival: tuple[str, ...]
) -> None:
    """Results wait for their orders, which come in any sequence: a jump is never passed over in silence."""
    lab = make_lab(DELTA)
    collected = lab.now
    for specimen, value in (("S1", "4.0"), ("S2", "9.0"), ("S3", "9.5")):
        lab.wait(hours=1)
        lab.send(specimen, f"K {value} mmol/L")
    lab.wait(hours=1)
    for specimen in arrival:
        lab.order(specimen, "K", collected_at=collected)
    out = [s for s in ("S1", "S2", "S3") if lab.states(s)[0].endswith("released")]
    assert out in (["S1"], ["S2", "S3"]), out
    before = [lab.states(s) for s in arrival]
    lab.order("S1", "K", collected_at=collected)
    assert [lab.states(s) for s in arrival] == before
