"""What has gone out already, when the EMR changes its orders: the same question again, and a person is told.

Nothing is called back by a machine. The observation stays released and bears the reason of the doubt; it stands in the
worklist until a person says that it stands (release), takes it back (reject) or moves it (relink), or until the EMR's
orders answer for it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from labgateway.errors import Problem, Reason
from labgateway.matching import attribute as matching
from labgateway.matching import versions
from labgateway.model import ObservationState, Order
from labgateway.pipeline.rules import Rules
from labgateway.store import orders, results
from labgateway.store.observed import Stored


def watch_what_is_out(connection: Connection, specimens: Iterable[str], rules: Rules, now: datetime) -> int:
    """Ask again for everything released on these specimens; returns how many became doubtful."""
    found = 0
    for specimen in specimens:
        said = [one for one in results.of_specimen(connection, specimen) if one.state is ObservationState.RELEASED]
        behind = {one.replaces for one in said}
        last = [one for one in said if one.id not in behind and one.letter not in versions.RETRACTED]
        if not last:
            continue
        of_specimen = orders.for_specimen(connection, specimen)
        for one in last:
            if one.problem is not None and one.problem.reason is Reason.NOT_COMPUTED:
                # What it was computed from has changed: orders do not make that good.
                continue
            problem = _doubt(one, of_specimen, rules, now)
            if problem != one.problem:
                results.doubt(connection, one.id, problem)
                found += problem is not None
    return found


def panels_of(instrument: str, rules: Rules) -> Mapping[str, Sequence[str]]:
    """What panels hold, by the mapping of this instrument; empty when there is none to use."""
    known = rules.instruments.get(instrument)
    return {} if known is None or isinstance(known.mapping, Problem) else known.mapping.panels


def _doubt(one: Stored, of_specimen: list[Order], rules: Rules, now: datetime) -> Problem | None:
    """Why a person must be told; None: it stands."""
    if one.beside_id is None or one.place_patient is None:
        return None
    beside = next((order for order in of_specimen if order.id == one.beside_id), None)
    if beside is None:
        return Problem(Reason.ORDER_CHANGED, "the order does not answer any more")
    is_theirs = orders.place_text(beside.patient) == one.place_patient
    if one.decided_by:
        # A person chose this place against the rules, or beyond them: only another patient is news.
        changed = beside.patient_changed_at
        is_news = changed is not None and changed > one.decided_at
        return Problem(Reason.ORDER_CHANGED) if is_news and not is_theirs else None
    if is_theirs:
        # Two patients became one and took the result along, or the order is back with the patient who has it.
        of_specimen = [replace(order, patient_changed_at=None) for order in of_specimen]
    candidate = matching.Candidate(one.result, (one.code,), one.received_at, one.instrument)
    again = matching.attribute(
        candidate, of_specimen, panels_of(one.instrument, rules), rules.policy_of(one.instrument), now
    )
    if isinstance(again, matching.Held) and again.problem.reason is Reason.ORDER_CHANGED:
        return Problem(Reason.ORDER_CHANGED)
    place = versions.place_of(again, candidate)
    if place is not None and place.patient != one.place_patient:
        return Problem(Reason.ORDER_CHANGED)
    order = None if one.order_id is None else beside
    return matching.still_stands(matching.Attached(order, one.code, beside), again)
