"""No text, TOML or not, gets anything but a Config or complaints."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labgateway.config import Config
from labgateway.config.reading import parse
from labgateway.errors import ComplaintsError

KEYS = st.sampled_from(
    [
        *("gateway", "store", "matching", "instrument", "orders", "destination", "console", "name", "kind"),
        *("line", "driver", "mapping", "host", "port", "allow", "url", "data", "drivers", "timezone", "listen"),
        *("specimen_id", "specimen_pattern", "second_ids", "instruments", "shadow", "status", "xn1", "emr", "answer_s"),
    ]
) | st.text(max_size=5)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["tcp", "tcp-listen", "serial", "mllp", "mllp-listen", "UTC", "127.0.0.1:80", "[", "/", "0.0.0.0"]),
    st.text(max_size=8),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.booleans(),
    st.just(date(2026, 1, 1)),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def good_or_complaints(raw: bytes) -> None:
    try:
        assert isinstance(parse(raw, Path("/site/config.toml")), Config)
    except ComplaintsError as error:
        assert error.complaints
        assert all(c.what and c.cure for c in error.complaints)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@settings(max_examples=200, deadline=None)
def test_any_toml(data: dict[str, Any]) -> None:
    """Whatever TOML can hold is taken or complained about."""
    good_or_complaints(tomlkit.dumps(data).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200) | st.text(alphabet="[]{}=\"'\n#.,xn1", max_size=60).map(str.encode))
@example(b"a = " + b"9" * 5000)
@example(b"a = " + b"[" * 3000)
@settings(max_examples=200, deadline=None)
def test_any_bytes(raw: bytes) -> None:
    """Whatever bytes a file may hold are taken or complained about."""
    good_or_complaints(raw)
