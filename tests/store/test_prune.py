"""E7: prune takes out what is done with and older than is kept, all of it, and nothing else, whatever the history."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, event, text

from labgateway.errors import LabgatewayError, Problem, Reason
from labgateway.model import ObservationState
from labgateway.store import migrate, orders, outbox, prune, results, sqlite
from labgateway.store.engine import Store
from labgateway.store.tables import to_us
from tests.pipeline.lab import Lab
from tests.postgresql import schema
from tests.store.kit import NOW, append, count, decided, later, observe, order, result

BEFORE = NOW
TABLES = (
    "transmission",
    "result",
    "observation",
    "delivery",
    "delivery_observation",
    "lab_order",
    "order_message",
    "told",
)


@dataclass
class Message:
    """One message of a history. deliveries: the state of each that carries its observations."""

    age_d: int
    state: str
    observation: ObservationState
    doubt: bool
    deliveries: list[str]
    resent_d: int
    number: int = 0
    delivery_numbers: list[int] = field(default_factory=list[int])

    @property
    def old(self) -> bool:
        return self.age_d > 0

    @property
    def is_done(self) -> bool:
        """As one would say it on paper."""
        return (
            self.old
            and self.resent_d > 0
            and self.state in ("processed", "superseded", "dismissed")
            and self.observation not in (ObservationState.WAITING, ObservationState.HELD)
            and not (self.doubt and self.observation is ObservationState.RELEASED)
            and not any(state in ("waiting", "parked") for state in self.deliveries)
        )


MESSAGES = st.builds(
    Message,
    age_d=st.integers(-3, 3) | st.integers(10, 24),
    state=st.sampled_from(["stored", "processed", "parked", "incomplete", "superseded", "dismissed"]),
    observation=st.sampled_from(list(ObservationState)),
    doubt=st.booleans(),
    deliveries=st.lists(st.sampled_from(["waiting", "settled", "parked", "shadow", "skipped"]), max_size=3),
    resent_d=st.sampled_from([1, 1, 1, -1]),
)


def memory() -> Connection:
    engine = create_engine("sqlite://", module=sqlite.module())
    event.listen(engine, "connect", lambda c, _: setattr(c, "isolation_level", None))
    migrate.upgrade(engine, lambda _: None)
    return engine.connect()


def write(connection: Connection, history: list[Message]) -> None:
    for n, one in enumerate(sorted(history, key=lambda m: -m.age_d)):
        at = later(days=-one.age_d)
        one.number = append(connection, f"raw {n}".encode(), received_at=at)
        (result_id,) = results.add_results(connection, one.number, [result()])
        problem = Problem(Reason.ORDER_CANCELLED) if one.doubt else None
        results.add_observations(
            connection,
            [
                decided(
                    f"{n:020}",
                    result_id,
                    one.number,
                    state=one.observation,
                    problem=problem,
                    received_at=at,
                    specimen=f"S{n}",
                )
            ],
        )
        connection.execute(text("UPDATE transmission SET state = :s WHERE id = :n"), {"s": one.state, "n": one.number})
        made = min(at, later(days=-one.resent_d)) if one.resent_d > 0 else later(days=1)
        for k, state in enumerate(one.deliveries):
            number = outbox.add(
                connection, destination=f"d{k}", lane=f"S{n}", control_id=f"{n}.{k}", body=b"x", observation_ids=[f"{n:020}"],
                now=made,
            )  # fmt: skip
            connection.execute(text("UPDATE delivery SET state = :s WHERE id = :n"), {"s": state, "n": number})
            one.delivery_numbers.append(number)
        if not one.deliveries:
            one.resent_d = 1  # nothing of it was sent


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGES, max_size=8), st.integers(1, 3))
def test_only_what_is_done_with_and_all_of_it(history: list[Message], limit: int) -> None:
    connection = memory()
    write(connection, history)
    expected = prune.would(connection, BEFORE)
    total = prune.Pruned()
    while True:
        one = prune.prune(connection, BEFORE, limit)
        total += one
        if not one.more:
            break
    left = {int(row[0]) for row in connection.execute(text("SELECT id FROM transmission"))}
    unread = [one.age_d for one in history if one.state in ("stored", "parked")]
    stay = [one for one in history if not one.is_done or any(abs(one.age_d - age) <= 14 for age in unread)]
    assert left == {one.number for one in stay}
    deliveries = {int(row[0]) for row in connection.execute(text("SELECT id FROM delivery"))}
    assert deliveries == {n for one in stay for n in one.delivery_numbers}
    assert count(connection, "result") == count(connection, "observation") == len(left)
    assert total == expected
    assert not prune.would(connection, BEFORE)
    assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    connection.close()


def test_a_delivery_stays_with_the_last_observation_that_it_carried() -> None:
    """Two messages' results left together: one message is held back by something else, so the delivery stays whole enough."""
    connection = memory()
    history = [
        Message(2, "processed", ObservationState.RELEASED, False, ["settled"], 1),
        Message(1, "processed", ObservationState.HELD, False, [], 1),
    ]
    write(connection, history)
    connection.execute(
        text("INSERT INTO delivery_observation (delivery_id, observation_id) VALUES (:d, :o)"),
        {"d": history[0].delivery_numbers[0], "o": f"{1:020}"},
    )
    assert prune.would(connection, BEFORE) == prune.Pruned(1, 1, 1, 0, 0)
    assert prune.prune(connection, BEFORE) == prune.Pruned(1, 1, 1, 0, 0, more=True)
    assert count(connection, "delivery") == 1
    connection.close()


def test_orders_go_when_no_result_names_them() -> None:
    connection = memory()
    old, fresh = later(days=-5), later(days=1)
    for number, at in (("P1", old), ("P2", old), ("P3", fresh)):
        orders.put(connection, order(placer=number), at)
    message = append(connection, b"raw", received_at=fresh)
    (result_id,) = results.add_results(connection, message, [result()])
    results.add_observations(connection, [decided("O", result_id, message, order_id=1, beside_id=1, received_at=fresh)])
    assert not prune.would(connection, BEFORE)  # the message is not read yet: it may be about any of them
    connection.execute(text("UPDATE transmission SET state = 'processed'"))
    assert prune.would(connection, BEFORE).orders == 1
    assert prune.prune(connection, BEFORE).orders == 1
    assert [row[0] for row in connection.execute(text("SELECT placer FROM lab_order ORDER BY id"))] == ["P1", "P3"]
    connection.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_on_each_store(kind: str, tmp_path: Path) -> None:
    """The same statements on SQLite and PostgreSQL."""
    with nullcontext(f"sqlite:///{tmp_path}/data/labgateway.db") if kind == "sqlite" else schema() as url:
        store = Store.open(url)
        try:
            await _on(store)
        finally:
            await store.close()


async def _on(store: Store) -> None:

    def fill(connection: Connection) -> None:
        write(
            connection,
            [
                Message(3, "processed", ObservationState.RELEASED, False, ["settled", "shadow"], 1),
                Message(3, "processed", ObservationState.RELEASED, False, ["parked"], 1),
                Message(-1, "processed", ObservationState.RELEASED, False, ["settled"], 1),
            ],
        )

    await store.submit(fill)
    assert await store.read(lambda c: prune.would(c, BEFORE)) == prune.Pruned(1, 1, 1, 2, 0)
    assert await store.submit(lambda c: prune.prune(c, BEFORE)) == prune.Pruned(1, 1, 1, 2, 0, more=True)
    assert await store.submit(lambda c: prune.prune(c, BEFORE)) == prune.Pruned()
    assert await store.read(lambda c: count(c, "transmission")) == 2


@pytest.mark.parametrize("tube", ["S1", "A1"])
def test_no_order_goes_that_something_held_is_about(tube: str) -> None:
    """One candidate less, and what is held as ambiguous would be matched when the EMR says anything more: on the tube, and
    on one taken from it."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", more=("SAC|||A1|S1",))
    lab.order("S1", "O2", "WBC")
    lab.order("S9", "O9", "WBC")
    (one,) = lab.measure(tube, ("WBC", "5.1"))
    lab.hours = 24 * 40
    before = lab.now - timedelta(days=30)
    assert lab.do(lambda c: prune.would(c, before)).orders == 1
    assert lab.do(lambda c: prune.prune(c, before)).orders == 1
    assert len(lab.orders("S1")) == 2
    lab.order("S1", "O1", "WBC")
    problem = lab.get(one.id).problem
    assert problem is not None and problem.reason is Reason.AMBIGUOUS_ORDER


def test_a_resend_within_a_long_window_is_known() -> None:
    """A site of cultures with window_h beyond keep_days: the order still answers, so what answered it before must not be gone."""
    lab = Lab(policy={"window_h": 24 * 60})
    lab.order("S1", "O1", "WBC")
    lab.measure("S1", ("WBC", "5.1"))
    lab.settle()
    lab.hours = 24 * 40
    lab.order("S1", "O1", "WBC")
    before = prune.cutoff(lab.now, 30, window_h=24 * 60, wait_h=240)
    assert not lab.do(lambda c: prune.prune(c, before))
    (again,) = lab.measure("S1", ("WBC", "5.1"))
    assert again.state is ObservationState.DUPLICATE
    assert len(lab.owed()) == 1
    assert prune.cutoff(lab.now, 365, window_h=72, wait_h=240) == lab.now - timedelta(days=365)


@pytest.mark.parametrize("tube", ["S1", "A1"])
def test_nothing_goes_that_something_held_stands_against(tube: str) -> None:
    """Mirth-like housekeeping would make a first result of a rerun: what stands in the EMR is known as long as the rerun
    waits for a person, on its tube and on another of the same order."""
    lab = Lab()
    lab.order("S1", "O1", "WBC", more=("SAC|||A1|S1",))
    (first,) = lab.measure("S1", ("WBC", "5.1"))
    (held,) = lab.measure(tube, ("WBC", "6.1"))
    assert lab.settle() == 1
    lab.hours = 24 * 40
    before = lab.now - timedelta(days=30)
    assert not lab.do(lambda c: prune.would(c, before))
    assert not lab.do(lambda c: prune.prune(c, before))
    if tube == "S1":
        lab.act("release", held.id, identity_checked=True)
        assert [(s.letter, s.replaces) for s in lab.owed()] == [("F", None), ("C", first.id)]
    else:
        with pytest.raises(LabgatewayError, match=first.id):
            lab.act("release", held.id, identity_checked=True)


def test_nothing_goes_that_an_unread_message_may_repeat() -> None:
    """Read after the first was taken out, the resend of a month ago would go out as another first when the EMR says more."""
    lab = Lab()
    lab.order("S1", "O1", "WBC")
    lab.measure("S1", ("WBC", "5.1"))
    assert lab.settle() == 1
    lab.do(lambda c: c.execute(text("UPDATE transmission SET state = 'stored'")))
    lab.order("S2", "O2", "WBC")
    lab.measure("S2", ("WBC", "5.2"))
    lab.hours = 24 * 20
    lab.order("S3", "O3", "WBC")
    lab.measure("S3", ("WBC", "5.3"))
    assert lab.settle() == 2
    lab.hours = 24 * 60
    before = lab.now - timedelta(days=30)
    assert lab.do(lambda c: prune.would(c, before)) == prune.Pruned(1, 1, 1, 1, 1)  # S3: no resend is so late
    assert lab.do(lambda c: prune.prune(c, before)) == prune.Pruned(1, 1, 1, 1, more=True)
    assert lab.do(lambda c: prune.prune(c, before)) == prune.Pruned(orders=1)
    assert len(lab.orders("S1")) == len(lab.orders("S2")) == 1


def read_steps(connection: Connection, job: Callable[[], object]) -> int:
    """How much SQLite worked for it, in hundreds of its steps."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    raw: Any = connection.connection.dbapi_connection
    raw.set_progress_handler(step, 100)
    job()
    raw.set_progress_handler(None, 100)
    return steps


def test_a_message_is_taken_out_at_the_same_cost_among_many() -> None:
    """Foreign keys are checked row by row: without an index each result taken out reads all observations."""

    def cost(kept: int) -> tuple[int, int]:
        connection = memory()
        connection.execute(text("PRAGMA foreign_keys=ON"))
        orders.put(connection, order(), later(days=-9))
        observe(connection, "old", ObservationState.RELEASED, received_at=later(days=-9))
        connection.execute(
            text("UPDATE transmission SET state = 'processed', received_at = :t"), {"t": to_us(BEFORE) - 9}
        )
        for n in range(kept):
            observe(connection, f"new{n}", ObservationState.RELEASED, received_at=later(days=1))
        connection.execute(text("UPDATE transmission SET state = 'processed', received_at = :t WHERE id > 1"),
                           {"t": to_us(BEFORE) + 9})  # fmt: skip
        message = read_steps(connection, lambda: prune.prune(connection, BEFORE))
        assert count(connection, "observation") == kept
        order_ = read_steps(connection, lambda: prune.prune(connection, BEFORE))
        assert count(connection, "lab_order") == 0
        return message, order_

    few, many = cost(5), cost(2000)
    assert many[0] <= few[0] + 5 and many[1] <= few[1] + 5


def test_orders_go_some_at_a_time() -> None:
    """More orders than the writer should be held for leave in several pieces; what came with them, too."""
    connection = memory()
    for n in range(1200):
        orders.put(connection, order(specimen=f"S{n}", placer=f"P{n}"), later(days=-9))
    pieces: list[int] = []
    more = True
    while more:
        one = prune.prune(connection, BEFORE)
        pieces.append(one.orders)
        more = one.more
    assert pieces == [500, 500, 200]
