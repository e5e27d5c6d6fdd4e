"""A report as a JSON document: for tables, message brokers and files. One report a document, UTF-8, in one line.

    {"schema": 1, "message": "01K…", "site": "LABGATEWAY", "facility": "THIENHANH", "specimen": "A123",
     "instrument": "xn1", "released_at": "2026-11-22T08:16:02+07:00", "results": [{"id": "01K…", "code": "WBC", …}]}

Keys without content are left out; ``results`` hold the names of ``labgateway.fields.FIELDS``.
"""

from __future__ import annotations

import json
from typing import Any

from labgateway.delivery.flat import Row, rows
from labgateway.fields import EARLIER, FIELDS
from labgateway.model import Report, Settings

SEVERAL = "several"
"""``instrument`` of a report in which more than one has a part."""
_COMMON = ("message", "site", "facility", "specimen", "released_at")


def render(
    report: Report, settings: Settings, control_id: str, status: str = "as_sent", *, earlier: bool = False
) -> bytes:
    """The document. earlier: with the ids of all versions before, for who keeps one row a value.

    Raises ValueError as ``facts.one_patient``.
    """
    found = rows(report, settings, control_id, status)
    if earlier:
        for row, one in zip(found, report.observations, strict=True):
            row[EARLIER] = " ".join(one.earlier) or None
    instruments = {row["instrument"] for row in found}
    whole: dict[str, Any] = {
        "schema": 1,
        **{name: value for name in _COMMON if (value := found[0][name])},
        "instrument": instruments.pop() if len(instruments) == 1 else SEVERAL,
        "results": [
            {name: value for name, value in row.items() if value is not None and name not in _COMMON} for row in found
        ],
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def read(body: bytes) -> tuple[dict[str, Any], list[Row]]:
    """The document, and its rows with every field. Raises ValueError for anything that ``render`` did not write."""
    whole = json.loads(body)
    if not isinstance(whole, dict) or whole.get("schema") != 1 or not isinstance(whole.get("results"), list):  # pyright: ignore
        raise ValueError("no document of ours")
    document: dict[str, Any] = whole  # pyright: ignore[reportUnknownVariableType]
    common = {name: document.get(name) for name in _COMMON}
    return document, [{name: {**common, **row}.get(name) for name in (*FIELDS, EARLIER)} for row in document["results"]]
