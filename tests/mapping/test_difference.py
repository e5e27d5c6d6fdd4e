"""What changes between two mapping files is said in words, all of it and nothing else, in both languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.mapping.difference import changes, same
from labgateway.mapping.table import Mapping, parse
from labgateway.mapping.vietnamese import translated

BASE = """\
instrument = "x1"
checked = "nobody"
[tests]
WBC = { emr = "WBC", unit = "10*9/L", times = 1, decimals = 2, sane = [0, 500] }
HGB = { emr = "HGB", loinc = "718-7", unit = "g/L", times = 10 }
GLU = [{ specimen = "urine", emr = "UGLU" }, { emr = "GLU" }]
[panels]
CBC = ["WBC", "HGB"]
[leave_out]
SCAT = "a picture"
"""


def mapping(text: str) -> Mapping:
    found, complaints = parse(text.encode(), "m.toml")
    assert found is not None
    assert not complaints, complaints
    return found


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("times = 10 ", "times = 1 ", "HGB is multiplied by 1 instead of 10: every number changes."),
        (', unit = "g/L", times = 10', "", "HGB goes out in the unit that comes instead of g/L."),
        ("decimals = 2", "decimals = 1", "WBC is shown with decimals: 1 instead of 2."),
        ("sane = [0, 500]", "sane = [0, 50.5]", "WBC is held outside [0, 50.5] instead of [0, 500]."),
        ("sane = [0, 500]", 'comes = "10*3/uL"', "WBC must come in 10*3/uL instead of the driver's unit."),
        ('emr = "HGB"', 'emr = ["HGB", "HB"]', "HGB is reported as HGB, HB instead of HGB."),
        ('"718-7"', '"30350-3"', "HGB carries `loinc` 30350-3 instead of 718-7."),
        ('emr = "UGLU"', 'emr = "U"', "GLU on urine is reported as U instead of UGLU."),
        ('{ specimen = "urine", emr = "UGLU" }, ', "", "GLU on urine has no line of its own any more; it was reported as UGLU."),
        ('SCAT = "a picture"', "", "SCAT is no longer left out: its results wait for a person."),
        ('SCAT = "a picture"', 'SCAT = "none"', "SCAT stops here for another reason: none."),
        ("SCAT =", 'X = "x"\nSCAT =', "X is new and stops here: x."),
        ('["WBC", "HGB"]', '["WBC"]', "Panel CBC is no longer answered by HGB."),
        ('["WBC", "HGB"]', '["WBC", "HGB", "GLU"]', "Panel CBC is answered by GLU as well."),
        ("[leave_out]", "[orders]\nCBC = []\n[leave_out]",
         "For an order of CBC the analyzer is asked for: nothing instead of what the lines say."),
        ("[panels]", 'RBC = { emr = "RBC", unit = "10*12/L", times = 1 }\n[panels]',
         "RBC is new and is reported as RBC, times 1 in 10*12/L."),
        ("times = 10 ", 'times = 10, rerun = "last" ',
         "HGB: of a rerun with another value the newest stands instead of a person decides."),
        ("times = 10 ", "times = 10, decimal_comma = true ", "HGB is read with a decimal comma instead of a decimal point."),
        ('"x1"', '"x2"', "The file is written for x2 instead of x1."),
        ('"nobody"', '"somebody"', ""),
        ("[panels]", "# a remark\n[panels]", ""),
    ],
)  # fmt: skip
def test_each_change_in_words(old: str, new: str, words: str) -> None:
    assert old in BASE
    found = changes(mapping(BASE), mapping(BASE.replace(old, new)))
    assert (words in found) if words else (found == [])
    for one in found:
        assert translated(one), one


def test_a_code_that_loses_its_line_waits() -> None:
    text = "\n".join(line for line in BASE.splitlines() if not line.startswith("WBC"))
    assert changes(mapping(BASE), mapping(text)) == ["WBC has no line any more: its results wait for a person."]
    left_out = text + '\nWBC = "not here"\n'
    assert changes(mapping(BASE), mapping(left_out)) == ["WBC stops here (not here) instead of being reported as WBC."]
    back = changes(mapping(left_out), mapping(BASE))
    assert back == ["WBC was left out (not here) and is reported as WBC."]


def test_all_that_a_first_file_says_is_new() -> None:
    assert len(changes(None, mapping(BASE))) == 5


_EDITS = st.sampled_from(
    [
        ("times = 10", "times = 1"), ("decimals = 2", "decimals = 0"), ('"UGLU"', '"U"'), ('"a picture"', '"b"'),
        ('["WBC", "HGB"]', '["WBC"]'), ("sane = [0, 500]", "sane = [0, 5]"), ('specimen = "urine"', 'specimen = "CSF"'),
    ]
)  # fmt: skip


@given(st.lists(_EDITS, max_size=4), st.lists(_EDITS, max_size=4))
def test_silence_means_the_same(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    """No words exactly when the two files mean the same; every sentence has its Vietnamese."""
    texts = [BASE, BASE]
    for number, edits in enumerate((one, other)):
        for old, new in edits:
            texts[number] = texts[number].replace(old, new)
    first, second = map(mapping, texts)
    found = changes(first, second)
    assert (found == []) == same(first, second)
    assert all(translated(sentence) for sentence in found)
