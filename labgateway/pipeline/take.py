"""Joins decide.py with the store: jobs of the writer, each one transaction, each safe to run again.

arrival stored ── process ──> results, observations, deliveries; the message is marked processed
orders changed ── judge_again ──> what waited for them, or was held for want of them, is judged again
time passes ── expire ──> what waited too long for its order is held
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from labgateway.errors import Problem, Reason
from labgateway.instruments.decode import decode
from labgateway.instruments.queries import questions
from labgateway.instruments.recognise import candidates
from labgateway.instruments.refusals import refused
from labgateway.instruments.spec import Driver
from labgateway.mapping.table import Mapping
from labgateway.matching import attribute as matching
from labgateway.matching import versions
from labgateway.model import Decoded, Kind, Observation, ObservationState, Order, Patient, Report, Result
from labgateway.pipeline import fragments
from labgateway.pipeline.asked import answer
from labgateway.pipeline.computing import compute
from labgateway.pipeline.controls import ordered_after_all, told_apart
from labgateway.pipeline.decide import Case, Verdict, code_of, decide
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.neighbours import Asked, neighbours
from labgateway.pipeline.outcome import Job, Outcome, Placed
from labgateway.pipeline.priors import COUNTING, is_prior, prior_decided, prior_of
from labgateway.pipeline.review import Neighbours
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.store import journal, orders, outbox, results
from labgateway.store.journal import Transmission
from labgateway.store.observed import Decided, Earlier, Stored

BY_RULE = frozenset({Reason.FLAG_HOLDS, Reason.OUT_OF_LIMITS, Reason.CRITICAL, Reason.DELTA})
"""Held by a rule of the mapping file; a person may release it as it is."""
MENDABLE = frozenset(
    {
        Reason.CODE_UNKNOWN,
        Reason.UNIT_UNKNOWN,
        Reason.FLAG_UNKNOWN,
        Reason.STATUS_UNKNOWN,
        Reason.BAD_TIME,
        Reason.BAD_TEXT,
        Reason.NOT_A_RESULT,
        Reason.NO_SPECIMEN,
        Reason.SPECIMEN_UNREADABLE,
        Reason.UNMAPPED,
        Reason.UNIT_CHANGED,
        Reason.NOT_A_DECIMAL,
        Reason.NOT_SANE,
        Reason.NOT_COMPUTED,
        Reason.CONTROL_OR_PATIENT,
        *BY_RULE,
        Reason.SEVERAL_TARGETS,
        Reason.MAPPING_BROKEN,
        Reason.DRIVER_BROKEN,
        Reason.NOT_A_PATIENT_ID,
    }
)
"""What a mended driver, mapping or config may cure: such results are read again by ``replay``."""


def process(number: int, rules: Rules, now: datetime) -> Job:
    """The job that processes one stored message, or parks it whole. Harmless when it was processed before."""

    def job(connection: Connection) -> Outcome:
        outcome = Outcome()
        message = journal.get(connection, number)
        if message is None or message.state != "stored":
            return outcome
        instrument = rules.instruments.get(message.instrument)
        if instrument is None:
            instrument = InstrumentRules(
                Problem(Reason.DRIVER_BROKEN, "the instrument is no longer configured"), Problem(Reason.MAPPING_BROKEN)
            )
        decoded = read(message.raw, instrument, rules)
        if decoded.problem is None:
            _take_results(connection, message, decoded, instrument, rules, now, outcome)
        problem = (
            decoded.problem
            or _refused(connection, message, instrument)
            or _not_told(connection, message, instrument, rules)
        )
        outcome.problem = problem
        journal.finish(
            connection,
            number,
            now=now,
            driver=decoded.driver,
            config_version=rules.config_version,
            mapping_version=instrument.mapping_version,
            problem=problem,
        )
        return outcome

    return job


def _not_told(
    connection: Connection, message: Transmission, instrument: InstrumentRules, rules: Rules
) -> Problem | None:
    """Why a query was answered with "no order" although there are orders; said once while a person has not seen it."""
    if instrument.orders == "off" or isinstance(instrument.driver, Problem):
        return None
    found = questions(instrument.driver, message.raw)
    if not found:
        return None
    told = answer(connection, found, message.instrument, instrument, rules, message.received_at)
    for problem in told.problems:
        if not journal.is_parked(connection, message.instrument, problem):
            return problem
    return None


def _refused(connection: Connection, message: Transmission, instrument: InstrumentRules) -> Problem | None:
    """What an HL7 instrument says that it will not do of our orders; said once while a person has not seen it."""
    if isinstance(instrument.driver, Problem) or not (said := refused(instrument.driver, message.raw)):
        return None
    problem = Problem(Reason.ORDER_REFUSED, said)
    return None if journal.is_parked(connection, message.instrument, problem) else problem


def read(raw: bytes, instrument: InstrumentRules, rules: Rules) -> Decoded:
    """What a message of this instrument says. A message that another driver knows as its own is not read."""
    driver = instrument.driver
    if isinstance(driver, Problem):
        return Decoded(None, problem=driver)
    decoded = decode(driver, raw)
    if decoded.problem is None and (other := _stranger(driver, decoded.sender, raw, rules)):
        return Decoded(driver.name, problem=Problem(Reason.UNKNOWN_SENDER, f"it is known to driver {other}"))
    return decoded


def _stranger(driver: Driver, sender: str, raw: bytes, rules: Rules) -> str | None:
    """The driver that knows this sender, when the line's own does not: the cables may be exchanged."""
    pattern = driver.recognise.sender
    if not sender or pattern is None or pattern.fullmatch(sender):
        return None
    known = [other.name for other in candidates(raw, rules.library)]
    return None if not known or driver.name in known else known[0]


def _take_results(
    connection: Connection,
    message: Transmission,
    decoded: Decoded,
    instrument: InstrumentRules,
    rules: Rules,
    now: datetime,
    outcome: Outcome,
) -> None:
    """Store what a message said and what becomes of it. A replayed message keeps what is decided already."""
    said = [result for result in decoded.results if result.kind is not Kind.QUERY]
    if isinstance(instrument.mapping, Mapping) and instrument.mapping.control:
        said = told_apart(connection, said, instrument.mapping)
    before = results.of_transmission(connection, message.id)
    specimens = sorted({result.specimen for result in said if result.specimen})
    if specimens and not before and isinstance(instrument.driver, Driver):
        fragments.repeated(connection, message, specimens, instrument.driver)
    numbers = results.add_results(connection, message.id, said)
    known = {one.result.where: one for one in before if one.result.where}
    judge = _Judge(connection, rules, now)
    placed: list[Placed] = []
    fresh: list[Decided] = []
    for number, result in zip(numbers, said, strict=True):
        old = known.get(result.where)
        if old is not None and not _may_change(old):
            continue
        verdict = judge.verdict(result, message.instrument, instrument, message.received_at, leave=old and old.id)
        decided = judge.decided(
            verdict, result, number, message.id, message.instrument, message.received_at,
            instrument.mapping_version, old.id if old else new_id(),
        )  # fmt: skip
        if old is None:
            fresh.append(decided)
        else:
            results.redecide(connection, decided, old.row_version)
        placed.append(Placed(decided, verdict, result))
        outcome.count(verdict.state)
    results.add_observations(connection, fresh)
    placed += compute(connection, specimens, rules, now, outcome)
    send(connection, rules, [one for one in placed if one.verdict.state is ObservationState.RELEASED], now, outcome)


def _may_change(old: Stored) -> bool:
    """Whether a replay may decide anew: nothing that has left, and nothing that a person decided."""
    if old.decided_by:
        return False
    match old.state:
        case ObservationState.WAITING | ObservationState.LEFT_OUT | ObservationState.CONTROL:
            return True
        case ObservationState.HELD:
            return old.problem is None or old.problem.reason in MENDABLE | matching.CURED_BY_ORDERS
        case _:
            return False


class _Judge:
    """Verdicts within one transaction: orders and earlier observations are read once a specimen."""

    def __init__(self, connection: Connection, rules: Rules, now: datetime) -> None:
        self._connection = connection
        self._rules = rules
        self._now = now
        self._orders: dict[str, list[Order]] = {}
        self._priors: dict[str, dict[str, list[versions.Prior]]] = {}
        self._others: dict[str, list[str]] = {}
        self._released: list[Earlier] = []
        self._compares = False

    def verdict(
        self,
        result: Result,
        instrument_name: str,
        instrument: InstrumentRules,
        received_at: datetime,
        *,
        leave: str | None = None,
    ) -> Verdict:
        """Decide one result. leave: an observation that is being decided again and is not its own prior."""
        specimen = result.specimen or ""
        if specimen:
            self._load(specimen, received_at, leave)
        priors = self._priors.get(specimen, {})
        if leave:
            for of_test in priors.values():
                of_test[:] = [prior for prior in of_test if prior.id != leave]
        mapping = instrument.mapping
        compares = not isinstance(mapping, Problem) and mapping.compares
        self._compares = self._compares or compares
        verdict = decide(
            Case(
                result=result,
                instrument=instrument_name,
                mapping=mapping,
                orders=self._orders.get(specimen, []),
                priors=priors,
                policy=instrument.policy or self._rules.policy,
                received_at=received_at,
                now=self._now,
                manual=instrument.manual,
                neighbours=partial(self._neighbours, specimen, received_at, leave or "") if compares else None,
                timezone=self._rules.timezone,
                flag_words=instrument.flag_words,
            )
        )
        if verdict.state is ObservationState.RELEASED and verdict.order is not None and self._tubes(specimen):
            return self._unless_told_by_another_tube(verdict, verdict.order, specimen, received_at)
        return verdict

    def _load(self, specimen: str, received_at: datetime, leave: str | None) -> None:
        """Orders and earlier observations of a specimen id, once."""
        if specimen in self._orders:
            return
        self._orders[specimen] = orders.for_specimen(self._connection, specimen)
        policy = self._rules.policy
        since = received_at - timedelta(hours=policy.window_h + policy.wait_h + 24)
        known: dict[str, list[versions.Prior]] = {}
        for one in results.of_specimen(self._connection, specimen, since):
            if is_prior(one) and one.id != leave:
                known.setdefault(one.code, []).append(prior_of(one))
        self._priors[specimen] = known

    def _tubes(self, specimen: str) -> list[str]:
        """The other tubes that answer the same orders, as the EMR says which was taken from which, and what moved."""
        if specimen not in self._others:
            self._others[specimen] = orders.siblings(self._connection, specimen)
        return self._others[specimen]

    def _unless_told_by_another_tube(
        self, verdict: Verdict, order: Order, specimen: str, received_at: datetime
    ) -> Verdict:
        """Versions follow each other on one tube; between two tubes of one order a person decides."""
        code = verdict.target.emr if verdict.target else ""
        for tube in self._tubes(specimen):
            self._load(tube, received_at, None)
            mine = {order.id, *(one.id for one in self._orders[tube] if orders.is_same(one, order))}
            told = [
                prior
                for prior in self._priors[tube].get(code, ())
                if prior.fresh.place is not None
                and prior.fresh.place.order in mine
                and prior.state is not ObservationState.REJECTED
            ]
            if told and told[-1].letter not in versions.RETRACTED:
                return replace(verdict, state=ObservationState.HELD, problem=Problem(Reason.OTHER_TUBE), replaces=None)
        return verdict

    def _neighbours(
        self, specimen: str, received_at: datetime, number: str, code: str, beside: Order, order: Order | None
    ) -> Neighbours:
        """Where the patient's other values are found, when a rule asks for them."""
        asked = Asked(code, specimen, beside, None if order is None else order.id, received_at, number)
        fresh = [one for one in self._released if one.code == code]
        return lambda days: neighbours(self._connection, asked, days, fresh)

    def decided(
        self,
        verdict: Verdict,
        result: Result,
        result_id: int,
        transmission_id: int,
        instrument: str,
        received_at: datetime,
        mapping_version: str | None,
        number: str,
    ) -> Decided:
        """The row for a verdict; it counts as a prior for what follows in this transaction."""
        target = verdict.target
        decided = Decided(
            id=number,
            result_id=result_id,
            transmission_id=transmission_id,
            instrument=instrument,
            specimen=result.specimen,
            order_id=verdict.order.id if verdict.order else None,
            beside_id=verdict.beside.id if verdict.beside else None,
            place_patient=verdict.place.patient if verdict.place else None,
            code=code_of(verdict, result),
            name=target.name if target else "",
            loinc=target.loinc if target else "",
            moh=target.moh if target else "",
            value=verdict.value,
            unit=verdict.unit,
            original_value=verdict.original_value,
            original_unit=verdict.original_unit,
            letter=verdict.letter,
            state=verdict.state,
            problem=verdict.problem,
            mapping_version=mapping_version,
            replaces=verdict.replaces,
            duplicate_of=verdict.duplicate_of,
            received_at=received_at,
            decided_at=self._now,
            added=verdict.added,
        )
        if self._compares and verdict.state is ObservationState.RELEASED and verdict.beside is not None:
            self._released.append(
                Earlier(
                    decided.id, result.specimen or "", decided.order_id, verdict.beside.id, decided.code, decided.value,
                    decided.unit, decided.letter, decided.replaces, received_at,
                )
            )  # fmt: skip
        if result.specimen and verdict.state in COUNTING:
            of_specimen = self._priors.setdefault(result.specimen, {})
            of_specimen.setdefault(decided.code, []).append(prior_decided(decided, result))
        return decided


def judge_again(connection: Connection, specimens: Iterable[str], rules: Rules, now: datetime) -> Outcome:
    """After orders came or changed: judge what waits on these specimens, or is held for want of an order, again.

    In the order of receipt, so that versions follow each other as they were measured.
    """
    outcome = Outcome()
    known = list(specimens)
    rows = [one for specimen in known for one in results.of_specimen(connection, specimen)]
    ordered_after_all(connection, rows, rules, now)
    again = [one for one in rows if _is_cured_by_orders(one)]
    again.sort(key=lambda one: (one.received_at, one.transmission_id))
    _again(connection, again, known, rules, now, outcome)
    return outcome


def _is_cured_by_orders(one: Stored) -> bool:
    if one.decided_by:
        return False
    if one.state is ObservationState.WAITING:
        return True
    return (
        one.state is ObservationState.HELD
        and one.problem is not None
        and one.problem.reason in matching.CURED_BY_ORDERS
    )


def expire(connection: Connection, rules: Rules, now: datetime, limit: int = 200) -> Outcome:
    """Hold what has waited for its order longer than the site allows."""
    outcome = Outcome()
    before = now - timedelta(hours=rules.policy.wait_h)
    waiting = results.waiting_since(connection, before, limit)
    _again(connection, waiting, sorted({one.specimen for one in waiting if one.specimen}), rules, now, outcome)
    return outcome


def _again(
    connection: Connection,
    old: Sequence[Stored],
    specimens: Iterable[str],
    rules: Rules,
    now: datetime,
    outcome: Outcome,
) -> None:
    """Judge these once more, then what is computed on these specimens."""
    judge = _Judge(connection, rules, now)
    placed: list[Placed] = []
    for one in old:
        instrument = rules.instruments.get(one.instrument)
        if instrument is None or one.result.kind is Kind.COMPUTED:
            continue
        verdict = judge.verdict(one.result, one.instrument, instrument, one.received_at, leave=one.id)
        if verdict.state is one.state and verdict.problem == one.problem:
            continue
        decided = judge.decided(
            verdict, one.result, one.result_id, one.transmission_id, one.instrument, one.received_at,
            instrument.mapping_version, one.id,
        )  # fmt: skip
        if results.redecide(connection, decided, one.row_version):
            placed.append(Placed(decided, verdict, one.result))
            outcome.count(verdict.state)
    placed += compute(connection, specimens, rules, now, outcome)
    send(connection, rules, [one for one in placed if one.verdict.state is ObservationState.RELEASED], now, outcome)


def compute_again(
    connection: Connection, specimens: Iterable[str], rules: Rules, now: datetime, outcome: Outcome
) -> None:
    """After a person's deed on these specimens: work out and send what is computed of them."""
    placed = compute(connection, specimens, rules, now, outcome)
    send(connection, rules, [one for one in placed if one.verdict.state is ObservationState.RELEASED], now, outcome)


def send(
    connection: Connection,
    rules: Rules,
    placed: Sequence[Placed],
    now: datetime,
    outcome: Outcome,
) -> None:
    """Make the deliveries of what was released: a report for each specimen and patient, for each destination.

    A retraction goes where the original went, and nowhere else.
    """
    groups: dict[tuple[str, Patient | None], list[Observation]] = {}
    for one in placed:
        specimen = one.decided.specimen or ""
        # The last gate before a message is written: whatever went wrong above, no result leaves for
        # another specimen than the one it was measured on, unless a person said so.
        if one.decided.specimen != one.result.specimen and not one.decided.decided_by:
            raise AssertionError("an observation stands on another specimen than its result, and nobody decided that")
        for order in (one.verdict.order, one.verdict.beside):
            if order is not None and order.specimen != specimen:
                raise AssertionError("an observation was matched to another specimen's order")
        patient = one.verdict.beside.patient if one.verdict.beside else None
        groups.setdefault((specimen, patient), []).append(_observation(connection, one, rules))
    for (specimen, patient), observations in groups.items():
        followed = outbox.told_of(connection, [o.replaces for o in observations if o.replaces])
        for destination in rules.destinations:
            told = followed.get(destination.name, frozenset[str]())
            wanted = tuple(
                o
                for o in observations
                if o.replaces in told or (o.letter not in versions.RETRACTED and destination.wants(o))
            )
            for part in ((o,) for o in wanted) if destination.single else (wanted,) if wanted else ():
                control_id = new_id()
                report = Report(specimen=specimen, observations=part, released_at=now, patient=patient)
                outbox.add(
                    connection,
                    destination=destination.name,
                    lane=specimen,
                    control_id=control_id,
                    body=destination.render(report, control_id),
                    observation_ids=[o.id for o in part],
                    now=now,
                    shadow=destination.shadow,
                )
                outcome.destinations.add(destination.name)


def _observation(connection: Connection, one: Placed, rules: Rules) -> Observation:
    decided, result = one.decided, one.result
    instrument = rules.instruments[decided.instrument]
    measured = result.measured_at
    return Observation(
        id=decided.id,
        result=result,
        instrument=decided.instrument,
        code=decided.code,
        value=decided.value,
        received_at=decided.received_at,
        name=decided.name,
        loinc=decided.loinc,
        moh=decided.moh,
        unit=decided.unit,
        original_value=decided.original_value,
        original_unit=decided.original_unit,
        letter=decided.letter,
        order=one.verdict.order,
        measured_at=None if measured is None else measured.replace(tzinfo=rules.timezone).astimezone(UTC),
        replaces=decided.replaces,
        earlier=results.earlier(connection, decided.replaces),
        model="" if isinstance(instrument.driver, Problem) else instrument.driver.name,
        added=decided.added,
    )
