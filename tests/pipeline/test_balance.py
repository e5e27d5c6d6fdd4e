"""The proof of a day: it balances whatever happened, and does not when one row is not what it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import text

from labgateway.balance import ACCOUNTS, Balance, balance
from labgateway.errors import LabgatewayError
from labgateway.pipeline import take
from labgateway.store import journal, outbox
from tests.pipeline.lab import START, Lab
from tests.pipeline.mapped_lab import Lab as MappedLab
from tests.pipeline.test_computed import LIPIDS, THREE


def proof(lab: Lab) -> Balance:
    return lab.do(lambda c: balance(c, START - timedelta(days=1), START + timedelta(days=9)))


def accounts(lab: Lab) -> dict[str, int]:
    found = proof(lab)
    assert found.balances, found.wrong
    return {name: count for name, count in found.results.items() if count}


def test_each_account() -> None:
    """Every place where a result may stand, one after the other."""
    lab = Lab()
    lab.order("S1", "O1", "CBC", "K")
    lab.measure("S1", ("WBC", "5.1"), ("RBC", "4"), ("HGB", "99"))
    assert accounts(lab) == {"under way": 1, "left out": 1, "held": 1}
    lab.settle()
    lab.measure("S1", ("WBC", "5.1"))
    lab.measure("S2", ("WBC", "6.1"))
    assert accounts(lab) == {"delivered": 1, "left out": 1, "held": 1, "duplicate": 1, "waiting": 1}
    (held,) = [s for s in lab.measure("S1", ("HGB", "98")) if s.problem]
    lab.act("reject", held.id)
    assert accounts(lab)["rejected"] == 1
    (out,) = lab.measure("S1", ("K", "4.0"))
    (delivery,) = lab.do(lambda c: outbox.ready(c, "emr", 9))
    lab.do(lambda c: outbox.park(c, delivery.id, "AE"))
    assert accounts(lab)["refused"] == 1
    assert [(d.destination, d.observation, d.state) for d in proof(lab).differences] == [("emr", out.id, "parked")]
    lab.act("skip", f"d{delivery.id}")
    assert accounts(lab)["given up"] == 1
    assert proof(lab).received == sum(accounts(lab).values()) == 7


def test_what_persons_made_of_a_result_is_beside() -> None:
    lab = Lab()
    lab.order("S1", "O1")
    lab.order("S2", "O2", patient="P2")
    (one,) = lab.measure("S1", ("WBC", "5.1"))
    lab.act("relink", one.id, to="S2", identity_checked=True)
    assert accounts(lab) == {"under way": 1}
    assert proof(lab).besides == {"taken back": 1, "sent to another place": 1}


def test_what_is_computed_was_not_received(make_lab: Callable[..., MappedLab]) -> None:
    """It is listed beside, also when it was taken back with what it came from."""
    lab = make_lab(LIPIDS)
    lab.order("S1", "LIPID")
    lab.send("S1", *THREE)
    lab.wait(minutes=5)
    lab.send("S1", "TG 1.90 mmol/L")
    found = lab.do(lambda c: balance(c, lab.now - timedelta(days=1), lab.now + timedelta(days=1)))
    assert found.balances, found.wrong
    assert (found.received, found.results["under way"], found.besides) == (4, 4, {"computed": 2})


def test_only_the_day() -> None:
    lab = Lab()
    lab.measure("S1", ("WBC", "5.1"))
    lab.hours = 24
    lab.measure("S1", ("WBC", "6.1"), ("K", "4"))
    of_day = [
        lab.do(lambda c, n=n: balance(c, START + timedelta(days=n), START + timedelta(days=n + 1))) for n in range(3)
    ]
    assert [(d.received, d.messages) for d in of_day] == [(1, {"processed": 1}), (2, {"processed": 1}), (0, {})]


def test_read_again_is_one_result() -> None:
    """Replay writes the results once more; they are not counted twice."""
    lab = Lab()
    lab.measure("S1", ("WBC", "5.1"), ("K", "4"))
    lab.do(lambda c: journal.reopen(c, 1))
    assert proof(lab).messages == {"not read yet": 1}
    lab.do(take.process(1, lab.rules, lab.now))
    assert lab.do(lambda c: c.execute(text("SELECT count(*) FROM result")).scalar()) == 4
    assert (proof(lab).received, accounts(lab)) == (2, {"waiting": 2})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM observation WHERE id = :waiting", "has no account"),
        ("UPDATE observation SET state = 'lost' WHERE id = :waiting", "no state that there is"),
        ("UPDATE observation SET state = 'held' WHERE id = :waiting", "held without a reason"),
        ("UPDATE observation SET state = 'rejected' WHERE id = :waiting", "nobody decided"),
        ("UPDATE observation SET state = 'duplicate' WHERE id = :waiting", "repeats one that is not there"),
        ("UPDATE observation SET state = 'held', reason = 'NO_ORDER' WHERE id = :out", "and a delivery carries it"),
        ("UPDATE transmission SET raw = x'00' WHERE id = 1", "Message 1 is damaged"),
        ("UPDATE transmission SET state = 'gone' WHERE id = 1", "no state that there is"),
        ("UPDATE delivery SET body = x'00'", "Delivery 1 is damaged"),
        ("UPDATE observation SET result_id = (SELECT min(id) FROM result)", "nobody decided that"),
    ],
)
def test_one_row_that_is_not_what_it_was(change: str, words: str) -> None:
    lab = Lab()
    lab.order("S1", "O1")
    (out,) = lab.measure("S1", ("WBC", "5.1"))
    (waiting,) = lab.measure("S2", ("WBC", "6.1"))
    assert proof(lab).balances
    lab.do(lambda c: c.execute(text(change), {"waiting": waiting.id, "out": out.id} if ":" in change else {}))
    found = proof(lab)
    assert not found.balances
    assert words in " ".join(found.wrong)


class Days(RuleBasedStateMachine):
    """Anything that may happen; received is counted here, independently, and so are what people decided."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = Lab(names=("emr", "copy"))
        self.received = 0
        self.known: list[str] = []

    def tried(self, deed: Callable[[], Any]) -> None:
        try:
            deed()
        except LabgatewayError:
            pass

    @rule(
        specimen=st.sampled_from(["S1", "S2", "S3", ""]),
        codes=st.lists(st.sampled_from(["WBC", "HGB", "GLU", "K", "RBC", "ZZZ"]), min_size=1, max_size=3, unique=True),
        value=st.sampled_from(["5", "5", "6", "99", "----"]),
        instrument=st.sampled_from(["xn1", "xn2"]),
        patient=st.sampled_from(["", "P1", "P2"]),
    )
    def measure(self, specimen: str, codes: list[str], value: str, instrument: str, patient: str) -> None:
        made = self.lab.measure(specimen, *((c, value) for c in codes), instrument=instrument, patient=patient)
        self.received += len(codes)
        self.known += [one.id for one in made]

    @rule(
        specimen=st.sampled_from(["S1", "S2", "S3"]),
        placer=st.sampled_from(["O1", "O2", "O3"]),
        code=st.sampled_from(["CBC", "GLU", "K"]),
        patient=st.sampled_from(["P1", "P2"]),
        control=st.sampled_from(["NW", "NW", "XO", "CA", "DC"]),
    )
    def order(self, specimen: str, placer: str, code: str, patient: str, control: str) -> None:
        self.lab.order(specimen, placer, code, patient=patient, control=control)

    @precondition(lambda self: self.known)
    @rule(
        data=st.data(),
        action=st.sampled_from(["release", "reject", "relink"]),
        to=st.sampled_from(["S1", "S2", "S3"]),
    )
    def decide(self, data: st.DataObject, action: str, to: str) -> None:
        one = data.draw(st.sampled_from(self.known))
        self.tried(lambda: self.lab.act(action, one, to=to, identity_checked=True))

    @rule(park=st.booleans(), name=st.sampled_from(["emr", "copy"]))
    def deliver(self, park: bool, name: str) -> None:
        for one in self.lab.do(lambda c: outbox.ready(c, name, 2)):
            if park:
                self.lab.do(lambda c, one=one: outbox.park(c, one.id, "AE"))
            else:
                self.lab.do(lambda c, one=one: outbox.settle(c, one.id, "AA", self.lab.now))

    @rule(action=st.sampled_from(["skip", "retry"]), number=st.integers(1, 9))
    def unpark(self, action: str, number: int) -> None:
        self.tried(lambda: self.lab.act(action, f"d{number}"))

    @rule(number=st.integers(1, 9))
    def replay(self, number: int) -> None:
        self.tried(lambda: self.lab.act("replay", f"m{number}"))
        self.lab.do(take.process(number, self.lab.rules, self.lab.now))

    @rule(hours=st.sampled_from([0.1, 1.0]))
    def wait(self, hours: float) -> None:
        self.lab.hours += hours

    @invariant()
    def it_balances(self) -> None:
        found = proof(self.lab)
        assert found.balances, found.wrong
        assert found.received == self.received == sum(found.results.values())
        assert set(found.results) == set(ACCOUNTS)
        outs = self.lab.do(lambda c: c.execute(text("SELECT count(*) FROM delivery WHERE state <> 'settled'")).scalar())
        assert (outs == 0) == (not found.differing)

    @invariant()
    def a_retraction_is_behind_its_original(self) -> None:
        """In the lane of the original, later than it, for the same order and patient; nothing twice."""
        seen: dict[tuple[str, str], Any] = {}
        for sent in self.lab.owed():
            key = (sent.destination, sent.id)
            assert key not in seen
            if sent.letter == "W":
                original = seen[sent.destination, str(sent.replaces)]
                assert (original.lane, original.placer) == (sent.lane, sent.placer)
            seen[key] = sent

    @invariant()
    def every_deed_is_written_down(self) -> None:
        """X1: what a person decided about an observation has an audit row that names it."""
        rows = self.lab.do(
            lambda c: c.execute(text("SELECT id FROM observation WHERE decided_by <> ''")).scalars().all()
        )
        named = {subject for _, _, subject in self.lab.audit()}
        assert {f"observation {one}" for one in rows} <= named


Days.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestDays = Days.TestCase
