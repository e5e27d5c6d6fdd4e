"""The decision table of attribute.py, row by row."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from itertools import permutations
from typing import Any

import pytest

from labgateway.errors import Problem, Reason
from labgateway.matching.attribute import (
    CURED_BY_ORDERS,
    Attached,
    Attribution,
    Held,
    LeftOut,
    Policy,
    Unordered,
    Waits,
    seen,
    still_stands,
)
from labgateway.matching.check_digits import CheckDigit
from labgateway.matching.windows import Side
from labgateway.model import Kind, Patient
from tests.matching.people import HUNG, LAN, NOBODY, PANELS, POLICY, at, cancelled, candidate, judge, order


def why(answer: Attribution) -> Reason:
    """The reason of a hold; anything else is a failure."""
    assert isinstance(answer, Held), answer
    return answer.problem.reason


def test_the_one_order_of_its_specimen_is_answered() -> None:
    """Exact specimen id, inside the window, the test ordered: attached to that order and its patient."""
    answer = judge(candidate(), order("HGB", number=1), order("GLU", number=2))
    assert isinstance(answer, Attached)
    assert (answer.order, answer.target, answer.patient) == (order("GLU", number=2), "GLU", LAN)


def test_a_panel_is_answered_by_its_tests() -> None:
    """An order for a panel asks for each of its tests."""
    answer = judge(candidate("HGB"), order("CBC"))
    assert isinstance(answer, Attached)
    assert (answer.order, answer.target) == (order("CBC"), "HGB")
    assert why(judge(candidate("CRP"), order("CBC"))) is Reason.NOT_ORDERED


@pytest.mark.parametrize("kind", [Kind.CONTROL, Kind.CALIBRATION, Kind.QUERY])
def test_what_is_no_patients_never_finds_an_order(kind: Kind) -> None:
    """P7: a QC, calibration or query row is held although an order of the same id waits."""
    assert why(judge(candidate(kind=kind), order())) is Reason.NOT_A_PATIENT_ID


@pytest.mark.parametrize("specimen", [None, "", " ", "\t "])
def test_no_specimen_id(specimen: str | None) -> None:
    """P2: an empty id meets no order, least of all one with an empty id."""
    assert why(judge(candidate(specimen=specimen), order(specimen=specimen or ""))) is Reason.NO_SPECIMEN


@pytest.mark.parametrize(
    "specimen",
    [
        "0",
        "000",
        "0-0",
        "００",
        "-",
        "?",
        "***",
        "UNKNOWN",
        "unknown",
        "No Read",
        "N/A",
        "NULL",
        "QC1",
        "qc-high",
        "QC",
        "XXX",
        "ERROR",
        "A1\ufffd2",
    ],
)
def test_placeholders_are_no_ids(specimen: str) -> None:
    """P2: what instruments fill in for a missing id meets no order, though an order says the same."""
    answer = judge(candidate(specimen=specimen), order(specimen=specimen))
    assert why(answer) is Reason.NOT_A_PATIENT_ID


@pytest.mark.parametrize("specimen", ["007", "10", "A0", "N1", "UNKNOWN7", "SQC1", "X1", "1"])
def test_ids_that_only_look_like_placeholders(specimen: str) -> None:
    """A real id is not taken for a placeholder because it has a part that looks like one."""
    assert isinstance(judge(candidate(specimen=specimen), order(specimen=specimen)), Attached)


@pytest.mark.parametrize("other", ["A0100", "a100", "A100 ", " A100", "A10", "A1000", "А100", "A-100", "100"])
def test_ids_are_equal_or_not(other: str) -> None:
    """No zero is stripped, no case folded, nothing trimmed, no look-alike letter taken: such an order is not seen."""
    assert judge(candidate(), order(specimen=other)) == Waits()


def test_the_form_of_an_id() -> None:
    """specimen_pattern must match the whole id, and the check digit must be right, or it is no patient's."""
    shape = Policy(specimen_pattern=re.compile(r"[A-Z]\d{3}"))
    assert isinstance(judge(candidate(), order(), policy=shape), Attached)
    for wrong in ("A1000", "XA100", "A100\n"):
        assert why(judge(candidate(specimen=wrong), order(specimen=wrong), policy=shape)) is Reason.NOT_A_PATIENT_ID
    luhn = Policy(check=CheckDigit.LUHN)
    assert isinstance(judge(candidate(specimen="79927398713"), order(specimen="79927398713"), policy=luhn), Attached)
    misread = judge(candidate(specimen="79927398731"), order(specimen="79927398731"), policy=luhn)
    assert why(misread) is Reason.NOT_A_PATIENT_ID


def test_a_policy_that_would_compare_nothing() -> None:
    """A misspelled second identifier is an error, not a comparison that silently never happens."""
    spelled: Any = ("patient", "birthdate")
    with pytest.raises(ValueError, match="birthdate"):
        Policy(second_ids=spelled)


def test_no_order_waits_and_then_is_held() -> None:
    """Without an order a result waits wait_h from its receipt, to the very hour, then a person is asked."""
    assert judge(candidate()) == Waits()
    assert judge(candidate(), now=241) == Waits()
    assert judge(candidate(), now=0) == Waits()
    late = judge(candidate(), now=241.001)
    assert late == Held(Problem(Reason.NO_ORDER))
    outside = judge(candidate(received=73), order(), now=73 + 241)
    assert why(outside) is Reason.NO_ORDER
    assert isinstance(outside, Held)
    assert "window" in outside.problem.detail


def test_sites_without_orders() -> None:
    """without_order = "send": the result goes out with its own ids; of several targets none is guessed."""
    policy = Policy(without_order="send")
    assert judge(candidate(), policy=policy) == Unordered("GLU")
    assert judge(candidate(), now=999, policy=policy) == Unordered("GLU")
    assert judge(candidate("GLU", "GLU"), policy=policy) == Unordered("GLU")
    assert why(judge(candidate("GLU", "GLU2H"), policy=policy)) is Reason.SEVERAL_TARGETS
    assert why(judge(candidate(specimen="000"), policy=policy)) is Reason.NOT_A_PATIENT_ID
    assert isinstance(judge(candidate(), order(), policy=policy), Attached)
    assert judge(candidate(received=73), order(), policy=policy) == Unordered("GLU")


@pytest.mark.parametrize(
    ("collected", "ordered", "received", "found"),
    [
        (0, 0, 0, True),
        (0, 0, 72, True),
        (0, 0, 72.01, False),
        (0, 0, -1 / 6, True),
        (0, 0, -0.17, False),
        (0, 200, 1, True),
        (0, -200, 1, True),
        (5, 0, 3, False),
        (None, 0, 0, True),
        (None, 0, 72, True),
        (None, 0, 72.01, False),
        (None, 0, -240, True),
        (None, 0, -240.01, False),
    ],
)
def test_windows(collected: float | None, ordered: float, received: float, *, found: bool) -> None:
    """P6: an order is seen from its collection (10 min of clock skew) to window_h after; without, from its receipt."""
    answer = judge(candidate(received=received), order(collected=collected, received=ordered))
    assert isinstance(answer, Attached) is found
    assert isinstance(answer, Waits) is not found


def test_times_that_cannot_be_judged() -> None:
    """A collection in the year 9999 or 1 is outside every window; an order without any time holds and never raises."""
    for year in (1, 9999):
        strange = replace(order(), collected_at=at().replace(year=year))
        assert isinstance(judge(candidate(), strange), Waits)
    untimed = replace(order(), received_at=None)
    naive = replace(order(number=3), received_at=datetime(2026, 11, 22, 8))  # noqa: DTZ001 - what is tested
    local = datetime(2026, 11, 22, 8)  # noqa: DTZ001 - what is tested
    collected = replace(order(number=4), collected_at=local)
    changed = replace(order(number=5), patient_changed_at=local)
    for broken in (untimed, naive, collected, changed):
        assert why(judge(candidate(), order(number=2), broken)) is Reason.DEFECT


def test_two_patients_for_one_id() -> None:
    """Two patients' orders on one id inside the window: held, whatever was ordered and whatever the result says."""
    both = (order("GLU"), order("HGB", number=2, patient=HUNG))
    assert why(judge(candidate(), *both)) is Reason.AMBIGUOUS_ORDER
    assert why(judge(candidate(patient="1001", birth_date="19700512", sex="F"), *both)) is Reason.AMBIGUOUS_ORDER
    assert why(judge(candidate(), order(), cancelled("GLU", number=2, patient=HUNG))) is Reason.AMBIGUOUS_ORDER
    for policy in (Policy(not_ordered="send"), Policy(not_ordered="leave_out"), Policy(without_order="send")):
        assert why(judge(candidate("CRP"), *both, policy=policy)) is Reason.AMBIGUOUS_ORDER


def test_missing_identity_proves_nothing() -> None:
    """Orders of patients without any identity are not of one patient; a single one is answered all the same."""
    two = (order(patient=NOBODY), order("HGB", number=2, patient=NOBODY))
    assert why(judge(candidate(), *two)) is Reason.AMBIGUOUS_ORDER
    assert isinstance(judge(candidate(), two[0]), Attached)
    assert why(judge(candidate(), order(), order("HGB", number=2, patient=NOBODY))) is Reason.AMBIGUOUS_ORDER
    zero = replace(LAN, id="000")
    assert (
        why(
            judge(
                candidate(),
                order(patient=replace(zero, pid3="", pid5="")),
                order("HGB", number=2, patient=replace(zero, pid3="", pid5="")),
            )
        )
        is Reason.AMBIGUOUS_ORDER
    )


@pytest.mark.parametrize(
    ("said", "field"),
    [({"patient": "1002"}, "patient"), ({"birth_date": "19700513"}, "birth_date"), ({"sex": "M"}, "sex")],
)
def test_another_identity_holds(said: dict[str, Any], field: str) -> None:
    """P1: a second identifier on both sides that differs holds; the detail names it, never its value."""
    answer = judge(candidate(**said), order())
    assert answer == Held(Problem(Reason.IDENTITY_CONFLICT, field), order())
    others: Any = tuple(f for f in POLICY.second_ids if f != field)
    spared = judge(candidate(**said), order(), policy=Policy(second_ids=others))
    assert isinstance(spared, Attached)
    assert spared.differs == (field,)


def test_names_annotate_unless_listed() -> None:
    """A name that differs is shown and does not hold by default; a site that lists it holds."""
    answer = judge(candidate(patient_name="NGUYEN^VAN HUNG"), order())
    assert isinstance(answer, Attached)
    assert answer.differs == ("name",)
    strict = Policy(second_ids=("name",))
    assert why(judge(candidate(patient_name="NGUYEN^VAN HUNG"), order(), policy=strict)) is Reason.IDENTITY_CONFLICT
    assert isinstance(judge(candidate(patient_name="Lan Tran-Thi"), order(), policy=strict), Attached)


def test_a_conflict_is_not_cured_by_another_order() -> None:
    """The patient's orders disagree about the birth date: the result is held though one of them agrees."""
    year = replace(LAN, birth_date="1970")
    may, june = replace(LAN, birth_date="19700512"), replace(LAN, birth_date="19700612")
    for orders in permutations([order(patient=year), order("HGB", number=2, patient=june)]):
        assert why(judge(candidate(birth_date="19700512"), *orders)) is Reason.IDENTITY_CONFLICT
    assert why(judge(candidate(), order(patient=may), order("HGB", number=2, patient=june))) is Reason.AMBIGUOUS_ORDER
    late = cancelled("HGB", number=2, patient=replace(LAN, sex=None, birth_date=None))
    assert isinstance(judge(candidate(birth_date="19700512"), order(patient=replace(LAN, sex=None)), late), Attached)


def test_an_order_that_changed_its_patient() -> None:
    """P8: a result that came before the EMR gave the order to another patient is held; one that came after is not."""
    moved = order(patient=HUNG, patient_changed_at=at(2))
    assert judge(candidate(received=1), moved, now=3) == Held(Problem(Reason.ORDER_CHANGED, "order 1"), moved)
    assert why(judge(candidate(received=2), moved)) is Reason.ORDER_CHANGED
    assert isinstance(judge(candidate(received=2.1), moved), Attached)


def test_cancelled_orders() -> None:
    """P8: what only a cancelled order asks for is held under any policy; an open order beside it is answered."""
    for policy in (POLICY, Policy(not_ordered="send"), Policy(not_ordered="leave_out"), Policy(without_order="send")):
        assert judge(candidate(), cancelled(), policy=policy) == Held(Problem(Reason.ORDER_CANCELLED), cancelled())
        beside = (cancelled(), order("HGB", number=2))
        assert judge(candidate(), *beside, policy=policy) == Held(Problem(Reason.ORDER_CANCELLED), cancelled())
        assert why(judge(candidate("CRP"), cancelled(), policy=policy)) is Reason.ORDER_CANCELLED
        assert why(judge(candidate("GLU", "GLU2H"), *beside, policy=policy)) is Reason.ORDER_CANCELLED
        again = judge(candidate(), cancelled(), order(number=2), policy=policy)
        assert isinstance(again, Attached)
        assert again.order == order(number=2)
        panel = judge(candidate("HGB"), cancelled("HGB"), order("CBC", number=2), policy=policy)
        assert isinstance(panel, Attached)


def test_one_number_open_and_cancelled() -> None:
    """The same placer number both open and cancelled is a contradiction: held."""
    twice = (cancelled(placer="P7"), order(number=2, placer="P7"))
    assert why(judge(candidate(), *twice)) is Reason.ORDER_CANCELLED
    assert isinstance(judge(candidate(), cancelled(placer=""), order(number=2, placer="")), Attached)
    other = (cancelled("HGB", placer="P7"), order(number=2, placer="P7"))
    assert isinstance(judge(candidate(), *other), Attached)


def test_several_targets() -> None:
    """Of several EMR tests exactly one is ordered: that one; none or more: held."""
    answer = judge(candidate("GLU", "GLU2H"), order("GLU2H"))
    assert isinstance(answer, Attached)
    assert (answer.order, answer.target) == (order("GLU2H"), "GLU2H")
    for orders in ([order("GLU"), order("GLU2H", number=2)], [order("GTT")], [order("HGB")]):
        for policy in (POLICY, Policy(not_ordered="send"), Policy(not_ordered="leave_out")):
            assert why(judge(candidate("GLU", "GLU2H"), *orders, policy=policy)) is Reason.SEVERAL_TARGETS
    one_called_off = judge(candidate("GLU", "GLU2H"), order("GLU"), cancelled("GLU2H", number=2))
    assert isinstance(one_called_off, Attached)
    assert one_called_off.target == "GLU"


def test_no_target() -> None:
    """No target, or a blank one, answers no order, though an order has a blank code."""
    assert why(judge(replace(candidate(), targets=()), order())) is Reason.UNMAPPED
    assert why(judge(candidate(""), order(""))) is Reason.UNMAPPED


def test_nobody_ordered_it() -> None:
    """A test that nobody ordered on this specimen: held, left out or sent to the patient, as the site wants."""
    orders = (order("HGB", ward="A3"), order("PLT", number=2, received=-1))
    assert judge(candidate(), *orders) == Held(Problem(Reason.NOT_ORDERED, "GLU"))
    assert judge(candidate(), *orders, policy=Policy(not_ordered="leave_out")) == LeftOut(
        Problem(Reason.NOT_ORDERED, "GLU")
    )
    sent = judge(candidate(), *orders, policy=Policy(not_ordered="send"))
    assert isinstance(sent, Attached)
    assert (sent.order, sent.patient, sent.beside) == (None, LAN, orders[1])
    anonymous = judge(candidate(), order("HGB", patient=NOBODY), policy=Policy(not_ordered="send"))
    assert why(anonymous) is Reason.NOT_ORDERED


def test_two_orders_ask_for_the_same() -> None:
    """The same test ordered twice, or alone and in a panel: held. The same order stored twice: the first that came."""
    assert why(judge(candidate(), order(), order(number=2))) is Reason.AMBIGUOUS_ORDER
    assert why(judge(candidate("HGB"), order("HGB"), order("CBC", number=2))) is Reason.AMBIGUOUS_ORDER
    assert (
        why(judge(candidate("HGB"), order("HGB", placer="R"), order("CBC", number=2, placer="R")))
        is Reason.AMBIGUOUS_ORDER
    )
    again = (order(number=4, placer="P7", received=2), order(number=3, placer="P7", received=1, ward="A3"))
    for orders in permutations(again):
        answer = judge(candidate(), *orders)
        assert isinstance(answer, Attached)
        assert answer.order == again[1]


def test_orders_without_a_number() -> None:
    """Without placer numbers only rows that say the very same are one order."""
    same = (order(number=4, placer="", received=2), order(number=3, placer="", received=1))
    answer = judge(candidate(), *same)
    assert isinstance(answer, Attached)
    assert answer.order == same[1]
    for difference in ({"filler": "F9"}, {"collected": 0.5}, {"service": "GLU^^L"}):
        changed: dict[str, Any] = difference
        assert why(judge(candidate(), same[0], order(number=3, placer="", **changed))) is Reason.AMBIGUOUS_ORDER
    assert why(judge(candidate(), order(placer=""), order(number=2))) is Reason.AMBIGUOUS_ORDER


def test_what_orders_can_cure() -> None:
    """A conflict, a changed order and a bad id are a person's to mend; missing or doubled orders the EMR's."""
    assert Reason.NOT_ORDERED in CURED_BY_ORDERS
    assert not CURED_BY_ORDERS & {
        Reason.IDENTITY_CONFLICT,
        Reason.ORDER_CHANGED,
        Reason.NOT_A_PATIENT_ID,
        Reason.NO_SPECIMEN,
    }


def test_what_is_out_is_watched() -> None:
    """After a release a person is told when the order is cancelled, moved, doubted or gone, and only then."""
    was = judge(candidate(), order())
    assert isinstance(was, Attached)

    def told(*orders: Any, policy: Policy = POLICY) -> Reason | None:
        problem = still_stands(was, judge(candidate(), *orders, policy=policy))
        return problem and problem.reason

    assert told(order()) is None
    assert told(order(), order("HGB", number=2)) is None
    assert told(order(patient=replace(LAN, pid5="TRẦN THỊ^LAN")), order("HGB", number=2)) is None
    assert told(order(), order("HGB", number=2, patient=HUNG)) is Reason.AMBIGUOUS_ORDER
    assert told(order(patient=HUNG)) is Reason.ORDER_CHANGED
    assert told(cancelled()) is Reason.ORDER_CANCELLED
    assert told() is Reason.ORDER_CHANGED
    assert told(order(number=9)) is Reason.ORDER_CHANGED
    assert told(policy=Policy(without_order="send")) is Reason.ORDER_CHANGED
    assert told(order("HGB"), policy=Policy(not_ordered="send")) is Reason.ORDER_CHANGED
    assert told(order("HGB"), policy=Policy(not_ordered="leave_out")) is Reason.ORDER_CHANGED
    beside = judge(candidate(), order("HGB"), policy=Policy(not_ordered="send"))
    assert isinstance(beside, Attached)
    assert still_stands(beside, judge(candidate(), order("HGB"), order(number=2))) is None


def test_the_journey_sees_every_order() -> None:
    """The journey shows each order of the id with its side of the window, what differs and what it asks for."""
    orders = [
        order(number=2, collected=-100),
        order("HGB", patient=HUNG),
        order(specimen="B"),
        replace(order(), received_at=None),
    ]
    rows = seen(candidate(sex="F"), orders, PANELS, POLICY)
    assert [(s.order.id, s.side, s.differs, s.asks) for s in rows] == [
        (1, Side.INSIDE, ("sex",), ()),
        (2, Side.LATE, (), ("GLU",)),
    ]


def test_problems_name_no_patient() -> None:
    """No detail of any answer holds an id, a name or a birth date."""
    known = ["A100", LAN.id, HUNG.id, "LAN", "HÙNG", LAN.birth_date, HUNG.birth_date]
    said: dict[str, Any] = {"patient": "1002", "birth_date": "19811130", "sex": "M", "patient_name": "HÙNG"}
    orders = (order(), order("HGB", number=2, patient=HUNG), cancelled("CRP", number=3), order(number=4))
    for what in (candidate(**said), candidate(), candidate("CRP"), candidate("GLU", "HGB"), candidate(received=99)):
        for some in ((), orders[:1], orders[1:2], orders[2:3], orders[:2], orders[::3]):
            answer = judge(what, *some)
            text = (
                answer.problem.detail
                if isinstance(answer, Held)
                else answer.detail
                if isinstance(answer, Waits)
                else ""
            )
            assert not [k for k in known if k and k in text]


def test_an_id_across_two_sources() -> None:
    """One patient number from two EMRs is one person only with the same authority or the same birth date."""
    bare = Patient("7", "7", "A^B")
    for one, other, proven in [
        (bare, bare, False),
        (replace(bare, birth_date="19700512"), replace(bare, birth_date="19700512"), True),
        (replace(bare, birth_date="1970"), replace(bare, birth_date="1970"), False),
        (replace(bare, pid3="7^^^TH"), replace(bare, pid3="7^^^TH"), True),
        (replace(bare, pid3="7^^^TH"), replace(bare, pid3="7^^^BM", birth_date=None), False),
    ]:
        answer = judge(candidate(), order(patient=one), order("HGB", number=2, patient=other, source="file"))
        assert isinstance(answer, Attached) is proven


def test_a_bare_number_of_another_source_proves_nothing() -> None:
    """What is out stands when its own source says the number again; another source's number may be another person's."""
    bare = Patient("1001", "1001")
    was = judge(candidate(), order(patient=bare))
    assert isinstance(was, Attached)
    assert still_stands(was, judge(candidate(), order(patient=replace(bare, pid5="TRẦN^LAN")))) is None
    told = still_stands(was, judge(candidate(), order(patient=bare, source="other")))
    assert told is not None and told.reason is Reason.ORDER_CHANGED


def test_a_cancelled_order_for_another_test_says_nothing() -> None:
    """Nobody ordered this one: that is the reason, not that something else was called off."""
    answer = judge(candidate(), order("HGB"), cancelled("CRP", number=2))
    assert isinstance(answer, Held)
    assert answer.problem.reason is Reason.NOT_ORDERED
