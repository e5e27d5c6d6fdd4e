"""Computed values: exactly as declared, of one patient's tube, corrected and taken back with what they come from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labgateway.errors import LabgatewayError
from labgateway.mapping.formula import rounded
from tests.pipeline.mapped_lab import Lab

MakeLab = Callable[..., Lab]
LIPIDS = """\
[tests]
CHOL = { emr = "CHOL", unit = "mmol/L", times = 1 }
HDL = { emr = "HDL", unit = "mmol/L", times = 1 }
TG = { emr = "TG", unit = "mmol/L", times = 1, rerun = "last" }
[panels]
LIPID = ["CHOL", "HDL", "TG", "LDLC"]
[computed]
LDL = { emr = "LDLC", formula = "CHOL - HDL - TG / 2.2", unit = "mmol/L", decimals = 2 }
"""
THREE = ("CHOL 5.20 mmol/L", "HDL 1.30 mmol/L", "TG 1.70 mmol/L")


def values(lab: Lab) -> list[str]:
    """CODE VALUE LETTER of everything that left, in its order."""
    parts = [line.split("|") for line in lab.sent if not line.startswith("NTE")]
    return [f"{code} {value} {letter}" for code, value, _, _, _, letter in parts]


def ldl(lab: Lab, specimen: str = "S1") -> list[str]:
    return [state for state in lab.states(specimen) if state.startswith("LDLC")]


def why(lab: Lab, specimen: str = "S1") -> str:
    problem = lab.one(specimen, "LDLC").problem
    assert problem is not None and problem.reason.name == "NOT_COMPUTED"
    return problem.detail


def test_from_one_message(make_lab: MakeLab) -> None:
    """In the same report, behind what it comes from, with how it was computed; and it can be traced."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    assert values(lab) == ["CHOL 5.20 F", "HDL 1.30 F", "TG 1.70 F", "LDLC 3.13 F"]
    assert lab.sent[-1] == "NTE computed: LDLC = CHOL - HDL - TG / 2.2"
    added = lab.one("S1", "LDLC").added
    assert added is not None
    assert set(added.inputs) == {lab.one("S1", code).id for code in ("CHOL", "HDL", "TG")}


def test_from_several_messages_and_replays(make_lab: MakeLab) -> None:
    """It waits for what is missing, says so, and is computed once, however often a message is read again."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    first = lab.send("S1", "CHOL 5.20 mmol/L")
    assert (ldl(lab), why(lab)) == (["LDLC - waiting NOT_COMPUTED"], "HDL is missing; TG is missing")
    lab.wait(minutes=10)
    lab.send("S1", "HDL 1.30 mmol/L")
    lab.wait(minutes=10)
    last = lab.send("S1", "TG 1.70 mmol/L")
    assert ldl(lab) == ["LDLC 3.13 released"]
    for number in (last, first, last):
        lab.replay(number)
    assert values(lab) == ["CHOL 5.20 F", "HDL 1.30 F", "TG 1.70 F", "LDLC 3.13 F"]


def test_a_correction_is_followed(make_lab: MakeLab) -> None:
    """C behind the corrected input, naming the value it replaces; twice as well."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    before = lab.one("S1", "LDLC").id
    lab.wait(minutes=5)
    lab.send("S1", "CHOL 6.20 mmol/L", status="C")
    assert values(lab)[4:] == ["CHOL 6.20 C", "LDLC 4.13 C"]
    assert lab.one("S1", "LDLC").replaces == before
    lab.wait(minutes=5)
    lab.send("S1", "TG 2.20 mmol/L")
    assert values(lab)[6:] == ["TG 2.20 C", "LDLC 3.90 C"]


def test_another_input_with_the_same_outcome_is_not_sent_again(make_lab: MakeLab) -> None:
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    lab.wait(minutes=5)
    lab.send("S1", "TG 1.701 mmol/L", status="C")
    assert values(lab)[4:] == ["TG 1.701 C"]
    assert ldl(lab) == ["LDLC 3.13 released", "LDLC 3.13 duplicate"]


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ("TG <0.10 mmol/L", "TG is no plain number"),
        ("TG >10 mmol/L", "TG is no plain number"),
        ("TG LIPAEMIC mmol/L", "TG is no plain number"),
        ("TG  mmol/L", "TG has no value"),
        ("TG 1,70 mmol/L", "TG is no plain number"),
    ],
)
def test_what_is_no_number_is_not_computed_with(make_lab: MakeLab, said: str, detail: str) -> None:
    """A person sees why; when the test is repeated with a number it is computed by itself."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE[:2], said)
    assert (ldl(lab), why(lab)) == (["LDLC - held NOT_COMPUTED"], detail)
    with pytest.raises(LabgatewayError):
        lab.decide("release", lab.one("S1", "LDLC"))
    lab.wait(minutes=5)
    lab.send("S1", "TG 1.70 mmol/L", status="C")
    assert ldl(lab) == ["LDLC 3.13 released"]
    assert values(lab)[-2:] == ["TG 1.70 C", "LDLC 3.13 F"]


def test_a_held_input(make_lab: MakeLab) -> None:
    """Nothing is computed with it; when a person releases it, the value follows; when it is rejected, it does not."""
    lab = make_lab(LIPIDS.replace('TG = { emr = "TG",', 'TG = { emr = "TG", limits = [0, 4],'))
    for specimen in ("S1", "S2"):
        lab.order(specimen, "LIPID")
        lab.send(specimen, *THREE[:2], "TG 4.40 mmol/L")
        assert why(lab, specimen) == "TG is held or waits"
    lab.decide("release", lab.one("S1", "TG"))
    assert ldl(lab) == ["LDLC 1.90 released"]
    assert values(lab)[-2:] == ["TG 4.40 F", "LDLC 1.90 F"]
    lab.decide("reject", lab.one("S2", "TG"))
    assert (ldl(lab, "S2"), why(lab, "S2")) == (["LDLC - waiting NOT_COMPUTED"], "TG is missing")


def test_a_preliminary_input(make_lab: MakeLab) -> None:
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE, status="P")
    assert why(lab) == "CHOL is preliminary; HDL is preliminary; TG is preliminary"
    lab.wait(minutes=5)
    lab.send("S1", *THREE)
    assert ldl(lab) == ["LDLC 3.13 released"]


def test_another_unit(make_lab: MakeLab) -> None:
    """Of a test without a fixed unit there is no value to compute with."""
    lab = make_lab(
        LIPIDS.replace('TG = { emr = "TG", unit = "mmol/L", times = 1, rerun = "last" }', 'TG = { emr = "TG" }')
    )
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    assert why(lab) == "nothing says which unit TG has"


# --- ordered, and not ---


def test_not_ordered(make_lab: MakeLab) -> None:
    """As any test that nobody ordered; what could not be computed is seen in the trace only."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "CHOL", "HDL", "TG")
    lab.send("S1", *THREE[:2])
    assert ldl(lab) == ["LDLC - left_out NOT_COMPUTED"]
    lab.wait(minutes=5)
    lab.send("S1", THREE[2])
    assert ldl(lab) == ["LDLC 3.13 held NOT_ORDERED"]
    lab.wait(minutes=5)
    lab.order("S1", "LDLC", collected_at=lab.now - timedelta(minutes=11))
    assert ldl(lab) == ["LDLC 3.13 released"]
    left_out = make_lab(LIPIDS, not_ordered="leave_out")
    left_out.order("S1", "CHOL", "HDL", "TG")
    left_out.send("S1", *THREE)
    assert ldl(left_out) == ["LDLC 3.13 left_out"]


def test_results_before_their_order(make_lab: MakeLab) -> None:
    lab = make_lab(LIPIDS)
    collected = lab.now
    lab.wait(minutes=5)
    lab.send("S1", *THREE)
    assert ldl(lab) == []
    lab.order("S1", "LIPID", collected_at=collected)
    assert values(lab) == ["CHOL 5.20 F", "HDL 1.30 F", "TG 1.70 F", "LDLC 3.13 F"]


def test_a_site_without_orders(make_lab: MakeLab) -> None:
    """Of one message; of two only where the analyzer names the patient."""
    lab = make_lab(LIPIDS, without_order="send")
    lab.send("S1", *THREE)
    assert values(lab)[-1] == "LDLC 3.13 F"
    lab.send("S2", *THREE[:2])
    lab.wait(minutes=5)
    lab.send("S2", THREE[2])
    assert (ldl(lab, "S2"), why(lab, "S2")) == (
        ["LDLC - left_out NOT_COMPUTED"],
        "what it needs is not proven to be of one tube",
    )


def test_what_never_comes_is_a_persons_in_the_end(make_lab: MakeLab) -> None:
    from labgateway.pipeline import take

    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE[:2])
    lab.wait(hours=241)
    lab.do(lambda c: take.expire(c, lab.rules, lab.now))
    assert ldl(lab) == ["LDLC - held NOT_COMPUTED"]


# --- never of two patients, never of two tubes ---


def test_never_of_two_tubes_with_one_id(make_lab: MakeLab) -> None:
    """Yesterday's CHOL and HDL, today's TG, the same id, even the same patient: nothing is computed."""
    lab = make_lab(LIPIDS, window_h=12.0)
    lab.order("17", "LIPID")
    lab.send("17", *THREE[:2])
    lab.wait(hours=24)
    lab.order("17", "LIPID", placer="tomorrow")
    lab.send("17", THREE[2])
    assert all(not state.startswith("LDLC 3") for state in ldl(lab, "17"))
    assert "not proven to be of one tube" in why(lab, "17")


def test_never_of_two_patients(make_lab: MakeLab) -> None:
    lab = make_lab(LIPIDS, window_h=12.0)
    lab.order("17", "LIPID", patient="P1")
    lab.send("17", *THREE[:2])
    lab.wait(hours=24)
    lab.order("17", "LIPID", patient="P2", placer="tomorrow")
    lab.send("17", THREE[2])
    assert "not proven to be of one patient" in why(lab, "17")
    assert [one for one in values(lab) if one.startswith("LDLC")] == []


def test_only_this_analyzers_results_unless_it_says_so(make_lab: MakeLab) -> None:
    """`units` names what another analyzer measures."""
    other = '[tests]\nTG = { emr = "TG", unit = "mmol/L", times = 1 }\n[panels]\nLIPID = ["TG"]\n'
    own = LIPIDS.replace("TG = { emr", "TGX = { emr")
    lab = make_lab(own, others={"b2": other})
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE[:2])
    lab.send("S1", THREE[2], instrument="b2")
    assert why(lab) == "TG is missing"
    lab = make_lab(own.replace("decimals = 2 }", 'decimals = 2, units = { TG = "mmol/L" } }'), others={"b2": other})
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE[:2])
    lab.send("S1", THREE[2], instrument="b2")
    assert ldl(lab) == ["LDLC 3.13 released"]


# --- taken back ---


def test_an_input_that_is_taken_back(make_lab: MakeLab) -> None:
    """The value goes with it, behind it; a new input is a new first word that a person looks at."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    lab.decide("reject", lab.one("S1", "TG"))
    assert values(lab)[4:] == ["TG 1.70 W", "LDLC 3.13 W"]
    lab.wait(minutes=5)
    lab.send("S1", "HDL 1.40 mmol/L", status="C")
    assert values(lab)[6:] == ["HDL 1.40 C"]


def test_an_input_that_is_moved(make_lab: MakeLab) -> None:
    """Back at the old tube, and at the new one the value of what is there now."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.order("S2", "LIPID", patient="P2")
    lab.send("S1", *THREE)
    lab.send("S2", "CHOL 6.00 mmol/L", "HDL 1.00 mmol/L")
    lab.decide("relink", lab.one("S1", "TG"), to="S2", identity_checked=True)
    assert values(lab)[-4:] in (
        ["TG 1.70 W", "TG 1.70 F", "LDLC 3.13 W", "LDLC 4.23 F"],
        ["TG 1.70 W", "LDLC 3.13 W", "TG 1.70 F", "LDLC 4.23 F"],
    )
    with pytest.raises(LabgatewayError, match="move those"):
        lab.decide("relink", lab.one("S2", "LDLC"), to="S1", identity_checked=True)


def test_a_correction_to_no_number_puts_what_is_out_in_doubt(make_lab: MakeLab) -> None:
    """Nothing is guessed and nothing called back: a person is told; the next number corrects it and the doubt is gone."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    lab.wait(minutes=5)
    lab.send("S1", "TG <0.10 mmol/L", status="C")
    assert ldl(lab) == ["LDLC 3.13 released NOT_COMPUTED"]
    lab.wait(minutes=5)
    lab.send("S1", "TG 2.20 mmol/L", status="C")
    assert ldl(lab) == ["LDLC 3.13 released", "LDLC 2.90 released"]
    assert values(lab)[-1] == "LDLC 2.90 C"


# --- rules, chains, changes of the file ---


def test_rules_hold_it_and_its_inputs_may_change_meanwhile(make_lab: MakeLab) -> None:
    """What is held is worked out again in place: a stale value cannot be released."""
    lab = make_lab(LIPIDS.replace("decimals = 2 }", "decimals = 2, limits = [0, 3] }"))
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    stale = lab.one("S1", "LDLC")
    assert ldl(lab) == ["LDLC 3.13 held OUT_OF_LIMITS"]
    lab.wait(minutes=5)
    lab.send("S1", "CHOL 5.30 mmol/L", status="C")
    assert ldl(lab) == ["LDLC 3.23 held OUT_OF_LIMITS"]
    with pytest.raises(LabgatewayError, match="has changed"):
        lab.decide("release", stale)
    lab.decide("release", lab.one("S1", "LDLC"))
    assert values(lab)[-1] == "LDLC 3.23 F"


def test_one_computed_from_another(make_lab: MakeLab) -> None:
    """In the right order wherever they stand in the file; of the value as it went out."""
    chain = LIPIDS.replace('"CHOL - HDL - TG / 2.2"', '"CHOL - HDL - VLDL"').replace('"LDLC"]', '"LDLC", "VLDL"]')
    lab = make_lab(chain + 'V = { emr = "VLDL", formula = "TG ÷ 2.2", unit = "mmol/L", decimals = 1 }\n')
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    assert values(lab)[3:] == ["VLDL 0.8 F", "LDLC 3.10 F"]
    lab.wait(minutes=5)
    lab.send("S1", "TG 3.30 mmol/L", status="C")
    assert values(lab)[5:] == ["TG 3.30 C", "VLDL 1.5 C", "LDLC 2.40 C"]


def test_division_by_zero(make_lab: MakeLab) -> None:
    lab = make_lab(LIPIDS.replace("CHOL - HDL - TG / 2.2", "CHOL / (HDL - TG)"))
    lab.order("S1", "LIPID")
    lab.send("S1", "CHOL 5 mmol/L", "HDL 1.7 mmol/L", "TG 1.70 mmol/L")
    assert (ldl(lab), why(lab)) == (["LDLC - held NOT_COMPUTED"], "it would divide by zero")


def test_another_formula_changes_nothing_that_is_out(make_lab: MakeLab) -> None:
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    number = lab.send("S1", *THREE)
    lab.mappings["a1"] = LIPIDS.replace("2.2", "2.17")
    lab.replay(number)
    assert ldl(lab) == ["LDLC 3.13 released"]


STEP = st.one_of(
    st.tuples(
        st.just("send"),
        st.sampled_from(["CHOL", "HDL", "TG"]),
        st.sampled_from(["5.20", "1.30", "2.20", "<0.5", "", "12.0"]),
        st.sampled_from("FCCP"),
    ),
    st.tuples(st.just("all"), st.just(""), st.just(""), st.sampled_from("FFC")),
    st.tuples(st.just("all"), st.just(""), st.just(""), st.just("F")),
    st.tuples(st.sampled_from(["order", "release", "reject", "replay"]), st.integers(0, 9), st.just(""), st.just("")),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, min_size=1, max_size=12))
def test_whatever_happens_it_is_of_what_stands(make_lab: MakeLab, steps: list[tuple[str, Any, str, str]]) -> None:
    """After any story the value that is out, and not in doubt, is the formula of the values that are out, and no other."""
    lab = make_lab(LIPIDS.replace("rerun = ", "limits = [0, 10], rerun = "))
    play(lab, steps)
    rows = lab.seen("S1")
    replaced = {one.replaces for one in rows if one.state == "released"}
    standing = {one.code: one for one in rows if one.state == "released" and one.id not in replaced}
    found = standing.get("LDLC")
    if found is None or found.letter in ("W", "D") or found.problem is not None or found.decided_by:
        return
    last = [one for one in rows if one.code == "LDLC" and one.added and one.added.inputs][-1]
    assert last.added is not None
    used = {one.code: one for one in rows if one.id in last.added.inputs}
    assert set(used) == {"CHOL", "HDL", "TG"}
    assert {one.id for one in used.values()} <= {one.id for one in standing.values()}
    number = {code: Fraction(Decimal(str(one.value))) for code, one in used.items()}
    if last.state in ("released", "duplicate"):
        assert found.value == rounded(number["CHOL"] - number["HDL"] - number["TG"] / Fraction("2.2"), 2)


def play(lab: Lab, steps: list[tuple[str, Any, str, str]]) -> None:
    """Carry out a story: a refused deed is a deed that was not done."""
    lab.order("S1", "LIPID")
    collected = lab.now - timedelta(minutes=1)
    messages: list[int] = []
    for what, which, value, status in steps:
        lab.wait(minutes=7)
        there = [one for one in lab.seen("S1") if one.state in ("held", "released")]
        match what:
            case "send":
                messages.append(lab.send("S1", f"{which} {value} mmol/L", status=status))
            case "all":
                messages.append(lab.send("S1", *THREE, status=status))
            case "order":
                lab.order("S1", "LIPID", collected_at=collected)
            case "replay" if messages:
                lab.replay(messages[which % len(messages)])
            case "release" | "reject" if there:
                with suppress(LabgatewayError):
                    lab.decide(what, there[which % len(there)], identity_checked=True)
            case _:
                continue
