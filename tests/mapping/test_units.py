"""Units: many spellings, one meaning; factors as ucumvert has them."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.mapping import units
from labgateway.mapping.lint import is_ucum

UCUM_PARTS = ["g", "mg", "ug", "ng", "pg", "mol", "mmol", "umol", "nmol", "L", "dL", "mL", "uL", "fL", "[IU]", "m[IU]"]
UCUM_UNITS = [f"{a}/{b}" for a in UCUM_PARTS for b in ("L", "dL", "mL", "uL", "g", "mmol")]
UCUM_UNITS += [
    "10*3/uL",
    "10*9/L",
    "10*12/L",
    "10*6/uL",
    "/uL",
    "/L",
    "%",
    "L/L",
    "g/g",
    "fL",
    "pg",
    "mm[Hg]",
    "s",
]


@pytest.mark.parametrize(
    ("sent", "wanted", "factor"),
    [
        ("g/dL", "g/L", "10"),
        ("10*3/uL", "10*9/L", "1"),
        ("10^3/ul", "10*9/L", "1"),
        ("10E3/mm3", "10*9/L", "1"),
        ("x10^3/µL", "10*9/L", "1"),
        ("10*2/uL", "10*9/L", "0.1"),
        ("10*4/uL", "10*12/L", "0.01"),
        ("K/uL", "10*9/L", "1"),
        ("G/L", "10*9/L", "1"),
        ("T/l", "10*12/L", "1"),
        ("um3", "fL", "1"),
        ("%", "L/L", "0.01"),
        ("%", "1", "0.01"),
        ("uIU/mL", "m[IU]/L", "1"),
        ("mUI/ml", "[IU]/L", "1"),
        ("ng/mL", "ug/L", "1"),
        ("MG/DL", "mg/L", "10"),
        ("mmHg", "mm[Hg]", "1"),
        ("copies/mL", "{copies}/mL", "1"),
        ("ng/mL{FEU}", "mg/L{FEU}", "0.001"),
        ("COI", "COI", "1"),
        ("sec", "s", "1"),
    ],
)
def test_factors(sent: str, wanted: str, factor: str) -> None:
    """What laboratories write leads where it should, exactly."""
    assert units.factor(sent, wanted) == Decimal(factor)


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ("mg/dL", "mmol/L"),
        ("g/L", "G/L"),
        ("U/L", "[IU]/L"),
        ("ng/mL{FEU}", "ng/mL"),
        ("ng/mL{FEU}", "ng/mL{DDU}"),
        ("s", "%"),
        ("COI", "S/CO"),
        ("/100WBC", "%"),
        ("", "%"),
        ("g//L", "g/L"),
        ("min", "s"),
    ],
)
def test_no_factor(sent: str, wanted: str) -> None:
    """Units of different kinds, and what is not understood, have no factor: nothing is guessed."""
    assert units.factor(sent, wanted) is None


@pytest.fixture(scope="module")
def registry() -> Any:
    return import_module("ucumvert").PintUcumRegistry()


def test_factors_agree_with_ucumvert(registry: Any) -> None:
    """Every pair of these units has the factor that ucumvert finds, and none where it finds none."""
    base = {unit: registry.from_ucum(unit).to_base_units() for unit in UCUM_UNITS}
    for sent in UCUM_UNITS:
        for wanted in UCUM_UNITS:
            ours = units.factor(sent, wanted)
            alike = base[sent].dimensionality == base[wanted].dimensionality
            if ours is None:
                # ucumvert lets an international unit be a pure number; we keep it apart.
                assert not alike or "IU" in sent + wanted, (sent, wanted)
            else:
                assert alike, (sent, wanted)
                assert float(ours) == pytest.approx((base[sent] / base[wanted]).to("").magnitude), (sent, wanted)


@given(st.text(max_size=12) | st.text("10*^Eex/uLldgmo[]{}IU%.", max_size=12))
@settings(deadline=None)
def test_any_text(text: str) -> None:
    """Any text is a unit or not; a unit is itself; nothing is raised."""
    units.read(text)
    units.ucum(text)
    assert units.factor(text, text) == 1
    is_ucum(text)


@pytest.mark.parametrize(
    ("written", "ucum"),
    [
        ("mIU/mL", "m[IU]/mL"),
        ("x10^9/L", "10*9/L"),
        ("mmHg", "mm[Hg]"),
        ("10E3/mm3", "10*3/uL"),
        ("copies/mL", "{copies}/mL"),
        ("UI/l", "[IU]/L"),
        ("mOsm/kg", "mosm/kg"),
        ("G/L", "10*9/L"),
        ("sec", "s"),
        ("mm/hr", "mm/h"),
    ],
)
def test_ucum_spelling(written: str, ucum: str) -> None:
    """What laboratories write is offered in UCUM, and that is UCUM by ucumvert, and means the same."""
    assert units.ucum(written) == ucum
    assert is_ucum(ucum)
    assert units.factor(written, ucum) == 1
