"""[orders] of driver.toml to OrderForm, every mistake reported. The keys stand in docs/drivers.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labgateway.instruments import text
from labgateway.instruments.keys import Table
from labgateway.instruments.order_form import (
    ACTIONS,
    ENDS,
    FIELDS,
    PARTICULARS,
    PRIORITIES,
    REPORTS,
    SEXES,
    Deed,
    NoOrder,
    OrderForm,
)
from labgateway.instruments.paths import Place, read_place

_WRITTEN = ("H", "P", "O", "L")
_MOST_FRAME_BYTES = 63_993


def read_orders(table: Table, where: Mapping[str, tuple[Place, ...]]) -> OrderForm:
    """How the instrument wants its orders. where: of the driver; what stands in P and O is written there, too."""
    form = OrderForm(
        specimen=_place(table, "specimen", _usual(where, "specimen", "O-3.1")) or Place("O", 3, 1),
        code=_place(table, "code", _code(where)) or Place("O", 5, 4),
        places={
            name: place
            for name in (*PARTICULARS, "specimen_type")
            if (place := _place(table, name, _usual(where, name, PARTICULARS.get(name, ""))))
        },
        action=_place(table, "action", "O-12"),
        report=_place(table, "report", "O-26"),
        priority=_place(table, "priority", "O-6"),
        sent_at=_place(table, "sent_at", "H-14"),
        none=NoOrder(table.choice("none", (NoOrder.END, NoOrder.ORDER, NoOrder.QUERY), NoOrder.END)),
        actions=deeds(table, "actions", ACTIONS),
        reports=deeds(table, "reports", REPORTS),
        ends=deeds(table, "ends", ENDS),
        priorities=words(table, "priorities", PRIORITIES),
        sexes=words(table, "sexes", SEXES),
        specimen_types=words(table, "specimen_types", {}),
        fields=tuple(_fields(table, "fields", FIELDS)),
        unasked_fields=tuple(_fields(table, "unasked_fields", {})),
        after_code=table.text("after_code"),
        echo=tuple(_echo(table)),
        query_status=table.text("query_status", "X"),
        delimiters=_delimiters(table),
        width=int(table.number("width", 1)) if table.has("width") else 0,
        each=table.flag("each", default=False),
        encoding=encoding(table),
        frame_bytes=min(int(table.number("frame_bytes", 240)), _MOST_FRAME_BYTES),
        packed=table.flag("packed", default=False),
        needs_patient=table.flag("needs_patient", default=False),
        unasked=table.flag("unasked", default=False),
    )
    if (form.code.row, form.specimen.row) != ("O", "O"):
        table.wrong("code", "and specimen must stand in the O record.", "Write O-FIELD.COMPONENT, such as O-5.4.")
    table.done()
    return form


def _usual(where: Mapping[str, tuple[Place, ...]], name: str, standard: str) -> str:
    """Where the instrument itself sends it, if that is a record of ours, else where the standard has it."""
    return next((str(place) for place in where.get(name, ()) if place.row in ("P", "O")), standard)


def _code(where: Mapping[str, tuple[Place, ...]]) -> str:
    """The component of the test id in which the instrument has its code, in the order's test id (LIS02-A2 9.4.5)."""
    for place in where.get("code", ()):
        if place.row == "R" and place.field == 3 and place.component:
            return f"O-5.{place.component}"
    return "O-5.4"


def _place(table: Table, key: str, usual: str) -> Place | None:
    """A place; "" in the file: nowhere."""
    if table.peek(key) == "":
        table.take(key)
        return None
    written = table.text(key, usual)
    return _in_a_record(table, key, written) if written else None


def _in_a_record(table: Table, key: str, written: str) -> Place | None:
    place = read_place(written)
    if place is None or place.row not in _WRITTEN or place.subcomponent is not None or place.field < 2:
        table.wrong(key, f'"{written}" is no place in a message of ours.', "Write RECORD-FIELD.COMPONENT: O-3.1.")
        return None
    return place


def deeds(table: Table, key: str, usual: Mapping[Deed, str]) -> dict[Deed, str]:
    """A word for everything that a message may do."""
    said = words(table, key, {deed.value: word for deed, word in usual.items()})
    for name in said:
        if name not in tuple(Deed):
            table.wrong(key, f'"{name}" is nothing that is done.', f"Use some of: {', '.join(Deed)}.")
    return {deed: said[deed.value] for deed in Deed}


def words(table: Table, key: str, usual: Mapping[str, str]) -> dict[str, str]:
    """The usual words with those of the file over them."""
    return {**usual, **dict(texts(table, key))}


def texts(table: Table, key: str) -> Iterable[tuple[str, str]]:
    """The texts of an inner table by name."""
    inner = table.table(key)
    for name, word in inner.rest().items():
        if isinstance(word, str):
            yield name, word
        else:
            inner.wrong(name, "must be a text.", f'Write {name} = "…".')


def _fields(table: Table, key: str, usual: Mapping[str, str]) -> Iterable[tuple[Place, str]]:
    for path, said in words(table, key, usual).items():
        if place := _in_a_record(table, key, path):
            yield place, said


def _echo(table: Table) -> Iterable[tuple[Place, Place]]:
    for to, source in texts(table, "echo"):
        from_ = read_place(source)
        if from_ is None or from_.row != "Q":
            table.wrong("echo", f'"{source}" is no place of the query.', "Write Q-FIELD.COMPONENT, such as Q-3.1.")
        elif place := _in_a_record(table, "echo", to):
            yield place, from_


def _delimiters(table: Table) -> str:
    said = table.text("delimiters", "|\\^&")
    if len(said) != 4 or len(set(said)) != 4 or any(c.isalnum() or c.isspace() for c in said):
        table.wrong("delimiters", "must be four different characters.", "Field, repeat, component, escape: '|\\^&'.")
        return "|\\^&"
    return said


def encoding(table: Table) -> str | None:
    """An encoding that is known; None when the file says none."""
    said = table.text("encoding")
    if said and not text.is_known(said):
        known = f"utf-8, latin-1, {', '.join(text.OWN)}"
        table.wrong("encoding", f'"{said}" is not known.', f"Use {known}, or another that Python knows.")
        return None
    return said or None
