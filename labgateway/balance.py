"""The proof of a day: everything that was received stands somewhere, and each destination has what it is owed.

    messages   received = processed + not read yet + parked + incomplete + superseded + dismissed
    results    received = delivered + under way + refused + given up + prepared only + wanted nowhere
                        + waiting + held + rejected + left out + duplicate + QC

A message counts on the day on which we received it; what became of it is as of now. A result is counted once, by the row of the
message it came from, whatever was done to it since: what a person took back or moved, and what was computed from results,
is listed beside. It does not balance when a result has no account, or two, when a row says what cannot be, or when bytes are
not those that were stored.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, TextClause, text

from labgateway.model import Kind, ObservationState
from labgateway.store.tables import from_us, to_us

ACCOUNTS = (
    "delivered", "under way", "refused", "given up", "prepared only", "wanted nowhere", "waiting", "held", "rejected",
    "left out", "duplicate", "QC",
)  # fmt: skip
"""Where a result may stand. under way: at least one destination has not taken it yet. refused: a destination refused it, and a
person is asked. prepared only: for destinations in shadow."""

_STATES = {
    ObservationState.WAITING.value: "waiting", ObservationState.HELD.value: "held",
    ObservationState.REJECTED.value: "rejected", ObservationState.LEFT_OUT.value: "left out",
    ObservationState.DUPLICATE.value: "duplicate", ObservationState.CONTROL.value: "QC",
}  # fmt: skip
_DELIVERIES = {
    "waiting": "under way",
    "parked": "refused",
    "skipped": "given up",
    "shadow": "prepared only",
    "settled": "delivered",
}
_WORST = ("refused", "under way", "given up", "delivered", "prepared only")
"""Of several destinations that which decides where the result stands."""
_MESSAGES = {
    "stored": "not read yet", "processed": "processed", "parked": "parked", "incomplete": "incomplete",
    "superseded": "superseded", "dismissed": "dismissed",
}  # fmt: skip
_NOT_RECEIVED = (Kind.QUERY.value, Kind.COMPUTED.value)
"""What an instrument asked, and what was worked out from results that are counted themselves."""
_MOST_LISTED = 1000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """What one destination does not have (yet): ids of our own only. state: of the delivery."""

    destination: str
    observation: str
    delivery: int
    state: str
    since: datetime
    answer: str


@dataclass(slots=True)
class Balance:
    """The proof. messages, results: how many of each account. besides: what was made of results that were counted already.

    wrong: why it does not balance, one sentence each, with ids of our own. differences: the oldest of them; differing: how many.
    """

    start: datetime
    end: datetime
    messages: dict[str, int] = field(default_factory=dict[str, int])
    received: int = 0
    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))
    besides: dict[str, int] = field(default_factory=dict[str, int])
    differences: list[Difference] = field(default_factory=list[Difference])
    differing: dict[str, int] = field(default_factory=dict[str, int])
    wrong: list[str] = field(default_factory=list[str])

    @property
    def balances(self) -> bool:
        """Whether every result is accounted for."""
        return not self.wrong and sum(self.results.values()) == self.received


def balance(connection: Connection, start: datetime, end: datetime) -> Balance:
    """The proof for what was received from start on and before end (aware). Reads one moment of the store."""
    found = Balance(start, end)
    between = {"start": to_us(start), "end": to_us(end)}
    _messages(connection, between, found)
    _results(connection, between, found)
    _destinations(connection, between, found)
    return found


_RAW = text(
    "SELECT id, raw, sha256, state FROM transmission WHERE received_at >= :start AND received_at < :end AND id > :after "
    "ORDER BY id LIMIT :most"
)


def _messages(connection: Connection, between: dict[str, int], found: Balance) -> None:
    counts: Counter[str] = Counter()
    for number, raw, sha256, state in _in_parts(connection, _RAW, between):
        if state not in _MESSAGES:
            found.wrong.append(f"Message {number} is in no state that there is: {state}.")
        counts[_MESSAGES.get(state, str(state))] += 1
        if hashlib.sha256(bytes(raw)).hexdigest() != sha256:
            found.wrong.append(f"Message {number} is damaged: its bytes are not those that were stored.")
    found.messages = {name: counts[name] for name in _MESSAGES.values() if counts[name]}


def _in_parts(connection: Connection, query: TextClause, between: dict[str, int]) -> Iterator[Any]:
    """Rows with large bytes, few at a time. The first column is the number they are ordered by."""
    after = 0
    while rows := connection.execute(query, {**between, "after": after, "most": _AT_ONCE}).all():
        yield from rows
        after = int(rows[-1][0])


_SAID = text(
    "SELECT t.id, r.ordinal, r.kind, r.more FROM transmission t JOIN result r ON r.transmission_id = t.id "
    "WHERE t.received_at >= :start AND t.received_at < :end ORDER BY t.id, r.id"
)
_BECAME = text(
    "SELECT t.id, r.kind, r.ordinal, r.more, o.id, o.state, o.letter, o.reason, o.decided_by, o.duplicate_of, "
    "CASE WHEN o.duplicate_of IS NULL THEN 1 ELSE (SELECT count(*) FROM observation p WHERE p.id = o.duplicate_of) END "
    "FROM transmission t JOIN result r ON r.transmission_id = t.id JOIN observation o ON o.result_id = r.id "
    "WHERE t.received_at >= :start AND t.received_at < :end ORDER BY t.id, o.id"
)
_Key = tuple[int, str]
"""A message and the row in it: what is read again after a driver was mended is the same result."""


@dataclass(slots=True)
class _One:
    """An observation, as far as its account goes."""

    id: str
    state: str
    letter: str
    reason: str | None
    decided_by: str
    duplicate_of: str | None
    is_known: bool
    """The one it repeats is there."""


def _results(connection: Connection, between: dict[str, int], found: Balance) -> None:
    said = {
        _key(number, ordinal, more): None
        for number, ordinal, kind, more in connection.execute(_SAID, between)
        if kind not in _NOT_RECEIVED
    }
    found.received = len(said)
    became: dict[_Key, list[_One]] = {}
    besides: Counter[str] = Counter()
    for row in connection.execute(_BECAME, between):
        number, kind, ordinal, more, one, state, letter, reason, decided_by, duplicate_of, known = row
        if kind in _NOT_RECEIVED:
            besides["computed"] += 1
            continue
        account = _One(str(one), state, letter, reason, decided_by, duplicate_of, bool(known))
        became.setdefault(_key(number, ordinal, more), []).append(account)
    ways = _ways(connection, between)
    for key in said:
        if key not in became:
            found.wrong.append(f"Row {key[1]} of message {key[0]} has no account.")
    for key, all_of_it in became.items():
        first, *others = sorted(all_of_it, key=lambda one: one.id)
        if key not in said:
            found.wrong.append(f"Observation {first.id} stands for a row that no message said.")
            continue
        _account(first, ways.get(first.id, []), found)
        for one in others:
            if not one.decided_by:
                found.wrong.append(f"Observation {one.id} counts a result a second time, and nobody decided that.")
            besides["taken back" if one.letter == "W" else "sent to another place"] += 1
    found.besides = dict(besides)


def _account(one: _One, ways: list[str], found: Balance) -> None:
    """Count a result where it stands, and say what cannot be."""
    is_out = one.state == ObservationState.RELEASED.value
    if is_out:
        stands = {_DELIVERIES[state] for state in ways if state in _DELIVERIES}
        account = next((name for name in _WORST if name in stands), "wanted nowhere")
    elif one.state in _STATES:
        account = _STATES[one.state]
    else:
        found.wrong.append(f"Observation {one.id} is in no state that there is: {one.state}.")
        return
    found.results[account] += 1
    if ways and not is_out:
        found.wrong.append(f"Observation {one.id} is {account}, and a delivery carries it.")
    if one.state == ObservationState.HELD.value and not one.reason:
        found.wrong.append(f"Observation {one.id} is held without a reason.")
    if one.state == ObservationState.DUPLICATE.value and not (one.duplicate_of and one.is_known):
        found.wrong.append(f"Observation {one.id} repeats one that is not there.")
    if one.state == ObservationState.REJECTED.value and not one.decided_by:
        found.wrong.append(f"Observation {one.id} is rejected, and nobody decided that.")


_WAYS = text(
    "SELECT l.observation_id, d.state FROM transmission t JOIN observation o ON o.transmission_id = t.id "
    "JOIN delivery_observation l ON l.observation_id = o.id JOIN delivery d ON d.id = l.delivery_id "
    "WHERE t.received_at >= :start AND t.received_at < :end"
)


def _ways(connection: Connection, between: dict[str, int]) -> dict[str, list[str]]:
    ways: dict[str, list[str]] = {}
    for number, state in connection.execute(_WAYS, between):
        ways.setdefault(str(number), []).append(str(state))
    return ways


_OWED = text(
    "SELECT d.destination, l.observation_id, d.id, d.state, d.created_at, d.answer FROM transmission t "
    "JOIN observation o ON o.transmission_id = t.id JOIN delivery_observation l ON l.observation_id = o.id "
    "JOIN delivery d ON d.id = l.delivery_id WHERE t.received_at >= :start AND t.received_at < :end "
    "AND d.state <> 'settled' ORDER BY d.id"
)
_BODIES = text(
    "SELECT DISTINCT d.id, d.body, d.sha256 FROM transmission t JOIN observation o ON o.transmission_id = t.id "
    "JOIN delivery_observation l ON l.observation_id = o.id JOIN delivery d ON d.id = l.delivery_id "
    "WHERE t.received_at >= :start AND t.received_at < :end AND d.state IN ('waiting', 'parked') AND d.id > :after "
    "ORDER BY d.id LIMIT :most"
)


def _destinations(connection: Connection, between: dict[str, int], found: Balance) -> None:
    """What is not settled, by destination; and whether what is still to be sent is what was made."""
    differing: Counter[str] = Counter()
    for row in _differences(connection, between):
        differing[row.destination] += 1
        if len(found.differences) < _MOST_LISTED:
            found.differences.append(row)
    found.differing = dict(differing)
    for number, body, sha256 in _in_parts(connection, _BODIES, between):
        if hashlib.sha256(bytes(body)).hexdigest() != sha256:
            found.wrong.append(f"Delivery {number} is damaged: its bytes are not those that were made.")


def _differences(connection: Connection, between: dict[str, int]) -> Iterator[Difference]:
    for destination, observation, delivery, state, created_at, answer in connection.execute(_OWED, between):
        yield Difference(
            str(destination), str(observation), int(delivery), str(state), from_us(created_at), str(answer)
        )


def _key(number: int, ordinal: int, more: str) -> _Key:
    """The row as the result names it, else its place in the message."""
    said: dict[str, Any] = json.loads(more)
    return number, str(said.get("where") or f"number {ordinal + 1}")
