"""docs/mapping.md says what is true: its examples load, its table of values is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labgateway.mapping.apply import Mapped, apply
from labgateway.mapping.lint import lint
from labgateway.mapping.table import _KEYS, parse
from labgateway.model import Kind, Result

TEXT = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples(number: int) -> None:
    """Every example is a mapping without a mistake."""
    mapping, found = parse(EXAMPLES[number].encode(), "example.toml")
    assert mapping is not None
    assert found + lint(mapping, "example.toml", None) == []


def test_every_word_is_explained() -> None:
    """Every word that a line may hold stands in the table, and no other."""
    assert set(re.findall(r"^\| `([a-z_]+)` \|", TEXT, re.MULTILINE)) == set(_KEYS)


@pytest.mark.parametrize(
    ("sent", "rest", "value", "reason"),
    [
        ("13.4", "times = 10, decimals = 0", "134", None),
        ("13.4", "times = 10", "134.0", None),
        ("5.10", "times = 1", "5.10", None),
        ("<0.125", "times = 10", "<1.250", None),
        ("7,41", "times = 10", "7,41", "NOT_A_DECIMAL"),
        ("7,41", "times = 10, decimal_comma = true", "74.10", None),
        ("7.41", "times = 10, decimal_comma = true", "7.41", "NOT_A_DECIMAL"),
        ("3.2E+05", "times = 10", "3.2E+05", "NOT_A_DECIMAL"),
        ("POSITIVE", "times = 1", "POSITIVE", None),
        ("<0.05", "times = 1, decimals = 1", "<0.0", None),
    ],
)
def test_table_of_values(sent: str, rest: str, value: str, reason: str | None) -> None:
    """What the table says happens to a value happens."""
    line = f'[tests]\nA = {{ emr = "A", comes = "u", unit = "u", {rest} }}'.replace('unit = "u"', 'unit = "v"')
    mapping, _ = parse(line.encode(), "m.toml")
    assert mapping is not None
    mapped = apply(mapping, Result(Kind.PATIENT, "S1", "A", sent, "u"))
    assert isinstance(mapped, Mapped)
    assert (mapped.value, mapped.hold and mapped.hold.reason.name) == (value, reason)
