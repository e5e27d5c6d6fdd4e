"""Cell-Dyn Emerald: what is not known of a message parks it; no result line vanishes."""

from __future__ import annotations

import pytest

from labgateway.cli.decode_command import library
from labgateway.errors import Reason
from labgateway.instruments.decode import Decoded, decode
from labgateway.model import Kind
from labgateway.protocols import emerald

DRIVER = library().drivers["abbott_celldyn_emerald"]


def said(*lines: str, mode: str = "NORMAL", unit: str = "1") -> Decoded:
    """What a message with these result lines says."""
    head = f"EMD22AL;1;7;LAB\rRESULT\rDATE;03/11/2026\rTIME;09:41:01\rMODE;{mode}\rUNIT;{unit}\rSID;4711\rBIRTH;14/08/1971\r"
    return decode(DRIVER, emerald.wrap((head + "\r".join(lines)).encode()))


def test_a_result_line() -> None:
    """Value, both flags, specimen, time and birth date; alarms are its comment."""
    (one,) = said("WBC;12.8  ;*;H;3.9  ;3.9  ;10.2 ;10.2 ", "ALARMS;L1;N2;").results
    assert (one.specimen, one.code, one.value, one.flags, one.comments) == (
        "4711",
        "WBC",
        "12.8",
        ("*", "H"),
        ("L1;N2",),
    )
    assert (str(one.measured_at), one.birth_date, one.problem) == ("2026-11-03 09:41:01", "19710814", None)


@pytest.mark.parametrize(
    ("mode", "unit"), [("NORMAL", "2"), ("NORMAL", ""), ("NORMAL", "10"), ("BLANK", "1"), ("", "1")]
)
def test_another_unit_system_or_mode_is_not_read(mode: str, unit: str) -> None:
    """What UNIT;2 or an unknown MODE means is not known: the whole message parks."""
    found = said("WBC;12.8;;;1;1;2;2", mode=mode, unit=unit)
    assert found.problem is not None
    assert found.problem.reason is Reason.UNREADABLE
    assert not found.results


@pytest.mark.parametrize(
    ("mode", "kind"), [("QC", Kind.CONTROL), ("REPEATABILITY", Kind.CONTROL), ("CALIBRATION", Kind.CALIBRATION)]
)
def test_no_control_is_a_patients(mode: str, kind: Kind) -> None:
    """A run that is no sample's, though it has an SID."""
    assert [one.kind for one in said("WBC;7.9 ;;;7.2 ;8.6 ", mode=mode).results] == [kind]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("WBC;12.8;;D;1;1;2;2", Reason.FLAG_UNKNOWN),
        ("WBC;12.8;?;;1;1;2;2", Reason.FLAG_UNKNOWN),
        ("MID%;8.1 ;;;1;1;2;2", Reason.CODE_UNKNOWN),
        ("GRA;-----;*;;1;1;2;2", Reason.CODE_UNKNOWN),
    ],
)
def test_what_is_not_known_parks(line: str, reason: Reason) -> None:
    """Another flag, another code."""
    (one,) = said(line).results
    assert one.problem is not None
    assert one.problem.reason is reason


def test_no_line_of_a_known_code_vanishes() -> None:
    """Whatever stands as its value is there, and what is no number is no number; lines of other kinds are no results."""
    found = said(
        "WBC;>99.9", "HGB;7,4;;;", "PLT;;;;", "MCV", "SEQ;9424;1", "TEST;DIF", "WBC CURVE;0;1;2;3;4;5;6;7"
    ).results
    assert [(one.code, one.value) for one in found if one.value or one.problem] == [("WBC", ">99.9"), ("HGB", "7,4")]
    assert [one.code for one in found] == ["WBC", "HGB", "PLT"]
    assert [one.value for one in said("WBC;-----;*;", "PLT;+++++;*;").results] == [None, None]
