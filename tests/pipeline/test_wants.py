"""Which results a destination gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labgateway.config import load
from labgateway.errors import ComplaintsError
from labgateway.gateway import rulebook
from labgateway.model import Observation
from labgateway.pipeline.rules import DestinationRules
from labgateway.store import results
from tests.delivery.reports import observation, order
from tests.pipeline.lab import Lab

WARD = order()
URINE = order("U", specimen_type="UR^Nước tiểu^HL70487", ward="NOI^2")


def rules(folder: Path, options: str, *, sensitive: str = '["HIV", "HBV"]') -> DestinationRules:
    """The rules of one destination, as the config says them."""
    (folder / "config.toml").write_text(
        f'[gateway]\nsensitive = {sensitive}\n[destination.emr]\nkind = "mllp"\nhost = "h"\nport = 1\n{options}\n'
    )
    config = load(folder / "config.toml")
    return rulebook.rules(config, rulebook.library(config)).destinations[0]


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ("", "WBC HIV U X"),
        ('tests = ["WBC", "HIV"]', "WBC HIV"),
        ('sensitive = "leave_out"', "WBC U X"),
        ('sensitive = "only"', "HIV"),
        ('sensitive = "only"\ntests = ["WBC"]', ""),
        ('sensitive = "leave_out"\ntests = ["WBC", "HIV"]', "WBC"),
        ('wards = ["HSTC"]', "WBC HIV"),
        ('specimens = ["nước tiểu"]', "U"),
        ('specimens = ["whole blood"]', "WBC HIV X"),
    ],
)
def test_filters(tmp_path: Path, options: str, codes: str) -> None:
    """Of a blood count, a sensitive test, a urine and a test without order; a filter that leaves nothing sends nothing."""
    given: list[Observation] = [
        observation("WBC", of=WARD),
        observation("HIV", of=WARD),
        observation("U", of=URINE),
        observation("X", specimen_type="BLD"),
    ]
    found = rules(tmp_path, options)
    assert " ".join(o.code for o in given if found.wants(o)) == codes


def test_a_correction_goes_where_the_original_went() -> None:
    """The filter has changed since: the correction still goes to whoever was told, and new results do not."""
    lab = Lab(names=("emr", "copy"))
    lab.order("S1", "O1")
    lab.measure("S1", ("WBC", "5.1"))
    emr, copy = lab.rules.destinations
    lab.rules = replace(lab.rules, destinations=(emr, replace(copy, without=frozenset({"WBC"}))))
    lab.measure("S1", ("WBC", "5.2"), status="C")
    lab.order("S2", "O2")
    lab.measure("S2", ("WBC", "6.0"))
    told = [(s.destination, s.lane, s.letter, s.value) for s in lab.owed()]
    assert sorted(told) == [
        ("copy", "S1", "C", "5.2"), ("copy", "S1", "F", "5.1"),
        ("emr", "S1", "C", "5.2"), ("emr", "S1", "F", "5.1"), ("emr", "S2", "F", "6.0"),
    ]  # fmt: skip


def test_all_versions_before_a_correction_are_known() -> None:
    """Oldest first: by the first of them a destination finds what it has."""
    lab = Lab()
    lab.order("S1", "O1")
    (first,) = lab.measure("S1", ("WBC", "5.1"), status="P")
    (second,) = lab.measure("S1", ("WBC", "5.2"))
    (third,) = lab.measure("S1", ("WBC", "5.3"), status="C")
    assert lab.do(lambda c: results.earlier(c, third.replaces)) == (first.id, second.id)
    assert lab.do(lambda c: results.earlier(c, None)) == ()


def test_a_sensitive_filter_needs_sensitive_tests(tmp_path: Path) -> None:
    """A filter for tests that nobody named would filter nothing: it is a mistake of the file."""
    with pytest.raises(ComplaintsError, match="no test is declared as sensitive"):
        rules(tmp_path, 'sensitive = "leave_out"', sensitive="[]")
