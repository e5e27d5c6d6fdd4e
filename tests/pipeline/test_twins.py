"""One message, one test, two values: neither leaves before a person has said which."""

from __future__ import annotations

from labgateway.model import ObservationState
from tests.pipeline.lab import Lab


def said(lab: Lab, *values: tuple[str, str], order: str = "WBC", before: bool = True) -> list[tuple[str, str, str]]:
    """State, reason and value of each, once there is an order."""
    if before:
        lab.order("S1", "O1", order)
    found = lab.measure("S1", *values)
    if not before:
        assert {one.state for one in found} == {ObservationState.WAITING}
        lab.order("S1", "O1", order)
    rows = [lab.get(one.id) for one in found]
    return [(one.state.value, one.problem.reason.name if one.problem else "", one.value or "") for one in rows]


def test_the_first_of_two_values_does_not_leave() -> None:
    """The diluted rerun behind >500: which counts is a person's to say."""
    for before in (True, False):
        lab = Lab()
        assert said(lab, ("WBC", ">500"), ("WBC", "780"), before=before) == [
            ("held", "RERUN_DIFFERS", ">500"),
            ("held", "EARLIER_HELD", "780"),
        ]
        assert lab.owed() == []


def test_a_person_says_which() -> None:
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    first, second = lab.measure("S1", ("WBC", ">500"), ("WBC", "780"))
    lab.act("reject", first.id)
    lab.act("release", second.id)
    assert [(one.letter, one.value) for one in lab.owed()] == [("F", "780")]
    again = lab.measure("S1", ("WBC", ">500"), ("WBC", "780"))
    assert len(lab.owed()) == 1, [(one.state, one.problem) for one in again]


def test_the_same_value_twice_is_one() -> None:
    lab = Lab()
    assert [state for state, _, _ in said(lab, ("WBC", "5.1"), ("WBC", "5.1"))] == ["released", "duplicate"]


def test_the_lab_has_said_that_the_last_one_counts() -> None:
    lab = Lab()
    assert [state for state, _, _ in said(lab, ("K", "15.1"), ("K", "5.4"), order="K")] == ["released", "released"]
    assert [(one.letter, one.value) for one in lab.owed()] == [("F", "15.1"), ("C", "5.4")]


def test_other_tests_and_withheld_values_are_no_contradiction() -> None:
    lab = Lab()
    lab.order("S1", "O1")
    found = lab.measure("S1", ("WBC", ""), ("WBC", "5.1"), ("HGB", "13"))
    assert [one.state.value for one in found] == ["released"] * 3
