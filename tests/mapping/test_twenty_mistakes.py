"""A mapping file with twenty planted mistakes: `check` finds all twenty at once, each with its line and its cure."""

from __future__ import annotations

import re
from pathlib import Path

from labgateway.errors import Complaint
from labgateway.mapping.lint import examine
from labgateway.mapping.table import Declared
from labgateway.mapping.vietnamese import translated

DRIVER: Declared = {
    "WBC": ("10*3/uL",),
    "RBC": ("10*6/uL",),
    "HGB": ("g/dL",),
    "HCT": ("%", "L/L"),
    "MCV": ("fL",),
    "MCH": ("pg",),
    "MCHC": ("g/dL", "g/L"),
    "PLT": ("10*3/uL",),
    "NEUT#": ("10*3/uL",),
    "NEUT%": ("%",),
    "GLU": ("mg/dL",),
    "CREA": ("mg/dL",),
    "CRP": ("mg/dL", "mg/L", "nmol/L"),
    "TSH": ("uIU/mL",),
    "K": ("mmol/L",),
    "NA": ("mmol/L",),
    "HBSAG": ("COI",),
    "IG#": ("10*3/uL",),
    "SCAT": ("",),
    "ESR": ("mm/h",),
    "CK": ("U/L",),
}
LINES = """\
instrument = "ex1"
chekced = "nobody"
[tests]
WBC     = { emr = "WBC", loinc = "6690-3", unit = "10*9/L", times = 1 }
RBC     = { emr = "RBC", unit = "10*12/L", times = 1, sane = [15, 0] }
HGB     = { emr = "HGB", loinc = "718-7", unit = "g/L", times = 1 }
HCT     = { emr = "HCT", unit = "%" }
MCV     = { emr = "MCV", unit = "fL", times = "1" }
MCH     = { name = "MCH" }
MCHC    = { emr = "MCHC", comes = "g%", unit = "g/L", times = 10 }
PLT     = { emr = "PLT", unit = "K/uL", times = 1 }
"NEUT#" = { emr = "WBC", unit = "10*9/L", times = 1 }
"NEU%"  = { emr = "NEUP" }
GLU     = { emr = "GLU", loinc = "2345-7", unit = "mmol/L", times = 0.0555 }
CREA    = { emr = "CREA", loinc = "14682-9", unit = "umol/L", times = 8.84 }
CRP     = { emr = "CRP", unit = "mg/L", times = 1 }
TSH     = { emr = "TSH", unit = "mIU/L", times = 1 }
K       = { emr = "K", decimal = 1 }
NA      = { emr = "NA", decimals = 1.5 }
HBSAG   = { emr = "HBSAG", loinc = "5196-1", unit = "{COI}", times = 1 }
ESR     = { emr = "?" }
CK      = { emr = "CK", unit = "U", times = 1 }
[panels]
CBC = ["WBC", "RBC", "HGBB", "MCV"]
[leave_out]
SCAT = ""
"""
# line, key, part of what is wrong, part of the cure
PLANTED = [
    (2, "chekced", "no key", "`checked`"),
    (3, "tests", "can also send NEUT%, IG#", "under [leave_out]"),
    (4, "tests.WBC.loinc", "check digit", "loinc.org"),
    (5, "tests.RBC.sane", "above the highest", "[0, 15]"),
    (6, "tests.HGB.times", "HGB comes in g/dL (driver example)", "To get g/L multiply by 10; you wrote 1."),
    (7, "tests.HCT.unit", "no `times`", "Add `times`"),
    (8, "tests.MCV.times", "must be a number", "without quotes"),
    (9, "tests.MCH.emr", "is missing", 'emr = "MCH"'),
    (10, "tests.MCHC.comes", "declares g/dL or g/L, not g%", "Write one of those"),
    (11, "tests.PLT.unit", "something else in UCUM", "10*3/uL"),
    (12, "tests.NEUT#.emr", "answered by WBC already, in line 4", "[leave_out]"),
    (13, "tests.NEU%", "never sends NEU%", "Did you mean NEUT%?"),
    (14, "tests.GLU.loinc", "is for mg/dL, the unit is mmol/L", "14749-6"),
    (15, "tests.CREA.times", "CREA comes in mg/dL", "multiply by 88.4; you wrote 8.84"),
    (16, "tests.CRP.times", "on some instruments mg/L or nmol/L", 'add comes = "mg/L"'),
    (17, "tests.TSH.unit", "no UCUM unit", "m[IU]/L"),
    (18, "tests.K.decimal", "no key", "`decimals`"),
    (19, "tests.NA.decimals", "small whole number", "0 to 10"),
    (20, "tests.HBSAG.loinc", "is a finding", "Take `unit` and `times` out"),
    (21, "tests.ESR.emr", "not decided yet", "under [leave_out]"),
    (22, "tests.CK.unit", "no factor leads from there to U", "One of the two units"),
    (24, "panels.CBC", "answers HGBB", "Did you mean HGB?"),
    (26, "leave_out.SCAT", "needs a reason", "why it stops here"),
]


def found(tmp_path: Path, text: str) -> list[Complaint]:
    path = tmp_path / "ex1.toml"
    path.write_text(text, encoding="utf-8")
    return examine(path, DRIVER, "example")


def test_all_are_found(tmp_path: Path) -> None:
    """Every planted mistake is complained about with its line, its key, what is wrong and what to do."""
    complaints = {(one.line, one.key): one for one in found(tmp_path, LINES)}
    assert len(PLANTED) >= 20
    for line, key, what, cure in PLANTED:
        one = complaints.pop((line, key), None)
        assert one is not None, f"line {line}, {key} was not found"
        assert one.file.endswith("ex1.toml")
        assert what in one.what
        assert cure in one.cure
    # The code that was meant by "NEU%" has no line, and stands in the complaint about missing ones.
    assert not complaints, "\n".join(map(str, complaints.values()))


def test_all_are_found_in_vietnamese(tmp_path: Path) -> None:
    """The same in Vietnamese: each mistake and each cure, with the codes, units and numbers of the English."""
    for one in found(tmp_path, LINES):
        what, cure = translated(one.what), translated(one.cure)
        assert what, one.what
        assert cure, one.cure
        for english, vietnamese in ((one.what, what), (one.cure, cure)):
            values = re.findall(r"[0-9.]+[0-9]|`\w+`|\[\w+\]", english)
            assert [value for value in values if value not in vietnamese] == []
            assert not vietnamese.isascii()


def test_none_is_found_when_all_are_mended(tmp_path: Path) -> None:
    """With every mistake mended there is no complaint left: what was found were the mistakes and nothing else."""
    mended = """\
instrument = "ex1"
checked = "nobody"
[tests]
WBC     = { emr = "WBC", loinc = "6690-2", unit = "10*9/L", times = 1 }
RBC     = { emr = "RBC", unit = "10*12/L", times = 1, sane = [0, 15] }
HGB     = { emr = "HGB", loinc = "718-7", unit = "g/L", times = 10 }
HCT     = { emr = "HCT", unit = "%", times = 1 }
MCV     = { emr = "MCV", unit = "fL", times = 1 }
MCH     = { emr = "MCH", name = "MCH" }
MCHC    = { emr = "MCHC", comes = "g/dL", unit = "g/L", times = 10 }
PLT     = { emr = "PLT", unit = "10*3/uL", times = 1 }
"NEUT#" = { emr = "NEU", unit = "10*9/L", times = 1 }
"NEUT%" = { emr = "NEUP" }
GLU     = { emr = "GLU", loinc = "14749-6", unit = "mmol/L", times = 0.0555 }
CREA    = { emr = "CREA", loinc = "14682-9", unit = "umol/L", times = 88.4 }
CRP     = { emr = "CRP", comes = "mg/L", unit = "mg/L", times = 1 }
TSH     = { emr = "TSH", unit = "m[IU]/L", times = 1 }
K       = { emr = "K", decimals = 1 }
NA      = { emr = "NA", decimals = 1 }
HBSAG   = { emr = "HBSAG", loinc = "5196-1" }
"IG#"   = { emr = "IG" }
ESR     = { emr = "ESR" }
CK      = { emr = "CK", unit = "U/L", times = 1 }
[panels]
CBC = ["WBC", "RBC", "HGB"]
[leave_out]
SCAT = "a picture"
"""
    assert found(tmp_path, mended) == []


def test_open_codes(tmp_path: Path) -> None:
    """Where the driver leaves the codes to the site, none is missing or unknown, but a factor needs its unit."""
    path = tmp_path / "ex1.toml"
    text = '[tests]\n767 = { emr = "XYZ", unit = "mmol/L", times = 0.3 }\n1 = { emr = "B" }\n'
    path.write_text(text, encoding="utf-8")
    (one,) = examine(path, {}, "example", open_codes=True)
    assert (one.line, one.key) == (2, "tests.767.times")
    assert "comes = " in one.cure
    path.write_text(text.replace("unit =", 'comes = "mg/dL", unit ='), encoding="utf-8")
    assert examine(path, {"2": ("g/L",)}, "example", open_codes=True) == []


def test_panels_shared_with_other_instruments(tmp_path: Path) -> None:
    """A panel member that another instrument answers is no mistake."""
    path = tmp_path / "ex1.toml"
    path.write_text('[tests]\nA = { emr = "A" }\n[panels]\nP = ["A", "B"]\n', encoding="utf-8")
    assert len(examine(path, None)) == 1
    assert examine(path, None, elsewhere={"B"}) == []


def test_one_emr_test_by_specimen_type(tmp_path: Path) -> None:
    """Two codes may answer one EMR test when their specimen types differ, by whatever name they are called."""
    path = tmp_path / "ex1.toml"
    lines = '[tests]\nA = {{ emr = "X", specimen = "urine" }}\nB = {{ emr = "X", specimen = "{}" }}\n'
    path.write_text(lines.format("serum"), encoding="utf-8")
    assert examine(path, None) == []
    path.write_text(lines.format("UR"), encoding="utf-8")
    assert len(examine(path, None)) == 1
