"""Would the model notice?  A rule that keeps a result from the wrong place is taken away, and 200 lives must stumble over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection, text

from labgateway.matching import attribute, identity, versions, weighing
from labgateway.matching.windows import Side
from labgateway.pipeline import acts, deeds, relink
from labgateway.store import orders, prune, results
from labgateway.store.results import Stored
from labgateway.store.tables import to_us
from tests.simulation.test_whole_house import WholeHouse, lives


def _says(answer: object) -> Callable[..., object]:
    return lambda *_, **__: answer


def _only_patients(candidate: object, found: weighing.Weighed) -> attribute.Problem | None:
    """Rows 8 and 9 of the table are gone."""
    return None if found.is_one_patient else attribute.Problem(attribute.Reason.AMBIGUOUS_ORDER)


def _unseen(connection: Connection, number: str, request: Mapping[str, Any]) -> Stored:
    one = results.get(connection, number)
    return acts.seen(connection, number, {**request, "version": one.row_version if one else 0})


def _by_age(connection: Connection, before: datetime) -> int:
    unnamed = "id NOT IN (SELECT coalesce(order_id, beside_id) FROM observation WHERE beside_id IS NOT NULL)"
    gone = connection.execute(text(f"DELETE FROM lab_order WHERE received_at < :t AND {unnamed}"), {"t": to_us(before)})
    return int(gone.rowcount)


Gone = tuple[tuple[object, str, object], ...]
GONE: dict[str, Gone] = {
    "two orders for one test are two": ((attribute, "_is_one_order", _says(True)),),
    "two patients on one id": ((identity, "all_one_patient", _says(True)),),
    "second identifiers and orders that got another patient": ((attribute, "_doubt", _only_patients),),
    "windows": ((weighing, "side_of", _says(Side.INSIDE)),),
    "placeholders": ((identity, "is_placeholder", _says(False)),),
    "what other instruments said, and what is held": ((versions, "_unsettled", _says(None)),),
    "what stands is not what came last": ((versions, "_as_they_went_out", lambda live: live),),
    "the version that was seen": ((deeds, "seen", _unseen), (relink, "seen", _unseen)),
    "another tube's answer": ((orders, "siblings", _says([])),),
    "orders that something held is about": ((prune, "_orders", _by_age),),
    "whose the result was when it went out": ((acts, "_as_sent", lambda c, n, one: n and orders.get(c, n)),),
}
"""What is taken away: module, name, what stands there instead."""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rule", GONE)
def test_it_is_noticed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first life that breaks a promise ends the search."""
    for module, name, instead in GONE[rule]:
        monkeypatch.setattr(module, name, instead)
    once = settings(lives(200), phases=[Phase.generate], database=None, derandomize=True)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(WholeHouse, settings=once)
