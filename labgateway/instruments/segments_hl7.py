"""An HL7 segment that is being written, place by place."""

from __future__ import annotations

from collections.abc import Iterable

from labgateway.instruments.paths import Place
from labgateway.protocols import hl7
from labgateway.protocols.rows import Row


class Segment:
    """A segment that is being written: raw text by field, or the fields of one that is written already."""

    def __init__(self, name: str, line: str = "") -> None:
        self.name = name
        parts = line.rstrip("\r").split("|") if line else [name]
        shift = 1 if name == "MSH" else 0
        self._cells = {n + shift: part for n, part in enumerate(parts) if n}

    def put_all(self, fields: Iterable[tuple[Place, str]]) -> None:
        """Put those that are of this segment."""
        for place, raw in fields:
            if place.row == self.name:
                self.put(place, raw)

    def put(self, place: Place, raw: str) -> None:
        """Raw text at a place; what stands beside it stays."""
        self._cells[place.field] = _placed(
            self._cells.get(place.field, ""), "^", place.component, raw, place.subcomponent
        )

    def raw(self, field: int) -> str:
        """What stands in a field so far."""
        return self._cells.get(field, "")

    def text(self) -> str:
        """The segment with its CR."""
        first = 2 if self.name == "MSH" else 1
        last = max(self._cells, default=0)
        return hl7.segment(self.name, *(self._cells.get(n, "") for n in range(first, last + 1)))


def _placed(whole: str, mark: str, number: int | None, raw: str, within: int | None = None) -> str:
    if number is None:
        return raw
    parts = whole.split(mark)
    parts += [""] * (number - len(parts))
    parts[number - 1] = raw if within is None else _placed(parts[number - 1], "&", within, raw)
    return mark.join(parts)


def taken_over(row: Row, source: Place) -> str:
    """Raw text of a place in the query, in the standard delimiters."""
    if source.component is None:
        return hl7.recode(row.raw(source.field), row.delimiters)
    return hl7.escape(source.of(row))
