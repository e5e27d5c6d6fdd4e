"""What a FHIR server must hold after a transaction of ours, and where what it does hold says something else. Pure.

    our bundle -> Expected, one an Observation            what the server gave -> ``differing`` -> names of places

Compared: value, unit, status, code, whose it is and of which specimen. Not what servers write in their own way
(ids, meta, narrative) nor what they may add (a coding of their own, an interpretation). Numbers are compared as numbers:
a server that keeps 5.10 as 5.1 differs in nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast
from urllib.parse import unquote

Object = dict[str, Any]
Identity = tuple[str, str]
"""System, "" when there is none, and value."""
Resolved = Mapping[str, frozenset[Identity] | None]
"""Reference as it stands -> the identifiers of what it names; None: that cannot be found there."""

_CONDITIONAL = re.compile(r"[A-Za-z]+\?identifier=(.*)")
_VALUES = re.compile(r"value[A-Z].*")


@dataclass(frozen=True, slots=True)
class Expected:
    """One Observation as it was sent. id: ours, of the last version in it. value: None: it was sent without one.

    patient, specimen: None: it was sent without.
    """

    system: str
    id: str
    status: str
    value: Decimal | str | None
    comparator: str
    unit: str
    codes: frozenset[Identity]
    patient: Identity | None
    specimen: Identity | None


def expected(body: bytes) -> dict[str, Expected]:
    """By our id. Empty for anything that is no transaction of ours: sent when the destination was of another kind."""
    try:
        whole = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return {}
    if not isinstance(whole, dict):
        return {}
    entries = list(objects(cast(Object, whole).get("entry")))
    made = {str(entry.get("fullUrl", "")): part(entry, "resource") for entry in entries}
    found: dict[str, Expected] = {}
    for resource in made.values():
        if resource.get("resourceType") == "Observation" and (ours := identities(resource)):
            one = _expected(resource, ours[-1], made)
            found[one.id] = one
    return found


def _expected(resource: Object, ours: Identity, made: Mapping[str, Object]) -> Expected:
    value, comparator, unit = _value(resource)
    return Expected(
        ours[0], ours[1], str(resource.get("status", "")), value, comparator, unit, _codes(resource),
        _meant(part(resource, "subject"), made), _meant(part(resource, "specimen"), made),
    )  # fmt: skip


def _meant(reference: Object, made: Mapping[str, Object]) -> Identity | None:
    """Whom a reference of ours means: by identifier, by a search, or by an entry of the same bundle."""
    if identifier := part(reference, "identifier"):
        return _identity(identifier)
    said = str(reference.get("reference", ""))
    if said in made:
        return next(iter(identities(made[said])), None)
    if found := _CONDITIONAL.fullmatch(said):
        system, _, value = unquote(found[1]).partition("|")
        return system, re.sub(r"\\([\\$,|])", r"\1", value)
    return None


def newer(one: Expected, held: Object) -> bool:
    """Whether a later version of ours has taken its place there meanwhile."""
    ours = [value for system, value in identities(held) if system == one.system]
    return one.id in ours and ours[-1] != one.id


def references(held: Object) -> Iterator[str]:
    """What must be looked up before ``differing`` can tell whose it is."""
    for name in ("subject", "specimen"):
        if said := str(part(held, name).get("reference", "")):
            yield said


def differing(one: Expected, held: Object, resolved: Resolved) -> list[str]:
    """Names of the places in which what the server holds is not what was sent."""
    value, comparator, unit = _value(held)
    places = {
        "status": held.get("status") == one.status,
        "value": (value, comparator) == (one.value, one.comparator) and _has_value(held) == (one.value is not None),
        "unit": unit == one.unit,
        "code": one.codes <= _codes(held),
        "subject": _is(one.patient, part(held, "subject"), resolved),
        "specimen": _is(one.specimen, part(held, "specimen"), resolved),
    }
    return [name for name, right in places.items() if not right]


def _is(meant: Identity | None, reference: Object, resolved: Resolved) -> bool:
    """Every word that the reference says must agree: its identifier and what it names."""
    if meant is None:
        return not reference.get("reference") and not part(reference, "identifier")
    said = str(reference.get("reference", ""))
    identifier = part(reference, "identifier")
    if identifier and not _agrees(meant, _identity(identifier)):
        return False
    if not said:
        return bool(identifier)
    named = resolved.get(said)
    return named is not None and any(_agrees(meant, other) for other in named)


def _agrees(meant: Identity, other: Identity) -> bool:
    return meant[1] == other[1] and (not meant[0] or meant[0] == other[0])


def _value(resource: Object) -> tuple[Decimal | str | None, str, str]:
    """Value, comparator, unit; a value of a kind that we never send is None."""
    quantity = part(resource, "valueQuantity")
    if quantity:
        value = quantity.get("value")
        number = value if isinstance(value, Decimal) else None
        return number, str(quantity.get("comparator", "")), str(quantity.get("unit", ""))
    text = resource.get("valueString")
    return (text if isinstance(text, str) else None), "", ""


def _has_value(resource: Object) -> bool:
    return any(_VALUES.fullmatch(name) for name in resource)


def _codes(resource: Object) -> frozenset[Identity]:
    codings = objects(part(resource, "code").get("coding"))
    return frozenset((str(one.get("system", "")), str(one.get("code", ""))) for one in codings)


def identities(resource: Object) -> list[Identity]:
    """Its identifiers, in order."""
    return [_identity(one) for one in objects(resource.get("identifier"))]


def _identity(identifier: Object) -> Identity:
    return str(identifier.get("system", "")), str(identifier.get("value", ""))


def part(value: Object, name: str) -> Object:
    """An object inside, empty when there is none."""
    inner = value.get(name)
    return cast(Object, inner) if isinstance(inner, dict) else {}


def objects(value: object) -> Iterator[Object]:
    """Those of a list that are objects."""
    for one in cast(list[Any], value) if isinstance(value, list) else ():
        if isinstance(one, dict):
            yield cast(Object, one)
