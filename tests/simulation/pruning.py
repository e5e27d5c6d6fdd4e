"""What is old and done with is taken out, and what is not stays (E7, R11): judged by what the store held before."""

from __future__ import annotations

from datetime import timedelta

from labgateway.store import prune
from labgateway.store.tables import to_us
from tests.simulation.lab import Lab
from tests.simulation.truth import line_of

KEEP = timedelta(days=30)
"""The shortest that `[store] keep_days` admits."""
NEAR = timedelta(hours=72 + 240 + 24) // timedelta(microseconds=1)
"""So near to a message that nobody has read yet, it may be about the same: that is kept."""


def take_out(lab: Lab) -> None:
    """Everything that is older than a month and nobody waits for goes."""
    before = lab.now - KEEP
    received = dict(lab.rows("SELECT id, received_at FROM transmission"))
    states = dict(lab.rows("SELECT id, state FROM transmission"))
    kept = {message for (message,) in lab.rows(
        "SELECT o.transmission_id FROM observation o LEFT JOIN delivery_observation l ON l.observation_id = o.id "
        "LEFT JOIN delivery d ON d.id = l.delivery_id WHERE o.state IN ('waiting', 'held') "
        f"OR (o.state = 'released' AND o.reason IS NOT NULL) OR d.state IN ('waiting', 'parked') OR d.created_at >= {to_us(before)}"
    )}  # fmt: skip
    open_on = {specimen for (specimen,) in lab.rows(
        "SELECT specimen FROM observation WHERE state IN ('waiting', 'held') OR (state = 'released' AND reason IS NOT NULL)"
    )}  # fmt: skip
    busy = {tube.specimen for tube in lab.tubes for one in lab.tubes if one.specimen in open_on
            if set(line_of(tube)) & set(line_of(one))} | open_on  # fmt: skip
    busy.discard(None)  # without an id there is no tube that anything else may be about
    kept |= {
        message
        for message, specimen in lab.rows("SELECT transmission_id, specimen FROM observation")
        if specimen in busy
    }
    owed = lab.rows("SELECT control_id FROM delivery WHERE state IN ('waiting', 'parked') ORDER BY id")
    told = lab.disk.run(lambda c: prune.would(c, before))
    done = prune.Pruned(more=True)
    while done.more:
        piece = lab.disk.run(lambda c: prune.prune(c, before, 3))
        done += piece
    assert (done.messages, done.results, done.observations, done.deliveries, done.orders) == (
        told.messages, told.results, told.observations, told.deliveries, told.orders,
    ), "other than it said"  # fmt: skip
    left = {number for (number,) in lab.rows("SELECT id FROM transmission")}
    for number, at in received.items():
        near = any(abs(at - received[n]) <= NEAR for n, state in states.items() if state in ("stored", "parked"))
        may_go = at < to_us(before) and states[number] != "stored" and number not in kept and not near
        assert (number not in left) == may_go, "E7: too much or too little is taken out"
        if may_go:
            lab.forget(number)
    assert lab.rows("SELECT control_id FROM delivery WHERE state IN ('waiting', 'parked') ORDER BY id") == owed, "R11"
    for table, to in (("result", "transmission"), ("observation", "result"), ("delivery_observation", "observation")):
        of = {"result": "transmission_id", "observation": "result_id", "delivery_observation": "observation_id"}[table]
        assert not lab.rows(f"SELECT 1 FROM {table} t LEFT JOIN {to} p ON p.id = t.{of} WHERE p.id IS NULL")
