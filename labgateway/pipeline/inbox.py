"""The inbox: what held results wait for because nobody has declared it, each with a draft for the mapping file. Pure.

    no line answers the code ─────────────────> a line under [tests], by the catalogue, its `emr` still "?"
    the driver does not know the code ────────> the same, and the code under [words] codes
    the unit is not the line's ───────────────> `comes` and `times` of the line, where the factor is known
    the driver does not know the unit ────────> [words] codes
    the driver does not know a flag, status ──> [words] flag, status; what it means is still "?"

Nothing here is in use before a person has accepted the file. No patient data: codes, units, words, and of values only
whether they are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import tomlkit

from labgateway.errors import Problem, Reason
from labgateway.instruments.spec import Driver
from labgateway.mapping import decimals, units
from labgateway.mapping.apply import known_factors, plain_number
from labgateway.mapping.proposals import line_of
from labgateway.mapping.table import Mapping as MappingFile
from labgateway.model import Result
from labgateway.store.observed import Stored

UNDECIDED_WORD = "?"
Change = tuple[tuple[str, ...], str]
"""Where in the file something shall stand, and what, as TOML."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that nobody has declared.

    key: how a person names it: a code, or `unit CODE UNIT`, `flag WORD`, `status WORD`. waiting: how many results.
    example: one of them without whose it is. changes: the draft; () where a person must write it. note: to the person.
    """

    instrument: str
    key: str
    reason: Reason
    code: str
    waiting: int
    since: datetime
    example: Mapping[str, object]
    changes: tuple[Change, ...]
    note: str = ""


@dataclass(slots=True)
class _Group:
    reason: Reason
    code: str
    rows: list[Stored] = field(default_factory=list[Stored])


def inbox(
    instrument: str, held: Iterable[Stored], driver: Driver | Problem, mapping: MappingFile | Problem
) -> list[Entry]:
    """What the held results of one instrument wait for, longest first. held: oldest first.

    driver, mapping: as they are in use; of broken ones nothing is drafted.
    """
    if isinstance(driver, Problem) or isinstance(mapping, Problem):
        return []
    groups: dict[str, _Group] = {}
    for one in held:
        if one.problem is None or one.decided_by:
            continue
        for key in _keys(one.problem.reason, one.result, driver, one.problem.detail):
            groups.setdefault(key, _Group(one.problem.reason, one.result.code)).rows.append(one)
    return [_entry(instrument, key, group, driver, mapping) for key, group in groups.items()]


def _keys(reason: Reason, said: Result, driver: Driver, detail: str) -> list[str]:
    match reason:
        case Reason.UNMAPPED | Reason.CODE_UNKNOWN:
            return [said.code] if said.code else []
        case Reason.UNIT_CHANGED | Reason.UNIT_UNKNOWN:
            return [f"unit {said.code} {said.unit or '-'}"]
        case Reason.FLAG_UNKNOWN:
            known = driver.words.flag or {}
            return [f"flag {flag}" for flag in said.flags if flag not in known]
        case Reason.STATUS_UNKNOWN:
            word = detail.rpartition(": ")[2]
            return [f"status {word}"] if word and not word.endswith("…") else []
        case _:
            return []


def _entry(instrument: str, key: str, group: _Group, driver: Driver, mapping: MappingFile) -> Entry:
    first = group.rows[0]
    changes, note = _draft(key, group, driver, mapping)
    said = first.result
    value = said.value or ""
    shown = "a number" if decimals.read(value) else "nothing" if not value else f"a text of {len(value)} characters"
    example = {
        "code": said.code, "value": shown, "unit": said.unit, "flags": list(said.flags), "observation": first.id,
        "message": first.transmission_id,
    }  # fmt: skip
    return Entry(
        instrument, key, group.reason, group.code, len(group.rows), first.received_at, example, tuple(changes), note
    )


def _draft(key: str, group: _Group, driver: Driver, mapping: MappingFile) -> tuple[list[Change], str]:
    code = group.code
    sent = list(dict.fromkeys(one.result.unit or "" for one in group.rows))
    match group.reason:
        case Reason.UNMAPPED | Reason.CODE_UNKNOWN:
            changes: list[Change] = []
            if code not in mapping.tests and code not in mapping.leave_out:
                text, why = line_of(code, sent)
                changes.append((("tests", code), text))
            else:
                why = "no line is for this type of specimen: add one by hand"
            if group.reason is Reason.CODE_UNKNOWN:
                changes.append((("words", "codes", code), _texts(sent)))
            return changes, why
        case Reason.UNIT_UNKNOWN:
            known = mapping.beyond.codes.get(code, ())
            note = f"the driver declares {' or '.join(u or 'none' for u in driver.tests.get(code, ())) or 'none'}"
            return [(("words", "codes", code), _texts([*known, *(unit for unit in sent if unit not in known)]))], note
        case Reason.UNIT_CHANGED:
            return _another_unit(code, group.rows[0].result.unit, mapping)
        case Reason.FLAG_UNKNOWN:
            return [(("words", "flag", key.removeprefix("flag ")), _text(UNDECIDED_WORD))], "say what it means: --means"
        case Reason.STATUS_UNKNOWN:
            word = key.removeprefix("status ")
            return [(("words", "status", word), _text(UNDECIDED_WORD))], "say what it means: --means"
        case _:
            return [], ""


def _another_unit(code: str, sent: str | None, mapping: MappingFile) -> tuple[list[Change], str]:
    """`comes` and `times` for a line whose unit has changed; nothing where the factor is not known for certain."""
    lines: Sequence[object] = mapping.tests.get(code, ())
    if len(lines) != 1 or not sent:
        return [], "correct `comes` and `times` by hand, or set the instrument back"
    (line,) = mapping.tests[code]
    factors = known_factors(line, sent)
    was = f"the line is for {line.comes}" if line.comes else f"the line says times {line.times:f}"
    if line.unit is None:
        return [(("tests", code, "comes"), _text(sent))], f"{was}; or set the instrument back"
    if len(set(factors)) != 1 or units.same(sent, line.comes or ""):
        return [], f"{was}, and no factor from {sent} to {line.unit} is known: write `comes` and `times` by hand"
    changes: list[Change] = [
        (("tests", code, "comes"), _text(sent)),
        (("tests", code, "times"), plain_number(factors[0])),
    ]
    return changes, f"{was}; or set the instrument back"


def _texts(found: Sequence[str]) -> str:
    return _text(found[0]) if len(found) == 1 else "[" + ", ".join(_text(one) for one in found) + "]"


def _text(text: str) -> str:
    return tomlkit.string(text).as_string()
