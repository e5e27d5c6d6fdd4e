"""Orders from a database of the EMR: the site's own query, asked again and again; only orders that differ are taken.

    query ── rows by order number ── the same as before? ── no ──> take (as a table, XO) ── commit ──> remembered

The columns are those of a CSV table (orders/table.py), by name. A row is the order as it stands: with another tube or patient it
is a change; a cancelled one says so in ``action``. An order that is no longer among the rows is left as it is. After a
restart every row is taken once more, which is harmless. The database is only read, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
from collections.abc import Awaitable, Callable, Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from labgateway.errors import LabgatewayError, StoreBrokenError, StoreError
from labgateway.orders.table import COLUMNS, NEEDED
from labgateway.pipeline.order_files import FileTaken
from labgateway.transports.channel import Say

_MOST_ROWS = 100_000
_AT_ONCE = 200
"""Orders in one transaction."""
_CONNECT_S, _ANSWER_S = 10, 60

Take = Callable[[bytes, str], Awaitable[FileTaken]]
Row = tuple[str, ...]


class OrderQuery:
    """A source of orders, like a listener. name: of the section. password: None when the address needs none."""

    def __init__(
        self, name: str, url: str, query_file: Path, every_s: float, take: Take, *, password: str | None, say: Say,
        spawn: Callable[[Any, str], asyncio.Task[None]],
    ) -> None:  # fmt: skip
        self.trouble = ""
        self._name = name
        self._url = make_url(url) if password is None else make_url(url).set(password=password)
        self._file = query_file
        self._every_s = every_s
        self._take = take
        self._say = say
        self._spawn = spawn
        self._known: dict[str, bytes] = {}
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to ask. A database that is away is trouble, no error. Raises LabgatewayError."""
        try:
            self._engine = _engine(self._url)
            await asyncio.to_thread(self._query)
        except (SQLAlchemyError, ImportError) as error:
            raise LabgatewayError(f"this kind of database cannot be asked ({type(error).__name__})") from None
        self._task = self._spawn(self._run(), f"orders from {self._name}")

    async def stop(self) -> None:
        """End; a question that is being answered is waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)

    async def _run(self) -> None:
        while True:
            trouble = ""
            try:
                await self._look()
            except StoreBrokenError:
                return
            except (LabgatewayError, StoreError) as error:
                trouble = str(error)
            except SQLAlchemyError as error:
                # Its text may hold values of the EMR.
                trouble = (
                    f"the database does not answer the query ({type(getattr(error, 'orig', None) or error).__name__})"
                )
            if trouble and trouble != self.trouble:
                self._say("orders_query", level="error", source=self._name, why=trouble)
            self.trouble = trouble
            await asyncio.sleep(self._every_s)

    async def _look(self) -> None:
        columns, rows = await asyncio.to_thread(self._ask)
        found = by_order(columns, rows)
        changed = [order for order, mine in found.items() if self._known.get(order) != _digest(columns, mine)]
        for start in range(0, len(changed), _AT_ONCE):
            part = changed[start : start + _AT_ONCE]
            await self._take(as_table(columns, [row for order in part for row in found[order]]), "query")
            self._known |= {order: _digest(columns, found[order]) for order in part}
        self._known = {order: digest for order, digest in self._known.items() if order in found}

    def _query(self) -> str:
        try:
            return self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise LabgatewayError(f"{self._file} cannot be read. Put the query there, as UTF-8.") from None

    def _ask(self) -> tuple[list[str], list[Row]]:
        assert self._engine is not None  # noqa: S101  # started
        with self._engine.connect() as connection:
            result = connection.execution_options(no_parameters=True).exec_driver_sql(self._query())
            columns = [str(name).lower() for name in tuple(result.keys())]
            rows = result.fetchmany(_MOST_ROWS + 1)
            connection.rollback()
        if missing := [name for name in NEEDED if name not in columns]:
            raise LabgatewayError(
                f"the query gives no column {', '.join(missing)}; the columns are: {', '.join(COLUMNS)}"
            )
        if unknown := [name for name in columns if name not in COLUMNS]:
            raise LabgatewayError(
                f"the query gives {', '.join(unknown)[:80]}, which is no column: {', '.join(COLUMNS)}"
            )
        if len(rows) > _MOST_ROWS:
            raise LabgatewayError(f"the query gives more than {_MOST_ROWS} rows; let it give those of the last days")
        return columns, [tuple(_text(cell) for cell in row) for row in rows]


def by_order(columns: list[str], rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each order number; an order is taken with all of its rows or not at all."""
    at, found = columns.index("order"), dict[str, list[Row]]()
    for row in rows:
        found.setdefault(row[at], []).append(row)
    return found


def as_table(columns: list[str], rows: list[Row]) -> bytes:
    """The rows as a CSV table. What says no action is a change: the order as it stands now."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if "action" in columns:
        at = columns.index("action")
        rows = [(*row[:at], row[at] or "XO", *row[at + 1 :]) for row in rows]
        writer.writerows([columns, *rows])
    else:
        writer.writerows([[*columns, "action"], *([*row, "XO"] for row in rows)])
    return out.getvalue().encode()


def _text(cell: object) -> str:
    """A cell as the table has it: text as it is, no number ever through a float of ours."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.isoformat(" ", "seconds")
    return cell.isoformat() if isinstance(cell, date) else str(cell).strip()


def _digest(columns: list[str], rows: list[Row]) -> bytes:
    return hashlib.sha256(repr((columns, sorted(rows))).encode()).digest()


def _engine(url: URL) -> Engine:
    connect: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        given = url.query.get("options", "")
        mine = f"-c statement_timeout={_ANSWER_S * 1000} -c default_transaction_read_only=on"
        settings = f"{given if isinstance(given, str) else ' '.join(given)} {mine}"
        connect = {"connect_timeout": _CONNECT_S, "keepalives_idle": 10, "options": settings.strip()}
    elif url.get_driver_name() == "pymysql":
        connect = {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S, "charset": "utf8mb4"}
    return create_engine(
        url, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=connect, hide_parameters=True
    )
