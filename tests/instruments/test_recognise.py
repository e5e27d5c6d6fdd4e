"""Exactly one driver, or none."""

from __future__ import annotations

from pathlib import Path

from labgateway.instruments.driver import load
from labgateway.instruments.library import Library
from labgateway.instruments.recognise import candidates, recognise

TEXT = """schema = 1
title = "t"
maker = "m"
protocol = "{protocol}"
sources = ["s"]
codes = "open"
[recognise]
{rule}
[where]
specimen = "{o}"
code = "{r}"
value = "{r}"
"""


def library(folder: Path, **rules: tuple[str, str]) -> Library:
    drivers = []
    for name, (protocol, rule) in rules.items():
        place = folder / name
        place.mkdir()
        o, r = ("O-3", "R-4") if protocol == "astm" else ("SPM-2", "OBX-5")
        (place / "driver.toml").write_text(TEXT.format(protocol=protocol, rule=rule, o=o, r=r))
        drivers.append(load(place))
    return Library(drivers)


HEADER = b"H|\\^&|||  XN-550^00-24|||||||P|1\rL|1|N\r"


def test_the_whole_sender_must_match(tmp_path: Path) -> None:
    """Padding is off, a part of the name is not enough."""
    known = library(tmp_path, a=("astm", r"sender = 'XN-\d+'"), b=("astm", "sender = 'XN'"))
    found = recognise(HEADER, known)
    assert found is not None
    assert found.name == "a"
    assert recognise(HEADER.replace(b"XN-550", b"XN-550B"), known) is None


def test_two_claims_are_none(tmp_path: Path) -> None:
    """When two drivers know the sender nobody is chosen."""
    known = library(tmp_path, a=("astm", r"sender = 'XN-\d+'"), b=("astm", "sender = 'X.*'"))
    assert recognise(HEADER, known) is None
    assert len(candidates(HEADER, known)) == 2


def test_the_protocol_must_fit(tmp_path: Path) -> None:
    """An HL7 driver never takes an ASTM message; a driver without rules takes nothing."""
    known = library(tmp_path, a=("hl7", "sender = '.*'"), b=("astm", ""))
    assert recognise(HEADER, known) is None
    found = recognise(b"MSH|^~\\&|Any||||||ORU^R01\r", known)
    assert found is not None
    assert found.name == "a"


def test_conditions_look_into_the_message(tmp_path: Path) -> None:
    """Where the sender is empty, other fields of the first rows may say who it is; sender and when both count."""
    rule = """sender = 'A|A\\^B'\nwhen = [{ "OBR-4.3" = '^99X$' }, { "ORC-1" = '^RF$' }]"""
    known = library(tmp_path, a=("hl7", rule))
    assert recognise(b"MSH|^~\\&|A|B|||||ORU^R01\rOBR|1|||1^2^99X\r", known)
    assert recognise(b"\x0bMSH|^~\\&|A||||||ORM^O01\rORC|RF\r\x1c\r", known)
    assert recognise(b"MSH|^~\\&|A||||||ORU^R01\rOBR|1|||1^2^99Y\r", known) is None
    assert recognise(b"MSH|^~\\&|C||||||ORU^R01\rOBR|1|||1^2^99X\r", known) is None


def test_garbage_is_nobodys(tmp_path: Path) -> None:
    """Bytes of no protocol are recognised by nobody."""
    known = library(tmp_path, a=("astm", "sender = '.*'"))
    assert recognise(b"", known) is None
    assert recognise(b"\x00\xff\x02junk", known) is None
