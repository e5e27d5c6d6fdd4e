"""``labgateway parked``: what it does not show it says."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from labgateway.cli import main
from labgateway.store import journal
from labgateway.store.engine import Store

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


async def fill(site: Path, number: int) -> None:
    """So many messages that broke off, a minute between."""
    store = Store.open(f"sqlite:///{site}/data/labgateway.db")

    def job(connection: Connection) -> None:
        for minute in range(number):
            journal.append(
                connection, instrument="xn1", protocol="astm", peer="", received_at=START + timedelta(minutes=minute),
                raw=b"H|", complete=False, why="cut",
            )  # fmt: skip

    await store.submit(job)
    await store.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A laboratory in the working folder."""
    (tmp_path / "config.toml").write_text('[gateway]\nname = "LAB"\ndata = "data"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_more_than_it_shows(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The oldest 1,000; how many there are; and how to see them all. Programs hear it beside the lines."""
    asyncio.run(fill(site, 1003))
    assert main(["parked", "--json"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["id"] for line in said.out.splitlines()] == [f"m{n}" for n in range(1, 1001)]
    assert said.err == "labgateway: The oldest 1000 of 1003 that wait; --limit 0 shows all.\n"
    assert main(["parked", "--json", "--limit", "0"]) == 0
    said = capsys.readouterr()
    assert (len(said.out.splitlines()), said.err) == (1003, "")


def test_on_the_screen(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(fill(site, 3))
    for more, words in (
        (["--limit", "2"], "The oldest 2 of 3 that wait; --limit 0 shows all. Act with"),
        (["--limit", "3"], "3 wait. Act with"),
        ([], "3 wait. Act with"),
    ):
        assert main(["parked", *more]) == 0
        assert words in " ".join(capsys.readouterr().out.split())
