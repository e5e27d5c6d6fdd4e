"""A08: a patient has new particulars. What may change a decision by that, what may not, and what stays a person's."""

from __future__ import annotations

from labgateway.errors import Reason
from labgateway.model import ObservationState, Patient
from labgateway.orders import OrderRules
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.order_book import Taken, take_orders
from labgateway.store.observed import Stored
from tests.pipeline.lab import Lab


def update(lab: Lab, pid: str, *, source: str = "emr") -> Taken:
    """ADT^A08 with this PID."""
    return lab.hl7("MSH|^~\\&|HIS||||20261122||ADT^A08|9|P|2.5.1", pid, source=source)


def measure(lab: Lab, specimen: str, value: str = "5.1", *, born: str = "", sex: str = "", patient: str = "") -> Stored:
    """One WBC; the instrument says this of the patient."""
    return lab.measure(specimen, ("WBC", value), patient=f"{patient}||^||{born}|{sex}")[0]


def why(one: Stored) -> Reason | None:
    return None if one.problem is None else one.problem.reason


def patients(lab: Lab, specimen: str) -> list[Patient]:
    return [order.patient for order in lab.orders(specimen)]


def test_what_comes_after_is_compared_with_the_new_particulars() -> None:
    """Birth date and sex hold or let pass from now on; the order stays the same order of the same patient."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", born="19700101")
    lab.order("S2", "O2", "WBC", born="19700101")
    update(lab, "PID|1||P1||A^B||19810202|F")
    assert patients(lab, "S1") == [Patient("P1", "P1", "A^B", "19810202", "F")]
    assert [order.patient_changed_at for order in lab.orders("S1")] == [None]
    assert why(measure(lab, "S1", born="19700101")) is Reason.IDENTITY_CONFLICT
    assert measure(lab, "S2", born="19810202", sex="F").state is ObservationState.RELEASED
    assert [(s.placer, s.patient) for s in lab.owed()] == [("O2", "P1")]


def test_what_is_not_said_stays() -> None:
    """An A08 with the number alone takes no birth date away: a result that contradicts it is still held."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", born="19700101")
    update(lab, "PID|1||P1")
    assert patients(lab, "S1") == [Patient("P1", "P1", "A^B", "19700101", "M")]
    assert why(measure(lab, "S1", born="19810202")) is Reason.IDENTITY_CONFLICT


def test_a_conflict_stays_a_persons_when_the_update_ends_it() -> None:
    """What was held for a conflict of identities is not let go by the EMR's new words; a person sees and decides."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", born="19700101")
    held = measure(lab, "S1", born="19810202")
    update(lab, "PID|1||P1||A^B||19810202|M")
    assert why(lab.get(held.id)) is Reason.IDENTITY_CONFLICT
    assert lab.owed() == []


def test_what_is_out_stays_as_it_was_sent() -> None:
    """New particulars that contradict what the instrument said: the EMR holds the result under its number; nothing goes again."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", born="19700101")
    out = measure(lab, "S1", born="19700101", patient="P1")
    sent = lab.owed()
    update(lab, "PID|1||P1||X^Y||19810202|F")
    assert lab.get(out.id) == out
    assert lab.owed() == sent


def test_no_order_changes_hands() -> None:
    """The number finds the patient and is never changed by it: another number, or another source, touches nothing here."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", patient="P1")
    lab.order("S2", "O2", "WBC", patient="P1", source="file")
    before = lab.orders("S1"), lab.orders("S2")
    assert update(lab, "PID|1||P2||A^B||19700101|M").count == 0
    assert update(lab, "PID|1||p1||A^B||19700101|M").count == 0
    assert (lab.orders("S1"), lab.orders("S2")) == before
    assert update(lab, "PID|1||P1||A^B||19700101|M").count == 1
    assert lab.orders("S2") == before[1]


def test_orders_that_become_one_patients() -> None:
    """Two orders of one number with two sexes were doubtful. The EMR says which is right: decided again, for that number."""
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    lab.hl7(
        "MSH|^~\\&|HIS||||20261122||OML^O21|8|P|2.5.1", "PID|1||P1||A^B|||F", "ORC|NW|O2", "OBR|1|O2||HGB", "SPM|1|S1",
    )  # fmt: skip
    held = measure(lab, "S1")
    assert why(held) is Reason.AMBIGUOUS_ORDER
    update(lab, "PID|1||P1||A^B|||F")
    assert lab.get(held.id).state is ObservationState.RELEASED
    assert [(s.placer, s.patient) for s in lab.owed()] == [("O1", "P1")]


def test_versions_go_on_behind_an_update() -> None:
    """The place of a test is its order: a correction after the update follows its original."""
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    first = measure(lab, "S1")
    lab.hours = 1
    update(lab, "PID|1||P1^^^NEW^MR||X^Y||19810202|F")
    lab.measure("S1", ("WBC", "5.3"), status="C")
    assert [(s.letter, s.replaces) for s in lab.owed()] == [("F", None), ("C", first.id)]


def test_an_update_without_number_is_refused() -> None:
    """It changes nobody: particulars alone never find a patient."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", born="19700101")
    before = lab.orders("S1")
    data = b"MSH|^~\\&|HIS||||20261122||ADT^A08|9|P|2.5.1\rPID|1||||A^B||19700101|F\r"
    job = take_orders(data, peer="", rules=lab.rules, reading=OrderRules("emr"), now=lab.now, control_id=new_id())
    assert lab.do(job).code == "AE"
    assert lab.orders("S1") == before
