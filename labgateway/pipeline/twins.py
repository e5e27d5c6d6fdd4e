"""One message that says two values of one test on one specimen: a rerun or a dilution beside the first try. Pure.

Which of them counts nobody can know who has not looked, so the first does not leave before the second is held: both are.
A mapping line with `rerun = "last"` has said which.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from labgateway.model import Kind, Result

_Key = tuple[Hashable, ...]


def contradicted(said: Iterable[tuple[Hashable, Result]]) -> frozenset[_Key]:
    """The tests of which a message says two values. said: each result with its message; `key` tells one's test."""
    values: dict[_Key, str] = {}
    found: set[_Key] = set()
    for message, result in said:
        if result.kind is Kind.PATIENT and result.specimen and result.value is not None and result.problem is None:
            test = key(message, result)
            if values.setdefault(test, result.value) != result.value:
                found.add(test)
    return frozenset(found)


def key(message: Hashable, result: Result) -> _Key:
    """The same for two values of one test. Another unit or status (preliminary, then final) is told apart elsewhere."""
    return (message, result.specimen, result.code, result.unit or "", result.status, result.specimen_type or "")
