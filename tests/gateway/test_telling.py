"""What hubs and brokers hear of a gateway."""

from __future__ import annotations

from typing import Any

from labgateway.gateway.telling import alerts, status

LINE = {"messages": 3, "trouble": "nobody is connected", "last_message_at": "2026-11-22T01:00:00+00:00", "parks": ""}
AWAY = {"state": "away", "why": "no connection", "since": "2026-11-22T01:00:00+00:00"}
FOUND: dict[str, Any] = {
    "lines": {"xn1": LINE, "bc1": {"trouble": "port 5103 is in use"}, "c3": {**LINE, "parks": "mapping broken"}},
    "destinations": {"emr": AWAY, "files": {**AWAY, "state": "answering", "why": ""}},
    "waiting": {"emr": 7},
}


def test_status_in_few_words() -> None:
    said = status(FOUND, site="S", version="1", at="now", for_a_person=2)
    assert said["destinations"]["emr"] == {"state": "away", "since": AWAY["since"], "waiting": 7}
    assert said["destinations"]["files"]["waiting"] == 0
    assert said["lines"]["xn1"] == {"trouble": "nobody is connected", "last_message_at": LINE["last_message_at"]}
    assert (said["site"], said["state"], said["for_a_person"]) == ("S", "running", 2)


def test_alerts_are_what_somebody_must_look_at() -> None:
    """An analyzer that is switched off is none; a shut port, a broken mapping, a destination that is away are."""
    said = alerts(FOUND, site="S", at="now", for_a_person=2)["alerts"]
    assert [(one["what"], one.get("where")) for one in said] == [
        ("line", "bc1"), ("line", "c3"), ("destination", "emr"), ("for_a_person", None),
    ]  # fmt: skip
    assert alerts({"lines": {}, "destinations": {}}, site="S", at="now", for_a_person=0)["alerts"] == []
