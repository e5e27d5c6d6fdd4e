"""One writer, group commit, and what it does when the disk or a job fails."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, inspect

from labgateway.errors import StoreError
from labgateway.model import Kind, Order, Patient, Result
from labgateway.store import journal, orders, outbox, results, sqlite
from labgateway.store.engine import Store
from labgateway.store.tables import metadata

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def keep(connection: Connection, raw: bytes = b"H|\\^&\rL|1|N\r", **more: object) -> int:
    return journal.append(
        connection,
        instrument="xn1",
        protocol="astm",
        peer="",
        received_at=NOW,
        raw=raw,
        **more,  # type: ignore[arg-type]
    )


async def test_settings_are_read_back_and_the_schema_is_the_tables(tmp_path: Path) -> None:
    """WAL and synchronous=FULL hold on the writer, and the migration makes what tables.py says."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    try:
        for name, _, expected in sqlite.PRAGMAS:
            found = await store.submit(lambda c, name=name: c.exec_driver_sql(f"PRAGMA {name}").scalar())
            assert str(found).lower() == expected, name
    finally:
        await store.close()
    found = inspect(create_engine(f"sqlite:///{tmp_path}/l.db"))
    for table in metadata.sorted_tables:
        assert {c["name"] for c in found.get_columns(table.name)} == set(table.columns.keys())


def test_an_sqlite_with_the_wal_bug_is_refused() -> None:
    """Only libraries with the WAL-reset fix count as sound."""
    assert [sqlite.sound(v) for v in ((3, 40, 1), (3, 51, 2), (3, 51, 3), (3, 50, 7), (3, 44, 6), (3, 53, 4))] == [
        False, False, True, True, True, True,
    ]  # fmt: skip


async def test_a_poison_job_harms_only_itself(tmp_path: Path) -> None:
    """Of jobs that share a transaction one that raises is told its error; the others are on disk."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    try:

        def poison(connection: Connection) -> int:
            keep(connection, b"poison")
            raise ValueError("mine")

        jobs = [store.submit(poison if n == 3 else keep) for n in range(8)]
        done = await asyncio.gather(*jobs, return_exceptions=True)
        assert isinstance(done[3], ValueError)
        assert all(isinstance(one, int) for n, one in enumerate(done) if n != 3)
        assert await store.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM transmission").scalar()) == 7
        assert store.broken is None
    finally:
        await store.close()


async def test_foreground_goes_first(tmp_path: Path) -> None:
    """Background jobs that wait do not keep a foreground job waiting behind all of them."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    try:
        ran: list[str] = []
        first = [store.submit(lambda c, n=n: ran.append(f"b{n}"), background=True) for n in range(40)]
        front = store.submit(lambda c: ran.append("front"))
        await asyncio.gather(*first, front)
        assert ran.index("front") < 30
    finally:
        await store.close()


async def test_a_second_gateway_is_refused(tmp_path: Path) -> None:
    """The data folder belongs to one process; a reader beside it is welcome."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    try:
        await store.submit(keep)
        with pytest.raises(StoreError, match="process"):
            Store.open(f"sqlite:///{tmp_path}/l.db")
        reader = Store.open(f"sqlite:///{tmp_path}/l.db", readonly=True)
        assert reader.read_now(lambda c: journal.unprocessed(c, 10)) == [1]
        reader.close_now()
    finally:
        await store.close()


async def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    """A message whose bytes changed on disk is not given out as if nothing had happened."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    number = await store.submit(keep)
    await store.close()
    damaged = sqlite3.connect(tmp_path / "l.db")
    damaged.execute("UPDATE transmission SET raw = x'00' WHERE id = ?", (number,))
    damaged.commit()
    damaged.close()
    reader = Store.open(f"sqlite:///{tmp_path}/l.db", readonly=True)
    with pytest.raises(StoreError, match="damaged"):
        reader.read_now(lambda c: journal.get(c, number))
    reader.close_now()


CHILD = textwrap.dedent(
    """
    import asyncio, sys
    from datetime import UTC, datetime
    from labgateway.store import journal
    from labgateway.store.engine import Store

    async def main():
        broken = []
        store = Store.open(f"sqlite:///{sys.argv[1]}/l.db", on_broken=broken.append)
        seen = []
        for n in range(40):
            try:
                await store.submit(lambda c: journal.append(
                    c, instrument="a", protocol="astm", peer="", received_at=datetime.now(UTC), raw=b"x" * 2000))
                seen.append("ok")
            except Exception as error:
                seen.append(type(error).__name__)
        await asyncio.sleep(0.1)
        print(",".join(seen), len(broken))
    asyncio.run(main())
    """
)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_after_a_failed_fsync_nothing_succeeds(tmp_path: Path) -> None:
    """One EIO from fsync: from then on every job fails, and the owner is told once."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    store.close_now()
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync",
         "-e", "inject=fdatasync,fsync:error=EIO:when=6", sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    seen, told = done.stdout.split()
    words = seen.split(",")
    assert "StoreBrokenError" in words, done.stdout + done.stderr
    first = words.index("StoreBrokenError")
    assert "ok" not in words[first:]
    assert told == "1"


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """When the file may not grow, jobs are refused as full and nothing breaks what is on disk."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    store.close_now()
    limit = (tmp_path / "l.db").stat().st_size + 40_000
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    check = sqlite3.connect(tmp_path / "l.db")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    acknowledged = done.stdout.split(" ")[0].split(",").count("ok")
    assert acknowledged <= check.execute("SELECT count(*) FROM transmission").fetchone()[0]
    assert acknowledged < 40


async def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    """Every field of a result survives the store."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    try:
        said = Result(
            Kind.CONTROL, "S1", "WBC", "<0.10", "10*9/L", flags=("L", "A"), comments=("một", "hai"), lot="L9", level="2",
            measured_at=datetime.fromisoformat("2026-11-22T08:15:00"), measured_at_text="20261122081500", where="R1",
        )  # fmt: skip
        number = await store.submit(keep)
        await store.submit(lambda c: results.add_results(c, number, [said]))
        row = await store.read(
            lambda c: c.exec_driver_sql("SELECT kind, specimen, code, value, unit, more FROM result").one()
        )
        assert results.unpack(*row) == said
    finally:
        await store.close()


async def test_an_order_that_changes_its_patient_remembers_when(tmp_path: Path) -> None:
    """A repeat changes nothing; another patient on the same order is written down with its moment."""
    store = Store.open(f"sqlite:///{tmp_path}/l.db")
    try:
        order = Order("emr", "S1", "P1", "CBC", Patient("A"), received_at=NOW)
        other = Order("emr", "S1", "P1", "CBC", Patient("B"), received_at=NOW)
        later = NOW + timedelta(hours=1)
        for one, at in ((order, NOW), (order, later), (other, later)):
            await store.submit(lambda c, one=one, at=at: orders.put(c, one, at))
            (found,) = await store.read(lambda c: orders.for_specimen(c, "S1"))
            assert found.patient_changed_at == (later if one is other else None)
    finally:
        await store.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(("settle", "park", "retry"))), max_size=25))
def test_a_lane_is_strictly_in_order(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]) -> None:
    """Only the oldest unsettled delivery of a lane is ever ready; a parked one stops its own lane only."""
    folder = tmp_path_factory.mktemp("lanes")

    async def play() -> None:
        store = Store.open(f"sqlite:///{folder}/l.db")
        try:
            lanes: dict[str, list[tuple[int, str]]] = {}
            for n in range(12):
                lane = "ABC"[n % 3]
                number = await store.submit(
                    lambda c, n=n, lane=lane: outbox.add(
                        c, destination="emr", lane=lane, control_id=f"C{n}", body=b"x", observation_ids=[], now=NOW
                    )
                )
                lanes.setdefault(lane, []).append((number, "waiting"))
            for lane, what in steps:
                ready = await store.read(lambda c: outbox.ready(c, "emr", 50))
                expected = {left[0][0] for left in lanes.values() if left and left[0][1] == "waiting"}
                assert {one.id for one in ready} == expected
                if not lanes[lane] or lanes[lane][0][1] == "parked":
                    continue
                number = lanes[lane][0][0]
                if what == "settle":
                    await store.submit(lambda c, i=number: outbox.settle(c, i, "AA", NOW))
                    lanes[lane].pop(0)
                elif what == "park":
                    await store.submit(lambda c, i=number: outbox.park(c, i, "AE"))
                    lanes[lane][0] = (number, "parked")
                else:
                    await store.submit(lambda c, i=number: outbox.retry_later(c, i, "", refused=False))
        finally:
            await store.close()

    asyncio.run(play())
