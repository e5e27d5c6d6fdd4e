"""The rules of the reference captures' expectations: what counts as right, missing and wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("LABGATEWAY_CAPTURES") or Path(__file__).resolve().parents[2] / "shared" / "captures")
"""Where the reference captures are; they are never part of this repository."""

Object = Mapping[str, Any]


def fits(wanted: object, got: object) -> bool:
    """Whether a value is the expected one, or one of ``{"any": [...]}``."""
    if isinstance(wanted, Mapping) and set(wanted) == {"any"}:
        return any(fits(each, got) for each in wanted["any"])
    return wanted == got


def says_less(key: str, got: object) -> bool:
    """Whether a value says nothing rather than something else."""
    return got is None or got == [] or (key == "status" and got == "unknown")


def judge(expected: Sequence[Object], results: Sequence[Object]) -> tuple[list[str], list[str]]:
    """Missing and wrong, one line each. results: what decode prints, in message order.

    An expected object takes the first result left that fits whole; else the first of its kind,
    specimen and code, where the difference shows. What is left over must be tolerated.
    """
    missing: list[str] = []
    wrong: list[str] = []
    left = [dict(result) for result in results]
    tolerated = any(each.get("optional") and each.get("code") == "*" for each in expected)
    named = [each for each in expected if each.get("code") != "*"]
    for each in named:
        wanted = {key: value for key, value in each.items() if key != "optional"}
        found = next((r for r in left if r.get("reason") is None and _all(wanted, r)), None)
        if found is None and wanted.get("value", "") is None:
            found = next((r for r in left if r.get("value") is None and _all(wanted, r)), None)
        if found is not None:
            left.remove(found)
            continue
        if each.get("optional"):
            continue
        near = next((r for r in left if _same_row(wanted, r)), None)
        if near is None:
            missing.append(f"{wanted}: nothing like it")
            continue
        left.remove(near)
        keys = [key for key, value in wanted.items() if not fits(value, near.get(key))]
        if near.get("reason") is not None or all(says_less(key, near.get(key)) for key in keys):
            missing.append(f"{wanted}: {near.get('reason') or {key: near.get(key) for key in keys}}")
        else:
            wrong.append(f"{wanted}: got { {key: near.get(key) for key in keys} }")
    for result in left:
        if result.get("reason") is not None:
            continue
        clash = any(
            _same_row(each, result) and not fits(each.get("value", result.get("value")), result.get("value"))
            for each in named
            if not each.get("optional") and "code" in each
        )
        if clash or not tolerated:
            wrong.append(f"not expected: {result}")
    return missing, wrong


def _all(wanted: Object, got: Object) -> bool:
    return all(fits(value, got.get(key)) for key, value in wanted.items())


def _same_row(wanted: Object, got: Object) -> bool:
    keys = ("kind", "specimen", "code")
    return all(fits(wanted[key], got.get(key)) for key in keys if key in wanted)
