"""`labgateway mapping export` and `import`: out, edited, back as a draft; the file in use is never touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from labgateway.cli import main

from .test_mapping_keep import CONFIG, LIVE


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "config.toml").write_text(CONFIG.format(two=""), encoding="utf-8")
    (tmp_path / "mappings" / "xn1.toml").write_bytes(LIVE)
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def edit(cells: dict[str, Any]) -> None:
    book = load_workbook("xn1.xlsx")
    for place, value in cells.items():
        book["tests"][place] = value
    book.save("xn1.xlsx")


def test_out_edited_and_back(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mapping", "export", "xn1"]) == 0
    assert "mapping import xn1 xn1.xlsx" in capsys.readouterr().out
    edit({"C3": "HB", "H3": "10", "F3": "g/dL"})
    assert main(["mapping", "import", "xn1", "xn1.xlsx"]) == 1  # the test's mapping lacks most codes of its driver
    out = capsys.readouterr().out
    assert "HGB is reported as HB instead of HGB." in out
    assert "HGB is multiplied by 10 instead of 1: every number changes." in out
    draft = site / "mappings" / "xn1.draft.toml"
    assert b'HGB = { emr = "HB", loinc = "718-7", unit = "g/L", times = 10, comes = "g/dL" }' in draft.read_bytes()
    assert b"# the one in room 3" in draft.read_bytes()
    assert (site / "mappings" / "xn1.toml").read_bytes() == LIVE


def test_nothing_is_written_over(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the sheet, not another's draft, not what changed since the export, unless a person says so."""
    assert main(["mapping", "export", "xn1"]) == 0
    assert main(["mapping", "export", "xn1"]) == 1
    assert "is there already" in capsys.readouterr().err
    draft = site / "mappings" / "xn1.draft.toml"
    draft.write_bytes(LIVE + b"# somebody's work\n")
    edit({"C3": "HB"})
    assert main(["mapping", "import", "xn1", "xn1.xlsx"]) == 1
    assert "There is another draft" in capsys.readouterr().err
    draft.unlink()
    (site / "mappings" / "xn1.toml").write_bytes(LIVE + b"# changed\n")
    assert main(["mapping", "import", "xn1", "xn1.xlsx"]) == 1
    assert "has changed since" in capsys.readouterr().err
    assert not draft.exists()
    assert main(["mapping", "import", "xn1", "xn1.xlsx", "--replace"]) == 1
    assert draft.read_bytes().endswith(b"# changed\n")


def test_mistakes_name_their_cells(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of form, of the file, and of what is meant; with the first two nothing is written."""
    assert main(["mapping", "export", "xn1"]) == 0
    capsys.readouterr()
    for cells, place, words in (
        ({"H3": "ten"}, "tests!H3", "must be a number."),
        ({"H3": "1", "C3": None}, "tests!A3 (tests.HGB.emr)", "is missing."),
        ({"C3": "HGB", "H3": "-1"}, "tests!H3 (tests.HGB.times)", "must be above zero."),
    ):
        edit(cells)
        assert main(["mapping", "import", "xn1", "xn1.xlsx"]) == 1
        out = capsys.readouterr().out
        assert f"xn1.xlsx: {place}: {words}" in out
        assert not (site / "mappings" / "xn1.draft.toml").exists()
    edit({"H3": "1000"})
    assert main(["mapping", "import", "xn1", "xn1.xlsx", "--lang", "vi"]) == 1
    assert "xn1.xlsx: tests!H3 (tests.HGB.times): HGB được gửi với đơn vị g/L." in capsys.readouterr().out
    assert (site / "mappings" / "xn1.draft.toml").exists()


def test_the_wrong_instrument(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mapping", "export", "xn1"]) == 0
    book = load_workbook("xn1.xlsx")
    book["file"]["B2"] = "xn2"
    book.save("xn1.xlsx")
    assert main(["mapping", "import", "xn1", "xn1.xlsx"]) == 1
    assert "the sheet is written for xn2, not for xn1." in capsys.readouterr().out


def test_csv_and_other_files(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mapping", "export", "mappings/xn1.toml", "a.csv", "--delimiter", ","]) == 0
    text = (site / "a.csv").read_text(encoding="utf-8-sig")
    (site / "a.csv").write_text(text.replace("test,WBC,,WBC,", "test,WBC,,LEU,"), encoding="utf-8")
    capsys.readouterr()
    assert main(["mapping", "import", "xn1", "a.csv"]) == 1
    assert "WBC is reported as LEU instead of WBC." in capsys.readouterr().out
    (site / "old.xlsx").write_bytes(b"\xd0\xcf\x11\xe0")
    assert main(["mapping", "import", "xn1", "old.xlsx"]) == 1
    assert "save it as .xlsx" in capsys.readouterr().err
    assert main(["mapping", "export", "xn1", "a.pdf"]) == 1
    assert main(["mapping", "import", "xn1", "none.xlsx"]) == 1


def test_a_draft_alone_goes_out_and_back(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `learn` and `mapping draft` leave it: no file in use yet, undecided lines; filled in by spreadsheet."""
    live, draft = site / "mappings" / "xn1.toml", site / "mappings" / "xn1.draft.toml"
    live.unlink()
    draft.write_bytes(LIVE.replace(b'emr = "HGB"', b'emr = "?"'))
    for name in ("xn1", "mappings/xn1.draft.toml"):
        assert main(["mapping", "export", name, "xn1.xlsx", "--replace"]) == 0
        edit({"C3": "HB"})
        assert main(["mapping", "import", name, "xn1.xlsx"]) in (0, 1)
        assert b'HGB = { emr = "HB", loinc' in draft.read_bytes()
        draft.write_bytes(LIVE.replace(b'emr = "HGB"', b'emr = "?"'))
    assert sorted(path.name for path in (site / "mappings").iterdir()) == ["xn1.draft.toml"]
