"""[words] of a mapping file: what this very analyzer says that its driver does not know. A person accepts each.

    [words]
    codes  = { NEW = "g/L", HGB = ["mmol/L"] }        codes, and units of codes; "" for none
    flag   = { Q = "doubtful" }
    status = { Z = "final" }

What stands here counts as declared, as if it stood in driver.toml; everything else stays unknown and is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labgateway.mapping.reading import Reading, is_list, is_table
from labgateway.model import Status
from labgateway.toml_lines import KeyPath

_KEYS = ("codes", "flag", "status")
STATUSES = tuple(status.value for status in Status if status is not Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Beyond:
    """codes: to their units. flags, statuses: as the analyzer writes them, to what they mean."""

    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    statuses: Mapping[str, Status] = field(default_factory=dict[str, Status])

    def declared(self, driver: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """What a driver declares, together with what is declared here."""
        known = dict(driver)
        for code, units in self.codes.items():
            known[code] = tuple(dict.fromkeys((*known.get(code, ()), *units)))
        return known


def read(reading: Reading, table: dict[str, Any]) -> Beyond:
    """The section; what is wrong in it is left out, after complaining."""
    where: KeyPath = ("words",)
    reading.known(where, table, _KEYS, "is no key of [words].")
    codes: dict[str, tuple[str, ...]] = {}
    for code, value in _part(reading, table, "codes").items():
        units = value if is_list(value) else [value]
        if not units or not all(isinstance(unit, str) for unit in units):
            cure = 'Write the unit as the analyzer sends it, "" for none: { NEW = "g/L" }.'
            reading.complain((*where, "codes", code), "must be a unit.", cure)
        else:
            codes[code] = tuple(unit.strip() for unit in units)
    flags: dict[str, str] = {}
    for word, means in _part(reading, table, "flag").items():
        if not isinstance(means, str) or not means.strip():
            cure = 'Write what it means, such as "high", "low", "abnormal" or "doubtful".'
            reading.complain((*where, "flag", word), "must be a word.", cure)
        else:
            flags[word] = means.strip()
    statuses: dict[str, Status] = {}
    for word, means in _part(reading, table, "status").items():
        if means not in STATUSES:
            cure = f"Write one of: {', '.join(STATUSES)}."
            reading.complain((*where, "status", word), "is none of the words that it may be.", cure)
        else:
            statuses[word] = Status(means)
    return Beyond(codes, flags, statuses)


def _part(reading: Reading, table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if is_table(value):
        return value
    reading.complain(("words", key), "must be in braces.", f'Write {key} = {{ WORD = "..." }}.')
    return {}
