"""Find config.toml, read it, and say every mistake at once.

text -> parse_toml -> section by section: kind -> its dataclass -> pydantic -> complaints
                   -> across sections: ports taken twice, filters that name nobody -> complaints
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from pydantic import TypeAdapter, ValidationError

from labgateway.config import brokers, columns, lines
from labgateway.config import destinations as d
from labgateway.config import orders as o
from labgateway.config import sections as s
from labgateway.config.words import said, unknown_cure
from labgateway.errors import Complaint, ComplaintsError
from labgateway.toml_lines import KeyPath, line_of, parse_toml

SYSTEM_CONFIG = Path("/etc/labgateway/config.toml")

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Table = dict[str, Any]

_NAME = re.compile(r"[a-z0-9_-]+")
_SECTIONS = ("gateway", "store", "matching", "instrument", "orders", "destination", "console", "nodes")
_LINES = {
    "tcp-listen": lines.TcpListenLine,
    "tcp": lines.TcpLine,
    "serial": lines.SerialLine,
    "folder": lines.FolderLine,
}
_ORDERS = {"mllp-listen": o.MllpListen, "fhir-listen": o.FhirListen, "folder": o.FolderOrders, "sql": o.SqlOrders}
_DESTINATIONS = {
    "mllp": d.MllpDestination,
    "fhir": d.FhirDestination,
    "http": d.HttpDestination,
    "mqtt": d.MqttDestination,
    "sql": d.SqlDestination,
    "folder": d.FolderDestination,
    "nats": d.NatsDestination,
}


def find(named: str | Path | None = None) -> Path:
    """The config file to use: the named one, else ./config.toml, else the one under /etc/labgateway.

    Raises ComplaintsError when there is none.
    """
    if named is not None:
        if Path(named).is_file():
            return Path(named)
        raise ComplaintsError([Complaint(str(named), None, "", "is not there.", "Check the path after --config.")])
    for path in (Path("config.toml"), SYSTEM_CONFIG):
        if path.is_file():
            return path
    cure = f"Write one here (the sample explains every key), put it at {SYSTEM_CONFIG}, or name it with --config."
    raise ComplaintsError([Complaint("config.toml", None, "", "is not in this folder.", cure)])


def load(path: str | Path) -> s.Config:
    """The Config of a file. Raises ComplaintsError with every mistake, in the order of their lines.

    Missing or broken mappings and drivers are no mistakes here. Nothing but the config file, and the bytes of
    the mapping files for ``version``, is read.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {os.strerror(error.errno) if error.errno else 'it failed'}."
        cure = "Put the file there, readable for labgateway."
        raise ComplaintsError([Complaint(str(path), None, "", what, cure)]) from None
    return parse(raw, path)


def parse(raw: bytes, path: Path) -> s.Config:
    """As `load`, for text that is not on disk yet; path says how it is called and where it will stand."""
    data, index = parse_toml(raw, name=str(path))
    base = path.absolute().parent
    reading = _Reading(path, index, {"base": base, "mappings": base / "mappings"})
    config = _config(reading, data, raw)
    if config is None or reading.complaints:
        raise ComplaintsError(sorted(reading.complaints, key=lambda c: c.line or 0))
    return config


@dataclass(slots=True)
class _Reading:
    """One pass over one file: where keys stand, which folders paths count from, what was wrong so far."""

    path: Path
    index: dict[KeyPath, int]
    folders: dict[str, Path]
    complaints: list[Complaint] = field(default_factory=list[Complaint])

    def complain(self, where: KeyPath, what: str, cure: str) -> None:
        key = ".".join(str(part) for part in where)
        self.complaints.append(Complaint(str(self.path), line_of(self.index, where), key, what, cure))

    def check(self, shape: type[T], where: KeyPath, table: Table) -> T | None:
        """The table as its dataclass, or None after complaining."""
        try:
            return TypeAdapter(shape).validate_python(table, context=self.folders)
        except ValidationError as error:
            known = [f.name for f in fields(shape)]
            for detail in error.errors(include_url=False, include_input=False):
                self.complain((*where, *detail["loc"]), *said(detail, known))
            return None

    def check_kind(
        self, kinds: Mapping[str, type[T]], supported: frozenset[str], where: KeyPath, table: Table
    ) -> T | None:
        """As `check`, for a table whose ``kind`` says which dataclass it is."""
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            what = "is missing." if kind is None else "is none of the kinds that there are."
            self.complain((*where, "kind"), what, f"Write one of: {', '.join(kinds)}.")
            return None
        if kind not in supported:
            what = f"`{kind}` is planned, but this version of labgateway cannot run it."
            self.complain((*where, "kind"), what, f"It runs: {', '.join(sorted(supported))}.")
        return self.check(kinds[kind], where, table)

    def table(self, where: KeyPath, value: object) -> Table | None:
        """The value if it is a table, None after complaining."""
        if _is_table(value):
            return value
        self.complain(where, "must be a section.", f"Write [{'.'.join(map(str, where))}] and its keys below it.")
        return None

    def named(self, section: str, data: Table) -> list[tuple[KeyPath, str, Table]]:
        """The tables of [section.NAME] whose names are good, in the order of the file."""
        found: list[tuple[KeyPath, str, Table]] = []
        for name, value in (self.table((section,), data.get(section, {})) or {}).items():
            where: KeyPath = (section, name)
            if not _NAME.fullmatch(name):
                self.complain(where, "is no good name.", "Use a-z, 0-9, _ and - only, such as xn1.")
            elif (table := self.table(where, value)) is not None:
                found.append((where, name, table))
        return found


def _is_table(value: object) -> TypeGuard[Table]:
    return isinstance(value, dict)


def _config(reading: _Reading, data: Table, raw: bytes) -> s.Config | None:
    """Every section checked; None when a section that has no default could not be read."""
    for key in data.keys() - set(_SECTIONS):
        reading.complain((key,), "is no section of config.toml.", unknown_cure(key, _SECTIONS))

    def plain(section: str, shape: type[T]) -> T | None:
        table = reading.table((section,), data.get(section, {}))
        return None if table is None else reading.check(shape, (section,), table)

    gateway = plain("gateway", s.Gateway)
    if gateway is not None:
        reading.folders["mappings"] = gateway.mappings
    store = plain("store", s.Store)
    matching = plain("matching", s.Matching)
    console = plain("console", s.Console) if "console" in data else None
    nodes = plain("nodes", s.Nodes) if "nodes" in data else None

    instruments: dict[str, s.Instrument] = {}
    for where, name, table in reading.named("instrument", data):
        if (instrument := _instrument(reading, where, table)) is not None:
            instruments[name] = instrument
    orders: dict[str, o.OrdersSection] = {}
    for where, name, table in reading.named("orders", data):
        if (source := reading.check_kind(_ORDERS, o.SUPPORTED, where, table)) is not None:
            orders[name] = source
            if isinstance(source, o.FhirListen) and source.allow and source.token_file is None:
                cure = "Write the name of a file that holds the token which callers must say (Authorization: Bearer)."
                reading.complain((*where, "token_file"), "is missing, and the port is open to a network.", cure)
    destinations: dict[str, d.DestinationSection] = {}
    for where, name, table in reading.named("destination", data):
        found = reading.check_kind(_DESTINATIONS, d.SUPPORTED, where, table)
        if found is not None:
            destinations[name] = found

    _ports_taken_twice(reading, instruments, orders, console)
    _places_read_twice(reading, instruments)
    _destinations(reading, destinations, set(_names(data.get("instrument"))))
    if gateway is not None and not gateway.sensitive:
        _sensitive(reading, destinations)
    if nodes is not None and store is not None and not (store.url or "").startswith("postgresql"):
        cure = 'Write url = "postgresql+psycopg://labgateway@host/labgateway" in [store], or take [nodes] out.'
        reading.complain(("nodes",), "several nodes need a store on PostgreSQL.", cure)
    if gateway is None or store is None or matching is None:
        return None
    store = replace(store, url=_database(store.url, gateway.data, reading.folders["base"]))
    version = _version(raw, instruments, destinations)
    file = reading.path.absolute()
    return s.Config(file, version, gateway, store, matching, instruments, orders, destinations, console, nodes)


def _names(value: object) -> Iterable[str]:
    return value if _is_table(value) else ()


def _instrument(reading: _Reading, where: KeyPath, table: Table) -> s.Instrument | None:
    """The instrument; its line is checked on its own, because its kind decides which keys it may have."""
    line = None
    if "line" in table:
        given = reading.table((*where, "line"), table["line"])
        if given is not None:
            line = reading.check_kind(_LINES, lines.SUPPORTED, (*where, "line"), given)
        # With a stand-in for a broken line, the other keys are checked all the same.
        table = {**table, "line": line or lines.TcpLine(host="none", port=1)}
    second = (*where, "orders_line")
    if "orders_line" in table and (given := reading.table(second, table["orders_line"])) is not None:
        kinds = {kind: _LINES[kind] for kind in ("tcp", "tcp-listen")}
        orders_line = reading.check_kind(kinds, lines.SUPPORTED, second, given)
        table = {**table, "orders_line": orders_line}
    instrument = reading.check(s.Instrument, where, table)
    return instrument if line is not None else None


def _ports_taken_twice(
    reading: _Reading,
    instruments: Mapping[str, s.Instrument],
    orders: Mapping[str, o.OrdersSection],
    console: s.Console | None,
) -> None:
    taken: list[tuple[str, int, KeyPath]] = []
    for name, instrument in instruments.items():
        for key, section in (("line", instrument.line), ("orders_line", instrument.orders_line)):
            if isinstance(section, lines.TcpListenLine):
                taken.append((section.host, section.port, ("instrument", name, key, "port")))
    for name, source in orders.items():
        if isinstance(source, o.MllpListen | o.FhirListen):
            taken.append((source.host, source.port, ("orders", name, "port")))
    if console is not None:
        host, _, port = console.listen.rpartition(":")
        taken.append((host, int(port), ("console", "listen")))
    taken.sort(key=lambda place: line_of(reading.index, place[2]) or 0)
    for number, (host, port, where) in enumerate(taken):
        for other_host, other_port, other in taken[:number]:
            if port != 0 and port == other_port and _meet(host, other_host):
                line = line_of(reading.index, other)
                what = f"port {port} is taken already in line {line}, by [{'.'.join(map(str, other[:2]))}]."
                reading.complain(where, what, "Give each listener a port of its own.")
                break


def _meet(host: str, other: str) -> bool:
    """Whether two listeners on one port would collide: the same address, or one of them takes all."""
    one, two = (h.strip("[]").lower().replace("localhost", "127.0.0.1") for h in (host, other))
    return one == two or bool({one, two} & {"0.0.0.0", "::", "*"})  # noqa: S104 -- compared, not bound


def _places_read_twice(reading: _Reading, instruments: Mapping[str, s.Instrument]) -> None:
    """A serial port or a folder that two instruments would read: each would miss what the other took."""
    seen: dict[str, str] = {}
    for name, instrument in instruments.items():
        match instrument.line:
            case lines.SerialLine(device=place):
                key = "device"
            case lines.FolderLine(path=path):
                key, place = "path", str(path)
            case _:
                continue
        if place in seen:
            other = line_of(reading.index, ("instrument", seen[place], "line", key))
            what = f"is taken already in line {other}, by [instrument.{seen[place]}]."
            reading.complain(("instrument", name, "line", key), what, "Give each instrument a place of its own.")
        seen.setdefault(place, name)


def _destinations(reading: _Reading, found: Mapping[str, d.DestinationSection], instruments: set[str]) -> None:
    for name, destination in found.items():
        where: KeyPath = ("destination", name)
        for number, wanted in enumerate(destination.instruments):
            if wanted not in instruments:
                cure = unknown_cure(wanted, instruments)
                reading.complain((*where, "instruments", number), f"there is no [instrument.{wanted}].", cure)
        if isinstance(destination, d.WebDestination):
            _web(reading, where, destination)
        if destination.retry_first_s > destination.retry_max_s:
            what = "is longer than retry_max_s."
            reading.complain((*where, "retry_first_s"), what, "The first wait is the shortest; make it smaller.")
        for key, what, cure in (*columns.mistakes(destination), *brokers.mistakes(destination)):
            reading.complain((*where, *key), what, cure)


def _web(reading: _Reading, where: KeyPath, section: d.WebDestination) -> None:
    if section.token_file and section.user:
        reading.complain((*where, "user"), "stands beside token_file.", "Keep one way to say who we are.")
    if section.password_file and not section.user:
        reading.complain((*where, "password_file"), "needs a user.", "Write user too, or token_file for a token.")
    if section.tls is not None and not section.url.startswith("https:"):
        reading.complain((*where, "tls"), "is of no use with http.", "Write https:// in url.")
    if isinstance(section, d.FhirDestination) and not section.patient_system:
        for key in ("create_patient", "references"):
            if getattr(section, key) not in (False, "identifier"):
                cure = 'Write the system of the EMR\'s patient numbers: patient_system = "https://...".'
                reading.complain((*where, key), "needs patient_system.", cure)


def _sensitive(reading: _Reading, found: Mapping[str, d.DestinationSection]) -> None:
    for name, destination in found.items():
        if destination.sensitive != "send":
            what = "no test is declared as sensitive."
            cure = 'Name them once for all destinations: [gateway] sensitive = ["HIV"].'
            reading.complain(("destination", name, "sensitive"), what, cure)


def _database(url: str | None, data: Path, base: Path) -> str:
    """The URL with an absolute path; without one, the SQLite file in the data folder."""
    if url is None:
        return f"sqlite:///{data / 'labgateway.db'}"
    relative = re.fullmatch(r"(sqlite(?:\+[a-z0-9]+)?:///)(?!/|:memory:)([^?]+)(.*)", url)
    return f"{relative[1]}{base / relative[2]}{relative[3]}" if relative else url


def _version(
    raw: bytes, instruments: Mapping[str, s.Instrument], destinations: Mapping[str, d.DestinationSection]
) -> str:
    digest = hashlib.sha256(raw)
    files = [(name, one.mapping) for name, one in instruments.items()]
    files += [
        (name, one.template_file)
        for name, one in destinations.items()
        if isinstance(one, d.HttpDestination) and one.template_file is not None
    ]
    for name, file in files:
        try:
            text = file.read_bytes()
        except OSError:
            text = b""
        digest.update(f"\n{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()
