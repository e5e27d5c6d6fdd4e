"""Every sentence that a mapping file's mistakes are told in has its Vietnamese."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from labgateway.mapping import (
    beyond,
    computed,
    control,
    difference,
    formula,
    holding,
    lint,
    lint_computed,
    lint_rules,
    ranges,
    reading,
    sheet,
    sheet_csv,
    sheet_reading,
    sheet_xlsx,
    table,
    vietnamese,
)
from labgateway.mapping.vietnamese import say, translated

_ROOMS = (
    control,
    beyond,
    table,
    reading,
    formula,
    computed,
    lint_computed,
    lint,
    lint_rules,
    holding,
    ranges,
    difference,
    sheet,
    sheet_csv,
    sheet_reading,
    sheet_xlsx,
)
ROOMS = [Path(str(room.__file__)) for room in _ROOMS]


def sentences(path: Path) -> Iterator[str]:
    """Every string of a module that is a sentence, with X1, X2 ... where a value goes; docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skip: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            skip |= {id(part) for part in ast.walk(node)} if isinstance(node.value, ast.Constant) else set()
        if isinstance(node, ast.JoinedStr):
            skip |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else f"X{number}"
                for number, part in enumerate(node.values)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if " " in text.strip() and text.rstrip().endswith((".", "?")):
            yield text.strip()


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.stem)
def test_every_sentence_is_translated(path: Path) -> None:
    """A new sentence in these rooms needs its Vietnamese."""
    found = list(sentences(path))
    assert found, "the room has moved: name the new one in _ROOMS"
    assert [one for one in found if translated(one) is None] == []


def test_sentences_are_found() -> None:
    """300 on 2026-11-28: a room that was split and not named anew shows here."""
    assert sum(len(list(sentences(path))) for path in ROOMS) >= 300


def test_values_stay_as_they_are() -> None:
    """Codes, units and numbers pass unchanged, braces and all; what is not known stays English."""
    text = "HGB comes in g/dL (driver ex), on some instruments g/L. To get {x}/L multiply by 10; you wrote 1."
    assert say(text, "en") == text
    assert say(text, "vi") == (
        "HGB được gửi với đơn vị g/dL (driver ex), ở một số máy là g/L. Để ra {x}/L phải nhân với 10; bạn đã viết 1."
    )
    assert say("Nobody said this.", "vi") == "Nobody said this."


def test_no_template_is_in_vain() -> None:
    """As many values go out as came in."""
    for english, vi in (vietnamese._SENTENCES | vietnamese._REASONS).items():
        assert english.count("{}") == vi.count("{}"), english
