"""The difference of two configs."""

from __future__ import annotations

from pathlib import Path

from labgateway.config import Config, diff
from labgateway.config.reading import parse

TEXT = """\
[instrument.a]
driver = "x"
mapping = "a.toml"
line = { kind = "tcp-listen", port = 1 }
[instrument.b]
driver = "x"
mapping = "b.toml"
line = { kind = "tcp-listen", port = 2 }
[orders.emr]
kind = "mllp-listen"
port = 3
[destination.emr]
kind = "mllp"
host = "h"
port = 4
"""


def read(text: str) -> Config:
    return parse(text.encode(), Path("/site/config.toml"))


def test_nothing_differs() -> None:
    """A comment is no change."""
    assert not diff(read(TEXT), read("# hello\n" + TEXT))


def test_added_removed_changed() -> None:
    """Each name lands in exactly the list it belongs to."""
    new = TEXT.replace("[instrument.a]", "[instrument.c]").replace("port = 2", "port = 22").replace("= 4", "= 44")
    changes = diff(read(TEXT), read(new.replace("[orders.emr]", "[orders.his]")))
    assert (changes.instruments.added, changes.instruments.removed) == (("c",), ("a",))
    assert changes.instruments.changed == changes.lines == ("b",)
    assert (changes.orders.added, changes.orders.removed, changes.orders.changed) == (("his",), ("emr",), ())
    assert changes.destinations.changed == ("emr",)
    assert not changes.gateway
    assert not changes.restart


def test_a_mapping_or_release_keeps_the_line() -> None:
    """Another mapping file or release does not ask for a new connection; another driver does."""
    changes = diff(read(TEXT), read(TEXT.replace('"a.toml"', '"a2.toml"\nrelease = "manual"')))
    assert changes.instruments.changed == ("a",)
    assert changes.lines == ()
    assert diff(read(TEXT), read(TEXT.replace('"x"', '"y"', 1))).lines == ("a",)


def test_what_only_a_restart_takes() -> None:
    """Another database asks for a restart; other matching rules do not."""
    assert diff(read(TEXT), read('[store]\nurl = "sqlite:///x.db"\n' + TEXT)).restart
    matching = diff(read(TEXT), read("[matching]\nwait_h = 1\n" + TEXT))
    assert matching.gateway
    assert not matching.restart
