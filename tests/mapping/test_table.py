"""Reading a mapping file: DESIGN's example, exact numbers, and every mistake with its line."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labgateway.errors import Complaint, ComplaintsError
from labgateway.mapping.lint import examine, lint
from labgateway.mapping.table import Mapping, load, parse

DESIGN = """\
instrument = "xn1"
checked    = "who, when, against what"

[tests]                                # analyzer code -> what the EMR wants. One line a test.
WBC = { emr = "WBC", name = "Số lượng bạch cầu", loinc = "6690-2", unit = "10*9/L", times = 1, decimals = 2, sane = [0, 500] }
HGB = { emr = "HGB", unit = "g/L", times = 10, decimals = 0 }

GLU = [ { specimen = "urine", emr = "UGLU" }, { emr = ["GLU", "GLU2H"] } ]   # by specimen type

[panels]                               # what the EMR orders -> the EMR tests that answer it
CBC = ["WBC", "HGB"]

[leave_out]                            # codes that stop here, and why
"SCAT_WDF" = "scattergram"
"""


def read(text: str) -> Mapping:
    mapping, complaints = parse(text.encode(), "m.toml")
    assert complaints == []
    assert mapping is not None
    return mapping


def complaints(text: str) -> list[Complaint]:
    return parse(text.encode(), "m.toml")[1]


def test_design_example() -> None:
    """The example of DESIGN 5.3 loads, and every value arrives."""
    mapping = read(DESIGN)
    assert (mapping.instrument, mapping.checked) == ("xn1", "who, when, against what")
    assert mapping.version == hashlib.sha256(DESIGN.encode()).hexdigest()
    (wbc,) = mapping.tests["WBC"]
    assert (wbc.emr, wbc.name, wbc.loinc) == (("WBC",), "Số lượng bạch cầu", "6690-2")
    assert (wbc.unit, wbc.times, wbc.decimals, wbc.sane) == ("10*9/L", 1, 2, (Decimal(0), Decimal(500)))
    assert (wbc.comes, wbc.specimen, wbc.moh, wbc.rerun, wbc.number) == (None, None, "", "hold", 5)
    urine, other = mapping.tests["GLU"]
    assert (urine.specimen, urine.emr, other.specimen, other.emr) == ("urine", ("UGLU",), None, ("GLU", "GLU2H"))
    assert mapping.panels == {"CBC": ("WBC", "HGB")}
    assert mapping.leave_out == {"SCAT_WDF": "scattergram"}
    assert list(mapping.tests) == ["WBC", "HGB", "GLU"]


def test_numbers_are_exact() -> None:
    """Factors are what is written, not the nearest binary number; needless zeros do not add digits to results."""
    mapping = read(
        'decimal_comma = true\n[tests]\nA = { emr = "A", unit = "u", times = 0.1 }\n'
        'B = { emr = "B", unit = "u", times = 10.0, sane = [-0.5, 1e3] }\n'
        'C = { emr = "C", unit = "u", times = 0.1234567890123456789012345678901234 }'
    )
    assert str(mapping.tests["A"][0].times) == "0.1"
    assert str(mapping.tests["B"][0].times) == "10"
    assert mapping.tests["B"][0].sane == (Decimal("-0.5"), Decimal(1000))
    assert str(mapping.tests["C"][0].times) == "0.1234567890123456789012345678901234"
    assert mapping.tests["A"][0].decimal_comma


def test_a_line_without_specimen_comes_last() -> None:
    """The line for all other types stands last, wherever it is written."""
    mapping = read('[tests]\nG = [ { emr = "A" }, { specimen = "urine", emr = "B" } ]')
    assert [line.emr for line in mapping.tests["G"]] == [("B",), ("A",)]


MISTAKES: list[tuple[str, int | None, str, str, str]] = [
    ('[tests]\nA = { name = "x" }', 2, "tests.A.emr", "missing", 'emr = "A"'),
    ('[tests]\nA = { emr = "" }', 2, "tests.A.emr", "must be a name", "quotes"),
    ("[tests]\nA = { emr = [] }", 2, "tests.A.emr", "empty", "at least one"),
    ('[tests]\nA = { emr = ["X", "X"] }', 2, "tests.A.emr", "twice", "Take one"),
    ('[tests]\nA = { emr = "X", untis = "g" }', 2, "tests.A.untis", "no key", "Did you mean `unit`?"),
    ('[tests]\nA = "X"', 2, "tests.A", "in braces", 'A = { emr = "A" }'),
    ("[tests]\nA = []", 2, "tests.A", "in braces", "emr"),
    ('[tests]\nA = ["X"]', 2, "tests.A.0", "in braces", "specimen"),
    ('[tests]\nA = { emr = "X", unit = "g/L" }', 2, "tests.A.unit", "no `times`", "Add `times`"),
    ('[tests]\nA = { emr = "X", times = 10 }', 2, "tests.A.times", "no `unit`", "Add `unit`"),
    ('[tests]\nA = { emr = "X", unit = "g/L", times = "10" }', 2, "tests.A.times", "must be a number", "point"),
    ('[tests]\nA = { emr = "X", unit = "g/L", times = true }', 2, "tests.A.times", "must be a number", "point"),
    ('[tests]\nA = { emr = "X", unit = "g/L", times = nan }', 2, "tests.A.times", "must be a number", "point"),
    ('[tests]\nA = { emr = "X", unit = "g/L", times = 0 }', 2, "tests.A.times", "above zero", "factor"),
    ('[tests]\nA = { emr = "X", unit = "", times = 1 }', 2, "tests.A.unit", "empty", "take the key out"),
    ('[tests]\nA = { emr = "X", decimals = -1 }', 2, "tests.A.decimals", "small whole number", "0 to 10"),
    ('[tests]\nA = { emr = "X", decimals = 1.0 }', 2, "tests.A.decimals", "small whole number", "0 to 10"),
    ('[tests]\nA = { emr = "X", sane = 5 }', 2, "tests.A.sane", "two numbers", "[0, 500]"),
    ('[tests]\nA = { emr = "X", sane = [1, 2, 3] }', 2, "tests.A.sane", "two numbers", "[0, 500]"),
    ('[tests]\nA = { emr = "X", sane = [1, "2"] }', 2, "tests.A.sane", "two numbers", "[0, 500]"),
    ('[tests]\nA = { emr = "X", rerun = "first" }', 2, "tests.A.rerun", "none of the words", "hold"),
    ('[tests]\nA = { emr = "X", name = 5 }', 2, "tests.A.name", "must be text", "quotes"),
    ('[tests]\nA = { emr = "X", decimal_comma = 1 }', 2, "tests.A.decimal_comma", "yes or no", "true"),
    ('[tests]\nA = [ { emr = "X" }, { emr = "Y" } ]', 2, "tests.A.1", "same specimen type", "specimen"),
    ('[tests]\nA = [ { emr = "X", specimen = "urine" }, { emr = "Y", specimen = "UR" } ]', 2, "tests.A.1",
     "same specimen type", "specimen"),
    ('[panels]\nCBC = "WBC "', 0, "", "", ""),
    ("[panels]\nCBC = []", 2, "panels.CBC", "empty", "at least one"),
    ("[panels]\nCBC = [5]", 2, "panels.CBC", "names", "quotes"),
    ('[leave_out]\nX = ""', 2, "leave_out.X", "reason", "why"),
    ('[tests]\nA = { emr = "X" }\n[leave_out]\nA = "why"', 4, "leave_out.A", "line 2", "Take one"),
    ('WBC = { emr = "WBC" }', 1, "WBC", "no key of a mapping", "under [tests]"),
    ("test = {}", 1, "test", "no key of a mapping", "Did you mean `tests`?"),
    ("tests = 5", 1, "tests", "must be a section", "[tests]"),
    ("instrument = 5", 1, "instrument", "must be text", "quotes"),
    ("[tests\nA = 1", 1, "", "is not TOML", "bracket"),
    ("a = " + "9" * 5000, 1, "", "too long", "as a text"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "what", "cure"), MISTAKES)
def test_one_mistake(text: str, line: int | None, key: str, what: str, cure: str) -> None:
    """Each kind of mistake gives one complaint with line, key, what is wrong and what to do."""
    found = complaints(text)
    if line == 0:
        assert found == []
        return
    assert [(one.file, one.line, one.key) for one in found] == [("m.toml", line, key)]
    assert what in found[0].what
    assert cure in found[0].cure


def test_load(tmp_path: Path) -> None:
    """A file loads, a missing or broken one is a complaint; a byte order mark is no mistake."""
    path = tmp_path / "xn1.toml"
    with pytest.raises(ComplaintsError, match="cannot be read"):
        load(path)
    path.write_bytes(b"\xef\xbb\xbf" + DESIGN.encode())
    assert load(path).tests.keys() == {"WBC", "HGB", "GLU"}
    path.write_text("[tests]\nA = 1\nB = 2", encoding="utf-8")
    with pytest.raises(ComplaintsError) as caught:
        load(path)
    assert [c.line for c in caught.value.complaints] == [2, 3]


def test_good_lines_stand_beside_broken_ones() -> None:
    """What can be read of a file with mistakes is there, so that its other mistakes are found as well."""
    mapping, found = parse(b'[tests]\nA = 5\nB = { emr = "B", loinc = "718-6" }', "m.toml")
    assert mapping is not None
    assert list(mapping.tests) == ["B"]
    assert len(found) == 1
    assert len(lint(mapping, "m.toml", None)) == 1


KEYS = st.sampled_from(
    ["tests", "panels", "leave_out", "instrument", "emr", "unit", "times", "sane", "loinc", "specimen", "comes", "WBC"]
) | st.text(max_size=4)
LEAVES: st.SearchStrategy[Any] = (
    st.text(max_size=6)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.sampled_from(["g/L", "718-7", "urine"])
    | st.lists(st.integers(), max_size=3)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=10
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_toml(data: dict[str, Any]) -> None:
    """Whatever TOML can hold is read or complained about, and the rest of it can be judged; nothing is raised."""
    raw = tomlkit.dumps(data).encode("utf-8", "surrogatepass")
    mapping, found = parse(raw, "m.toml")
    assert mapping is not None or found
    if mapping is not None:
        found += lint(mapping, "m.toml", {"WBC": ("g/L", "g/dL"), "A": ("",)}, "d")
    assert all(one.what and one.cure for one in found)


@given(st.binary(max_size=80))
@example(b"a = " + b"[" * 3000)
@example(b"a = 1e99999999999999999999")
@example(b'[tests]\nA = { emr = "A", unit = "g", times = 1e999999999999999999 }')
@settings(deadline=None)
def test_any_bytes(raw: bytes) -> None:
    """Whatever bytes a file may hold, nothing is raised."""
    mapping, found = parse(raw, "m.toml")
    assert mapping is not None or found


def test_examine_missing(tmp_path: Path) -> None:
    """A missing file is one complaint."""
    assert len(examine(tmp_path / "none.toml", None)) == 1
