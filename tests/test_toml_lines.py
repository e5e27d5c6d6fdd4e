"""The line index of TOML files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.errors import ComplaintsError
from labgateway.toml_lines import KeyPath, line_of, lines, parse_toml, read_toml

TEXT = '''# a comment with = and [brackets]
schema = 1
title = "a # no comment"

[where]
specimen = ["O-4.3",  # first
            "O-3"]
"R-3.5" = 'x'
a.b = 1

[[rows]]
when = { "R-3.7" = '^[IP]$', code = "]" }
is = "ignore"
[[rows]]
long = """
[not a table]
x = 1 \\""" ""\"""
is = "comment"
[rows.deep]
k = 2
[control]
when = [
  { "O-12" = '^Q$' },
  { specimen = '^QC-' },
]
'''


def test_every_kind_of_key_has_its_line() -> None:
    """Plain, quoted, dotted, inline, array and repeated tables are found where they stand."""
    found = lines(TEXT)
    expected: dict[KeyPath, int] = {
        ("schema",): 2,
        ("title",): 3,
        ("where",): 5,
        ("where", "specimen"): 6,
        ("where", "specimen", 0): 6,
        ("where", "specimen", 1): 7,
        ("where", "R-3.5"): 8,
        ("where", "a", "b"): 9,
        ("rows", 0): 11,
        ("rows", 0, "when", "R-3.7"): 12,
        ("rows", 0, "when", "code"): 12,
        ("rows", 0, "is"): 13,
        ("rows", 1): 14,
        ("rows", 1, "long"): 15,
        ("rows", 1, "is"): 18,
        ("rows", 1, "deep", "k"): 20,
        ("control", "when", 0, "O-12"): 23,
        ("control", "when", 1, "specimen"): 24,
    }
    assert {path: found.get(path) for path in expected} == expected


def test_a_missing_key_stands_at_its_table() -> None:
    """A path that is not there gets the line of its nearest parent, and none at the top."""
    found = lines(TEXT)
    assert line_of(found, ("where", "code")) == 5
    assert line_of(found, ("protocol",)) is None


def _paths(data: Any, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(data, dict):
        return [p for key, value in data.items() for p in [(*path, key), *_paths(value, (*path, key))]]
    if isinstance(data, list):
        return [p for i, value in enumerate(data) for p in [(*path, i), *_paths(value, (*path, i))]]
    return []


_KEY = st.text(st.sampled_from("ab-_1"), min_size=1, max_size=3) | st.text("a #[]{}=.'\\\"ä", max_size=4).map(
    lambda t: '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
_TEXT_VALUE = st.sampled_from(['"#"', "'[x]'", '"""\n]\n"""', "'''\n=\n'''", '"\\""', "1", "true", "[]", "{}"])
_VALUE = st.recursive(
    _TEXT_VALUE,
    lambda v: (
        st.lists(v, max_size=3).map(lambda i: "[\n" + ",\n".join(i) + " # c ]\n]")
        | st.dictionaries(st.sampled_from("abc"), _TEXT_VALUE, max_size=3).map(
            lambda d: "{" + ", ".join(f"{k} = {x}" for k, x in d.items()) + "}"
        )
    ),
    max_leaves=5,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "[t{}]", "[[u]]", "[t{}.'x y']"]),
            st.lists(st.tuples(_KEY, _VALUE), max_size=3),
        ),
        max_size=4,
    )
)
def test_the_index_knows_every_key_that_tomllib_knows(parts: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Every key path of well-formed TOML has a line, and the key's name stands on it."""
    out: list[str] = []
    for number, (header, pairs) in enumerate(parts):
        out.append(header.format(number) if number else "")
        out += [f"{key} = {value}" for key, value in pairs]
    text = "\n".join(out)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = lines(text)
    assert set(_paths(data)) <= set(found)
    rows = text.split("\n")
    for path, line in found.items():
        if isinstance(path[-1], str) and path[-1].isalnum():
            assert path[-1] in rows[line - 1]


def test_syntax_errors_come_with_their_line(tmp_path: Path) -> None:
    """No TOML, no UTF-8, no file: each is one complaint that says where."""
    file = tmp_path / "a.toml"
    file.write_text('a = 1\nb = "x\nc = 2\n')
    with pytest.raises(ComplaintsError) as caught:
        read_toml(file)
    assert [c.line for c in caught.value.complaints] == [2]
    file.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(ComplaintsError) as caught:
        read_toml(file, name="a.toml")
    assert [(c.file, c.line) for c in caught.value.complaints] == [("a.toml", 2)]
    with pytest.raises(ComplaintsError) as caught:
        read_toml(tmp_path / "none.toml")
    assert caught.value.complaints[0].line is None
    file.write_text("a = [1,\n\n")
    with pytest.raises(ComplaintsError) as caught:
        read_toml(file)
    assert caught.value.complaints[0].line is not None


def test_a_byte_order_mark_is_no_mistake() -> None:
    """Windows editors write one; the file still reads."""
    assert parse_toml(b"\xef\xbb\xbfa = 1\n", name="x") == ({"a": 1}, {("a",): 1})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = " + "9" * 5000 + "\n", 2),
        ("a = " + "[" * 20_000 + "]" * 20_000, None),
        ("a = " + "{ b = " * 20_000 + "1" + " }" * 20_000, None),
    ],
)
def test_what_python_cannot_hold_is_a_complaint(text: str, line: int | None) -> None:
    """Numbers of thousands of digits and endless nesting: refused with words, no exception of Python's own."""
    with pytest.raises(ComplaintsError) as caught:
        parse_toml(text.encode(), name="x.toml")
    (complaint,) = caught.value.complaints
    assert complaint.line == line and complaint.cure
