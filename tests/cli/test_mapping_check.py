"""`labgateway mapping check`: one file, every mistake with line and cure, in two languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labgateway.cli import main
from tests.cli.test_check_command import CONFIG, DRIVER
from tests.mapping.test_twenty_mistakes import LINES, PLANTED

UNITS = """\
WBC = "10*3/uL"
RBC = "10*6/uL"
HGB = "g/dL"
HCT = ["%", "L/L"]
MCV = "fL"
MCH = "pg"
MCHC = ["g/dL", "g/L"]
PLT = "10*3/uL"
"NEUT#" = "10*3/uL"
"NEUT%" = "%"
GLU = "mg/dL"
CREA = "mg/dL"
CRP = ["mg/dL", "mg/L", "nmol/L"]
TSH = "uIU/mL"
K = "mmol/L"
NA = "mmol/L"
HBSAG = "COI"
"IG#" = "10*3/uL"
SCAT = ""
ESR = "mm/h"
CK = "U/L"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "drivers" / "example").mkdir(parents=True)
    (tmp_path / "config.toml").write_text(CONFIG.replace("example_haem", "example"), encoding="utf-8")
    (tmp_path / "mappings" / "ex1.toml").write_text(LINES, encoding="utf-8")
    driver = DRIVER.split("[tests]", maxsplit=1)[0] + "[tests]\n" + UNITS
    (tmp_path / "drivers" / "example" / "driver.toml").write_text(driver, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    code = main(["mapping", "check", *args])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("name", ["ex1", "mappings/ex1.toml"])
def test_all_are_said_with_line_and_cure(site: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The planted mistakes, by the instrument's name or its file; the last line counts them."""
    code, out = check(capsys, name)
    assert code == 1
    for line, key, what, cure in PLANTED:
        said = next(block for block in out.split("mappings/ex1.toml") if block.startswith(f":{line}: {key}: "))
        assert what in said
        assert cure in said.split("\n  ")[1]
    assert out.endswith(f"mappings/ex1.toml: {len(PLANTED)} mistakes (driver example)\n")


@pytest.mark.parametrize("how", ["--lang", "LANG", "LC_ALL"])
def test_in_vietnamese(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The same lines and keys, told in Vietnamese, when asked for or when the environment speaks it."""
    if how == "--lang":
        code, out = check(capsys, "ex1", "--lang", "vi", "--json")
    else:
        monkeypatch.setenv("LANG", "en_US.UTF-8")
        monkeypatch.setenv(how, "vi_VN.UTF-8")
        code, out = check(capsys, "ex1", "--json")
    said = {(one["line"], one["key"]): one for one in map(json.loads, out.splitlines())}
    assert code == 1
    assert set(said) == {(line, key) for line, key, _, _ in PLANTED}
    assert said[6, "tests.HGB.times"]["cure"] == "Để ra g/L phải nhân với 10; bạn đã viết 1."
    assert not [one for one in said.values() if one["what"].isascii() or one["cure"].isascii()]
    english = {one["what"] for one in map(json.loads, check(capsys, "ex1", "--json", "--lang", "en")[1].splitlines())}
    assert not english & {one["what"] for one in said.values()}


def test_a_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without config.toml a file is checked by itself, or against the driver that is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.toml").write_text('[tests]\nWBC = { emr = "WBC" }\n', encoding="utf-8")
    code, out = check(capsys, "m.toml", "--lang", "en")
    assert (code, "name it with --driver" in out) == (0, True)
    code, out = check(capsys, "m.toml", "--driver", "sysmex_xn", "--lang", "en")
    assert (code, "no line answers" in out) == (1, True)


def test_a_wrong_name(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither file nor instrument: it says which instruments there are."""
    assert main(["mapping", "check", "ex2"]) == 1
    assert "Instruments in config.toml: ex1." in capsys.readouterr().err
