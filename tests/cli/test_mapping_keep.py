"""`labgateway mapping diff, try, accept, undo, history`: a change from its draft into use and back."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labgateway.cli import main
from labgateway.mapping.history import Deed, History, version_of
from labgateway.mapping.table import load
from labgateway.store import journal
from labgateway.store.engine import Store

CONFIG = """\
[gateway]
{two}
[matching]
without_order = "send"
not_ordered = "send"
[instrument.xn1]
driver = "sysmex_xp"
mapping = "xn1.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = 5101 }}
[destination.emr]
kind = "mllp"
host = "10.20.0.9"
port = 2576
"""
LIVE = b"""\
instrument = "xn1"   # the one in room 3
checked = "nobody"
[tests]
WBC = { emr = "WBC", unit = "10*9/L", times = 0.1, comes = "10*2/uL" }  # as it is set
HGB = { emr = "HGB", loinc = "718-7", unit = "g/L", times = 1, comes = "g/L" }
[leave_out]
RBC = "not yet"
"""
DRAFT = LIVE.replace(b'times = 1, comes = "g/L"', b'times = 10, comes = "g/dL"')


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "config.toml").write_text(CONFIG.format(two=""), encoding="utf-8")
    (tmp_path / "mappings" / "xn1.toml").write_bytes(LIVE)
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def accept(*more: str) -> int:
    return main(["mapping", "accept", "xn1", "--despite", "a test's mapping is short", *more])


def kept(site: Path) -> History:
    return History(site / "data", "xn1.toml")


def test_diff_says_what_the_draft_changes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mapping", "diff", "xn1"]) == 1
    assert "There is no mappings/xn1.draft.toml." in capsys.readouterr().err
    (site / "mappings" / "xn1.draft.toml").write_bytes(DRAFT)
    assert main(["mapping", "diff", "xn1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "HGB is multiplied by 10 instead of 1: every number changes.",
        "HGB must come in g/dL instead of g/L.",
    ]
    assert main(["mapping", "diff", "mappings/xn1.draft.toml", "mappings/xn1.toml", "--lang", "vi", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"][0] == "HGB được nhân với 1 thay vì 10: mọi con số thay đổi."


def test_accept_puts_the_draft_into_use(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`checked` says who and against what, comments stay, both versions are kept, the draft is gone."""
    live, draft = site / "mappings" / "xn1.toml", site / "mappings" / "xn1.draft.toml"
    draft.write_bytes(DRAFT)
    live.chmod(0o640)
    assert accept("--by", "Lê Thị Hoa", "--against", "the screen") == 0
    out = capsys.readouterr().out
    assert "HGB is multiplied by 10 instead of 1: every number changes." in out
    mapping = load(live)
    assert mapping.checked.startswith("Lê Thị Hoa, ")
    assert mapping.checked.endswith(", the screen")
    text = live.read_bytes()
    assert b"# the one in room 3" in text
    assert b"# as it is set" in text
    assert live.stat().st_mode & 0o777 == 0o640
    assert not draft.exists()
    assert kept(site).text(mapping.version) == text
    assert kept(site).text(version_of(LIVE)) == LIVE
    (entry,) = kept(site).entries()
    assert (entry.deed, entry.version, entry.before) == (Deed.ACCEPTED, mapping.version, version_of(LIVE))
    assert (entry.who, entry.words.split(" (")[0]) == ("Lê Thị Hoa", "the screen")


def test_accept_refuses_what_has_mistakes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes of sense want a word, mistakes of form cannot be accepted at all; nothing is changed."""
    draft = site / "mappings" / "xn1.draft.toml"
    draft.write_bytes(DRAFT)
    assert main(["mapping", "accept", "xn1", "--by", "A", "--against", "b"]) == 1
    assert "no line answers" in capsys.readouterr().out
    draft.write_bytes(DRAFT.replace(b'"HGB", loinc', b'"?", loinc'))
    assert accept("--by", "A", "--against", "b") == 1
    assert "not decided yet" in capsys.readouterr().out
    assert (site / "mappings" / "xn1.toml").read_bytes() == LIVE
    assert kept(site).entries() == []


def test_two_persons(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the config asks: one person twice is one; a draft that changes in between begins anew."""
    (site / "config.toml").write_text(CONFIG.format(two="two_persons = true"), encoding="utf-8")
    live, draft = site / "mappings" / "xn1.toml", site / "mappings" / "xn1.draft.toml"
    draft.write_bytes(DRAFT)
    for who in ("Hoa", "HOA ", "  hoa"):
        assert accept("--by", who, "--against", "the screen") == 0
        assert "A second person must accept" in capsys.readouterr().out
        assert live.read_bytes() == LIVE
    draft.write_bytes(DRAFT.replace(b"718-7", b"30350-3"))
    assert accept("--by", "Minh", "--against", "the EMR") == 0
    assert live.read_bytes() == LIVE
    assert accept("--by", "Hoa", "--against", "the screen") == 0
    assert load(live).checked.count("; ") == 1
    assert load(live).tests["HGB"][0].loinc == "30350-3"
    assert [entry.deed for entry in kept(site).entries()].count(Deed.ACCEPTED) == 1
    assert kept(site).entries()[-1].who == "Minh; Hoa"
    # What was agreed before counts no more, even for the same bytes.
    draft.write_bytes(DRAFT)
    assert accept("--by", "Lan", "--against", "the screen") == 0
    assert load(live).tests["HGB"][0].loinc == "30350-3"


def test_undo_goes_back_letter_by_letter(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Version by version, to the first; then it says that there is none before."""
    live, draft = site / "mappings" / "xn1.toml", site / "mappings" / "xn1.draft.toml"
    texts = [LIVE]
    for times in (b"10", b"100"):
        draft.write_bytes(LIVE.replace(b'times = 1, comes = "g/L"', b"times = " + times + b', comes = "g/dL"'))
        assert accept("--by", "Hoa", "--against", "the screen") == 0
        texts.append(live.read_bytes())
    undo = ["mapping", "undo", "xn1", "--by", "Minh", "--because", "wrong"]
    for text in (texts[1], texts[0]):
        assert main(undo) == 0
        assert live.read_bytes() == text
    capsys.readouterr()
    assert main(undo) == 1
    assert "No version" in capsys.readouterr().err
    assert live.read_bytes() == LIVE
    assert main(["mapping", "history", "xn1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in said] == ["accepted", "accepted", "undone", "undone"]
    assert main(["mapping", "history", "xn1", version_of(texts[2])[:9]]) == 0
    assert capsys.readouterr().out.encode() == texts[2]


def test_undo_of_a_hand_edit(site: Path) -> None:
    """A file that was edited by hand goes back to what was accepted, and the edited text is kept."""
    live, draft = site / "mappings" / "xn1.toml", site / "mappings" / "xn1.draft.toml"
    draft.write_bytes(DRAFT)
    assert accept("--by", "Hoa", "--against", "the screen") == 0
    accepted = live.read_bytes()
    edited = accepted.replace(b"times = 10", b"times = 100")
    live.write_bytes(edited)
    assert main(["mapping", "undo", "xn1", "--by", "Minh", "--because", "wrong"]) == 0
    assert live.read_bytes() == accepted
    assert kept(site).text(version_of(edited)) == edited


def message(specimen: str, hgb: str) -> bytes:
    return (
        "H|\\^&|||XP-300^00-14^^^^A1234^BD634545||||||||E1394-97\rP|1\r"
        f"O|1||^^{specimen:>22}^B|^^^^WBC\\^^^^HGB|||||||N||||||||||||||F\r"
        f"R|1|^^^^WBC^26|78|10*2/uL||N||F||||20261122081500\rR|2|^^^^HGB^26|{hgb}|g/dL||N||F||||20261122081500\rL|1|N\r"
    ).encode()


async def fill(site: Path, now: datetime) -> None:
    store = Store.open(f"sqlite:///{site}/data/labgateway.db")
    for days, specimen, raw in (
        (9, "OLD", message("OLD", "9.9")), (2, "S1", message("S1", "13.4")), (1, "S2", message("S2", "12.0")),
        (1, "", message("S3", "1").replace(b"XP-300^00-14", b"XN-1000^00-24")),
    ):  # fmt: skip
        assert specimen in raw.decode()
        at = now - timedelta(days=days)
        await store.submit(
            lambda c, at=at, raw=raw: journal.append(
                c, instrument="xn1", protocol="astm", peer="", received_at=at, raw=raw
            )
        )
    await store.close()


def test_try_shows_every_result_that_would_change(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the days asked for, with what it is now and what it would be; the store and the files stay as they are."""
    asyncio.run(fill(site, datetime.now(UTC)))
    (site / "mappings" / "xn1.draft.toml").write_bytes(DRAFT)
    assert main(["mapping", "try", "xn1", "--days", "7", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["specimen"], one["code"], one["value"]) for one in said] == [
        ("S1", "HGB", "13.4"),
        ("S2", "HGB", "12.0"),
    ]
    assert said[0]["before"]["reason"] == "UNIT_CHANGED"
    assert (said[0]["after"]["state"], said[0]["after"]["value"], said[0]["after"]["unit"]) == (
        "released",
        "134.0",
        "g/L",
    )
    assert main(["mapping", "try", "xn1", "--days", "30"]) == 0
    out = capsys.readouterr().out
    assert "4 messages, 6 results of 30 days: 3 would change. HGB 3" in out
    assert "1 messages could not be read" in out
    assert main(["mapping", "try", "xn1", "mappings/xn1.toml"]) == 0
    assert "0 would change" in capsys.readouterr().out
    assert (site / "mappings" / "xn1.toml").read_bytes() == LIVE
    assert not kept(site).folder.exists()
