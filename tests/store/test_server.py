"""The same functions on PostgreSQL: a smoke test where a server answers on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from labgateway.errors import Problem, Reason, StoreBusyError, StoreError
from labgateway.model import ObservationState
from labgateway.store import audit, journal, migrate, orders, outbox, results, server, worklist
from labgateway.store.engine import Store
from labgateway.store.tables import metadata
from tests.postgresql import SERVER, schema
from tests.store.kit import NOW, append, decided, later, observe, order, result


@pytest.fixture
def url() -> Iterator[str]:
    """A schema of our own on the server of this machine, dropped at the end."""
    with schema() as address:
        yield address


async def test_a_day_on_a_server(url: str) -> None:
    """Message, results, order, delivery, refusal, deed: stored and read back as on SQLite."""
    store = Store.open(url)
    assert store.read_now(migrate.current) == migrate.REVISION
    assert store.read_now(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []

    def job(connection: Connection) -> tuple[int, list[int]]:
        message = append(connection, b"H|\\^&\rR|1|^^^^WBC|8.13\r")
        numbers = results.add_results(connection, message, [result(), result("HGB", "13.4", where="R2")])
        ordered = orders.put(connection, order(received_at=NOW), NOW)
        results.add_observations(
            connection,
            [
                decided("O1", numbers[0], message, order_id=ordered),
                decided("O2", numbers[1], message, state=ObservationState.HELD, problem=Problem(Reason.NOT_SANE)),
            ],
        )
        for n in range(3):
            outbox.add(
                connection, destination="emr", lane=f"S{n % 2}", control_id=f"C{n}", body=b"MSH|%d" % n,
                observation_ids=["O1"], now=NOW,
            )  # fmt: skip
        audit.add(connection, at=NOW, who="Tran Thi B", action="release", subject="observation O1")
        journal.finish(connection, message, now=NOW, driver="sysmex_xn", config_version="c1", mapping_version="m1")
        return message, numbers

    message, numbers = await store.submit(job)
    assert numbers == sorted(set(numbers))
    found = await store.read(lambda c: journal.get(c, message))
    assert found is not None and found.raw == b"H|\\^&\rR|1|^^^^WBC|8.13\r" and found.state == "processed"
    assert [one.result.value for one in await store.read(lambda c: results.of_transmission(c, message))] == [
        "8.13",
        "13.4",
    ]
    assert [o.lane for o in await store.read(lambda c: outbox.ready(c, "emr", 10))] == ["S0", "S1"]
    await store.submit(lambda c: outbox.park(c, 1, "AE"))
    assert [o.control_id for o in await store.read(lambda c: outbox.ready(c, "emr", 10))] == ["C1"]
    assert await store.submit(lambda c: outbox.skip(c, 1)) == "emr"
    await store.submit(lambda c: outbox.settle(c, 2, "AA", NOW))
    assert [o.body for o in await store.read(lambda c: outbox.ready(c, "emr", 10))] == [b"MSH|2"]
    assert [item.id for item in await store.read(lambda c: worklist.items(c, waiting_before=later(days=1)))] == ["O2"]
    counts = await store.read(lambda c: worklist.counts(c, since=later(hours=-1)))
    assert counts["observations"] == {"released": 1, "held": 1}
    assert counts["deliveries"] == {"emr": {"skipped": 1, "settled": 1, "waiting": 1}}
    assert [o.code for o in await store.read(lambda c: orders.for_specimen(c, "S1"))] == ["CBC"]
    with pytest.raises(StoreError, match="ReadOnlySqlTransaction"):
        await store.read(append)
    await store.close()
    again = Store.open(url, readonly=True)
    assert again.read_now(lambda c: journal.unprocessed(c, 10)) == []
    again.close_now()


async def test_nothing_is_made_outside_our_schema(url: str) -> None:
    """The options of the url are kept beside ours: all tables stand where it says."""
    Store.open(url).close_now()
    engine = create_engine(url)
    with engine.connect() as connection:
        here = connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")).scalar()
        schema = connection.execute(text("SELECT current_schema()")).scalar()
    engine.dispose()
    assert here == len(metadata.tables) + 1 and str(schema).startswith("labgateway_test_")


async def test_a_poison_job_and_a_lost_connection(url: str) -> None:
    """A bad job fails alone; when the server drops us the job is refused as busy, and the next one is stored."""
    store = Store.open(url)
    jobs = [
        store.submit(append),
        store.submit(lambda c: c.execute(text("SELECT nonsense"))),
        store.submit(lambda c: observe(c, "O1", ObservationState.RELEASED)),
    ]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(o).__name__ for o in outcomes] == ["int", "ProgrammingError", "int"]
    number = await store.submit(lambda c: c.execute(text("SELECT pg_backend_pid()")).scalar_one())
    await store.read(lambda c: None)
    engine = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:n)"), {"n": number})
    engine.dispose()
    with pytest.raises(StoreBusyError):
        await store.submit(append)
    assert store.broken is None
    assert isinstance(await store.submit(append), int)
    await store.close()


async def test_one_gateway_on_one_schema(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is refused; one that lost its connection to another is refused too until that one has gone."""
    monkeypatch.setattr(server, "LOCK_PATIENCE_S", 0.2)
    first = Store.open(url)
    with pytest.raises(StoreError, match="another gateway already works on this database"):
        Store.open(url)
    Store.open(url, readonly=True).close_now()
    number = await first.submit(lambda c: c.execute(text("SELECT pg_backend_pid()")).scalar_one())
    engine = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:n)"), {"n": number})
    engine.dispose()
    monkeypatch.setattr(server, "LOCK_PATIENCE_S", 5.0)
    second = Store.open(url)
    monkeypatch.setattr(server, "LOCK_PATIENCE_S", 0.2)
    for _ in range(2):
        with pytest.raises(StoreBusyError):
            await first.submit(append)
    second.close_now()
    monkeypatch.setattr(server, "LOCK_PATIENCE_S", 5.0)
    assert isinstance(await first.submit(append), int)
    await first.close()
