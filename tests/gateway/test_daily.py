"""Once a day, at the hour that the config says, by the site's clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from labgateway.errors import LabgatewayError
from labgateway.gateway.daily import _has_come  # pyright: ignore[reportPrivateUsage]
from labgateway.gateway.reconcile import Proof, asked, proof_of, span_of
from labgateway.store.differences import Found

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))


def test_the_hour_comes_once() -> None:
    """Looked at every half minute over three days, it comes three times, at the first look after it."""
    looks = [NOON + timedelta(seconds=30 * n + 7) for n in range(3 * 2880)]
    come = [now for before, now in pairwise(looks) if _has_come("03:30", before, now)]
    assert [(now.day, now.hour, now.minute) for now in come] == [(23, 3, 30), (24, 3, 30), (25, 3, 30)]


def test_never_and_clocks_that_jump() -> None:
    assert not _has_come("", NOON, NOON + timedelta(seconds=30))
    assert not _has_come("12:05", NOON, NOON + timedelta(hours=5))
    assert not _has_come("11:59", NOON, NOON - timedelta(minutes=2))
    assert _has_come("12:00", NOON - timedelta(seconds=20), NOON)


def test_a_day_is_the_sites_day() -> None:
    since, until = span_of(NOON.date(), "Asia/Ho_Chi_Minh")
    assert (until - since, since.isoformat()) == (timedelta(days=1), "2026-11-22T00:00:00+07:00")


def test_what_the_command_line_found_arrives_whole() -> None:
    proof = Proof("table", 3, 9, compared=7, found=[Found(4, "A" * 20, "value, unit"), Found(5, "B" * 20, "")])
    assert proof_of(asked(proof)) == proof
    for broken in ({}, {"destination": "x"}, {**asked(proof), "found": [[1, 2]]}, {**asked(proof), "found": 5}):
        with pytest.raises(LabgatewayError):
            proof_of(broken)
