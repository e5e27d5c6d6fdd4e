"""Where on a broker a report belongs: a topic or subject made of the site and the instrument, never of a patient."""

from __future__ import annotations

import json
import re
from typing import Any, cast

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
PLACES = ("{site}", "{instrument}")
"""What a topic may hold to be filled in."""


def filled(pattern: str, site: str, instrument: str = "") -> str:
    """The pattern with its places filled; other signs than letters, digits, _ and - become _."""
    return pattern.replace("{site}", _safe(site)).replace("{instrument}", _safe(instrument))


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name) or "_"


def instrument_in(body: bytes) -> str:
    """The instrument that a document of ours names. Raises ValueError for anything else."""
    found: object = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("no document of ours")
    name = cast(dict[str, Any], found).get("instrument")
    if not isinstance(name, str):
        raise ValueError("no document of ours")
    return name
