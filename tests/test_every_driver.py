"""The sweep: what must hold for every driver, whoever writes it. No network, no port, no clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.captures import Way, read_capture, read_wire
from labgateway.cli.decode_command import as_object, shipped_drivers
from labgateway.errors import Reason
from labgateway.instruments import quirks
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import FILE, Driver, load
from labgateway.instruments.library import Library
from labgateway.instruments.recognise import candidates
from labgateway.instruments.spec import TABLE
from labgateway.protocols import astm_frames, mllp
from labgateway.protocols.astm_events import Frame
from labgateway.protocols.astm_link import Link
from labgateway.protocols.emerald_receiver import receiver_for
from labgateway.protocols.raw_framing import FRAMINGS, unframe, wrap

from .bless import captures_of, expected_file, expected_text

FOLDERS = sorted(p.parent for p in shipped_drivers().glob(f"*/{FILE}"))
DRIVERS = [load(folder) for folder in FOLDERS]
LIBRARY = Library(DRIVERS)
CAPTURES = [(driver, capture) for driver in DRIVERS for capture in captures_of(driver.folder)]
BY_NAME_ONLY = [d for d in DRIVERS if d.recognise.sender is None and not d.recognise.when]

every_driver = pytest.mark.parametrize("driver", DRIVERS, ids=lambda d: d.name)
every_capture = pytest.mark.parametrize(
    ("driver", "capture"), CAPTURES, ids=[f"{driver.name}/{capture.stem}" for driver, capture in CAPTURES]
)


def test_there_are_drivers() -> None:
    """The sweep sweeps over something."""
    assert len(DRIVERS) >= 45
    assert not Library.of([shipped_drivers()]).broken


@every_driver
def test_a_driver_has_its_papers(driver: Driver) -> None:
    """Notes with sources and what is not verified, and at least one capture."""
    notes = (driver.folder / "NOTES.md").read_text()
    assert "## Sources" in notes
    assert "## Not verified" in notes
    assert captures_of(driver.folder)
    assert driver.models
    assert driver.sources


@every_driver
def test_quirks_are_real(driver: Driver) -> None:
    """Every quirk that is named exists and says what deviates."""
    for name in driver.quirks:
        function = (quirks.SPECIMEN | quirks.TEXT | quirks.RESULT)[name]  # pyright: ignore[reportOperatorIssue]
        assert function.__doc__


@every_driver
def test_every_declared_test_is_shown(driver: Driver) -> None:
    """Each code of [tests] stands in a capture of ours, or in not_shown; never in both."""
    shown = {
        result.code
        for capture in captures_of(driver.folder)
        for message in read_capture(capture.read_bytes(), protocol=driver.protocol)
        for result in decode(driver, message).results
    }
    declared = set(driver.tests)
    assert declared - shown == set(driver.not_shown)


@every_capture
def test_a_capture_says_what_its_expected_file_says(driver: Driver, capture: Path) -> None:
    """Key by key; `make bless` rewrites the file, the reviewer reads the difference."""
    expected = expected_file(capture)
    assert json.loads(expected_text(driver, capture)) == json.loads(expected.read_text())


@every_capture
def test_a_capture_has_its_header(driver: Driver, capture: Path) -> None:
    """A transcript says which instrument, from which source, and what it shows; it is clean by its own framing."""
    if capture.suffix != ".wire":
        pytest.skip("no transcript")
    wire = read_wire(capture.read_bytes())
    assert {"instrument", "source", "shows"} <= {name for name, _ in wire.header}
    if driver.protocol == "astm" and b"\x02" in wire.sent():
        assert not astm_frames.unframe(wire.sent()).damage


@every_capture
def test_a_capture_is_recognised_by_its_own_driver_only(driver: Driver, capture: Path) -> None:
    """Exactly its own driver knows the sender; a driver without [recognise] is known by nobody."""
    for message in read_capture(capture.read_bytes(), protocol=driver.protocol):
        assert candidates(message, LIBRARY) == (() if driver in BY_NAME_ONLY else (driver,))


@every_capture
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_other_framing_says_the_same(driver: Driver, capture: Path, data: st.DataObject) -> None:
    """However an ASTM message is cut into frames, and however lines of HL7 end, the results are the same."""
    for message in read_capture(capture.read_bytes(), protocol=driver.protocol):
        plain = decode(driver, message)
        if driver.protocol == "astm":
            size = data.draw(st.sampled_from((7, 100, 240, 64_000)))
            packed = data.draw(st.booleans())
            ending = data.draw(st.sampled_from((b"\r", b"\r\n")))
            records = message.replace(b"\r\n", b"\r").replace(b"\r", ending)
            assert decode(driver, records) == plain
            again = b"".join(astm_frames.frames(message, size=size, packed=packed))
        elif driver.protocol == "hl7":
            ending = data.draw(st.sampled_from((b"\r", b"\n", b"\r\n")))
            again = message.replace(b"\r\n", b"\r").replace(b"\n", b"\r").replace(b"\r", ending)
        else:
            continue
        assert decode(driver, again) == plain


def received(driver: Driver, message: bytes, size: int) -> bytes:
    """What is kept of a message that comes byte by byte, as the line's own machine cuts it out."""
    if driver.protocol == "hl7":
        reader = mllp.Reader()
        for byte in mllp.wrap(message):
            reader.feed(bytes([byte]), 0.0)
        events = iter(reader.next_event, None)
        return b"".join(event.data for event in events if isinstance(event, mllp.Block))
    if driver.protocol == "astm":
        machine = Link()
        stream = [b"\x05", *astm_frames.frames(message, size=size), b"\x04"]
    else:
        framing = FRAMINGS[driver.protocol]
        machine = receiver_for(driver.protocol)
        one_text = driver.layout is not None and driver.layout.one_text
        stream = [wrap(text, framing) for text in unframe(message, framing, one_text=one_text).texts]
    kept: list[bytes] = []
    for byte in b"".join(stream):
        machine.feed(bytes([byte]), 0.0)
        while (event := machine.next_event()) is not None:
            if isinstance(event, Frame):
                kept.append(event.raw)
                machine.accept(now=0.0)
        machine.bytes_to_send()
    return b"".join(kept)


@every_capture
@pytest.mark.parametrize("size", [7, 240])
def test_byte_by_byte_says_the_same(driver: Driver, capture: Path, size: int) -> None:
    """A line that hands over one byte at a time, frames cut anywhere (ETB): the same results as the whole capture."""
    if driver.protocol == TABLE or (driver.protocol not in ("astm", "hl7") and size != 240):
        pytest.skip("a file comes as a whole; raw texts are not cut")
    for message in read_capture(capture.read_bytes(), protocol=driver.protocol):
        whole = decode(driver, message)
        assert decode(driver, received(driver, message, size)).results == whole.results


@every_capture
def test_nothing_in_a_capture_is_a_defect(driver: Driver, capture: Path) -> None:
    """Every message is readable, and a part of one, or one with a byte changed, is never a defect of ours."""
    for message in read_capture(capture.read_bytes(), protocol=driver.protocol):
        assert decode(driver, message).problem is None
        for cut in range(0, len(message), max(1, len(message) // 40)):
            for damaged in (message[:cut], message[cut:], message[:cut] + b"\xff" + message[cut + 1 :]):
                said = decode(driver, damaged)
                assert said.problem is None or said.problem.reason is not Reason.DEFECT
                assert all(json.dumps(as_object(result, said)) for result in said.results)


@every_capture
def test_the_host_side_of_a_capture_is_no_result(driver: Driver, capture: Path) -> None:
    """What the host sent is never read as a result."""
    if capture.suffix != ".wire" or driver.protocol not in ("astm", "hl7"):
        pytest.skip("no transcript of a delimited protocol")
    host = read_wire(capture.read_bytes()).sent(Way.TO)
    for message in read_capture(host) if host.strip(b"\x04\x05\x06\x15") else []:
        assert not decode(driver, message).results
