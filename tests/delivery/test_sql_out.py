"""Rows in a staging table, on real PostgreSQL and MariaDB: once each, whole, exact, or a person is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from labgateway.delivery import document
from labgateway.delivery.flat import rows
from labgateway.delivery.outcome import Accepted, Refused, Silent, Unreachable
from labgateway.delivery.ports import Difference
from labgateway.delivery.sql_out import SqlDestination
from labgateway.delivery.sql_shape import ddl, default_columns
from labgateway.fields import FIELDS, FIRST_ID
from labgateway.model import Observation, ResultLetter
from tests import mariadb, postgresql
from tests.delivery.reports import PERSON, SETTINGS, observation, order, report

CBC = order()
SMALL = {"result_id": "id", "corrects": "replaces", "sample": "specimen", "test": "code", "result_value": "value",
         "done_at": "measured_at"}  # fmt: skip
PLAIN = "result_id varchar(20) primary key, corrects varchar(20), sample varchar(40), test varchar(20)"


@dataclass
class Place:
    url: str
    engine: Engine

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            done = connection.execute(text(statement))
            return [tuple(row) for row in done] if done.returns_rows else []

    def out(self, columns: dict[str, str] | None = None, **more: Any) -> SqlDestination:
        return SqlDestination(self.url, "lab", columns or SMALL, timezone="Asia/Ho_Chi_Minh", **more)

    @property
    def is_mariadb(self) -> bool:
        return self.url.startswith("mysql")


@pytest.fixture(params=["postgresql", "mariadb"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with (postgresql.schema if request.param == "postgresql" else mariadb.database)() as url:
        engine = create_engine(url)
        yield Place(url, engine)
        engine.dispose()


def body(*observations: Observation, control_id: str = "MSG1", more: bool = False) -> bytes:
    return document.render(report(*observations, patient=PERSON), SETTINGS, control_id, earlier=more)


def wbc(value: str | None = "8.13", code: str = "WBC", **changes: Any) -> Observation:
    return observation(code, value, of=CBC, **{"id": f"{code:0>20}", **changes})


async def test_the_proposed_table_takes_every_field_once(place: Place) -> None:
    columns = default_columns()
    place.run(ddl("lab", columns, place.url.split("+", maxsplit=1)[0], update=False).rstrip(";"))
    out = place.out(columns)
    whole = report(wbc("5.10", flags=("H",)), wbc("Âm tính", "GHI", comments=("một", "hai")))
    first = document.render(whole, SETTINGS, "MSG1")
    assert await out.send(first, "MSG1") == Accepted("2 rows written")
    assert await out.send(first, "MSG1") == Accepted("0 rows written, others there already")
    assert place.run("SELECT code, value, patient_name FROM lab ORDER BY code") == [
        ("GHI", "Âm tính", "TRẦN THỊ B"), ("WBC", "5.10", "TRẦN THỊ B"),
    ]  # fmt: skip
    assert set(columns.values()) == set(FIELDS)
    ((moment,),) = place.run("SELECT measured_at FROM lab WHERE code = 'WBC'")
    expected = "2026-11-22T01:15:00+00:00" if moment.tzinfo else "2026-11-22T08:15:00"
    assert (moment.astimezone(tz=__import__("datetime").UTC) if moment.tzinfo else moment).isoformat() == expected
    await out.close()


async def test_a_correction_is_a_row_of_its_own_and_a_repeat_touches_nothing(place: Place) -> None:
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value text, done_at timestamp NULL, taken int DEFAULT 0)")
    out = place.out()
    first, second = (
        body(wbc(id="A" * 20)),
        body(wbc("9", id="B" * 20, replaces="A" * 20, letter=ResultLetter.CORRECTED)),
    )
    await out.send(first, "M1")
    place.run("UPDATE lab SET taken = 1")
    await out.send(second, "M2")
    for one in (first, second, first):
        assert await out.send(one, "M") == Accepted("0 rows written, others there already")
    assert place.run("SELECT result_id, corrects, result_value, taken FROM lab ORDER BY result_id") == [
        ("A" * 20, None, "8.13", 1), ("B" * 20, "A" * 20, "9", 0),
    ]  # fmt: skip
    await out.close()


async def test_a_correction_takes_the_place_of_what_it_corrects(place: Place) -> None:
    columns = default_columns() | {FIRST_ID: FIRST_ID}
    place.run(ddl("lab", columns, place.url.split("+", maxsplit=1)[0], update=True).rstrip(";"))
    out = place.out(columns, update=True)
    a, b, c = "A" * 20, "B" * 20, "C" * 20
    bodies = [
        body(wbc(id=a)),
        body(wbc("9", id=b, replaces=a)),
        body(wbc(None, id=c, replaces=b, letter=ResultLetter.WRONG)),
    ]
    for one in bodies:
        assert await out.send(one, "M") == Accepted("1 rows written")
    assert place.run("SELECT first_id, id, replaces, value, letter FROM lab") == [(a, c, b, None, "W")]
    # A day that is sent again brings no old value back.
    assert [type(await out.send(one, "M")) for one in bodies] == [Accepted, Accepted, Accepted]
    assert place.run("SELECT first_id, id, replaces, value, letter FROM lab") == [(a, c, b, None, "W")]
    unknown = await out.send(body(wbc(id="D" * 20, replaces="X" * 20)), "M")
    assert isinstance(unknown, Refused) and "is not in the table" in unknown.words
    assert len(place.run("SELECT 1 FROM lab")) == 1
    await out.close()


async def test_a_chain_that_is_sent_again_ends_with_its_last_version(place: Place) -> None:
    """However many versions there are, none parks, and no old value comes back; nor when one between was given up."""
    columns = default_columns() | {FIRST_ID: FIRST_ID}
    place.run(ddl("lab", columns, place.url.split("+", maxsplit=1)[0], update=True).rstrip(";"))
    out = place.out(columns, update=True)
    ids = [letter * 20 for letter in "ABCDE"]
    bodies = [
        body(wbc(str(n), id=one, replaces=ids[n - 1] if n else None, earlier=tuple(ids[:n])), more=True)
        for n, one in enumerate(ids)
    ]
    for one in bodies:
        assert await out.send(one, "M") == Accepted("1 rows written")
    for one in (*bodies, *reversed(bodies)):
        assert await out.send(one, "M") == Accepted("0 rows written, others there already")
    assert place.run("SELECT first_id, id, replaces, value FROM lab") == [(ids[0], ids[4], ids[3], "4")]
    place.run("DELETE FROM lab")
    for n, said in ((0, "1 rows written"), (3, "1 rows written"), (2, "0 rows written, others there already")):
        assert await out.send(bodies[n], "M") == Accepted(said)
    assert place.run("SELECT first_id, id, value FROM lab") == [(ids[0], ids[3], "3")]
    place.run("DELETE FROM lab")
    assert isinstance(await out.send(bodies[3], "M"), Refused)
    await out.close()


async def test_all_of_a_report_or_nothing(place: Place) -> None:
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value varchar(5), done_at timestamp NULL)")
    out = place.out()
    said = await out.send(body(wbc(), wbc("Dương tính", "GHI")), "M")
    assert said == Refused("labgateway: column result_value takes 5 letters, and this has 10")
    assert place.run("SELECT 1 FROM lab") == []
    assert isinstance(await out.send(body(wbc()), "M"), Accepted), "others go on"
    await out.close()


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("numeric(10,3)", "5.100", "5.100"),
        ("numeric(10,1)", "5.55", None),  # would be rounded
        ("numeric(10,2)", "<5", None),
        ("integer", "7", "7"),
        ("integer", "7.0", None),
        ("double precision", "5.1", "5.1"),
        ("double precision", "0.12345678901234567891", None),  # too many digits
        ("char(8)", "5.1", "5.1"),
    ],
)
async def test_a_value_is_kept_exactly_or_refused(place: Place, kind: str, value: str, kept: str | None) -> None:
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value {kind}, done_at timestamp NULL)")
    out = place.out()
    said = await out.send(body(wbc(value)), "M")
    held = place.run("SELECT result_value FROM lab")
    if kept is None:
        assert isinstance(said, Refused), said
        assert held == []
    else:
        assert isinstance(said, Accepted), said
        assert str(held[0][0]).strip() == kept
    await out.close()


async def test_letters_that_the_table_would_garble(place: Place) -> None:
    """A table of another character set: refused, not written with question marks."""
    if not place.is_mariadb:
        pytest.skip("PostgreSQL has one character set a database")
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value varchar(40), done_at timestamp NULL) CHARACTER SET latin1")
    out = place.out()
    said = await out.send(body(wbc("Dương tính")), "M")
    assert isinstance(said, Refused)
    assert place.run("SELECT 1 FROM lab") == []
    await out.close()


async def test_the_databases_own_no(place: Place) -> None:
    place.run(
        f"CREATE TABLE lab ({PLAIN}, result_value varchar(40) CHECK (result_value <> '666'), done_at timestamp NULL)"
    )
    out = place.out()
    said = await out.send(body(wbc("666")), "M")
    assert isinstance(said, Refused) and "lab" in said.words.lower()
    assert isinstance(await out.send(body(wbc("667")), "M"), Accepted)
    if place.is_mariadb:
        place.run(
            "CREATE TRIGGER no BEFORE INSERT ON lab FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no such sample'"
        )
    else:
        place.run(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no such sample'; END$$"
        )
        place.run("CREATE TRIGGER no BEFORE INSERT ON lab FOR EACH ROW EXECUTE FUNCTION no()")
    said = await out.send(body(wbc("668", id="E" * 20)), "M")
    assert isinstance(said, Refused) and "no such sample" in said.words
    await out.close()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "there is no table lab"),
        (f"{PLAIN}, result_value text", "has no column done_at"),
        (f"{PLAIN.replace(' primary key', '')}, result_value text, done_at timestamp NULL", "is not unique"),
        (f"{PLAIN}, result_value text, done_at timestamp NULL, clerk varchar(9) NOT NULL", "wants column clerk"),
    ],
)
async def test_a_table_that_cannot_be_used_is_said_and_nothing_parks(place: Place, table: str, words: str) -> None:
    if table:
        place.run(f"CREATE TABLE lab ({table})")
    out = place.out()
    said = await out.send(body(wbc()), "M")
    assert isinstance(said, Unreachable) and words in said.why
    place.run("DROP TABLE IF EXISTS lab")
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value text, done_at timestamp NULL, no_1 int NOT NULL DEFAULT 4)")
    assert isinstance(await out.send(body(wbc()), "M"), Accepted), "mended, it goes on by itself"
    await out.close()


async def test_a_server_that_is_away_or_goes_away(place: Place) -> None:
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value text, done_at timestamp NULL)")
    with _door(place.url) as door:
        url = make_url(place.url).set(port=door.port)
        out = SqlDestination(url.render_as_string(hide_password=False), "lab", SMALL, timezone="UTC", answer_s=1.0)
        assert isinstance(await out.send(body(wbc(id="A" * 20)), "M"), Accepted)
        door.cut()
        said = await out.send(body(wbc(id="B" * 20)), "M")
        assert isinstance(said, Silent | Unreachable)
        assert "A123" not in said.why and "TRẦN" not in said.why
        door.open()
        assert isinstance(await out.send(body(wbc(id="B" * 20)), "M"), Accepted)
        door.mute = True
        hung = await out.send(body(wbc(id="C" * 20)), "M")
        assert isinstance(hung, Silent | Unreachable)
        door.mute = False
        door.cut()
        door.open()
        last: object = None
        for _ in range(50):  # the attempt that hung may still be under way
            if isinstance(last := await out.send(body(wbc(id="C" * 20)), "M"), Accepted):
                break
            await asyncio.sleep(0.1)
        assert isinstance(last, Accepted)
        await out.close()
    assert len(place.run("SELECT 1 FROM lab")) == 3


async def test_nothing_of_a_patient_in_what_is_logged(place: Place) -> None:
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value text, done_at timestamp NULL)")
    out = place.out()
    assert isinstance(await out.send(body(wbc()), "M"), Accepted)
    place.run("ALTER TABLE lab DROP COLUMN result_value")
    said = await out.send(body(wbc("777", id="B" * 20)), "M")
    assert isinstance(said, Silent)
    assert said.why in ("the database gives error 42703", "the database gives error 42S22 1054")
    await out.close()


async def test_read_back_names_what_differs(place: Place) -> None:
    place.run(f"CREATE TABLE lab ({PLAIN}, result_value text, done_at timestamp NULL)")
    out = place.out()
    whole = report(*(observation(f"T{n}", f"{n}.50", of=CBC, id=f"{n:020}") for n in range(5)), patient=PERSON)
    await out.send(document.render(whole, SETTINGS, "M"), "M")
    expected = rows(whole, SETTINGS, "M")
    assert await out.read_back(expected) == []
    place.run("UPDATE lab SET result_value = '3.5' WHERE test = 'T3'")
    place.run("DELETE FROM lab WHERE test = 'T1'")
    assert await out.read_back(expected) == [
        Difference(f"{1:020}", ()), Difference(f"{3:020}", ("result_value",)),
    ]  # fmt: skip
    await out.close()


async def test_a_driver_that_is_not_there() -> None:
    out = SqlDestination("oracle+oracledb://x@127.0.0.1/x", "lab", SMALL, timezone="UTC")
    said = await out.send(body(wbc()), "M")
    assert said == Unreachable("the library oracledb is not installed; `labgateway check` says how")
    assert isinstance(await out.send(b"MSH|", "M"), Refused)
    await out.close()


class _Door:
    """A relay before the database that can be cut, opened and made mute."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self.mute = False
        self._sockets: list[socket.socket] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._there)
            self._sockets += [near, far]
            for one, two in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, two), daemon=True).start()

    def _copy(self, one: socket.socket, two: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if not self.mute:
                    two.sendall(data)
        except OSError:
            pass

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        self._sockets.clear()


@contextmanager
def _door(url: str) -> Iterator[_Door]:
    place = make_url(url)
    door = _Door(place.host or "127.0.0.1", place.port or 0)
    yield door
    door.cut()
