"""Where orders come from: the [orders.NAME] sections of config.toml, one frozen dataclass a kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from labgateway.config.checks import (
    ONLY,
    Connections,
    File,
    Host,
    Networks,
    Place,
    Places,
    Port,
    Seconds,
    Text,
)
from labgateway.config.destinations import EmrDatabase

SUPPORTED = frozenset({"mllp-listen", "fhir-listen", "folder", "sql"})


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


SpecimenPlace = Literal["identifier", "accessionIdentifier", "container.identifier"]
SpecimenPlaces = Annotated[tuple[SpecimenPlace, ...], BeforeValidator(_one_or_more), Field(min_length=1)]


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class ListenTls:
    """Encrypted, TLS 1.2 or newer. ca_file: callers must show a certificate of this authority."""

    certificate_file: File
    key_file: File
    ca_file: File | None = None


@dataclass(frozen=True, slots=True, config=ONLY)
class MllpListen:
    """[orders.NAME] kind "mllp-listen". allow: empty admits this machine only.

    specimen_id: the first place that is filled; patient_id_type: which repetition of PID-3 (CX.5), "" the first.
    """

    port: Port
    kind: Literal["mllp-listen"] = "mllp-listen"
    host: Host = "0.0.0.0"  # noqa: S104 -- who may call is decided by allow, which is closed by default
    allow: Networks = ()
    connections: Connections = 8
    tls: ListenTls | None = None
    specimen_id: Places = ("SPM-2.1", "SAC-3.1", "OBR-3.1")
    patient_id: Place = "PID-3.1"
    patient_id_type: str = ""


@dataclass(frozen=True, slots=True, config=ONLY)
class FhirListen:
    """[orders.NAME] kind "fhir-listen": FHIR R4 by POST. allow: empty admits this machine only.

    token_file: what callers must know; without it the networks decide alone. specimen_id: the first place of a Specimen that
    is filled. The systems pick one of several identifiers or codings, see ``orders.fhir.FhirRules``.
    """

    port: Port
    kind: Literal["fhir-listen"] = "fhir-listen"
    host: Host = "0.0.0.0"  # noqa: S104 -- who may call is decided by allow, which is closed by default
    allow: Networks = ()
    connections: Connections = 8
    tls: ListenTls | None = None
    token_file: File | None = None
    specimen_id: SpecimenPlaces = ("identifier", "accessionIdentifier", "container.identifier")
    specimen_system: str = ""
    patient_system: str = ""
    patient_id_type: str = "MR"
    order_system: str = ""
    code_system: str = ""


@dataclass(frozen=True, slots=True, config=ONLY)
class FolderOrders:
    """[orders.NAME] kind "folder": a folder into which the EMR writes files of orders (HL7, FHIR JSON, CSV).

    rest_s: a file is whole when it has not changed for so long. specimen_id and the patient's keys: of HL7 files, as above.
    """

    path: File
    kind: Literal["folder"] = "folder"
    pattern: Text = "*"
    rest_s: Seconds = 2
    specimen_id: Places = ("SPM-2.1", "SAC-3.1", "OBR-3.1")
    patient_id: Place = "PID-3.1"
    patient_id_type: str = ""


@dataclass(frozen=True, slots=True, config=ONLY, kw_only=True)
class SqlOrders:
    """[orders.NAME] kind "sql": a query asked again every every_s seconds; its columns are those of a CSV table."""

    url: EmrDatabase = Field(repr=False)
    query_file: File
    kind: Literal["sql"] = "sql"
    password_file: File | None = None
    every_s: Seconds = 10


OrdersSection = MllpListen | FhirListen | FolderOrders | SqlOrders
