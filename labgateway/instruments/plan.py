"""A driver's places turned into functions once, so that a message costs no look-ups by name.

Not here: what the texts mean (decode.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from labgateway.instruments import quirks
from labgateway.instruments.groups import Item
from labgateway.instruments.paths import Condition, Place, holds
from labgateway.instruments.spec import Driver
from labgateway.protocols.rows import Row

TextOf = Callable[[Item], str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A driver's places turned into functions once, so that a message costs no look-ups by name."""

    driver: Driver
    row: str
    """Name of the rows that hold results."""
    query_row: str
    wanted: frozenset[str]
    variants: tuple[tuple[tuple[Condition, ...], Plan], ...]
    texts: dict[str, TextOf]
    extras: tuple[tuple[str, TextOf], ...]
    flags: Callable[[Item], tuple[str, ...]]
    comments_of: Callable[[Item], tuple[str, ...]]
    has_unit: bool
    specimen_quirks: tuple[quirks.SpecimenQuirk, ...]
    result_quirks: tuple[quirks.ResultQuirk, ...]

    def variant_for(self, rows: Sequence[Row]) -> Plan:
        """The first [[variant]] whose condition holds for the message, else the plain [where]."""
        if not self.variants:
            return self
        at = first_rows(rows)
        for conditions, plan in self.variants:
            if any(holds(condition, at) for condition in conditions):
                return plan
        return self


def first_rows(rows: Iterable[Row]) -> Callable[[tuple[Place, ...]], str]:
    """Looks places up in the first row of each name: for conditions about a message as a whole."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.name, row)

    def text_at(places: tuple[Place, ...]) -> str:
        for place in places:
            row = first.get(place.row)
            if row is not None and (found := place.of(row)):
                return found
        return ""

    return text_at


_EXTRAS = (
    "patient", "patient_name", "birth_date", "sex", "range", "operator", "run", "dilution", "serial", "lot", "level",
    "specimen_type",
)  # fmt: skip


@lru_cache(maxsize=512)
def plan_for(driver: Driver) -> Plan:
    """The plan of a driver, made once and remembered."""
    variants = tuple(
        (variant.when, _make_plan(driver, {**driver.where, **variant.where}, ())) for variant in driver.variants
    )
    return _make_plan(driver, dict(driver.where), variants)


def _make_plan(
    driver: Driver,
    where: dict[str, tuple[Place, ...]],
    variants: tuple[tuple[tuple[Condition, ...], Plan], ...],
) -> Plan:
    row = where["value"][0].row
    query_row = driver.query.specimen[0].row if driver.query.specimen else ""
    texts = {name: _text_of(driver, name, places, row) for name, places in where.items()}
    for name in ("specimen", "code", "value", "unit", "status", "measured_at", *_EXTRAS):
        texts.setdefault(name, nothing)
    return Plan(
        driver=driver,
        row=row,
        query_row=query_row,
        wanted=frozenset({row, query_row} - {""}),
        variants=variants,
        texts=texts,
        extras=tuple((name, texts[name]) for name in _EXTRAS if texts[name] is not nothing),
        flags=_flags_of(where.get("flag", ())),
        comments_of=_comments_of(driver, where.get("comment", ()), row),
        has_unit="unit" in where,
        specimen_quirks=tuple(quirks.SPECIMEN[name] for name in driver.quirks if name in quirks.SPECIMEN),
        result_quirks=tuple(quirks.RESULT[name] for name in driver.quirks if name in quirks.RESULT),
    )


def nothing(_: Item) -> str:
    """What a name says that [where] does not place."""
    return ""


def _text_of(driver: Driver, name: str, places: tuple[Place, ...], row: str) -> TextOf:
    """What a name of [where] says for an item: first filled or joined, cut by [take]."""
    plain = _plain(places, row, driver.join.get(name))
    if name not in driver.take:
        return plain
    search = driver.take[name].search

    def cut(item: Item) -> str:
        found = search(plain(item))
        return (found[1] or "").strip() if found else ""

    return cut


def _plain(places: tuple[Place, ...], row: str, separator: str | None) -> TextOf:
    if separator is not None:
        single = [(place,) for place in places]
        return lambda item: separator.join(found for one in single if (found := item.text(one)))
    if len(places) == 1 and places[0].row == row:
        of = places[0].of
        return lambda item: of(item.row)
    return lambda item: item.text(places)


def _flags_of(places: tuple[Place, ...]) -> Callable[[Item], tuple[str, ...]]:
    """Flags as sent, one entry each repetition, of the first place that has any."""

    def flags(item: Item) -> tuple[str, ...]:
        for place in places:
            row = item.find(place.row)
            if row is not None and row.raw(place.field) and (found := place.all_of(row)):
                return tuple(found)
        return ()

    return flags


def _comments_of(driver: Driver, places: tuple[Place, ...], row: str) -> Callable[[Item], tuple[str, ...]]:
    """Comments that hang on a result (C-4, NTE-3, or where [where] comment says), and those in its own row."""
    default = Place("NTE", 3) if driver.protocol == "hl7" else Place("C", 4)
    hanging = [place for place in places if place.row == default.row] or [default]
    others = [(place,) for place in places if place.row != default.row]
    cut = driver.take.get("comment")

    def comments(item: Item) -> tuple[str, ...]:
        if not item.hanging and not others:
            return ()
        found = [item.text(one) for one in others]
        for each in item.hanging:
            if each.name == default.row:
                found += [text for place in hanging if (text := place.of(each))][:1]
        if cut:
            found = [(match[1] or "").strip() for each in found if (match := cut.search(each))]
        return tuple(filter(None, found))

    return comments
