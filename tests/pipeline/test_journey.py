"""A result's way: every station is there, from the bytes to the last answer, and only what is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labgateway.config import Config, load
from labgateway.journey import journey
from labgateway.mapping.history import History
from labgateway.store import outbox
from tests.pipeline.lab import MAPPING, Lab


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "mappings").mkdir()
    assert MAPPING is not None
    (tmp_path / "mappings" / "xn1.toml").write_bytes(MAPPING.raw)
    file = tmp_path / "config.toml"
    file.write_text(
        '[instrument.xn1]\ndriver = "generic_astm"\nmapping = "xn1.toml"\nline = { kind = "tcp-listen", port = 0 }\n',
        encoding="utf-8",
    )
    return load(file)


def way(lab: Lab, config: Config, wanted: str, *, raw: bool = False) -> dict[str, Any]:
    return lab.do(lambda c: journey(c, wanted, config, lab.rules, raw=raw))


def test_every_station(config: Config) -> None:
    lab = Lab()
    lab.order("S1", "O1", patient="P1")
    (one,) = lab.measure("S1", ("WBC", "5.1"), patient="P1", at="20261122080000")
    (delivery,) = lab.do(lambda c: outbox.ready(c, "emr", 9))
    for words, refused in (("silence", False), ("silence", False), ("AR: busy", True)):
        lab.do(lambda c, w=words, r=refused: outbox.retry_later(c, delivery.id, w, refused=r, now=lab.now))
    lab.settle()
    found = way(lab, config, "S1", raw=True)
    assert [o["placer"] for o in found["orders"]] == ["O1"]
    (message,) = found["messages"]
    assert (message["driver"], message["state"]) == ("generic_astm", "processed")
    assert message["where"]["value"] == [str(place) for place in lab.rules.instruments["xn1"].driver.where["value"]]  # type: ignore[union-attr]
    (result,) = message["results"]
    raw = message["raw"]
    assert raw[result["record"]["from"] : result["record"]["to"]] == result["record"]["text"]
    assert result["record"]["text"].startswith("R|1|^^^WBC|5.1")
    assert result["mapping"] == {
        "file": "xn1.toml", "version": one.mapping_version, "line": 3, "text": 'WBC = { emr = "WBC" }',
    }  # fmt: skip
    assert result["seen"] == [
        {"order": 1, "window": "in the order's window", "differs": [], "asks": ["WBC"], "state": "open"}
    ]
    (sent,) = result["deliveries"]
    assert (sent["state"], sent["answer"]) == ("settled", "AA")
    assert [(a["outcome"], a["answer"], a["times"]) for a in sent["before"]] == [
        ("failed", "silence", 2),
        ("refused", "AR: busy", 1),
    ]


def test_by_our_id_and_who_did_what(config: Config) -> None:
    """One observation with what was made of the same result, wherever that stands."""
    lab = Lab()
    lab.order("S1", "O1")
    lab.order("S2", "O2", patient="P2")
    one, other = lab.measure("S1", ("WBC", "5.1"), ("HGB", "13"))
    lab.act("relink", one.id, to="S2", identity_checked=True)
    (message,) = way(lab, config, one.id.lower())["messages"]
    assert [(r["specimen"], r["letter"]) for r in message["results"]] == [("S1", "F"), ("S1", "W"), ("S2", "F")]
    assert [[d["action"] for d in r["deeds"]] for r in message["results"]] == [["relink"], ["retract"], ["relinked"]]
    assert [r["observation"] for r in way(lab, config, other.id)["messages"][0]["results"]] == [other.id]
    assert way(lab, config, "S2")["messages"][0]["results"][0]["said"]["specimen"] == "S1"


def test_the_mapping_as_it_was(config: Config) -> None:
    """The version that made the observation, from the history; what is not kept is not guessed."""
    lab = Lab()
    lab.measure("S1", ("WBC", "5.1"), ("RBC", "4"))
    assert MAPPING is not None
    fresh = Lab(manual=True)
    fresh.engine = lab.engine
    for one in fresh.rules.instruments:
        object.__setattr__(fresh.rules.instruments[one], "mapping", _other())
    gone = way(fresh, config, "S1")["messages"][0]["results"][0]["mapping"]
    assert (gone["line"], gone["text"]) == (None, None)
    History(config.gateway.data, "xn1.toml").keep(MAPPING.raw)
    kept = [r["mapping"]["text"] for r in way(fresh, config, "S1")["messages"][0]["results"]]
    assert kept == ['WBC = { emr = "WBC" }', 'RBC = "not wanted"']


def _other() -> Any:
    from labgateway.mapping.table import parse

    found, _ = parse(b'instrument = "xn1"\n[tests]\n', "xn1.toml")
    return found


def test_nothing_is_known(config: Config) -> None:
    found = way(Lab(), config, "S404")
    assert (found["orders"], found["messages"]) == ([], [])
