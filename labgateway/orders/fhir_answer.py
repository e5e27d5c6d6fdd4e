"""What a FHIR request is answered, after the commit: an OperationOutcome, or a Bundle with the outcome of each entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labgateway.model import Action
from labgateway.orders.fhir import Entry, FhirRequest
from labgateway.orders.fhir_fields import Issue

_WORDS = {Action.CHANGE: "Taken.", Action.CANCEL: "Cancelled."}


def answer_fhir(request: FhirRequest, numbers: Mapping[int, int | None]) -> tuple[int, bytes]:
    """HTTP status and body. numbers: by the place of an action in ``request.actions``, our order; None: it named none of ours."""
    if request.refused:
        return (400 if request.broken else 422), outcome(request.refused)
    done = _done(request, numbers)
    if not request.bundle:
        issues, number = done[0]
        return (201 if number else 200), outcome(issues)
    if request.bundle == "collection":
        return 200, outcome([issue for issues, _ in done for issue in issues])
    entries = [_response(entry, *one) for entry, one in zip(request.entries, done, strict=True)]
    return 200, _body({"resourceType": "Bundle", "type": f"{request.bundle}-response", "entry": entries})


def outcome(issues: list[Issue]) -> bytes:
    """An OperationOutcome."""
    return _body(_outcome(issues))


def _done(request: FhirRequest, numbers: Mapping[int, int | None]) -> list[tuple[list[Issue], int | None]]:
    """Of each entry what to say, and our number of its (first) order."""
    found: list[tuple[list[Issue], int | None]] = []
    at = 0
    for entry in request.entries:
        issues, first = list(entry.issues), None
        for action in () if entry.is_refused else entry.actions:
            number = numbers.get(at)
            at += 1
            first = first or number
            if number is None:
                text = "Named none of the orders that are known here; nothing is cancelled."
                issues.append(Issue("not-found", f"{entry.where}.identifier", text, "warning"))
            else:
                issues.append(Issue("informational", entry.where, _WORDS.get(action.action, "Taken."), "information"))
        if not issues:
            issues.append(Issue("informational", entry.where, "Used where an order names it.", "information"))
        found.append((issues, first))
    return found


def _response(entry: Entry, issues: list[Issue], number: int | None) -> dict[str, Any]:
    status = "422 Unprocessable Entity" if entry.is_refused else "201 Created" if number else "200 OK"
    response: dict[str, Any] = {"status": status}
    if number:
        response["location"] = f"ServiceRequest/{number}"
    return {"response": {**response, "outcome": _outcome(issues)}}


def _outcome(issues: list[Issue]) -> dict[str, Any]:
    return {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": issue.severity,
                "code": issue.code,
                "diagnostics": issue.text,
                **({"expression": [issue.where]} if issue.where else {}),
            }
            for issue in issues
        ],
    }


def _body(resource: dict[str, Any]) -> bytes:
    return json.dumps(resource, ensure_ascii=False).encode()
