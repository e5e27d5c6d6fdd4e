"""What becomes of one result. Pure: everything it depends on comes in, one verdict goes out.

    result ── control, calibration ────────────────────────────────────> CONTROL
       │  └── has a problem from decoding ─────────────────────────────> HELD
       v
    mapping ── leave_out ──────────────────────────────────────────────> LEFT_OUT
       │   └── unknown code, wrong unit, no decimal ───────────────────> HELD
       v
    matching ── no order yet ──────────────────────────────────────────> WAITING
       │    └── ambiguous, conflicting, cancelled, not ordered ────────> HELD
       v
    versions ── said before ───────────────────────────────────────────> DUPLICATE
       │    └── contradicts what was said before ──────────────────────> HELD
       v
    limits, rules of the lab, manual release ──────────────────────────> HELD
       v
    RELEASED

What is held or waits is compared with what came before as well: the same words again are a duplicate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from labgateway.errors import Problem, Reason
from labgateway.mapping.apply import LeftOut as StopsHere
from labgateway.mapping.apply import Mapped, Target, apply
from labgateway.mapping.table import Mapping
from labgateway.matching import attribute as matching
from labgateway.matching import versions
from labgateway.model import Added, Kind, ObservationState, Order, Result, ResultLetter
from labgateway.pipeline import review
from labgateway.quick import quick

_UTC = ZoneInfo("UTC")


@quick
@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one result.

    problem: why it is held; None otherwise. target, value, unit and the originals: as mapped, None
    where it did not come so far. order: the order it answers. beside: the order whose patient it is for. place:
    where its versions follow each other, None while that is not known. replaces: the observation that
    this one corrects. duplicate_of: the one that said the same. added: what the mapping says beside the value.
    """

    state: ObservationState
    problem: Problem | None = None
    target: Target | None = None
    value: str | None = None
    unit: str = ""
    original_value: str | None = None
    original_unit: str | None = None
    letter: ResultLetter = ResultLetter.FINAL
    order: Order | None = None
    beside: Order | None = None
    place: versions.Place | None = None
    replaces: str | None = None
    duplicate_of: str | None = None
    added: Added | None = None


@quick
@dataclass(frozen=True, slots=True)
class Case:
    """One result and all that its verdict depends on.

    orders: every order of this specimen id, cancelled ones too; best as ``matching.weighing.weigh`` made them. priors: by
    EMR test, what was observed on this specimen before, in the order of receipt. received_at: UTC, when the result came.
    now: UTC. neighbours: the patient's other values of a test, for an EMR test, the order whose patient it is and the one
    that is answered; None: not known. timezone: of the site's calendar. flag_words: what the driver calls its flags, None:
    it declares none.
    """

    result: Result
    instrument: str
    mapping: Mapping | Problem
    orders: Iterable[Order]
    priors: MappingOf[str, Sequence[versions.Prior]]
    policy: matching.Policy
    received_at: datetime
    now: datetime
    manual: bool
    neighbours: Callable[[str, Order, Order | None], review.Neighbours] | None = None
    timezone: ZoneInfo = _UTC
    flag_words: MappingOf[str, str] | None = None
    contradicted: bool = False
    """Its own message says another value of the same test."""


def decide(case: Case) -> Verdict:
    """The verdict on one result; deterministic, and the same whatever order things arrived in."""
    result = case.result
    if result.kind is not Kind.PATIENT:
        # A computed value is never judged here: computing.py works it out again.
        return Verdict(ObservationState.CONTROL, value=result.value, unit=result.unit or "")
    if result.problem is not None:
        return _unless_repeated(case, _plain(result, ObservationState.HELD, result.problem))
    if isinstance(case.mapping, Problem):
        return _unless_repeated(case, _plain(result, ObservationState.HELD, case.mapping))
    match apply(case.mapping, result):
        case Mapped() as mapped:
            return _matched(case, case.mapping, mapped)
        case StopsHere():
            return _plain(result, ObservationState.LEFT_OUT, None)
        case Problem() as problem:
            return _unless_repeated(case, _plain(result, ObservationState.HELD, problem))


def _plain(result: Result, state: ObservationState, problem: Problem | None) -> Verdict:
    """A verdict before anything is mapped: the analyzer's own words."""
    letter = ResultLetter.NO_RESULT if result.value is None else ResultLetter.FINAL
    return Verdict(state, problem, value=result.value, unit=result.unit or "", letter=letter)


def place(case: Case, mapping: Mapping, mapped: Mapped) -> Verdict:
    """The verdict on a value that did not come from an analyzer: from matching on, as for any other."""
    return _matched(case, mapping, mapped)


def code_of(verdict: Verdict, result: Result) -> str:
    """The EMR's code, or the analyzer's while the EMR's is not known."""
    return verdict.target.emr if verdict.target else result.code


def fresh(case: Case, verdict: Verdict) -> versions.Fresh:
    """The result as versions compare it."""
    return _fresh(case, code_of(verdict, case.result), verdict.value, verdict.unit, verdict.place)


def _fresh(case: Case, code: str, value: str | None, unit: str, place: versions.Place | None) -> versions.Fresh:
    result = case.result
    return versions.Fresh(
        specimen=result.specimen or "",
        code=code,
        instrument=case.instrument,
        value=value,
        unit=unit,
        flags=result.flags,
        status=result.status,
        received_at=case.received_at,
        place=place,
        measured_text=result.measured_at_text,
        measured_at=result.measured_at,
        run=result.run or "",
    )


def _matched(case: Case, mapping: Mapping, mapped: Mapped) -> Verdict:
    """From mapping on."""
    sure = mapped.targets[0] if len(mapped.targets) == 1 else None
    candidate = matching.Candidate(
        result=case.result,
        targets=tuple(target.emr for target in mapped.targets),
        received_at=case.received_at,
        instrument=case.instrument,
    )
    attribution = matching.attribute(candidate, case.orders, mapping.panels, case.policy, case.now)
    order = beside = None
    match attribution:
        case matching.Attached(order=order, target=chosen, beside=beside):
            pass
        case matching.Unordered(target=chosen):
            pass
        case matching.LeftOut():
            return _verdict(mapped, ObservationState.LEFT_OUT, sure)
        case matching.Waits():
            return _unless_repeated(case, _unplaced(case, mapped, ObservationState.WAITING, sure))
        case matching.Held(problem=problem, order=order):
            held = _unplaced(case, mapped, ObservationState.HELD, sure)
            return _unless_repeated(case, replace(held, problem=problem, beside=order))
    target = next(target for target in mapped.targets if target.emr == chosen)
    return _versioned(case, mapping, mapped, target, order, beside, versions.place_of(attribution, candidate))


def _versioned(
    case: Case,
    mapping: Mapping,
    mapped: Mapped,
    target: Target,
    order: Order | None,
    beside: Order | None,
    place: versions.Place | None,
) -> Verdict:
    """From versions on."""
    new = _fresh(case, target.emr, mapped.value, mapped.unit, place)
    state, problem = ObservationState.HELD, None
    letter, replaces, duplicate_of = versions.letter_of(new), None, None
    priors, policy = case.priors.get(target.emr, ()), case.policy
    match versions.version(new, priors, mapped.rerun, window_h=policy.window_h, wait_h=policy.wait_h):
        case versions.Duplicate(of=duplicate_of):
            state = ObservationState.DUPLICATE
        case versions.Hold(problem=problem):
            pass
        case versions.Correction(of=replaces, letter=letter):
            pass
        case versions.First(letter=letter):
            pass
    added = None
    has_rules = mapped.line is not None and mapped.line.holding is not None
    if has_rules or target.emr in mapping.ranges:
        added = _added(case, mapping, mapped, target, beside)
    if problem is None and state is ObservationState.HELD:
        if mapped.hold is not None:
            problem = mapped.hold
        elif case.contradicted and mapped.rerun == "hold":
            problem = Problem(Reason.RERUN_DIFFERS, "the same message says two values")
        elif (
            has_rules
            and not _released_by_hand(priors, replaces, new)
            and (rule := _rule(case, mapped, target, order, beside))
        ):
            problem = rule
        elif case.manual:
            problem = Problem(Reason.MANUAL_RELEASE)
        else:
            state = ObservationState.RELEASED
    return Verdict(
        state, problem, target, mapped.value, mapped.unit, mapped.original_value, mapped.original_unit, letter, order,
        beside, place, replaces, duplicate_of, added,
    )  # fmt: skip


def _added(case: Case, mapping: Mapping, mapped: Mapped, target: Target, beside: Order | None) -> Added | None:
    """What the mapping says beside the value."""
    days = review.collected_between(beside, case.received_at, case.timezone, case.policy)
    return review.added(mapping, mapped, target.emr, case.result, beside, days, case.flag_words)


def _rule(case: Case, mapped: Mapped, target: Target, order: Order | None, beside: Order | None) -> Problem | None:
    """The rule of the lab that lets a person look first; None: none does."""
    neighbours = None if beside is None or case.neighbours is None else case.neighbours(target.emr, beside, order)
    return review.held(mapped, case.result, neighbours)


def _released_by_hand(priors: Sequence[versions.Prior], of: str | None, new: versions.Fresh) -> bool:
    """Whether the version before said the same, and a person released it."""
    return any(
        prior.id == of
        and prior.by_person
        and (prior.fresh.value, prior.fresh.unit, sorted(prior.fresh.flags)) == (new.value, new.unit, sorted(new.flags))
        for prior in priors
    )


def _verdict(mapped: Mapped, state: ObservationState, target: Target | None) -> Verdict:
    return Verdict(
        state, None, target, mapped.value, mapped.unit, mapped.original_value, mapped.original_unit,
        ResultLetter.NO_RESULT if mapped.value is None else ResultLetter.FINAL,
    )  # fmt: skip


def _unplaced(case: Case, mapped: Mapped, state: ObservationState, target: Target | None) -> Verdict:
    """A verdict on what has no place yet, with the letter that the analyzer's words ask for."""
    verdict = _verdict(mapped, state, target)
    return replace(verdict, letter=versions.letter_of(fresh(case, verdict)))


def _unless_repeated(case: Case, verdict: Verdict) -> Verdict:
    """The same words again need not be decided again, wherever the first ones ended."""
    new, policy = fresh(case, verdict), case.policy
    match versions.version(new, case.priors.get(new.code, ()), window_h=policy.window_h, wait_h=policy.wait_h):
        case versions.Duplicate(of=of):
            return replace(verdict, state=ObservationState.DUPLICATE, duplicate_of=of, problem=None)
        case _:
            return verdict
