"""Deliveries of what was released: which destination gets which observations, as which bytes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from labgateway.errors import Problem
from labgateway.matching import versions
from labgateway.model import Observation, Patient, Report
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.outcome import Outcome, Placed
from labgateway.pipeline.rules import Rules
from labgateway.store import outbox, results

_Person = tuple[str | None, str | None, str | None, str | None]
_NOBODY: _Person = (None, None, None, None)


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
    groups: dict[tuple[str, Patient | None, _Person], list[Observation]] = {}
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
        person = _NOBODY if patient else _person(one)
        groups.setdefault((specimen, patient, person), []).append(_observation(connection, one, rules))
    carried: list[tuple[int, str]] = []
    for (specimen, patient, _), observations in groups.items():
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
                number = outbox.owe(
                    connection,
                    destination=destination.name,
                    lane=specimen,
                    control_id=control_id,
                    body=destination.render(report, control_id),
                    now=now,
                    shadow=destination.shadow,
                )
                carried += [(number, o.id) for o in part]
                outcome.destinations.add(destination.name)
    outbox.link(connection, carried)


def _person(one: Placed) -> _Person:
    """Whom the analyzer names: without orders a report is of one of them, never one's values under another's name."""
    said = one.result
    return (said.patient, said.patient_name, said.birth_date, said.sex)


def _observation(connection: Connection, one: Placed, rules: Rules) -> Observation:
    decided, result = one.decided, one.result
    instrument = rules.instruments[decided.instrument]
    measured, replaces = result.measured_at, decided.replaces
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
        measured_at=None if measured is None else _utc(measured, rules.timezone),
        replaces=replaces,
        earlier=() if replaces is None else results.earlier(connection, replaces),
        model="" if isinstance(instrument.driver, Problem) else instrument.driver.name,
        added=decided.added,
    )


@lru_cache(maxsize=64)  # all results of one message have the same one or two
def _utc(measured: datetime, timezone: ZoneInfo) -> datetime:
    """The analyzer's clock shows the site's time."""
    return measured.replace(tzinfo=timezone).astimezone(UTC)
