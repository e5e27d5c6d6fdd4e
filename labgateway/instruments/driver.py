"""driver.toml to Driver: what is true of one model, checked whole before anything uses it.

Not here: how a message is read with it (decode.py), who is meant (recognise.py). Every key stands in
docs/drivers.md; a test compares both.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import cast

from labgateway.errors import ComplaintsError
from labgateway.instruments import order_keys_hl7, order_keys_raw, quirks
from labgateway.instruments.ack_keys import read_ack
from labgateway.instruments.keys import Complaints, Table
from labgateway.instruments.layout import QUERY_ROW, Layout
from labgateway.instruments.layout_keys import read_layout
from labgateway.instruments.line_keys import read_line
from labgateway.instruments.order_form import OrderForm
from labgateway.instruments.order_keys import read_orders
from labgateway.instruments.paths import Clause, Condition, Place
from labgateway.instruments.place_keys import Form, read_pattern
from labgateway.instruments.spec import (
    PROTOCOLS,
    RAW_PROTOCOLS,
    ROW_KINDS,
    STATUSES,
    TABLE,
    Driver,
    LineSettings,
    Query,
    Recognise,
    RowRule,
    Variant,
    Words,
    squeeze,
)
from labgateway.model import Status
from labgateway.protocols.hl7 import STANDARD_ACK
from labgateway.toml_lines import read_toml

FILE = "driver.toml"
SCHEMA = 1

__all__ = ["FILE", "SCHEMA", "Driver", "load", "squeeze"]


def load(folder: Path, *, name: str | None = None) -> Driver:
    """The driver of a folder (the one that holds driver.toml).

    name: how complaints call the file; None: the path as given. Raises ComplaintsError with every
    mistake of the file at once.
    """
    path = folder / FILE
    shown = str(path) if name is None else name
    data, lines = read_toml(path, name=shown)
    complaints = Complaints(shown, lines)
    driver = _read(folder, Table(data, (), complaints))
    if complaints.found:
        raise ComplaintsError(sorted(complaints.found, key=lambda c: c.line or 0))
    return driver


def line_of(folder: Path) -> tuple[str, LineSettings]:
    """The protocol and the line of a folder's driver, as far as a broken file can still be read.

    So that the messages of its instrument are received, and wait until it is mended. The protocol is "" where
    the file does not say one; what it does not say of the line, or says wrong, is the default. Never raises.
    """
    try:
        data, lines = read_toml(folder / FILE)
    except ComplaintsError:
        try:
            found = re.search(r'(?m)^\s*protocol\s*=\s*["\'](\w+)["\']', (folder / FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            found = None
        return (found[1] if found and found[1] in PROTOCOLS else ""), LineSettings()
    top = Table(data, (), Complaints(FILE, lines))
    protocol = top.text("protocol")
    return protocol if protocol in PROTOCOLS else "", read_line(top.table("line"))


def _read(folder: Path, top: Table) -> Driver:
    schema = top.take("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        what = "is missing." if schema is None else f"{schema} is not a form that this version reads."
        top.wrong("schema", what, f"Write schema = {SCHEMA}.")
    protocol = top.text("protocol", required=True)
    if protocol and protocol not in PROTOCOLS:
        top.wrong("protocol", f'"{protocol}" is not known.', f"Use one of: {', '.join(PROTOCOLS)}.")
    layout = _layout(top, protocol)
    form = Form(protocol, layout, top.table("where", required=True))
    is_open, tests = _tests(top)
    asks = top.has("query")
    query = _query(top.table("query"), form, is_there=asks)
    driver = Driver(
        name=folder.resolve().name,
        folder=folder,
        title=top.text("title", required=True),
        maker=top.text("maker", "?", required=True),
        protocol=protocol,
        sources=top.texts("sources", required=True),
        where=form.where,
        tests=tests,
        is_open=is_open,
        models=top.texts("models"),
        aliases=top.texts("aliases"),
        status=top.choice("status", STATUSES, "simulated"),
        quirks=_quirks(top),
        recognise=_recognise(top.table("recognise"), form),
        line=read_line(top.table("line")),
        words=_words(top.table("words")),
        control=_only_when(top.table("control"), form),
        calibration=_only_when(top.table("calibration"), form),
        rows=tuple(_row_rule(table, form) for table in top.tables("rows")),
        orders=_orders(top, form, query) if asks or top.has("orders") else None,
        query=query,
        variants=tuple(_variant(table, form) for table in top.tables("variant")),
        take=_take(top.table("take"), form),
        join=_join(top.table("join"), form),
        time_formats=_time_formats(top),
        not_shown=top.texts("not_shown"),
        ack=read_ack(top.table("ack")) if protocol == "hl7" else STANDARD_ACK,
        layout=layout,
    )
    top.done()
    return driver


def _layout(top: Table, protocol: str) -> Layout | None:
    if protocol not in RAW_PROTOCOLS:
        return None
    return read_layout(top.table("layout", required=True), is_table=protocol == TABLE)


def _tests(top: Table) -> tuple[bool, dict[str, tuple[str, ...]]]:
    is_open = top.has("codes")
    if is_open and (codes := top.take("codes")) != "open":
        top.wrong("codes", f'must be "open", not {codes!r}.', 'Write codes = "open", or declare them in [tests].')
    is_there = top.has("tests")
    table = top.table("tests")
    tests: dict[str, tuple[str, ...]] = {}
    for code, unit in table.rest().items():
        units = cast("list[object]", unit) if isinstance(unit, list) else [unit]
        if units and all(isinstance(u, str) for u in units):
            tests[code] = tuple(str(u).strip() for u in units)
        else:
            table.wrong(
                code, "must be a unit or a list of units.", 'Write "10*3/uL", ["g/dL", "g/L"], or "" for no unit.'
            )
    if not tests and not is_open:
        what = "declares no test." if is_there else "is missing."
        top.complaints.add(("tests",), what, 'Declare the codes in [tests], or write codes = "open" at the top.')
    return is_open, tests


def _quirks(top: Table) -> tuple[str, ...]:
    names = top.texts("quirks")
    for name in names:
        if not quirks.known(name):
            top.wrong("quirks", f'"{name}" is no quirk.', "Name a function of labgateway/instruments/quirks.py.")
    return names


def _recognise(table: Table, form: Form) -> Recognise:
    pattern = read_pattern(table, "sender", table.take("sender")) if table.has("sender") else None
    recognise = Recognise(pattern, form.conditions(table))
    table.done()
    return recognise


def _words(table: Table) -> Words:
    statuses: dict[str, Status] = {}
    status_table = table.table("status") if table.has("status") else None
    for word, meaning in status_table.rest().items() if status_table else ():
        if meaning in tuple(Status):
            statuses[word.strip()] = Status(meaning)
        elif status_table:
            status_table.wrong(word, f"means {meaning!r}, which is no status.", f"Use one of: {', '.join(Status)}.")
    flags: dict[str, str] = {}
    flag_table = table.table("flag") if table.has("flag") else None
    for word, meaning in flag_table.rest().items() if flag_table else ():
        if isinstance(meaning, str) and meaning.strip():
            flags[word.strip()] = meaning
        elif flag_table:
            flag_table.wrong(word, "must be the meaning of the flag.", 'Write "normal", "high", "low" or the like.')
    no_result = table.texts("no_result", one=True, blank=True)
    unreadable = [read_pattern(table, "unreadable", form) for form in table.texts("unreadable", one=True)]
    elsewhere = table.texts("elsewhere", one=True)
    table.done()
    return Words(
        flag=flags if flag_table else None,
        status=statuses if status_table else None,
        no_result=frozenset(word.strip() for word in no_result),
        unreadable=tuple(pattern for pattern in unreadable if pattern),
        elsewhere=frozenset(elsewhere),
    )


def _only_when(table: Table, form: Form) -> tuple[Condition, ...]:
    conditions = form.conditions(table)
    table.done()
    return conditions


def _row_rule(table: Table, form: Form) -> RowRule:
    conditions = form.conditions(table, required=True)
    if not table.has("is"):
        table.wrong("is", "is missing.", f"Use one of: {', '.join(ROW_KINDS)}.")
    rule = RowRule(conditions, table.choice("is", ROW_KINDS, "ignore"))
    table.done()
    return rule


def _query(table: Table, form: Form, *, is_there: bool) -> Query:
    if is_there and not table.has("specimen"):
        table.wrong("specimen", "is missing.", 'Say where a query names its specimens: specimen = "…".')
    # HL7 has no word for "all" in the specimen's place: there conditions say it.
    all_when = form.conditions(table, "everything") if not isinstance(table.peek("everything"), str) else ()
    everything = read_pattern(table, "everything", table.take("everything")) if table.has("everything") else None
    is_astm = form.protocol == "astm"
    specimen = form.place_list(table, "specimen", QUERY_ROW)
    until = form.place_list(table, "until", QUERY_ROW)
    cancelled = form.conditions(table, "cancelled")
    nameless = form.conditions(table, "nameless")
    if is_astm and specimen:
        # LIS02-A2 12.1.3, 12.1.4 and 12.1.13
        everything = everything or _ALL
        until = until or tuple(Place("Q", 4, place.component) for place in specimen)
        cancelled = cancelled or ((Clause("Q-13", (Place("Q", 13),), _ABORT),),)
    query = Query(specimen, form.conditions(table), everything, until, cancelled, all_when, nameless)
    if len({place.row for place in query.specimen}) > 1:
        table.wrong("specimen", "names several records.", "Name one record; a query is one record.")
    table.done()
    return query


_ALL = re.compile("^ALL$")
_ABORT = re.compile("^A")


def _orders(top: Table, form: Form, query: Query) -> OrderForm | None:
    """Read only where it asks, or its file says how it would take them: else it takes none."""
    match form.protocol:
        case "astm":
            return read_orders(top.table("orders"), form.where)
        case "hl7":
            row = query.specimen[0].row if query.specimen else ""
            return order_keys_hl7.read_orders(top.table("orders"), row, form.conditions)
        case protocol:
            return order_keys_raw.read_orders(top.table("orders"), protocol) if top.has("orders") else None


def _variant(table: Table, form: Form) -> Variant:
    conditions = form.conditions(table, required=True)
    where = table.table("where", required=True)
    variant = Variant(conditions, form.places(where))
    table.done()
    return variant


def _take(table: Table, form: Form) -> dict[str, re.Pattern[str]]:
    found: dict[str, re.Pattern[str]] = {}
    for name, wanted in table.rest().items():
        pattern = read_pattern(table, name, wanted)
        if name not in form.where:
            table.wrong(name, "is not placed by [where].", f"Use one of: {', '.join(form.where)}.")
        elif pattern and pattern.groups != 1:
            table.wrong(name, "must have exactly one group.", "Put the part that is meant between round brackets.")
        elif pattern:
            found[name] = pattern
    return found


def _join(table: Table, form: Form) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, separator in table.rest().items():
        if name not in form.where:
            table.wrong(name, "is not placed by [where].", f"Use one of: {', '.join(form.where)}.")
        elif not isinstance(separator, str):
            table.wrong(name, "must be the text between the parts.", f'Write {name} = "^".')
        else:
            found[name] = separator
    return found


def _time_formats(top: Table) -> tuple[str, ...]:
    formats = top.texts("time_format", one=True)
    for form in formats:
        try:
            datetime.strptime(_SOME_TIME.strftime(form), form)  # noqa: DTZ007 - the instrument's local time
        except ValueError:
            top.wrong("time_format", f'"{form}" is no form of a time.', 'Write it as for strptime: "%d/%m/%Y %H:%M".')
    return formats


_SOME_TIME = datetime(2001, 2, 13, 14, 15, 16)  # noqa: DTZ001 - only its digits count
