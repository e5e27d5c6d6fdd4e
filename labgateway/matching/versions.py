"""Which version is it: the first word about a test at its place, the same again, or a correction? Pure.

Not here: whose result it is. The place is what attribute.py answered (``place_of``): an order, or without
orders the patient. What one order was told never counts for another order, so a specimen id that is used again
starts anew, and a test that is ordered again is answered again. Judge in the order of receipt, when the
place is known; what waited is judged again when its order has come.

What the EMR sees are letters of HL7 table 0085 in this lattice, nothing else (RELIABILITY section 7):

    nothing -> P F C X      P -> P F C      X -> P F C      F -> C      C -> C      W, D: the end

X is "no result could be obtained". It is no final result, so the first real value behind it is F: in table 0085 C
"replaces a final result". P -> X and every W and D are a person's (``by_hand``, ``retract``): an empty value
never erases by itself. The first row that applies wins. *Same* is the same value text, unit and flags; *proven* is
the same measuring time, to the minute at least, and no other run; *the last* is the last that is released or waits.

    #   what came before                                                answer
    1   the status is not known                                         Hold STATUS_UNKNOWN
    2   from this instrument the same, same status, proven, wherever
        it ended (released, waiting, held, rejected, duplicate)         Duplicate
    3   the place is not known yet                                      First; judge again
    4   this order was answered for another patient before              Hold ORDER_CHANGED
    5   the last, or a held one, is another instrument's value          Hold OTHER_INSTRUMENT
    6   a held one: at this place, the same, same status                Duplicate (see below)
                    else                                                Hold EARLIER_HELD
    7   a rejected one, same, not proven to be another measurement      Hold REJECTED_BEFORE
    8   nothing                                                         First
    9   the last was retracted (W, D)                                   Hold STATUS_REGRESSION
    10  the last has a value, this one is withheld                      Hold VALUE_WITHHELD
    11  the last is withheld (whichever instrument), this is a value    Correction P, F or C
    12  same as the last: same status, or F behind C, or both withheld  Duplicate (see below)
                          higher status (P < F < C)                     Correction by its letter
                          P behind F or C                               Hold STATUS_REGRESSION
    13  same as an older one, no proof for or against a resend          Hold RERUN_DIFFERS
    14  other than the last:
          lower status                                                  Hold STATUS_REGRESSION
          higher status, P behind P, C behind C                         Correction by its letter
          F behind F, rerun "last", not measured before the last        Correction C
          F behind F                                                    Hold RERUN_DIFFERS
    15  a Correction of one that we received later than this            Hold RERUN_DIFFERS

Released counts from our decision, not from the EMR's answer: one specimen's deliveries leave in order. Without
orders, and when the instrument names no patient, the specimen id is all there is and may have been used
again: priors then count for window_h only, rows 6 and 12 answer Hold MAYBE_REPEATED instead of Duplicate, and
rerun "last" does not apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from labgateway.errors import Problem, Reason
from labgateway.matching.attribute import Attached, Attribution, Candidate, Unordered
from labgateway.matching.identity import says_nothing
from labgateway.model import ObservationState, ResultLetter, Status
from labgateway.quick import quick

RETRACTED = frozenset({ResultLetter.WRONG, ResultLetter.DELETED})

_LETTER = {
    Status.PRELIMINARY: ResultLetter.PRELIMINARY,
    Status.FINAL: ResultLetter.FINAL,
    Status.RERUN: ResultLetter.FINAL,
    Status.CORRECTED: ResultLetter.CORRECTED,
}
_RANK = {ResultLetter.PRELIMINARY: 0, ResultLetter.FINAL: 1, ResultLetter.CORRECTED: 2}
_MINUTE_DIGITS = 12  # YYYYMMDDHHMM: a date alone does not tell two runs apart
_LIVE = (ObservationState.RELEASED, ObservationState.WAITING)


@quick
@dataclass(frozen=True, slots=True)
class Place:
    """Where versions of a test follow each other. order: the store's number of the order; None without.

    patient: as ordered, or as the instrument said where there is no order; empty when it said nothing.
    """

    order: int | None
    patient: str = field(repr=False)

    @property
    def is_certain(self) -> bool:
        """False when only the specimen id speaks for two results being of one tube."""
        return self.order is not None or bool(self.patient)


@quick
@dataclass(frozen=True, slots=True)
class Fresh:
    """One result as it will go out: what versions are told apart by.

    code: the EMR test. value, unit: after the declared factor; value None when the analyzer withheld it.
    measured_text, run: as sent, empty when not sent. received_at: aware UTC. place: None while it is not known.
    """

    specimen: str
    code: str
    instrument: str
    value: str | None
    unit: str
    flags: tuple[str, ...]
    status: Status
    received_at: datetime
    place: Place | None
    measured_text: str = ""
    measured_at: datetime | None = None
    run: str = ""


@quick
@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier observation. id: of the observation. letter: what went out, or will when it waits or is held.

    by_person: a person decided what became of it. replaces: the observation that it went out behind.
    """

    id: str
    fresh: Fresh
    letter: ResultLetter
    state: ObservationState
    by_person: bool = False
    replaces: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class First:
    """The first word at its place; goes out as letter."""

    letter: ResultLetter


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same came before as observation of; nothing goes out."""

    of: str


@dataclass(frozen=True, slots=True)
class Correction:
    """A new version behind observation of; goes out as letter."""

    of: str
    letter: ResultLetter


@dataclass(frozen=True, slots=True)
class Hold:
    """A person must decide. of: the observation it stands against, None when there is none."""

    problem: Problem
    of: str | None = None


Version = First | Duplicate | Correction | Hold


def place_of(attribution: Attribution, candidate: Candidate) -> Place | None:
    """The place an attribution gives; None for what waits, is held or left out."""
    match attribution:
        case Attached(order=order, beside=beside):
            patient = beside.patient
            return Place(None if order is None else order.id, (patient.id or patient.pid3 or patient.pid5).strip())
        case Unordered():
            patient = candidate.result.patient
            return Place(None, "" if patient is None or says_nothing(patient) else patient.strip())
        case _:
            return None


def letter_of(fresh: Fresh) -> ResultLetter:
    """The letter that the analyzer's own words ask for; X when it withheld the value. An unknown status is F here
    and held by ``version``."""
    if fresh.value is None:
        return ResultLetter.NO_RESULT
    return _LETTER.get(fresh.status, ResultLetter.FINAL)


def version(
    new: Fresh,
    priors: Sequence[Prior],
    rerun: Literal["hold", "last"] = "hold",
    *,
    window_h: float = 72,
    wait_h: float = 240,
) -> Version:
    """The answer of the table above.

    priors: every other observation of new's specimen and test, in whatever state, the retractions (W, D) too, in the order
    of receipt; which of them went out behind which, each says itself (a person may release an older one later);
    others are passed over. rerun: the mapping line's word. window_h, wait_h: the site's; two
    results of one order were received at most both of them apart, so what lies further back is an earlier use of
    the order's number. window_h alone: how long a specimen id stands for one tube where no order says so.
    """
    if new.status not in _LETTER:
        return Hold(Problem(Reason.STATUS_UNKNOWN))
    if not priors:
        return First(letter_of(new))
    counting = [p for p in priors if _counts(p, new, timedelta(hours=window_h), timedelta(hours=wait_h))]
    for prior in counting:
        if (
            prior.letter not in RETRACTED
            and prior.fresh.instrument == new.instrument
            and _is_same(prior.fresh, new)
            and _rank(prior.fresh) == _rank(new)
            and _is_one_measurement(prior.fresh, new)
            and _came_before(prior, new)
        ):
            return Duplicate(prior.id)
    if new.place is None:
        return First(letter_of(new))
    live = _as_they_went_out([p for p in counting if p.state in _LIVE and p.fresh.place is not None])
    if moved := [p for p in counting if p.fresh.place not in (None, new.place)]:
        return Hold(Problem(Reason.ORDER_CHANGED), moved[-1].id)
    last = live[-1] if live else None
    held = [p for p in counting if p.state is ObservationState.HELD]
    rejected = [p for p in counting if p.state is ObservationState.REJECTED]
    answer = _unsettled(new, new.place, last, held, rejected) or _behind(new, new.place, live, rerun)
    if isinstance(answer, Correction) and last is not None and new.received_at < last.fresh.received_at:
        return Hold(Problem(Reason.RERUN_DIFFERS, "received before the one that is out"), answer.of)
    return answer


def by_hand(new: Fresh, priors: Sequence[Prior], *, window_h: float = 72) -> Version:
    """How a held result goes out that a person releases: what version has the person made of it?

    new: with the place that the person gave it. The person has decided which value is right: it becomes
    C behind a final value, D where that value is withdrawn for nothing. Behind W or D it is a first word
    again: what was retracted stays retracted, and the order may still be answered. What the same order was told counts
    however long ago: the EMR holds it, and must not get a second F.
    """
    window = timedelta(hours=window_h)
    counting = [p for p in priors if _is_of_order(p, new) or _counts(p, new, window, timedelta())]
    live = [p for p in counting if p.state in _LIVE and new.place is not None and p.fresh.place == new.place]
    live = _as_they_went_out(live)
    letter = letter_of(new)
    if not live or live[-1].letter in RETRACTED:
        return First(letter)
    last = live[-1]
    if last.fresh.value is None:
        return Duplicate(last.id) if new.value is None else Correction(last.id, letter)
    if last.letter is ResultLetter.PRELIMINARY:
        return Correction(last.id, letter)
    return Correction(last.id, ResultLetter.DELETED if new.value is None else ResultLetter.CORRECTED)


def retract(prior: Prior, letter: Literal[ResultLetter.WRONG, ResultLetter.DELETED] = ResultLetter.WRONG) -> Version:
    """What a person takes back, whatever its letter: W "wrong patient", D "deleted". Not twice, not what never left."""
    if prior.state is not ObservationState.RELEASED or prior.letter in RETRACTED:
        return Hold(Problem(Reason.STATUS_REGRESSION), prior.id)
    return Correction(prior.id, letter)


def _is_of_order(prior: Prior, new: Fresh) -> bool:
    """True when a person answers with this what an order was told about this test before, however long ago."""
    old = prior.fresh
    if old.place is None or new.place is None or old.place.order is None:
        return False
    return (old.specimen, old.code, old.place.order) == (new.specimen, new.code, new.place.order)


def _as_they_went_out(live: list[Prior]) -> list[Prior]:
    """What stands in the EMR last: behind what was replaced, and behind what was taken back for good."""
    replaced = {p.replaces for p in live}

    def place(prior: Prior) -> int:
        return 0 if prior.id in replaced else 1 if prior.letter in RETRACTED and prior.replaces else 2

    return sorted(live, key=place)


def _counts(prior: Prior, new: Fresh, window: timedelta, wait: timedelta) -> bool:
    """True for the observations that have a say: same specimen and test, a place that may be the same one."""
    old = prior.fresh
    if (old.specimen, old.code) != (new.specimen, new.code):
        return False
    if prior.state in (ObservationState.LEFT_OUT, ObservationState.CONTROL):
        return False
    apart = abs(new.received_at - old.received_at)
    if old.place is not None and new.place is not None and old.place.order is not None:
        return old.place.order == new.place.order and apart <= window + wait
    if old.place is not None and old.place != new.place:
        return False
    return apart <= window


def _unsettled(
    new: Fresh, place: Place, last: Prior | None, held: list[Prior], rejected: list[Prior]
) -> Version | None:
    """Rows 5 to 7: another instrument's word, and what a person has not decided or has decided against."""
    for prior in ([last] if last else []) + held:
        if prior.fresh.instrument != new.instrument and prior.fresh.value is not None:
            return Hold(Problem(Reason.OTHER_INSTRUMENT), prior.id)
    for prior in held:
        if prior.fresh.place == place and _is_same(prior.fresh, new) and _rank(prior.fresh) == _rank(new):
            return _repeat(prior, place)
    if held:
        return Hold(Problem(Reason.EARLIER_HELD), held[-1].id)
    for prior in rejected:
        if _is_same(prior.fresh, new) and _is_one_measurement(prior.fresh, new) is not False:
            return Hold(Problem(Reason.REJECTED_BEFORE), prior.id)
    return None


def _behind(new: Fresh, place: Place, live: list[Prior], rerun: Literal["hold", "last"]) -> Version:
    """Rows 8 to 14: the lattice behind the last version."""
    if not live:
        return First(letter_of(new))
    last = live[-1]
    if last.letter in RETRACTED:
        return Hold(Problem(Reason.STATUS_REGRESSION), last.id)
    if new.value is None and last.fresh.value is not None:
        return Hold(Problem(Reason.VALUE_WITHHELD), last.id)
    if new.value is not None and last.fresh.value is None:
        return Correction(last.id, letter_of(new))
    step = _rank(new) - _rank_out(last)
    if _is_same(last.fresh, new):
        if new.value is not None and step > 0:
            return Correction(last.id, letter_of(new))
        if new.value is not None and step < 0 and new.status is Status.PRELIMINARY:
            return Hold(Problem(Reason.STATUS_REGRESSION), last.id)
        return _repeat(last, place)
    for older in live[:-1]:
        if _is_same(older.fresh, new) and _is_one_measurement(older.fresh, new) is None:
            return Hold(Problem(Reason.RERUN_DIFFERS, "perhaps an older version again"), older.id)
    if step < 0:
        return Hold(Problem(Reason.STATUS_REGRESSION), last.id)
    if new.value is not None and (step > 0 or letter_of(new) is not ResultLetter.FINAL):
        return Correction(last.id, letter_of(new))
    if new.value is not None and rerun == "last" and place.is_certain and not _is_measured_before(new, last.fresh):
        return Correction(last.id, ResultLetter.CORRECTED)
    return Hold(Problem(Reason.RERUN_DIFFERS), last.id)


def _repeat(prior: Prior, place: Place) -> Version:
    if place.is_certain:
        return Duplicate(prior.id)
    return Hold(Problem(Reason.MAYBE_REPEATED), prior.id)


def _is_same(one: Fresh, other: Fresh) -> bool:
    """The same value text, unit and flags. Text: 5.10 is not 5.1."""
    return (one.value, one.unit, sorted(one.flags)) == (other.value, other.unit, sorted(other.flags))


def _is_one_measurement(one: Fresh, other: Fresh) -> bool | None:
    """True: the same measuring time says so. False: time or run says that they are two. None: nothing says."""
    if one.run and other.run and one.run != other.run:
        return False
    if not one.measured_text or not other.measured_text:
        return None
    if one.measured_text != other.measured_text:
        return False
    return True if sum(c.isdigit() for c in one.measured_text) >= _MINUTE_DIGITS else None


def _is_measured_before(new: Fresh, last: Fresh) -> bool:
    one, other = new.measured_at, last.measured_at
    return one is not None and other is not None and (one.tzinfo is None) == (other.tzinfo is None) and one < other


def _came_before(prior: Prior, new: Fresh) -> bool:
    """False for a resend of new itself, when new is judged again: two may not be each other's duplicate."""
    if prior.state is ObservationState.DUPLICATE:
        return prior.fresh.received_at < new.received_at
    return prior.state in _LIVE or prior.fresh.received_at <= new.received_at


def _rank(fresh: Fresh) -> int:
    """How final the analyzer calls it: P 0, F 1, C 2."""
    return _RANK[_LETTER.get(fresh.status, ResultLetter.FINAL)]


def _rank_out(prior: Prior) -> int:
    """How final it stands in the EMR. A rerun that we sent as C is still the analyzer's F: a rerun may follow it."""
    if prior.letter is ResultLetter.PRELIMINARY:
        return 0
    return 2 if prior.fresh.status is Status.CORRECTED else 1
