"""Once a day, at the hour that the config says, by the site's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, create_engine, text

from labgateway.config import SqlDestination
from labgateway.config.reading import parse
from labgateway.delivery import document
from labgateway.errors import LabgatewayError, Reason
from labgateway.gateway import outlets
from labgateway.gateway.daily import Daily, _has_come  # pyright: ignore[reportPrivateUsage]
from labgateway.gateway.reconcile import Proof, asked, proof_of, span_of
from labgateway.store import journal, outbox, worklist
from labgateway.store.differences import Found
from labgateway.store.engine import Store
from tests.delivery.reports import PERSON, SETTINGS, observation, report
from tests.postgresql import schema

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))


def test_the_hour_comes_once() -> None:
    """Looked at every half minute over three days, it comes three times, at the first look after it."""
    looks = [NOON + timedelta(seconds=30 * n + 7) for n in range(3 * 2880)]
    come = [now for before, now in pairwise(looks) if _has_come("03:30", before, now)]
    assert [(now.day, now.hour, now.minute) for now in come] == [(23, 3, 30), (24, 3, 30), (25, 3, 30)]


def test_never_and_clocks_that_jump() -> None:
    assert not _has_come("", NOON, NOON + timedelta(seconds=30))
    assert not _has_come("12:05", NOON, NOON + timedelta(hours=5))
    assert not _has_come("11:59", NOON, NOON - timedelta(minutes=2))
    assert _has_come("12:00", NOON - timedelta(seconds=20), NOON)


def test_a_day_is_the_sites_day() -> None:
    since, until = span_of(NOON.date(), "Asia/Ho_Chi_Minh")
    assert (until - since, since.isoformat()) == (timedelta(days=1), "2026-11-22T00:00:00+07:00")


def test_what_the_command_line_found_arrives_whole() -> None:
    proof = Proof("table", 3, 9, compared=7, found=[Found(4, "A" * 20, "value, unit"), Found(5, "B" * 20, "")])
    assert proof_of(asked(proof)) == proof
    for broken in ({}, {"destination": "x"}, {**asked(proof), "found": [[1, 2]]}, {**asked(proof), "found": 5}):
        with pytest.raises(LabgatewayError):
            proof_of(broken)


async def test_the_daily_run_compares_yesterday_and_takes_out_what_is_old(tmp_path: Path) -> None:
    """A table that lost a row: on the worklist; a message older than keep_days: gone; both said in the log by number only."""
    with schema() as url:
        config = parse(
            f'[store]\nkeep_days = 30\n[destination.table]\nkind = "sql"\nurl = "{url}"\ntable = "lab"\n'.encode(),
            tmp_path / "config.toml",
        )
        section = config.destinations["table"]
        assert isinstance(section, SqlDestination)
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text(outlets.statement(section).rstrip(";")))
        engine.dispose()
        whole = report(observation("WBC", "5.10", id=f"{1:020}"), patient=PERSON)
        body = document.render(whole, SETTINGS, "M1")

        def fill(connection: Connection) -> None:
            number = outbox.add(
                connection, destination="table", lane="A123", control_id="M1", body=body, observation_ids=[],
                now=NOON - timedelta(days=1),
            )  # fmt: skip
            outbox.settle(connection, number, "", NOON)
            for days in (31, 29):
                at = (NOON - timedelta(days=days)).astimezone(UTC)
                message = journal.append(
                    connection, instrument="xn1", protocol="astm", peer="", received_at=at, raw=b"%d" % days
                )
                connection.execute(text("UPDATE transmission SET state = 'processed' WHERE id = :n"), {"n": message})

        store = Store.open(f"sqlite:///{tmp_path}/data/labgateway.db")
        said: list[tuple[str, dict[str, Any]]] = []
        try:
            await store.submit(fill)
            daily = Daily(
                store, lambda: config, lambda event, **more: said.append((event, more)), lambda: NOON.astimezone(UTC)
            )
            await daily.reconcile(NOON)
            await daily.prune()
            (item,) = await store.read(worklist.items)
            assert (item.subject, item.where, item.problem.reason) == ("difference", "table", Reason.NOT_THERE)
            assert await store.read(worklist.count) == 1
            left = await store.read(lambda c: c.execute(text("SELECT raw FROM transmission")).scalars().all())
            assert left == [b"29"]
            assert [(event, more["count"]) for event, more in said] == [("reconciled", 1), ("pruned", 1)]
        finally:
            await store.close()
