"""What goes in comes out: messages, results, observations, orders, deeds; each change bound to the row that was seen."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, event, text

from labgateway.errors import Problem, Reason, StoreError
from labgateway.model import Attachment, Kind, ObservationState, OrderState, Patient, Priority, Result, Status
from labgateway.store import audit, journal, migrate, orders, outbox, results, sqlite, worklist
from labgateway.store.engine import Store
from labgateway.store.tables import from_us, to_us
from tests.store.kit import NOW, append, decided, later, observe, order, result

# --- moments ---


@given(st.datetimes(timezones=st.timezones()), st.datetimes(timezones=st.timezones()))
def test_moments_are_exact_and_sort(one: datetime, other: datetime) -> None:
    """To the microsecond, whatever zone they come from; the later one is the greater number."""
    # In UTC: what Python says of two zones is another matter where a clock was set back or forward.
    utc, later_or_not = one.astimezone(UTC), other.astimezone(UTC)
    assert from_us(to_us(one)) == utc
    assert (to_us(one) < to_us(other)) == (utc < later_or_not)


def test_a_moment_without_zone_is_refused() -> None:
    """A naive time is local to somebody: never stored as UTC."""
    with pytest.raises(ValueError, match="without time zone"):
        to_us(datetime(2026, 11, 22))  # noqa: DTZ001  # what must be refused


# --- the journal ---


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raws=st.lists(st.binary(max_size=5000), min_size=1, max_size=8))
async def test_raw_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, raws: list[bytes]) -> None:
    """Any bytes, in the order in which they came, with their hash and all that was known of them."""
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('raw')}/labgateway.db")
    numbers = [await store.submit(lambda c, raw=raw: append(c, raw, peer="10.20.0.31:4001")) for raw in raws]
    assert await store.read(lambda c: journal.unprocessed(c, 100)) == numbers == sorted(numbers)
    for number, raw in zip(numbers, raws, strict=True):
        message = await store.read(lambda c, n=number: journal.get(c, n))
        assert message == journal.Transmission(
            number, "xn1", "astm", "10.20.0.31:4001", NOW, raw, "stored", None, None, None, None,
            hashlib.sha256(raw).hexdigest(),
        )  # fmt: skip
    await store.close()


async def test_a_message_of_nobody(store: Store) -> None:
    """A number that was never given is None, not an error."""
    assert await store.read(lambda c: journal.get(c, 4711)) is None


async def test_a_flipped_byte_is_found(store: Store) -> None:
    """Bytes that changed on disk are given to nobody: neither decoded nor sent."""

    def job(connection: Connection) -> tuple[int, int]:
        number = append(connection, b"H|\\^&\rR|1|^^^^WBC|8.13\r")
        outbox.add(
            connection, destination="emr", lane="S1", control_id="C1", body=b"OBX||NM|||8.13", observation_ids=[], now=NOW
        )  # fmt: skip
        connection.execute(text("UPDATE transmission SET raw = CAST(replace(raw, '8.13', '9.13') AS BLOB)"))
        connection.execute(text("UPDATE delivery SET body = CAST(replace(body, '8.13', '9.13') AS BLOB)"))
        return number, number

    number, _ = await store.submit(job)
    with pytest.raises(StoreError, match="message 1 is damaged"):
        await store.read(lambda c: journal.get(c, number))
    assert [owed.damaged for owed in await store.read(lambda c: outbox.ready(c, "emr", 10))] == [True]


async def test_a_message_goes_its_way(store: Store) -> None:
    """Stored, parked with its reason, opened again, processed; dismissed only from where a person waits for it."""
    number = await store.submit(append)

    def finish(connection: Connection, problem: Problem | None) -> None:
        journal.finish(
            connection, number, now=later(seconds=1), driver="sysmex_xn", config_version="c1", mapping_version="m1",
            problem=problem,
        )  # fmt: skip

    async def look() -> journal.Transmission:
        message = await store.read(lambda c: journal.get(c, number))
        assert message is not None
        return message

    assert not await store.submit(lambda c: journal.reopen(c, number)), "it is open"
    assert not await store.submit(lambda c: journal.dismiss(c, number))
    await store.submit(lambda c: finish(c, Problem(Reason.UNREADABLE, "row 3")))
    parked = await look()
    assert (parked.state, parked.problem) == ("parked", Problem(Reason.UNREADABLE, "row 3"))
    assert (parked.driver, parked.config_version, parked.mapping_version) == ("sysmex_xn", "c1", "m1")
    assert await store.read(lambda c: journal.unprocessed(c, 10)) == []
    assert await store.submit(lambda c: journal.reopen(c, number))
    assert (await look()).problem is None
    assert await store.read(lambda c: journal.unprocessed(c, 10)) == [number]
    await store.submit(lambda c: finish(c, None))
    assert (await look()).state == "processed"
    assert not await store.submit(lambda c: journal.dismiss(c, number))
    broken = await store.submit(lambda c: append(c, complete=False, why="silent for 30 s"))
    assert not await store.submit(lambda c: journal.reopen(c, broken)), "half a message is never processed"
    assert await store.submit(lambda c: journal.dismiss(c, broken))
    assert not await store.submit(lambda c: journal.dismiss(c, broken))


async def test_frame_by_frame(store: Store) -> None:
    """Parts are kept as one incomplete message; its whole replaces them; another line's parts stay."""

    def part(connection: Connection, raw: bytes, key: str) -> int:
        return journal.append_part(
            connection, instrument="xn1", protocol="astm", peer="", received_at=NOW, raw=raw, part_key=key
        )

    first = await store.submit(lambda c: part(c, b"one ", "a"))
    other = await store.submit(lambda c: part(c, b"uno ", "b"))
    assert await store.submit(lambda c: part(c, b"two ", "a")) == first
    kept = await store.read(lambda c: journal.get(c, first))
    assert kept is not None
    assert (kept.raw, kept.state) == (b"one two ", "incomplete")
    assert kept.problem is not None and kept.problem.reason is Reason.INCOMPLETE
    whole = await store.submit(lambda c: append(c, b"one two three", part_key="a"))
    states = await store.read(lambda c: c.execute(text("SELECT id, state FROM transmission")).all())
    assert dict(map(tuple, states)) == {first: "superseded", other: "incomplete", whole: "stored"}
    assert await store.read(lambda c: journal.unprocessed(c, 10)) == [whole]


async def test_a_repeat_supersedes_its_own_fragments_only(store: Store) -> None:
    """Same instrument, same specimen as a field of its own, not too long ago: superseded. All else waits for a person."""

    def job(connection: Connection) -> dict[str, int]:
        def fragment(raw: bytes, **more: object) -> int:
            return append(connection, raw, complete=False, why="cut", **more)

        return {
            "mine": fragment(b"\x022O|1||^^  S100^B|^^^^WBC\r\x0338\r\n"),
            "alone": fragment(b"O|1|S100"),
            "longer": fragment(b"O|1|S1001|"),
            "longer too": fragment(b"O|1|XS100|"),
            "shorter": fragment(b"O|1|S10"),
            "nobody's": fragment(b"H|\\^&|||XN"),
            "another line": fragment(b"O|1|S100|", instrument="xn2"),
            "long ago": fragment(b"O|1|S100|", received_at=later(days=-4)),
        }

    ids = await store.submit(job)
    done = await store.submit(lambda c: journal.supersede_incomplete(c, "xn1", ["S100", "S2"], later(days=-3)))
    rows = await store.read(
        lambda c: c.execute(text("SELECT id FROM transmission WHERE state = 'superseded'")).scalars().all()
    )
    assert set(rows) == {ids["mine"], ids["alone"]} and done == 2


async def test_a_reason_of_a_newer_version(store: Store) -> None:
    """A reason this version does not know is shown as our defect, by its name; it does not raise."""
    number = await store.submit(lambda c: append(c, complete=False))
    await store.submit(lambda c: c.execute(text("UPDATE transmission SET reason = 'TOO_PURPLE', detail = 'R-4'")))
    message = await store.read(lambda c: journal.get(c, number))
    assert message is not None and message.problem == Problem(Reason.DEFECT, "TOO_PURPLE R-4")


@settings(max_examples=30, deadline=None)
@given(hours=st.lists(st.integers(0, 50), max_size=30), wanted=st.integers(-1, 51), gap=st.sets(st.integers(1, 30)))
def test_the_first_message_since(hours: list[int], wanted: int, gap: set[int]) -> None:
    """The number found parts the messages before a moment from those at or after it, also where numbers are missing."""
    engine = create_engine("sqlite://", module=sqlite.module())
    event.listen(engine, "connect", lambda c, _: setattr(c, "isolation_level", None))
    migrate.upgrade(engine, lambda _: None)
    with engine.connect() as connection:
        for hour in sorted(hours):
            append(connection, received_at=later(hours=hour))
        connection.exec_driver_sql(f"DELETE FROM transmission WHERE id IN ({','.join(map(str, gap)) or 'NULL'})")
        first = journal.first_since(connection, later(hours=wanted))
        rows = connection.execute(text("SELECT id, received_at FROM transmission")).all()
    assert all((row.id >= first) == (from_us(row.received_at) >= later(hours=wanted)) for row in rows)


# --- results and observations ---

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
MAYBE = st.none() | TEXT.filter(bool)
RESULTS = st.builds(
    Result,
    kind=st.sampled_from(Kind), specimen=MAYBE, code=TEXT, value=st.none() | TEXT, unit=st.none() | TEXT, patient=MAYBE,
    flags=st.lists(TEXT, max_size=3).map(tuple), status=st.sampled_from(Status),
    measured_at=st.none() | st.datetimes(), measured_at_text=TEXT,
    problem=st.none() | st.builds(Problem, st.sampled_from(Reason), TEXT), where=TEXT, patient_name=MAYBE,
    birth_date=MAYBE, sex=MAYBE, specimen_type=MAYBE, range=MAYBE, operator=MAYBE,
    comments=st.lists(TEXT, max_size=2).map(tuple), run=MAYBE, dilution=MAYBE, serial=MAYBE, lot=MAYBE, level=MAYBE,
    attachments=st.lists(st.builds(Attachment, TEXT, TEXT, TEXT), max_size=2).map(tuple),
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(RESULTS, max_size=6))
async def test_results_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, said: list[Result]) -> None:
    """Every field of every result, ``5.10`` and ``007`` included, in the order of the message."""
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('said')}/labgateway.db")

    def job(connection: Connection) -> int:
        message = append(connection)
        numbers = results.add_results(connection, message, said)
        assert numbers == sorted(set(numbers)) and len(numbers) == len(said)
        results.add_observations(
            connection,
            [decided(f"O{n}", number, message, specimen=said[n].specimen) for n, number in enumerate(numbers)],
        )
        return message

    await store.submit(append)
    message = await store.submit(job)
    found = await store.read(lambda c: results.of_transmission(c, message))
    assert [one.result for one in found] == said
    await store.close()


async def test_an_observation_comes_back_as_it_was_decided(store: Store) -> None:
    """Every column of observation; versions count from 1."""

    def job(connection: Connection) -> results.Decided:
        message = append(connection)
        (number,) = results.add_results(connection, message, [result()])
        ordered = orders.put(connection, order(), NOW)
        one = decided(
            "01KAHQ5ZK80000000001", number, message, order_id=ordered, beside_id=ordered, place_patient="000123",
            code="HGB", name="Huyết sắc tố", loinc="718-7", moh="22.0121.1369", value="134", unit="g/L",
            original_value="13.4", original_unit="g/dL", state=ObservationState.HELD,
            problem=Problem(Reason.NOT_SANE, "above 100"), replaces="01KAHQ5ZK80000000000", duplicate_of="X",
            decided_at=later(seconds=2), decided_by="Tran Thi B",
        )  # fmt: skip
        results.add_observations(connection, [one])
        return one

    one = await store.submit(job)
    found = await store.read(lambda c: results.get(c, one.id))
    assert found is not None
    assert found.row_version == 1 and found.result == result()
    for name in results.Decided.__slots__:
        assert getattr(found, name) == getattr(one, name), name
    assert await store.read(lambda c: results.get(c, "nobody")) is None


async def test_a_stale_page_decides_nothing(store: Store) -> None:
    """Two people look at the same row; the second decision names an old version and changes nothing."""
    await store.submit(lambda c: observe(c, "A", ObservationState.HELD, Problem(Reason.MANUAL_RELEASE)))
    seen = await store.read(lambda c: results.get(c, "A"))
    assert seen is not None
    released = decided("A", seen.result_id, seen.transmission_id, decided_by="Tran Thi B")
    rejected = replace(released, state=ObservationState.REJECTED, decided_by="Le Van C")
    assert await store.submit(lambda c: results.redecide(c, released, seen.row_version))
    assert not await store.submit(lambda c: results.redecide(c, rejected, seen.row_version))
    now = await store.read(lambda c: results.get(c, "A"))
    assert now is not None
    assert (now.state, now.decided_by, now.row_version) == (ObservationState.RELEASED, "Tran Thi B", 2)


async def test_what_waits_is_found_by_age(store: Store) -> None:
    """Waiting since before a moment, oldest first, as many as asked for; held and released ones are not among them."""

    def job(connection: Connection) -> None:
        for n in range(5):
            observe(connection, f"W{n}", ObservationState.WAITING, received_at=later(hours=n))
        observe(connection, "H", ObservationState.HELD, Problem(Reason.NO_ORDER))
        observe(connection, "R", ObservationState.RELEASED)

    await store.submit(job)

    async def waiting(hours: float, limit: int = 10) -> list[str]:
        found = await store.read(lambda c: results.waiting_since(c, later(hours=hours), limit))
        return [one.id for one in found]

    assert await waiting(2.5) == ["W0", "W1", "W2"]
    assert await waiting(99, 2) == ["W0", "W1"]
    assert await waiting(0) == []
    assert [one.id for one in await store.read(results.held)] == ["H"]
    assert [one.id for one in await store.read(lambda c: results.held(c, "xn2"))] == []
    assert await store.read(results.counts) == {"waiting": 5, "held": 1, "released": 1}


async def test_of_a_specimen_in_the_order_of_receipt(store: Store) -> None:
    """All of exactly this id, by receipt; since cuts the older ones off."""

    def job(connection: Connection) -> None:
        observe(connection, "B", ObservationState.RELEASED, received_at=later(hours=2))
        observe(connection, "A", ObservationState.RELEASED, received_at=later(hours=1))
        observe(connection, "other", ObservationState.RELEASED, specimen="S10")
        observe(connection, "none", ObservationState.HELD, specimen=None)

    await store.submit(job)
    assert [one.id for one in await store.read(lambda c: results.of_specimen(c, "S1"))] == ["A", "B"]
    since = await store.read(lambda c: results.of_specimen(c, "S1", later(hours=2)))
    assert [one.id for one in since] == ["B"]
    assert await store.read(lambda c: results.of_specimen(c, "")) == []


# --- orders ---


async def test_an_order_comes_back_and_a_repeat_is_harmless(store: Store) -> None:
    """Every field; the same key again changes the row, keeps its number and when it first came."""
    full = order(
        filler="F9", service="CBC^Công thức máu^L", ward="KHOA NOI", patient_class="I", specimen_type="WB^Blood",
        collected_at=later(hours=-1), collected_text="20261122071500", priority=Priority.STAT, received_at=NOW,
    )  # fmt: skip
    number = await store.submit(lambda c: orders.put(c, full, NOW))
    assert await store.read(lambda c: orders.get(c, number)) == replace(full, id=number)
    changed = replace(full, priority=Priority.ROUTINE, received_at=later(hours=5))
    assert await store.submit(lambda c: orders.put(c, changed, later(hours=5))) == number
    found = await store.read(lambda c: orders.for_specimen(c, "S1"))
    assert found == [replace(full, id=number, priority=Priority.ROUTINE)]
    assert await store.read(lambda c: orders.get(c, 99)) is None


async def test_another_patient_on_an_order_is_remembered(store: Store) -> None:
    """A repeat changes nothing; another patient on the same order is written down with its moment."""
    for patient, at in (("A", 0), ("A", 1), ("B", 2), ("B", 3)):
        ordered = order(patient=Patient(patient), received_at=NOW)
        await store.submit(lambda c, o=ordered, at=at: orders.put(c, o, later(hours=at)))
        (found,) = await store.read(lambda c: orders.for_specimen(c, "S1"))
        assert found.patient_changed_at == (None if patient == "A" else later(hours=2))


async def test_orders_are_cancelled_as_far_as_named(store: Store) -> None:
    """By placer number; by code and specimen where they are said; another source's order of that number stays."""

    def job(connection: Connection) -> None:
        for specimen, code in (("S1", "CBC"), ("S1", "GLU"), ("S2", "CBC")):
            orders.put(connection, order(specimen=specimen, code=code), NOW)
        orders.put(connection, order(source="other"), NOW)

    await store.submit(job)

    async def cancel(code: str, specimen: str | None, source: str = "emr") -> list[str]:
        found = await store.submit(
            lambda c: orders.cancel(c, source=source, placer="P1", code=code, specimen=specimen, now=later(hours=1))
        )
        return sorted(set(found.values()))

    async def left() -> set[tuple[str, str, str]]:
        found = [o for s in ("S1", "S2") for o in await store.read(lambda c, s=s: orders.for_specimen(c, s))]
        return {(o.source, o.specimen, o.code) for o in found if o.state is OrderState.OPEN}

    assert await cancel("CBC", "S1") == ["S1"]
    assert await left() == {("emr", "S1", "GLU"), ("emr", "S2", "CBC"), ("other", "S1", "CBC")}
    assert await cancel("", None) == ["S1", "S2"]
    assert await left() == {("other", "S1", "CBC")}
    assert await cancel("", None, "nobody") == []


async def test_order_messages_are_kept_with_their_answer(store: Store) -> None:
    """Bytes in, bytes out, and what we said."""
    await store.submit(
        lambda c: orders.keep_message(
            c, source="emr", peer="10.20.0.9:1", received_at=NOW, raw=b"MSH|1", code="AE", answer=b"MSH|2"
        )
    )
    row = await store.read(lambda c: c.execute(text("SELECT * FROM order_message")).one())
    assert (row.raw, row.answer, row.code, row.sha256) == (
        b"MSH|1",
        b"MSH|2",
        "AE",
        hashlib.sha256(b"MSH|1").hexdigest(),
    )


# --- what waits for a person, and what people did ---


async def test_the_worklist_holds_everything_that_waits_and_nothing_else(store: Store) -> None:
    """Parked and incomplete messages, held observations, refused deliveries, late ones; each with reason, oldest first."""

    def job(connection: Connection) -> None:
        append(connection, received_at=later(hours=1))
        parked = append(connection, received_at=later(hours=2))
        journal.finish(
            connection, parked, now=NOW, driver=None, config_version="c", mapping_version=None,
            problem=Problem(Reason.UNREADABLE, "row 2"),
        )  # fmt: skip
        append(connection, received_at=later(hours=3), complete=False, why="cut")
        observe(connection, "H", ObservationState.HELD, Problem(Reason.NOT_SANE), received_at=later(hours=4))
        observe(connection, "late", ObservationState.WAITING, received_at=later(hours=5))
        observe(connection, "early", ObservationState.WAITING, received_at=later(hours=50))
        observe(connection, "R", ObservationState.RELEASED)
        for n in (1, 2):
            number = outbox.add(
                connection, destination="emr", lane=f"S{n}", control_id=f"C{n}", body=b"x", observation_ids=["R"],
                now=later(hours=6),
            )  # fmt: skip
            if n == 1:
                outbox.park(connection, number, "AE: unknown patient")

    await store.submit(job)
    found = await store.read(lambda c: worklist.items(c, waiting_before=later(hours=10)))
    assert [(i.subject, i.id, i.problem.reason) for i in found] == [
        ("message", "2", Reason.UNREADABLE),
        ("message", "3", Reason.INCOMPLETE),
        ("observation", "H", Reason.NOT_SANE),
        ("observation", "late", Reason.NO_ORDER),
        ("delivery", "1", Reason.REFUSED),
    ]
    assert [i.row_version for i in found] == [0, 0, 1, 1, 0]
    assert found[-1].answer == "AE: unknown patient"
    assert await store.read(lambda c: worklist.count(c, waiting_before=later(hours=10))) == len(found)
    assert await store.read(worklist.count) == len(await store.read(worklist.items)) == 4
    assert len(await store.read(lambda c: worklist.items(c, limit=2))) == 2
    fates = await store.read(lambda c: worklist.deliveries_of(c, "R"))
    assert [(f["delivery"], f["state"], f["attempts"]) for f in fates] == [(1, "parked", 1), (2, "waiting", 0)]
    assert await store.read(lambda c: results.link_of(c, ["R", "H"])) == {"R": [1, 2]}


async def test_the_counts_add_up(store: Store) -> None:
    """Every row is counted once; since leaves out only what is done with and old."""

    def job(connection: Connection) -> None:
        for n in range(12):
            state = list(ObservationState)[n % len(ObservationState)]
            message = append(connection, received_at=later(hours=n))
            (number,) = results.add_results(connection, message, [result()])
            results.add_observations(connection, [decided(f"O{n}", number, message, state=state)])
        for n in range(4):
            outbox.add(
                connection, destination="ab"[n % 2], lane="S1", control_id=f"C{n}", body=b"x", observation_ids=[],
                now=later(hours=n), shadow=n == 3,
            )  # fmt: skip
        orders.put(connection, order(), NOW)

    await store.submit(job)
    found = await store.read(worklist.counts)
    assert sum(found["observations"].values()) == sum(found["messages"].values()) == 12
    assert found["deliveries"] == {"a": {"waiting": 2}, "b": {"waiting": 1, "shadow": 1}}
    assert found["oldest_waiting"] == {"a": NOW.isoformat(), "b": later(hours=1).isoformat()}
    assert found["orders"] == {"open": 1}
    late = (await store.read(lambda c: worklist.counts(c, since=later(hours=7))))["observations"]
    states = [list(ObservationState)[n % len(ObservationState)] for n in range(12)]
    for state in ObservationState:
        always = state in (ObservationState.WAITING, ObservationState.HELD)
        assert late.get(state.value, 0) == (states if always else states[7:]).count(state)


async def test_deeds_are_kept_in_their_order(store: Store) -> None:
    """Who, what, when and why, by subject."""

    def job(connection: Connection) -> None:
        audit.add(
            connection, at=NOW, who="Tran Thi B", action="release", subject="observation A", because="tube checked"
        )
        audit.add(connection, at=later(hours=1), who="Le Van C", action="reject", subject="observation B")
        audit.add(connection, at=later(hours=2), who="labgateway", action="replay", subject="observation A")

    await store.submit(job)
    assert await store.read(lambda c: worklist.deeds_on(c, "observation A")) == [
        {"at": NOW, "who": "Tran Thi B", "action": "release", "because": "tube checked"},
        {"at": later(hours=2), "who": "labgateway", "action": "replay", "because": ""},
    ]
