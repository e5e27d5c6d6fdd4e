"""Answers to order messages, judged by hl7apy (structure) and python-hl7 (can others read it)."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from pathlib import Path
from unicodedata import normalize
from zoneinfo import ZoneInfo

import hl7 as python_hl7
import pytest
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_segments
from hl7apy.validation import Validator
from hypothesis import given
from hypothesis import strategies as st

from labgateway.orders import OrderMessage, OrderRules, Refusal, answer, could_not_store, read_orders
from labgateway.protocols import hl7
from labgateway.protocols.hl7 import AckMode, AckProfile

CAPTURES = Path(os.environ.get("LABGATEWAY_CAPTURES", Path(__file__).parents[3] / "shared" / "captures"))
NOW = datetime(2026, 11, 22, 8, 15, 0, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))
RULES = OrderRules("emr", "Asia/Ho_Chi_Minh")
PID = "PID|1||BN-0417^^^BVTH^MR||ĐẶNG^THỊ BÍCH NGỌC^^^^^L||19880417|F"
ORDER = (PID, "ORC|{}|P1^HIS|F1|G1", "OBR|1|P1^HIS|F1|CBC^Công thức máu^L", "SPM|1|S1||EDTA^Máu^L")


def message(*rows: str, kind: str = "OML^O21^OML_O21", version: str = "2.5.1", modes: str = "|") -> hl7.Message:
    msh = f"MSH|^~\\&|HIS|BVTH|LABGATEWAY|XN|20261122081500||{kind}|M-1|P|{version}|||{modes}||UNICODE UTF-8"
    return hl7.read("".join(row + "\r" for row in (msh, *rows)).encode())


def reply(asked: hl7.Message, outcome: OrderMessage | Refusal | None = None, **rest: object) -> str:
    outcome = read_orders(asked, RULES) if outcome is None else outcome
    unable = rest.get("unable", ())
    assert isinstance(unable, tuple)
    return answer(asked, outcome, now=NOW, control_id="OUR-1", unable=unable).decode()


def judged(text: str, structure: str, version: str) -> list[str]:
    """What hl7apy finds wrong. The structure is named, since it does not know all MSH-9 forms.

    Left aside: it demands every alternative of ORR's choice (OBR or RQD or ...) at once, and in 2.3 alone
    the quantity and timing of ORC-7 and OBR-27, which an order may leave out and we do not invent.
    """
    judge = Message(structure, version=version)
    judge.children = parse_segments(text, version, references=judge.reference, find_groups=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report")
        try:
            Validator.validate(judge, report_file=str(report))
        except HL7apyException:
            pass
        found = report.read_text().splitlines()
    aside = (".RQD", ".RQ1", ".RXO", ".ODS", ".ODT", *((".ORC_7", ".OBR_27") if version == "2.3" else ()))
    return [one for one in found if one.startswith("Error") and not one.endswith(aside)]


def controls(text: str) -> list[tuple[str, str]]:
    return [(row.value(1), row.value(2, 1)) for row in hl7.read(text.encode()).rows if row.name == "ORC"]


def test_the_whole_answer() -> None:
    """Sender and receiver change places, MSA-2 is their MSH-10, ORC-1 OK with placer, filler and group echoed."""
    assert reply(message(*(row.format("NW") for row in ORDER))) == (
        "MSH|^~\\&|LABGATEWAY|XN|HIS|BVTH|20261122081500+0700||ORL^O22^ORL_O22|OUR-1|P|2.5.1||||||UNICODE UTF-8\r"
        "MSA|AA|M-1\r"
        "PID|1||BN-0417^^^BVTH^MR||ĐẶNG^THỊ BÍCH NGỌC^^^^^L\r"
        "ORC|OK|P1^HIS|F1|G1\r"
        "OBR|1|P1^HIS|F1|CBC^Công thức máu^L\r"
    )


@pytest.mark.parametrize(
    ("control", "done", "not_done"), [("NW", "OK", "UA"), ("CA", "CR", "UC"), ("DC", "DR", "UD"), ("XO", "XR", "UX")]
)
def test_each_control_has_its_answer(control: str, done: str, not_done: str) -> None:
    """Table 0119: done as asked, or unable, whether that one order could not be done or all are refused."""
    asked = message(*(row.format(control) for row in ORDER))
    assert controls(reply(asked)) == [(done, "P1")]
    assert controls(reply(asked, unable=(0,))) == [(not_done, "P1")]
    assert "\rMSA|AA|" in reply(asked, unable=(0,))
    refused = reply(asked, could_not_store())
    assert controls(refused) == [(not_done, "P1")]
    assert (
        "\rMSA|AE|M-1|Could not be stored; send it again.\rERR|||207^Application internal error^HL70357|E|" in refused
    )


def test_a_test_on_two_tubes_is_done_when_one_is() -> None:
    """One ORC, several specimens: unable only when it could be done for none."""
    asked = message(PID, "ORC|CA|A", "OBR|1|A||BC", "SPM|1|S1||AER", "SPM|2|S2||ANA")
    assert [controls(reply(asked, unable=u)) for u in ((), (0,), (0, 1))] == [
        [("CR", "A")],
        [("CR", "A")],
        [("UC", "A")],
    ]


def test_several_obr_of_one_orc_are_several_orc_of_the_answer() -> None:
    """The answer's structure has one OBR an ORC."""
    text = reply(message(PID, "ORC|NW|A", "OBR|1|A1||GLU", "OBR|2|A2||UREA", "SPM|1|S1||SER"))
    assert [row.name for row in hl7.read(text.encode()).rows[2:]] == ["PID", "ORC", "OBR", "ORC", "OBR"]
    assert not judged(text, "ORL_O22", "2.5.1")


def test_a_refusal_names_the_field() -> None:
    """AE with segment, number, field and component in ERR-2, the code in ERR-3, words in ERR-8 and MSA-3."""
    text = reply(message(PID, "ORC|NW|A", "OBR|1|A||GLU"))
    words = "No specimen id in SPM-2.1 or SAC-3.1 or OBR-3.1 for OBR 1."
    assert f"\rMSA|AE|M-1|SPM-2.1: {words}\r" in text
    assert f"\rERR||SPM^1^2^1^1|101^Required field missing^HL70357|E||||{words}\r" in text
    assert controls(text) == [("UA", "A")]


@pytest.mark.parametrize(
    ("kind", "msh9", "code", "error"),
    [
        ("ORU^R01^ORU_R01", "ACK^R01^ACK", "AR", "MSH^1^9^1^1|200^"),
        ("OML^O35^OML_O35", "ACK^O35^ACK", "AR", "MSH^1^9^1^2|201^"),
        ("ADT^A40^ADT_A39", "ACK^A40^ACK", "AE", "MRG^1^1^1^1|101^"),
    ],
)
def test_what_is_answered_by_ack(kind: str, msh9: str, code: str, error: str) -> None:
    """AR for what we do not take; ADT is answered by ACK."""
    text = reply(message(PID, kind=kind))
    assert f"||{msh9}|OUR-1|" in text
    assert f"\rMSA|{code}|M-1|" in text
    assert f"\rERR||{error}" in text
    assert not judged(text, "ACK", "2.5.1")


def test_adt_done() -> None:
    """A merge that was taken is an ACK^A40 with AA."""
    text = reply(message(PID, "MRG|BN-5", kind="ADT^A40^ADT_A39"))
    assert text.split("\r")[1:] == ["MSA|AA|M-1", ""]


@pytest.mark.parametrize("modes", ["|", "AL|", "AL|NE", "NE|AL", "NE|NE"])
def test_always_the_original_mode(modes: str) -> None:
    """AA, AE and AR whatever MSH-15 and 16 say (IHE uses only the original mode here)."""
    assert "\rMSA|AA|M-1\r" in reply(message(*(row.format("NW") for row in ORDER), modes=modes))


def test_o33_without_a_patient_is_answered_as_law_does() -> None:
    """ORL_O42 has no PID; O21 has no such form, so only MSA is left there."""
    rows = ("SPM|1|S1||SER", "ORC|NW|A", "OBR|1|A||GLU", "ORC|NW|B", "OBR|2|B||UREA")
    text = reply(message(*rows, kind="OML^O33^OML_O33"))
    assert "||ORL^O34^ORL_O42|" in text
    assert text.split("\r")[2:-1] == ["SPM|1|S1||SER", "ORC|OK|A", "OBR|1|A||GLU", "ORC|OK|B", "OBR|2|B||UREA"]
    assert reply(message("ORC|NW|A", "OBR|1|A||GLU", "SPM|1|S1")).split("\r")[1:] == ["MSA|AA|M-1", ""]


def test_a_profile_for_odd_emrs() -> None:
    """Fixed MSH-3 and 4 and a fixed version are the profile's."""
    profile = AckProfile(mode=AckMode.ORIGINAL, sender=("LABGATEWAY", "THIENHANH"), version="2.3")
    asked = message(*(row.format("NW") for row in ORDER))
    data = answer(asked, read_orders(asked, RULES), now=NOW, control_id="1", profile=profile)
    assert data.startswith(b"MSH|^~\\&|LABGATEWAY|THIENHANH|HIS|BVTH|20261122081500||ORL^O22|1|P|2.3|")


def test_the_judge_judges() -> None:
    """hl7apy does find a lost MSA, a stray segment and a missing required field."""
    good = reply(message(*(row.format("NW") for row in ORDER)))
    assert not judged(good, "ORL_O22", "2.5.1")
    for bad in (
        good.replace("MSA|AA|M-1\r", ""),
        good.replace("PID|", "EVN|"),
        good.replace("|CBC^Công thức máu^L", ""),
    ):
        assert judged(bad, "ORL_O22", "2.5.1")


VERSIONS = {
    "OML^O21": ("ORL_O22", ("2.4", "2.5", "2.5.1")),
    "OML^O33": ("ORL_O34", ("2.5", "2.5.1")),
    "ORM^O01": ("ORR_O02", ("2.3", "2.3.1", "2.4", "2.5", "2.5.1")),
}


@pytest.mark.parametrize(("kind", "version"), [(kind, v) for kind, (_, versions) in VERSIONS.items() for v in versions])
@pytest.mark.parametrize("broken", [False, True])
def test_hl7apy_validates(kind: str, version: str, broken: bool) -> None:
    """In every version that knows the message, the answer to good and to refused orders is valid."""
    spm = ["SPM|1|S1||EDTA^Máu^L"] if version >= "2.5" else []
    head, tail = (spm, []) if kind == "OML^O33" else ([], spm)
    obr = "OBR|{0}|P{0}^HIS|{1}|CBC^Công thức máu^L"
    rows = [PID, *head]
    for number in (1, 2):
        rows += [f"ORC|NW|P{number}^HIS|F{number}", obr.format(number, "" if broken else "S1"), *tail]
    if broken:
        rows = [row.replace("SPM|1|S1|", "SPM|1||") for row in rows]
    asked = message(*rows, kind=kind, version=version)
    text = reply(asked)
    assert f"\rMSA|{'AE' if broken else 'AA'}|" in text
    assert controls(text) == [("UA" if broken else "OK", "P1"), ("UA" if broken else "OK", "P2")]
    assert not judged(text, VERSIONS[kind][0], version)
    assert (f"^{VERSIONS[kind][0]}|" in text) is (version >= "2.4")


segments = st.sampled_from(
    [PID, "ORC|NW|A", "ORC|CA|A", "ORC", "OBR|1|A||GLU", "OBR", "SPM|1|S1", "SAC|||C1", "MRG|X", "NTE"]
)
kinds = st.sampled_from(["OML^O21", "OML^O33", "ORM^O01", "ADT^A40", "ORU^R01", "", "X\\F\\Y"])


@given(
    rows=st.lists(st.one_of(segments, st.text(max_size=20)), max_size=10),
    kind=kinds,
    version=st.sampled_from(["2.3", "2.5.1", "", "x"]),
)
def test_others_can_read_every_answer(rows: list[str], kind: str, version: str) -> None:
    """Any message gets exactly one answer that python-hl7 reads, with MSA second and the control id echoed."""
    asked = message(*rows, kind=kind, version=version)
    parsed = python_hl7.parse(reply(asked))
    names = [str(segment[0]) for segment in parsed]
    assert names[:2] == ["MSH", "MSA"]
    assert set(names[2:]) <= {"ERR", "PID", "SPM", "ORC", "OBR"}
    assert str(parsed[1][2]) == "M-1"
    assert str(parsed[1][1]) in ("AA", "AE", "AR")
    assert (str(parsed[1][1]) == "AA") is ("ERR" not in names)


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_what_is_echoed_adds_nothing(text: str) -> None:
    """Any text but a byte 0, which is refused, in a placer number or name comes back as it was, and adds no field or segment."""
    raw = hl7.escape(text)
    asked = message(f"PID|1||7||{raw}^AN", f"ORC|NW|A{raw}", "OBR|1|||GLU", "SPM|1|S1")
    rows = hl7.read(reply(asked).encode()).rows
    assert [row.name for row in rows] == ["MSH", "MSA", "PID", "ORC", "OBR"]
    assert rows[3].value(2, 1).strip() == normalize("NFC", f"A{text}").strip()  # what is read is composed


@pytest.mark.captures
@pytest.mark.skipif(not CAPTURES.is_dir(), reason="no folder of reference captures (LABGATEWAY_CAPTURES)")
def test_answers_to_captures() -> None:
    """Each reference order gets an answer that python-hl7 reads, AA exactly when it was taken."""
    files = sorted(CAPTURES.glob("orders_from_emr/*.hl7"))
    assert files
    for file in files:
        asked = hl7.read(file.read_bytes())
        outcome = read_orders(asked, RULES)
        parsed = python_hl7.parse(answer(asked, outcome, now=NOW, control_id="1").decode(asked.charset))
        assert (str(parsed[1][1]) == "AA") is isinstance(outcome, OrderMessage), file.name
        assert str(parsed[1][2]) == asked.control_id, file.name
