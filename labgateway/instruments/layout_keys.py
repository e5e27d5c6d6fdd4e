"""[layout] of driver.toml to Layout, every mistake reported. The keys stand in docs/drivers.md."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

from labgateway.instruments.keys import Table
from labgateway.instruments.layout import MESSAGE_KINDS, Cells, Columns, Layout, Message, Named, TableLayout

_EVERYTHING = re.compile("")


def read_layout(table: Table, *, is_table: bool) -> Layout:
    """The layout of a driver. is_table: it reads files with a header row."""
    if is_table:
        layout = _table_layout(table)
    else:
        tags = table.texts("tags")
        messages = tuple(_message(each) for each in table.tables("message"))
        if not messages:
            table.wrong("message", "is missing.", "Describe each form of text in a [[layout.message]].")
        names = dict.fromkeys([*tags, *(name for message in messages for name in _names(message))])
        layout = Layout(
            tuple(names),
            messages,
            tags,
            tuple(_decimals(each) for each in table.tables("decimals")),
            frozenset(table.texts("no_flag", one=True)),
            table.flag("one_text", default=False),
        )
    table.done()
    return layout


def _names(message: Message) -> Iterable[str]:
    yield from (column.name for column in message.columns)
    if message.cells:
        yield from (column.name for column in message.cells.columns)
    for pattern in (*message.head, *([message.each] if message.each else [])):
        yield from pattern.groupindex
    if message.named:
        yield from ("code", "value")
        if any(named.flag for named in message.named):
            yield "flag"
        if any(named.unit for named in message.named):
            yield "unit"


def _message(table: Table) -> Message:
    cells = _cells(table.table("cells")) if table.has("cells") else None
    message = Message(
        when=_pattern(table, "when") or _EVERYTHING,
        kind=table.choice("is", MESSAGE_KINDS, "result"),
        columns=_all_columns(table.table("columns")),
        cells=cells,
        named=tuple(_named(each) for each in table.tables("named")),
        head=tuple(found for text in table.texts("head", one=True) if (found := _compiled(table, "head", text))),
        each=_pattern(table, "each"),
        repeat=table.text("repeat"),
    )
    table.done()
    return message


def _cells(table: Table) -> Cells:
    cells = Cells(
        width=int(table.number("width", 1)),
        columns=_all_columns(table.table("columns", required=True)),
        start=int(table.number("from", 1)),
        after=_pattern(table, "after"),
        fits=_pattern(table, "fits"),
    )
    table.done()
    return cells


def _named(table: Table) -> Named:
    named = Named(
        code=table.text("code", required=True),
        columns=_columns(table, "columns", "value"),
        flag=_columns(table, "flag", "flag"),
        tag=table.text("tag"),
        unit=table.text("unit"),
        decimals=int(table.number("decimals", 0)) if table.has("decimals") else 0,
    )
    if named.columns is None and not named.tag:
        table.wrong("columns", "is missing.", "Say where the value stands: columns = [first, last], or its tag.")
    table.done()
    return named


def _decimals(table: Table) -> tuple[re.Pattern[str], int]:
    found = (_pattern(table, "code") or _EVERYTHING, int(table.number("places", 1)))
    table.done()
    return found


def _all_columns(table: Table) -> tuple[Columns, ...]:
    names = table.rest_names()
    found = tuple(column for name in names if (column := _columns(table, name, name)))
    table.done()
    return found


def _columns(table: Table, key: str, name: str) -> Columns | None:
    raw = table.take(key)
    if raw is None:
        return None
    numbers = cast("list[object]", raw) if isinstance(raw, list) else []
    plain = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and n > 0]
    if len(plain) != len(numbers) or len(plain) not in (2, 3) or plain[1] < plain[0]:
        table.wrong(key, "must be the first and the last column, counted from 1.", f"Write {key} = [1, 4].")
        return None
    return Columns(name, *plain)


def _pattern(table: Table, key: str) -> re.Pattern[str] | None:
    return _compiled(table, key, table.text(key)) if table.has(key) else None


def _compiled(table: Table, key: str, text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text)
    except re.error as error:
        table.wrong(key, f"is no regular expression: {error}.", "Write it between single quotes: '^D1'.")
        return None


def _table_layout(table: Table) -> Layout:
    inner = table.table("columns", required=True)
    columns = tuple((name, inner.texts(name, one=True)) for name in inner.rest_names())
    inner.done()
    above = table.table("above")
    rows = tuple((name, above.text(name)) for name in above.rest_names())
    above.done()
    wide = _pattern(table, "wide")
    delimiter = table.take("delimiter")
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1):
        table.wrong("delimiter", "must be one character.", 'Write delimiter = ";".')
        delimiter = None
    found = TableLayout(
        columns=columns,
        delimiter=delimiter or ",",
        sheet=table.text("sheet"),
        above=rows,
        wide=wide,
        flag=table.text("flag"),
        optional=frozenset(table.texts("optional")),
    )
    names = [name for name, _ in columns] + [name for name, _ in rows]
    if wide:
        names += ["value", *wide.groupindex, *(["flag"] if found.flag else [])]
    return Layout(tuple(dict.fromkeys(names)), table=found)
