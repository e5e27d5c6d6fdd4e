"""Reads back what a FHIR server holds of what it was sent.

    ids -> GET Observation?identifier=SYSTEM|ID,…  a handful at a time; what is not among them is asked for alone
        -> its subject and specimen by reference -> GET Patient/ID, Specimen/ID, each once -> compare

Addresses hold ids of ours and of the server only, never a patient's number: servers and proxies write addresses down.
What a reference names elsewhere is not fetched: nothing is asked of another host than the configured one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from labgateway.delivery import fhir_compare as compare
from labgateway.delivery.fhir import search
from labgateway.delivery.fhir_compare import Expected, Identity, Object
from labgateway.delivery.http_read import HttpReader
from labgateway.delivery.ports import Difference

_AT_ONCE = 25
_LONGEST = 1500  # characters of ids in one address; many servers and proxies take 2,000 in all
_NAMED = re.compile(r"((?:Patient|Specimen)/[A-Za-z0-9.-]{1,64})(?:/_history/[^/]+)?")
DOUBLED = "more than one Observation"


class FhirReader:
    """See the module. Close it."""

    def __init__(self, reader: HttpReader) -> None:
        self._reader = reader

    def parts(self, body: bytes) -> Mapping[str, Expected]:
        """What the server must hold after these bytes, by our id."""
        return compare.expected(body)

    async def read_back(self, found: Sequence[Expected]) -> list[Difference]:
        """What of these it does not hold as sent. Raises OSError, in words, when it cannot be read."""
        named: dict[str, frozenset[Identity] | None] = {}
        differences: list[Difference] = []
        for some in _handfuls(found):
            held = await self._held(some)
            for one in some:
                ours = one.system, one.id
                there = held.get(ours) or (await self._held([one])).get(ours, [])
                if len(there) != 1:
                    differences.append(Difference(one.id, (DOUBLED,) if there else ()))
                elif not compare.newer(one, there[0]):
                    for said in compare.references(there[0]):
                        if said not in named:
                            named[said] = await self._identities(said)
                    if where := compare.differing(one, there[0], named):
                        differences.append(Difference(one.id, tuple(where)))
        return differences

    async def close(self) -> None:
        """Close the connection."""
        await self._reader.close()

    async def _held(self, found: Sequence[Expected]) -> dict[Identity, list[Object]]:
        """The server's Observations by our id."""
        tokens = ",".join(search(one.system, one.id).removeprefix("identifier=") for one in found)
        answer = await self._reader.get(f"Observation?identifier={tokens}&_count={4 * len(found)}", "Observation")
        whole = _bundle(answer)
        by_id: dict[Identity, list[Object]] = {}
        for entry in compare.objects(whole.get("entry")):
            resource = compare.part(entry, "resource")
            if resource.get("resourceType") == "Observation":
                for ours in compare.identities(resource):
                    by_id.setdefault(ours, []).append(resource)
        return by_id

    async def _identities(self, reference: str) -> frozenset[Identity] | None:
        """Of the Patient or Specimen that it names; None: it is not there, or elsewhere."""
        there = _NAMED.fullmatch(reference.removeprefix(self._reader.base + "/"))
        if there is None:
            return None
        resource: Any = await self._reader.get(there[1], there[1].partition("/")[0])
        if not isinstance(resource, dict):
            return None
        return frozenset(compare.identities(cast(Object, resource)))


def _bundle(answer: Any) -> Object:
    """Raises OSError for what is no answer to a search."""
    if answer is None:
        raise OSError("it has no Observation that can be searched for (404)")
    if not isinstance(answer, dict) or cast(Object, answer).get("resourceType") != "Bundle":
        raise OSError("the answer to a search of Observation is none")
    return cast(Object, answer)


def _handfuls(found: Sequence[Expected]) -> Iterator[list[Expected]]:
    some: list[Expected] = []
    length = 0
    for one in found:
        own = len(search(one.system, one.id))
        if some and (len(some) >= _AT_ONCE or length + own > _LONGEST):
            yield some
            some, length = [], 0
        some.append(one)
        length += own
    if some:
        yield some
