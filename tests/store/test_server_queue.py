"""The queue on PostgreSQL behind a backlog: a destination with nothing to send does not read that of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, text

from labgateway.store import outbox
from labgateway.store.engine import Store
from tests.postgresql import schema

BACKLOG = 40_000
_FILL = """
    INSERT INTO delivery (destination, lane, control_id, body, sha256, state, held_back, created_at)
    SELECT CAST(:destination AS text), 'B' || (i / 2), CAST(:destination AS text) || i, 'MSH', 'x',
        CAST(:state AS text), CAST(:held_back AS integer), 1700000000000000 + i
    FROM generate_series(1, :n) g(i)
"""


@pytest.fixture
def url() -> Iterator[str]:
    """A schema of our own on the server of this machine, dropped at the end."""
    with schema() as address:
        yield address


def fill(connection: Connection) -> None:
    """Much waits for ``away``, nothing for ``here``; what is for ``held`` is held back."""
    for destination, state, held_back, n in (
        ("away", "waiting", 0, BACKLOG),
        ("here", "settled", 0, BACKLOG // 4),
        ("held", "waiting", 1, 50),
    ):
        values = {"destination": destination, "state": state, "held_back": held_back, "n": n}
        connection.execute(text(_FILL), values)


def rows_read(connection: Connection, job: Callable[[Connection], object]) -> int:
    """How many rows and entries of indexes of deliveries a query looked at, as the server counts them."""

    def counted() -> int:
        found = connection.execute(
            text(
                "SELECT coalesce(sum(seq_tup_read), 0) + coalesce(sum(idx_tup_fetch), 0) FROM pg_stat_xact_all_tables "
                "WHERE relname = 'delivery' AND schemaname = current_schema()"
            )
        )
        return int(found.scalar_one())

    before = counted()
    job(connection)
    return counted() - before


async def test_the_queue_of_one_destination_is_found_behind_that_of_another(url: str) -> None:
    """What is asked for at each turn of the sender looks at some rows, not at all that wait; with and without statistics."""
    store = Store.open(url)
    await store.submit(fill)
    for _ in range(2):
        for name, wanted in (("away", 64), ("here", 0), ("held", 0)):
            found = await store.read(lambda c, name=name: outbox.ready(c, name, 64))
            assert len(found) == wanted
            assert await store.read(lambda c, name=name: rows_read(c, lambda c: outbox.ready(c, name, 64))) < 600
            assert await store.read(lambda c, name=name: rows_read(c, lambda c: outbox.newest(c, name, 16))) < 1_200
            assert await store.read(lambda c, name=name: rows_read(c, lambda c: outbox.oldest_waiting(c, name))) < 5
        await store.submit(lambda c: c.execute(text("ANALYZE delivery")) and None)
    await store.close()


async def test_the_same_deliveries_as_on_sqlite(url: str) -> None:
    """Oldest first, newest first, page by page, of each lane the first: whatever words the question has."""
    store = Store.open(url)
    await store.submit(fill)
    first = await store.read(lambda c: outbox.ready(c, "away", 5))
    assert [one.lane for one in first] == ["B0", "B1", "B2", "B3", "B4"]
    known = frozenset(one.id for one in first)
    then = await store.read(lambda c: outbox.ready(c, "away", 3, known))
    assert [one.lane for one in then] == ["B5", "B6", "B7"]
    last = await store.read(lambda c: outbox.newest(c, "away", 3))
    assert [one.lane for one in last] == [f"B{BACKLOG // 2}", f"B{BACKLOG // 2 - 1}", f"B{BACKLOG // 2 - 2}"]
    await store.close()
