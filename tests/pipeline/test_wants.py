"""Which results a destination gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from labgateway.config import load
from labgateway.errors import ComplaintsError
from labgateway.gateway import build
from labgateway.model import Observation
from labgateway.pipeline.rules import DestinationRules
from tests.delivery.reports import observation, order

WARD = order()
URINE = order("U", specimen_type="UR^Nước tiểu^HL70487", ward="NOI^2")


def rules(folder: Path, options: str, *, sensitive: str = '["HIV", "HBV"]') -> DestinationRules:
    """The rules of one destination, as the config says them."""
    (folder / "config.toml").write_text(
        f'[gateway]\nsensitive = {sensitive}\n[destination.emr]\nkind = "mllp"\nhost = "h"\nport = 1\n{options}\n'
    )
    config = load(folder / "config.toml")
    return build.rules(config, build.library(config)).destinations[0]


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


def test_a_sensitive_filter_needs_sensitive_tests(tmp_path: Path) -> None:
    """A filter for tests that nobody named would filter nothing: it is a mistake of the file."""
    with pytest.raises(ComplaintsError, match="no test is declared as sensitive"):
        rules(tmp_path, 'sensitive = "leave_out"', sensitive="[]")
