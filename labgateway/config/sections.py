"""What config.toml may say: one frozen dataclass a section, every key with its default (DESIGN 5.1).

Pydantic checks types, ranges and unknown keys; the checks that need words of their own are the small functions
at the top, each ends in `wrong(what, cure)`. Paths arrive absolute: they count from the folder of the config
file. Secrets stand in files of their own, named by keys that end in ``_file``.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from labgateway.errors import Complaint, ComplaintsError

SUPPORTED_LINES = frozenset({"tcp-listen", "tcp"})
"""Kinds of line that this version runs; the others are read and checked, and complained about."""
SUPPORTED_ORDERS = frozenset({"mllp-listen"})
SUPPORTED_DESTINATIONS = frozenset({"mllp"})

_ONLY = ConfigDict(extra="forbid")
_HL7_PLACE = re.compile(r"[A-Z][A-Z0-9]{2}-[1-9][0-9]?(\.[1-9][0-9]?){0,2}")


def wrong(what: str, cure: str) -> PydanticCustomError:
    """The exception that a check raises: what is wrong and what to do, each a sentence."""
    return PydanticCustomError("labgateway", "{what}", {"what": what, "cure": cure})


def _absolute(value: object, info: ValidationInfo) -> Path:
    """A path as text, counted from the folder of the config file; a mapping's from the folder of mappings.

    Both folders come in the context of the check, as ``base`` and ``mappings``.
    """
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise wrong("must be a path.", 'Write it in quotes, such as "data".')
    folders: dict[str, Path] = info.context or {}
    return folders.get("mappings" if info.field_name == "mapping" else "base", Path()) / value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        cure = 'Write a name of the IANA list, such as "Asia/Ho_Chi_Minh"; if it is one, install the package tzdata.'
        raise wrong("is no time zone that this machine knows.", cure) from None
    return value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        cure = "Mend it, or leave it empty to take every id; in single quotes '...' a backslash stands for itself."
        raise wrong(f"is no regular expression: {error}.", cure) from None
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        cure = 'Write a network such as "10.20.0.0/24", or one address such as "10.20.0.31".'
        raise wrong("is no network.", cure) from None


def _host(value: str) -> str:
    if not value or "/" in value or any(c.isspace() or not c.isprintable() for c in value):
        cure = 'Write a name or an address alone, such as "10.20.0.31"; the port has its own key.'
        raise wrong("is no host.", cure)
    return value


def _hl7_place(value: str) -> str:
    if not _HL7_PLACE.fullmatch(value):
        cure = 'Write SEGMENT-FIELD or SEGMENT-FIELD.COMPONENT, such as "SPM-2.1".'
        raise wrong("is no place in an HL7 message.", cure)
    return value


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise wrong("must be an address and a port.", 'Write both, such as "127.0.0.1:8080".')
    return value


def _web_address(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
        cure = 'Write it whole and without a password, such as "https://emr.example/fhir".'
        raise wrong("is no web address.", cure)
    return value


def _database(value: str) -> str:
    if not re.match(r"(sqlite|postgresql)(\+[a-z0-9]+)?://", value):
        cure = 'Write "sqlite:///data/labgateway.db" or "postgresql+psycopg://user@host/labgateway".'
        raise wrong("must be the address of an SQLite or PostgreSQL database.", cure)
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


File = Annotated[Path, BeforeValidator(_absolute)]
Files = tuple[File, ...]
Text = Annotated[str, Field(min_length=1)]
Texts = tuple[Text, ...]
YesNo = Annotated[bool, Field(strict=True)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
"""Of a listener; 0 lets the system choose a free one (tests)."""
RemotePort = Annotated[int, Field(strict=True, ge=1, le=65535)]
Networks = tuple[Annotated[str, AfterValidator(_network)], ...]
Connections = Annotated[int, Field(strict=True, ge=1, le=64)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86400, allow_inf_nan=False)]
Hours = Annotated[float, Field(strict=True, ge=0, le=87600, allow_inf_nan=False)]
Place = Annotated[str, AfterValidator(_hl7_place)]
Places = Annotated[tuple[Place, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Database = Annotated[str, AfterValidator(_database)]


@dataclass(frozen=True, slots=True, config=_ONLY)
class Gateway:
    """[gateway]: who we are, and where our files are. name: MSH-3, facility: MSH-4 of what we send.

    two_persons: a changed mapping file is accepted by two different people.
    """

    name: Annotated[str, Field(min_length=1, max_length=180)] = "LABGATEWAY"
    facility: Annotated[str, Field(max_length=180)] = ""
    timezone: Annotated[str, AfterValidator(_timezone)] = "Asia/Ho_Chi_Minh"
    data: File = Field(default="data", validate_default=True)
    mappings: File = Field(default="mappings", validate_default=True)
    drivers: Files = Field(default=("drivers",), validate_default=True)
    two_persons: YesNo = False


@dataclass(frozen=True, slots=True, config=_ONLY)
class Store:
    """[store]. url: None until `load` has put the SQLite file in [gateway] data there."""

    url: Database | None = Field(default=None, repr=False)
    password_file: File | None = None


@dataclass(frozen=True, slots=True, config=_ONLY)
class Matching:
    """[matching]. Hours may be fractions. specimen_pattern: "" takes every id."""

    window_h: Hours = 72
    wait_h: Hours = 240
    alarm_h: Hours = 24
    without_order: Literal["wait", "send"] = "wait"
    not_ordered: Literal["hold", "leave_out", "send"] = "hold"
    second_ids: tuple[Literal["patient", "birth_date", "sex"], ...] = (
        "patient",
        "birth_date",
        "sex",
    )
    specimen_pattern: Annotated[str, AfterValidator(_regex)] = ""


@dataclass(frozen=True, slots=True, config=_ONLY)
class TcpListenLine:
    """A port of ours that the instrument calls. allow: empty admits this machine only."""

    port: Port
    kind: Literal["tcp-listen"] = "tcp-listen"
    host: Host = "0.0.0.0"  # noqa: S104 -- who may call is decided by allow, which is closed by default
    allow: Networks = ()
    connections: Connections = 1


@dataclass(frozen=True, slots=True, config=_ONLY)
class TcpLine:
    """A port of the instrument that we call."""

    host: Host
    port: RemotePort
    kind: Literal["tcp"] = "tcp"


@dataclass(frozen=True, slots=True, config=_ONLY)
class SerialLine:
    """A serial port; None: as the driver says."""

    device: File
    kind: Literal["serial"] = "serial"
    baud: Annotated[int, Field(strict=True, ge=50, le=4_000_000)] | None = None
    bits: Literal[7, 8] | None = None
    parity: Literal["none", "even", "odd"] | None = None
    stop: Literal[1, 2] | None = None


@dataclass(frozen=True, slots=True, config=_ONLY)
class FolderLine:
    """A folder into which the instrument writes its results. pattern: which files, as a shell would say it."""

    path: File
    kind: Literal["folder"] = "folder"
    pattern: Text = "*"


LineSection = TcpListenLine | TcpLine | SerialLine | FolderLine


@dataclass(frozen=True, slots=True, config=_ONLY)
class Instrument:
    """[instrument.NAME]. mapping: absolute, inside [gateway] mappings unless written absolute.

    orders: whether it gets its orders from us; "driver": as the driver says.
    """

    driver: Text
    mapping: File
    line: LineSection
    release: Literal["auto", "manual"] = "auto"
    orders: Literal["driver", "off", "asked", "unasked"] = "driver"


@dataclass(frozen=True, slots=True, config=_ONLY)
class MllpListen:
    """[orders.NAME] kind "mllp-listen". allow: empty admits this machine only.

    specimen_id: the first place that is filled; patient_id_type: which repetition of PID-3 (CX.5), "" the first.
    """

    port: Port
    kind: Literal["mllp-listen"] = "mllp-listen"
    host: Host = "0.0.0.0"  # noqa: S104 -- who may call is decided by allow, which is closed by default
    allow: Networks = ()
    connections: Connections = 8
    specimen_id: Places = ("SPM-2.1", "SAC-3.1", "OBR-3.1")
    patient_id: Place = "PID-3.1"
    patient_id_type: str = ""


@dataclass(frozen=True, slots=True, config=_ONLY)
class FhirListen:
    """[orders.NAME] kind "fhir-listen"."""

    port: Port
    kind: Literal["fhir-listen"] = "fhir-listen"
    host: Host = "0.0.0.0"  # noqa: S104 -- who may call is decided by allow, which is closed by default
    allow: Networks = ()
    token_file: File | None = None


@dataclass(frozen=True, slots=True, config=_ONLY)
class FolderOrders:
    """[orders.NAME] kind "folder": a folder into which the EMR writes order messages."""

    path: File
    kind: Literal["folder"] = "folder"
    pattern: Text = "*"


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class SqlOrders:
    """[orders.NAME] kind "sql": a query asked again every every_s seconds."""

    url: Database = Field(repr=False)
    query_file: File
    kind: Literal["sql"] = "sql"
    password_file: File | None = None
    every_s: Seconds = 10


OrdersSection = MllpListen | FhirListen | FolderOrders | SqlOrders


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class MllpDestination:
    """[destination.NAME] kind "mllp". answer_s and retry_*_s are seconds.

    tries_when_asked: how often a message is sent again on AR, or on AE with ERR-3 206 or 207, before it parks.
    instruments, tests: only results of these instruments and EMR tests; empty: all.
    """

    host: Host
    port: RemotePort
    kind: Literal["mllp"] = "mllp"
    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()
    version: Literal["2.3", "2.3.1", "2.4", "2.5", "2.5.1"] = "2.5.1"
    answer_s: Seconds = 30
    retry_first_s: Seconds = 1
    retry_max_s: Seconds = 30
    tries_when_asked: Annotated[int, Field(strict=True, ge=1, le=1000)] = 5
    connections: Connections = 1


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class FhirDestination:
    """[destination.NAME] kind "fhir". url: the base of the server."""

    url: WebAddress
    kind: Literal["fhir"] = "fhir"
    token_file: File | None = None
    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()
    answer_s: Seconds = 30


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class HttpDestination:
    """[destination.NAME] kind "http": each report is posted to url."""

    url: WebAddress
    kind: Literal["http"] = "http"
    token_file: File | None = None
    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()
    answer_s: Seconds = 30


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class MqttDestination:
    """[destination.NAME] kind "mqtt"."""

    host: Host
    topic: Text
    port: RemotePort = 8883
    kind: Literal["mqtt"] = "mqtt"
    tls: YesNo = True
    user: str = ""
    password_file: File | None = None
    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()
    answer_s: Seconds = 30


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class SqlDestination:
    """[destination.NAME] kind "sql": each observation is a row of table."""

    url: Database = Field(repr=False)
    table: Text
    kind: Literal["sql"] = "sql"
    password_file: File | None = None
    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class FolderDestination:
    """[destination.NAME] kind "folder": each report is a file."""

    path: File
    kind: Literal["folder"] = "folder"
    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()


@dataclass(frozen=True, slots=True, config=_ONLY, kw_only=True)
class NatsDestination:
    """[destination.NAME] kind "nats": JetStream."""

    servers: Annotated[Texts, Field(min_length=1)]
    subject: Text
    kind: Literal["nats"] = "nats"
    credentials_file: File | None = None
    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()
    answer_s: Seconds = 30


DestinationSection = (
    MllpDestination
    | FhirDestination
    | HttpDestination
    | MqttDestination
    | SqlDestination
    | FolderDestination
    | NatsDestination
)


@dataclass(frozen=True, slots=True, config=_ONLY)
class Console:
    """[console]: absent, no console."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Config:
    """A whole config.toml that has no mistake.

    file: absolute. version: SHA-256 (hex) over the text of config.toml and of every mapping file it names, so
    that one version stands for one way of treating a message. Names keep the order of the file.
    """

    file: Path
    version: str
    gateway: Gateway
    store: Store
    matching: Matching
    instruments: dict[str, Instrument]
    orders: dict[str, OrdersSection]
    destinations: dict[str, DestinationSection]
    console: Console | None

    @property
    def store_url(self) -> str:
        """The database address, the password of [store] password_file filled in. Never log it.

        Raises ComplaintsError when that file cannot be read.
        """
        url = self.store.url or ""
        if self.store.password_file is None:
            return url
        try:
            password = self.store.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            cure = "Put a readable file there that holds the password and nothing else."
            name = str(self.store.password_file)
            raise ComplaintsError([Complaint(name, None, "store.password_file", "cannot be read.", cure)]) from None
        return re.sub(r"://([^:@/]*)(:[^@/]*)?@", lambda m: f"://{m[1]}:{quote(password, safe='')}@", url, count=1)
