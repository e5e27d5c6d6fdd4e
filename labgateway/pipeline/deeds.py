"""What a person decides: release, reject, retry, skip, dismiss, replay. Each deed and its audit row in one transaction.

A decision about an observation names the row version that the person saw; when the row has changed since, the
decision is refused: it was made about something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, text

from labgateway.errors import LabgatewayError, Problem, Reason
from labgateway.matching import versions
from labgateway.model import ObservationState, Order, OrderState
from labgateway.pipeline.decide import Verdict
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.take import MENDABLE, Outcome, Placed, prior_of, send
from labgateway.store import audit, journal, orders, outbox, results
from labgateway.store.results import Decided, Stored

_NOT_YET = MENDABLE - {Reason.NOT_SANE, Reason.SEVERAL_TARGETS}
"""Held for these there is nothing to release yet: the file must be mended first."""


@dataclass(slots=True)
class Deed:
    """What was done. words: for the person. reopened: messages to process again."""

    words: str
    state: str
    outcome: Outcome = field(default_factory=Outcome)
    reopened: tuple[int, ...] = ()


def deed(request: Mapping[str, Any], rules: Rules, now: datetime) -> Callable[[Connection], Deed]:
    """The job for one request: ``action``, ``id``, ``who``, ``because``; ``version`` and ``order`` for observations.

    The job raises LabgatewayError, in words for the person, when it cannot be done; then nothing is changed.
    """
    action = str(request.get("action", ""))
    subject, number = _subject(str(request.get("id", "")))
    who = str(request.get("who") or "").strip()
    because = str(request.get("because") or "").strip()
    if action != "replay" and not (who and because):
        raise LabgatewayError('Say who decides and why: --by "NAME" --because "REASON".')

    def job(connection: Connection) -> Deed:
        match action, subject:
            case "release", "observation":
                done = _release(connection, number, request, rules, now, who)
            case "reject", "observation":
                done = _reject(connection, number, request, now, who)
            case "retry", "delivery":
                done = _move(outbox.unpark(connection, int(number)), number, "will be sent again", "retried")
            case "skip", "delivery":
                done = _move(outbox.skip(connection, int(number)), number, "is given up; later ones go on", "skipped")
            case "dismiss", "message":
                if not journal.dismiss(connection, int(number)):
                    raise LabgatewayError(f"Message {number} is neither parked nor incomplete.")
                done = Deed(f"Message {number} is dismissed; its bytes are kept.", "dismissed")
            case "replay", "message":
                if not journal.reopen(connection, int(number)):
                    raise LabgatewayError(f"There is no message {number} that could be read again.")
                done = Deed(f"Message {number} is read again.", "replayed", reopened=(int(number),))
            case _:
                raise LabgatewayError(
                    f"{action} does not fit {subject or 'that id'}: observations are released or rejected, deliveries are "
                    "retried or skipped, messages are replayed or dismissed (labgateway parked shows what each is)."
                )
        audit.add(
            connection, at=now, who=who or "command line", action=action, subject=f"{subject} {number}", because=because
        )
        return done

    return job


def _subject(name: str) -> tuple[str, str]:
    """``m17`` or ``17``: message; ``d17``: delivery; an id of 20 characters: observation."""
    if len(name) == 20:
        return "observation", name.upper()
    kind, digits = (name[0].lower(), name[1:]) if name[:1].isalpha() else ("m", name)
    if not digits.isdigit() or kind not in ("m", "d") or len(digits) > 18:
        raise LabgatewayError(f"{name[:40]!r} is no id of ours; labgateway parked lists them.")
    return {"m": "message", "d": "delivery"}[kind], digits


def _move(destination: str | None, number: str, words: str, state: str) -> Deed:
    if destination is None:
        raise LabgatewayError(f"Delivery {number} is not parked.")
    outcome = Outcome()
    outcome.destinations.add(destination)
    return Deed(f"Delivery {number} {words}.", state, outcome)


def _held(connection: Connection, number: str, request: Mapping[str, Any]) -> Stored:
    one = results.get(connection, number)
    if one is None or one.state not in (ObservationState.HELD, ObservationState.WAITING):
        raise LabgatewayError(f"Observation {number} does not wait for a person (any more).")
    seen = request.get("version")
    if seen is not None and int(seen) != one.row_version:
        raise LabgatewayError(f"Observation {number} has changed since you looked at it. Look again, then decide.")
    return one


def _reject(connection: Connection, number: str, request: Mapping[str, Any], now: datetime, who: str) -> Deed:
    one = _held(connection, number, request)
    decided = replace(_as_decided(one), state=ObservationState.REJECTED, decided_at=now, decided_by=who)
    _write(connection, decided, one)
    return Deed(f"Observation {number} is rejected; it is kept and will not be sent.", "rejected")


def _release(
    connection: Connection, number: str, request: Mapping[str, Any], rules: Rules, now: datetime, who: str
) -> Deed:
    one = _held(connection, number, request)
    if one.problem is not None and one.problem.reason in _NOT_YET:
        raise LabgatewayError(f"{one.problem.reason.what} {one.problem.reason.cure}")
    order = _order_for(connection, one, request, rules)
    patient = (
        one.result.patient or "" if order is None else (order.patient.id or order.patient.pid3 or order.patient.pid5)
    )
    place = versions.Place(None if order is None else order.id, patient.strip())
    fresh = replace(prior_of(one).fresh, place=place)
    priors = [prior_of(p) for p in results.of_specimen(connection, one.specimen or "") if p.id != number]
    replaces, letter = one.replaces, one.letter
    match versions.by_hand(fresh, priors, window_h=rules.policy.window_h):
        case versions.Correction(of=replaces, letter=letter):
            pass
        case versions.First(letter=letter):
            replaces = None
        case versions.Duplicate(of=of):
            raise LabgatewayError(f"Observation {of} says the same and has been sent; reject this one.")
        case versions.Hold(problem=problem):
            raise LabgatewayError(f"{problem.reason.what} {problem.reason.cure}")
    decided = replace(
        _as_decided(one),
        order_id=order.id if order else None,
        beside_id=order.id if order else None,
        place_patient=place.patient,
        letter=letter,
        replaces=replaces,
        state=ObservationState.RELEASED,
        problem=None,
        decided_at=now,
        decided_by=who,
    )
    _write(connection, decided, one)
    outcome = Outcome()
    verdict = Verdict(ObservationState.RELEASED, order=order, beside=order, place=place)
    send(connection, rules, [Placed(decided, verdict, one.result)], now, outcome)
    return Deed(f"Observation {number} is released.", "released", outcome)


def _order_for(connection: Connection, one: Stored, request: Mapping[str, Any], rules: Rules) -> Order | None:
    """The order that a released result answers; a person may name it, but only one of the same specimen."""
    of_specimen = [
        order for order in orders.for_specimen(connection, one.specimen or "") if order.state is OrderState.OPEN
    ] if one.specimen else []  # fmt: skip
    wanted = request.get("order")
    if wanted is not None:
        chosen = [order for order in of_specimen if order.id == int(wanted)]
        if not chosen:
            raise LabgatewayError(f"There is no open order {wanted} of this specimen.")
        return chosen[0]
    if one.order_id is not None:
        chosen = [order for order in of_specimen if order.id == one.order_id]
        if chosen:
            return chosen[0]
    instrument = rules.instruments.get(one.instrument)
    panels: Mapping[str, Sequence[str]] = (
        {} if instrument is None or isinstance(instrument.mapping, Problem) else instrument.mapping.panels
    )
    asking = [order for order in of_specimen if order.code == one.code or one.code in panels.get(order.code, ())]
    if len(asking) == 1:
        return asking[0]
    if not of_specimen and rules.policy.without_order == "send":
        return None
    numbers = ", ".join(str(order.id) for order in of_specimen)
    raise LabgatewayError(
        f"Say which order it answers: --order NUMBER. Open orders of this specimen: {numbers}."
        if numbers
        else "There is no open order of this specimen. Order the test in the EMR first; it then goes out by itself."
    )


def _as_decided(one: Stored) -> Decided:
    return Decided(
        id=one.id, result_id=one.result_id, transmission_id=one.transmission_id, instrument=one.instrument,
        specimen=one.specimen, order_id=one.order_id, beside_id=one.beside_id, place_patient=one.place_patient,
        code=one.code, name=one.name, loinc=one.loinc, moh=one.moh, value=one.value, unit=one.unit,
        original_value=one.original_value, original_unit=one.original_unit, letter=one.letter, state=one.state,
        problem=one.problem, mapping_version=one.mapping_version, replaces=one.replaces,
        duplicate_of=one.duplicate_of, received_at=one.received_at, decided_at=one.decided_at,
        decided_by=one.decided_by,
    )  # fmt: skip


def _write(connection: Connection, decided: Decided, one: Stored) -> None:
    if not results.redecide(connection, decided, one.row_version):
        raise LabgatewayError(f"Observation {one.id} has changed meanwhile. Look again, then decide.")


_PARKED_MESSAGES = text(
    "SELECT id FROM transmission WHERE state IN ('stored', 'parked', 'incomplete') AND state = 'parked' "
    "AND instrument IN :instruments AND reason IN :reasons"
).bindparams(bindparam("instruments", expanding=True), bindparam("reasons", expanding=True))
_MESSAGES_OF_HELD = text(
    "SELECT DISTINCT transmission_id FROM observation WHERE state IN ('waiting', 'held') AND state = 'held' "
    "AND instrument IN :instruments AND reason IN :reasons"
).bindparams(bindparam("instruments", expanding=True), bindparam("reasons", expanding=True))


def reopen_mendable(connection: Connection, instruments: Sequence[str]) -> list[int]:
    """After a driver or mapping changed: messages that parked for it, or hold results that it may cure, open again."""
    reasons = [reason.name for reason in MENDABLE | {Reason.UNREADABLE, Reason.UNKNOWN_SENDER, Reason.DEFECT}]
    found: set[int] = set()
    for query in (_PARKED_MESSAGES, _MESSAGES_OF_HELD):
        found |= {int(row[0]) for row in connection.execute(query, {"instruments": instruments, "reasons": reasons})}
    return [number for number in sorted(found) if journal.reopen(connection, number)]
