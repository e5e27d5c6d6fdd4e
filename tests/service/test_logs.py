"""Log lines hold what is allowed and nothing else."""

from __future__ import annotations

import json
import logging

import pytest

from labgateway.service import logs


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(autouse=True)
def fresh(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    structlog.reset_defaults()
    logs.configure()
    structlog.configure(cache_logger_on_first_use=False)


def test_unknown_keys_are_dropped_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is not on the list never reaches the log; its name does."""
    logs.sayer()("stored", transmission=7, patient="ZZCANARY")
    (line,) = lines(capsys)
    assert line["transmission"] == 7
    assert line["dropped"] == ["patient"]
    assert "ZZCANARY" not in json.dumps(line)


def test_an_exception_is_its_type_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the text of an exception nor a local variable reaches the log."""
    try:
        secret = "ZZCANARY"
        raise ValueError(secret)
    except ValueError as error:
        logs.sayer()("failed", level="error", exc_info=error)
    (line,) = lines(capsys)
    assert line["error"] == "ValueError"
    assert "ZZCANARY" not in json.dumps(line)
    assert any("test_logs.py" in place for place in line["trace"])  # type: ignore[union-attr]


def test_libraries_are_heard_without_their_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's warning is logged by its source; its text, which may hold anything, is not."""
    logging.getLogger("some.library").warning("patient %s", "ZZCANARY")
    (line,) = lines(capsys)
    assert line["source"] == "some.library"
    assert "ZZCANARY" not in json.dumps(line)


def test_control_characters_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line break or escape sequence in a value stays inside its JSON string."""
    logs.sayer()("refused", peer='10.0.0.1\n{"event": "ready"}\x1b[2J')
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out


def test_long_values_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """One value cannot fill the disk."""
    logs.sayer()("refused", why="x" * 100_000)
    (line,) = lines(capsys)
    assert len(str(line["why"])) < 400
