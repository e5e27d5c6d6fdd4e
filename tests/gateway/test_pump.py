"""Processing steps back while the intake is faster, and no longer than is decent."""

from __future__ import annotations

import asyncio
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from labgateway.gateway.pump import LONGEST_PAUSE_S, PATIENCE_S, YIELD, Pace, Pump
from labgateway.instruments.library import Library
from labgateway.matching.attribute import Policy
from labgateway.pipeline.rules import Rules
from labgateway.store import journal
from labgateway.store.engine import Store


def test_a_calm_intake_costs_no_pause() -> None:
    pace = Pace()
    assert pace.pause_s(0.0, 0.1, stored=8, processed=8, left=20) == 0
    assert pace.pause_s(0.1, 0.2, stored=0, processed=8, left=12) == 0


def test_a_faster_intake_has_most_of_the_time() -> None:
    pace = Pace()
    assert pace.pause_s(5.0, 5.02, stored=30, processed=8, left=100) == YIELD * (5.02 - 5.0)


def test_a_batch_for_which_the_disk_was_slow_is_no_reason_to_wait_long() -> None:
    """It kept the interpreter from nobody: seconds of a commit do not become minutes of a pause."""
    assert Pace().pause_s(5.0, 11.0, stored=4, processed=1, left=3) == LONGEST_PAUSE_S <= 0.5


def test_with_nothing_left_there_is_nothing_to_put_off() -> None:
    assert Pace().pause_s(0.0, 0.1, stored=30, processed=8, left=0) == 0


def test_patience_ends_and_begins_anew_after_catching_up() -> None:
    pace = Pace()
    assert pace.pause_s(0.0, 0.1, stored=30, processed=8, left=50) > 0
    assert pace.pause_s(PATIENCE_S, PATIENCE_S + 0.1, stored=30, processed=8, left=50) == 0
    assert pace.pause_s(PATIENCE_S + 1, PATIENCE_S + 2, stored=0, processed=8, left=0) == 0
    assert pace.pause_s(PATIENCE_S + 3, PATIENCE_S + 4, stored=30, processed=8, left=50) > 0


@given(st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(9, 100)), min_size=1, max_size=200))
def test_never_behind_for_longer_than_patience_with_pauses(batches: list[tuple[float, int]]) -> None:
    """However the intake rages: once it has been behind for PATIENCE_S, processing has all the time it can get."""
    pace, now = Pace(), 0.0
    for worked, stored in batches:
        pause = pace.pause_s(now, now + worked, stored=stored, processed=8, left=1000)
        now += worked
        assert pause == (0.0 if now >= PATIENCE_S else pytest.approx(min(YIELD * worked, LONGEST_PAUSE_S)))
        now += pause


async def test_mirth_3089_what_is_taken_up_at_a_start_is_not_held_in_memory(tmp_path: Path) -> None:
    """Sixty megabytes wait after a crash: their numbers are taken up, and what is read is a batch at a time."""
    store = Store.open(f"sqlite:///{tmp_path}/labgateway.db")
    moment = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)

    def keep(connection: Connection) -> None:
        for n in range(60):
            raw = b"H|\\^&|||X\r" + b"C|1|I|%d\r" % n + b"x" * 1_000_000
            journal.append(connection, instrument="a", protocol="astm", peer="", received_at=moment, raw=raw)

    await store.submit(keep)
    rules = Rules("v", ZoneInfo("UTC"), Policy(), Library([]), {}, ())
    done: list[int] = []
    pump = Pump(store, lambda: rules, lambda n, _: done.append(n), say=lambda *_, **__: None, utcnow=lambda: moment)
    tracemalloc.start()
    await pump.take_up(None)
    assert len(pump) == 60 and tracemalloc.get_traced_memory()[1] < 2_000_000
    work = asyncio.create_task(pump.run())
    while len(done) < 60:
        await asyncio.sleep(0)
    work.cancel()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000
    await store.close()
