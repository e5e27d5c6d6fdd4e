"""Acknowledgments: what each device wants, judged by hl7apy and python-hl7."""

from __future__ import annotations

from datetime import datetime
from unicodedata import normalize

import hl7 as python_hl7
import pytest
from hl7apy.core import Message
from hl7apy.parser import parse_segments
from hl7apy.validation import Validator
from hypothesis import given
from hypothesis import strategies as st

from labgateway.protocols import hl7
from labgateway.protocols.hl7 import AckCode, AckMode, AckProfile, ErrorCode, Fault

NOW = datetime(2026, 11, 22, 8, 15, 0)  # noqa: DTZ001  MSH-7 is written as given
FAULT = Fault(ErrorCode.REQUIRED_FIELD_MISSING, "No specimen id.", "SPM", 1, 2, 1)


def sent(
    version: str = "2.5.1", msh9: str = "ORU^R01^ORU_R01", modes: str = "|", charset: str = "UNICODE UTF-8"
) -> hl7.Message:
    text = f"MSH|^~\\&|XN|KHOA XÉT NGHIỆM|EMR|BV|20261122||{msh9}|MSG-7|P|{version}|||{modes}||{charset}\rPID|1\r"
    return hl7.read(text.encode())


def ack(
    message: hl7.Message, code: AckCode = AckCode.ACCEPT, profile: AckProfile = hl7.STANDARD_ACK, **rest: object
) -> hl7.Message:
    error = rest.get("error", ())
    assert isinstance(error, Fault | tuple)
    data = hl7.acknowledge(message, code, now=NOW, control_id="OUR-1", error=error, profile=profile)
    return hl7.read(data)


def row(message: hl7.Message, name: str) -> str:
    return next("|".join(r.fields) for r in message.rows if r.name == name)


def test_the_whole_answer() -> None:
    """Sender and receiver change places, MSA-2 is the sender's MSH-10, the charset is echoed, CR ends all."""
    data = hl7.acknowledge(sent(), AckCode.ACCEPT, now=NOW, control_id="OUR-1")
    assert data.decode() == (
        "MSH|^~\\&|EMR|BV|XN|KHOA XÉT NGHIỆM|20261122081500||ACK^R01^ACK|OUR-1|P|2.5.1||||||UNICODE UTF-8\r"
        "MSA|AA|MSG-7\r"
    )


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("2.2", "ACK"),
        ("2.3", "ACK"),
        ("2.3.1", "ACK^R01"),
        ("2.4", "ACK^R01^ACK"),
        ("2.5.1", "ACK^R01^ACK"),
        ("", "ACK^R01^ACK"),
    ],
)
def test_kind_and_version(version: str, kind: str) -> None:
    """MSH-9 has the form of the version, and the version is echoed."""
    answer = ack(sent(version))
    assert answer.header.raw(9) == kind
    assert answer.header.raw(12) == (version or "2.5.1")


@pytest.mark.parametrize(
    ("modes", "good", "bad"),
    [
        ("|", "AA", "AE"),
        ("AL|NE", "CA", "CE"),
        ("AL|", "CA", "CE"),
        ("NE|AL", "AA", "AE"),
        ("AL|AL", "AA", "AE"),
        ("ER|AL", "AA", "AE"),
        ("ER|NE", "AA", "CE"),
        ("NE|NE", "AA", "AE"),
        ("|0", "AA", "AE"),
    ],
)
def test_mode_follows_msh_15_and_16(modes: str, good: str, bad: str) -> None:
    """Enhanced codes only when an accept acknowledgment is asked for and no application one."""
    assert row(ack(sent(modes=modes)), "MSA") == f"MSA|{good}|MSG-7"
    assert row(ack(sent(modes=modes), AckCode.ERROR), "MSA") == f"MSA|{bad}|MSG-7"


def test_a_profile_rules() -> None:
    """Every quirk of HL7.md 3.3 can be said by a profile."""
    mindray = AckProfile(
        mode=AckMode.ORIGINAL, kind="ACK^{event}", sender=("", ""), receiver=("Mindray", "BS-480"),
        accept_text="Message accepted", msa6="0", msh16="0", charset="ASCII",
    )  # fmt: skip
    data = hl7.acknowledge(sent("2.3.1", modes="|2"), AckCode.ACCEPT, now=NOW, control_id="1", profile=mindray)
    assert data == (
        b"MSH|^~\\&|||Mindray|BS-480|20261122081500||ACK^R01|1|P|2.3.1||||0||ASCII\rMSA|AA|MSG-7|Message accepted|||0\r"
    )
    odd = AckProfile(
        mode=AckMode.ENHANCED, kind="ACK", version="2.4", echo_control_id=True, err_zero=True, final_cr=False
    )
    data = hl7.acknowledge(sent(), AckCode.ACCEPT, now=NOW, control_id="x", profile=odd)
    assert b"||ACK|MSG-7|P|2.4|" in data
    assert data.endswith(b"\rMSA|CA|MSG-7\rERR|0")


def test_error_by_version() -> None:
    """From 2.5 ERR names place, code, severity and text; before, ERR-1 holds place and code."""
    new = ack(sent("2.5.1"), AckCode.ERROR, error=FAULT)
    assert row(new, "ERR") == "ERR||SPM^1^2^1^1|101^Required field missing^HL70357|E||||No specimen id."
    old = ack(sent("2.3.1"), AckCode.ERROR, error=FAULT)
    assert row(old, "ERR") == "ERR|SPM^1^2^101&Required field missing&HL70357"


def test_several_errors_by_version() -> None:
    """Each fault is named: by an ERR of its own from 2.5, by a repetition of ERR-1 before; a whole message has no place."""
    faults = (Fault(ErrorCode.SEGMENT_SEQUENCE, "No.", "OBR", 2), Fault(ErrorCode.UNSUPPORTED_EVENT, "Not this."))
    new = ack(sent("2.5"), AckCode.ERROR, error=faults)
    assert ["|".join(r.fields) for r in new.rows[2:]] == [
        "ERR||OBR^2|100^Segment sequence error^HL70357|E||||No.",
        "ERR|||201^Unsupported event code^HL70357|E||||Not this.",
    ]
    old = ack(sent("2.4"), AckCode.ERROR, error=faults)
    assert ["|".join(r.fields) for r in old.rows[2:]] == [
        "ERR|OBR^2^^100&Segment sequence error&HL70357~^^^201&Unsupported event code&HL70357"
    ]


def test_what_has_no_header_can_be_refused() -> None:
    """An answer to something that is no HL7 is still a message."""
    assert hl7.acknowledge(hl7.read(b"?"), AckCode.REJECT, now=NOW, control_id="1") == (
        b"MSH|^~\\&|||||20261122081500||ACK|1|P|2.5.1\rMSA|AR\r"
    )


def test_bytes_go_back_in_the_senders_character_set() -> None:
    """A Latin-1 sender gets its own name back in Latin-1, also when it declares something else."""
    for charset in ("8859/1", "UNICODE UTF-8", ""):
        text = f"MSH|^~\\&|cobas®||||||ORU^R01|1|P|2.5||||||{charset}\r".encode("latin-1")
        assert b"|cobas\xae|" in hl7.acknowledge(hl7.read(text), AckCode.ACCEPT, now=NOW, control_id="1")


def test_other_delimiters_are_answered_in_the_standard_ones() -> None:
    """What is echoed is re-encoded: same parts, standard delimiters."""
    message = hl7.read(b"MSH#*!?+#XN*2.16*ISO#A^B####ORU*R01#7#P#2.5\r")
    answer = ack(message)
    assert answer.delimiters.field == "|"
    assert answer.header.raw(5) == "XN^2.16^ISO"
    assert answer.header.raw(6) == "A\\S\\B"


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1"])
@pytest.mark.parametrize("code", list(AckCode))
def test_hl7apy_validates(version: str, code: AckCode) -> None:
    """An independent library finds nothing wrong with our acknowledgments, with and without ERR."""
    error = () if code is AckCode.ACCEPT else FAULT
    data = hl7.acknowledge(sent(version), code, now=NOW, control_id="OUR-1", text="words", error=error)
    # hl7apy finds a structure only by MSH-9.3, which versions before 2.4 do not have: so it is named here.
    judge = Message("ACK", version=version)
    judge.children = parse_segments(data.decode(), version, references=judge.reference, find_groups=True)
    assert Validator.validate(judge)


@given(
    control_id=st.text(max_size=12),
    sender=st.text(max_size=12),
    text=st.text(max_size=12),
    code=st.sampled_from(AckCode),
    version=st.sampled_from(["2.3", "2.3.1", "2.5.1", "x"]),
)
def test_python_hl7_reads_every_answer(control_id: str, sender: str, text: str, code: AckCode, version: str) -> None:
    """Whatever stands in the header, the answer is one message of MSH, MSA and ERR that others can read."""
    header = hl7.segment(
        "MSH", "^~\\&", hl7.escape(sender), "", "", "", "", "", "ORU^R01", hl7.escape(control_id), "P", version
    )
    message = hl7.read(header.encode())
    fault = Fault(ErrorCode.DATA_TYPE, text, "OBX", 2, 5)
    data = hl7.acknowledge(message, code, now=NOW, control_id="1", text=text, error=fault)
    parsed = python_hl7.parse(data.decode())
    assert [str(segment[0]) for segment in parsed] == ["MSH", "MSA", "ERR"]
    answer = hl7.read(data)

    def as_read(said: str) -> str:
        """Composed (NFC), and a byte 0 as the mark of what cannot be read: here as everywhere."""
        return normalize("NFC", said).replace("\0", "\ufffd")

    assert answer.rows[1].value(2) == as_read(control_id)
    assert answer.header.value(5) == as_read(sender)
    assert answer.rows[1].value(3) == as_read(text)
