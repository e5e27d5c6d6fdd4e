"""A message that is read again: which result of now is which observation of before. Pure.

A row keeps its name (``R7``) while its driver counts the same rows. A mended layout may count others, so the name alone
proves nothing: code, specimen and value must say it too. What nothing proves is never passed over: it is new.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from labgateway.model import Kind, ObservationState, Result
from labgateway.store.observed import Stored

_Key = Callable[[Result], Hashable]


@dataclass(frozen=True, slots=True)
class Again:
    """One result of now.

    old: its observation of before; None: it has none. in_doubt: what was sent or decided by a person for a row of this
    name is nowhere in the message any more, so this may be that row with another code or specimen.
    """

    old: Stored | None = None
    in_doubt: bool = False


_NEW = Again()


def pair(before: Sequence[Stored], said: Sequence[Result], may_change: Callable[[Stored], bool]) -> list[Again]:
    """For each result said now what it was before, each observation once. may_change: whether it may be decided anew.

    First the same words under the same name, then the same words under another name, then the same test of the same
    specimen under the same name, where the message has that test of it once. What may be decided anew is taken up by
    what bears its name now: nothing hangs on it yet.
    """
    known = [one for one in before if one.result.where and one.result.kind is not Kind.COMPUTED]
    if not known:
        return [_NEW] * len(said)
    found: dict[int, Stored] = {}
    _match(known, said, lambda r: (r.where, *_test(r), r.value), found)
    _match(known, said, lambda r: (*_test(r), r.value), found)
    once = _once(one.result for one in known) & _once(said)
    _match(known, said, lambda r: (r.where, *_test(r)) if _test(r) in once else None, found)
    _match([one for one in known if may_change(one)], said, lambda r: r.where, found)
    taken = {one.result_id for one in found.values()}
    left = {one.result.where for one in known if one.result_id not in taken and _counts(one)}
    return [Again(found.get(n), n not in found and result.where in left) for n, result in enumerate(said)]


def _test(result: Result) -> tuple[str, str | None]:
    return result.code, result.specimen


def _once(said: Iterable[Result]) -> set[Hashable]:
    return {test for test, count in Counter((*_test(one),) for one in said).items() if count == 1}


def _counts(one: Stored) -> bool:
    return one.state is ObservationState.RELEASED or bool(one.decided_by)


def _match(known: Sequence[Stored], said: Sequence[Result], key: _Key, found: dict[int, Stored]) -> None:
    """Pair those of one key in their order, what is paired already left out; None as a key pairs nothing."""
    taken = {one.result_id for one in found.values()}
    free: defaultdict[Hashable, dict[int, Stored]] = defaultdict(dict)
    for one in known:
        if one.result_id not in taken and (its := key(one.result)) is not None:
            free[its][one.result_id] = one  # of what a person moved, the last stands for all
    for n, result in enumerate(said):
        if n not in found and (rest := free.get(key(result))):
            found[n] = rest.pop(next(iter(rest)))
