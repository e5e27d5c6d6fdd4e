"""What people decide: released, rejected, moved; by name, with a reason, about the version they saw."""

from __future__ import annotations

from typing import Any

import pytest

from labgateway.errors import LabgatewayError, Reason
from labgateway.model import ObservationState
from labgateway.store import worklist
from tests.pipeline.lab import Lab, Sent


def brief(sent: list[Sent]) -> list[tuple[Any, ...]]:
    return [(s.lane, s.letter, s.code, s.value, s.placer, s.patient) for s in sent]


def refused(lab: Lab, words: str, action: str, subject: str, **more: Any) -> None:
    """It is refused with these words, and nothing is changed or written."""
    before = (lab.get(subject), lab.owed(), lab.audit())
    with pytest.raises(LabgatewayError, match=words):
        lab.act(action, subject, **more)
    assert (lab.get(subject), lab.owed(), lab.audit()) == before


def test_a_decision_names_the_version_that_was_seen() -> None:
    """P9: without it, or with another one, nothing happens."""
    lab = Lab(manual=True)
    lab.order("S1", "O1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    assert one.state is ObservationState.HELD
    for action in ("release", "reject", "relink"):
        refused(lab, "--version N", action, one.id, version=None)
        refused(lab, "has changed since you looked", action, one.id, version=one.row_version + 1)
    lab.act("release", one.id)
    refused(lab, "has changed since you looked", "reject", one.id, version=one.row_version)
    assert brief(lab.owed()) == [("S1", "F", "WBC", "5.1", "O1", "P1")]
    assert lab.audit() == [("Hoa", "release", f"observation {one.id}")]


def test_a_conflict_of_identities_needs_its_own_word() -> None:
    lab = Lab()
    lab.order("S1", "O1", patient="P1")
    (one,) = lab.measure("S1", ("WBC", "5.1"), patient="P2")
    assert one.problem is not None
    assert one.problem.reason is Reason.IDENTITY_CONFLICT
    refused(lab, "--identity-checked", "release", one.id)
    refused(lab, "--identity-checked", "release", one.id, identity_checked="yes")
    lab.act("release", one.id, identity_checked=True)
    assert brief(lab.owed()) == [("S1", "F", "WBC", "5.1", "O1", "P1")]
    deeds = lab.do(lambda c: worklist.deeds_on(c, f"observation {one.id}"))
    assert deeds[0]["because"] == "looked (identity checked)"


def test_two_patients_on_one_id_need_it_too() -> None:
    lab = Lab()
    lab.order("S1", "O1", patient="P1")
    lab.order("S1", "O2", patient="P2")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    wanted = next(order.id for order in lab.orders("S1") if order.placer == "O2")
    refused(lab, "--identity-checked", "release", one.id, order=wanted)
    lab.act("release", one.id, order=wanted, identity_checked=True)
    assert brief(lab.owed()) == [("S1", "F", "WBC", "5.1", "O2", "P2")]


@pytest.mark.parametrize(("ordered", "measured"), [(0, 24 * 60), (24 * 12, 0)])
def test_an_order_in_whose_window_it_did_not_come_needs_it_too(ordered: float, measured: float) -> None:
    """The only open order of the id is of an earlier use of it, or of a later one: nobody is warned by a second patient."""
    lab = Lab()
    numbers: list[str] = []
    for hours in sorted((ordered, measured)):
        lab.hours = hours
        if hours == ordered:
            lab.order("S1", "O1", "WBC", patient="P1")
        else:
            numbers += [one.id for one in lab.measure("S1", ("WBC", "5.1"))]
    (number,) = numbers
    assert lab.get(number).state in (ObservationState.WAITING, ObservationState.HELD)
    refused(lab, "--identity-checked", "release", number)
    lab.act("release", number, identity_checked=True)
    assert brief(lab.owed()) == [("S1", "F", "WBC", "5.1", "O1", "P1")]


def test_an_order_that_was_given_to_another_patient_meanwhile_needs_it_too() -> None:
    """What a person is to release anyway is not judged again when the orders change: whose tube it was is in doubt."""
    lab = Lab(manual=True)
    lab.order("S1", "O1", "WBC", patient="P1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 1
    lab.order("S1", "O1", "WBC", patient="P2", control="XO")
    refused(lab, "--identity-checked", "release", one.id)
    lab.act("release", one.id, identity_checked=True)
    assert brief(lab.owed()) == [("S1", "F", "WBC", "5.1", "O1", "P2")]


def test_what_is_out_is_taken_back_behind_itself() -> None:
    """W, in the lane of the original, to whoever was told; once."""
    lab = Lab(names=("emr", "copy"))
    lab.order("S1", "O1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.act("reject", one.id)
    for name in lab.names:
        told = [s for s in lab.owed() if s.destination == name]
        assert brief(told) == [("S1", "F", "WBC", "5.1", "O1", "P1"), ("S1", "W", "WBC", "5.1", "O1", "P1")]
        assert told[1].replaces == one.id
    refused(lab, "A later version", "reject", one.id)
    (again,) = lab.measure("S1", ("WBC", "5.1"), at="20261122090000")
    assert again.state is ObservationState.HELD, "what was taken back is not reported again by itself"


def test_a_retraction_goes_only_where_the_original_went() -> None:
    lab = Lab(names=("emr",))
    lab.order("S1", "O1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.rules = Lab(names=("emr", "later")).rules
    lab.act("reject", one.id)
    assert {s.destination for s in lab.owed()} == {"emr"}


def test_what_is_out_moves_to_where_it_belongs() -> None:
    """W at the old place, a new observation at the new one, two lanes, all of it audited."""
    lab = Lab()
    lab.order("S1", "O1", patient="P1")
    lab.order("S2", "O2", patient="P2")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    refused(lab, "--identity-checked", "relink", one.id, to="S2")
    refused(lab, "No open order", "relink", one.id, to="S3", identity_checked=True)
    lab.act("relink", one.id, to="S2", identity_checked=True)
    first, back, new = lab.owed()
    assert brief([first, back, new]) == [
        ("S1", "F", "WBC", "5.1", "O1", "P1"),
        ("S1", "W", "WBC", "5.1", "O1", "P1"),
        ("S2", "F", "WBC", "5.1", "O2", "P2"),
    ]
    assert back.replaces == one.id
    assert new.replaces is None
    assert len({first.id, back.id, new.id}) == 3
    assert {(action, subject) for _, action, subject in lab.audit()} == {
        ("relink", f"observation {one.id}"),
        ("retract", f"observation {back.id}"),
        ("relinked", f"observation {new.id}"),
    }
    assert lab.get(new.id).result.specimen == "S1", "what the analyzer said stays as it was"
    refused(lab, "A later version", "relink", one.id, to="S2", identity_checked=True)
    lab.order("S2", "O2", patient="P2")
    assert len(lab.owed()) == 3, "a person's decision is not judged again"
    again = lab.act("relink", new.id, order=lab.orders("S1")[0].id, identity_checked=True)
    assert "is taken back" in again.words
    assert brief(lab.owed())[3:] == [("S2", "W", "WBC", "5.1", "O2", "P2"), ("S1", "F", "WBC", "5.1", "O1", "P1")]


def test_a_retraction_stays_behind_an_original_that_waits() -> None:
    lab = Lab()
    lab.order("S1", "O1")
    lab.order("S2", "O2", patient="P2")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.act("relink", one.id, to="S2", identity_checked=True)
    assert lab.settle() == 2, "of each lane the oldest"
    assert lab.settle() == 1, "then the retraction"


def test_what_was_moved_corrects_what_stood_there() -> None:
    lab = Lab()
    lab.order("S1", "O1")
    lab.order("S2", "O2", patient="P2")
    (wrong,) = lab.measure("S2", ("WBC", "9.9"))
    (right,) = lab.measure("S1", ("WBC", "5.1"))
    lab.act("relink", right.id, to="S2", identity_checked=True)
    assert (lab.owed()[-1].letter, lab.owed()[-1].replaces) == ("C", wrong.id)
    refused(lab, "A later version", "reject", wrong.id)


def test_a_held_result_without_an_id_finds_its_tube() -> None:
    """It never came to its mapping: it does when a person says whose it is."""
    lab = Lab()
    lab.order("S1", "O1", "GLU2H")
    (one,) = lab.measure("", ("GLU", "5.1"))
    assert one.problem is not None
    assert one.problem.reason is Reason.NO_SPECIMEN
    refused(lab, "no open order|NO_SPECIMEN|specimen id", "release", one.id)
    lab.act("relink", one.id, to="S1", identity_checked=True)
    assert brief(lab.owed()) == [("S1", "F", "GLU2H", "5.1", "O1", "P1")]
    assert lab.get(one.id).specimen == "S1"


def test_of_several_tests_a_release_is_the_one_that_its_order_asks_for() -> None:
    """Until it has an order it bears the analyzer's code, which may be another test of the EMR's: GLU is not GLU2H."""
    lab = Lab()
    lab.order("S1", "O1", "GLU")
    lab.order("S1", "O2", "GLU2H")
    (one,) = lab.measure("S1", ("GLU", "5.1"))
    assert one.problem is not None and one.problem.reason is Reason.SEVERAL_TARGETS
    refused(lab, "--order NUMBER", "release", one.id)
    wanted = next(order.id for order in lab.orders("S1") if order.placer == "O2")
    lab.act("release", one.id, order=wanted)
    assert brief(lab.owed()) == [("S1", "F", "GLU2H", "5.1", "O2", "P1")]
    assert lab.get(one.id).code == "GLU2H"


def test_of_several_tests_what_waits_moves_to_the_one_that_is_asked_for() -> None:
    lab = Lab()
    lab.order("S1", "O1", "GLU2H")
    (one,) = lab.measure("S9", ("GLU", "5.1"))
    assert one.state is ObservationState.WAITING
    lab.act("relink", one.id, to="S1", identity_checked=True)
    assert brief(lab.owed()) == [("S1", "F", "GLU2H", "5.1", "O1", "P1")]


def test_of_several_tests_none_is_released_to_an_order_for_another_one() -> None:
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    (one,) = lab.measure("S1", ("GLU", "5.1"))
    refused(lab, "exactly one of them", "release", one.id, order=lab.orders("S1")[0].id)
    alone = Lab(policy={"without_order": "send"})
    (one,) = alone.measure("S1", ("GLU", "5.1"))
    refused(alone, "any of GLU, GLU2H", "release", one.id)


def test_what_has_no_mapping_moves_nowhere() -> None:
    lab = Lab()
    lab.order("S1", "O1", "XYZ")
    (one,) = lab.measure("S9", ("XYZ", "5.1"))
    refused(lab, "mapping", "relink", one.id, to="S1", identity_checked=True)


def test_a_name_and_a_reason() -> None:
    lab = Lab(manual=True)
    lab.order("S1", "O1")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    refused(lab, "who decides", "release", one.id, who=" ")
    refused(lab, "who decides", "release", one.id, because="")


def test_what_a_person_releases_goes_behind_what_stands() -> None:
    """Older values released after newer ones: each is a version of the one before it, and a resend is known by it."""
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    numbers = [lab.measure("S1", ("WBC", value))[0].id for value in ("5.1", "6.1", "7.1", "8.1")]
    first, second, third, fourth = numbers
    for one in (fourth, second, third):
        lab.act("release", one)
    assert [(s.letter, s.value, s.replaces) for s in lab.owed()] == [
        ("F", "5.1", None),
        ("C", "8.1", first),
        ("C", "6.1", fourth),
        ("C", "7.1", second),
    ]
    (again,) = lab.measure("S1", ("WBC", "8.1"))
    assert again.state is ObservationState.HELD, "7.1 stands: 8.1 is not what the EMR has"
    refused(lab, "A later version", "reject", fourth)


def test_after_a_retraction_one_value_stands_at_most() -> None:
    """An older value released behind W is what stands, though it was received before what was taken back."""
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    _, second, third = (lab.measure("S1", ("WBC", value))[0].id for value in ("5.1", "6.1", "7.1"))
    fourth = lab.measure("S1", ("WBC", "8.1"))[0].id
    lab.act("release", fourth)
    lab.act("reject", fourth)
    lab.act("release", second)
    lab.act("release", third)
    assert [(s.letter, s.value) for s in lab.owed()[2:]] == [("W", "8.1"), ("F", "6.1"), ("C", "7.1")]
    assert lab.owed()[-1].replaces == second
