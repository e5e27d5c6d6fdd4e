"""driver.toml to Driver: what is true of one model, checked whole before anything uses it.

Not here: how a message is read with it (decode.py), who is meant (recognise.py). Every key stands in
docs/drivers.md; a test compares both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import cast, get_args

from labgateway.errors import Complaint, ComplaintsError
from labgateway.instruments import order_keys_hl7, order_keys_raw, quirks, text
from labgateway.instruments.ack_keys import read_ack
from labgateway.instruments.keys import Complaints, Table
from labgateway.instruments.layout import QUERY_ROW, RESULT_ROW, Layout
from labgateway.instruments.layout_keys import read_layout
from labgateway.instruments.order_form import OrderForm
from labgateway.instruments.order_keys import read_orders
from labgateway.instruments.paths import Clause, Condition, Place, read_place
from labgateway.instruments.spec import (
    ASTM_RECORDS,
    KINDS,
    PROTOCOLS,
    RAW_PROTOCOLS,
    ROW_KINDS,
    STATUSES,
    TABLE,
    WHERE,
    WHERE_REQUIRED,
    Driver,
    Flow,
    LineSettings,
    Parity,
    Query,
    Recognise,
    Reply,
    RowRule,
    Serial,
    Variant,
    Words,
    squeeze,
)
from labgateway.model import Status
from labgateway.protocols.hl7 import STANDARD_ACK
from labgateway.toml_lines import read_toml

FILE = "driver.toml"
SCHEMA = 1

__all__ = ["FILE", "SCHEMA", "Driver", "Library", "load", "squeeze"]


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
    return protocol if protocol in PROTOCOLS else "", _line(top.table("line"))


class Library:
    """The drivers of some folders. A broken one stops no other: it stands in `broken` with its complaints."""

    def __init__(self, drivers: Iterable[Driver], broken: Mapping[str, list[Complaint]] | None = None) -> None:
        self.drivers: dict[str, Driver] = {driver.name: driver for driver in drivers}
        self.broken: dict[str, list[Complaint]] = dict(broken or {})

    @classmethod
    def of(cls, folders: Iterable[Path]) -> Library:
        """Every driver below these folders (each driver a folder with a driver.toml in it).

        A folder may also be a driver itself. Of two drivers of one name the later folder's wins, so
        that a site can replace a shipped driver.
        """
        drivers: dict[str, Driver] = {}
        broken: dict[str, list[Complaint]] = {}
        for folder in folders:
            inner = [folder] if (folder / FILE).is_file() else sorted(p.parent for p in folder.glob(f"*/{FILE}"))
            for place in inner:
                drivers.pop(place.name, None)
                broken.pop(place.name, None)
                try:
                    drivers[place.name] = load(place)
                except ComplaintsError as error:
                    broken[place.name] = error.complaints
        return cls(drivers.values(), broken)

    def find(self, name: str) -> Driver | None:
        """The driver of this name: its folder's name, else the only one with such a maker_model; else None."""
        if name in self.drivers:
            return self.drivers[name]
        found = self.find_all(name)
        return found[0] if len(found) == 1 else None

    def find_all(self, name: str) -> tuple[Driver, ...]:
        """Every driver that answers to a name, the one with this folder's name first (ASTM and HL7 of one model)."""
        wanted = squeeze(name)
        found = [driver for driver in self.drivers.values() if wanted in driver.names]
        return tuple(sorted(found, key=lambda d: (squeeze(d.name) != wanted, d.name)))


def _read(folder: Path, top: Table) -> Driver:
    schema = top.take("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        what = "is missing." if schema is None else f"{schema} is not a form that this version reads."
        top.wrong("schema", what, f"Write schema = {SCHEMA}.")
    protocol = top.text("protocol", required=True)
    if protocol and protocol not in PROTOCOLS:
        top.wrong("protocol", f'"{protocol}" is not known.', f"Use one of: {', '.join(PROTOCOLS)}.")
    layout = _layout(top, protocol)
    form = _Form(protocol, layout, top.table("where", required=True))
    is_open, tests = _tests(top)
    asks = top.has("query")
    query = _query(top.table("query"), form)
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
        line=_line(top.table("line")),
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


class _Form:
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
            elif pattern := _pattern(table, key, wanted):
                clauses.append(Clause(key, places, pattern))
        return tuple(clauses)


def _layout(top: Table, protocol: str) -> Layout | None:
    if protocol not in RAW_PROTOCOLS:
        return None
    return read_layout(top.table("layout", required=True), is_table=protocol == TABLE)


def _pattern(table: Table, key: str, wanted: object) -> re.Pattern[str] | None:
    if not isinstance(wanted, str):
        table.wrong(key, "must be a regular expression.", "Write it between single quotes: '^Q$'.")
        return None
    try:
        return re.compile(wanted)
    except re.error as error:
        table.wrong(key, f"is no regular expression: {error}.", "Write it between single quotes: '^Q$'.")
        return None


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


def _recognise(table: Table, form: _Form) -> Recognise:
    pattern = _pattern(table, "sender", table.take("sender")) if table.has("sender") else None
    recognise = Recognise(pattern, form.conditions(table))
    table.done()
    return recognise


def _line(table: Table) -> LineSettings:
    kinds = table.texts("kinds")
    for kind in kinds:
        if kind not in KINDS:
            table.wrong("kinds", f'"{kind}" is no kind of line.', f"Use some of: {', '.join(KINDS)}.")
    serial = table.table("serial")
    settings = Serial(
        baud=int(serial.number("baud", 9600)),
        bits=int(serial.number("bits", 8, (5, 6, 7, 8))),
        parity=serial.choice("parity", get_args(Parity), "none"),
        stop=serial.number("stop", 1, (1, 1.5, 2)),
        flow=serial.choice("flow", get_args(Flow), "none"),
    )
    serial.done()
    encoding = table.text("encoding") or None
    if encoding and not text.is_known(encoding):
        known = f"utf-8, latin-1, {', '.join(text.OWN)}"
        table.wrong("encoding", f'"{encoding}" is not known.', f"Use {known}, or another that Python knows.")
    queries = table.flag("queries", default=False)
    replies = tuple(reply for each in table.tables("replies") if (reply := _reply(each)))
    found = LineSettings(
        kinds or LineSettings().kinds,
        settings,
        queries,
        encoding,
        replies,
        checksum=table.choice("checksum", ("required", "optional"), "required"),
        numbers=table.choice("numbers", ("strict", "loose", "absent"), "strict"),
        framing=table.choice("framing", ("frames", "tokens", "records"), "frames"),
        silence_s=table.number("silence_s", 2),
        acks_eot=table.flag("acks_eot", default=False),
        end=table.choice("end", ("L", "session"), "L"),
    )
    table.done()
    return found


def _reply(table: Table) -> Reply | None:
    when = _pattern(table, "when", table.take("when"))
    say = table.take("say")
    if not isinstance(say, str) or not say:
        table.wrong("say", "must be a text.", 'Write what is said, such as say = "SE".')
    elif when is not None:
        try:
            # Without any text every group is empty: a wrong template is found before it is needed.
            if found := re.compile(f"{when.pattern}|").match(""):
                found.expand(say).encode("latin-1")
        except (re.error, IndexError, UnicodeEncodeError) as error:
            table.wrong("say", f"cannot be said: {error}.", r"Write Latin-1; \g<name> stands for a group of `when`.")
    table.done()
    return Reply(when, say) if when is not None and isinstance(say, str) else None


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
    unreadable = [_pattern(table, "unreadable", form) for form in table.texts("unreadable", one=True)]
    elsewhere = table.texts("elsewhere", one=True)
    table.done()
    return Words(
        flag=flags if flag_table else None,
        status=statuses if status_table else None,
        no_result=frozenset(word.strip() for word in no_result),
        unreadable=tuple(pattern for pattern in unreadable if pattern),
        elsewhere=frozenset(elsewhere),
    )


def _only_when(table: Table, form: _Form) -> tuple[Condition, ...]:
    conditions = form.conditions(table)
    table.done()
    return conditions


def _row_rule(table: Table, form: _Form) -> RowRule:
    conditions = form.conditions(table, required=True)
    if not table.has("is"):
        table.wrong("is", "is missing.", f"Use one of: {', '.join(ROW_KINDS)}.")
    rule = RowRule(conditions, table.choice("is", ROW_KINDS, "ignore"))
    table.done()
    return rule


def _query(table: Table, form: _Form) -> Query:
    # HL7 has no word for "all" in the specimen's place: there conditions say it.
    all_when = form.conditions(table, "everything") if not isinstance(table.peek("everything"), str) else ()
    everything = _pattern(table, "everything", table.take("everything")) if table.has("everything") else None
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


def _orders(top: Table, form: _Form, query: Query) -> OrderForm | None:
    """Read only where it asks, or its file says how it would take them: else it takes none."""
    match form.protocol:
        case "astm":
            return read_orders(top.table("orders"), form.where)
        case "hl7":
            row = query.specimen[0].row if query.specimen else ""
            return order_keys_hl7.read_orders(top.table("orders"), row, form.conditions)
        case protocol:
            return order_keys_raw.read_orders(top.table("orders"), protocol) if top.has("orders") else None


def _variant(table: Table, form: _Form) -> Variant:
    conditions = form.conditions(table, required=True)
    where = table.table("where", required=True)
    variant = Variant(conditions, form.places(where))
    table.done()
    return variant


def _take(table: Table, form: _Form) -> dict[str, re.Pattern[str]]:
    found: dict[str, re.Pattern[str]] = {}
    for name, wanted in table.rest().items():
        pattern = _pattern(table, name, wanted)
        if name not in form.where:
            table.wrong(name, "is not placed by [where].", f"Use one of: {', '.join(form.where)}.")
        elif pattern and pattern.groups != 1:
            table.wrong(name, "must have exactly one group.", "Put the part that is meant between round brackets.")
        elif pattern:
            found[name] = pattern
    return found


def _join(table: Table, form: _Form) -> dict[str, str]:
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
