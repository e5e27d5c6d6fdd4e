"""What a person decides: release, reject, relink, retry, skip, dismiss, replay. Each deed and its audit rows in one transaction.

A decision about an observation names the row version that the person saw; when the row has changed since, the
decision is refused: it was made about something else. Where the identity itself is in doubt, the person must say besides
that it was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, text

from labgateway.errors import LabgatewayError, Reason
from labgateway.mapping.apply import Target
from labgateway.matching import versions
from labgateway.model import ObservationState, Order, OrderState
from labgateway.pipeline.acts import (
    NOT_YET,
    Deed,
    added_for,
    as_decided,
    checked,
    one_tube_speaks,
    place_for,
    seen,
    several,
    take_back,
    write,
)
from labgateway.pipeline.decide import Verdict
from labgateway.pipeline.mendable import MENDABLE
from labgateway.pipeline.out import panels_of
from labgateway.pipeline.outcome import Outcome, Placed
from labgateway.pipeline.priors import prior_of
from labgateway.pipeline.relink import relink
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.sending import send
from labgateway.pipeline.take import compute_again
from labgateway.store import audit, differences, journal, orders, outbox, results
from labgateway.store.observed import Stored


def deed(request: Mapping[str, Any], rules: Rules, now: datetime) -> Callable[[Connection], Deed]:
    """The job for one request: ``action``, ``id``, ``who``, ``because``; of observations ``version``, ``order``,
    ``identity_checked`` and, to relink, ``to`` as well.

    The job raises LabgatewayError, in words for the person, when it cannot be done; then nothing is changed.
    """
    action = str(request.get("action", ""))
    subject, number = _subject(str(request.get("id", "")))
    who = str(request.get("who") or "").strip()
    because = str(request.get("because") or "").strip()
    if action != "replay" and not (who and because):
        raise LabgatewayError('Say who decides and why: --by "NAME" --because "REASON".')

    def job(connection: Connection) -> Deed:
        before = results.get(connection, number) if subject == "observation" else None
        match action, subject:
            case "release", "observation":
                done = _release(connection, number, request, rules, now, who)
            case "reject", "observation":
                done = _reject(connection, number, request, rules, now, who)
            case "relink", "observation":
                done = relink(connection, number, request, rules, now, who)
            case "retry", "delivery":
                done = _move(outbox.unpark(connection, int(number)), number, "will be sent again", "retried")
            case "skip", "delivery":
                done = _move(outbox.skip(connection, int(number)), number, "is given up; later ones go on", "skipped")
            case "dismiss", "message":
                if not journal.dismiss(connection, int(number)):
                    raise LabgatewayError(f"Message {number} is neither parked nor incomplete.")
                done = Deed(f"Message {number} is dismissed; its bytes are kept.", "dismissed")
            case "dismiss", "difference":
                if not differences.close(connection, int(number)):
                    raise LabgatewayError(f"Difference {number} does not wait for a person (any more).")
                done = Deed(f"Difference {number} is dismissed.", "dismissed")
            case "replay", "message":
                if not journal.reopen(connection, int(number)):
                    raise LabgatewayError(f"There is no message {number} that could be read again.")
                done = Deed(f"Message {number} is read again.", "replayed", reopened=(int(number),))
            case _:
                raise LabgatewayError(
                    f"{action} does not fit {subject or 'that id'}: observations are released, rejected or relinked, deliveries are "
                    "retried or skipped, messages are replayed or dismissed (labgateway parked shows what each is)."
                )
        if subject == "observation":
            specimens = _touched(connection, number, done, before)
            compute_again(connection, specimens, rules, now, done.outcome)
        because_of = f"{because} (identity checked)" if done.identity_checked else because
        for what, about in ((action, f"{subject} {number}"), *done.besides):
            audit.add(connection, at=now, who=who or "command line", action=what, subject=about, because=because_of)
        return done

    return job


def _touched(connection: Connection, number: str, done: Deed, before: Stored | None) -> list[str]:
    """The specimens on which something else stands now."""
    ids = [number, *(about.split(" ")[1] for _, about in done.besides if about.startswith("observation "))]
    found = [before, *(results.get(connection, one) for one in ids)]
    return sorted({one.specimen for one in found if one is not None and one.specimen})


def _subject(name: str) -> tuple[str, str]:
    """``m17`` or ``17``: message; ``d17``: delivery; ``f17``: difference; an id of 20 characters: observation."""
    if len(name) == 20:
        return "observation", name.upper()
    kind, digits = (name[0].lower(), name[1:]) if name[:1].isalpha() else ("m", name)
    if not digits.isdigit() or kind not in ("m", "d", "f") or len(digits) > 18:
        raise LabgatewayError(f"{name[:40]!r} is no id of ours; labgateway parked lists them.")
    return {"m": "message", "d": "delivery", "f": "difference"}[kind], digits


def _move(destination: str | None, number: str, words: str, state: str) -> Deed:
    if destination is None:
        raise LabgatewayError(f"Delivery {number} is not parked.")
    outcome = Outcome()
    outcome.destinations.add(destination)
    return Deed(f"Delivery {number} {words}.", state, outcome)


def _held(connection: Connection, number: str, request: Mapping[str, Any]) -> Stored:
    one = seen(connection, number, request)
    if one.state not in (ObservationState.HELD, ObservationState.WAITING):
        raise LabgatewayError(f"Observation {number} does not wait for a person (any more).")
    return one


def _reject(
    connection: Connection, number: str, request: Mapping[str, Any], rules: Rules, now: datetime, who: str
) -> Deed:
    if (one := seen(connection, number, request)).state is ObservationState.RELEASED:
        return take_back(connection, one, rules, now, who)
    one = _held(connection, number, request)
    decided = replace(as_decided(one), state=ObservationState.REJECTED, decided_at=now, decided_by=who)
    write(connection, decided, one)
    return Deed(f"Observation {number} is rejected; it is kept and will not be sent.", "rejected")


def _release(
    connection: Connection, number: str, request: Mapping[str, Any], rules: Rules, now: datetime, who: str
) -> Deed:
    if (one := seen(connection, number, request)).state is ObservationState.RELEASED and one.problem is not None:
        is_checked = checked(connection, one, None, request, rules)
        write(connection, replace(as_decided(one), problem=None, decided_at=now, decided_by=who), one)
        return Deed(f"Observation {number} stands as it was sent.", "stands", identity_checked=is_checked)
    one = _held(connection, number, request)
    if one.problem is not None and one.problem.reason in NOT_YET:
        raise LabgatewayError(f"{one.problem.reason.what} {one.problem.reason.cure}")
    targets = several(one, rules)
    order = _order_for(connection, one, request, rules, targets)
    if targets:
        one = _as_target(one, order, targets, rules)
    is_checked = checked(connection, one, order, request, rules)
    one_tube_speaks(connection, one, order)
    place = place_for(order, one)
    fresh = replace(prior_of(one).fresh, code=one.code, place=place)
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
        as_decided(one),
        order_id=order.id if order else None,
        beside_id=order.id if order else None,
        place_patient=place.patient,
        letter=letter,
        replaces=replaces,
        state=ObservationState.RELEASED,
        problem=None,
        decided_at=now,
        decided_by=who,
        added=added_for(one, order, rules, one.result),
    )
    write(connection, decided, one)
    outcome = Outcome()
    verdict = Verdict(ObservationState.RELEASED, order=order, beside=order, place=place)
    send(connection, rules, [Placed(decided, verdict, one.result)], now, outcome)
    return Deed(f"Observation {number} is released.", "released", outcome, identity_checked=is_checked)


def _as_target(one: Stored, order: Order | None, targets: tuple[Target, ...], rules: Rules) -> Stored:
    """The observation as the test that its order asks for: until then it bears the analyzer's code."""
    panels = panels_of(one.instrument, rules)
    asked = [t for t in targets if order and (order.code == t.emr or t.emr in panels.get(order.code, ()))]
    if len(asked) != 1:
        names = ", ".join(t.emr for t in targets)
        raise LabgatewayError(
            f"It may be any of {names}: name an order (--order NUMBER) that asks for exactly one of them."
        )
    (target,) = asked
    return replace(one, code=target.emr, name=target.name, loinc=target.loinc, moh=target.moh)


def _order_for(
    connection: Connection, one: Stored, request: Mapping[str, Any], rules: Rules, targets: tuple[Target, ...]
) -> Order | None:
    """The order that a released result answers; a person may name it, but only one of the same specimen.

    targets: the EMR tests that it may be, where that is not decided.
    """
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
    panels = panels_of(one.instrument, rules)
    codes = {target.emr for target in targets} or {one.code}
    asking = [order for order in of_specimen if order.code in codes or codes & set(panels.get(order.code, ()))]
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
