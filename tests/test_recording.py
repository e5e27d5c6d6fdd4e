"""Transcripts without people: nothing of the canary is left, and the values are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.captures import Way, Wire, is_wire, open_capture, read_wire, wire_of, write_wire
from labgateway.captures.inventing import Sort, invent
from labgateway.instruments.decode import decode
from labgateway.instruments.spec import Driver
from labgateway.protocols import astm_frames
from labgateway.protocols.raw_framing import FRAMINGS, unframe, wrap
from labgateway.recording import Recorder, ScrubError, line_text, without_people

from .bless import captures_of
from .test_every_driver import DRIVERS, LIBRARY

TRANSCRIPTS = [(d, p) for d in DRIVERS for p in captures_of(d.folder) if p.suffix == ".wire"]

SPECIMEN, PATIENT, NAME, FIRST, BORN = "ZQ7341988", "BNXQ55171", "CANARYSON", "VĂN TRẦM", "19720815"
CANARY = (SPECIMEN, PATIENT, NAME, "TRẦM", BORN, "HẺM 12")
ASTM = [
    "H|\\^&|||    XN-1000^00-24^22723^^^^BD000001||||||||E1394-97",
    f"P|1||{PATIENT}||{NAME}^{FIRST}||{BORN}|M||12 HẺM 12, ĐÔNG ANH||0912345678|BS. LÊ",
    f"C|1||anh {FIRST} {NAME} goi lai, mau {SPECIMEN}",
    f"O|1||^^{SPECIMEN:>22}^B|^^^^WBC\\^^^^HGB|R|||||||||||||||||||F",
    "R|1|^^^^WBC^1|5.21|10*3/uL||N||F|||20260731|20261122081500",
    f"C|1||{SPECIMEN}: xem lai {NAME}",
    "R|2|^^^^HGB^1|13.4|g/dL||N||F||||20261122081500",
    "L|1|N",
]
QUERY = ["H|\\^&|||    XN-1000^00-24^22723", f"Q|1|000123^01^{SPECIMEN:>22}^B||^^^^WBC|0|||||||", "L|1|N"]


def said(driver: Driver, wire: Wire) -> list[tuple[object, ...]]:
    return [
        (r.kind, r.code, r.value, r.unit, r.flags, r.status, r.measured_at)
        for m in open_capture(wire.sent(), protocol=driver.protocol).messages
        for r in decode(driver, m).results
    ]


@pytest.mark.parametrize(("driver", "path"), TRANSCRIPTS, ids=[f"{d.name}/{p.stem}" for d, p in TRANSCRIPTS])
def test_every_shipped_capture_says_the_same_of_nobody(driver: Driver, path: Path) -> None:
    """Same values, frames undamaged, no byte moved; no patient's specimen, name or id is left."""
    wire = read_wire(path.read_bytes())
    clean = without_people(wire, driver, choose=Random(7).choice)
    assert said(driver, clean) == said(driver, wire)
    assert [(way, len(data)) for way, data in clean.lines] == [(way, len(data)) for way, data in wire.lines]
    for way in Way:
        if driver.protocol == "astm" and b"\x02" in wire.sent(way):
            assert astm_frames.unframe(clean.sent(way)).damage == astm_frames.unframe(wire.sent(way)).damage
        elif driver.protocol in FRAMINGS:
            framing = FRAMINGS[driver.protocol]
            assert unframe(clean.sent(way), framing).damage == unframe(wire.sent(way), framing).damage
    whole = (clean.sent() + clean.sent(Way.TO)).decode("utf-8", "replace")
    for message in open_capture(wire.sent(), protocol=driver.protocol).messages:
        for result in decode(driver, message).results:
            if result.kind.value in ("patient", "query"):
                for text in (result.specimen, result.patient, result.patient_name):
                    assert not text or len(text) < 6 or text in ("ALL",) or text not in whole or "ERR" in text


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(7, 300),
    packed=st.booleans(),
    seed=st.integers(0, 10**6),
    with_driver=st.booleans(),
    cut=st.integers(1, 400),
)
def test_nothing_of_the_canary_is_left(size: int, packed: bool, seed: int, with_driver: bool, cut: int) -> None:
    """However it was framed, with a repeat and a damaged frame between, both directions, with a driver or without."""
    driver = LIBRARY.find("sysmex_xn")
    assert isinstance(driver, Driver)
    frames = list(astm_frames.frames(("\r".join(ASTM) + "\r").encode(), size=size, packed=packed))
    at = seed % len(frames)
    damaged = frames[at].replace(b"|", b"!", 1) if frames[at].count(b"|") else frames[at][:-5] + b"\x03zz\r\n"
    stream = b"\x05" + b"".join([*frames[:at], damaged, frames[at], frames[at], *frames[at + 1 :]]) + b"\x04"
    stream += b"\x05" + b"".join(astm_frames.frames(("\r".join(QUERY) + "\r").encode())) + b"\x04"
    host = b"\x05" + b"".join(astm_frames.frames(("\r".join(ASTM[:4]) + "\rL|1|N\r").encode())) + b"\x04"
    lines = [(Way.FROM, stream[n : n + cut]) for n in range(0, len(stream), cut)]
    wire = Wire((("shows", f"specimen {SPECIMEN}"),), (*lines, (Way.TO, host)))
    clean = without_people(wire, driver if with_driver else None, choose=Random(seed).choice)
    text = write_wire(clean).decode("utf-8", "replace") + (clean.sent() + clean.sent(Way.TO)).decode("utf-8", "replace")
    for canary in CANARY:
        assert canary not in text
    assert said(driver, clean) == said(driver, wire)
    undone = astm_frames.unframe(clean.sent(Way.TO))
    assert not undone.damage
    asked = [m.split(b"\rQ|1|")[1].split(b"^")[2] for m in astm_frames.unframe(clean.sent()).messages if b"\rQ|" in m]
    answered = undone.messages[0].split(b"\rO|1||")[1].split(b"^")[2]
    assert asked == [answered]


def test_hl7_without_people() -> None:
    """PID, PV1 and their texts in notes; values stay; the picture of an ED is blank."""
    driver = LIBRARY.find("mindray_bc")
    assert isinstance(driver, Driver)
    message = (
        "MSH|^~\\&|BC-5380|Mindray|||20261122081500||ORU^R01|7|P|2.3.1||||||UNICODE\r"
        f"PID|1||{PATIENT}^^^^MR||{NAME}^{FIRST}||{BORN}|Nam\rPV1|1|Ngoại trú|Khoa {NAME}\r"
        f"OBR|1||{SPECIMEN}|00001^Automated Count^99MRC||||||||||||||||||HM||||{NAME}\r"
        "OBX|1|NM|6690-2^WBC^LN||5.21|10*9/L|4.00-10.00|N|||F\r"
        f"OBX|2|ED|15008^WBC Histogram^99MRC||^Image^BMP^Base64^{'QkTA' * 30}||||||F\r"
        f"NTE|1||{SPECIMEN} cua {NAME}\r"
    ).encode()
    wire = wire_of([message], [], protocol="hl7")
    clean = without_people(wire, driver, choose=Random(3).choice)
    text = clean.sent().decode()
    for canary in CANARY:
        assert canary not in text
    assert "QkTA" not in text
    assert said(driver, clean) == said(driver, wire)
    assert "|Nam\r" in text


def test_orders_of_a_raw_framing_without_people() -> None:
    """Whose orders the host told is nowhere in what the instrument said; it is gone, and the sums fit."""
    driver = LIBRARY.find("siemens_dimension")
    assert isinstance(driver, Driver)
    framing = FRAMINGS["dimension"]
    told = f"D\x1c0\x1c0\x1cA\x1c{PATIENT}\x1c{SPECIMEN}\x1c1\x1c\x1c0\x1c1\x1c**\x1c1\x1c1\x1cGLUC\x1c"
    wire = Wire(
        (),
        (
            (Way.FROM, wrap(f"I\x1c{SPECIMEN}\x1c".encode(), framing)),
            (Way.TO, b"\x06" + wrap(told.encode(), framing)),
            (Way.FROM, b"\x06"),
        ),
    )
    clean = without_people(wire, driver)
    both = clean.sent() + clean.sent(Way.TO)
    assert PATIENT.encode() not in both and SPECIMEN.encode() not in both
    undone = unframe(clean.sent(Way.TO), framing)
    assert not undone.damage and undone.texts[0].endswith(b"\x1c1\x1cGLUC\x1c")


def test_a_person_inside_a_value_is_refused() -> None:
    """Values are never changed; then nothing is given out at all."""
    driver = LIBRARY.find("generic_astm")
    assert isinstance(driver, Driver)
    records = list(ASTM)
    records[4] = f"R|1|^^^NOTE|{SPECIMEN}|g/L||N||F||||20261122081500"
    records[3] = f"O|1|{SPECIMEN}||^^^NOTE|R"
    wire = wire_of([("\r".join(records) + "\r").encode()], [], protocol="astm")
    with pytest.raises(ScrubError, match="Nothing was written"):
        without_people(wire, driver)


def test_controls_keep_their_names() -> None:
    """A control's id is nobody's, and changed it would become a patient's."""
    driver = LIBRARY.find("sysmex_xn")
    assert isinstance(driver, Driver)
    records = [r.replace(f"{SPECIMEN:>22}", f"{'QC-12345678':>22}") for r in ASTM]
    wire = wire_of([("\r".join(records) + "\r").encode()], [], protocol="astm")
    clean = without_people(wire, driver)
    assert b"QC-12345678" in clean.sent()
    assert said(driver, clean) == said(driver, wire)


def test_what_has_no_known_form_is_refused() -> None:
    """No message, or neither ASTM nor HL7 and no driver: nothing is guessed."""
    with pytest.raises(ScrubError, match="no readable message"):
        without_people(Wire((), ((Way.FROM, b"\r\n"),)), None)
    with pytest.raises(ScrubError, match="--driver"):
        without_people(Wire((), ((Way.FROM, b"\x02D12345 1.0\x03"),)), None)


@given(text=st.text("ABCxyz0123456789 ^-ÀắƠđ", max_size=30), sort=st.sampled_from(Sort), seed=st.integers(0, 999))
def test_invented_texts_are_as_long(text: str, sort: Sort, seed: int) -> None:
    """Byte for byte; letters stay letters, digits digits, everything else stays as it was."""
    made = invent(text.encode(), sort, Random(seed).choice)
    assert len(made) == len(text.encode())
    if sort is not Sort.BIRTH:
        for old, new in zip(text, made.decode(), strict=True):
            assert (old.isalpha(), old.isdigit()) == (new.isalpha(), new.isdigit())
            assert old == new or old.isalnum()


@pytest.mark.parametrize("date", ["19720815", "1972-08-15", "15/08/1972", "197208151030", "720815"])
def test_an_invented_birth_date_is_a_date(date: str) -> None:
    """Of the same form, and never the same."""
    made = invent(date.encode(), Sort.BIRTH, Random(1).choice).decode()
    assert made != date
    assert [c.isdigit() for c in made] == [c.isdigit() for c in date]


@given(chunks=st.lists(st.tuples(st.sampled_from(list(Way)), st.binary(min_size=1, max_size=9)), max_size=20))
def test_a_recording_holds_every_byte(chunks: list[tuple[Way, bytes]]) -> None:
    """However it came in pieces: the transcript, read again, has the same bytes each way, turn by turn."""
    recorder = Recorder()
    lines = [line for way, data in chunks for line in recorder.feed(way, data)]
    lines += recorder.rest()
    text = "".join(line_text(way, data) for way, data in lines).encode()
    again = read_wire(text)
    for way in Way:
        assert again.sent(way) == b"".join(data for one, data in chunks if one is way)
    assert not lines or is_wire(text)
    assert replace(again, lines=()).lines == ()
