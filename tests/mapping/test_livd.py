"""LIVD: what a maker publishes becomes proposals, judged; nothing is written without a person's word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from labgateway.cli import main
from labgateway.errors import ComplaintsError
from labgateway.mapping.livd import Entry, of_bundle, of_grid, offers, properties

V2 = (
    "Publication Version ID", "LOINC Version ID", "Manufacturer", "Model", "Equipment UID", "Equipment UID Type",
    "Vendor Analyte Code", "Vendor Analyte Name", "Vendor Specimen Description", "Vendor Result Description", "Vendor Reference ID",
    "Testkit Name ID", "Testkit Name ID Type", "Vendor Comment", "LOINC Code", "LOINC Long Name", "Component", "Property", "Time",
    "System", "Scale", "Method",
)  # fmt: skip


def row(code: str, loinc: str, prop: str, specimen: str = "Serum", model: str = "Chem 1") -> list[str]:
    said = {
        "Manufacturer": "Example",
        "Model": model,
        "Vendor Analyte Code": code,
        "Vendor Analyte Name": f"Test {code}",
    }
    said |= {"Vendor Specimen Description": specimen, "LOINC Code": loinc, "Property": prop}
    return [said.get(column, "") for column in V2]


ROWS = [
    row("GLU", "14749-6", "SCnc"),
    row("GLU", "2345-7", "MCnc"),
    row("GLU", "2345-6", "MCnc"),
    row("K", "2823-3", "SCnc"),
]


def test_one_code_has_several_and_each_is_judged() -> None:
    entries = of_grid([["Title"], [], list(V2), *ROWS], "x")
    assert [one.row for one in entries] == ["row 4", "row 5", "row 6", "row 7"]
    found = offers(entries, {"GLU": ("mmol/L",), "NA": ("mmol/L",)})
    assert [(one.entry.loinc, one.fits, bool(one.wrong)) for one in found] == [
        ("14749-6", True, False),
        ("2345-7", False, True),
        ("2345-6", False, True),
    ]
    assert "MCnc does not fit mmol/L (SCnc)" in found[1].wrong
    assert "check digit" in found[2].wrong


def test_units_that_are_not_sure_are_not_judged() -> None:
    found = offers([Entry("GLU", "2345-7", property="MCnc")], {"GLU": ("mmol/L", "mg/dL")})
    assert (found[0].wrong, found[0].fits) == ("", False)
    assert offers([Entry("glu", "2345-7")], {"GLU": ()}) == []
    assert offers([Entry("GLU", "2345-7", model="A")], {"GLU": ()}, "B") == []


@pytest.mark.parametrize(
    ("unit", "property_"),
    [
        ("mg/dL", "MCnc"),
        ("mmol/L", "SCnc"),
        ("10*9/L", "NCnc"),
        ("U/L", "CCnc"),
        ("fL", "EntVol"),
        ("pg", "EntMass"),
        ("s", "Time"),
    ],
)
def test_properties_of_units(unit: str, property_: str) -> None:
    assert property_ in properties(unit)


def test_the_first_version() -> None:
    """`Vendor Transmission Code`, a title above, no property."""
    grid = [
        ["LIVD"],
        ["Manufacturer", "Model", "Vendor Transmission Code", "LOINC Code"],
        ["E", "M", "GLU", "2345-7"],
        ["", "", "", ""],
    ]
    entries = of_grid(grid, "x")
    assert [(one.code, one.loinc, one.model) for one in entries] == [("GLU", "2345-7", "M")]
    assert offers(entries, {"GLU": ("mmol/L",)})[0].wrong == "it is for mg/dL, the unit is mmol/L."
    with pytest.raises(ComplaintsError):
        of_grid([["a", "b"]], "x")


def bundle(by_id: bool) -> bytes:
    """As FHIR LIVD 1.0.0 has it; by_id: the element names the ObservationDefinition, as one published example does."""
    definition = {
        "resourceType": "ObservationDefinition",
        "id": "od-1",
        "code": {"coding": [{"code": "GLU", "display": "Glucose"}]},
    }
    target = {"code": "14749-6", "equivalence": "wider", "dependsOn": [{"property": "specimen", "value": "Serum"}]}
    element = {"code": "od-1" if by_id else "GLU", "display": "Glucose", "target": [target, {"code": "2345-7"}]}
    concept_map = {"resourceType": "ConceptMap", "group": [{"target": "http://loinc.org", "element": [element]}]}
    device = {"resourceType": "DeviceDefinition", "manufacturerString": "Example", "modelNumber": "Chem 1"}
    resources = [{"resource": one} for one in (device, definition, concept_map)]
    return json.dumps(
        {"resourceType": "Bundle", "type": "transaction" if by_id else "collection", "entry": resources}
    ).encode()


@pytest.mark.parametrize("by_id", [True, False])
def test_a_bundle(by_id: bool) -> None:
    first, second = of_bundle(bundle(by_id), "x")
    assert (first.code, first.name, first.loinc, first.specimen, first.model) == (
        "GLU",
        "Glucose",
        "14749-6",
        "Serum",
        "Chem 1",
    )
    assert second.loinc == "2345-7"


any_json = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ("resourceType", "entry", "resource", "group", "element", "target", "code", "coding", "dependsOn", "id")), inner, max_size=4),
)  # fmt: skip


@given(
    any_json | st.just({"resourceType": "ConceptMap", "group": [{"element": [{"code": 1, "target": [{"code": []}]}]}]})
)
def test_any_json_is_entries_or_a_complaint(document: object) -> None:
    try:
        assert isinstance(of_bundle(json.dumps(document).encode(), "x"), list)
    except ComplaintsError as error:
        assert error.complaints[0].cure


CONFIG = """\
[gateway]
[instrument.c1]
driver = "erba_xl"
mapping = "c1.toml"
line = { kind = "tcp-listen", host = "127.0.0.1", port = 5101 }
"""
LIVE = b'instrument = "c1"\n[tests]\nGLU = { emr = "GLU", comes = "mmol/L", unit = "mmol/L", times = 1 }  # serum\nK = { emr = "K" }\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "mappings" / "c1.toml").write_bytes(LIVE)
    book = Workbook()
    book.worksheets[0].title = "LIVD Publication"
    sheet = book.create_sheet("LOINC mapping")
    for line in (V2, *ROWS):
        sheet.append(list(line))
    book.save(tmp_path / "livd.xlsx")
    (tmp_path / "livd.json").write_bytes(bundle(by_id=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shown_and_only_taken_by_word(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = site / "mappings" / "c1.draft.toml"
    for file in ("livd.xlsx", "livd.json"):
        assert main(["mapping", "livd", file, "--instrument", "c1"]) == 0
        out = capsys.readouterr().out
        assert "GLU            14749-6" in out
        assert "NOT RIGHT" in out
        assert "Regenstrief" in out
    assert not draft.exists()
    assert main(["mapping", "livd", "livd.xlsx", "--instrument", "c1", "--take", "GLU=2345-7"]) == 1
    assert "does not fit mmol/L" in capsys.readouterr().err
    assert main(["mapping", "livd", "livd.xlsx", "--instrument", "c1", "--take", "GLU=718-7"]) == 1
    assert main(["mapping", "livd", "livd.xlsx", "--instrument", "c1", "--take", "GLU=14749-6"]) == 0
    assert b'times = 1, loinc = "14749-6" }  # serum' in draft.read_bytes()
    assert (site / "mappings" / "c1.toml").read_bytes() == LIVE


def test_other_files_are_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, raw in (("a.json", b"{"), ("a.csv", b"a;b\n1;2\n"), ("a.xlsx", b"PK\x03\x04"), ("b.csv", b"\xff\xff")):
        (site / name).write_bytes(raw)
        assert main(["mapping", "livd", name, "--instrument", "c1"]) in (1, 2)
        assert name in capsys.readouterr().err


def test_draft_from_driver_and_catalogue(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "mappings" / "c1.toml").unlink()
    (site / "config.toml").write_text(CONFIG.replace("erba_xl", "sysmex_xn"), encoding="utf-8")
    assert main(["mapping", "draft", "c1"]) == 0
    assert "known to the catalogue" in capsys.readouterr().out
    text = (site / "mappings" / "c1.draft.toml").read_text(encoding="utf-8")
    assert (
        'MCV = { emr = "?", name = "Thể tích trung bình hồng cầu / Mean corpuscular volume", loinc = "787-2", comes = "fL"'
        in text
    )
    assert main(["mapping", "draft", "c1"]) == 1
    assert main(["mapping", "check", "mappings/c1.draft.toml"]) == 1
    assert "is not decided yet" in capsys.readouterr().out
    assert main(["mapping", "accept", "c1", "--by", "A", "--against", "b"]) == 1
