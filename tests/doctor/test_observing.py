"""Bytes to counts: what each misbehaviour looks like on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.captures import Way, read_wire
from labgateway.doctor import Heard, Observed, Setting, best, observe, score
from labgateway.doctor.observing import shape_of
from labgateway.instruments.spec import Driver
from labgateway.protocols.astm_frames import frames
from tests.test_every_driver import CAPTURES, LIBRARY

RECORDS = b"H|\\^&|||    XN-1000^00-24^22723|||||||||20261122081500\rP|1\rO|1||^^S1^B|^^^^WBC\rR|1|^^^^WBC^1|5.2|10*3/uL||N||F\rL|1|N\r"
ORU = b"MSH|^~\\&|BC-5380|Mindray|||20261122081500||ORU^R01|7|P|2.3.1\rOBR|1||S1\r"


def heard(*pieces: tuple[str, bytes], at: float = 0.0, step: float = 0.1) -> list[Heard]:
    return [Heard(at + n * step, way, data) for n, (way, data) in enumerate(pieces)]  # type: ignore[arg-type]


def seen(pieces: list[Heard], driver: str = "sysmex_xn") -> Observed:
    return observe(
        pieces, LIBRARY.find(driver), LIBRARY, lambda at: datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    )


def session(*, hurt: bool = False, bare: bool = False) -> list[tuple[str, bytes]]:
    out = [("from", b"\x05"), ("to", b"\x06")]
    for frame in frames(RECORDS):
        check = frame[-4:-2]
        wrong = b"" if bare else (b"00" if check != b"00" else b"01") if hurt else check
        out += [("from", frame[:-4] + wrong + b"\r\n"), ("to", b"\x15" if hurt or bare else b"\x06")]
    return [*out, ("from", b"\x04")]


def test_a_good_session() -> None:
    """Frames, a message, its sender, its specimen; nothing wrong."""
    found = seen(heard(*session()))
    assert (found.seems, found.frames, found.bad_checksums, found.no_checksums, found.messages) == ("astm", 5, 0, 0, 1)
    assert (found.results, found.no_specimen, found.enquiries, found.acks, found.naks) == (1, 0, 1, 6, 0)
    assert found.senders == ("XN-1000",) and found.sender_fits and found.known_by == ("sysmex_xn",)


def test_each_misbehaviour_is_counted() -> None:
    """Checksums wrong or missing, repeats, contention, a foreign sender, no specimen, a clock that is off."""
    assert seen(heard(*session(hurt=True))).bad_checksums == 5
    assert seen(heard(*session(hurt=True))).naks == 5
    assert seen(heard(*session(bare=True))).no_checksums == 5
    first = session()
    assert seen(heard(*first[:4], first[2], first[2], *first[4:])).repeats == 2
    assert seen(heard(*[("to", b"\x05"), ("from", b"\x05")] * 3)).contentions == 3
    assert seen(heard(("to", b"\x05"), ("from", b"\x05"), step=5.0)).contentions == 0
    other = seen(heard(*session()), "roche_cobas_classic")
    assert not other.sender_fits and other.known_by == ("sysmex_xn",)
    clock = datetime(2026, 11, 22, 15, 15, tzinfo=UTC).timestamp()
    assert seen(heard(*session(), at=clock)).clock_s == pytest.approx(-7 * 3600, abs=5)
    empty = [(way, data) for way, data in session() if b"S1" not in data]
    assert seen(heard(*empty)).frames == 4


def test_hl7_and_other_shapes() -> None:
    """By its looks: MLLP, TLS, a browser, a raw text, noise; repeats of HL7 by the control id."""
    block = b"\x0b" + ORU + b"\x1c\r"
    found = seen(heard(("from", block), ("from", block)))
    assert (found.seems, found.repeats, found.frames) == ("hl7", 1, 2)
    assert shape_of(b"\x16\x03\x01\x02\x00\x01") == "tls"
    assert shape_of(b"GET / HTTP/1.1\r\n") == "web"
    assert shape_of(b"\x02D1210101 1.0\x03") == "raw"
    assert shape_of(b"\x05") == "astm"
    assert shape_of(b"") == ""
    noise = bytes(Random(1).choices(range(128, 256), k=200))
    assert seen(heard(("from", noise))).garbage > 0.9
    assert shape_of(noise) == ""


@pytest.mark.parametrize(("driver", "capture"), CAPTURES, ids=[f"{d.name}/{c.stem}" for d, c in CAPTURES])
def test_every_shipped_capture_is_healthy(driver: Driver, capture) -> None:  # type: ignore[no-untyped-def]
    """What instruments really send is no garbage, no wrong checksum, no other driver's."""
    if capture.suffix != ".wire":
        pytest.skip("no transcript")
    wire = read_wire(capture.read_bytes())
    pieces = [Heard(0.0, "from" if way is Way.FROM else "to", data) for way, data in wire.lines]
    found = observe(pieces, driver, LIBRARY, lambda _: datetime(2026, 11, 22))  # noqa: DTZ001
    assert found.garbage < 0.15
    assert found.sender_fits
    assert not (found.frames and found.bad_checksums == found.frames)


@given(pieces=st.lists(st.tuples(st.sampled_from(["from", "to"]), st.binary(min_size=1, max_size=40)), max_size=12))
def test_no_bytes_raise(pieces: list[tuple[str, bytes]]) -> None:
    """Whatever comes."""
    assert seen(heard(*pieces)).bytes_from >= 0


def test_the_setting_that_fits_is_found() -> None:
    """A right checksum beats readable text beats noise; of nothing nothing is said."""
    frame = next(iter(frames(b"H|\\^&\r")))
    noise = bytes(Random(2).choices(range(256), k=50))
    tried = [Setting(9600, 8, "none", noise), Setting(19200, 8, "none", frame), Setting(4800, 8, "none", b"")]
    assert best(tried) == (tried[1], True)
    assert score(b"\x05\x05\x05") >= 0.7 > score(noise)
    assert best([Setting(9600, 8, "none")]) == (None, False)
    assert best([Setting(9600, 8, "none", noise)])[1] is False
