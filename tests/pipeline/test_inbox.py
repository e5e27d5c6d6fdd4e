"""The inbox: what held results wait for, with a draft; nothing of whose they are."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from labgateway.errors import LabgatewayError, Reason
from labgateway.instruments.spec import Words
from labgateway.mapping.adding import with_words
from labgateway.mapping.difference import changes
from labgateway.mapping.lint import lint
from labgateway.mapping.table import parse, settle
from labgateway.model import Status
from labgateway.pipeline.inbox import Entry, inbox
from labgateway.pipeline.rules import extended
from labgateway.store import results
from tests.pipeline import mapped_lab
from tests.pipeline.mapped_lab import DRIVER, Lab, mapping_of

MakeLab = Callable[..., Lab]
MAPPING = """\
# the lab's own words
[tests]
K = { emr = "K", unit = "mmol/L", times = 1 }
GLU = { emr = "GLU", loinc = "14749-6", comes = "mmol/L", unit = "mmol/L", times = 1, decimals = 1 }
"""
STRICT = replace(
    DRIVER, is_open=False, tests={"K": ("mmol/L",), "GLU": ("mmol/L", "mg/dL")}, words=Words(flag={"H": "high"})
)


def waiting(lab: Lab, driver: object = DRIVER) -> dict[str, Entry]:
    held = lab.store.read_now(lambda c: results.held(c, "a1"))
    found = inbox("a1", held, driver, settle(mapping_of(lab.mappings["a1"]), {}))  # type: ignore[arg-type]
    return {entry.key: entry for entry in found}


def test_a_code_that_no_line_answers(make_lab: MakeLab) -> None:
    """How many, since when, an example without the patient, and a line by the catalogue that says it is not decided."""
    lab = make_lab(MAPPING)
    for specimen in ("S1", "S2"):
        lab.order(specimen, "CREA")
        lab.send(specimen, "CREA 80.5 umol/L H", "ODD TEXT")
        lab.wait(minutes=1)
    found = waiting(lab)
    assert sorted(found) == ["CREA", "ODD"]
    entry = found["CREA"]
    assert (entry.reason, entry.waiting, entry.since) == (Reason.UNMAPPED, 2, mapped_lab.START)
    assert "S1" not in str(entry) and "80.5" not in str(entry) and "TEXT" not in str(found["ODD"])
    ((path, line),) = entry.changes
    assert path == ("tests", "CREA")
    said = tomllib.loads(f"x = {line}", parse_float=Decimal)["x"]
    assert (said["emr"], said["comes"], said["unit"]) == ("?", "umol/L", "umol/L")
    assert tomllib.loads(f"x = {found['ODD'].changes[0][1]}")["x"] == {"emr": "?"}


def test_another_unit(make_lab: MakeLab) -> None:
    """The exact factor where it is known for certain; the value itself waits untouched."""
    lab = make_lab(MAPPING)
    lab.order("S1", "GLU", "K")
    lab.send("S1", "GLU 99 mg/dL", "K 4 g/L")
    found = waiting(lab)
    (comes, times) = found["unit GLU mg/dL"].changes
    assert comes == (("tests", "GLU", "comes"), '"mg/dL"')
    assert times[0] == ("tests", "GLU", "times") and times[1].startswith("0.0555")
    assert (found["unit K g/L"].changes, found["unit K g/L"].note[:21]) == ((), "the line says times 1")


def test_what_the_driver_does_not_know(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes, units, flags and status words: each has a draft in [words]; accepted, the results flow."""
    monkeypatch.setattr(mapped_lab, "DRIVER", STRICT)
    lab = make_lab(MAPPING)
    lab.order("S1", "K", "GLU", "NEW")
    number = lab.send("S1", "NEW 1 g/L", "GLU 5 g/L", "K 4 mmol/L Q")
    lab.order("S2", "K")
    second = lab.send("S2", "K 4 mmol/L", status="Z")
    found = waiting(lab, STRICT)
    assert {key: [change[0] for change in entry.changes] for key, entry in found.items()} == {
        "NEW": [("tests", "NEW"), ("words", "codes", "NEW")],
        "unit GLU g/L": [("words", "codes", "GLU")],
        "flag Q": [("words", "flag", "Q")],
        "status Z": [("words", "status", "Z")],
    }
    raw = with_words(
        MAPPING.encode(),
        [(("tests", "NEW"), '{ emr = "NEW" }'), *found["NEW"].changes[1:], *found["unit GLU g/L"].changes,
         (("words", "flag", "Q"), '"doubtful"'), (("words", "status", "Z"), '"final"')],
    )  # fmt: skip
    lab.mappings["a1"] = raw.decode()
    assert raw.startswith(b"# the lab's own words\n")
    mapping = mapping_of(raw.decode())
    better = extended(STRICT, mapping)
    assert (better.tests["NEW"], better.words.flag, better.words.status) == (
        ("g/L",), {"H": "high", "Q": "doubtful"}, {"F": Status.FINAL, "": Status.FINAL, "Z": Status.FINAL},
    )  # fmt: skip
    assert not [one for one in lint(mapping, "m", dict(STRICT.tests)) if "NEW" in one.what]
    monkeypatch.setattr(mapped_lab, "DRIVER", better)
    for each in (number, second):
        lab.replay(each)
    assert lab.states("S1") == ["NEW 1 released", "GLU 5 held UNIT_CHANGED", "K 4 released"]
    assert lab.states("S2") == ["K 4 released"]
    words = changes(mapping_of(MAPPING), mapping)
    assert words == [
        "NEW is new and is reported as NEW.",
        "NEW may come in g/L besides what the driver says, instead of nothing.",
        "GLU may come in g/L besides what the driver says, instead of nothing.",
        "The flag Q is known as doubtful instead of nothing.",
        "The status Z means final instead of nothing.",
    ]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("codes = { K = 7 }", "must be a unit."),
        ('flag = { Q = "" }', "must be a word."),
        ('flag = "Q"', "must be in braces."),
        ('status = { Z = "done" }', "is none of the words that it may be."),
        ('state = { Z = "final" }', "is no key of [words]."),
    ],
)
def test_what_is_wrong_with_words(words: str, what: str) -> None:
    _, found = parse(f"[tests]\n[words]\n{words}\n".encode(), "m.toml")
    assert [(one.line, one.what) for one in found] == [(3, what)]


def test_what_cannot_be_written_is_refused() -> None:
    """Nothing is written halfway, or otherwise than meant."""
    with pytest.raises(LabgatewayError, match="by hand"):
        with_words(b'[tests]\nK = [ { emr = "K" } ]\n', [(("tests", "K", "comes"), '"g/L"')])
    with pytest.raises(LabgatewayError):
        with_words(b"[tests\n", [(("tests", "K"), '{ emr = "K" }')])
    assert with_words(b"", [(("tests", "A.1"), '{ emr = "K" }')]) == b'[tests]\n"A.1" = { emr = "K" }\n'
