"""Joins decide.py with the store: jobs of the writer, each one transaction, each safe to run again.

arrival stored ── process ──> results, observations, deliveries; the message is marked processed
orders changed ── judge_again ──> what waited for them, or was held for want of them, is judged again
time passes ── expire ──> what waited too long for its order is held
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from labgateway.errors import Problem, Reason
from labgateway.instruments.queries import questions
from labgateway.instruments.refusals import refused
from labgateway.instruments.spec import Driver
from labgateway.mapping.table import Mapping
from labgateway.matching import attribute as matching
from labgateway.model import Decoded, Kind, ObservationState
from labgateway.pipeline import fragments
from labgateway.pipeline.asked import answer
from labgateway.pipeline.computing import compute
from labgateway.pipeline.controls import ordered_after_all, ordered_by_id, told_apart
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.judge import Judge
from labgateway.pipeline.mendable import MENDABLE
from labgateway.pipeline.outcome import Job, Outcome, Placed
from labgateway.pipeline.reading import read
from labgateway.pipeline.reread import pair
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.pipeline.sending import send
from labgateway.pipeline.twins import contradicted, key
from labgateway.store import journal, results
from labgateway.store.journal import Transmission
from labgateway.store.observed import Decided, Stored

_READ_OTHERWISE = Problem(Reason.READ_OTHERWISE)
_UNDECIDED = (ObservationState.RELEASED, ObservationState.WAITING, ObservationState.HELD)


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
    if isinstance(instrument.driver, Driver) and instrument.driver.control:
        said = ordered_by_id(connection, said, instrument.driver)
    before = results.of_transmission(connection, message.id)
    specimens = sorted({result.specimen for result in said if result.specimen})
    if specimens and not before and isinstance(instrument.driver, Driver):
        fragments.repeated(connection, message, specimens, instrument.driver)
    numbers = results.add_results(connection, message.id, said)
    twins = contradicted((message.id, result) for result in said)
    judge = Judge(connection, rules, now)
    placed: list[Placed] = []
    fresh: list[Decided] = []
    for number, result, again in zip(numbers, said, pair(before, said, _may_change), strict=True):
        old = again.old
        if old is not None and not _may_change(old):
            continue
        verdict = judge.verdict(
            result, message.instrument, instrument, message.received_at, leave=old and old.id,
            contradicted=bool(twins) and key(message.id, result) in twins,
        )  # fmt: skip
        if again.in_doubt and verdict.state in _UNDECIDED:
            verdict = replace(verdict, state=ObservationState.HELD, problem=_READ_OTHERWISE, replaces=None)
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
    twins = contradicted((one.transmission_id, one.result) for one in old)
    judge = Judge(connection, rules, now)
    placed: list[Placed] = []
    for one in old:
        instrument = rules.instruments.get(one.instrument)
        if instrument is None or one.result.kind is Kind.COMPUTED:
            continue
        verdict = judge.verdict(
            one.result, one.instrument, instrument, one.received_at, leave=one.id,
            contradicted=key(one.transmission_id, one.result) in twins,
        )  # fmt: skip
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
