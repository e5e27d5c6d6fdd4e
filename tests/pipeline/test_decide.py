"""One verdict at a time: what it carries besides its state, and rules of the lab behind what a person released."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from labgateway.errors import Problem, Reason
from labgateway.mapping.apply import Mapped, Target
from labgateway.mapping.table import Mapping, parse
from labgateway.matching.attribute import Policy
from labgateway.matching.versions import Fresh, Place, Prior
from labgateway.model import Kind, ObservationState, Order, OrderState, Patient, Result, ResultLetter, Status
from labgateway.pipeline.decide import Case, code_of, decide, fresh, place
from labgateway.pipeline.review import Neighbours

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
WORDS = """
instrument = "xn1"
[tests]
WBC = { emr = "WBC" }
GLU = { emr = ["GLU", "GLU2H"] }
K = { emr = "K", unit = "mmol/L", times = 1, limits = [3, 6] }
NA = { emr = "NA", unit = "mmol/L", times = 1, delta = { percent = 50, days = 3 } }
[leave_out]
RBC = "not wanted"
"""
PATIENT = Patient("P1", "P1", "A^B", "19700101", "M")


def mapping() -> Mapping:
    found, faults = parse(WORDS.encode(), "xn1.toml")
    assert found is not None and not faults, faults
    return found


def result(code: str = "WBC", value: str | None = "5.1", **more: Any) -> Result:
    given: dict[str, Any] = {"kind": Kind.PATIENT, "specimen": "S1", "code": code, "value": value} | more
    return Result(**given)


def order(code: str = "WBC", number: int = 1, **more: Any) -> Order:
    return Order("emr", "S1", f"O{number}", code, PATIENT, received_at=NOW, id=number, **more)


def case(what: Result, *orders: Order, **more: Any) -> Case:
    given: dict[str, Any] = {
        "instrument": "xn1", "mapping": mapping(), "orders": orders, "priors": {}, "policy": Policy(),
        "received_at": NOW, "now": NOW, "manual": False,
    } | more  # fmt: skip
    return Case(result=what, **given)


def prior(
    name: str, value: str, letter: ResultLetter, status: Status, *, by_person: bool = False, run: str = ""
) -> Prior:
    """A potassium of order 1 that is out."""
    told = Fresh("S1", "K", "xn1", value, "mmol/L", (), status, NOW, Place(1, "P1"), run=run)
    return Prior(name, told, letter, ObservationState.RELEASED, by_person)


def test_a_control_keeps_what_it_said() -> None:
    for unit in ("mmol/L", None):
        verdict = decide(case(result(kind=Kind.CONTROL, unit=unit)))
        assert (verdict.state, verdict.value, verdict.unit) == (ObservationState.CONTROL, "5.1", unit or "")


@pytest.mark.parametrize("value", ["5.1", None])
@pytest.mark.parametrize("unit", ["mmol/L", None])
def test_what_cannot_be_mapped_keeps_what_it_said(value: str | None, unit: str | None) -> None:
    """A problem of decoding, a mapping that is broken, a code without a line: held, value and unit as sent."""
    broken = Problem(Reason.UNMAPPED, "xn1.toml")
    for one, more in (
        (result(value=value, unit=unit, problem=broken), {}),
        (result(value=value, unit=unit), {"mapping": broken}),
        (result("XYZ", value, unit=unit), {}),
    ):
        verdict = decide(case(one, order(), **more))
        assert verdict.state is ObservationState.HELD
        assert verdict.problem is not None
        assert (verdict.value, verdict.unit) == (value, unit or "")
        assert verdict.letter is (ResultLetter.NO_RESULT if value is None else ResultLetter.FINAL)
        assert (verdict.target, code_of(verdict, one)) == (None, one.code)


def test_what_the_lab_leaves_out() -> None:
    """By the mapping file, and where nobody ordered it."""
    assert decide(case(result("RBC"), order())).state is ObservationState.LEFT_OUT
    for value, letter in (("5.1", ResultLetter.FINAL), (None, ResultLetter.NO_RESULT)):
        verdict = decide(case(result(value=value), order("HGB"), policy=Policy(not_ordered="leave_out")))
        assert (verdict.state, verdict.letter) == (ObservationState.LEFT_OUT, letter)
        assert verdict.target is not None
        assert verdict.target.emr == "WBC"


def test_while_it_waits_it_has_the_emrs_code_where_that_is_sure() -> None:
    one, several = decide(case(result())), decide(case(result("GLU")))
    assert {one.state, several.state} == {ObservationState.WAITING}
    assert (code_of(one, result()), code_of(several, result("GLU"))) == ("WBC", "GLU")
    assert (one.target and one.target.emr, several.target) == ("WBC", None)


def test_of_several_tests_the_ordered_one_is_answered() -> None:
    """Whichever stands first in the mapping."""
    for code in ("GLU", "GLU2H"):
        verdict = decide(case(result("GLU"), order(code)))
        assert verdict.state is ObservationState.RELEASED
        assert verdict.target is not None
        assert verdict.target.emr == code


def test_as_versions_compare_it() -> None:
    """What is not said is empty text, and what is said is kept."""
    for run, specimen in (("7", "S1"), (None, None)):
        one = case(result(run=run, specimen=specimen))
        told = fresh(one, decide(one))
        assert (told.run, told.specimen) == (run or "", specimen or "")


def test_the_same_words_again_before_they_are_decided() -> None:
    """A repeat of what is held or waits is a duplicate of it, without a problem of its own."""
    broken = Problem(Reason.UNMAPPED, "xn1.toml")
    for problem in (broken, None):
        one = case(result(problem=problem, measured_at_text="20261122075900"))
        first = decide(one)
        before = Prior("obs1", fresh(one, first), first.letter, first.state)
        again = decide(replace(one, priors={before.fresh.code: [before]}, received_at=NOW + timedelta(minutes=5)))
        assert (again.state, again.duplicate_of, again.problem) == (ObservationState.DUPLICATE, "obs1", None)


def test_a_value_that_no_line_of_the_mapping_made() -> None:
    """Judged as any other from matching on; there are no rules for it."""
    one = case(result(), order())
    verdict = place(one, mapping(), Mapped((Target("WBC", "", "", ""),), "5.1", ""))
    assert (verdict.state, verdict.order, verdict.added) == (ObservationState.RELEASED, order(), None)


def test_a_patient_whom_no_order_names_has_no_other_values() -> None:
    """A site without orders: the rule on differences finds no neighbours, and is not asked for any."""

    def neighbours(code: str, beside: Order, of: Order | None) -> Neighbours:
        raise AssertionError((code, beside, of))

    what = case(result("NA", "140", unit="mmol/L"), policy=Policy(without_order="send"), neighbours=neighbours)
    assert decide(what).state is ObservationState.RELEASED


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([prior("obs1", "7", ResultLetter.PRELIMINARY, Status.PRELIMINARY, by_person=True)], None),
        ([prior("obs1", "7", ResultLetter.PRELIMINARY, Status.PRELIMINARY)], Reason.OUT_OF_LIMITS),
        ([prior("obs1", "8", ResultLetter.PRELIMINARY, Status.PRELIMINARY, by_person=True)], Reason.OUT_OF_LIMITS),
        (
            [
                prior("obs1", "7", ResultLetter.PRELIMINARY, Status.PRELIMINARY, by_person=True, run="1"),
                prior("obs2", "8", ResultLetter.PRELIMINARY, Status.PRELIMINARY, run="2"),
            ],
            Reason.OUT_OF_LIMITS,
        ),
    ],
    ids=["the same", "nobody saw it", "another value", "not the one before"],
)
def test_what_a_person_released_is_not_held_again(before: list[Prior], expected: Reason | None) -> None:
    """Only where the version right before said the same, and a person let it go."""
    verdict = decide(case(result("K", "7", unit="mmol/L", run="3"), order("K"), priors={"K": before}))
    assert (verdict.problem and verdict.problem.reason) == expected
    assert verdict.replaces == before[-1].id
    assert verdict.letter is ResultLetter.FINAL


def test_two_values_in_one_message() -> None:
    """Neither goes by itself, unless the mapping says that the last one counts; a message that says one value is let go."""
    potassium = result("K", "5", unit="mmol/L")
    for contradicted, line, expected in (
        (True, "", Reason.RERUN_DIFFERS),
        (True, 'rerun = "last", ', None),
        (False, "", None),
    ):
        words, faults = parse(WORDS.replace("limits", f"{line}limits").encode(), "xn1.toml")
        assert not faults
        verdict = decide(case(potassium, order("K"), mapping=words, contradicted=contradicted))
        assert (verdict.problem and verdict.problem.reason) == expected
    assert decide(case(potassium, order("K"))).state is ObservationState.RELEASED, (
        "nothing contradicts unless it is said"
    )


def test_manual_release_is_asked_last() -> None:
    """A site that releases everything by hand sees each result; a rule's words come first."""
    verdict = decide(case(result(), order(), manual=True))
    assert verdict.problem == Problem(Reason.MANUAL_RELEASE)
    ruled = decide(case(result("K", "7", unit="mmol/L"), order("K"), manual=True))
    assert ruled.problem is not None
    assert ruled.problem.reason is Reason.OUT_OF_LIMITS
    cancelled = decide(case(result(), order(state=OrderState.CANCELLED), manual=True))
    assert cancelled.problem is not None
    assert cancelled.problem.reason is Reason.ORDER_CANCELLED
