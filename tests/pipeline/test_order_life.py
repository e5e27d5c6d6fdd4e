"""Orders that change after results came: moved to another tube, to another patient, cancelled, merged, added to."""

from __future__ import annotations

import pytest

from labgateway.errors import LabgatewayError, Reason
from labgateway.model import ObservationState, OrderState
from labgateway.store import worklist
from tests.pipeline.lab import Lab


def reasons(lab: Lab) -> list[tuple[str, bool]]:
    """What waits for a person: why, and whether it is out."""
    items = lab.do(worklist.items)
    assert lab.do(worklist.count) == len(items)
    return [(item.problem.reason.name, item.is_out) for item in items]


def test_a_change_moves_an_order_to_another_tube() -> None:
    """XO with another specimen id: open there, withdrawn here, and what comes for the old tube is held."""
    lab = Lab()
    lab.order("S1", "O1")
    lab.order("S2", "O1", control="XO")
    assert [o.state for o in lab.orders("S1")] == [OrderState.CANCELLED]
    assert [o.state for o in lab.orders("S2")] == [OrderState.OPEN]
    (old,), (new,) = lab.measure("S1", ("WBC", "5.1")), lab.measure("S2", ("WBC", "6.1"))
    assert old.problem is not None
    assert (old.state, old.problem.reason) == (ObservationState.HELD, Reason.ORDER_CANCELLED)
    assert new.state is ObservationState.RELEASED


def test_a_moved_order_answers_what_waited_on_the_new_tube() -> None:
    lab = Lab()
    (waits,) = lab.measure("S2", ("WBC", "6.1"))
    lab.order("S1", "O1")
    assert lab.get(waits.id).state is ObservationState.WAITING
    lab.order("S2", "O1", control="XO")
    assert lab.get(waits.id).state is ObservationState.RELEASED


def test_a_change_on_several_tubes_keeps_them_all() -> None:
    lab = Lab()
    two = ("SPM|2|S2",)
    lab.order("S1", "O1", "GLU", more=two)
    lab.order("S1", "O1", "GLU", control="XO", more=two)
    assert [o.state for s in ("S1", "S2") for o in lab.orders(s)] == [OrderState.OPEN] * 2
    lab.order("S2", "O1", "GLU", control="XO")
    assert [o.state for s in ("S1", "S2") for o in lab.orders(s)] == [OrderState.CANCELLED, OrderState.OPEN]


def test_a_change_leaves_other_orders_alone() -> None:
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    lab.order("S1", "O2", "HGB")
    lab.order("S1", "O1", "WBC", source="other")
    lab.order("S2", "O1", "WBC", control="XO")
    assert [(o.placer, o.source) for o in lab.orders("S1") if o.state is OrderState.OPEN] == [
        ("O2", "emr"),
        ("O1", "other"),
    ]


_HEAD = "MSH|^~\\&|HIS||||20261122||OML^O21|1|P|2.5.1"
_WHOLE = (
    _HEAD, "PID|1||P1||A^B||19700101|M", "PV1|1|I|W1", "ORC|NW|O1|F1", "OBR|1|O1|F1|WBC^W^L|||20261122075500+0000",
    "SPM|1|S1||BLD^Blood",
)  # fmt: skip


def test_what_a_change_does_not_say_stays() -> None:
    """HL7 2.5.1, 2.5.3: not valued is no change. A birth date that is gone compares nothing, a collection opens the window."""
    lab = Lab()
    lab.hl7(*_WHOLE)
    (before,) = lab.orders("S1")
    lab.hl7(_HEAD, "PID|1||P1", "ORC|XO|O1", "OBR|1|O1||WBC^W^L", "SPM|1|S1")
    assert lab.orders("S1") == [before]
    lab.hl7(_HEAD, "PID|1||P1||||19710101", "ORC|XO|O1", "OBR|1|O1||WBC^W^L|||202611220800+0000", "SPM|1|S1")
    (after,) = lab.orders("S1")
    assert (after.patient.pid5, after.patient.birth_date, after.patient.sex) == ("A^B", "19710101", "M")
    assert after.collected_text == "202611220800+0000"
    assert after.collected_at is not None and after.collected_at.hour == 8
    lab.hl7(_HEAD, "PID|1||P1", "ORC|XO|O1", "OBR|1|O1||WBC^W^L|||soon", "SPM|1|S1")
    assert (lab.orders("S1")[0].collected_text, lab.orders("S1")[0].collected_at) == ("soon", None)


def test_what_a_change_to_another_patient_does_not_say_is_not_known() -> None:
    """Nothing of the patient before is the other one's."""
    lab = Lab()
    lab.hl7(*_WHOLE)
    lab.hl7(_HEAD, "PID|1||P2", "ORC|XO|O1", "OBR|1|O1||WBC^W^L", "SPM|1|S1")
    (after,) = lab.orders("S1")
    assert (after.patient.id, after.patient.pid5, after.patient.birth_date) == ("P2", "", None)
    assert after.collected_at is None


def test_new_particulars_of_a_patient_erase_none() -> None:
    """A08 and A40 whose PID names no birth date."""
    lab = Lab()
    lab.hl7(*_WHOLE)
    lab.hl7("MSH|^~\\&|HIS||||20261122||ADT^A08|9|P|2.5.1", "PID|1||P1||A^C")
    (after,) = lab.orders("S1")
    assert (after.patient.pid5, after.patient.birth_date, after.patient.sex) == ("A^C", "19700101", "M")
    lab.hl7("MSH|^~\\&|HIS||||20261122||ADT^A40|9|P|2.5.1", "PID|1||P7", "MRG|P1")
    (after,) = lab.orders("S1")
    assert (after.patient.id, after.patient.birth_date) == ("P7", "19700101")


def test_a_result_that_is_out_when_its_order_moves_is_told_to_a_person() -> None:
    """Never called back by itself; a person says that it stands, takes it back, or moves it."""
    lab = Lab()
    lab.order("S1", "O1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    taken = lab.order("S2", "O1", control="XO")
    assert taken.outcome.doubts == 1
    assert reasons(lab) == [("ORDER_CANCELLED", True)]
    assert lab.get(one.id).state is ObservationState.RELEASED
    lab.act("relink", one.id, to="S2", identity_checked=True)
    assert reasons(lab) == []
    assert [(s.lane, s.letter) for s in lab.owed()] == [("S1", "F"), ("S1", "W"), ("S2", "F")]


@pytest.mark.parametrize("first", ["move", "result"])
def test_an_order_that_moved_is_not_answered_twice(first: str) -> None:
    """What went out from the old tube stands in the EMR under this order: a second F from the new one waits for a person."""
    lab = Lab()
    lab.order("S1", "O1")
    (old,) = lab.measure("S1", ("WBC", "5.1"))
    if first == "move":
        lab.order("S2", "O1", control="XO")
        (new,) = lab.measure("S2", ("WBC", "6.1"))
    else:
        (new,) = lab.measure("S2", ("WBC", "6.1"))
        lab.order("S2", "O1", control="XO")
    new = lab.get(new.id)
    assert new.problem is not None
    assert (new.state, new.problem.reason) == (ObservationState.HELD, Reason.OTHER_TUBE)
    with pytest.raises(LabgatewayError, match=f"{old.id} has answered"):
        lab.act("release", new.id, identity_checked=True)
    lab.act("reject", old.id)
    lab.act("release", new.id, identity_checked=True)
    assert [(s.lane, s.letter) for s in lab.owed()] == [("S1", "F"), ("S1", "W"), ("S2", "F")]


def test_an_order_on_two_tubes_is_answered_from_both() -> None:
    """A profile of the day: one placer number, two specimens, neither withdrawn."""
    lab = Lab()
    lab.order("S1", "O1", "GLU", more=("SPM|2|S2",))
    states = [lab.measure(specimen, ("GLU", value))[0].state for specimen, value in (("S1", "5.1"), ("S2", "7.1"))]
    assert states == [ObservationState.RELEASED] * 2


def test_a_result_that_is_out_when_its_order_is_given_to_another_patient() -> None:
    lab = Lab()
    lab.order("S1", "O1", patient="P1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    lab.order("S1", "O1", patient="P2", control="XO")
    assert reasons(lab) == [("ORDER_CHANGED", True)]
    lab.act("release", one.id, identity_checked=True)
    assert reasons(lab) == []
    lab.order("S1", "O1", patient="P2", control="XO")
    assert reasons(lab) == [], "a person has said that it stands"
    lab.hours = 2
    lab.order("S1", "O1", patient="P3", control="XO")
    assert reasons(lab) == [("ORDER_CHANGED", True)], "and now it is yet another patient"


def test_the_doubt_ends_when_the_orders_answer_again() -> None:
    lab = Lab()
    lab.order("S1", "O1")
    lab.measure("S1", ("WBC", "5.1"))
    lab.order("S1", "O1", control="CA")
    assert reasons(lab) == [("ORDER_CANCELLED", True)]
    lab.order("S1", "O1")
    assert reasons(lab) == []


def test_a_second_patient_on_an_id_that_was_answered() -> None:
    lab = Lab()
    lab.order("S1", "O1")
    lab.measure("S1", ("WBC", "5.1"))
    lab.order("S1", "O9", patient="P9")
    assert reasons(lab) == [("AMBIGUOUS_ORDER", True)]


def test_a_discontinued_order_says_nothing_against_what_is_out() -> None:
    lab = Lab()
    lab.order("S1", "O1")
    lab.measure("S1", ("WBC", "5.1"))
    lab.order("S1", "O1", control="DC")
    assert reasons(lab) == []
    (late,) = lab.measure("S1", ("HGB", "13"))
    assert late.problem is not None
    assert late.problem.reason is Reason.ORDER_CANCELLED


def test_an_order_that_is_added_later_answers_what_nobody_had_ordered() -> None:
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    (held,) = lab.measure("S1", ("HGB", "13"))
    assert held.problem is not None
    assert held.problem.reason is Reason.NOT_ORDERED
    lab.order("S1", "O2", "HGB")
    assert lab.get(held.id).state is ObservationState.RELEASED
    assert [s.placer for s in lab.owed()] == ["O2"]


def test_merged_patients() -> None:
    """A40: what waits or came before is seen by a person; what comes after goes to the survivor; what is out the EMR moves itself."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", patient="P1")
    lab.order("S1", "O2", "HGB", patient="P2")
    lab.order("S2", "O3", "WBC", patient="P1")
    (held,) = lab.measure("S1", ("WBC", "5.1"))
    (out,) = lab.measure("S2", ("WBC", "7.0"))
    assert held.problem is not None
    assert held.problem.reason is Reason.AMBIGUOUS_ORDER
    lab.hours = 1
    lab.merge("P1", "P2")
    problem = lab.get(held.id).problem
    assert problem is not None
    assert problem.reason is Reason.ORDER_CHANGED
    assert lab.get(out.id).problem is None
    lab.hours = 2
    (new,) = lab.measure("S1", ("HGB", "13"))
    assert new.state is ObservationState.RELEASED
    assert lab.owed()[-1].patient == "P2"


def test_a_site_that_waits_longer_has_one_final_value_an_order() -> None:
    """What one order was told counts for as long as the site lets results wait, not for the 240 hours of the default."""
    lab = Lab(policy={"wait_h": 400})
    (first,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 330
    lab.order("S1", "O1")
    assert lab.get(first.id).state is ObservationState.RELEASED
    lab.hours = 331
    (again,) = lab.measure("S1", ("WBC", "6.1"))
    assert again.problem is not None and again.problem.reason is Reason.RERUN_DIFFERS
