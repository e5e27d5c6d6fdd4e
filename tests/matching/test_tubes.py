"""Tubes from tubes and orders that move: the gateway beside the naive reference, which reads what the EMR said by itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from labgateway.errors import LabgatewayError
from labgateway.matching.attribute import Attached, Attribution, Candidate, attribute
from labgateway.model import Kind, ObservationState, Patient, Result
from tests.matching import book
from tests.matching.book import Said
from tests.matching.people import PANELS, POLICY
from tests.matching.reference import Opinion, opinion
from tests.matching.test_properties import agrees
from tests.pipeline.lab import Lab

TUBES = st.sampled_from(["T1", "T2", "T3", "T4", "T5"])
PLACERS = st.sampled_from(["O1", "O2", "O3"])
ORDERED = st.sampled_from(["WBC", "HGB", "CBC"])
MEASURED = ("WBC", "HGB")
LAN = Patient("1001", "1001", "TRAN THI LAN", "19700512", "F")
HUNG = Patient("1002", "1002", "Hung Nguyen-Van", "19811130", "M")
SAID = st.sampled_from([LAN, LAN, LAN, HUNG, Patient("1001", "1001"), replace(LAN, birth_date="19811130")])


class Tubes(RuleBasedStateMachine):
    """The EMR says in any order what is ordered, moved, cancelled, merged, updated and taken from what; tubes are measured."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = Lab()
        self.story: list[Said] = []
        self.tube_of: dict[str, str] = {}
        self.seen = 0

    def tell(self, said: Said, *rows: str, kind: str = "OML^O21") -> None:
        """One message of the EMR's, and the same in the reference's words."""
        who = said.patient
        pid = f"PID|1||{who.id}||{who.pid5}||{who.birth_date or ''}|{who.sex or ''}"
        self.lab.hl7(f"MSH|^~\\&|HIS||||20261122||{kind}|{len(self.story)}|P|2.5.1", pid, *rows)
        self.story.append(said)
        self.lab.hours += 0.01

    @rule(tube=TUBES, placer=PLACERS, code=ORDERED, patient=SAID, control=st.sampled_from(["NW", "NW", "XO"]))
    def order(self, tube: str, placer: str, code: str, patient: Patient, control: str) -> None:
        word = "order" if control == "NW" else "change"
        said = Said(word, self.lab.now, tube, placer, code, patient)
        self.tell(said, f"ORC|{control}|{placer}", f"OBR|1|{placer}||{code}", f"SPM|1|{tube}")

    @rule(tube=TUBES, parent=TUBES, placer=PLACERS, code=ORDERED, patient=SAID)
    def taken_from(self, tube: str, parent: str, placer: str, code: str, patient: Patient) -> None:
        self.story.append(Said("from", self.lab.now, tube, other=parent))
        said = Said("order", self.lab.now, parent, placer, code, patient)
        group = f"ORC|NW|{placer}", f"OBR|1|{placer}||{code}", f"SPM|1|{parent}"
        self.tell(said, *group, f"SAC|||{tube}|{parent}")

    @precondition(lambda self: bool(book.orders(self.story)))
    @rule(data=st.data())
    def moved_or_cancelled(self, data: st.DataObject) -> None:
        """An order that stands goes to another tube, or is called off."""
        tube, placer, code = data.draw(st.sampled_from(sorted(book.orders(self.story))))
        patient = data.draw(SAID)
        if data.draw(st.booleans()):
            self.order(data.draw(TUBES), placer, code, patient, "XO")
        else:
            said = Said("cancel", self.lab.now, tube, placer, code, patient)
            self.tell(said, f"ORC|CA|{placer}", f"OBR|1|{placer}||{code}", f"SPM|1|{tube}")

    @rule(patient=SAID, is_merge=st.booleans())
    def patient(self, patient: Patient, is_merge: bool) -> None:
        """A40, A08."""
        if is_merge:
            other = "1001" if patient.id == "1002" else "1002"
            self.tell(Said("merge", self.lab.now, patient=patient, other=other), f"MRG|{other}", kind="ADT^A40")
        else:
            self.tell(Said("update", self.lab.now, patient=patient), kind="ADT^A08")

    @rule(tube=TUBES, code=st.sampled_from(MEASURED), patient=st.sampled_from(["", "", "1001", "1002"]))
    def measure(self, tube: str, code: str, patient: str) -> None:
        """Every value is another one, so that each is known by it. HGB above 30 would be held."""
        value = f"1.{len(self.tube_of):04}"
        self.tube_of[value] = tube
        naive = self.naive(tube, code, patient)
        (one,) = self.lab.measure(tube, (code, value), patient=patient)
        assert (one.state is ObservationState.WAITING) == (naive.what == "waits"), (one, naive)
        if naive.hazards:
            assert one.problem is not None
            assert one.problem.reason in naive.hazards
        self.lab.hours += 0.01

    @precondition(lambda self: bool(book.tubes(self.story)))
    @rule(data=st.data(), code=st.sampled_from(MEASURED))
    def measure_both(self, data: st.DataObject, code: str) -> None:
        """A tube and the one that it was taken from."""
        for tube in data.draw(st.permutations(data.draw(st.sampled_from(sorted(book.tubes(self.story)))))):
            self.measure(tube, code, "")

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def taken_back(self, data: st.DataObject) -> None:
        """A person takes back what has gone out."""
        numbers = list(dict.fromkeys(sent.id for sent in self.lab.owed()))
        one = numbers[data.draw(st.integers(0, len(numbers) - 1))]
        with suppress(LabgatewayError):  # not when a later version has gone out behind it
            self.lab.act("reject", one, identity_checked=True)

    @rule(hours=st.sampled_from([1, 40, 80]))
    def wait(self, hours: int) -> None:
        self.lab.hours += hours

    def naive(self, tube: str, code: str, patient: str = "") -> Opinion:
        """What the reference says to a result that comes now."""
        result = Result(Kind.PATIENT, tube, code, "1", patient=patient or None)
        return self.naive_of(Candidate(result, (code,), self.lab.now, "xn1"))

    def naive_of(self, what: Candidate) -> Opinion:
        orders = list(book.orders(self.story).values())
        return opinion(
            what.result, what.targets, what.received_at, orders, PANELS, POLICY, self.lab.now, book.tubes(self.story)
        )

    def answer(self, what: Candidate) -> Attribution:
        """What matching says with the orders that the store finds; numbered as the reference numbers them."""
        orders = self.lab.orders(what.result.specimen or "")
        answer = attribute(what, orders, PANELS, POLICY, self.lab.now)
        if isinstance(answer, Attached) and answer.order is not None:
            order = answer.order
            key = order.ordered_on or order.specimen, order.placer, order.code
            return replace(answer, order=replace(order, id=book.orders(self.story)[key].id))
        return answer

    @invariant()
    def both_say_the_same(self) -> None:
        """On every tube, for every test, with and without a patient's number."""
        for tube in ("T1", "T2", "T3", "T4", "T5"):
            for code in MEASURED:
                what = Candidate(Result(Kind.PATIENT, tube, code, "1", patient="1001"), (code,), self.lab.now, "xn1")
                answer = self.answer(what)
                assert agrees(answer, self.naive_of(what)), (answer, self.naive_of(what), self.story)

    @invariant()
    def what_goes_out_was_asked_for(self) -> None:
        """Each new value is of the tube it is told of, for an order that the reference sees too, and for its patient."""
        owed = self.lab.owed()
        orders = book.orders(self.story)
        for sent in owed[self.seen :]:
            assert sent.value is not None
            assert self.tube_of[sent.value] == sent.lane
            if sent.letter == "W":
                continue
            one = self.lab.get(sent.id)
            what = Candidate(Result(Kind.PATIENT, sent.lane, sent.code, "1"), (sent.code,), one.received_at, "xn1")
            naive = self.naive_of(what)
            assert naive.what == "attached", (sent, naive, self.story)
            meant = [order for order in orders.values() if order.id in naive.orders]
            assert {(sent.placer, sent.patient)} == {(order.placer, order.patient.id) for order in meant}
        self.seen = len(owed)

    @invariant()
    def one_order_has_one_answer(self) -> None:
        """Of two tubes that answer the same order for the same test only one stands at a time."""
        stands: dict[tuple[int | None, str, str], str] = {}
        for sent in self.lab.owed():
            stands[self.lab.get(sent.id).order_id, sent.code, sent.lane] = sent.letter
        answers = [key[:2] for key, letter in stands.items() if letter != "W"]
        assert len(answers) == len(set(answers)), (answers, self.story)


Tubes.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestTubes = Tubes.TestCase


@pytest.mark.soak
class TestTubesAtLength(Tubes.TestCase):
    """The same, for longer."""

    settings = settings(max_examples=2_000, stateful_step_count=40, deadline=None)
