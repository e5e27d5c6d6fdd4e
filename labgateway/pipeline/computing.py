"""Values that are worked out from a specimen's results, as [computed] of a mapping file declares. Jobs of the writer.

    inputs ── none is out yet ───────────────────────────────────> nothing
       │  └── one is missing, held, preliminary ─────────────────> WAITING, if it was ordered; seen in the trace if not
       │  └── one is `<`, a word, withheld, another unit, tube ───> HELD, if it was ordered: NOT_COMPUTED
       v
    value ── matching, versions, rules: as for any observation ──> RELEASED, HELD …
       │
    an input is corrected ── another value ──────────────────────> C behind the one before
                          └── no value any more ─────────────────> the one that is out is in doubt
    an input is taken back ──────────────────────────────────────> so is the value

A row that has not left is decided again in place; one that has left never is. The same inputs are never used twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from sqlalchemy import Connection

from labgateway.errors import Problem, Reason
from labgateway.mapping.apply import Mapped, Target
from labgateway.mapping.computed import Computed
from labgateway.mapping.table import Mapping
from labgateway.matching import attribute as matching
from labgateway.matching.versions import RETRACTED
from labgateway.model import Added, Kind, ObservationState, Order, Result, ResultLetter, Status
from labgateway.pipeline.decide import Case, Verdict, place
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.inputs import Missing, Ready, TakenBack, gather
from labgateway.pipeline.neighbours import Asked, neighbours
from labgateway.pipeline.outcome import Outcome, Placed
from labgateway.pipeline.priors import is_prior, prior_of
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.store import orders, results
from labgateway.store.observed import Decided, Stored

_OPEN = (ObservationState.WAITING, ObservationState.HELD, ObservationState.LEFT_OUT)


def compute(
    connection: Connection, specimens: Iterable[str], rules: Rules, now: datetime, outcome: Outcome
) -> list[Placed]:
    """Work out what these specimens allow by now; what is to be sent, behind what it was computed from."""
    declaring = [
        (name, one, one.mapping)
        for name, one in rules.instruments.items()
        if isinstance(one.mapping, Mapping) and one.mapping.computed
    ]
    placed: list[Placed] = []
    for specimen in dict.fromkeys(specimens) if declaring else ():
        # One may need another file's: as often as there are files, and not once more.
        for _ in declaring:
            before = len(placed)
            for name, instrument, mapping in declaring:
                for line in mapping.computed.values():
                    work = _Work(connection, specimen, name, instrument, mapping, line, rules, now)
                    if (done := work.do()) is not None:
                        placed.append(done)
                        outcome.count(done.decided.state)
            if len(placed) == before:
                break
    return placed


@dataclass(frozen=True, slots=True)
class _Work:
    """One computed line on one specimen."""

    connection: Connection
    specimen: str
    name: str
    instrument: InstrumentRules
    mapping: Mapping
    line: Computed
    rules: Rules
    now: datetime

    def do(self) -> Placed | None:
        """What was written, None when nothing had to be."""
        rows = self.rows()
        mine = [one for one in rows if one.result.kind is Kind.COMPUTED and self.is_mine(one)]
        out = _standing(mine)
        policy = self.rules.policy_of(self.name)
        of_specimen = orders.for_specimen(self.connection, self.specimen)
        match gather(self.line, self.name, rows, of_specimen, policy):
            case None:
                return None
            case TakenBack(letter, inputs):
                if out is not None and out.letter not in RETRACTED:
                    return self.take_back(out, letter, inputs)
                return self.not_computed(mine, of_specimen, Missing(inputs, "what it needs was taken back", True), out)
            case Missing() as missing:
                return self.not_computed(mine, of_specimen, missing, out)
            case Ready() as ready:
                return self.computed(mine, rows, of_specimen, ready, out)

    def rows(self) -> list[Stored]:
        """What is known of the specimen, as far back as its newest row may have to do with it."""
        found = results.of_specimen(self.connection, self.specimen)
        policy = self.rules.policy
        reach = timedelta(hours=policy.window_h + policy.wait_h + 24)
        newest = max((one.received_at for one in found), default=self.now)
        return [one for one in found if newest - one.received_at <= reach]

    def is_mine(self, one: Stored) -> bool:
        """Whether it is an earlier word of this very line."""
        return one.instrument == self.name and one.result.code == self.line.line.code

    def computed(
        self,
        mine: Sequence[Stored],
        rows: Sequence[Stored],
        of_specimen: Sequence[Order],
        ready: Ready,
        out: Stored | None,
    ) -> Placed | None:
        """A value: unless these very inputs have had their say."""
        ids = tuple(one.id for one in ready.inputs)
        settled = [one for one in mine if one.state not in _OPEN or one.decided_by]
        if any(_made_of(one) == set(ids) for one in settled):
            return None
        opened = self.opened(mine)
        line = self.line.line
        is_new_value = out is not None and out.letter not in RETRACTED and out.value != ready.value
        newest = max(ready.inputs, key=lambda one: one.received_at)
        measured = max(ready.inputs, key=_measured)
        said = Result(
            kind=Kind.COMPUTED,
            specimen=self.specimen,
            code=line.code,
            value=ready.value,
            unit=line.unit,
            patient=newest.result.patient,
            status=Status.CORRECTED if is_new_value else Status.FINAL,
            measured_at=measured.result.measured_at,
            measured_at_text=measured.result.measured_at_text,
            specimen_type=newest.result.specimen_type,
            patient_name=newest.result.patient_name,
            birth_date=newest.result.birth_date,
            sex=newest.result.sex,
            where="computed",
        )
        verdict = self.verdict(said, rows, of_specimen, newest.received_at, opened)
        if verdict.place is not None and verdict.place.patient != newest.place_patient:
            problem = Problem(Reason.NOT_COMPUTED, "what it needs is of another patient than its order")
            verdict = replace(verdict, state=ObservationState.HELD, problem=problem)
        formula = f"{line.emr[0]} = {self.line.text}"
        beside = verdict.added or Added()
        added = replace(beside, notes=(*beside.notes, f"computed: {formula}"), formula=formula, inputs=ids)
        verdict = replace(verdict, added=added)
        if (
            opened is not None
            and opened.added == added
            and (opened.state, opened.problem)
            == (
                verdict.state,
                verdict.problem,
            )
        ):
            return None
        if out is not None and out.problem is not None and verdict.state is ObservationState.RELEASED:
            results.doubt(self.connection, out.id, None)
        return self.write(said, verdict, newest, opened)

    def verdict(
        self,
        said: Result,
        rows: Sequence[Stored],
        of_specimen: Sequence[Order],
        received_at: datetime,
        opened: Stored | None,
    ) -> Verdict:
        """As for any observation: whose it is, which version, whether a rule holds it."""
        line = self.line.line
        code = line.emr[0]
        hold = None
        if line.sane is not None and not line.sane[0] <= Decimal(said.value or "0") <= line.sane[1]:
            limits = f"{line.sane[0]:f} to {line.sane[1]:f} {line.unit}"
            hold = Problem(Reason.NOT_SANE, f"computed {line.code}, limits {limits}")
        target = Target(code, line.name, line.loinc, line.moh)
        mapped = Mapped((target,), said.value, line.unit or "", hold=hold, rerun=line.rerun, line=line)
        priors = [prior_of(one) for one in rows if one.code == code and is_prior(one) and one is not opened]
        case = Case(
            result=said,
            instrument=self.name,
            mapping=self.mapping,
            orders=of_specimen,
            priors={code: priors},
            policy=self.rules.policy_of(self.name),
            received_at=received_at,
            now=self.now,
            manual=self.instrument.manual,
            neighbours=lambda emr, beside, order: partial(
                neighbours,
                self.connection,
                Asked(
                    emr, self.specimen, beside, order.id if order else None, received_at, opened.id if opened else ""
                ),
            ),
            timezone=self.rules.timezone,
        )
        return place(case, self.mapping, mapped)

    def not_computed(
        self, mine: Sequence[Stored], of_specimen: Sequence[Order], missing: Missing, out: Stored | None
    ) -> Placed | None:
        """No value: said where it was ordered; what is out already and has lost its ground is in doubt."""
        problem = Problem(Reason.NOT_COMPUTED, missing.why)
        opened = self.opened(mine)
        if out is not None and out.letter not in RETRACTED:
            if missing.has_changed(_made_of(out)) and out.problem != problem:
                results.doubt(self.connection, out.id, problem)
            if opened is None or opened.value is None:
                return None
        line = self.line.line
        newest = max(missing.inputs, key=lambda one: one.received_at)
        said = Result(
            kind=Kind.COMPUTED, specimen=self.specimen, code=line.code, value=None, unit=line.unit,
            patient=newest.result.patient, where="computed",
        )  # fmt: skip
        policy = self.rules.policy_of(self.name)
        candidate = matching.Candidate(said, line.emr, newest.received_at, self.name)
        found = matching.attribute(candidate, of_specimen, self.mapping.panels, policy, self.now)
        order = found.order if isinstance(found, matching.Attached) else None
        beside = found.beside if isinstance(found, matching.Attached) else None
        if order is None:
            state = ObservationState.LEFT_OUT
        elif missing.is_final or self.now - newest.received_at > timedelta(hours=policy.wait_h):
            state = ObservationState.HELD
        else:
            state = ObservationState.WAITING
        if opened is not None and opened.value is None and (opened.state, opened.problem) == (state, problem):
            return None
        verdict = Verdict(
            state, problem, Target(line.emr[0], line.name, line.loinc, line.moh), None, line.unit or "",
            letter=ResultLetter.NO_RESULT, order=order, beside=beside,
            added=Added(formula=f"{line.emr[0]} = {self.line.text}"),
        )  # fmt: skip
        return self.write(said, verdict, newest, opened)

    def take_back(self, out: Stored, letter: ResultLetter, inputs: Sequence[Stored]) -> Placed:
        """What it was computed from was taken back: so is the value, behind it."""
        added = replace(out.added or Added(), inputs=tuple(one.id for one in inputs))
        problem = out.problem
        verdict = Verdict(
            ObservationState.RELEASED, None, Target(out.code, out.name, out.loinc, out.moh), out.value, out.unit,
            letter=letter, order=self.order(out.order_id), beside=self.order(out.beside_id), replaces=out.id, added=added,
        )  # fmt: skip
        decided = replace(
            self.decided(verdict, out, out.result_id, new_id()),
            place_patient=out.place_patient,
            received_at=max(one.received_at for one in (out, *inputs)),
        )
        results.add_observations(self.connection, [decided])
        if problem is not None:
            results.doubt(self.connection, out.id, None)
        return Placed(decided, verdict, out.result)

    def order(self, number: int | None) -> Order | None:
        """An order by its number."""
        return None if number is None else orders.seen_from(self.connection, number, self.specimen)

    def opened(self, mine: Sequence[Stored]) -> Stored | None:
        """The row of this line that has not left and that no person has decided about."""
        return next((one for one in reversed(mine) if one.state in _OPEN and not one.decided_by), None)

    def write(self, said: Result, verdict: Verdict, newest: Stored, opened: Stored | None) -> Placed:
        """Keep the value and what became of it; of a row that has not left yet, in its place."""
        result_id = results.add_computed(self.connection, newest.transmission_id, said)
        decided = self.decided(verdict, newest, result_id, opened.id if opened else new_id())
        if opened is None:
            results.add_observations(self.connection, [decided])
        else:
            results.redecide(self.connection, decided, opened.row_version)
        return Placed(decided, verdict, said)

    def decided(self, verdict: Verdict, newest: Stored, result_id: int, number: str) -> Decided:
        """The row of a verdict. newest: the result that completed it."""
        target = verdict.target
        return Decided(
            id=number,
            result_id=result_id,
            transmission_id=newest.transmission_id,
            instrument=self.name,
            specimen=self.specimen,
            order_id=verdict.order.id if verdict.order else None,
            beside_id=verdict.beside.id if verdict.beside else None,
            place_patient=verdict.place.patient if verdict.place else None,
            code=self.line.line.emr[0],
            name=target.name if target else "",
            loinc=target.loinc if target else "",
            moh=target.moh if target else "",
            value=verdict.value,
            unit=verdict.unit,
            original_value=None,
            original_unit=None,
            letter=verdict.letter,
            state=verdict.state,
            problem=verdict.problem,
            mapping_version=self.instrument.mapping_version,
            replaces=verdict.replaces,
            duplicate_of=verdict.duplicate_of,
            received_at=newest.received_at,
            decided_at=self.now,
            added=verdict.added,
        )


def _standing(mine: Sequence[Stored]) -> Stored | None:
    """The newest of this line that is out."""
    released = [one for one in mine if one.state is ObservationState.RELEASED]
    behind = {one.replaces for one in released}
    return next((one for one in reversed(released) if one.id not in behind), None)


def _measured(one: Stored) -> str:
    return "" if one.result.measured_at is None else one.result.measured_at.isoformat()


def _made_of(one: Stored) -> set[str]:
    return set(one.added.inputs) if one.added is not None else set()
