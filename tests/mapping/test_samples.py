"""The sample mapping files are ones that `check` finds nothing wrong with; the units of every line lead where they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from labgateway.gateway.rulebook import declared
from labgateway.instruments.library import Library, shipped
from labgateway.mapping.lint import lint
from labgateway.mapping.table import load

SAMPLES = sorted((Path(__file__).parents[2] / "mappings").glob("*.toml"))
LIBRARY = Library.of([shipped("drivers")])


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_has_no_mistake(path: Path) -> None:
    """Read against the driver of the same name, a sample has no complaint."""
    driver = LIBRARY.drivers[path.stem]
    assert lint(load(path), path.name, declared(driver), driver.name, open_codes=driver.is_open) == []


def test_there_are_samples() -> None:
    """The wheel ships mapping files for the usual instruments."""
    assert {path.stem for path in SAMPLES} >= {"sysmex_xn", "sysmex_xp", "mindray_bc", "roche_cobas_classic"}
