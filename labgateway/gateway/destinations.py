"""From a destination's section to what writes for it, sends to it and guards it. No part is started here.

MLLP is made here, FHIR and HTTP in ``web``, tables, folders and brokers in ``outlets``.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from labgateway.config import (
    Config,
    DestinationSection,
    FhirDestination,
    HttpDestination,
    MllpDestination,
    MqttDestination,
    NatsDestination,
    TlsKeys,
    WebDestination,
)
from labgateway.delivery import oru
from labgateway.delivery.mllp_out import MllpDestination as MllpOut
from labgateway.delivery.oru_forms import OruOptions
from labgateway.delivery.schedule import Schedule
from labgateway.delivery.sender import Destination
from labgateway.errors import Complaint
from labgateway.gateway import outlets, web
from labgateway.gateway.reconcile import Readable
from labgateway.model import Report, Settings
from labgateway.transports import tls
from labgateway.transports.channel import Say
from labgateway.transports.tls import TlsFiles


def renderer(config: Config, section: DestinationSection) -> Callable[[Report, str], bytes]:
    """How the reports of a destination are written. Raises LabgatewayError for a kind that this version does not run."""
    settings = settings_of(config)
    match section:
        case MllpDestination():
            options = _oru_options(section)
            return lambda report, control_id: oru.render(report, settings, control_id, options)
        case FhirDestination() | HttpDestination():
            return web.renderer(section, settings)
        case _:
            return outlets.renderer(section, settings)


def _oru_options(section: MllpDestination) -> OruOptions:
    accept, application = {"original": ("", ""), "accept": ("AL", "NE"), "application": ("AL", "AL")}[
        section.acknowledge
    ]
    return OruOptions(
        status=section.status,
        structured=section.structured,
        attachments=section.attachments,
        receiving_application=section.receiving_application,
        receiving_facility=section.receiving_facility,
        version=section.version,
        accept=accept,
        application=application,
    )


def settings_of(config: Config) -> Settings:
    """What messages say of this site."""
    return Settings(config.gateway.name, config.gateway.facility, config.gateway.timezone)


def destination(config: Config, section: DestinationSection, say: Say) -> Destination:
    """Make the destination of a section. Raises LabgatewayError for a kind that this version does not run."""
    match section:
        case MllpDestination():
            return MllpOut(
                section.host,
                section.port,
                connections=section.connections,
                answer_s=section.answer_s,
                tls=_contexts(section, say),
                tls_name=section.tls.name if section.tls else None,
                by_application=section.acknowledge == "application",
                release2=section.mllp == "2",
            )
        case FhirDestination() | HttpDestination():
            return web.destination(section, _contexts(section, say))
        case _:
            return outlets.destination(section, settings_of(config), _contexts(section, say))


def readable(config: Config, section: DestinationSection, say: Say) -> Readable | None:
    """One of its own to read back what was sent; None where that cannot be or is not wanted. Close it."""
    if isinstance(section, FhirDestination):
        return web.readable(section, _contexts(section, say))
    return outlets.readable(section, config.gateway.timezone)


def pace(section: DestinationSection) -> dict[str, Any]:
    """When and how fast a destination is tried, as ``Sender`` takes it."""
    return {
        "schedule": Schedule(section.retry_first_s, section.retry_max_s, section.tries_when_asked),
        "gap_s": 1 / section.per_second if section.per_second else 0.0,
    }


def certificates(section: DestinationSection) -> TlsFiles | None:
    """The files of an encrypted destination; None of one that is not."""
    match section:
        case (
            MllpDestination(tls=TlsKeys() as keys)
            | WebDestination(tls=TlsKeys() as keys)
            | MqttDestination(tls=TlsKeys() as keys)
            | NatsDestination(tls=TlsKeys() as keys)
        ):
            return tls.client(keys.ca_file, keys.certificate_file, keys.key_file, keys.pinned_file)
        case _:
            return None


def _contexts(section: DestinationSection, say: Say) -> Callable[[], ssl.SSLContext] | None:
    """The context of now. Files that cannot be used cost their own destination only: each call then raises TlsError."""
    files = certificates(section)
    if files is None:
        return None
    made: list[tls.Tls] = []

    def now() -> ssl.SSLContext:
        if not made:
            made.append(tls.Tls(files, say=say))
        return made[0]()

    return now


def template_mistakes(section: DestinationSection) -> list[Complaint]:
    """What is wrong with the template that a destination names."""
    return web.mistakes(section) if isinstance(section, HttpDestination) and section.template_file else []
