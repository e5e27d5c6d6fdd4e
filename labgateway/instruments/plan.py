"""A driver's places turned into functions once, so that a message costs no look-ups by name.

Not here: what the texts mean (decode.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from labgateway.instruments import quirks
from labgateway.instruments.groups import ABOVE, Item
from labgateway.instruments.paths import Condition, Place, holds
from labgateway.instruments.spec import Driver
from labgateway.protocols.rows import Row

TextOf = Callable[[Item], str]
Ready = tuple[tuple[tuple[TextOf, Callable[[str], re.Match[str] | None]], ...], ...]
"""Conditions, each a tuple of clauses: how to get the text, and the search that must find something in it."""


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
    """Further parts of a result that stand in its own row or hang on it."""
    extras_above: tuple[tuple[str, TextOf], ...]
    """Those that stand above it: the same for the whole group."""
    rows: tuple[tuple[Ready, str], ...]
    control: Ready
    calibration: Ready
    kind_is_above: bool
    """Whether patient, control or calibration is the same for the whole group."""
    query_when: Ready
    cancelled: Ready
    asks_all: Ready
    nameless: Ready
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
    above = {name for name, places in where.items() if _is_above(places, row)}

    def ready(conditions: Iterable[Condition], own: str = row) -> Ready:
        return tuple(
            tuple(
                (texts[clause.key] if clause.key in where else _plain(clause.places, own, None), clause.pattern.search)
                for clause in condition
            )
            for condition in conditions
        )

    extras = [(name, texts[name]) for name in _EXTRAS if texts[name] is not nothing]
    return Plan(
        driver=driver,
        row=row,
        query_row=query_row,
        wanted=frozenset({row, query_row} - {""}),
        variants=variants,
        texts=texts,
        extras=tuple(extra for extra in extras if extra[0] not in above),
        extras_above=tuple(extra for extra in extras if extra[0] in above),
        rows=tuple((ready(rule.when), rule.kind) for rule in driver.rows),
        control=ready(driver.control),
        calibration=ready(driver.calibration),
        kind_is_above=all(
            clause.key in above or (clause.key not in where and _is_above(clause.places, row))
            for condition in (*driver.control, *driver.calibration)
            for clause in condition
        ),
        query_when=ready(driver.query.when, query_row),
        cancelled=ready(driver.query.cancelled, query_row),
        asks_all=ready(driver.query.all_when, query_row),
        nameless=ready(driver.query.nameless, query_row),
        flags=_flags_of(where.get("flag", ()), row),
        comments_of=_comments_of(driver, where.get("comment", ()), row),
        has_unit="unit" in where,
        specimen_quirks=tuple(quirks.SPECIMEN[name] for name in driver.quirks if name in quirks.SPECIMEN),
        result_quirks=tuple(quirks.RESULT[name] for name in driver.quirks if name in quirks.RESULT),
    )


def any_holds(conditions: Ready, item: Item) -> bool:
    """Whether one of the conditions holds for an item."""
    for condition in conditions:
        for text_of, search in condition:
            if not search(text_of(item)):
                break
        else:
            return True
    return False


def _is_above(places: tuple[Place, ...], row: str) -> bool:
    """Whether these places are the same for every result row of a group."""
    return all(place.row in ABOVE and place.row != row for place in places)


def nothing(_: Item) -> str:
    """What a name says that [where] does not place."""
    return ""


def _text_of(driver: Driver, name: str, places: tuple[Place, ...], row: str) -> TextOf:
    """What a name of [where] says for an item: first filled or joined, cut by [take]."""
    plain = _plain(places, row, driver.join.get(name))
    if name == "value" and driver.words.elsewhere:
        plain = _unless(driver.words.elsewhere, [_plain((place,), row, None) for place in places])
    if name == "value" and any((place.row, place.field) == ("OBX", 5) for place in places):
        plain = _structured_or(plain)
    if name not in driver.take:
        return plain
    search = driver.take[name].search

    def cut(item: Item) -> str:
        found = search(plain(item))
        return (found[1] or "").strip() if found else ""

    return cut


def _structured_or(plain: TextOf) -> TextOf:
    """A structured numeric (SN, HL7 2.5.1, 2.A.73) as it is read: ``<^5`` is <5, ``^1^:^128`` is 1:128; = is the default.

    Its first component alone would be a comparison without its number.
    """

    def text_of(item: Item) -> str:
        fields = item.row.fields
        if len(fields) < 3 or fields[2].strip() != "SN":
            return plain(item)
        sign, *numbers = (item.row.value(5, part).strip() for part in range(1, 5))
        whole = "".join(("" if sign == "=" else sign, *numbers))
        return "" if whole == '""' else whole

    return text_of


def _unless(elsewhere: frozenset[str], readers: list[TextOf]) -> TextOf:
    """The first filled text that is not one of these words."""

    def text_of(item: Item) -> str:
        for read in readers:
            found = read(item)
            if found and found not in elsewhere:
                return found
        return ""

    return text_of


def _plain(places: tuple[Place, ...], row: str, separator: str | None) -> TextOf:
    if separator is not None:
        single = [_plain((place,), row, None) for place in places]
        return lambda item: separator.join(found for one in single if (found := one(item)))
    if _is_above(places, row):
        return _remembered(places)
    if all(place.row == row for place in places):
        readers = [own_reader(place) for place in places]
        return readers[0] if len(readers) == 1 else _first_of(readers)
    return lambda item: item.text(places)


def _first_of(readers: list[TextOf]) -> TextOf:
    def first(item: Item) -> str:
        for read in readers:
            if found := read(item):
                return found
        return ""

    return first


def _remembered(places: tuple[Place, ...]) -> TextOf:
    """Texts above the result rows, looked up once a group."""
    key = object()

    def text_of(item: Item) -> str:
        memo = item.group.memo
        found = memo.get(key)
        if found is None:
            found = memo[key] = item.text(places)
        return found

    return text_of


def own_reader(place: Place) -> TextOf:
    """The text at a place of the item's own row: as `Place.of`, with the common case made quick.

    The common case: no header row, no repetition and no escape in the field. (An empty separator is
    found in every text, so that messages without one take the slow way.)
    """
    slow = place.of
    if place.subcomponent is not None or place.row in _HEADERS or place.field < 2:
        return lambda item: slow(item.row)
    at = place.field if len(place.row) == 3 else place.field - 1
    if place.component is None:
        return _own_field(at, slow)
    part = place.component - 1

    def of(item: Item) -> str:
        row = item.row
        fields = row.fields
        if at >= len(fields) or not (text := fields[at]):
            return ""
        d = row.delimiters
        if d.escape in text or d.repetition in text:
            return slow(row)
        parts = text.split(d.component)
        if part >= len(parts):
            return ""
        text = parts[part]
        if d.subcomponent and d.subcomponent in text:
            return slow(row)
        text = text.strip()
        return "" if text == '""' else text

    return of


def _own_field(at: int, slow: Callable[[Row], str]) -> TextOf:
    def of(item: Item) -> str:
        row = item.row
        fields = row.fields
        if at >= len(fields) or not (text := fields[at]):
            return ""
        if row.delimiters.escape in text:
            return slow(row)
        text = text.strip()
        return "" if text == '""' else text

    return of


_HEADERS = frozenset({"H", "MSH", "FHS", "BHS"})


def _flags_of(places: tuple[Place, ...], own: str) -> Callable[[Item], tuple[str, ...]]:
    """Flags as sent, one entry each repetition, of the first place that has any."""
    quick = [(place, own_reader(place) if place.row == own else None) for place in places]

    def flags(item: Item) -> tuple[str, ...]:
        for place, read in quick:
            row = item.row if read else item.find(place.row)
            if row is None or not (raw := row.raw(place.field)):
                continue
            if read and row.delimiters.repetition not in raw:
                if text := read(item):
                    return (text,)
            elif found := place.all_of(row):
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
