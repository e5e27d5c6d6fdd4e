"""`labgateway decode`: files in, JSON lines out, clear words and exit codes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from labgateway.cli import decode_command
from labgateway.protocols import astm_frames

KEYS = ["kind", "specimen", "patient", "code", "value", "unit", "flags", "status", "measured_at", "driver", "reason"]
XN = (
    b"H|\\^&|||    XN-550^00-24^1||||||||E1394-97\rP|1|||P7\rO|1||^^   A123^B\r"
    b"R|1|^^^^HGB^1|13.4|g/dL||H||F||||20261122081500\rR|2|^^^^XYZ^1|1|g/dL||N||F\rL|1|N\r"
)


def call(*args: str) -> int:
    parser = argparse.ArgumentParser()
    decode_command.add_parser(parser.add_subparsers())
    return decode_command.run(parser.parse_args(["decode", *args]))


def file(folder: Path, data: bytes, name: str = "x.astm") -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_json_is_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, the keys in their order, the reason as text or null."""
    assert call(file(tmp_path, XN), "--json") == 0
    first, second = objects(capsys.readouterr().out)
    assert list(first) == KEYS
    assert first == {
        "kind": "patient", "specimen": "A123", "patient": "P7", "code": "HGB", "value": "13.4", "unit": "g/dL",
        "flags": ["H"], "status": "final", "measured_at": "2026-11-22T08:15:00", "driver": "sysmex_xn", "reason": None,
    }  # fmt: skip
    assert second["reason"].startswith("CODE_UNKNOWN: ")
    assert second["measured_at"] is None


@pytest.mark.parametrize("name", ["sysmex_xn", "sysmex_xn550", "sysmex_xn1000", "sysmex_xs500i", "sysmex_xt2000i"])
def test_a_driver_is_named_by_model(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Any model of a driver names it."""
    assert call(file(tmp_path, XN), "--json", "--driver", name) == 0
    assert {o["driver"] for o in objects(capsys.readouterr().out)} == {"sysmex_xn"}


def test_a_folder_names_a_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody else's folder, by path; its own name stands in the output."""
    folder = tmp_path / "my_haem"
    folder.mkdir()
    (folder / "driver.toml").write_text(
        'schema = 1\ntitle = "t"\nmaker = "m"\nprotocol = "astm"\nsources = ["s"]\ncodes = "open"\n'
        '[where]\nspecimen = "O-4.3"\ncode = "R-3.5"\nvalue = "R-4"\n'
    )
    for name in (str(folder), str(folder / "driver.toml")):
        assert call(file(tmp_path, XN), "--json", "--driver", name) == 0
        assert {o["driver"] for o in objects(capsys.readouterr().out)} == {"my_haem"}
    assert call(file(tmp_path, XN), "--json", "--drivers", str(tmp_path), "--driver", "my_haem") == 0


def test_a_broken_driver_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All complaints, and exit 1."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "driver.toml").write_text('schema = 1\ntitle = "t"\n')
    assert call(file(tmp_path, XN), "--driver", str(folder)) == 1
    said = capsys.readouterr().err
    assert "maker" in said
    assert "protocol" in said
    assert call(file(tmp_path, XN), "--drivers", str(tmp_path), "--driver", "broken") == 1
    assert "maker" in capsys.readouterr().err


def test_nobody_knows_the_sender(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unrecognised instrument is said so, with the way out, and exit 1; nothing is printed as a result."""
    assert call(file(tmp_path, XN.replace(b"XN-550", b"Unknown-9")), "--json") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "--driver" in err


@pytest.mark.parametrize("data", [b"", b"   \r\n", b"\x021H|\\^&\r\x0300\r\n"])
def test_what_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    """Empty files and damaged frames: exit 1 and one sentence."""
    assert call(file(tmp_path, data), "--json", "--driver", "sysmex_xn") == 1
    assert capsys.readouterr().err


def test_a_missing_file_and_an_unknown_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are said by name, without a traceback."""
    assert call(str(tmp_path / "none.astm")) == 1
    assert "none.astm" in capsys.readouterr().err
    assert call(file(tmp_path, XN), "--driver", "acme_x1") == 1
    assert "acme_x1" in capsys.readouterr().err


def test_astm_and_hl7_of_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One model name, two drivers: the message's protocol decides."""
    hl7 = (
        b"MSH|^~\\&|X^GeneXpert^1||||||ORU^R32|1|P|2.5\rOBR|1\r"
        b"OBX|1|ST|P&R&A&1|T|POS^||||||F\rSPM|1|S1\r"
    )  # fmt: skip
    assert call(file(tmp_path, hl7), "--json", "--driver", "cepheid_genexpert") == 0
    assert objects(capsys.readouterr().out)[0]["driver"] == "cepheid_genexpert_hl7"


def test_framed_files_and_transcripts_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Framed, bare with LF, and a transcript: the same lines."""
    framed = b"\x05" + b"".join(astm_frames.frames(XN)) + b"\x04"
    wire = b"# instrument: x\n" + b"".join(
        b"< " + part.replace(b"\x05", b"<ENQ>").replace(b"\r", b"<CR>").replace(b"\n", b"<LF>")
        .replace(b"\x02", b"<STX>").replace(b"\x03", b"<ETX>").replace(b"\x04", b"<EOT>") + b"\n"
        for part in [framed]
    )  # fmt: skip
    said = set()
    for data in (XN, XN.replace(b"\r", b"\n"), XN.replace(b"\r", b"\r\n"), framed, wire):
        assert call(file(tmp_path, data), "--json") == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 1


def test_a_message_left_out_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two messages one is damaged: the good one is printed, the other one named, exit 1."""
    one = b"\x05" + b"".join(astm_frames.frames(XN)) + b"\x04"
    assert call(file(tmp_path, one.replace(b"13.4", b"13.5", 1) + one), "--json") == 1
    out, err = capsys.readouterr()
    assert [o["value"] for o in objects(out)] == ["13.4", "1"]
    assert "UNREADABLE" in err


def test_people_get_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json a table with the driver's title; a withheld value is shown as such."""
    assert call(file(tmp_path, XN.replace(b"13.4", b"[b]"))) == 0
    out = capsys.readouterr().out
    assert "HGB" in out
    assert "[b]" in out
    assert "Sysmex" in out


BC = (
    b"MSH|^~\\&|BC-5380|Mindray|||20261122081500||ORU^R01|1|P|2.3.1||||||UNICODE\rPID|1||7^^^^MR||HIDDEN^NAME\r"
    b"OBR|1||S4002|00001^Automated Count^99MRC|||20261122081500\r"
    b"OBX|1|NM|6690-2^WBC^LN|1|6.78|10*9/L|4.00-10.00|N|||%s\r%s"
)


def test_a_valid_message_is_valid_and_still_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(file(tmp_path, BC % (b"F", b"")), "--json", "--validate") == 0
    said = capsys.readouterr()
    assert [json.loads(line)["value"] for line in said.out.splitlines()] == ["6.78"]
    assert not said.err


def test_what_breaks_the_letter_is_named_and_nothing_of_the_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = BC.replace(b"|1|6.78", b"||6.78") % (b"SECRET\x0bWORD", b"QAK|HIDDEN\rZZZ|HIDDEN\r")
    assert call(file(tmp_path, data), "--driver", "mindray_bc", "--json", "--validate") == 1
    err = capsys.readouterr().err
    assert "message 1: Missing required child OBX.OBX_4." in err
    assert "doubtful: OBX.OBX_11 holds a word that is not in table HL70085." in err
    assert "QAK stands where ORU_R01 has no place for it." in err
    assert not [word for word in ("HIDDEN", "SECRET", "WORD", "ZZZ", "6.78") if word in err]


@pytest.mark.parametrize(("old", "new"), [(b"|2.3.1|", b"|9.9|"), (b"ORU^R01", b"ORU^X99")])
def test_a_version_or_structure_that_nobody_knows_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: bytes, new: bytes
) -> None:
    data = (BC % (b"F", b"")).replace(old, new)
    assert call(file(tmp_path, data), "--driver", "mindray_bc", "--validate") == 1
    assert "hl7apy cannot read it" in capsys.readouterr().err


def test_only_hl7_can_be_validated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(file(tmp_path, XN), "--validate") == 1
    assert "is no HL7 message" in capsys.readouterr().err
