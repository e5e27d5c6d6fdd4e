"""A mapping file written anew: only what changes is touched; comments and order stay. Uses tomlkit.

What was written is read again and compared before anybody gets it: tomlkit's answer is never taken on trust.
"""

from __future__ import annotations

from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from labgateway.errors import LabgatewayError
from labgateway.mapping.difference import same
from labgateway.mapping.table import Mapping, parse


def with_checked(raw: bytes, checked: str) -> bytes:
    """The file with another `checked`. Raises LabgatewayError when it cannot be written so."""
    document = _document(raw)
    if "checked" in document:
        document["checked"] = checked
        written = tomlkit.dumps(document).encode()
    else:
        line = tomlkit.dumps({"checked": checked}).encode()
        written = line + raw.removeprefix(b"\xef\xbb\xbf")
    old, _ = parse(raw, "before")
    new, complaints = parse(written, "after")
    if old is None or new is None or complaints or new.checked != checked.strip() or not same(_as(old, new), new):
        raise LabgatewayError("`checked` cannot be written into this file; write it by hand, then accept it.")
    return written


def _as(old: Mapping, new: Mapping) -> Mapping:
    from dataclasses import replace

    return replace(old, checked=new.checked)


def _document(raw: bytes) -> Any:
    try:
        return tomlkit.parse(raw.decode("utf-8-sig"))
    except (TOMLKitError, UnicodeDecodeError, ValueError, RecursionError):
        raise LabgatewayError("The file cannot be read for writing; run `labgateway mapping check` on it.") from None
