"""Places and conditions in a driver.toml: paths, the names of [where] or of a layout, regular expressions."""

from __future__ import annotations

import re
from dataclasses import replace

from labgateway.instruments.keys import Table
from labgateway.instruments.layout import RESULT_ROW, Layout
from labgateway.instruments.paths import Clause, Condition, Place, read_place
from labgateway.instruments.spec import (
    ASTM_RECORDS,
    WHERE,
    WHERE_REQUIRED,
)


class Form:
    """What conditions need to be read: the protocol and the names of [where]."""

    def __init__(self, protocol: str, layout: Layout | None, table: Table) -> None:
        self.protocol = protocol
        self.layout = layout
        missing = [key for key in WHERE_REQUIRED if not table.has(key)]
        self.where = self.places(table)
        for key in missing:
            table.wrong(key, "is missing.", f'Say where the {key} stands: {key} = "…".')

    def places(self, table: Table) -> dict[str, tuple[Place, ...]]:
        """The places of every name of a [where] table that has one."""
        found = {name: self.place_list(table, name) for name in WHERE}
        table.done()
        return {name: places for name, places in found.items() if places}

    def place_list(self, table: Table, key: str, row: str = RESULT_ROW) -> tuple[Place, ...]:
        """One path or a list of them; wrong ones are reported and left out. row: which the names of a layout mean."""
        if table.peek(key) == []:
            table.wrong(key, "is an empty list.", "Name a place, or take the key out.")
        if self.layout:
            return self._named_places(table, key, self.layout, row)
        places: list[Place] = []
        for path in table.texts(key, one=True):
            place = read_place(path)
            if place is None:
                example = "R-3.5" if self.protocol == "astm" else "OBX-3.1"
                table.wrong(key, f'"{path}" is no path.', f"Write RECORD-FIELD.COMPONENT, such as {example}.")
            elif wrong := self.misfit(place):
                table.wrong(key, f'"{path}" {wrong}', "Count as the standard of the protocol does.")
            else:
                places.append(place)
        return tuple(places)

    def _named_places(self, table: Table, key: str, layout: Layout, row: str) -> tuple[Place, ...]:
        places: list[Place] = []
        for name in table.texts(key, one=True):
            if place := layout.place(name):
                places.append(replace(place, row=row))
            else:
                table.wrong(key, f'"{name}" is no name of [layout].', f"Use one of: {', '.join(layout.names)}.")
        return tuple(places)

    def _place(self, key: str) -> Place | None:
        """The place that a condition's key names: a path, or a name of the layout that is none of [where]."""
        return self.layout.place(key) if self.layout else read_place(key)

    def misfit(self, place: Place) -> str | None:
        """Why a place cannot be in a message of this protocol; None when it can."""
        match self.protocol:
            case "astm" if place.row not in ASTM_RECORDS:
                return f"is in no ASTM record; those are {' '.join(ASTM_RECORDS)}."
            case "astm" if place.subcomponent is not None:
                return "has a subcomponent, and ASTM has none."
            case "hl7" if len(place.row) != 3:
                return "is in no HL7 segment; their names have three characters."
            case _:
                return None

    def conditions(self, table: Table, key: str = "when", *, required: bool = False) -> tuple[Condition, ...]:
        """A table of path or name = regular expression (all must hold), or a list of such (one must)."""
        if required and not table.has(key):
            table.wrong(key, "is missing.", f"""Write {key} = {{ "R-4" = '^…$' }}.""")
        elif table.peek(key) == []:
            table.wrong(key, "is an empty list.", "Name a condition, or take the key out.")
        found = [self._condition(inner) for inner in table.tables(key)]
        return tuple(condition for condition in found if condition)

    def _condition(self, table: Table) -> Condition:
        clauses: list[Clause] = []
        rest = table.rest()
        if not rest:
            table.complaints.add(
                table.path, "is empty and would always hold.", "Name a path and what must stand there."
            )
        for key, wanted in rest.items():
            place = None if self.layout and key in self.where else self._place(key)
            places = (place,) if place else self.where.get(key, ())
            if place and not self.layout and (wrong := self.misfit(place)):
                table.wrong(key, f'"{key}" {wrong}', "Count as the standard of the protocol does.")
            elif not places:
                what = f'"{key}" is neither a path nor a name that [where] places.'
                table.wrong(key, what, 'Write a path such as "O-12", or add the name to [where].')
            elif pattern := read_pattern(table, key, wanted):
                clauses.append(Clause(key, places, pattern))
        return tuple(clauses)


def read_pattern(table: Table, key: str, wanted: object) -> re.Pattern[str] | None:
    """The regular expression that stands at a key; None, with a complaint, when it is none."""
    if not isinstance(wanted, str):
        table.wrong(key, "must be a regular expression.", "Write it between single quotes: '^Q$'.")
        return None
    if not wanted:
        table.wrong(key, "is empty and would always hold.", "Write what must stand there; '^$' says that nothing does.")
        return None
    try:
        return re.compile(wanted)
    except re.error as error:
        table.wrong(key, f"is no regular expression: {error}.", "Write it between single quotes: '^Q$'.")
        return None
