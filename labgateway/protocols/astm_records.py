"""ASTM records: the text of a message, split into rows. CLSI LIS02-A2 (ASTM E1394).

    H|\\^&|||XN-550^00-24|...      the H record declares the delimiters of everything behind it
    R|1|^^^^WBC^1|8.13|10*3/uL      record letter, sequence, ...

Not here: frames and checksums (astm_frames), what a field means (instruments).
"""

from __future__ import annotations

import re

from labgateway.protocols.rows import ASTM, Delimiters, Row


def read_records(text: str) -> list[Row]:
    """The records of a text in order; empty ones are skipped, and nothing raises.

    Records end with CR (LIS02-A2 5.4.1); LF and CR LF are taken as well. Each H record declares the
    delimiters from itself on; what stands before the first H has the usual ones. A delimiter between two
    escape characters is text (see ``_vendor_escapes``). ``Row.number`` counts records of one name over the
    whole text, also when it holds several messages.
    """
    rows: list[Row] = []
    seen: dict[str, int] = {}
    delimiters = ASTM
    for said in text.replace("\n", "\r").split("\r"):
        if not said or said.isspace():
            continue
        record = said
        if is_header(record):
            delimiters = read_delimiters(record)
        elif (escape := delimiters.escape) and record.count(escape) > 1:
            record = _vendor_escapes(record, delimiters)
        fields = tuple(record.split(delimiters.field))
        name = fields[0]
        number = seen.get(name, 0) + 1
        seen[name] = number
        rows.append(Row(name, fields, delimiters, number))
    return rows


def is_header(record: str) -> bool:
    """Whether a record is an H record: an H and a field delimiter, which is no letter, digit or blank."""
    return record[:1] == "H" and _can_delimit(record[1:2])


def read_delimiters(header: str) -> Delimiters:
    r"""The delimiters an H record declares: ``H|\^&|`` field, then repeat, component, escape (LIS02-A2 5.4).

    A place that is left empty, or holds what cannot delimit, gets the usual character, but never an
    escape that already is another delimiter. One written twice, as ``H|\\^&`` by a host that
    quoted it, counts once: two of them cannot be equal.
    """
    field = header[1]
    declared = header[2:].split(field, 1)[0]
    places = [c for i, c in enumerate(declared) if c not in declared[:i]]
    found = [places[i] if i < len(places) and _can_delimit(places[i]) else "" for i in range(3)]
    repetition = found[0] or ASTM.repetition
    component = found[1] or ASTM.component
    escape = found[2] or ASTM.escape
    if escape in (field, repetition, component):
        escape = ""
    return Delimiters(field, repetition, component, escape)


def _vendor_escapes(record: str, d: Delimiters) -> str:
    """``&|&`` as some instruments escape a delimiter (seen by other libraries from Beckman), written ``&F&`` as in LIS02-A2 5.4.6.

    Left to right, so that a whole sequence before it stays one: the bar in ``&E&|&E&`` parts two fields.
    """
    named = {d.field: "F", d.component: "S", d.repetition: "R"}
    e = re.escape(d.escape)
    sequence = re.compile(f"{e}([A-Z][0-9A-Fa-f]*|[{re.escape(''.join(named))}]){e}")
    return sequence.sub(lambda found: d.escape + named.get(found[1], found[1]) + d.escape, record)


def _can_delimit(character: str) -> bool:
    return bool(character) and not character.isalnum() and not character.isspace()
