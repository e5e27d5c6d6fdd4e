"""What `columns` of a table or file may say: column -> field of the closed list in `labgateway.fields`."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from labgateway.config.destinations import DestinationSection, FolderDestination, SqlDestination
from labgateway.fields import FIELDS, FIRST_ID, TABLE_4, TABLE_4_MUST
from labgateway.toml_lines import KeyPath

Mistake = tuple[KeyPath, str, str]
"""Key inside the section, what is wrong, what to do."""


def mistakes(section: DestinationSection) -> Iterator[Mistake]:
    """What is wrong with a destination that takes columns; nothing for others."""
    match section:
        case SqlDestination():
            yield from _fields(section.columns, also=(FIRST_ID,) if section.corrections == "update" else ())
            yield from _must(section)
            yield from _one_at_a_time(section)
        case FolderDestination(format="csv"):
            yield from _fields(section.columns)
            yield from _one_at_a_time(section)
        case FolderDestination(format="table4"):
            yield from _fields(section.columns)
            yield from _table_4(section)
            yield from _one_at_a_time(section)
        case FolderDestination():
            if section.columns:
                yield ("columns",), f"a file of format {section.format} has no columns.", "Take it out."
            yield from _one_at_a_time(section)
        case _:
            return


def _fields(columns: dict[str, str], also: tuple[str, ...] = ()) -> Iterator[Mistake]:
    known = (*FIELDS, *also)
    for column, field in columns.items():
        if field not in known:
            close = get_close_matches(field, known, n=1)
            cure = f"Did you mean `{close[0]}`?" if close else f"Write one of: {', '.join(known)}."
            if field == FIRST_ID:
                cure = 'Write corrections = "update" as well, or take it out.'
            yield ("columns", column), "is none of the fields that there are.", cure


def _must(section: SqlDestination) -> Iterator[Mistake]:
    if not section.columns:
        return
    needed = ("id", FIRST_ID) if section.corrections == "update" else ("id",)
    for field in needed:
        count = list(section.columns.values()).count(field)
        if count != 1:
            what = f"hold `{field}` {count} times." if count else f"hold no `{field}`."
            cure = f'Give it one column, such as result_id = "{field}": by it a repeat is known, so it is unique.'
            yield ("columns",), what, cure


def _table_4(section: FolderDestination) -> Iterator[Mistake]:
    for name in section.columns:
        if name not in TABLE_4 or name == "STT":
            yield ("columns", name), "is no field of table 4 that can be filled.", f"Known: {', '.join(TABLE_4)}."
    for name in TABLE_4_MUST:
        if name not in section.columns:
            cure = f'Say where it stands, such as {name} = "{"placer" if name == "MA_LK" else "order_code"}".'
            yield ("columns",), f"do not say {name}, which no order has in a place that is certain.", cure


def _one_at_a_time(section: DestinationSection) -> Iterator[Mistake]:
    if section.connections != 1:
        yield (
            ("connections",),
            f"a destination of kind {section.kind} writes one report after the other.",
            "Take it out.",
        )
