"""Which rows belong together: a result row, what it stands under, and what hangs on it.

    H                 H is the whole message's
      P               a new P ends the O before it
        O             a new O ends the one before
          R           the result row: sees its own O, P and H, never another's
            C M S     hang on the R before them

    MSH PID [ORC] OBR {OBX {NTE TCD INV}} SPM    ORU: the specimen comes after its OBR
    MSH [PID] SPM [SAC] {OBR [ORC] {OBX}}        OUL, OML, others: the specimen comes before

Not here: what the fields mean. Linear in the number of rows; nothing raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labgateway.instruments.paths import Place
from labgateway.protocols.rows import Row


class Group:
    """The rows that stand above a result row, by name, and the texts already looked up in them."""

    __slots__ = ("kind", "known", "memo", "rows")

    def __init__(self, rows: dict[str, Row]) -> None:
        self.rows = rows
        self.memo: dict[object, str] = {}
        self.known: dict[str, str] | None = None
        """Parts of a result that are the same for the whole group, once they were read."""
        self.kind: object = None


class Item:
    """One row of the wanted name with its group and the rows that hang on it."""

    __slots__ = ("group", "hanging", "row")

    def __init__(self, row: Row, group: Group) -> None:
        self.row = row
        self.group = group
        self.hanging: list[Row] = []

    def find(self, name: str) -> Row | None:
        """The row a place of this name means for this item; None when there is none of its own."""
        if name == self.row.name:
            return self.row
        for row in self.hanging:
            if row.name == name:
                return row
        return self.group.rows.get(name)

    def text(self, places: tuple[Place, ...]) -> str:
        """Text at the first of these places that is filled; empty when none is."""
        for place in places:
            row = self.find(place.row)
            if row is not None and (text := place.of(row)):
                return text
        return ""


def astm(rows: Iterable[Row], wanted: frozenset[str]) -> list[Item]:
    """The rows of the wanted names (R, Q) in message order, each under its own H, P and O."""
    items: list[Item] = []
    last: Item | None = None
    group = Group({})
    for row in rows:
        match row.name:
            case "H":
                group, last = Group({"H": row}), None
            case "P":
                group, last = Group(_only(group, ("H",), row)), None
            case "O":
                group, last = Group(_only(group, ("H", "P"), row)), None
            case "L":
                group, last = Group(_only(group, ("H",), row)), None
            case _:
                pass
        if row.name in wanted:
            last = Item(row, group)
            items.append(last)
        elif last is not None and row.name not in ("R", "Q"):
            last.hanging.append(row)
    return items


def _only(group: Group, names: tuple[str, ...], row: Row) -> dict[str, Row]:
    return {name: group.rows[name] for name in names if name in group.rows} | {row.name: row}


_STRUCTURAL: frozenset[str] = frozenset(
    {"MSH", "PID", "PV1", "ORC", "OBR", "TQ1", "SPM", "SAC", "OBX", "QPD", "QRD", "RCP"}
)
ABOVE = frozenset({"H", "P", "O", "MSH", "PID", "PV1", "ORC", "OBR", "TQ1", "SPM", "SAC"})
"""Names of rows that can only stand above a result: the same one for the whole group."""
_ABOVE = ("MSH", "PID", "PV1")
_HANGING = frozenset({"NTE", "TCD"})


def hl7(rows: Sequence[Row], wanted: frozenset[str]) -> list[Item]:
    """The rows of the wanted names (OBX, QPD) in message order, each under its own specimen and order."""
    if rows and rows[0].name == "MSH" and rows[0].value(9, 1) in ("ORU", "ORF"):
        return _specimen_after(rows, wanted)
    return _specimen_before(rows, wanted)


def _specimen_after(rows: Sequence[Row], wanted: frozenset[str]) -> list[Item]:
    """ORU: an ORC or OBR begins an order, the SPM behind it is its own. Two of them belong to nobody.

    An SPM before the first OBR is against the structure of an ORU, so nobody can know whose it is.
    """
    items: list[Item] = []
    last: Item | None = None
    group = Group({})
    for row in rows:
        name = row.name
        current = group.rows
        match name:
            case "PID":
                group = Group({n: current[n] for n in ("MSH",) if n in current} | {"PID": row})
            case "ORC" | "OBR" if "OBR" in current:
                group = Group({n: current[n] for n in _ABOVE if n in current} | {name: row})
            case "SPM" | "SAC":
                if "OBR" in current:
                    _one_only(current, row)
            case _ if _is_context(name, last):
                current[name] = row
            case _:
                pass
        last = _item(row, group, wanted, last, items)
    return items


def _is_context(name: str, last: Item | None) -> bool:
    """Whether a row belongs to the group: it is structural, or no result stands before it that it could hang on."""
    return name != "OBX" and (name in _STRUCTURAL or (last is None and name not in _HANGING))


def _one_only(current: dict[str, Row], row: Row) -> None:
    """Keep the only SPM (or SAC) of an order; a second one makes it impossible to say which is meant."""
    if row.name not in current:
        current[row.name] = row
    elif current[row.name].fields[2:] != row.fields[2:]:
        current[row.name] = Row(row.name, (row.name,), row.delimiters, row.number, row.is_hl7)


def _container(before: Row | None, row: Row) -> Row:
    """Of two SAC of one specimen the one in which the results were measured: the tube taken from the other (SAC-4, the
    primary container). Two ids of which neither says so are nobody's, and so is what follows them."""
    if before is None:
        return row
    if len(before.fields) == 1:
        return before
    first, second = before.value(3, 1).strip(), row.value(3, 1).strip()
    if not first or not second or first == second:
        return row
    primary_of_first, primary_of_second = (one.value(4, 1).strip() for one in (before, row))
    match primary_of_first == second, primary_of_second == first:
        case True, False:
            return before
        case False, True:
            return row
        case _:
            return Row(row.name, (row.name,), row.delimiters, row.number, row.is_hl7)


def _specimen_before(rows: Sequence[Row], wanted: frozenset[str]) -> list[Item]:
    """OUL, OML and the rest: an SPM or SAC begins a specimen, an OBR an order on it."""
    items: list[Item] = []
    last: Item | None = None
    group = Group({})
    specimen: dict[str, Row] = {}
    is_orc_first = bool(rows) and rows[0].value(9, 1) in _ORC_FIRST
    for row in rows:
        name = row.name
        current = group.rows
        if name in ("PID", "SPM", "SAC"):
            if "OBR" in current or (name != "SAC" and name in current):
                kept = ("MSH",) if name == "PID" else _ABOVE
                current = {n: current[n] for n in kept if n in current}
            group = Group({**current, name: _container(current.get(name), row) if name == "SAC" else row})
        elif name == "OBR" or (name == "ORC" and is_orc_first):
            if "OBR" not in current:
                specimen = {n: r for n, r in current.items() if n not in _ORDER}
            is_same_order = is_orc_first and "OBR" not in current
            group = Group({**(current if is_same_order else specimen), name: row})
        elif name in ABOVE:
            group = Group({**current, name: row})
        elif _is_context(name, last):
            current[name] = row
        last = _item(row, group, wanted, last, items)
    return items


_ORDER = frozenset({"OBR", "ORC", "TQ1"})
_ORC_FIRST = ("OML", "ORM", "ORL", "ORR", "OMG")
"""Messages in which ORC begins an order; elsewhere it follows its OBR."""


def _item(row: Row, group: Group, wanted: frozenset[str], last: Item | None, items: list[Item]) -> Item | None:
    """Note a wanted row, or hang a row on the wanted one before it; answer which one that is now."""
    if row.name in wanted:
        last = Item(row, group)
        items.append(last)
    elif row.name in _STRUCTURAL:
        return None
    elif last is not None:
        last.hanging.append(row)
    return last
