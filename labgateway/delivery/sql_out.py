"""SQL destination: rows into a table of the EMR's, each observation once, all of one report or none of it.

    body -> rows -> BEGIN -> ids that are there already -> insert the others -> read back, compare -> COMMIT -> Accepted
                                                                |                     └─ differs: ROLLBACK, Refused
             constraint, data, a trigger's no: ROLLBACK, Refused, with the database's words (for the store only)
             no connection: Unreachable. anything else, a lost commit too: Silent; the repeat is harmless by the id

corrections "row": a correction is a row of its own, whose ``replaces`` names the one before. "update": it takes the
place of the row it corrects, which keeps ``first_id``; where that row is not there, a person must look.

The engine blocks, so it lives in a ``Worker``; drivers are imported only here, by SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Column, Connection, Engine, MetaData, Table, create_engine, event, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, NoSuchTableError, SQLAlchemyError

from labgateway.delivery import document
from labgateway.delivery.flat import Row
from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.delivery.ports import Difference
from labgateway.delivery.secrets import SecretError, read_secret
from labgateway.delivery.sql_errors import code_of, is_about_the_data
from labgateway.delivery.sql_shape import UnfitError, differing, values
from labgateway.delivery.worker import StuckError, Worker
from labgateway.fields import EARLIER, FIRST_ID

CONNECT_S = 10.0
STUCK = "the database does not answer"
_AT_ONCE = 200


class _TroubleError(Exception):
    """The table is not as it must be, or the driver is not there: ours to say, no delivery's fault."""


class _NoError(Exception):
    """This delivery cannot be written; its words are for the store."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An open engine and the table as the database describes it."""

    engine: Engine
    table: Table


class SqlDestination:
    """See above.

    url: as SQLAlchemy takes it, without password; that is read from its file at each connection. table: with its
    schema before a point, if it has one. columns:
    column -> field of ``labgateway.fields.FIELDS``; they hold ``id``, with "update" also ``first_id``. timezone: of columns that
    keep none.
    """

    def __init__(
        self,
        url: str,
        table: str,
        columns: Mapping[str, str],
        *,
        timezone: str,
        password_file: Path | None = None,
        update: bool = False,
        answer_s: float = 30.0,
    ) -> None:
        self._url = make_url(url)
        self._password_file = password_file
        self._name = table
        self._columns = dict(columns)
        self._filled = {column: field for column, field in columns.items() if field != FIRST_ID}
        self._zone = ZoneInfo(timezone)
        self._update = update
        self._answer_s = answer_s
        self._worker = Worker(f"sql {table}")
        self._place: _Place | None = None

    @property
    def connections(self) -> int:
        """One: a staging table is read in the order in which it is filled."""
        return 1

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """Write the rows of one report, or know that they are there."""
        try:
            return await self._worker.run(lambda: self._put(body), self._answer_s + CONNECT_S)
        except StuckError:
            return Silent(STUCK)

    def parts(self, body: bytes) -> Mapping[str, Row]:
        """The rows of a message by observation; none when it was sent while the destination was of another kind."""
        try:
            return {row["id"]: row for row in document.read(body)[1] if row["id"]}
        except ValueError:
            return {}

    async def read_back(self, found: Sequence[Row]) -> list[Difference]:
        """What of these rows the table does not hold as they were sent. Raises OSError, in words, when it cannot be read."""
        try:
            return await self._worker.run(lambda: self._compare(found), self._answer_s + CONNECT_S)
        except StuckError:
            raise OSError(STUCK) from None
        except _TroubleError as error:
            raise OSError(str(error)) from None
        except SQLAlchemyError as error:
            raise OSError(f"the table cannot be read ({code_of(error)})") from None

    async def close(self) -> None:
        """Close the connection; without waiting for a database that hangs."""
        try:
            await self._worker.run(self._forget, 0.5)
        except StuckError:
            pass
        self._worker.close()

    # --- in the worker's thread ---

    def _put(self, body: bytes) -> Outcome:
        try:
            _, found = document.read(body)
        except ValueError:
            return Refused(
                "labgateway: these bytes are no document of ours; was the destination of another kind before?"
            )
        place = None
        try:
            place = self._opened()
            return self._write(place, found)
        except _TroubleError as error:
            self._forget()
            return Unreachable(str(error))
        except (_NoError, UnfitError) as error:
            return Refused(f"labgateway: {error}")
        except DBAPIError as error:
            if is_about_the_data(error):
                return Refused(str(error.orig))
            self._forget()
            why = f"the database gives error {code_of(error)}"
            return Unreachable(why) if place is None else Silent(why)
        except SQLAlchemyError as error:
            self._forget()
            return Silent(f"the database layer gives {type(error).__name__}")

    def _write(self, place: _Place, found: Sequence[Row]) -> Outcome:
        rows = [(row, values(row, place.table, self._filled, self._zone)) for row in found]
        try:
            with place.engine.begin() as connection:
                fresh = self._bring(connection, place.table, rows)
        except IntegrityError:
            # Another attempt of ours, thought lost, may have been faster: then all is there.
            with place.engine.connect() as connection:
                if self._there(connection, place.table, [row["id"] or "" for row in found]) != {r["id"] for r in found}:
                    raise
            fresh = 0
        return Accepted(
            f"{fresh} rows written" if fresh == len(rows) else f"{fresh} rows written, others there already"
        )

    def _bring(self, connection: Connection, table: Table, rows: Sequence[tuple[Row, dict[str, Any]]]) -> int:
        """Insert or update what is not there, and look at it; returns how many."""
        there = self._there(connection, table, [row["id"] or "" for row, _ in rows])
        fresh: list[Row] = []
        for row, given in rows:
            if row["id"] in there:
                continue
            if self._update and not self._takes_place(connection, table, row, given):
                continue
            if not self._update:
                connection.execute(table.insert().values(given))
            fresh.append(row)
        for row, held in self._held(connection, table, fresh):
            if held is None:
                raise _NoError("the database took a row and does not have it; a trigger of the table?")
            if wrong := differing(row, table, self._filled, held, self._zone):
                raise _NoError(f"the database would keep something else than was sent, in column {', '.join(wrong)}")
        return len(fresh)

    def _takes_place(self, connection: Connection, table: Table, row: Row, given: dict[str, Any]) -> bool:
        """Insert a first version, or put a correction in the place of what it corrects. False: a later one is there."""
        key, first = self._column(table, "id"), self._column(table, FIRST_ID)
        # A message made by a version that did not write them names only the one before.
        earlier = (row.get(EARLIER) or row["replaces"] or "").split()
        root = earlier[0] if earlier else row["id"]
        if row["replaces"] is None:
            if connection.execute(select(first).where(first == root)).first() is not None:
                return False
            connection.execute(table.insert().values({**given, first.name: root}))
            return True
        held = connection.scalars(select(key).where(key == row["replaces"])).first()
        if held is None:
            held = connection.scalars(select(key).where(first == root)).first()
            if held is not None and str(held).rstrip() not in earlier:
                return False
        if held is not None and connection.execute(table.update().where(key == held).values(given)).rowcount == 1:
            return True
        raise _NoError("the row that this corrects is not in the table; enter the correction by hand, then skip it")

    def _there(self, connection: Connection, table: Table, ids: Sequence[str]) -> set[str | None]:
        key = self._column(table, "id")
        return {str(one).rstrip() for one in connection.scalars(select(key).where(key.in_(ids)))}

    def _held(
        self, connection: Connection, table: Table, found: Sequence[Row]
    ) -> list[tuple[Row, Mapping[str, Any] | None]]:
        """Each row beside what the table holds under its id, None: nothing."""
        key = self._column(table, "id")
        wanted = [table.c[name] for name in self._columns]
        held: dict[str, Mapping[str, Any]] = {}
        for at in range(0, len(found), _AT_ONCE):
            ids = [row["id"] for row in found[at : at + _AT_ONCE]]
            for one in connection.execute(select(*wanted).where(key.in_(ids))).mappings():
                plain = {column.name: value for column, value in zip(wanted, one.values(), strict=True)}
                held[str(plain[key.name]).rstrip()] = plain
        return [(row, held.get(row["id"] or "")) for row in found]

    def _compare(self, found: Sequence[Row]) -> list[Difference]:
        place = self._opened()
        differences: list[Difference] = []
        with place.engine.connect() as connection:
            for row, held in self._held(connection, place.table, found):
                number = row["id"] or ""
                if held is None:
                    differences.append(Difference(number, ()))
                elif wrong := differing(row, place.table, self._filled, held, self._zone):
                    differences.append(Difference(number, tuple(wrong)))
        return differences

    def _column(self, table: Table, field: str) -> Column[Any]:
        return table.c[next(column for column, name in self._columns.items() if name == field)]

    # --- the database and its table ---

    def _opened(self) -> _Place:
        if self._place is None:
            try:
                engine = _engine(self._url.set(password=read_secret(self._password_file)), self._answer_s)
            except ImportError as error:
                raise _TroubleError(f"the library {error.name} is not installed; `labgateway check` says how") from None
            except SecretError as error:
                raise _TroubleError(str(error)) from None
            try:
                self._place = _Place(engine, self._described(engine))
            except BaseException:
                engine.dispose()
                raise
        return self._place

    def _forget(self) -> None:
        if self._place is not None:
            self._place.engine.dispose()
            self._place = None

    def _described(self, engine: Engine) -> Table:
        """The table as the database knows it. Raises _TroubleError when rows could be lost or doubled in it."""
        schema, _, name = self._name.rpartition(".")
        try:
            table = Table(name, MetaData(), schema=schema or None, autoload_with=engine)
        except NoSuchTableError:
            raise _TroubleError(
                f"there is no table {self._name}; `labgateway destination ddl` prints the statement that makes it"
            ) from None
        absent = [column for column in self._columns if column not in table.c]
        if absent:
            raise _TroubleError(f"table {self._name} has no column {', '.join(absent)}")
        key = self._column(table, FIRST_ID if self._update else "id").name
        looked = inspect(engine)
        unique = [set(looked.get_pk_constraint(name, schema=schema or None)["constrained_columns"])]
        unique += [set(one["column_names"]) for one in looked.get_unique_constraints(name, schema=schema or None)]
        unique += [set(one["column_names"]) for one in looked.get_indexes(name, schema=schema or None) if one["unique"]]
        if {key} not in unique:
            raise _TroubleError(
                f"column {key} of table {self._name} is not unique: add a unique index, so that a repeat cannot be a second row"
            )
        needed = [
            column.name
            for column in table.c
            if not (column.nullable or column.server_default or column.identity or column.computed)
            and not (column.primary_key and column.autoincrement)
            and column.name not in self._columns
        ]
        if needed:
            raise _TroubleError(
                f"table {self._name} wants column {', '.join(needed)}, for which `columns` has no field"
            )
        return table


def _engine(url: URL, answer_s: float) -> Engine:
    """An engine with one connection, which gives up by itself before the worker does, where the driver can."""
    dialect, seconds = url.get_backend_name(), max(1, round(answer_s))
    connect: dict[str, Any] = {}
    if dialect == "postgresql":
        # A host that has vanished is noticed after about half a minute, in the middle of an answer too.
        connect = {
            "connect_timeout": int(CONNECT_S),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
    elif url.get_driver_name() == "pymysql":
        connect = {
            "connect_timeout": int(CONNECT_S), "read_timeout": seconds, "write_timeout": seconds, "charset": "utf8mb4",
        }  # fmt: skip
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args=connect,
        hide_parameters=True,
    )
    settings = {
        "postgresql": [f"SET statement_timeout = {seconds * 1000}", f"SET lock_timeout = {seconds * 1000}"],
        # Without these MySQL cuts what is too long, and says nothing.
        "mysql": ["SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"],
        "mariadb": ["SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"],
    }.get(dialect, [])

    def set_up(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for one in settings:
            cursor.execute(one)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", set_up)
    return engine
