"""An order gets another patient, or a patient other particulars, while a person looks, decides, or has decided."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from labgateway.errors import LabgatewayError, Reason
from labgateway.model import ObservationState
from tests.pipeline.lab import Lab


def why(lab: Lab, number: str) -> Reason | None:
    problem = lab.get(number).problem
    return None if problem is None else problem.reason


def update(lab: Lab, patient: str, born: str) -> None:
    """ADT^A08."""
    lab.hl7("MSH|^~\\&|HIS||||20261122||ADT^A08|8|P|2.5.1", f"PID|1||{patient}||A^B||{born}|M", "PV1|1|I")


def test_a_page_that_shows_the_patient_of_before_is_stale() -> None:
    """Z-2099-2023: the person saw P1; the order is P2's by now. Their decision was about something else."""
    lab = Lab(manual=True)
    lab.order("S1", "O1", patient="P1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    lab.order("S1", "O1", patient="P2", control="XO")
    with pytest.raises(LabgatewayError, match="has changed since you looked"):
        lab.act("release", one.id, version=one.row_version, identity_checked=True)
    assert lab.owed() == []


def test_on_a_tube_from_a_tube_it_is_stale_too() -> None:
    lab = Lab(manual=True)
    lab.order("S1", "O1", patient="P1", more=("SAC|||A1|S1",))
    (one,) = lab.measure("A1", ("WBC", "5.1"))
    lab.order("S1", "O1", patient="P2", control="XO")
    with pytest.raises(LabgatewayError, match="has changed since you looked"):
        lab.act("release", one.id, version=one.row_version, identity_checked=True)


def test_what_came_before_its_order_got_another_patient_needs_the_word() -> None:
    """P8: held for whatever reason, and released without a look at the tube, it would go to the new patient."""
    lab = Lab(manual=True)
    lab.order("S1", "O1", patient="P1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    lab.order("S1", "O1", patient="P2", control="XO")
    with pytest.raises(LabgatewayError, match="--identity-checked"):
        lab.act("release", one.id)
    lab.act("release", one.id, identity_checked=True)
    assert [(s.letter, s.patient) for s in lab.owed()] == [("F", "P2")]


def test_new_particulars_make_a_page_stale_and_need_no_word() -> None:
    """A08: the birth date on the page is not the one of now; whose result it is has not changed."""
    lab = Lab(manual=True)
    lab.order("S1", "O1", patient="P1", born="19700101")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    update(lab, "P1", "19700110")
    with pytest.raises(LabgatewayError, match="has changed since you looked"):
        lab.act("release", one.id, version=one.row_version)
    lab.act("release", one.id)
    assert [(s.letter, s.patient) for s in lab.owed()] == [("F", "P1")]


def test_the_same_particulars_again_change_nothing() -> None:
    lab = Lab(manual=True)
    lab.order("S1", "O1", patient="P1", born="19700101")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.order("S1", "O1", patient="P1", born="19700101")
    lab.act("release", one.id, version=one.row_version)
    assert len(lab.owed()) == 1


def test_new_particulars_attribute_nothing_anew() -> None:
    """A08 mends what the instrument contradicted: what is held stays a person's, what is out stays where it is, what
    comes from now on goes out."""
    lab = Lab()
    lab.order("S1", "O1", patient="P1")
    lab.order("S2", "O2", patient="P2")
    (out,) = lab.measure("S1", ("WBC", "5.1"), patient="P1")
    (held,) = lab.measure("S2", ("WBC", "6.1"), patient="P1")
    (waits,) = lab.measure("S3", ("WBC", "7.1"), patient="P1")
    before = lab.owed()
    for patient in ("P1", "P2"):
        update(lab, patient, "19800202")
    assert (lab.owed(), lab.get(out.id).problem) == (before, None)
    assert (why(lab, held.id), lab.get(waits.id).state) == (Reason.IDENTITY_CONFLICT, ObservationState.WAITING)
    assert {o.patient.birth_date for s in ("S1", "S2") for o in lab.orders(s)} == {"19800202"}
    (late,) = lab.measure("S1", ("HGB", "13"), patient="P1")
    assert late.state is ObservationState.RELEASED


def test_new_particulars_of_two_sources_may_make_one_patient_two() -> None:
    """A08 of one EMR gives the number a birth date that the other EMR's order does not have: held from then on, and what is
    out is asked again when the orders of its tube come again."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", patient="P1", born="19700101")
    lab.order("S1", "O2", "HGB", patient="P1", born="19700101", source="other")
    (out,) = lab.measure("S1", ("WBC", "5.1"))
    assert out.state is ObservationState.RELEASED
    update(lab, "P1", "19800202")
    (late,) = lab.measure("S1", ("HGB", "13"))
    assert why(lab, late.id) is Reason.AMBIGUOUS_ORDER


@pytest.mark.parametrize("action", ["reject", "relink"])
def test_a_retraction_goes_to_the_patient_who_has_the_result(action: str) -> None:
    """The order is P2's by now; the result stands at P1, so that is where it is wrong."""
    lab = Lab()
    lab.order("S1", "O1", patient="P1")
    lab.order("S2", "O2", patient="P3")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    lab.order("S1", "O1", patient="P2", control="XO")
    lab.act(action, one.id, **({"to": "S2", "identity_checked": True} if action == "relink" else {}))
    assert [(s.letter, s.patient) for s in lab.owed()[:2]] == [("F", "P1"), ("W", "P1")]


def test_a_retraction_names_the_patient_as_fully_as_is_known() -> None:
    lab = Lab()
    lab.order("S1", "O1", patient="P1^^^TH^MR", born="19700101")
    lab.order("S9", "O9", patient="P1^^^TH^MR", born="19700101")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.order("S1", "O1", patient="P2^^^TH^MR", control="XO")
    reports = []
    lab.rules.destinations[0].render  # noqa: B018
    lab.act("reject", one.id)
    reports = lab.do(lambda c: c.execute(text("SELECT body FROM delivery ORDER BY id")).scalars().all())
    assert [json.loads(body)[0][5] for body in reports] == ["P1", "P1"]


def test_after_a_merge_versions_go_on_at_the_survivor() -> None:
    """The EMR moves its own records: what P1 had is P2's, so another value is no first one there, and W goes there."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", patient="P1")
    (first,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    lab.merge("P1", "P2")
    lab.hours = 2
    (again,) = lab.measure("S1", ("WBC", "6.1"))
    assert why(lab, again.id) is Reason.RERUN_DIFFERS
    lab.act("release", again.id)
    assert [(s.letter, s.patient, s.replaces) for s in lab.owed()] == [("F", "P1", None), ("C", "P2", first.id)]
    lab.act("reject", again.id)
    assert (lab.owed()[-1].letter, lab.owed()[-1].patient) == ("W", "P2")


def test_after_a_merge_what_is_out_is_in_no_doubt() -> None:
    """Not by the merge, and not by the order messages that follow it."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", patient="P1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    lab.merge("P1", "P2")
    lab.hours = 2
    lab.order("S1", "O2", "HGB", patient="P2")
    assert why(lab, one.id) is None


def test_nothing_moves_to_an_order_that_another_tube_has_answered() -> None:
    """OTHER_TUBE holds for what a person moves, too: one order has one answer."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", more=("SAC|||A1|S1",))
    (first,) = lab.measure("A1", ("WBC", "5.1"))
    (second,) = lab.measure("S9", ("WBC", "6.1"))
    with pytest.raises(LabgatewayError, match=first.id):
        lab.act("relink", second.id, to="S1", identity_checked=True)
    lab.act("reject", first.id)
    lab.act("relink", second.id, to="S1", identity_checked=True)
    assert [(s.lane, s.letter) for s in lab.owed()] == [("A1", "F"), ("A1", "W"), ("S1", "F")]
