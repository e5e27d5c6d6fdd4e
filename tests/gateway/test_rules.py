"""From config to rules: what the site says about matching arrives where results are judged, per instrument too."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from labgateway.config.reading import parse
from labgateway.config.sections import CheckDigit as Written
from labgateway.config.sections import SecondIds
from labgateway.gateway import rulebook
from labgateway.instruments.library import Library
from labgateway.matching.check_digits import CheckDigit
from labgateway.matching.identity import SECOND_IDS
from labgateway.pipeline.rules import Rules

LINE = 'driver = "sysmex_xn"\nmapping = "xn.toml"\nline = { kind = "tcp-listen", port = 0 }\n'


def rules(text: str) -> Rules:
    return rulebook.rules(parse(text.encode(), Path("/site/config.toml")), Library([]))


def test_the_check_digit_of_the_site() -> None:
    """None by default; each word of the config is a rule."""
    assert rules("").policy.check is None
    assert rules('[matching]\ncheck_digit = "luhn"\n').policy.check is CheckDigit.LUHN
    assert set(get_args(Written)) == {"", *CheckDigit}


def test_second_identifiers_are_each_instruments_choice() -> None:
    """As in [matching] where the instrument says nothing; everything else stays the site's."""
    assert set(get_args(get_args(SecondIds)[0])) == set(SECOND_IDS)
    found = rules(
        f'[matching]\nwindow_h = 12\n[instrument.a]\n{LINE}[instrument.b]\n{LINE}second_ids = ["name", "patient"]\n'
        f"[instrument.c]\n{LINE}second_ids = []\n"
    )
    a, b, c = (found.instruments[name].policy for name in "abc")
    assert a is None
    assert b is not None and c is not None
    assert (b.second_ids, b.window_h, c.second_ids) == (("name", "patient"), 12, ())
