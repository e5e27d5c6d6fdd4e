"""Tables, folders and brokers: how their sections become renderers, destinations and statements. Nothing is started."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Callable

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from labgateway.config import (
    DestinationSection,
    FhirDestination,
    FolderDestination,
    MqttDestination,
    NatsDestination,
    SqlDestination,
)
from labgateway.delivery import document, oru, sheets, sql_shape
from labgateway.delivery.flat import rows
from labgateway.delivery.folder_out import FolderDestination as FolderOut
from labgateway.delivery.mqtt_out import Broker, Topics
from labgateway.delivery.mqtt_out import MqttDestination as MqttOut
from labgateway.delivery.nats_out import Hub
from labgateway.delivery.nats_out import NatsDestination as NatsOut
from labgateway.delivery.ports import Destination
from labgateway.delivery.sql_out import SqlDestination as SqlOut
from labgateway.errors import LabgatewayError
from labgateway.fields import FIELDS, FIRST_ID
from labgateway.model import Report, Settings

Render = Callable[[Report, str], bytes]

_ENDINGS = {"hl7": "hl7", "json": "json", "csv": "csv", "table4": "xml"}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql", "aiomqtt": "mqtt", "nats": "nats"}
_OWN = {"oracledb": "oracledb", "pyodbc": "pyodbc", "pymssql": "pymssql"}


def renderer(section: DestinationSection, settings: Settings) -> Render:
    """How the reports of such a destination are written. Raises LabgatewayError for another kind."""
    match section:
        case FolderDestination(format="hl7"):
            options = oru.OruOptions(status=section.status)
            return lambda report, control_id: oru.render(report, settings, control_id, options)
        case FolderDestination(format="csv"):
            columns = section.columns or {name: name for name in FIELDS}
            return lambda report, number: sheets.csv_file(rows(report, settings, number, section.status), columns)
        case FolderDestination(format="table4"):
            return lambda report, number: sheets.table_4(
                rows(report, settings, number, section.status), section.columns
            )
        case SqlDestination():
            earlier = updates(section)
            return lambda report, control_id: document.render(
                report, settings, control_id, section.status, earlier=earlier
            )
        case FolderDestination() | MqttDestination() | NatsDestination():
            return lambda report, control_id: document.render(report, settings, control_id, section.status)
        case _:
            raise LabgatewayError(f"destinations of kind {section.kind} are not run by this version")


def destination(
    section: DestinationSection, settings: Settings, contexts: Callable[[], ssl.SSLContext] | None
) -> Destination:
    """Make it. contexts: of an encrypted one.

    Raises LabgatewayError for another kind; a missing library costs only the destination, when it is used.
    """
    match section:
        case SqlDestination():
            return SqlOut(
                section.url, section.table, table_columns(section), timezone=settings.timezone,
                password_file=section.password_file, update=updates(section), answer_s=section.answer_s,
            )  # fmt: skip
        case FolderDestination():
            unfit: Callable[[bytes], str] = sheets.unfit if section.format == "table4" else lambda _: ""
            return FolderOut(section.path, _ENDINGS[section.format], answer_s=section.answer_s, unfit=unfit)
        case MqttDestination():
            return MqttOut(
                Broker(section.host, section.port, section.user, section.password_file, contexts),
                Topics(settings.name, section.topic, section.answers, section.status_topic),
                settle=section.settle, qos=section.qos, answer_s=section.answer_s, connections=section.connections,
            )  # fmt: skip
        case NatsDestination():
            return NatsOut(
                Hub(section.servers, section.credentials_file, section.token_file, section.user, section.password_file,
                    contexts, section.tls.name if section.tls else None),
                settings.name, section.subject, stream=section.stream, status_subject=section.status_subject,
                answer_s=section.answer_s, connections=section.connections,
            )  # fmt: skip
        case _:
            raise LabgatewayError(f"destinations of kind {section.kind} are not run by this version")


def readable(section: DestinationSection, timezone: str) -> SqlOut | None:
    """A destination of its own to read back what was sent; None where that cannot be or is not wanted. Close it."""
    if not isinstance(section, SqlDestination) or not section.read_back:
        return None
    return SqlOut(
        section.url, section.table, table_columns(section), timezone=timezone, password_file=section.password_file,
        update=updates(section), answer_s=section.answer_s,
    )  # fmt: skip


def updates(section: DestinationSection) -> bool:
    """Whether a correction takes the place of what it corrects there."""
    return isinstance(section, FhirDestination) or (
        isinstance(section, SqlDestination) and section.corrections == "update"
    )


def table_columns(section: SqlDestination) -> dict[str, str]:
    """Column -> field, as declared or all that there are."""
    if section.columns:
        return dict(section.columns)
    first = {FIRST_ID: FIRST_ID} if section.corrections == "update" else {}
    return {**first, **sql_shape.default_columns()}


def statement(section: SqlDestination) -> str:
    """The statement that makes the table of a destination, in the words of its database."""
    dialect = make_url(section.url).get_backend_name()
    return sql_shape.ddl(section.table, table_columns(section), dialect, update=updates(section))


def missing(section: DestinationSection) -> tuple[str, str] | None:
    """What library a destination lacks, and how it is installed; None: nothing."""
    match section:
        case SqlDestination():
            try:
                driver = make_url(section.url).get_dialect()
                library = driver.driver
            except (ArgumentError, NoSuchModuleError):
                return "a database of this name", "Compare the address with docs/destinations.md."
        case MqttDestination():
            library = "aiomqtt"
        case NatsDestination():
            library = "nats"
        case _:
            return None
    library = {"cx_oracle": "cx_Oracle"}.get(library, library)
    if importlib.util.find_spec(library) is not None:
        return None
    wanted = f"'labgateway[{_EXTRAS[library]}]'" if library in _EXTRAS else _OWN.get(library, library)
    return f"the library {library}", f"Install it beside labgateway: pip install {wanted}"
