"""Two readers of HL7 that are not ours judge what we send.

hl7apy validates structure and data types against the version in MSH-12; python-hl7 reads every field back.
"""

from __future__ import annotations

import re
from typing import Any

import hl7
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message


def validate(message: bytes) -> None:
    """Raise when hl7apy, strict, finds the message to be no valid ORU^R01 of the version that it names.

    OBX-21 is taken out first: v2.5.1 reserves it for the meaning that v2.6 gives it, DESIGN 5.5 and IHE LAW
    use it so, and hl7apy, which knows only the letter of v2.5.1, allows nothing there. A long FT is shortened:
    hl7apy judges every OBX-5 by the 199 characters of ST, whatever OBX-2 says. Its v2.4 forgot that OBX-8 repeats.
    """
    text = message.decode()
    version = text.split("|", 12)[11]
    lines = []
    for line in text.split("\r"):
        fields = line.split("|")
        if fields[0] == "OBX" and len(fields) > 21:
            fields[21] = ""
        if fields[:1] == ["OBX"] and fields[2:3] == ["FT"]:
            fields[5] = fields[5][:199]
        if fields[:1] == ["OBX"] and version == "2.4" and len(fields) > 8:
            fields[8] = fields[8].split("~")[0]
        lines.append("|".join(fields).rstrip("|"))
    parsed = parse_message("\r".join(lines), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert parsed.validate()
    names = [str(child.name) for child in list(parsed.children or ())]
    group = "ORU_R01_RESPONSE" if version == "2.3" else "ORU_R01_PATIENT_RESULT"
    assert names == ["MSH", group], f"segments outside their groups: {names}"


def read_back(message: bytes) -> Any:
    """The message in python-hl7's tree."""
    return hl7.parse(message.decode())


def structure(message: bytes) -> str:
    """Names of the segments in order."""
    return " ".join(str(segment[0]) for segment in read_back(message))


def field(segment: Any, number: int) -> str:
    """Raw text of a field as python-hl7 has it; empty when the segment is shorter."""
    return str(segment[number]) if len(segment) > number else ""


def parts(message: Any, segment: Any, number: int) -> list[str]:
    """The components of a field's first repetition, unescaped by python-hl7."""
    raw = field(segment, number).split("~")[0]
    return [str(message.unescape(part)) for part in raw.split("^")]


STRUCTURE = re.compile(r"MSH PID( PV1)?( ORC OBR( OBX( NTE)*)+ SPM)+")
"""DESIGN 5.5."""
