"""The catalogue: every row can be trusted as far as a program can tell."""

from __future__ import annotations

from decimal import Decimal

import pytest

from labgateway.mapping import units
from labgateway.mapping.catalogue import analytes, by_code, by_loinc, close, factors
from labgateway.mapping.lint import check_digit_fits, is_ucum


def test_it_is_large_and_bilingual() -> None:
    """More than 120 analytes, each named in English and Vietnamese, each short code once."""
    assert len(analytes()) >= 120
    assert all(a.name_en and a.name_vi for a in analytes())
    assert len({a.short_code for a in analytes()}) == len(analytes())


def test_codes_and_units_are_well_formed() -> None:
    """Every LOINC has its check digit and stands once, every reporting unit is UCUM."""
    codes = [code for a in analytes() for code in (a.loinc, a.conventional_loinc) if code]
    assert all(check_digit_fits(code) for code in codes)
    assert len(set(codes)) == len(codes)
    for analyte in analytes():
        for unit in filter(None, [analyte.ucum, *(unit for unit, _ in analyte.factors)]):
            assert is_ucum(unit), f"{analyte.short_code}: {unit}"
        assert bool(analyte.ucum) == (analyte.decimals is not None), analyte.short_code


def test_factors_agree_with_the_units() -> None:
    """Where two units are of one kind, the factor of the file is the factor of the units."""
    for analyte in analytes():
        for unit, times in analyte.factors:
            known = units.factor(unit, analyte.ucum)
            assert known is None or known == times, f"{analyte.short_code}: {unit}"


@pytest.mark.parametrize(
    ("code", "sent", "wanted", "expected"),
    [
        ("GLU", "mg/dL", "mmol/L", "0.0555"),
        ("GLU", "g/L", "mmol/L", "5.55"),
        ("GLU", "mmol/L", "mg/dL", "18.018"),
        ("CREA", "mg/dL", "umol/L", "88.4"),
        ("UREA", "mg/dL", "mmol/L", "0.1665"),
        ("NA", "mEq/L", "mmol/L", "1"),
    ],
)
def test_factors_of_one_substance(code: str, sent: str, wanted: str, expected: str) -> None:
    """Mass and moles of one substance convert both ways and through prefixes."""
    assert any(close(Decimal(expected), one) for one in factors(by_code()[code], sent, wanted))


def test_urea_has_two_factors() -> None:
    """mg/dL may be urea or urea nitrogen: both factors are known, so that neither is called a mistake."""
    assert factors(by_code()["UREA"], "mg/dL", "mmol/L") == [Decimal("0.1665"), Decimal("0.357")]


def test_by_loinc_knows_both_properties() -> None:
    """Glucose is found by its code for moles and by its code for mass."""
    assert by_loinc()["14749-6"] is by_loinc()["2345-7"] is by_code()["GLU"]


def test_check_digits() -> None:
    """A wrong digit, swapped digits and other texts are no LOINC codes."""
    assert check_digit_fits("718-7")
    for wrong in ("718-6", "781-7", "7187", "718-77", "-7", "718-", "abc-1", "７18-7", ""):
        assert not check_digit_fits(wrong), wrong


MOLAR = {
    "GLU": "180.156", "CREA": "113.118", "UA": "168.11", "TBIL": "584.66", "CHOL": "386.65", "HDL": "386.65", "LDL": "386.65",
    "TG": "885.4", "CA": "40.078", "MG": "24.305", "PHOS": "30.974", "FE": "55.845", "LAC": "90.08", "NH3": "17.031", "FT4": "776.87",
    "FT3": "650.97", "CORT": "362.46", "TESTO": "288.42", "E2": "272.38", "PROG": "314.46", "B12": "1355.37", "FOL": "441.4",
}  # fmt: skip
"""Grams a mole, from the sums of atomic masses."""


@pytest.mark.parametrize("code", MOLAR)
def test_factors_from_mass_to_moles(code: str) -> None:
    """Each factor is what the molar mass says, to within what laboratories round."""
    found = 0
    for unit, times in by_code()[code].factors:
        mass, moles = units.read(unit), units.read(by_code()[code].ucum)
        if mass is not None and moles is not None and mass.above == ("g",) and moles.above == ("mol",):
            exact = Decimal(10) ** (mass.tens - moles.tens) / Decimal(MOLAR[code])
            assert close(times, exact), f"{code}: {unit} {times} {exact}"
            found += 1
    assert found
