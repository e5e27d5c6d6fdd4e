"""What becomes of one result. Pure: everything it depends on comes in, one verdict goes out.

    result ── control ───────────────────────────────────────────────> CONTROL
       │  └── has a problem from decoding ───────────────────────────> HELD
       v
    the same words again ────────────────────────────────────────────> DUPLICATE
       v
    mapping ── leave_out ─────────────────────────────────────────────> LEFT_OUT
       │   └── unknown code, wrong unit, no decimal ──────────────────> HELD
       v
    matching ── no order yet ─────────────────────────────────────────> WAITING
       │    └── ambiguous, conflicting, cancelled, not ordered ───────> HELD
       v
    versions ── said before ──────────────────────────────────────────> DUPLICATE
       │    └── contradicts what was said before ─────────────────────> HELD
       v
    limits, manual release ───────────────────────────────────────────> HELD
       v
    RELEASED
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from labgateway.errors import Problem, Reason
from labgateway.mapping.apply import LeftOut as StopsHere
from labgateway.mapping.apply import Mapped, Target, apply
from labgateway.mapping.table import Mapping
from labgateway.matching import attribute as matching
from labgateway.matching import versions
from labgateway.model import Kind, ObservationState, Order, Patient, Result, ResultLetter, Status


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one result.

    problem: why it is held; None otherwise. target, value, unit and the originals: as mapped, None
    where it did not come so far. patient: whom it is for when there is no order of its own.
    replaces: the observation that this one corrects. duplicate_of: the one that said the same.
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
    patient: Patient | None = None
    replaces: str | None = None
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One result and all that its verdict depends on.

    orders: every order of this specimen id, cancelled ones too. priors: what was observed on this
    specimen before, newest last. waiting_since: UTC, when the result came. now: UTC.
    """

    result: Result
    instrument: str
    mapping: Mapping | Problem
    orders: Sequence[Order]
    priors: Sequence[versions.Prior]
    policy: matching.Policy
    received_at: datetime
    now: datetime
    manual: bool = False


def decide(case: Case) -> Verdict:
    """The verdict on one result; deterministic, and the same whatever order things arrived in."""
    result = case.result
    if result.kind in (Kind.CONTROL, Kind.CALIBRATION):
        return Verdict(ObservationState.CONTROL, value=result.value, unit=result.unit or "")
    plain = Verdict(ObservationState.HELD, value=result.value, unit=result.unit or "")
    if result.problem is not None:
        return replace(plain, problem=result.problem)
    if isinstance(case.mapping, Problem):
        return replace(plain, problem=case.mapping)
    mapped = apply(case.mapping, result)
    if isinstance(mapped, StopsHere):
        return replace(plain, state=ObservationState.LEFT_OUT)
    if isinstance(mapped, Problem):
        return replace(plain, problem=mapped)
    return _matched(case, case.mapping, mapped)


def _matched(case: Case, mapping: Mapping, mapped: Mapped) -> Verdict:
    """From mapping on."""
    sure = mapped.targets[0] if len(mapped.targets) == 1 else None
    verdict = Verdict(
        ObservationState.HELD,
        target=sure,
        value=mapped.value,
        unit=mapped.unit,
        original_value=mapped.original_value,
        original_unit=mapped.original_unit,
        letter=_letter(case.result),
    )
    candidate = matching.Candidate(
        result=case.result,
        targets=tuple(target.emr for target in mapped.targets),
        received_at=case.received_at,
        instrument=case.instrument,
    )
    match matching.attribute(candidate, case.orders, mapping.panels, case.policy, case.now):
        case matching.Waits():
            return replace(verdict, state=ObservationState.WAITING)
        case matching.Held(problem=problem, order=order):
            return replace(verdict, problem=problem, order=order)
        case matching.LeftOut():
            return replace(verdict, state=ObservationState.LEFT_OUT)
        case matching.Unordered():
            if sure is None:
                return replace(verdict, problem=Problem(Reason.SEVERAL_TARGETS, f"code {case.result.code}"))
            placed = verdict
        case matching.Attached() as attached:
            target = next(target for target in mapped.targets if target.emr == attached.target)
            placed = replace(verdict, target=target, order=attached.order, patient=attached.patient)
    return _versioned(case, mapped, placed)


def _versioned(case: Case, mapped: Mapped, placed: Verdict) -> Verdict:
    """From versions on; placed has its target."""
    assert placed.target is not None
    fresh = versions.Fresh(
        instrument=case.instrument,
        code=placed.target.emr,
        value=placed.value,
        unit=placed.unit,
        flags=case.result.flags,
        letter=placed.letter,
        status=case.result.status,
        measured_at_text=case.result.measured_at_text,
        run=case.result.run,
    )
    match versions.version(fresh, case.priors, rerun=mapped.rerun):
        case versions.Duplicate(of=of):
            return replace(placed, state=ObservationState.DUPLICATE, duplicate_of=of)
        case versions.Hold(problem=problem):
            return replace(placed, problem=problem)
        case versions.Correction(of=of, letter=letter):
            placed = replace(placed, letter=letter, replaces=of)
        case versions.First():
            pass
    if mapped.hold is not None:
        return replace(placed, problem=mapped.hold)
    if case.manual:
        return replace(placed, problem=Problem(Reason.MANUAL_RELEASE))
    return replace(placed, state=ObservationState.RELEASED)


def _letter(result: Result) -> ResultLetter:
    """HL7 table 0085 for what the analyzer says; a withheld value is X whatever its status."""
    if result.value is None:
        return ResultLetter.NO_RESULT
    match result.status:
        case Status.PRELIMINARY:
            return ResultLetter.PRELIMINARY
        case Status.CORRECTED:
            return ResultLetter.CORRECTED
        case _:
            return ResultLetter.FINAL
