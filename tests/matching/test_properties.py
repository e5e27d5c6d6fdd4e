"""The code against the naive reference, and the invariants P1 to P8, over many thousands of crowded little worlds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.errors import Reason
from labgateway.matching.attribute import Attached, Attribution, Held, LeftOut, Unordered, Waits, attribute
from labgateway.matching.weighing import weigh
from labgateway.model import Kind, OrderState, Patient
from tests.matching.cases import Case, a_case, cases
from tests.matching.people import DAY, PANELS, at
from tests.matching.reference import Opinion


def agrees(answer: Attribution, naive: Opinion) -> bool:
    """Is the answer one that the reference allows?"""
    match answer:
        case Held(problem):
            return problem.reason in naive.hazards
        case Attached(order=None):
            return naive.what == "beside" and naive.target == answer.target
        case Attached(order=found, target=target):
            return (
                found is not None and naive.what == "attached" and found.id in naive.orders and target == naive.target
            )
        case Waits():
            return naive.what == "waits"
        case Unordered(target):
            return naive.what == "unordered" and naive.target == target
        case LeftOut():
            return naive.what == "left_out"


def compare(number: int, seed: int) -> Counter[str]:
    """Ask both opinions so often; how often each kind of answer came."""
    seen: Counter[str] = Counter()
    for case in cases(number, seed):
        answer = case.ask()
        assert agrees(answer, case.opinion()), (answer, case)
        seen[answer.problem.reason.name if isinstance(answer, Held) else type(answer).__name__] += 1
    return seen


def test_two_opinions() -> None:
    """The code holds for a reason that the reference sees too, else goes where the reference goes; every answer occurs."""
    seen = compare(10_000, seed=1)
    for expected in ("Attached", "Waits", "LeftOut", "Unordered"):
        assert seen[expected] > 100, seen
    for reason in (
        *(
            Reason.NO_SPECIMEN,
            Reason.NOT_A_PATIENT_ID,
            Reason.NO_ORDER,
            Reason.AMBIGUOUS_ORDER,
            Reason.IDENTITY_CONFLICT,
        ),
        *(Reason.ORDER_CHANGED, Reason.ORDER_CANCELLED, Reason.SEVERAL_TARGETS, Reason.NOT_ORDERED),
    ):
        assert seen[reason.name] > 50, seen


@pytest.mark.soak
def test_two_opinions_at_length() -> None:
    """The same over a million worlds."""
    for seed in range(100, 120):
        compare(50_000, seed)


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_two_opinions_shrunk(rng: Random) -> None:
    """The same with Hypothesis choosing, which brings a failure down to its core."""
    case = a_case(rng)
    assert agrees(case.ask(), case.opinion())


def attached(number: int, seed: int) -> list[tuple[Case, Attached]]:
    """Cases that found their order or patient; there must be many, or the properties below say nothing."""
    found = [(case, answer) for case in cases(number, seed) if isinstance(answer := case.ask(), Attached)]
    assert len(found) > number / 20
    return found


def test_p1_only_the_one_order() -> None:
    """P1, P2, P7, P8: what is attached is a patient's, by an equal id, to an open order that asks for it, no conflict."""
    for case, answer in attached(5_000, seed=2):
        result = case.what.result
        assert result.kind is Kind.PATIENT
        assert answer.beside.specimen == result.specimen == "A100" or result.specimen in ("A101", "a100")
        assert answer.beside in case.orders
        assert answer.beside.state is OrderState.OPEN
        assert not set(answer.differs) & set(case.policy.second_ids)
        assert answer.target in case.what.targets
        if answer.order is not None:
            assert answer.order is answer.beside
            assert answer.target == answer.order.code or answer.target in PANELS[answer.order.code]


def test_p3_the_order_of_orders_is_nothing() -> None:
    """P3: in whatever order the orders stand, the answer is the same to the last letter."""
    for case in cases(1_500, seed=3):
        assert len({repr(replace(case, orders=some).ask()) for some in permutations(case.orders)}) == 1


def test_p4_what_is_unrelated_changes_nothing() -> None:
    """P4: an order of another specimen changes nothing; one of another patient turns a match into AMBIGUOUS, no more."""
    turned = 0
    for case, before in attached(5_000, seed=4):
        stranger = replace(before.beside, id=7, patient=Patient("7777", birth_date="20200101"))
        assert case.ask(replace(stranger, specimen="B7")) == before
        assert case.ask(replace(before.beside, id=7, specimen=f"{before.beside.specimen} ")) == before
        for state in OrderState:
            after = case.ask(replace(stranger, state=state, code="CRP"))
            assert isinstance(after, Held)
            assert after.problem.reason is Reason.AMBIGUOUS_ORDER
            turned += 1
    assert turned > 500


def test_second_identifiers_only_hold() -> None:
    """What the instrument says of the patient never finds an order, never chooses among orders: it only holds."""
    held = 0
    for case in cases(5_000, seed=5):
        result = replace(case.what.result, patient=None, patient_name=None, birth_date=None, sex=None)
        said, silent = case.ask(), replace(case, what=replace(case.what, result=result)).ask()
        if isinstance(said, Attached):
            assert replace(said, differs=()) == silent
        elif said != silent:
            assert isinstance(said, Held)
            assert said.problem.reason is Reason.IDENTITY_CONFLICT
            held += 1
    assert held > 100


def test_time_alone_never_finds_an_order() -> None:
    """P6: however long a result waits, time alone changes nothing but the wait itself, into NO_ORDER."""
    changed = 0
    for case in cases(5_000, seed=6):
        before, after = replace(case, hours=0).ask(), replace(case, hours=999).ask()
        if after != before:
            changed += 1
            assert isinstance(before, Waits)
            assert isinstance(after, Held)
            assert after.problem.reason is Reason.NO_ORDER
    assert changed > 50


def test_p6_a_used_id_meets_no_old_order() -> None:
    """P6: orders collected longer ago than the window, or after the result came, are as if they were not there."""
    for case in cases(1_500, seed=7):
        received = (case.what.received_at - DAY).total_seconds() / 3600
        for gap in (case.policy.window_h + 0.1, 5000):
            for collected in (received - gap, received + 0.2, received + gap):
                strangers = tuple(replace(o, id=o.id + 50, collected_at=at(collected)) for o in case.orders)
                alone = replace(case, orders=strangers).ask()
                assert not isinstance(alone, Attached)
                beside, without = case.ask(*strangers), case.ask()
                for answer in (beside, without):
                    assert type(beside) is type(without)
                    if not isinstance(answer, Waits | Held):
                        assert beside == without
                if isinstance(beside, Held) and isinstance(without, Held):
                    assert beside.problem.reason is without.problem.reason


def test_orders_that_were_weighed_before_give_the_same_answer() -> None:
    """Weighed for this result, or by mistake for another one, moment or policy: as if they stood there as they are."""
    others = iter(cases(50, seed=12))
    for case in cases(1_500, seed=11):
        now = at(case.hours) + (case.what.received_at - DAY)
        wanted = repr(case.ask())
        mine = weigh(case.orders, case.what.result.specimen, case.what.received_at, case.policy)
        assert list(mine) == list(case.orders)
        other = next(others, None) or case
        for weighed in (
            mine,
            weigh(case.orders, other.what.result.specimen, case.what.received_at, case.policy),
            weigh(case.orders, case.what.result.specimen, case.what.received_at + timedelta(days=30), case.policy),
            weigh(case.orders, case.what.result.specimen, case.what.received_at, replace(case.policy, window_h=0)),
        ):
            assert repr(attribute(case.what, weighed, PANELS, case.policy, now)) == wanted
