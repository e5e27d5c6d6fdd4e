"""Order messages: what they ask for, on whose specimen, and which field is wrong when they cannot be used."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.model import Action, Patient, Priority
from labgateway.orders import OrderMessage, OrderRules, PatientMerge, Refusal, read_orders
from labgateway.orders.fields import read_moment
from labgateway.protocols import hl7
from labgateway.protocols.hl7 import AckCode, ErrorCode

CAPTURES = Path(os.environ.get("LABGATEWAY_CAPTURES", Path(__file__).parents[3] / "shared" / "captures"))
RULES = OrderRules("emr", "Asia/Ho_Chi_Minh")
PID = "PID|1||BN-0417^^^BVTH^MR~079188000417^^^VN^NI||ĐẶNG^THỊ BÍCH NGỌC^^^^^L||19880417|F"
PV1 = "PV1|1|I|K-NOI^P203^G2^BVTH"


def message(
    *rows: str, kind: str = "OML^O21^OML_O21", version: str = "2.5.1", charset: str = "UNICODE UTF-8"
) -> hl7.Message:
    msh = f"MSH|^~\\&|HIS|BVTH|LABGATEWAY|XN|20261122081500||{kind}|M-1|P|{version}||||||{charset}"
    return hl7.read("".join(row + "\r" for row in (msh, *rows)).encode())


def asked(read: OrderMessage | Refusal) -> OrderMessage:
    assert isinstance(read, OrderMessage), read
    return read


def refused(read: OrderMessage | Refusal) -> Refusal:
    assert isinstance(read, Refusal), read
    return read


def orders(
    *rows: str, kind: str = "OML^O21^OML_O21", version: str = "2.5.1", rules: OrderRules = RULES
) -> OrderMessage:
    return asked(read_orders(message(*rows, kind=kind, version=version), rules))


def faults(
    *rows: str, kind: str = "OML^O21^OML_O21", rules: OrderRules = RULES
) -> list[tuple[int, str, int, int, int]]:
    refusal = refused(read_orders(message(*rows, kind=kind), rules))
    assert refusal.code is AckCode.ERROR
    assert all(fault.text for fault in refusal.faults)
    return [(f.code.value, f.segment, f.sequence, f.field, f.component) for f in refusal.faults]


def placed(asked: OrderMessage) -> list[tuple[str, str, str]]:
    return [(one.order.specimen, one.order.placer, one.order.code) for one in asked.orders]


def test_every_field_of_an_order() -> None:
    """Patient, ward, tests, times and priority stand where DESIGN 5.4 says; field text keeps all its parts."""
    [one] = orders(
        PID, PV1,
        "ORC|NW|P-9^HIS|F-7|G-1|||^^^^^R",
        "TQ1|1||||||||S^STAT^HL70485",
        "OBR|1|P-9^HIS|F-7^LIS|CBC^Công thức máu^L|||20261122074500",
        "SPM|1|2611220031&BARCODE^X||EDTA^Máu toàn phần^L|||||||||||||20261122073000",
    ).orders  # fmt: skip
    order = one.order
    assert (one.action, one.group) == (Action.NEW, 0)
    assert order.source == "emr"
    assert (order.specimen, order.placer, order.filler) == ("2611220031", "P-9^HIS", "F-7^LIS")
    assert (order.code, order.service) == ("CBC", "CBC^Công thức máu^L")
    assert order.patient == Patient(
        "BN-0417", "BN-0417^^^BVTH^MR~079188000417^^^VN^NI", "ĐẶNG^THỊ BÍCH NGỌC^^^^^L", "19880417", "F"
    )
    assert (order.ward, order.patient_class) == ("K-NOI^P203^G2^BVTH", "I")
    assert order.specimen_type == "EDTA^Máu toàn phần^L"
    assert order.collected_at == datetime(2026, 11, 22, 0, 45, tzinfo=UTC)
    assert order.collected_text == "20261122074500"
    assert order.priority is Priority.STAT


def test_o21_specimen_behind_its_orders() -> None:
    """One ORC for several OBR: the specimen behind them is theirs; each ORC has its own."""
    found = orders(
        PID,
        "ORC|NW|A", "OBR|1|A1||GLU", "NTE|1||x", "OBR|2|A2||UREA", "SPM|1|S1",
        "ORC|NW|B", "OBR|3|B||CBC", "SPM|2|S2", "OBX|1|NM|TEMP||20",
    )  # fmt: skip
    assert placed(found) == [("S1", "A1", "GLU"), ("S1", "A2", "UREA"), ("S2", "B", "CBC")]
    assert [one.group for one in found.orders] == [0, 1, 2]


def test_o21_each_obr_with_its_specimen() -> None:
    """Within one ORC a specimen closes the run of OBR before it."""
    found = orders(PID, "ORC|NW|A", "OBR|1|A1||GLU", "SPM|1|S1", "OBR|2|A2||UGLU", "OBR|3|A3||UPRO", "SPM|2|S2")
    assert placed(found) == [("S1", "A1", "GLU"), ("S2", "A2", "UGLU"), ("S2", "A3", "UPRO")]


def test_o33_specimen_before_its_orders() -> None:
    """O33: a specimen heads all orders up to the next; a container within it too."""
    found = orders(
        PID,
        "SPM|1|S1||SER", "SAC|||C1", "ORC|NW|A", "TQ1|1||||||||A", "OBR|1|A||GLU", "ORC|NW|B", "OBR|2|B||UREA",
        "SPM|2|S2||EDTA", "ORC|NW|C", "OBR|3|C||CBC",
        kind="OML^O33^OML_O33",
    )  # fmt: skip
    assert placed(found) == [("S1", "A", "GLU"), ("S1", "B", "UREA"), ("S2", "C", "CBC")]
    assert [one.order.priority for one in found.orders] == [Priority.ASAP, Priority.ROUTINE, Priority.ROUTINE]
    assert [one.order.specimen_type for one in found.orders] == ["SER", "SER", "EDTA"]


def test_containers_under_one_specimen() -> None:
    """{SPM {SAC {ORC OBR}}}: without SPM-2 each container is what its own orders are on."""
    found = orders(
        PID, "SPM|1|||SER", "SAC|||C1", "ORC|NW|A", "OBR|1|A||GLU", "SAC|||C2", "ORC|NW|B", "OBR|2|B||UREA",
        kind="OML^O33^OML_O33",
    )  # fmt: skip
    assert placed(found) == [("C1", "A", "GLU"), ("C2", "B", "UREA")]


def test_one_test_on_several_specimens_or_aliquots() -> None:
    """A test on two tubes is an order on each; so are aliquots; a repeated id is one order."""
    two = orders(PID, "ORC|NW|A", "OBR|1|A||BC", "SPM|1|S1||AER", "SPM|2|S2||ANA", "SPM|3|S1")
    assert placed(two) == [("S1", "A", "BC"), ("S2", "A", "BC")]
    assert [one.order.specimen_type for one in two.orders] == ["AER", "ANA"]
    aliquots = orders(PID, "ORC|NW|A", "OBR|1|A||TSH", "SPM|1", "SAC|||C1", "SAC|||C2")
    assert placed(aliquots) == [("C1", "A", "TSH"), ("C2", "A", "TSH")]


def test_orm_with_the_specimen_in_obr_3() -> None:
    """ORM^O01 2.3 has no SPM: the id stands in OBR-3, the type in OBR-15, the priority in OBR-27.6."""
    [one] = orders(
        PID, "ORC|NW|P1", "OBR|1|P1|2611220044|GLU^Glucose|||202611220730||||||||SER^Huyết thanh||||||||||||^^^^^S",
        kind="ORM^O01", version="2.3",
    ).orders  # fmt: skip
    assert (one.order.specimen, one.order.filler) == ("2611220044", "2611220044")
    assert one.order.specimen_type == "SER^Huyết thanh"
    assert one.order.priority is Priority.STAT


def test_container_behind_obr_in_2_4() -> None:
    """OML^O21 of 2.4 knows only SAC, behind the OBR."""
    assert placed(orders(PID, "ORC|NW|A", "OBR|1|A||GLU", "SAC|||C1", version="2.4")) == [("C1", "A", "GLU")]


def test_placer_of_obr_else_of_orc() -> None:
    """OBR-2 counts; where it is empty ORC-2 does, also for the filler number."""
    found = orders(PID, "ORC|NW|A|F", "OBR|1|||GLU", "OBR|2|A2|F2|UREA", "SPM|1|S1")
    assert [(one.order.placer, one.order.filler) for one in found.orders] == [("A", "F"), ("A2", "F2")]


@pytest.mark.parametrize(("control", "action"), [(a.value, a) for a in Action])
def test_actions(control: str, action: Action) -> None:
    """NW, CA, XO and DC are what is understood."""
    assert orders(PID, f"ORC|{control}|A", "OBR|1|A||GLU", "SPM|1|S1").orders[0].action is action


@pytest.mark.parametrize("control", ["CA", "DC"])
def test_a_cancel_needs_only_the_placer(control: str) -> None:
    """Without OBR or specimen all of the placer number is meant; with them only these."""
    [bare] = orders(f"ORC|{control}|A^HIS").orders
    assert (bare.order.placer, bare.order.code, bare.order.specimen) == ("A^HIS", "", "")
    [narrow] = orders(PID, f"ORC|{control}|A", "OBR|1|A||GLU", "SPM|1|S1").orders
    assert (narrow.order.code, narrow.order.specimen) == ("GLU", "S1")
    assert faults(PID, f"ORC|{control}", "OBR|1|||GLU") == [(101, "ORC", 1, 2, 0)]


@pytest.mark.parametrize("control", ["NW", "XO"])
def test_what_is_missing_is_named(control: str) -> None:
    """Specimen, placer, test and OBR: each is refused with its segment, its number and its field."""
    good = [PID, "ORC|NW|Z", "OBR|1|Z||GLU", "SPM|1|S0"]
    assert faults(*good, f"ORC|{control}|A", "OBR|2|A||GLU", "SPM|2") == [(101, "SPM", 2, 2, 1)]
    assert faults(*good, f"ORC|{control}|A", "OBR|2|A||GLU") == [(101, "SPM", 2, 2, 1)]
    assert faults(*good, f"ORC|{control}", "OBR|2|||GLU", "SPM|2|S1") == [(101, "OBR", 2, 2, 0)]
    assert faults(*good, f"ORC|{control}|A", "OBR|2|A||^Glucose", "SPM|2|S1") == [(101, "OBR", 2, 4, 1)]
    assert faults(*good, f"ORC|{control}|A") == [(100, "ORC", 2, 0, 0)]
    assert faults(PID, f"ORC|{control}|A", "OBR|1|A||GLU", 'SPM|1|""') == [(101, "SPM", 1, 2, 1)]


def test_all_faults_come_at_once() -> None:
    """An EMR's programmer sees every mistake of a message in one answer, each once, but not thousands."""
    found = faults(
        PID, "ORC|NW|A", "OBR|1|A", "ORC|QQ|B", "OBR|2|B||GLU", "OBR|3|B||GLU", "ORC|NW", "OBR|4|||GLU", "SPM|1|S"
    )
    assert found == [(101, "OBR", 1, 4, 1), (101, "SPM", 1, 2, 1), (103, "ORC", 2, 1, 0), (101, "OBR", 4, 2, 0)]
    assert len(faults(PID, *["ORC|NW", "OBR"] * 100)) == 20


def test_never_a_neighbours_specimen() -> None:
    """An order without a specimen is refused, though the orders before and behind it have one."""
    assert faults(PID, "ORC|NW|A", "OBR|1|A||GLU", "ORC|NW|B", "OBR|2|B||UREA", "SPM|1|S2") == [(101, "SPM", 1, 2, 1)]
    assert faults(PID, "ORC|NW|A", "OBR|1|A||GLU", "SPM|1|S1", "ORC|NW|B", "OBR|2|B||UREA") == [(101, "SPM", 2, 2, 1)]
    assert faults(PID, "ORC|NW|A", "OBR|1|A||GLU", "SPM|1|S1", "OBR|2|B||UREA") == [(101, "SPM", 2, 2, 1)]
    assert faults(PID, "ORC|NW|A", "OBR|1|A||BC", "SPM|1|S1", "SPM|2") == [(101, "SPM", 2, 2, 1)]
    two = ["SPM|1|S1", "ORC|NW|A", "OBR|1|A||GLU", "SPM|2", "ORC|NW|B", "OBR|2|B||UREA"]
    assert faults(PID, *two, kind="OML^O33") == [(101, "SPM", 2, 2, 1)]


def test_never_a_placer_number_by_default() -> None:
    """Placer numbers in ORC-2 and OBR-2 are no specimen id unless the site says so."""
    rows = (PID, "ORC|NW|A", "OBR|1|A||GLU")
    assert faults(*rows) == [(101, "SPM", 1, 2, 1)]
    assert placed(orders(*rows, rules=OrderRules("emr", specimen_id=("OBR-2.1",)))) == [("A", "A", "GLU")]


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        (("ORC|NW|A", "SPM|1|S1", "OBR|1|A||GLU", "SPM|2|S2"), ("SPM", 2)),
        (("ORC|NW|A", "OBR|1|A||GLU", "SAC|||C1", "SPM|1|S1"), ("SPM", 1)),
        (("SPM|1|S1", "SPM|2|S2", "ORC|NW|A", "OBR|1|A||GLU"), ("SPM", 1)),
        (("SPM|1|S1", "ORC|NW|A", "OBR|1|A||GLU", "SPM|2|S2"), ("SPM", 2)),
        (("SPM|1|S1", "ORC|NW|A", "OBR|1|A||GLU", "SPM|2|S2", "OBR|2|B||GLU"), ("OBR", 2)),
        (("OBR|1|A||GLU", "ORC|NW|A", "OBR|2|A||GLU", "SPM|1|S1"), ("OBR", 1)),
        (("ORC|NW|A", "OBR|1|A||GLU", "SPM|1|S1", "PID|2||BN-2", "ORC|NW|B", "OBR|2|B||GLU", "SPM|2|S2"), ("PID", 2)),
        (("PID|2||BN-2", "ORC|NW|A", "OBR|1|A||GLU", "SPM|1|S1"), ("PID", 2)),
        ((), ("ORC", 1)),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(rows: tuple[str, ...], where: tuple[str, int]) -> None:
    """Structures with two meanings, a second patient, an orphan: segment sequence error at its place."""
    assert (100, *where, 0, 0) in faults(PID, *rows)


def test_a_specimen_between_orc_and_obr() -> None:
    """ORC SPM OBR: it stands within the ORC, so it is its own."""
    assert placed(orders(PID, "ORC|NW|A", "SPM|1|S1", "OBR|1|A||GLU")) == [("S1", "A", "GLU")]


layout = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.lists(st.integers(1, 99).map(lambda n: f"S{n}"), max_size=2, unique=True),
    ),
    min_size=1,
    max_size=6,
)


@given(layout=layout, specimen_first=st.booleans())
def test_every_order_has_its_own_specimens(layout: list[tuple[int, list[str]]], specimen_first: bool) -> None:
    """However many ORC, OBR and specimens: each order is on its own group's ids, or the message is refused."""
    rows, wanted, bare = [PID], list[tuple[str, str, str]](), 0
    for number, (obrs, specimens) in enumerate(layout):
        ids = specimens[:1] if specimen_first else specimens
        spms = [f"SPM|1|{one}" for one in ids] or (["SPM|1"] if specimen_first else [])
        body = [f"ORC|NW|P{number}", *(f"OBR|1|P{number}.{n}||T{n}" for n in range(obrs))]
        rows += [*spms, *body] if specimen_first else [*body, *spms]
        wanted += [(one, f"P{number}.{n}", f"T{n}") for n in range(obrs) for one in ids]
        bare += not ids
    read = read_orders(message(*rows), RULES)
    if bare:
        assert {fault.segment for fault in refused(read).faults} == {"SPM"}
    else:
        assert placed(asked(read)) == wanted


segments = st.sampled_from(
    [
        PID,
        PV1,
        "ORC|NW|A",
        "ORC|CA|A",
        "ORC",
        "OBR|1|A||GLU",
        "OBR",
        "SPM|1|S1",
        "SPM",
        "SAC|||C1",
        "TQ1|1",
        "NTE|1||x",
        "MRG|X",
        "ZZZ",
    ]
)
kinds = st.sampled_from(["OML^O21", "OML^O33", "ORM^O01", "ADT^A40", "ADT^A08", "ORU^R01", "", "OML"])


@given(rows=st.lists(segments, max_size=12), kind=kinds)
def test_any_order_of_segments_is_read_or_refused(rows: list[str], kind: str) -> None:
    """Whatever stands where, there is an answer; and what is placed is complete."""
    read = read_orders(message(*rows, kind=kind), RULES)
    if isinstance(read, Refusal):
        assert read.faults
        return
    for one in read.orders:
        if one.action in (Action.NEW, Action.CHANGE):
            assert one.order.specimen in ("S1", "C1")
            assert (one.order.placer, one.order.code) == ("A", "GLU")


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Garbage behind a good header, and garbage alone, raise nothing."""
    read_orders(hl7.read(data), RULES)
    read_orders(hl7.read(message(PID).data + data), RULES)


@pytest.mark.parametrize(
    ("kind", "code", "component"),
    [
        ("ORU^R01^ORU_R01", ErrorCode.UNSUPPORTED_MESSAGE_TYPE, 1),
        ("", ErrorCode.UNSUPPORTED_MESSAGE_TYPE, 1),
        ("OML^O35", ErrorCode.UNSUPPORTED_EVENT, 2),
        ("ORM^O02", ErrorCode.UNSUPPORTED_EVENT, 2),
        ("ADT^A01", ErrorCode.UNSUPPORTED_EVENT, 2),
    ],
)
def test_other_messages_are_rejected(kind: str, code: ErrorCode, component: int) -> None:
    """AR names MSH-9: the type (200) or the event (201)."""
    refusal = refused(read_orders(message(PID, kind=kind), RULES))
    assert refusal.code is AckCode.REJECT
    [fault] = refusal.faults
    assert (fault.code, fault.segment, fault.field, fault.component) == (code, "MSH", 9, component)


def test_what_is_no_hl7_is_rejected() -> None:
    """Bytes without MSH are AR 200 as a whole."""
    refusal = refused(read_orders(hl7.read(b"GET / HTTP/1.1"), RULES))
    assert (refusal.code, refusal.faults[0].segment) == (AckCode.REJECT, "")


def test_the_event_may_stand_in_the_structure() -> None:
    """OML^^OML_O33 is O33."""
    assert orders(PID, "SPM|1|S1", "ORC|NW|A", "OBR|1|A||GLU", kind="OML^^OML_O33").orders


def test_bytes_in_another_character_set_are_refused() -> None:
    """A name that cannot be read would come back wrong with every result: AE at MSH-18."""
    good = message(PID, "ORC|NW|A", "OBR|1|A||GLU", "SPM|1|S1")
    bad = hl7.read(good.data.replace("Đ".encode(), b"\xd0"))
    [fault] = refused(read_orders(bad, RULES)).faults
    assert (fault.code, fault.segment, fault.field) == (ErrorCode.DATA_TYPE, "MSH", 18)


def test_other_delimiters_become_the_standard_ones() -> None:
    """Field text is kept in the standard delimiters, escapes and all, whatever the sender uses."""
    odd = hl7.read(
        "MSH$@!*%$HIS$$$$$$OML@O21$1$P$2.5\rPID$1$$7@@@H@MR!8$$LÊ@VĂN^A@@~x\rORC$NW$A@HIS\r"
        "OBR$1$A@HIS$$CBC@Huyết %đồ%\rSPM$1$S1%x\r".encode()
    )
    order = asked(read_orders(odd, RULES)).orders[0].order
    assert order.patient.pid3 == "7^^^H^MR~8"
    assert order.patient.pid5 == "LÊ^VĂN\\S\\A^^\\R\\x"
    assert (order.placer, order.specimen, order.service) == ("A^HIS", "S1", "CBC^Huyết &đồ&")


def test_the_patient_id_of_the_wanted_type() -> None:
    """patient_id_type picks the repetition by CX.5; without one the first counts; none of the type is none."""
    rows = (PID, "ORC|NW|A", "OBR|1|A||GLU", "SPM|1|S1")
    for wanted, expected in (("", "BN-0417"), ("NI", "079188000417"), ("MR", "BN-0417"), ("XX", None)):
        rules = OrderRules("emr", patient_id_type=wanted)
        assert orders(*rows, rules=rules).orders[0].order.patient.id == expected
    assert orders(*rows[1:]).orders[0].order.patient == Patient(None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20261122", datetime(2026, 11, 21, 17, tzinfo=UTC)),
        ("2026112208", datetime(2026, 11, 22, 1, tzinfo=UTC)),
        ("202611220815", datetime(2026, 11, 22, 1, 15, tzinfo=UTC)),
        ("20261122081500.1234", datetime(2026, 11, 22, 1, 15, tzinfo=UTC)),
        ("20261122081500+0900", datetime(2026, 11, 21, 23, 15, tzinfo=UTC)),
        ("20261122081500-0330", datetime(2026, 11, 22, 11, 45, tzinfo=UTC)),
        ("20261122081500+00:00", datetime(2026, 11, 22, 8, 15, tzinfo=UTC)),
        ("20261322", None), ("20260230", None), ("2026112225", None), ("2026", None), ("202611", None),
        ("2026-11-22", None), ("22/11/2026", None), ("", None), ("00010101+2359", None), ("99991231235959-2359", None),
        ("20261122081500+9900", None), ("٢٠٢٦١١٢٢", None),
    ],
)  # fmt: skip
def test_moments(text: str, expected: datetime | None) -> None:
    """HL7 times become UTC by their own offset or the site's zone; the impossible and the vague are none."""
    assert read_moment(text, ZoneInfo("Asia/Ho_Chi_Minh")) == expected


@pytest.mark.parametrize(
    ("obr7", "spm17", "text", "hour"),
    [("20261122080000", "20261122090000", "20261122080000", 1), ("", "20261122090000^20261122093000", "20261122090000", 2),
     ("hôm nay", "20261122090000", "20261122090000", 2), ("hôm nay", "", "hôm nay", None), ("", "", "", None)],
)  # fmt: skip
def test_collection_time(obr7: str, spm17: str, text: str, hour: int | None) -> None:
    """OBR-7, else SPM-17; what is impossible is kept as text, and the order is taken all the same."""
    [one] = orders(PID, "ORC|NW|A", f"OBR|1|A||GLU|||{obr7}", f"SPM|1|S1|||||||||||||||{spm17}").orders
    assert one.order.collected_text == text
    assert (one.order.collected_at.hour if one.order.collected_at else None) == hour


@pytest.mark.parametrize(
    ("orc7", "tq1", "obr27", "expected"),
    [("S", "", "", "S"), ("", "S", "", "S"), ("", "", "S", "S"), ("R", "A", "S", "A"), ("STAT", "", "", "S"),
     ("", "asap", "", "A"), ("ROUTINE", "", "", "R"), ("", "N", "", "R"), ("", "", "", "R")],
)  # fmt: skip
def test_priority(orc7: str, tq1: str, obr27: str, expected: str) -> None:
    """TQ1-9, else ORC-7.6, else OBR-27.6; an unknown word is routine."""
    rows = (f"ORC|NW|A|||||^^^^^{orc7}", f"TQ1|1||||||||{tq1}", f"OBR|1|A||GLU{'|' * 23}^^^^^{obr27}", "SPM|1|S1")
    assert orders(PID, *rows).orders[0].order.priority == expected


# Patients


def test_merge() -> None:
    """A40: each PID takes over the orders of the MRG behind it, by the same kind of identifier."""
    mrg = "MRG|079000000999^^^VN^NI~BN-0999^^^BVTH^MR"
    [first, second] = orders(PID, mrg, PV1, "PID|2||BN-2^^^BVTH^MR||LÝ^AN", "MRG|BN-3^^^BVTH^MR", kind="ADT^A40^ADT_A39",
                             rules=OrderRules("emr", patient_id_type="MR")).merges  # fmt: skip
    assert (first.survivor.id, first.merged, first.ward) == ("BN-0417", ("BN-0999",), "K-NOI^P203^G2^BVTH")
    assert first.survivor.pid5 == "ĐẶNG^THỊ BÍCH NGỌC^^^^^L"
    assert second == PatientMerge(Patient("BN-2", "BN-2^^^BVTH^MR", "LÝ^AN"), ("BN-3",))


def test_only_the_first_prior_identifier_without_a_type() -> None:
    """A second number in MRG-1 may be another person's in another numbering: it merges nothing."""
    [merge] = orders(PID, "MRG|BN-5^^^BVTH~417^^^OTHER", kind="ADT^A40").merges
    assert merge.merged == ("BN-5",)


def test_update() -> None:
    """A08: the same patient, new particulars."""
    [merge] = orders(PID, PV1, kind="ADT^A08^ADT_A01").merges
    assert (merge.survivor.id, merge.merged) == ("BN-0417", ("BN-0417",))


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ((PID,), (101, "MRG", 1, 1, 1)),
        ((PID, "MRG|^^^BVTH^MR"), (101, "MRG", 1, 1, 1)),
        (("PID|1||^^^BVTH^MR", "MRG|BN-5"), (101, "PID", 1, 3, 1)),
        (("EVN|A40",), (100, "PID", 1, 0, 0)),
    ],
)
def test_a_merge_without_identifiers_is_refused(rows: tuple[str, ...], fault: tuple[int, str, int, int, int]) -> None:
    """Survivor and prior identifier are both needed; the one that is missing is named."""
    assert faults(*rows, kind="ADT^A40") == [fault]


@pytest.mark.captures
@pytest.mark.skipif(not CAPTURES.is_dir(), reason="no folder of reference captures (LABGATEWAY_CAPTURES)")
def test_captures_of_emrs() -> None:
    """What is known of the reference orders: taken with these ids and tests, or refused for this field."""
    expected: dict[str, list[tuple[str, str]] | tuple[str, int]] = {
        "oml_o21_hospital_ar": ("SPM", 2),
        "oml_o21_malawi": ("ORC", 1),
        "oml_o21_nhs": ("SPM", 2),
        "oml_o33_atellica_like": [("23072810081", "2951-2")],
        "oml_o33_halia": [("1", "CBC"), ("1", "DIF")],
        "oml_o33_hl7apy": [("100187400201", "TPO")],
        "oml_o33_law_nhapi": [("Found_TT1_TT2_SER_098", "TT1"), ("Found_TT1_TT2_SER_098", "TT2")],
        "orm_o01_bahmni": ("SPM", 2),
        "orm_o01_vietnamese": ("SPM", 2),
    }
    files = sorted(CAPTURES.glob("orders_from_emr/*.hl7"))
    assert files
    for file in files:
        match read_orders(hl7.read(file.read_bytes()), RULES):
            case OrderMessage(found):
                assert [(one.order.specimen, one.order.code) for one in found] == expected[file.stem], file.name
            case Refusal(code, why):
                assert code is AckCode.ERROR
                assert (why[0].segment, why[0].field) == expected[file.stem], file.name
