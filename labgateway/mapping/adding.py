"""Single words written into a mapping file: only they change, comments and order stay. Uses tomlkit.

What was written is read again and compared with what was meant before anybody gets it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from labgateway.errors import LabgatewayError


def with_words(raw: bytes, words: Iterable[tuple[tuple[str, ...], str]]) -> bytes:
    """The file with these words. words: the keys from the top of the file, and the value as TOML.

    Raises LabgatewayError when it cannot be written so.
    """
    try:
        text = raw.decode("utf-8-sig")
        document: Any = tomlkit.parse(text)
        wanted: dict[str, Any] = _data(text)
        for path, value in words:
            table, meant = document, wanted
            for depth, key in enumerate(path[:-1]):
                if key not in table:
                    table.add(key, tomlkit.table() if depth == 0 else tomlkit.inline_table())
                    meant[key] = {}
                table, meant = table[key], meant[key]
            table[path[-1]] = tomlkit.value(value)
            meant[path[-1]] = _data(f"x = {value}")["x"]
        written = tomlkit.dumps(document)
        if _data(written) != wanted:
            raise ValueError
    except (TOMLKitError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise LabgatewayError(
            "This cannot be written into the file as it is laid out; write it by hand: the draft shows how."
        ) from None
    return written.encode()


def _data(text: str) -> dict[str, Any]:
    return tomllib.loads(text, parse_float=Decimal)
