"""Facts about the machine to findings, a row each."""

from __future__ import annotations

import pytest

from labgateway.doctor import HostFacts, examine
from labgateway.doctor.host import _WORDS  # pyright: ignore[reportPrivateUsage]

CASES = [
    ("config_bad", HostFacts(complaints=2)),
    ("sqlite_old", HostFacts(sqlite="Python's SQLite is 3.40.1")),
    ("data_not_writable", HostFacts(data="/data", writable=False)),
    ("data_open", HostFacts(open_to="everybody")),
    ("disk_low", HostFacts(free_mb=100)),
    ("disk_slow", HostFacts(fsync_ms=250)),
    ("clock_wrong", HostFacts(year=1970)),
    ("not_synced", HostFacts(synced=False)),
    ("ports_taken", HostFacts(ports=(5101,))),
    ("not_running", HostFacts(running=False)),
    ("no_service", HostFacts(systemd=False)),
    ("host_well", HostFacts(free_mb=90000, fsync_ms=1.0, synced=True, systemd=True)),
]


@pytest.mark.parametrize(("name", "facts"), CASES, ids=[name for name, _ in CASES])
def test_each_finding(name: str, facts: HostFacts) -> None:
    """One finding, its words filled in both languages."""
    (found,) = examine(facts)
    assert found.name == name
    for lang in ("en", "vi"):
        assert all(words and "{" not in words for words in found.said(lang))


def test_every_finding_has_a_case_and_the_worst_comes_first() -> None:
    """No finding without a test."""
    assert {name for name, _ in CASES} == set(_WORDS)
    assert [one.name for one in examine(HostFacts(synced=False, sqlite="old"))] == ["sqlite_old", "not_synced"]
