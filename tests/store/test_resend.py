"""Sent again: the same bytes in the order of the lane, later ones behind, and nobody who has something on its way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, create_engine, event

from labgateway.store import migrate, outbox, resend, sqlite
from labgateway.store.engine import Store
from tests.postgresql import schema
from tests.store.kit import NOW


@pytest.fixture(params=["sqlite", "postgresql"])
def c(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A new database: in memory, and on PostgreSQL where a server answers on this machine."""
    if request.param == "sqlite":
        engine = create_engine("sqlite://", module=sqlite.module())
        event.listen(engine, "connect", lambda c, _: setattr(c, "isolation_level", None))
        migrate.upgrade(engine, lambda _: None)
        with engine.connect() as connection:
            yield connection
        return
    with schema() as url:
        Store.open(url).close_now()
        engine = create_engine(url)
        with engine.begin() as connection:
            yield connection
        engine.dispose()


def add(c: Connection, lane: str, name: str, *, days: int = 0, settled: bool = True, destination: str = "emr") -> int:
    """One message, made so many days after NOW."""
    at = NOW + timedelta(days=days)
    number = outbox.add(
        c, destination=destination, lane=lane, control_id=name, body=name.encode(), observation_ids=[], now=at
    )
    if settled:
        outbox.settle(c, number, "AA", at)
    return number


def waiting(c: Connection, destination: str = "emr") -> list[str]:
    """What would be sent, lane by lane until nothing is left."""
    sent: list[str] = []
    while ready := outbox.ready(c, destination, 10):
        for one in ready:
            sent.append(one.control_id)
            outbox.settle(c, one.id, "AA", NOW)
    return sent


def again(c: Connection, firsts: dict[str, int], newest: int | None = None) -> resend.Again:
    """Reopen these and what came behind them."""
    lanes = resend.with_later(c, "emr", firsts)
    return resend.reopen(c, "emr", lanes, resend.newest(c) if newest is None else newest)


def test_one_goes_again_with_all_that_came_behind_it(c: Connection) -> None:
    """The old value must not be the last that the destination hears."""
    first, _, _ = add(c, "A", "A1"), add(c, "B", "B1"), add(c, "A", "A2")
    found = resend.of_one(c, first)
    assert found == ("emr", {"A": first})
    assert again(c, {"A": first}) == resend.Again(2, 0)
    assert waiting(c) == ["A1", "A2"]
    assert waiting(c) == []


def test_a_day_and_what_was_corrected_after_it(c: Connection) -> None:
    """Messages of that day; a correction of the next day goes too; other days, destinations and parked ones do not."""
    add(c, "A", "A0", days=-1)
    add(c, "A", "A1")
    add(c, "A", "A2", days=1)
    add(c, "B", "B2", days=1)
    add(c, "C", "C1", destination="his")
    add(c, "D", "D1")
    outbox.park(c, add(c, "D", "D2", settled=False), "AE")
    firsts = resend.of_day(c, "emr", NOW, NOW + timedelta(days=1))
    assert sorted(firsts) == ["A", "D"]
    assert again(c, firsts) == resend.Again(2, 1)
    assert waiting(c) == ["A1", "A2"]


def test_what_was_settled_between_looking_and_reopening_goes_too(c: Connection) -> None:
    """A correction that was sent meanwhile is still the last one."""
    first = add(c, "A", "A1")
    newest = resend.newest(c)
    lanes = resend.with_later(c, "emr", {"A": first})
    add(c, "A", "A2")
    assert resend.reopen(c, "emr", lanes, newest) == resend.Again(2, 0)
    assert waiting(c) == ["A1", "A2"]


def test_what_is_not_settled_cannot_go_again(c: Connection) -> None:
    """Waiting and parked ones have their own way; a skipped one may."""
    number = add(c, "A", "A1", settled=False)
    assert resend.of_one(c, number) is None
    outbox.park(c, number, "AE")
    assert resend.of_one(c, number) is None
    outbox.skip(c, number)
    assert resend.of_one(c, number) == ("emr", {"A": number})
    assert again(c, {"A": number}) == resend.Again(1, 0)
    assert waiting(c) == ["A1"]
