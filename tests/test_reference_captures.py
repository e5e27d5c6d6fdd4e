"""What real analyzers sent, against what it says: nothing wrong, nothing missing. Needs the reference captures."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from labgateway.captures import open_capture
from labgateway.cli.decode_command import DecodeError, as_object, decode_file, shipped_drivers
from labgateway.instruments.driver import Driver
from labgateway.instruments.library import Library
from labgateway.instruments.recognise import candidates

from .reference import FOLDER, fits, judge

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(
        not FOLDER.is_dir(), reason=f"no reference captures at {FOLDER.name}; set LABGATEWAY_CAPTURES to their folder"
    ),
]

WITHOUT_DRIVER: frozenset[str] = frozenset()
"""Instruments of the reference captures that have no driver yet. It may only shrink."""

NOT_ANALYZERS = frozenset({"orders_from_emr"})


def _folders() -> list[Path]:
    if not FOLDER.is_dir():
        return []
    return sorted(p for p in FOLDER.iterdir() if p.is_dir() and p.name not in NOT_ANALYZERS)


def _files() -> list[Path]:
    return [p for f in _folders() for p in sorted(f.iterdir()) if p.with_suffix("").suffix != ".expected"]


EXPECTED = [p for p in _files() if p.with_name(f"{p.stem}.expected.json").is_file()]
OTHERS = [p for p in _files() if p not in EXPECTED and p.name != "SOURCE.txt"]


@cache
def library() -> Library:
    return Library.of([shipped_drivers()])


def drivers_for(path: Path) -> tuple[Driver, ...]:
    return library().find_all(path.parent.name)


def decoded(path: Path) -> list[dict[str, Any]]:
    """Every result of a file as `decode --json --driver` prints it, the driver named as its folder is."""
    return [
        as_object(result, said.decoded)
        for said in decode_file(path, path.parent.name)
        for result in said.decoded.results
    ]


@pytest.mark.parametrize("path", EXPECTED, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_reference_capture_says_what_is_expected(path: Path) -> None:
    """Nothing expected is missing and nothing says otherwise."""
    if path.parent.name in WITHOUT_DRIVER:
        pytest.skip("no driver yet")
    expected = json.loads(path.with_name(f"{path.stem}.expected.json").read_text())
    missing, wrong = judge(expected, decoded(path))
    assert (wrong, missing) == ([], [])


REFUSED = {
    "au5800_layout_notes.txt": "no form that the driver knows",
    "online_fixed.txt": "no form that the driver knows",
    "etb_split_session.bin": "the check of the transmission",
    "modular_cut.txt": "a frame without an end",
}
"""Files that are refused with the right reason: notes, columns that its source collapsed, invented names under an old check."""


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_message_without_expectation_reads_without_defect(path: Path) -> None:
    """The other messages decode too, or are refused with the right reason; a host's own messages give no result."""
    try:
        saids = decode_file(path, path.parent.name)
    except DecodeError as error:
        assert REFUSED[path.name] in str(error)
        return
    problems = " ".join(str(said.decoded.problem) for said in saids if said.decoded.problem)
    assert (REFUSED[path.name] in problems) if path.name in REFUSED else not problems
    if path.name.startswith("host_"):
        assert not any(said.decoded.results for said in saids)


@pytest.mark.parametrize("path", [*EXPECTED, *OTHERS], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_nobody_else_recognises_it(path: Path) -> None:
    """A message is recognised by its own instrument's driver, or by nobody; never by another's."""
    for message in open_capture(path.read_bytes()).messages:
        known = candidates(message, library())
        assert set(known) <= set(drivers_for(path)) or path.name.startswith("host_")


def test_the_list_of_missing_drivers_is_true() -> None:
    """An instrument stands in the list exactly when no driver answers to its name."""
    names = {p.name for p in _folders() if any(e.parent == p for e in EXPECTED)}
    assert {name for name in names if not library().find_all(name)} == WITHOUT_DRIVER


def test_the_judge_can_fail() -> None:
    """The rules of the index: other values are wrong, less is missing, parked is missing, strangers are wrong."""
    wanted = {"kind": "patient", "specimen": "A", "code": "K", "value": {"any": ["1", "2"]}, "flags": ["H"]}
    good = {"kind": "patient", "specimen": "A", "code": "K", "value": "2", "flags": ["H"], "reason": None}
    assert judge([wanted], [good]) == ([], [])
    assert judge([wanted], [])[0]
    assert judge([wanted], [{**good, "value": "3"}])[1]
    assert judge([wanted], [{**good, "value": None}])[0]
    assert judge([wanted], [{**good, "flags": []}])[0]
    assert judge([wanted], [{**good, "reason": "X: y"}])[0]
    assert judge([wanted], [good, {**good, "code": "Na"}])[1]
    star = {"optional": True, "code": "*"}
    assert judge([wanted, star], [good, {**good, "code": "Na"}]) == ([], [])
    assert judge([wanted, star], [good, {**good, "value": "9"}])[1]
    assert not fits({"any": ["a"]}, "b")
