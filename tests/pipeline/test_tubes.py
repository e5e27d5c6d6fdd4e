"""Aliquots: a result on a tube that was taken from another finds that one's order, only where the EMR said so."""

from __future__ import annotations

import json
from itertools import permutations

import pytest

from labgateway.errors import LabgatewayError, Reason
from labgateway.model import ObservationState
from labgateway.orders import OrderRules
from labgateway.orders.fhir import FhirRules
from labgateway.pipeline.order_files import FileRules, take_file
from tests.orders.test_fhir import SPECIMEN, alone
from tests.pipeline.lab import Lab


def why(lab: Lab, number: str) -> Reason | None:
    problem = lab.get(number).problem
    return None if problem is None else problem.reason


def test_a_container_of_the_specimen() -> None:
    """SAC-3 taken from SAC-4: the order on S1 answers what is measured on A1, under A1's id."""
    lab = Lab()
    lab.order("S1", "O1", more=("SAC|||A1|S1",))
    (one,) = lab.measure("A1", ("WBC", "5.1"))
    assert one.state is ObservationState.RELEASED
    (sent,) = lab.owed()
    assert (sent.lane, sent.placer, sent.patient) == ("A1", "O1", "P1")
    assert [(o.ordered_on, o.specimen) for o in lab.orders("A1")] == [("S1", "A1")]


def test_nothing_is_known_without_a_word_of_the_emr() -> None:
    """A container without a parent, a longer id, a relation the other way round: no relation."""
    lab = Lab()
    lab.order("S1", "O1", more=("SAC|||A1|",))
    for specimen in ("A1", "S1-1", "S12"):
        (one,) = lab.measure(specimen, ("WBC", "5.1"))
        assert one.state is ObservationState.WAITING
    lab = Lab()
    lab.order("A1", "O1", more=("SAC|||A1|S1",))
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    assert one.state is ObservationState.WAITING, "an order on the aliquot is not the parent's"


def test_parents_by_spm_and_at_two_removes() -> None:
    """SPM-2 taken from SPM-3, told with another order; and from a tube from a tube."""
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    lab.hl7(
        "MSH|^~\\&|HIS||||20261122||OML^O21|7|P|2.5.1", "PID|1||P1||A^B|||M", "ORC|NW|O2", "OBR|1|O2||K", "SPM|1|A1|S1",
        "ORC|NW|O3", "OBR|2|O3||GLU", "SPM|1|B1|A1",
    )  # fmt: skip
    made = lab.measure("B1", ("WBC", "5.1"), ("K", "4"), ("GLU", "6"))
    assert [one.state.value for one in made] == ["released"] * 3
    assert {s.placer for s in lab.owed()} == {"O1", "O2", "O3"}


def test_a_circle_ends() -> None:
    lab = Lab()
    lab.order("S1", "O1", more=("SAC|||A1|S1", "SAC|||S1|A1"))
    (one,) = lab.measure("A1", ("WBC", "5.1"))
    assert one.state is ObservationState.RELEASED


def test_of_two_patients() -> None:
    """The tube is said to come from tubes of two patients: held."""
    lab = Lab()
    lab.order("S1", "O1", patient="P1", more=("SAC|||A1|S1",))
    lab.order("S2", "O2", patient="P2", more=("SAC|||A1|S2",))
    (one,) = lab.measure("A1", ("WBC", "5.1"))
    assert why(lab, one.id) is Reason.AMBIGUOUS_ORDER
    assert lab.owed() == []


def test_two_orders_of_one_patient_for_one_test() -> None:
    lab = Lab()
    lab.order("S1", "O1", "WBC", more=("SAC|||A1|S1",))
    lab.order("A1", "O2", "WBC")
    (one,) = lab.measure("A1", ("WBC", "5.1"))
    assert why(lab, one.id) is Reason.AMBIGUOUS_ORDER


def test_second_identifiers_still_stop_it() -> None:
    lab = Lab()
    lab.order("S1", "O1", patient="P1", more=("SAC|||A1|S1",))
    (one,) = lab.measure("A1", ("WBC", "5.1"), patient="P2")
    assert why(lab, one.id) is Reason.IDENTITY_CONFLICT


def test_another_tube_has_answered() -> None:
    """Held, whichever came second; a person takes the first back before the second may go."""
    lab = Lab()
    lab.order("S1", "O1", more=("SAC|||A1|S1",))
    (first,) = lab.measure("S1", ("WBC", "5.1"))
    (second,) = lab.measure("A1", ("WBC", "5.3"))
    assert why(lab, second.id) is Reason.OTHER_TUBE
    with pytest.raises(LabgatewayError, match=first.id):
        lab.act("release", second.id)
    lab.act("reject", first.id)
    lab.act("release", second.id)
    assert [(s.lane, s.letter, s.value) for s in lab.owed()] == [
        ("S1", "F", "5.1"),
        ("S1", "W", "5.1"),
        ("A1", "F", "5.3"),
    ]


def test_taking_back_on_a_tube_from_a_tube() -> None:
    lab = Lab()
    lab.order("S1", "O1", more=("SAC|||A1|S1",))
    (one,) = lab.measure("A1", ("WBC", "5.1"))
    lab.act("reject", one.id)
    assert [(s.lane, s.letter, s.placer) for s in lab.owed()] == [("A1", "F", "O1"), ("A1", "W", "O1")]


def test_a_cancelled_order_of_the_parent() -> None:
    lab = Lab()
    lab.order("S1", "O1", more=("SAC|||A1|S1",))
    (out,) = lab.measure("A1", ("WBC", "5.1"))
    lab.order("S1", "O1", control="CA")
    assert why(lab, out.id) is Reason.ORDER_CANCELLED, "what is out on the aliquot is asked again too"
    (one,) = lab.measure("A1", ("HGB", "13"))
    assert why(lab, one.id) is Reason.ORDER_CANCELLED


@pytest.mark.parametrize(
    "order", list(permutations(("order", "relation", "result on A1", "result on S1"))), ids=" ".join
)
def test_the_order_in_which_things_arrive(order: tuple[str, ...]) -> None:
    """Whatever comes first: of the two tubes the one whose result was received first answers, the other is held; unless the
    relation was not known yet when the second went out, and then a person is not needed for what stands."""
    lab = Lab()
    received: list[str] = []
    for step in order:
        lab.hours += 0.1
        match step:
            case "order":
                lab.order("S1", "O1", "WBC")
            case "relation":
                lab.order("S1", "O9", "GLU", more=("SAC|||A1|S1",))
            case _:
                received.append(lab.measure(step[-2:], ("WBC", "5.1"))[0].id)
    first, second = (lab.get(number) for number in received)
    states = {one.specimen: one.state.value for one in (first, second)}
    assert len(lab.owed()) == 1
    if first.state is ObservationState.RELEASED:
        assert why(lab, second.id) is Reason.OTHER_TUBE
    else:
        # The first was on the aliquot and its relation came after the parent's had gone out.
        assert (first.specimen, why(lab, first.id)) == ("A1", Reason.OTHER_TUBE)
        assert states["S1"] == "released"


def test_fhir() -> None:
    """Specimen.parent, contained or logical; a parent that is not there is refused."""
    reading = FileRules(OrderRules("files"), FhirRules("files"))
    child = {**SPECIMEN, "id": "a1", "identifier": [{"value": "A1"}], "parent": [{"reference": "#s1"}]}
    resource = alone(code={"coding": [{"code": "CBC"}]})
    resource["contained"] = [*resource["contained"], child]
    lab = Lab()
    lab.do(take_file(json.dumps(resource).encode(), rules=lab.rules, reading=reading, now=lab.now))
    (one,) = lab.measure("A1", ("WBC", "5.1"))
    assert one.state is ObservationState.RELEASED
    resource["contained"][-1] = {**child, "parent": [{"reference": "#s9"}]}
    taken = lab.do(take_file(json.dumps(resource).encode(), rules=lab.rules, reading=reading, now=lab.now))
    assert [s.place for s in taken.said] == ["ServiceRequest.contained[2].parent[0]"]


def test_an_order_that_moves_to_the_tube_that_has_answered_it() -> None:
    """From the specimen to the aliquot that was measured for it: it is the same order, and has its one answer."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", more=("SAC|||A1|S1",))
    (first,) = lab.measure("A1", ("WBC", "5.1"))
    (second,) = lab.measure("A1", ("WBC", "6.1"))
    assert why(lab, second.id) is Reason.RERUN_DIFFERS
    lab.order("A1", "O1", "WBC", control="XO")
    opened = next(o.id for o in lab.orders("A1") if o.ordered_on == "")
    with pytest.raises(LabgatewayError, match=first.id):
        lab.act("release", second.id, order=opened, identity_checked=True)
    lab.act("reject", first.id)
    lab.act("release", second.id, order=opened, identity_checked=True)
    assert [(s.letter, s.value, s.placer) for s in lab.owed()] == [
        ("F", "5.1", "O1"),
        ("W", "5.1", "O1"),
        ("F", "6.1", "O1"),
    ]
