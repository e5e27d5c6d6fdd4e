"""A mistake found by pydantic, in the words of the person who wrote the file: what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic_core import ErrorDetails

EXAMPLES = {
    "driver": 'driver = "sysmex_xn"',
    "mapping": 'mapping = "xn1.toml"',
    "line": 'line = { kind = "tcp-listen", port = 5101, allow = ["10.20.0.31"] }',
    "kind": 'kind = "mllp"',
    "host": 'host = "10.20.0.31"',
    "port": "port = 5101",
    "device": 'device = "/dev/serial/by-id/usb-..."',
    "path": 'path = "/srv/pcr/out"',
    "url": 'url = "https://emr.example/fhir"',
    "query_file": 'query_file = "orders.sql"',
    "topic": 'topic = "lab/results"',
    "table": 'table = "lab_results"',
    "servers": 'servers = ["nats://10.20.0.9:4222"]',
    "subject": 'subject = "lab.results"',
}


def said(error: ErrorDetails, known: Iterable[str]) -> tuple[str, str]:
    """What is wrong and what to do. known: the keys that the section has, for unknown ones.

    The value itself is never repeated: it may be a secret in the wrong place.
    """
    key = str(error["loc"][-1]) if error["loc"] else ""
    context = error.get("ctx", {})
    match error["type"]:
        case "labgateway":
            return str(context["what"]), str(context["cure"])
        case "missing" | "missing_argument":
            return "is missing.", f"Add it, such as: {EXAMPLES.get(key, f'{key} = ...')}"
        case "unexpected_keyword_argument" | "extra_forbidden":
            return "is not a key that stands here.", unknown_cure(key, known)
        case "literal_error":
            return "is none of the words that it may be.", f"Write {context['expected']}."
        case "string_type":
            return "must be text.", 'Write it in quotes, such as "text".'
        case "string_too_short" | "string_too_long":
            return "is empty or too long.", "Write between 1 and 180 characters."
        case "int_type" | "int_from_float":
            return "must be a whole number.", "Write digits without quotes and without a point, such as 5101."
        case "float_type" | "finite_number":
            return "must be a number.", "Write digits without quotes, such as 72."
        case "greater_than_equal":
            return "is too small.", f"Write a number from {context['ge']:g} upwards."
        case "greater_than":
            return "is too small.", f"Write a number above {context['gt']:g}."
        case "less_than_equal":
            return "is too large.", f"Write a number up to {context['le']:g}."
        case "bool_type":
            return "must be yes or no.", "Write true or false, without quotes."
        case "tuple_type":
            return "must be a list.", 'Write it in brackets, such as ["one", "two"].'
        case "too_short":
            return "is an empty list.", "Name at least one, or leave the key out."
        case "dataclass_type" | "dict_type":
            return "must be a table.", "Write it as in the sample config.toml."
        case _:
            return f"cannot be used: {error['msg']}.", "Compare with the sample config.toml."


def unknown_cure(key: str, known: Iterable[str]) -> str:
    """What to do about an unknown key: the one that was probably meant, else all that there are."""
    names = sorted(known)
    close = get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Take it out. Known here: {', '.join(names)}." if names else "Take it out."
