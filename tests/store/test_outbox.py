"""Lanes: each strictly in order, a parked one stops itself only, and a long queue costs nothing to look at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import Connection, create_engine, event, text

from labgateway.model import ObservationState, Patient
from labgateway.store import journal, migrate, orders, outbox, results, sqlite, worklist
from labgateway.store.engine import Store
from tests.store.kit import NOW, append, observe, order


def add(connection: Connection, lane: str, control_id: str, destination: str = "emr", **more: bool) -> int:
    """Owe one message."""
    return outbox.add(
        connection, destination=destination, lane=lane, control_id=control_id, body=f"{control_id} of {lane}".encode(),
        observation_ids=[], now=NOW, **more,
    )  # fmt: skip


@dataclass
class Queue:
    """What a destination is owed, as one would write it down on paper: each lane a list, oldest first."""

    lanes: dict[str, list[list[object]]] = field(default_factory=dict[str, list[list[object]]])

    def ready(self) -> list[int]:
        """Of each lane the first, unless it is parked."""
        return sorted(int(str(lane[0][0])) for lane in self.lanes.values() if lane and lane[0][1] == "waiting")


class Lanes(RuleBasedStateMachine):
    """Any history of deliveries, answers and people's decisions, against the paper."""

    @initialize()
    def begin(self) -> None:
        """A database in memory; the queries are the same."""
        engine = create_engine("sqlite://", module=sqlite.module())
        event.listen(engine, "connect", lambda c, _: setattr(c, "isolation_level", None))
        migrate.upgrade(engine, lambda _: None)
        self.connection = engine.connect()
        self.paper = {"emr": Queue(), "his": Queue()}
        self.added = 0

    def _any(self, destination: str, pick: int, states: tuple[str, ...]) -> tuple[str, list[object]] | None:
        found = [
            (lane, row) for lane, rows in self.paper[destination].lanes.items() for row in rows[:1] if row[1] in states
        ]
        return found[pick % len(found)] if found else None

    @rule(destination=st.sampled_from(["emr", "his"]), lane=st.sampled_from("ABC"), shadow=st.booleans())
    def add(self, destination: str, lane: str, shadow: bool) -> None:
        self.added += 1
        number = add(self.connection, lane, f"C{self.added}", destination, shadow=shadow)
        if not shadow:
            self.paper[destination].lanes.setdefault(lane, []).append([number, "waiting"])

    @rule(destination=st.sampled_from(["emr", "his"]), pick=st.integers(0, 9), twice=st.booleans())
    def settle(self, destination: str, pick: int, twice: bool) -> None:
        if found := self._any(destination, pick, ("waiting", "parked")):
            lane, row = found
            for _ in range(1 + twice):
                outbox.settle(self.connection, int(str(row[0])), "AA", NOW)
            self.paper[destination].lanes[lane].remove(row)

    @rule(destination=st.sampled_from(["emr", "his"]), pick=st.integers(0, 9), refused=st.booleans())
    def retry_later(self, destination: str, pick: int, refused: bool) -> None:
        if found := self._any(destination, pick, ("waiting",)):
            outbox.retry_later(self.connection, int(str(found[1][0])), "silence", refused=refused)

    @rule(destination=st.sampled_from(["emr", "his"]), pick=st.integers(0, 9))
    def park(self, destination: str, pick: int) -> None:
        if found := self._any(destination, pick, ("waiting",)):
            outbox.park(self.connection, int(str(found[1][0])), "AE")
            found[1][1] = "parked"

    @rule(destination=st.sampled_from(["emr", "his"]), pick=st.integers(0, 9), retry=st.booleans())
    def decide(self, destination: str, pick: int, retry: bool) -> None:
        if found := self._any(destination, pick, ("parked",)):
            lane, row = found
            assert (outbox.unpark if retry else outbox.skip)(self.connection, int(str(row[0]))) == destination
            if retry:
                row[1] = "waiting"
            else:
                self.paper[destination].lanes[lane].remove(row)

    @rule(number=st.integers(1, 30))
    def decide_what_is_not_parked(self, number: int) -> None:
        parked = {
            int(str(r[0])) for q in self.paper.values() for lane in q.lanes.values() for r in lane if r[1] == "parked"
        }
        if number not in parked:
            assert outbox.unpark(self.connection, number) is None
            assert outbox.skip(self.connection, number) is None

    @invariant()
    def the_next_ones_are_those_on_paper(self) -> None:
        for destination, queue in self.paper.items():
            found = [one.id for one in outbox.ready(self.connection, destination, 100)]
            assert found == queue.ready()
            assert [one.id for one in outbox.ready(self.connection, destination, 1)] == found[:1]
            assert [one.id for one in outbox.newest(self.connection, destination, 100)] == found[::-1]
            hand = set(found[::2])
            assert [one.id for one in outbox.newest(self.connection, destination, 2, hand)] == [
                number for number in reversed(found) if number not in hand
            ][:2]
            assert [one.id for one in outbox.ready(self.connection, destination, 2, hand)] == [
                number for number in found if number not in hand
            ][:2]

    @invariant()
    def nothing_vanishes(self) -> None:
        counts = outbox.counts(self.connection)
        assert sum(sum(states.values()) for states in counts.values()) == self.added
        for destination, queue in self.paper.items():
            left = [row[1] for lane in queue.lanes.values() for row in lane]
            for state in ("waiting", "parked"):
                assert counts.get(destination, {}).get(state, 0) == left.count(state)

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()


TestLanes = Lanes.TestCase
TestLanes.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


async def test_a_delivery_comes_out_as_it_went_in(store: Store) -> None:
    """Bytes, lane, control id; refusals are counted, silence is not, and a person's retry begins anew."""
    number = await store.submit(lambda c: add(c, "S1", "C1"))
    for refused in (False, True, True):
        await store.submit(lambda c, r=refused: outbox.retry_later(c, number, "AE 207", refused=r))
    (owed,) = await store.read(lambda c: outbox.ready(c, "emr", 10))
    assert owed == outbox.Owed(number, "S1", "C1", b"C1 of S1", 2)
    await store.submit(lambda c: outbox.park(c, number, "AE: no such patient"))
    row = await store.read(lambda c: c.execute(text("SELECT attempts, answer, settled_at FROM delivery")).one())
    assert tuple(row) == (4, "AE: no such patient", None)
    await store.submit(lambda c: outbox.unpark(c, number))
    (owed,) = await store.read(lambda c: outbox.ready(c, "emr", 10))
    assert (owed.refusals, owed.body) == (0, b"C1 of S1")


async def test_a_control_id_comes_only_once(store: Store) -> None:
    """The same MSH-10 for two messages is refused, also for another destination."""
    await store.submit(lambda c: add(c, "S1", "C1"))
    with pytest.raises(Exception, match=r"UNIQUE.*delivery\.control_id"):
        await store.submit(lambda c: add(c, "S2", "C1", "his"))


def fill(connection: Connection, first: int, last: int, lanes: int) -> None:
    """Many deliveries, written fast; every lane has the same share."""
    raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.cursor().executemany(
        "INSERT INTO delivery (destination, lane, control_id, body, sha256, state, created_at) "
        "VALUES ('emr', ?, ?, x'00', ?, 'waiting', 0)",
        [
            (f"S{n % lanes}", f"C{n}", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
            for n in range(first, last)
        ],
    )


async def test_a_hundred_thousand_that_wait_cost_nothing(store: Store) -> None:
    """Looking for the next ones takes a few milliseconds: with all waiting, many in hand, and behind 20,000 parked lanes."""
    await store.submit(lambda c: fill(c, 0, 100_000, 25_000))

    async def took(in_hand: frozenset[int] = frozenset()) -> tuple[float, list[int]]:
        best, found = 99.0, list[int]()
        for _ in range(3):
            began = time.perf_counter()
            found = [one.id for one in await store.read(lambda c: outbox.ready(c, "emr", 64, in_hand))]
            best = min(best, time.perf_counter() - began)
        return best, found

    seconds, first = await took()
    assert first == list(range(1, 65)) and seconds < 0.05
    seconds, second = await took(frozenset(first))
    assert second == list(range(65, 129)) and seconds < 0.05

    def refuse(connection: Connection) -> None:
        for number in range(1, 20_001):
            outbox.park(connection, number, "AE")

    await store.submit(refuse)
    seconds, third = await took()
    assert third == list(range(20_001, 20_065)) and seconds < 0.05
    await store.submit(lambda c: outbox.skip(c, 1))
    _, fourth = await took()
    assert fourth[:2] == [20_001, 20_002]
    found = await store.read(lambda c: [one.id for one in outbox.ready(c, "emr", 6000)])
    assert 25_001 in found, "the next of the lane whose first was skipped"


async def test_the_newest_cost_nothing_behind_a_backlog(store: Store) -> None:
    """Behind 100,000, most of which wait for others of their lane, what came last is found at once."""

    def owe(connection: Connection) -> int:
        fill(connection, 0, 100_000, 25_000)
        return add(connection, "today", "T1")

    today = await store.submit(owe)
    best, found = 99.0, list[int]()
    for _ in range(3):
        began = time.perf_counter()
        found = [one.id for one in await store.read(lambda c: outbox.newest(c, "emr", 16))]
        best = min(best, time.perf_counter() - began)
    assert found == [today] and best < 0.05


Job = Callable[[Connection], object]
PATIENT = Patient("P9", "P9", "X", None, None)
PLANS: dict[str, tuple[Job, set[str]]] = {
    "unprocessed": (lambda c: journal.unprocessed(c, 10), {"transmission ix_transmission_state_id (state=?)"}),
    "part": (
        lambda c: append(c, part_key="k"),
        {"transmission ix_transmission_part_key_state (part_key=? AND state=?)"},
    ),
    "supersede": (
        lambda c: journal.supersede_incomplete(c, "xn1", ["S100"], NOW),
        {"transmission ix_transmission_state_id (state=?)"},
    ),
    "of_transmission": (
        lambda c: results.of_transmission(c, 1),
        {"o ix_observation_transmission_id (transmission_id=?)", "r PRIMARY KEY (rowid=?)"},
    ),
    "of_specimen": (
        lambda c: results.of_specimen(c, "S1", NOW),
        {"o ix_observation_specimen_received_at (specimen=? AND received_at>?)", "r PRIMARY KEY (rowid=?)"},
    ),
    "waiting_since": (
        lambda c: results.waiting_since(c, NOW, 10),
        {"o ix_observation_open (state=? AND received_at<?)", "r PRIMARY KEY (rowid=?)"},
    ),
    "held": (results.held, {"o ix_observation_open (state=?)", "r PRIMARY KEY (rowid=?)"}),
    "for_specimen": (
        lambda c: orders.for_specimen(c, "S1"),
        {"lab_order ix_lab_order_specimen (specimen=?)", "aliquot sqlite_autoindex_aliquot_1 (specimen=?)"},
    ),
    "siblings": (
        lambda c: orders.siblings(c, "S1"),
        {
            "aliquot sqlite_autoindex_aliquot_1 (specimen=?)",
            "aliquot ix_aliquot_parent (parent=?)",
            "a ix_lab_order_specimen (specimen=?)",
            "b sqlite_autoindex_lab_order_1 (source=? AND placer=? AND code=?)",
        },
    ),
    "move": (
        lambda c: orders.move(c, source="emr", placer="P1", to={("CBC", "S1")}, now=NOW),
        {"lab_order sqlite_autoindex_lab_order_1 (source=? AND placer=?)"},
    ),
    "cancel": (
        lambda c: orders.cancel(c, source="emr", placer="P1", code="CBC", specimen=None, now=NOW),
        {"lab_order sqlite_autoindex_lab_order_1 (source=? AND placer=? AND code=?)"},
    ),
    "put": (
        lambda c: orders.put(c, order(), NOW),
        {"lab_order sqlite_autoindex_lab_order_1 (source=? AND placer=? AND code=? AND specimen=?)"},
    ),
    "merge": (
        lambda c: orders.merge(c, source="emr", merged=["P1"], survivor=PATIENT, now=NOW),
        {"lab_order ix_lab_order_patient_id (patient_id=?)"},
    ),
    "ready": (
        lambda c: outbox.ready(c, "emr", 10),
        {
            "d ix_delivery_state_destination_held_back_id (state=? AND destination=? AND held_back=? AND id>?)",
            "e ix_delivery_unsettled (destination=? AND lane=? AND id<?)",
        },
    ),
    "newest": (
        lambda c: outbox.newest(c, "emr", 10),
        {
            "delivery ix_delivery_state_destination_held_back_id (state=? AND destination=? AND held_back=?)",
            "SCAN d",  # the last few hundred rows, which the query before this has found
            "f PRIMARY KEY (rowid=?)",
            "e ix_delivery_unsettled (destination=? AND lane=? AND id<?)",
        },
    ),
    "add": (
        lambda c: add(c, "S1", "new"),
        {
            "delivery ix_delivery_unsettled (destination=? AND lane=?)",
            # what SQLite itself would look at if the row replaced another
            "delivery_observation USING PRIMARY KEY (delivery_id=?)",
            "difference ix_difference_delivery_id (delivery_id=?)",
            "attempt ix_attempt_delivery_id (delivery_id=?)",
        },
    ),
    "park": (
        lambda c: outbox.park(c, 1, "AE"),
        {"delivery PRIMARY KEY (rowid=?)", "delivery ix_delivery_unsettled (destination=? AND lane=?)"},
    ),
    "deliveries_of": (
        lambda c: worklist.deliveries_of(c, "O1"),
        {"d PRIMARY KEY (rowid=?)", "l ix_delivery_observation_observation_id (observation_id=?)"},
    ),
    "oldest_waiting": (
        lambda c: outbox.oldest_waiting(c, "old"),
        {"delivery ix_delivery_state_destination_held_back_id (state=? AND destination=? AND held_back=?)"},
    ),
    "deeds_on": (lambda c: worklist.deeds_on(c, "observation O1"), {"audit ix_audit_subject (subject=?)"}),
}


@pytest.mark.parametrize("name", PLANS)
async def test_no_query_reads_a_table_from_end_to_end(store: Store, name: str) -> None:
    """Each query of the daily work finds its rows by the index that is meant for it; asked of SQLite itself."""
    job, expected = PLANS[name]

    def plan(connection: Connection) -> set[str]:
        observe(connection, "O1", ObservationState.RELEASED)
        add(connection, "S1", "old")
        statements: list[str] = []
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.set_trace_callback(statements.append)  # type: ignore[attr-defined]
        job(connection)
        raw.set_trace_callback(None)  # type: ignore[attr-defined]
        found: set[str] = set()
        for statement in statements:
            if statement.startswith(("SELECT", "UPDATE", "INSERT INTO delivery ")):
                for row in raw.cursor().execute("EXPLAIN QUERY PLAN " + statement).fetchall():  # type: ignore[attr-defined]
                    words = str(row[3])
                    if words.startswith(("SEARCH", "SCAN")):
                        words = words.replace("USING INDEX ", "").replace("USING COVERING INDEX ", "")
                        found.add(words.replace("USING INTEGER ", "").removeprefix("SEARCH "))
        return found

    assert {words for words in await store.submit(plan) if not words.startswith("delivery PRIMARY")} == {
        words for words in expected if not words.startswith("delivery PRIMARY")
    }


async def test_the_queue_of_a_week_leaves_the_intake_alone(store: Store) -> None:
    """Behind 100,000 waiting deliveries a message is stored as fast as before."""

    async def per_message() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(store.submit(append) for _ in range(500)))
        return (time.perf_counter() - began) / 500

    before = min([await per_message() for _ in range(3)])
    await store.submit(lambda c: fill(c, 0, 100_000, 25_000))
    after = min([await per_message() for _ in range(3)])
    assert after < max(5 * before, 0.002)
