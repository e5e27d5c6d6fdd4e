"""HTTP and FHIR: how their sections become renderers and destinations. Nothing is started."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from labgateway.config import FhirDestination, HttpDestination
from labgateway.delivery import document, fhir, fhir_answers, template
from labgateway.delivery.ports import Destination
from labgateway.errors import Complaint, ComplaintsError
from labgateway.gateway.reconcile import Readable
from labgateway.model import Report, Settings

Render = Callable[[Report, str], bytes]
Contexts = Callable[[], ssl.SSLContext] | None


def renderer(section: FhirDestination | HttpDestination, settings: Settings) -> Render:
    """How its reports are written. Raises ComplaintsError for a template that cannot be used."""
    match section:
        case FhirDestination():
            options = fhir.FhirOptions(
                system=section.system or f"urn:labgateway:{quote(settings.name)}",
                patient_system=section.patient_system,
                order_system=section.order_system,
                code_system=section.code_system,
                references=section.references,
                create_patient=section.create_patient,
                status=section.status,
            )
            return lambda report, number: fhir.render(report, settings, number, options)
        case HttpDestination(template_file=None):
            return lambda report, number: document.render(report, settings, number, section.status)
        case HttpDestination():
            form = _template(section)
            return lambda report, number: form.render(report, settings, number, section.status)


def destination(section: FhirDestination | HttpDestination, contexts: Contexts) -> Destination:
    """Make it. A secret or certificate that cannot be read costs only this destination, when it is used."""
    from labgateway.delivery.http_out import HttpDestination as HttpOut  # aiohttp is loaded only where it is wanted

    make = partial(
        HttpOut,
        section.url,
        connections=section.connections,
        answer_s=section.answer_s,
        authorization=_authorization(section),
        tls=contexts,
        tls_name=section.tls.name if section.tls else None,
    )
    match section:
        case FhirDestination():
            return make(
                content_type="application/fhir+json; charset=utf-8",
                headers={"Accept": "application/fhir+json", "Prefer": "return=minimal"},
                judge=fhir_answers.judge,
                explain=fhir_answers.explain,
            )
        case HttpDestination():
            return make(method=section.method)


def readable(section: FhirDestination, contexts: Contexts) -> Readable | None:
    """Reads back what the server holds; None where that is not wanted. Close it."""
    from labgateway.delivery.fhir_back import FhirReader  # aiohttp, as above
    from labgateway.delivery.http_read import HttpReader

    if not section.read_back:
        return None
    return FhirReader(
        HttpReader(
            section.url,
            accept="application/fhir+json",
            answer_s=section.answer_s,
            per_second=section.per_second,
            authorization=_authorization(section),
            tls=contexts,
            tls_name=section.tls.name if section.tls else None,
        )
    )


def _authorization(section: FhirDestination | HttpDestination) -> Callable[[], str | None] | None:
    from labgateway.delivery.http_out import basic, bearer  # aiohttp, as above

    if section.token_file is not None:
        return bearer(section.token_file)
    return basic(section.user, section.password_file) if section.user else None


def mistakes(section: HttpDestination) -> list[Complaint]:
    """What is wrong with its template."""
    try:
        _template(section)
    except ComplaintsError as error:
        return error.complaints
    return []


def _template(section: HttpDestination) -> template.Template:
    path = section.template_file
    try:
        text = path.read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError):
        raise ComplaintsError(
            [
                Complaint(
                    str(path), None, "", "cannot be read.", "Put the template there, UTF-8, readable for labgateway."
                )
            ]
        ) from None
    found, wrong = template.read(text, single=section.one_result_each)
    if found is None:
        cure = "docs/destinations.md says what a template may hold."
        raise ComplaintsError([Complaint(str(path), None, "", what, cure) for what in wrong])
    return found
