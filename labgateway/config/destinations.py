"""What [destination.NAME] may say: the keys that every kind has, then those of each kind.

A new kind: a class here that adds its own keys to `Destination`, its name in SUPPORTED and in `reading`, a module
in labgateway/delivery that writes a report as bytes, one that sends them, and a `case` for each in
`gateway.destinations` (`renderer`, `destination`).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from labgateway.config.checks import (
    ONLY,
    Connections,
    File,
    Host,
    RemotePort,
    Seconds,
    Text,
    Texts,
    WebAddress,
    YesNo,
    wrong,
)

SUPPORTED = frozenset({"mllp", "fhir", "http", "sql", "folder", "mqtt", "nats"})
"""Kinds that this version runs; the others are read and checked, and complained about."""


def _system(value: str) -> str:
    if value and not re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\s|,$\\]+", value):
        raise wrong(
            "is no system of identifiers.", 'Write a URI, such as "https://emr.example/patients" or "urn:oid:1.2.3".'
        )
    return value


def _one_trust(value: TlsKeys) -> TlsKeys:
    if value.ca_file and value.pinned_file:
        raise wrong("names both ca_file and pinned_file.", "Keep one: an authority, or the very certificate.")
    if value.key_file and not value.certificate_file:
        raise wrong("names a key without its certificate.", "Write certificate_file too.")
    return value


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class TlsKeys:
    """Encrypted, TLS 1.2 or newer. Empty: the authorities of this machine are believed.

    ca_file: only these authorities. pinned_file: only this very certificate, whatever its name. certificate_file,
    key_file: who we are, for servers that ask. name: that the certificate must bear, default host.
    """

    ca_file: File | None = None
    pinned_file: File | None = None
    certificate_file: File | None = None
    key_file: File | None = None
    name: Host | None = None


Encrypted = Annotated[TlsKeys, AfterValidator(_one_trust)]


def _emr_database(value: str) -> str:
    if not re.match(r"(postgresql|mysql|mariadb|mssql|oracle)(\+[a-z0-9]+)?://", value):
        cure = 'Write it as SQLAlchemy does, such as "mysql+pymysql://labgateway@emr.example/emr"; docs/destinations.md lists them.'
        raise wrong("is no address of a database that labgateway writes to.", cure)
    if re.match(r"[^/]*//[^/@]*:[^/@]*@", value):
        raise wrong("holds a password.", "Take it out, put it into a file and name that in password_file.")
    return value


def _table(value: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)?", value):
        raise wrong(
            "is no name of a table.",
            'Write it without quotes, with its schema if it has one, such as "emr.lab_results".',
        )
    return value


System = Annotated[str, AfterValidator(_system)]


def _nats_server(value: str) -> str:
    if not re.fullmatch(r"(nats|tls)://[^\s/@]+(:[0-9]+)?", value):
        raise wrong("is no address of a NATS server.", 'Write it without a password, such as "nats://10.20.0.40:4222".')
    return value


EmrDatabase = Annotated[str, AfterValidator(_emr_database)]
Columns = dict[str, Text]


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class Destination:
    """The keys that every kind has. answer_s and retry_*_s are seconds.

    status: "P": everything leaves as preliminary. shadow: everything is prepared and kept, nothing is sent.

    Which results it gets, empty: all. instruments, tests: names of [instrument.NAME], EMR tests. wards: PV1-3.1 of
    the order; a result without a ward is none of theirs. specimens: kinds of specimen, in the words of the mapping
    files. sensitive: what becomes of the tests in [gateway] sensitive: "send", "leave_out", or "only" those.
    one_result_each: a message a result, not one for all that came together.

    tries_when_asked: how often a message is sent again when the destination answers that it cannot take it now,
    before it parks. connections: how many messages may be under way at once. per_second: at most so many messages
    leave in a second; None: no limit.
    """

    status: Literal["as_sent", "P"] = "as_sent"
    shadow: YesNo = False
    instruments: Texts = ()
    tests: Texts = ()
    wards: Texts = ()
    specimens: Texts = ()
    sensitive: Literal["send", "leave_out", "only"] = "send"
    one_result_each: YesNo = False
    answer_s: Seconds = 30
    retry_first_s: Seconds = 1
    retry_max_s: Seconds = 30
    tries_when_asked: Annotated[int, Field(strict=True, ge=1, le=1000)] = 5
    connections: Connections = 1
    per_second: Annotated[float, Field(strict=True, gt=0, le=100_000, allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class MllpDestination(Destination):
    """Kind "mllp": HL7 v2, ORU^R01. version: MSH-12.

    acknowledge: "original": one answer; "accept": enhanced mode, the receipt (CA) settles; "application": enhanced
    mode, the AA that follows the receipt settles. mllp: "2": with commit blocks. structured: SN for <5 or 1:128.
    attachments: images go too. receiving_*: MSH-5 and MSH-6.
    """

    host: Host
    port: RemotePort
    kind: Literal["mllp"] = "mllp"
    version: Literal["2.3", "2.3.1", "2.4", "2.5", "2.5.1"] = "2.5.1"
    acknowledge: Literal["original", "accept", "application"] = "original"
    mllp: Literal["1", "2"] = "1"
    structured: YesNo = False
    attachments: YesNo = False
    receiving_application: Annotated[str, Field(max_length=180)] = ""
    receiving_facility: Annotated[str, Field(max_length=180)] = ""
    tls: Encrypted | None = None


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class WebDestination(Destination):
    """What kinds that speak HTTP have in common. url: https, or http to a host of the hospital's own network.

    token_file: sent as a bearer token. user, password_file: basic authentication.
    """

    url: WebAddress
    token_file: File | None = None
    user: str = ""
    password_file: File | None = None
    tls: Encrypted | None = None


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class FhirDestination(WebDestination):
    """Kind "fhir". url: the base of the server.

    system: base of the identifiers of ours, "": urn:labgateway:NAME of [gateway]. patient_system, order_system,
    code_system: of the EMR's patient numbers, placer numbers and test codes. references: the EMR's patients and orders
    are named by identifier, or must be found by the server. create_patient: a patient that is not there is made.
    read_back: `labgateway reconcile` compares what the server holds.
    """

    kind: Literal["fhir"] = "fhir"
    system: System = ""
    patient_system: System = ""
    order_system: System = ""
    code_system: System = ""
    references: Literal["identifier", "conditional"] = "identifier"
    create_patient: YesNo = False
    read_back: YesNo = True


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class HttpDestination(WebDestination):
    """Kind "http": each report is posted to url as JSON. template_file: its form, JSON; None: the built-in one."""

    kind: Literal["http"] = "http"
    template_file: File | None = None
    method: Literal["POST", "PUT"] = "POST"


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class MqttDestination(Destination):
    """Kind "mqtt": JSON documents to an MQTT 5 broker. topic, answers, status_topic may hold {site}, topic {instrument}.

    settle: "answer": what the EMR says on the topic `answers` settles; "puback": the broker's word is enough.
    status_topic: how the gateway stands, retained, with a last will; "": nothing of it.
    """

    host: Host
    port: RemotePort
    topic: Text
    kind: Literal["mqtt"] = "mqtt"
    settle: Literal["answer", "puback"] = "answer"
    answers: str = ""
    qos: Literal[1, 2] = 1
    status_topic: str = ""
    user: str = ""
    password_file: File | None = None
    tls: Encrypted | None = None


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class SqlDestination(Destination):
    """Kind "sql": each observation is a row of table, which may have its schema before a point.

    columns: column -> field; empty: every field under its own name. corrections: "row": a correction is one more row;
    "update": it takes the place of the row it corrects. read_back: `labgateway reconcile` compares what the table holds.
    """

    url: EmrDatabase = Field(repr=False)
    table: Annotated[str, AfterValidator(_table)]
    kind: Literal["sql"] = "sql"
    password_file: File | None = None
    columns: Columns = Field(default_factory=dict[str, str])
    corrections: Literal["row", "update"] = "row"
    read_back: YesNo = True


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class FolderDestination(Destination):
    """Kind "folder": each report is a file. columns: of csv and table4, as `columns` says."""

    path: File
    kind: Literal["folder"] = "folder"
    format: Literal["hl7", "json", "csv", "table4"] = "hl7"
    columns: Columns = Field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class NatsDestination(Destination):
    """Kind "nats": JSON documents into a JetStream stream. subject may hold {site} and {instrument}.

    stream: the one that must take them; "": whichever takes the subject. status_subject: how the gateway stands; "":
    nothing of it. One of credentials_file, token_file, or user with password_file.
    """

    servers: Annotated[tuple[Annotated[str, AfterValidator(_nats_server)], ...], Field(min_length=1)]
    subject: Text
    kind: Literal["nats"] = "nats"
    stream: str = ""
    status_subject: str = ""
    credentials_file: File | None = None
    token_file: File | None = None
    user: str = ""
    password_file: File | None = None
    tls: Encrypted | None = None


DestinationSection = (
    MllpDestination
    | FhirDestination
    | HttpDestination
    | MqttDestination
    | SqlDestination
    | FolderDestination
    | NatsDestination
)
