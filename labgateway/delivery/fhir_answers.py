"""What a FHIR server's answer to a transaction means. Pure; never raises for what the bytes are.

Bundle, each entry's status 2xx       taken
Bundle with another status in it      refused, with the words of its OperationOutcome
anything else with 2xx                no answer: it may be a proxy's page; tried again
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from labgateway.delivery.outcome import Accepted, Outcome, Refused

Object = dict[str, Any]


def judge(status: int, body: bytes) -> Outcome | None:
    """A 2xx answer; None when it is no answer to a transaction."""
    if status == 204 or not body.strip():
        return None
    whole = _object(body)
    if whole is None or whole.get("resourceType") != "Bundle":
        return None
    said = list(_objects(whole.get("entry")))
    if not said:
        return None
    for entry in said:
        response = entry.get("response")
        if not isinstance(response, dict):
            return None
        answer = cast(Object, response)
        if not str(answer.get("status", "")).startswith("2"):
            words = outcome_words(answer.get("outcome")) or outcome_words(entry.get("resource"))
            return Refused(f"{answer.get('status', '')} {words}".strip())
    return Accepted(str(status))


def explain(body: bytes) -> str:
    """The words of an OperationOutcome, "" when the body is none."""
    return outcome_words(_object(body))


def outcome_words(value: object) -> str:
    """Every issue of an OperationOutcome, in its own words."""
    if not isinstance(value, dict):
        return ""
    found: list[str] = []
    for issue in _objects(cast(Object, value).get("issue")):
        details = issue.get("details")
        text = cast(Object, details).get("text") if isinstance(details, dict) else None
        where = issue.get("expression")
        places = ", ".join(str(place) for place in cast(list[Any], where)) if isinstance(where, list) else ""
        parts = [str(issue.get("diagnostics") or text or issue.get("code") or ""), f"at {places}" if places else ""]
        found.append(" ".join(part for part in parts if part))
    return "; ".join(dict.fromkeys(words for words in found if words))


def _object(body: bytes) -> Object | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast(Object, value) if isinstance(value, dict) else None


def _objects(value: object) -> Iterator[Object]:
    if isinstance(value, list):
        for one in cast(list[Any], value):
            if isinstance(one, dict):
                yield cast(Object, one)
