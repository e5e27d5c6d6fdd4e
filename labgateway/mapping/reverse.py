"""The mapping read backwards: what the EMR orders to what is asked of the instrument. Pure.

ordered ── [orders] names it ──────────────────────────────> its codes; an empty list: nothing
   └── [panels], else the test itself ── [tests] backwards ─> one code a test, or none: another instrument's test
                                                └── several ─> doubtful: a person must say which in [orders]
"""

from __future__ import annotations

from dataclasses import dataclass

from labgateway.mapping import specimens
from labgateway.mapping.table import Mapping


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an order asks of the instrument. codes: each once. doubtful: EMR tests that several codes lead to."""

    codes: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


def codes_for(mapping: Mapping, ordered: str, specimen_type: str) -> Wanted:
    """What to ask of the instrument for one ordered test or panel; nothing when it is not its test.

    specimen_type: as ordered (SPM-4 or OBR-15), "" when not known.
    """
    if ordered in mapping.orders:
        return Wanted(mapping.orders[ordered])
    found: dict[str, None] = {}
    doubtful: list[str] = []
    for test in mapping.panels.get(ordered, (ordered,)):
        codes = _codes_of(mapping, test, specimen_type)
        if len(codes) > 1:
            doubtful.append(test)
        else:
            found.update(dict.fromkeys(codes))
    return Wanted(tuple(found), tuple(doubtful))


def _codes_of(mapping: Mapping, test: str, specimen_type: str) -> tuple[str, ...]:
    """Codes that lead to a test. A line of the ordered specimen type says more than one for every type."""
    plain: dict[str, None] = {}
    typed: dict[str, None] = {}
    for code, lines in mapping.tests.items():
        for line in lines:
            if test not in line.emr:
                continue
            if line.specimen is None:
                plain[code] = None
            elif not specimen_type or specimens.same(line.specimen, specimen_type):
                typed[code] = None
    first, second = (typed, plain) if specimen_type else (plain, typed)
    return tuple(first or second)
