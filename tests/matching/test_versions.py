"""The table of versions.py, row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labgateway.errors import Reason
from labgateway.matching.attribute import Policy
from labgateway.matching.versions import (
    Correction,
    Duplicate,
    First,
    Hold,
    Place,
    Prior,
    Version,
    by_hand,
    letter_of,
    place_of,
    retract,
    version,
)
from labgateway.model import ObservationState, Patient, ResultLetter, Status
from tests.matching.people import DAY, HERE, NOBODY, cancelled, candidate, fresh, judge, order, prior

P, F, C, X = ResultLetter.PRELIMINARY, ResultLetter.FINAL, ResultLetter.CORRECTED, ResultLetter.NO_RESULT
W, D = ResultLetter.WRONG, ResultLetter.DELETED
PRELIMINARY, FINAL, CORRECTED, RERUN = Status.PRELIMINARY, Status.FINAL, Status.CORRECTED, Status.RERUN
WAITING, HELD, RELEASED, REJECTED, DUPLICATE = (
    ObservationState.WAITING,
    ObservationState.HELD,
    ObservationState.RELEASED,
    ObservationState.REJECTED,
    ObservationState.DUPLICATE,
)
ANYWHERE = Place(None, "")


def why(answer: Version) -> Reason:
    """The reason of a hold; anything else is a failure."""
    assert isinstance(answer, Hold), answer
    return answer.problem.reason


@pytest.mark.parametrize(
    ("value", "status", "letter"),
    [
        ("1", PRELIMINARY, P),
        ("1", FINAL, F),
        ("1", RERUN, F),
        ("1", CORRECTED, C),
        (None, FINAL, X),
        (None, PRELIMINARY, X),
    ],
)
def test_the_first_word(value: str | None, status: Status, letter: ResultLetter) -> None:
    """With nothing before it, a result goes out as the analyzer calls it; withheld is X, never an empty F."""
    assert version(fresh(value, status), []) == First(letter)
    assert letter_of(fresh(value, status)) is letter


def test_a_status_nobody_knows() -> None:
    """V4: an unknown status is held even when nothing came before."""
    assert why(version(fresh(status=Status.UNKNOWN), [])) is Reason.STATUS_UNKNOWN
    assert letter_of(fresh(status=Status.UNKNOWN)) is F


@pytest.mark.parametrize("state", [WAITING, HELD, RELEASED, REJECTED, DUPLICATE])
@pytest.mark.parametrize("where", [HERE, None])
def test_a_resend_is_a_duplicate(state: ObservationState, where: Place | None) -> None:
    """The same measurement again, with a time that proves it, is a duplicate wherever the first one ended."""
    before = [prior(fresh(minute=5, place=where), state=state)]
    assert version(fresh(minute=5, received=2), before) == Duplicate("obs1")
    assert version(fresh(minute=5, received=2, status=RERUN), before) == Duplicate("obs1")


@pytest.mark.parametrize(
    "other",
    [
        {"specimen": "A101"},
        {"code": "GLU2H"},
        {"place": Place(2, "1001")},
        {"place": Place(None, "1001")},
        {"state": ObservationState.LEFT_OUT},
        {"state": ObservationState.CONTROL},
    ],
)
def test_what_has_no_say(other: dict[str, Any]) -> None:
    """Another specimen, test or order, and what was never a result of its own, say nothing about this one."""
    state = other.get("state", RELEASED)
    before = prior(replace(fresh("9.9", minute=5), **{k: v for k, v in other.items() if k != "state"}), state=state)
    assert version(fresh(minute=5), [before]) == First(F)
    assert version(fresh("9.9", minute=5), [before]) == First(F)
    assert by_hand(fresh(), [before]) == First(F)


def test_a_run_number_on_one_side_says_nothing() -> None:
    """The same measuring time proves a resend also where only one of the two names its run."""
    for one, other in (("", "2"), ("2", "")):
        assert version(
            fresh(minute=5, run=other, place=None), [prior(fresh(minute=5, run=one, place=None))]
        ) == Duplicate("obs1")


def test_the_same_rerun_is_a_duplicate() -> None:
    """Another measurement with the same value, unit and flags adds nothing."""
    before = [prior(fresh(minute=5, flags=("H", "!")))]
    again = fresh(minute=25, flags=("!", "H"))
    assert version(again, before) == version(replace(again, status=RERUN), before) == Duplicate("obs1")
    assert version(fresh(flags=("H", "!")), before) == Duplicate("obs1")
    for different in ({"unit": "mg/dL"}, {"flags": ("H",)}, {"value": "5.1"}):
        changed: dict[str, Any] = different
        assert why(version(replace(again, **changed), before)) is Reason.RERUN_DIFFERS


def test_a_rerun_with_another_value() -> None:
    """Another final value is held, unless the mapping says that the last one counts: then it goes out as C."""
    before = [prior(fresh(minute=5))]
    for status in (FINAL, RERUN):
        again = fresh("5.30", status, minute=25)
        assert why(version(again, before)) is Reason.RERUN_DIFFERS
        assert version(again, before, "last") == Correction("obs1", C)
    assert version(fresh("5.30"), before, "last") == Correction("obs1", C)
    assert version(fresh("5.30", minute=5), before, "last") == Correction("obs1", C)
    assert why(version(fresh("5.30", minute=4), before, "last")) is Reason.RERUN_DIFFERS
    aware = replace(fresh("5.30", minute=4), measured_at=DAY)
    assert version(aware, before, "last") == Correction("obs1", C)


def test_last_counts_again_and_again() -> None:
    """With rerun = "last" a third run follows the second, which we sent as C though the analyzer called it final."""
    chain = [prior(fresh(minute=5)), prior(fresh("5.30", minute=25), C, name="obs2")]
    assert version(fresh("5.40", minute=45), chain, "last") == Correction("obs2", C)
    assert version(fresh("5.10", minute=45), chain, "last") == Correction("obs2", C)
    assert version(fresh("5.30", minute=45), chain, "last") == Duplicate("obs2")
    assert version(fresh("5.10", minute=5), chain, "last") == Duplicate("obs1")


def test_an_older_one_that_was_judged_later() -> None:
    """What we received earlier never replaces what we received later, whatever its status."""
    later = fresh("5.30", received=9)
    for letter, said, status in (
        (F, FINAL, FINAL),
        (P, PRELIMINARY, FINAL),
        (F, FINAL, CORRECTED),
        (P, PRELIMINARY, PRELIMINARY),
    ):
        before = [prior(replace(later, status=said), letter)]
        assert why(version(fresh("5.10", status, received=8.9), before, "last")) is Reason.RERUN_DIFFERS
        assert isinstance(version(fresh("5.10", status, received=9), before, "last"), Correction)
    assert why(version(fresh("5.10", received=8), [prior(replace(later, value=None), X)])) is Reason.RERUN_DIFFERS
    assert version(fresh("5.30", received=8), [prior(later)]) == Duplicate("obs1")
    assert why(version(fresh("5.10", PRELIMINARY, received=8), [prior(later)])) is Reason.STATUS_REGRESSION


def test_a_duplicate_is_remembered() -> None:
    """A run that added nothing is known when it comes again, and undoes nothing that came after it."""
    chain = [
        prior(fresh(minute=5)),
        prior(fresh(minute=9), state=DUPLICATE, name="obs2"),
        prior(replace(fresh("5.30", minute=25), measured_at=None), C, name="obs3"),
    ]
    assert version(fresh(minute=9, received=2), chain, "last") == Duplicate("obs2")
    assert version(fresh(minute=29), chain, "last") == Correction("obs3", C)
    assert version(fresh(), [replace(chain[1], fresh=fresh("5.30"))]) == First(F)


def test_no_two_are_each_others_duplicate() -> None:
    """What is judged again, since its order came, is no duplicate of its own resend; nothing vanishes that way."""
    for state in (DUPLICATE, HELD, REJECTED):
        for place in (HERE, None):
            later = prior(fresh(minute=5, received=2, place=place), state=state)
            assert version(fresh(minute=5), [later]) != Duplicate("obs1") or (state, place) == (HELD, HERE)
    assert version(fresh(minute=5), [prior(fresh(minute=5), state=DUPLICATE)]) == First(F)
    for place in (HERE, ANYWHERE):
        sent = prior(fresh(minute=5, received=2, place=place))
        assert version(fresh(minute=5, place=place), [sent]) == Duplicate("obs1"), "what is out needs no second word"


def test_perhaps_an_older_one_again() -> None:
    """An older value again, with nothing to tell a resend from a new run, is held and never undoes the newer one."""
    chain = [prior(fresh()), prior(fresh("5.30"), C, name="obs2")]
    answer = version(fresh(), chain, "last")
    assert why(answer) is Reason.RERUN_DIFFERS
    assert isinstance(answer, Hold)
    assert answer.of == "obs1"
    dated = [prior(fresh(measured_text="20261122")), prior(fresh("5.30", measured_text="20261122"), C, name="obs2")]
    assert why(version(fresh(measured_text="20261122"), dated, "last")) is Reason.RERUN_DIFFERS
    runs = [prior(fresh(run="1")), prior(fresh("5.30", run="2"), C, name="obs2")]
    assert version(fresh(run="3"), runs, "last") == Correction("obs2", C)
    assert why(version(fresh(run="1"), runs, "last")) is Reason.RERUN_DIFFERS
    three = [*chain, prior(fresh("5.50"), C, name="obs3")]
    answer = version(fresh("5.30"), three, "last")
    assert isinstance(answer, Hold)
    assert (answer.problem.reason, answer.of) == (Reason.RERUN_DIFFERS, "obs2")
    corrections = [prior(fresh(status=CORRECTED), C), prior(fresh("5.30", CORRECTED), C, name="obs2")]
    assert why(version(fresh(status=CORRECTED), corrections)) is Reason.RERUN_DIFFERS


def test_a_date_alone_proves_nothing() -> None:
    """A measuring time without hour and minute does not make a resend; another run number makes two of one time."""
    held = [prior(fresh(measured_text="2026-11-22", place=None), state=HELD)]
    assert why(version(fresh(measured_text="2026-11-22"), held)) is Reason.EARLIER_HELD
    minute = [prior(fresh(measured_text="202611220805", place=None), state=HELD)]
    assert version(fresh(measured_text="202611220805"), minute) == Duplicate("obs1")
    runs = [prior(fresh(minute=5, run="1", place=None), state=HELD)]
    assert why(version(fresh(minute=5, run="2"), runs)) is Reason.EARLIER_HELD
    assert version(fresh(minute=5, run="1"), runs) == version(fresh(minute=5), runs) == Duplicate("obs1")


LADDER = [
    (P, PRELIMINARY, "5.10", PRELIMINARY, Duplicate("obs1")),
    (P, PRELIMINARY, "5.30", PRELIMINARY, Correction("obs1", P)),
    (P, PRELIMINARY, "5.10", FINAL, Correction("obs1", F)),
    (P, PRELIMINARY, "5.30", FINAL, Correction("obs1", F)),
    (P, PRELIMINARY, "5.30", RERUN, Correction("obs1", F)),
    (P, PRELIMINARY, "5.10", CORRECTED, Correction("obs1", C)),
    (F, FINAL, "5.10", FINAL, Duplicate("obs1")),
    (F, FINAL, "5.10", CORRECTED, Correction("obs1", C)),
    (F, FINAL, "5.30", CORRECTED, Correction("obs1", C)),
    (F, FINAL, "5.10", PRELIMINARY, Reason.STATUS_REGRESSION),
    (F, FINAL, "5.30", PRELIMINARY, Reason.STATUS_REGRESSION),
    (C, CORRECTED, "5.10", CORRECTED, Duplicate("obs1")),
    (C, CORRECTED, "5.30", CORRECTED, Correction("obs1", C)),
    (C, CORRECTED, "5.10", FINAL, Duplicate("obs1")),
    (C, CORRECTED, "5.10", RERUN, Duplicate("obs1")),
    (C, CORRECTED, "5.30", FINAL, Reason.STATUS_REGRESSION),
    (C, CORRECTED, "5.10", PRELIMINARY, Reason.STATUS_REGRESSION),
    (C, FINAL, "5.30", PRELIMINARY, Reason.STATUS_REGRESSION),
    (C, PRELIMINARY, "5.10", FINAL, Duplicate("obs1")),
    (C, PRELIMINARY, "5.30", FINAL, Reason.RERUN_DIFFERS),
]


@pytest.mark.parametrize("state", [RELEASED, WAITING])
@pytest.mark.parametrize(("letter", "said", "value", "status", "expected"), LADDER)
def test_the_status_lattice(
    letter: ResultLetter, said: Status, value: str, status: Status, expected: Version | Reason, state: ObservationState
) -> None:
    """V5: P before F before C, never back; the same for one that went out and one that waits to."""
    answer = version(fresh(value, status, minute=9), [prior(fresh(status=said, minute=5), letter, state)])
    assert answer == expected if not isinstance(expected, Reason) else why(answer) is expected


def test_status_never_goes_back_even_when_the_last_counts() -> None:
    """rerun = "last" lets a final value follow a final one; never P behind F, never F behind the analyzer's own C."""
    assert why(version(fresh("5.30", PRELIMINARY), [prior(fresh())], "last")) is Reason.STATUS_REGRESSION
    corrected = [prior(fresh(), F), prior(fresh("5.20", CORRECTED), C, name="obs2")]
    assert why(version(fresh("5.30"), corrected, "last")) is Reason.STATUS_REGRESSION


def test_an_empty_value_erases_nothing() -> None:
    """A withheld value behind a reported one is held, whatever its status and whatever the mapping says."""
    for letter, said in ((P, PRELIMINARY), (F, FINAL), (C, CORRECTED)):
        for status in (PRELIMINARY, FINAL, CORRECTED, RERUN):
            for rerun in ("hold", "last"):
                answer = version(fresh(None, status, minute=9), [prior(fresh(status=said, minute=5), letter)], rerun)
                assert why(answer) is Reason.VALUE_WITHHELD


def test_withheld_again() -> None:
    """Nothing behind nothing adds nothing, whatever the analyzer calls it."""
    for status in (PRELIMINARY, FINAL, CORRECTED):
        assert version(fresh(None, status, minute=9), [prior(fresh(None, minute=5), X)]) == Duplicate("obs1")


def test_a_value_after_a_withheld_one() -> None:
    """The first real value behind an X goes out by its own letter, from whichever instrument; X again adds nothing."""
    nothing = [prior(fresh(None, minute=5), X)]
    for status, letter in ((PRELIMINARY, P), (FINAL, F), (CORRECTED, C)):
        assert version(fresh("5.10", status, minute=9), nothing) == Correction("obs1", letter)
        assert version(fresh("5.10", status, minute=9, instrument="c702"), nothing) == Correction("obs1", letter)
    assert version(fresh(None, minute=9), nothing) == Duplicate("obs1")
    assert version(fresh(None, PRELIMINARY, minute=9), nothing) == Duplicate("obs1")
    for rerun in ("hold", "last"):
        assert why(version(fresh(None, minute=9, flags=("E7",)), nothing, rerun)) is Reason.RERUN_DIFFERS
        assert why(version(fresh(None, CORRECTED, minute=9, flags=("E7",)), nothing, rerun)) is Reason.RERUN_DIFFERS


def test_another_instrument() -> None:
    """The same test from another instrument is held, same value or not, sent or held, and never judged by "last"."""
    for state in (RELEASED, WAITING, HELD):
        for value in ("5.10", "5.30", None):
            for rerun in ("hold", "last"):
                answer = version(
                    fresh(value, minute=5, instrument="c702"), [prior(fresh(minute=5), state=state)], rerun
                )
                assert why(answer) is Reason.OTHER_INSTRUMENT
    both = [prior(fresh(minute=5)), prior(fresh("5.30", minute=7, instrument="c702"), C, name="obs2")]
    assert version(fresh("5.40", CORRECTED, minute=9, instrument="c702"), both) == Correction("obs2", C)
    assert why(version(fresh("5.40", minute=9), both, "last")) is Reason.OTHER_INSTRUMENT


def test_behind_a_held_one() -> None:
    """What a person has not decided yet holds what comes behind it; the same again is a duplicate of the held one."""
    held = [prior(fresh(minute=5), state=HELD)]
    assert version(fresh(minute=9), held) == Duplicate("obs1")
    assert version(fresh(), held) == Duplicate("obs1")
    for later in (fresh("5.30", minute=9), fresh("5.10", CORRECTED, minute=9), fresh(None, minute=9)):
        for rerun in ("hold", "last"):
            assert why(version(later, held, rerun)) is Reason.EARLIER_HELD
    sent = [prior(fresh(minute=1)), *[replace(p, id="obs2") for p in [prior(fresh("5.30", minute=5), state=HELD)]]]
    assert version(fresh("5.30", minute=9), sent) == Duplicate("obs2")
    answer = version(fresh("5.10", minute=9), sent)
    assert isinstance(answer, Hold)
    assert (answer.problem.reason, answer.of) == (Reason.EARLIER_HELD, "obs2")


def test_a_held_one_without_a_place() -> None:
    """What is held for its identity holds the next result of that id for window_h, and is never taken for it."""
    lost = [prior(fresh(place=None), state=HELD)]
    assert why(version(fresh(received=2), lost)) is Reason.EARLIER_HELD
    assert why(version(fresh(received=73), lost)) is Reason.EARLIER_HELD
    assert version(fresh(received=73.1), lost) == First(F)
    assert version(fresh(received=13.1), lost, window_h=12) == First(F)
    assert version(fresh(received=2), [prior(fresh(place=None), state=WAITING)]) == First(F)


def test_behind_a_rejected_one() -> None:
    """What a person rejected does not come back by itself; a new measurement counts as if the rejected one were not."""
    rejected = [prior(fresh(minute=5), state=REJECTED)]
    assert why(version(fresh(), rejected)) is Reason.REJECTED_BEFORE
    assert why(version(fresh(status=CORRECTED, minute=5), rejected)) is Reason.REJECTED_BEFORE
    untimed = [prior(fresh(), state=REJECTED)]
    assert why(version(fresh(minute=9), untimed)) is Reason.REJECTED_BEFORE, "a time on one side proves nothing"
    assert version(fresh(minute=9), rejected) == First(F)
    assert version(fresh("5.30"), rejected) == First(F)
    assert version(fresh("5.30", minute=9), [prior(fresh("5.30", minute=1)), *rejected]) == Duplicate("obs1")


def test_retracted_is_the_end() -> None:
    """Behind W or D nothing goes out by itself; the retracted result again is a duplicate, not a new word."""
    for letter in (W, D):
        chain = [prior(fresh(minute=5)), prior(fresh(minute=5), letter, name="obs2")]
        assert version(fresh(minute=5), chain) == Duplicate("obs1")
        assert why(version(fresh(minute=5), chain[1:])) is Reason.STATUS_REGRESSION, (
            "of what was taken back nothing is a repeat"
        )
        for status in (PRELIMINARY, FINAL, CORRECTED):
            for value in ("5.10", "5.30", None):
                assert why(version(fresh(value, status, minute=9), chain, "last")) is Reason.STATUS_REGRESSION
        assert by_hand(fresh("5.30", minute=9), chain) == First(F)


def test_what_stands_is_not_what_was_received_last() -> None:
    """A person released an older one later, or took one back: the EMR holds what went out last."""

    def out(name: str, value: str, letter: ResultLetter = F, of: str | None = None) -> Prior:
        return replace(prior(fresh(value), letter, name=name), replaces=of)

    older = [out("obs2", "5.30", C, "obs1"), out("obs1", "5.10")]
    assert version(fresh("5.30"), older) == Duplicate("obs2")
    taken_back = [out("obs2", "5.10", W, "obs1"), out("obs1", "5.10")]
    assert why(version(fresh("5.30"), taken_back)) is Reason.STATUS_REGRESSION
    answered_anew = [out("obs1", "5.10"), out("obs3", "5.50"), out("obs2", "5.10", W, "obs1")]
    assert version(fresh("5.50"), answered_anew) == Duplicate("obs3")
    and_corrected = [*answered_anew[:2], out("obs4", "5.70", C, "obs3"), answered_anew[2]]
    assert version(fresh("5.70"), and_corrected) == Duplicate("obs4")


def test_an_order_that_was_moved() -> None:
    """P8: an order that was answered for one patient and now stands for another holds what comes for it."""
    moved = fresh(minute=9, place=Place(1, "1002"))
    for state in (RELEASED, WAITING, HELD, REJECTED):
        assert why(version(moved, [prior(fresh(minute=5), state=state)])) is Reason.ORDER_CHANGED
    assert version(replace(moved, measured_text="20261122080500"), [prior(fresh(minute=5))]) == Duplicate("obs1")
    assert by_hand(moved, [prior(fresh(minute=5))]) == First(F)


def test_an_order_number_that_is_used_again() -> None:
    """P6: what one order was told longer ago than any result may wait was told to an earlier use of its number."""
    for state in (RELEASED, HELD, REJECTED):
        for place in (HERE, Place(1, "1002")):
            before = [prior(fresh("Negative", minute=5, place=place), state=state)]
            assert isinstance(version(fresh("Negative", received=313), before), Duplicate | Hold)
            assert version(fresh("Negative", received=313.1), before) == First(F)
            assert version(fresh("Negative", received=26), before, window_h=20, wait_h=4) == First(F)
    assert isinstance(by_hand(fresh("5.30", received=313), [prior(fresh())]), Correction)


def test_a_person_answers_an_order_that_was_answered_long_ago() -> None:
    """V5: the order, the test and the patient are those that the EMR holds a final value for: no second F, however late."""
    assert by_hand(fresh("5.30", received=313.1), [prior(fresh())]) == Correction("obs1", C)
    assert by_hand(fresh("5.30", received=313.1, place=Place(1, "1002")), [prior(fresh())]) == First(F)
    assert by_hand(fresh("5.30", received=313.1, place=Place(None, "1001")), [prior(fresh())]) == First(F)
    nowhere = prior(fresh(place=Place(None, "1001")))
    assert by_hand(fresh("5.30", received=313.1, place=Place(None, "1001")), [nowhere]) == First(F)
    day = prior(fresh(place=Place(None, "1001")))
    for received, expected in ((73, Correction("obs1", C)), (73.5, First(F))):
        assert by_hand(fresh("5.30", received=received, place=Place(None, "1001")), [day]) == expected
    assert by_hand(fresh("5.30", received=2, place=None), [prior(fresh())]) == First(F)
    assert by_hand(fresh("5.30", received=2), [prior(fresh(place=None))]) == First(F)


def test_while_the_place_is_not_known() -> None:
    """Without a place only a proven resend of another one without a place is told; all else is judged again later."""
    waiting = [prior(fresh(minute=5, place=None), state=WAITING)]
    lost = fresh(minute=5, place=None, received=2)
    assert version(lost, waiting) == Duplicate("obs1")
    assert version(replace(lost, received_at=fresh(received=73.1).received_at), waiting) == First(F)
    assert version(replace(lost, measured_text=""), waiting) == First(F)
    assert version(replace(lost, value="5.30", status=CORRECTED), waiting) == First(C)
    assert version(replace(lost, instrument="c702"), waiting) == First(F)
    assert version(lost, [prior(fresh(minute=5))]) == First(F)
    assert by_hand(lost, waiting) == First(F)


def test_sites_without_orders() -> None:
    """Where only the specimen id speaks, an unproven repeat is held, since the id may stand on another tube by now."""
    before = [prior(fresh("Negative", minute=5, place=ANYWHERE))]
    again = fresh("Negative", minute=25, place=ANYWHERE, received=24)
    assert version(replace(again, measured_text=before[0].fresh.measured_text), before) == Duplicate("obs1")
    for repeat in (again, replace(again, measured_text="")):
        assert why(version(repeat, before)) is Reason.MAYBE_REPEATED
    assert why(version(replace(again, value="Positive"), before, "last")) is Reason.RERUN_DIFFERS
    assert version(replace(again, status=CORRECTED), before) == Correction("obs1", C)
    assert why(version(again, [replace(before[0], state=HELD)])) is Reason.MAYBE_REPEATED
    assert version(replace(again, received_at=fresh(received=73.1).received_at), before) == First(F)
    named = Place(None, "1001")
    known = [prior(fresh("Negative", minute=5, place=named))]
    assert version(replace(again, place=named), known) == Duplicate("obs1")
    assert version(replace(again, place=named, value="Positive"), known, "last") == Correction("obs1", C)
    assert version(replace(again, place=Place(None, "1002")), known) == First(F)


def test_the_place_of_an_answer() -> None:
    """An order's number and its patient; without an order the patient; without both nothing is certain."""
    assert place_of(judge(candidate(), order(number=7)), candidate()) == Place(7, "1001")
    assert place_of(judge(candidate(), order(patient=NOBODY)), candidate()) == Place(1, "")
    for nameless, patient in (
        (Patient(None, "7^^^TH^MR", "LE^MAI"), "7^^^TH^MR"),
        (Patient("", "", "LE^MAI"), "LE^MAI"),
    ):
        answer = judge(candidate(), order(patient=nameless))
        assert place_of(answer, candidate()) == Place(1, patient), "who has no number is still told from the next"
    beside = judge(candidate(), order("HGB"), policy=Policy(not_ordered="send"))
    assert place_of(beside, candidate()) == Place(None, "1001")
    alone = Policy(without_order="send")
    for said, patient in ((" 1001 ", "1001"), (None, ""), ("000", "")):
        what = candidate(patient=said)
        assert place_of(judge(what, policy=alone), what) == Place(None, patient)
    assert place_of(judge(candidate()), candidate()) is None
    assert place_of(judge(candidate(), cancelled()), candidate()) is None
    assert [Place(7, "").is_certain, Place(None, "1").is_certain, ANYWHERE.is_certain] == [True, True, False]
    assert "1001" not in repr(HERE)


@pytest.mark.parametrize(
    ("letter", "before", "value", "status", "expected"),
    [
        (F, "5.10", "5.30", FINAL, Correction("obs1", C)),
        (F, "5.10", "5.30", PRELIMINARY, Correction("obs1", C)),
        (C, "5.10", "5.30", FINAL, Correction("obs1", C)),
        (F, "5.10", None, FINAL, Correction("obs1", D)),
        (C, "5.10", None, FINAL, Correction("obs1", D)),
        (P, "5.10", "5.30", PRELIMINARY, Correction("obs1", P)),
        (P, "5.10", "5.30", FINAL, Correction("obs1", F)),
        (P, "5.10", None, FINAL, Correction("obs1", X)),
        (X, None, "5.30", FINAL, Correction("obs1", F)),
        (X, None, None, FINAL, Duplicate("obs1")),
    ],
)
def test_released_by_hand(
    letter: ResultLetter, before: str | None, value: str | None, status: Status, expected: Version
) -> None:
    """A person who releases a held result makes the version that table 0085 has for it."""
    assert by_hand(fresh(value, status, instrument="c702"), [prior(fresh(before), letter)]) == expected
    assert by_hand(fresh(value, status), [prior(fresh(before), letter, HELD)]) == First(letter_of(fresh(value, status)))


def test_taking_back() -> None:
    """A person takes back what is out, whatever its letter, once; what never left has nothing to be taken back."""
    for letter in (P, F, C, X):
        assert retract(prior(fresh(), letter)) == Correction("obs1", W)
        assert retract(prior(fresh(), letter), D) == Correction("obs1", D)
    for letter in (W, D):
        assert why(retract(prior(fresh(), letter))) is Reason.STATUS_REGRESSION
    for state in (WAITING, HELD, REJECTED):
        assert why(retract(prior(fresh(), state=state))) is Reason.STATUS_REGRESSION


def test_what_stands_is_behind_what_it_replaced() -> None:
    """Received 1, 2, 3, 4; a person released 4 and then 2: 2 stands, and what comes is compared with it."""
    first, second = (
        prior(fresh("1.00", minute=1)),
        replace(prior(fresh("2.00", minute=2), C, name="obs2"), replaces="obs4"),
    )
    fourth = replace(prior(fresh("4.00", minute=4), C, name="obs4"), replaces="obs1")
    for chain in ([first, second, fourth], [second, first, fourth], [fourth, second, first]):
        assert by_hand(fresh("3.00", minute=3), chain) == Correction("obs2", C)
        assert why(version(fresh("4.00", minute=9), chain)) is Reason.RERUN_DIFFERS
        assert version(fresh("2.00"), chain) == Duplicate("obs2")


def test_what_stands_is_behind_a_retraction_that_came_before_it() -> None:
    """4 was taken back, then a person released 2: it stands, though W bears the later receipt of 4."""
    second = prior(fresh("2.00", minute=2), name="obs2")
    fourth = prior(fresh("4.00", minute=4), name="obs4")
    back = replace(prior(fresh("4.00", minute=4), W, name="obs5"), replaces="obs4")
    for chain in ([second, fourth, back], [fourth, back, second], [back, fourth, second]):
        assert by_hand(fresh("3.00", minute=3), chain) == Correction("obs2", C)
    corrected = replace(prior(fresh("2.50", minute=1), C, name="obs6"), replaces="obs2")
    assert by_hand(fresh("3.00", minute=3), [corrected, second, fourth, back]) == Correction("obs6", C)
    assert by_hand(fresh("3.00", minute=3), [back, fourth]) == First(F), "only what was taken back: a first word again"
    assert why(version(fresh("3.00", minute=9), [back, fourth])) is Reason.STATUS_REGRESSION
