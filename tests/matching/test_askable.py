"""Which orders an instrument may be told: those of exactly this specimen, when it is certain whose they are."""

from __future__ import annotations

import re
from dataclasses import replace

from labgateway.errors import Problem, Reason
from labgateway.matching import identity
from labgateway.matching.askable import askable
from labgateway.matching.attribute import Attached, Policy
from labgateway.matching.check_digits import CheckDigit
from labgateway.model import Order, OrderState
from tests.matching.cases import cases
from tests.matching.people import HUNG, LAN, NOBODY, POLICY, at, cancelled, order


def ask(*orders: Order, specimen: str = "A100", hour: float = 1, policy: Policy = POLICY) -> object:
    return askable(specimen, orders, policy, at(hour))


def test_open_orders_of_the_specimen_in_their_window() -> None:
    """Not another id, not a cancelled one, not one that is over or not begun."""
    one, two = order("GLU"), order("CHOL", number=2)
    assert ask(one, two) == (one, two)
    assert ask(one, cancelled("CHOL", number=2)) == (one,)
    assert ask(cancelled()) == ()
    assert ask(one, specimen="A10") == ()
    assert ask(one, specimen="A100 ") == ()
    assert ask(one, hour=73) == ()
    assert ask(one, hour=-1) == ()


def test_two_patients_under_one_id_are_told_to_nobody() -> None:
    """A cancelled order of another patient counts: tube and label may be either's."""
    for orders in (
        (order(), order(number=2, patient=HUNG)),
        (order(), cancelled(number=2, patient=HUNG)),
        (order(patient=NOBODY), order(number=2, patient=NOBODY)),
    ):
        found = ask(*orders)
        assert isinstance(found, Problem)
        assert found.reason is Reason.AMBIGUOUS_ORDER


def test_an_order_that_is_open_and_cancelled_is_not_told() -> None:
    """One placer number in both states is in doubt."""
    assert ask(order("GLU"), cancelled("GLU", specimen="A100")) == ()


def test_an_id_that_is_no_patients_has_no_orders() -> None:
    """Placeholders, and what the site's pattern refuses."""
    assert ask(replace(order(), specimen="UNKNOWN"), specimen="UNKNOWN") == ()
    assert ask(order(), policy=Policy(specimen_pattern=re.compile("B.*"))) == ()
    assert ask(order(), policy=Policy(specimen_pattern=re.compile("A.*"))) == (order(),)


def test_what_is_told_is_for_one_patient_and_comes_back_to_them() -> None:
    """Random worlds: all that is told is open, of this specimen, of one patient; and a result never goes to another."""
    told = 0
    for case in cases(3000, seed=11):
        specimen = case.what.result.specimen or ""
        found = askable(specimen, case.orders, case.policy, case.what.received_at)
        if isinstance(found, Problem) or not found:
            continue
        told += 1
        assert all(one.specimen == specimen and one.state is OrderState.OPEN for one in found)
        verdict = case.ask()
        if isinstance(verdict, Attached):
            same = verdict.beside.source == found[0].source
            assert identity.same_patient(verdict.patient, found[0].patient, same_source=same) or len(case.orders) == 1
    assert told > 100


def test_the_same_orders_give_the_same_answer() -> None:
    """In whatever order they stand, the same ones are told."""
    one, two = order("GLU"), order("CHOL", number=2, patient=LAN)
    assert ask(one, two) == (one, two)
    assert ask(two, one) == (two, one)


def test_a_wrong_check_digit_has_no_orders() -> None:
    policy = Policy(check=CheckDigit.LUHN)
    right = replace(order(), specimen="79927398713")
    assert ask(right, specimen="79927398713", policy=policy) == (right,)
    assert ask(replace(right, specimen="79927398714"), specimen="79927398714", policy=policy) == ()


def test_an_order_without_a_time_is_not_told() -> None:
    """Whether its window is open is not known."""
    assert ask(replace(order(), received_at=None)) == ()


def test_without_placer_numbers_nothing_says_which_was_cancelled() -> None:
    """Two orders without a number are two orders."""
    one = replace(order("GLU"), placer="")
    assert ask(one, replace(cancelled("GLU", number=2), placer="")) == (one,)
