"""HL7 lines: a block is kept, then acknowledged, in order; what cannot be read or stored never looks accepted."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.errors import StoreBrokenError, StoreFullError
from labgateway.protocols.hl7 import AckMode, AckProfile, Wanted, read
from labgateway.protocols.mllp import Block, Reader, wrap
from labgateway.transports.memory import Scheduler
from tests.line_kit import Journal, Tape, line, taped


def oru(control_id: str, *, results: int = 2, kind: str = "ORU^R01") -> bytes:
    rows = [f"MSH|^~\\&|BC-5380|Mindray|||20261122081500||{kind}|{control_id}|P|2.3.1||||||UNICODE", "PID|1||P1"]
    rows += [f"OBX|{i}|NM|67{i}^WBC^LN||{i}.5|10*9/L|||||F" for i in range(results)]
    return ("\r".join(rows) + "\r").encode()


def answers(tape: Tape) -> list[tuple[str, str]]:
    """MSA-1 and MSA-2 of every answer, in order."""
    reader = Reader()
    reader.feed(tape.heard, 0.0)
    out: list[tuple[str, str]] = []
    while isinstance(event := reader.next_event(), Block):
        msa = next(row for row in read(event.data).rows if row.name == "MSA")
        out.append((msa.value(1), msa.value(2)))
    assert event is None
    return out


def test_a_block_is_kept_then_acknowledged() -> None:
    """The content of the block stands in the journal byte for byte; AA comes after the commit and not before."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=2.0)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    tape.channel.send(wrap(oru("7")))
    scheduler.run_for(1.9)
    assert tape.heard == b""
    scheduler.run_for(0.2)
    assert answers(tape) == [("AA", "7")]
    assert journal.complete() == [oru("7")]
    assert journal.asked[0].protocol == "hl7"


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 1500), max_size=12),
    delay_s=st.one_of(st.none(), st.floats(0, 1)),
    limit=st.integers(1, 6),
)
def test_the_way_bytes_are_cut_changes_nothing(cuts: list[int], delay_s: float | None, limit: int) -> None:
    """Several messages, cut anywhere, with any limit of unfinished commits: all kept and answered in order."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7", pending_limit=limit))
    sent = [oru(str(n), results=n) for n in range(6)]
    wire = b"".join(wrap(data) for data in sent)
    at = sorted({0, len(wire), *(min(n, len(wire)) for n in cuts)})
    for i, j in itertools.pairwise(at):
        tape.channel.send(wire[i:j])
        scheduler.run_for(0.01)
    scheduler.run_for(10)
    assert journal.complete() == sent
    assert answers(tape) == [("AA", str(n)) for n in range(6)]


def test_a_sender_that_does_not_wait_is_held_back() -> None:
    """No more than pending_limit messages wait for their commit; the rest is not even read."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=1.0)
    cable, tape = taped(scheduler, line(scheduler, journal, "hl7", pending_limit=3))
    for n in range(50):
        tape.channel.send(wrap(oru(str(n))))
    scheduler.run_for(0.5)
    assert len(journal.asked) == 3
    assert len(cable.end_b.received) < 5 * len(wrap(oru("50")))
    scheduler.run_for(60)
    assert answers(tape) == [("AA", str(n)) for n in range(50)]


def test_a_store_error_is_an_ae_with_207() -> None:
    """What could not be stored is answered AE with ERR 207, and AA when it comes again and is kept."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    journal.errors = [StoreFullError("full"), None]
    gateway = line(scheduler, journal, "hl7")
    _, tape = taped(scheduler, gateway)
    for _ in range(2):
        tape.channel.send(wrap(oru("7")))
        scheduler.run_for(1)
    assert answers(tape) == [("AE", "7"), ("AA", "7")]
    assert b"207" in tape.heard
    assert gateway.stats.store_errors == 1


def test_a_broken_store_gets_silence() -> None:
    """After a StoreBrokenError no block is answered any more."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    journal.errors = [StoreBrokenError("fsync")]
    _, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    for n in range(3):
        tape.channel.send(wrap(oru(str(n))))
        scheduler.run_for(1)
    assert tape.heard == b""


@pytest.mark.parametrize("kind", ["ACK", "ACK^R01", "ORL^O34", "ORL^O42", "ORR^O02"])
def test_answers_are_kept_and_never_answered(kind: str) -> None:
    """An instrument's own acknowledgment is recorded as an answer; answering it would never end."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    tape.channel.send(wrap(oru("7", kind=kind)))
    scheduler.run_for(1)
    assert tape.heard == b""
    (arrival,) = journal.asked
    assert arrival.answer
    assert arrival.complete


@pytest.mark.parametrize("data", [b"hello", b"PID|1||P1\rOBX|1\r", b"\xff\xfe\x00", b"<xml/>", b"H|\\^&\rL|1\r"])
def test_a_block_without_msh_is_kept_and_not_answered(data: bytes) -> None:
    """It is parked (incomplete, with the reason), gets no answer, and the next message is served."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    tape.channel.send(wrap(data) + wrap(oru("8")))
    scheduler.run_for(1)
    assert answers(tape) == [("AA", "8")]
    (arrival,) = journal.incomplete()
    assert arrival.data == data
    assert arrival.why == "it has no MSH segment"


def test_a_block_that_breaks_off_is_incomplete() -> None:
    """The line is lost, or falls silent, inside a block: kept as incomplete, not answered."""
    for tear in (True, False):
        scheduler = Scheduler()
        journal = Journal(scheduler)
        gateway = line(scheduler, journal, "hl7")
        cable, tape = taped(scheduler, gateway)
        tape.channel.send(wrap(oru("7"))[:60])
        scheduler.run_for(1)
        if tear:
            cable.tear()
        scheduler.run_for(60)
        assert journal.complete() == []
        assert [row.data for row in journal.incomplete()] == [oru("7")[:59]]
        assert tape.heard == b""
        assert gateway.stats.broken == 1


def test_a_block_beyond_the_limit_is_rejected() -> None:
    """It is answered AR by its MSH, its beginning is parked, and the next message is served."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7", max_message_bytes=1000))
    tape.channel.send(wrap(oru("7", results=100)) + wrap(oru("8")))
    scheduler.run_for(1)
    assert answers(tape) == [("AR", "7"), ("AA", "8")]
    (arrival,) = journal.incomplete()
    assert len(arrival.data) <= 4096
    assert "longer than 1000 bytes" in arrival.why


def test_the_profile_of_the_device_is_used() -> None:
    """The acknowledgment looks as the instrument's profile says."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    profile = AckProfile(accept_text="Message accepted", msa6="0", err_zero=True)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7", ack=profile))
    tape.channel.send(wrap(oru("1")))
    scheduler.run_for(1)
    assert b"MSA|AA|1|Message accepted|||0\r" in tape.heard
    assert b"ERR|0\r" in tape.heard


def test_mllp_release_2_where_it_is_declared() -> None:
    """A commit block (06) when the message is on disk, 15 when it is not, each before the acknowledgment; else none."""
    for declared, good, bad in ((True, b"\x0b\x06\x1c\r", b"\x0b\x15\x1c\r"), (False, b"", b"")):
        scheduler = Scheduler()
        journal = Journal(scheduler)
        journal.errors = [StoreFullError("full"), None]
        _, tape = taped(scheduler, line(scheduler, journal, "hl7", ack=AckProfile(commit_block=declared)))
        for code, block in ((b"AE", bad), (b"AA", good)):
            tape.heard = b""
            tape.channel.send(wrap(oru("1")))
            scheduler.run_for(1)
            assert tape.heard.startswith(block + b"\x0bMSH|")
            assert b"MSA|" + code + b"|1" in tape.heard


def test_accept_and_application_acknowledgment() -> None:
    """Where the profile says both and the sender asks for both: CA, then AA, after one commit."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7", ack=AckProfile(mode=AckMode.BOTH)))
    tape.channel.send(wrap(oru("1").replace(b"|P|2.3.1||||||", b"|P|2.3.1|||AL|AL||")))
    scheduler.run_for(1)
    assert answers(tape) == [("CA", "1"), ("AA", "1")]
    assert len(journal.complete()) == 1


def test_an_instrument_that_wants_no_answer_gets_none() -> None:
    """The message is on disk, and nothing is sent."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7", ack=AckProfile(wanted=Wanted.NEVER)))
    tape.channel.send(wrap(oru("1")))
    scheduler.run_for(1)
    assert tape.heard == b""
    assert journal.complete() == [oru("1")]


def test_a_line_that_breaks_while_the_store_works() -> None:
    """The message is kept once and complete; nobody is left to answer."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=1.0)
    cable, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    tape.channel.send(wrap(oru("7")))
    scheduler.run_for(0.5)
    cable.tear()
    scheduler.run_for(5)
    assert journal.complete() == [oru("7")]
    assert tape.heard == b""


@settings(max_examples=80, deadline=None)
@given(
    chunks=st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"\x0b", b"\x1c\r", b"MSH", wrap(oru("1"))])), max_size=30
    )
)
def test_no_bytes_raise(chunks: list[bytes]) -> None:
    """Garbage of any kind: no exception; what is complete has an MSH."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    cable, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    for chunk in chunks:
        tape.channel.send(chunk)
        scheduler.run_for(0.01)
    scheduler.run_for(100)
    cable.tear()
    scheduler.run_for(100)
    for arrival in journal.rows.values():
        assert not arrival.complete or b"MSH" in arrival.data
