"""The stimuli at which seven HL7 servers were tried (python-hl7, hl7apy, HAPI, OIE and three of npm): all answered right.

The framing is HL7 2.5.1 appendix C (MLLP release 1), the answers are those of its chapter 2 (original and enhanced
mode). Each stimulus runs against a line as written and byte by byte (the longest in small pieces). Behind each a
good message must be answered: no stimulus costs the connection.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from labgateway.errors import StoreBrokenError, StoreFullError
from labgateway.protocols.mllp import wrap
from labgateway.transports.memory import Scheduler
from tests.line_kit import Journal, line, taped
from tests.test_line_hl7 import answers, oru

ONE, TWO = oru("1"), oru("2")
LATIN = oru("1").replace(b"UNICODE", b"UNICODE UTF-8").replace(b"WBC", b"H\xe9mo")
ENHANCED = oru("1").replace(b"|P|2.3.1||||||", b"|P|2.3.1|||AL|||")
AA1 = [("AA", "1")]


@dataclass(frozen=True)
class Stimulus:
    """What is written, piece by piece; what must be answered; which blocks must be kept."""

    writes: list[bytes]
    answers: list[tuple[str, str]]
    kept: list[bytes]


STIMULI = {
    "one message": Stimulus([wrap(ONE)], AA1, [ONE]),
    "split in three writes": Stimulus([wrap(ONE)[:9], wrap(ONE)[9:90], wrap(ONE)[90:]], AA1, [ONE]),
    "two messages in one write": Stimulus([wrap(ONE) + wrap(TWO)], [*AA1, ("AA", "2")], [ONE, TWO]),
    "LF segments": Stimulus([wrap(ONE.replace(b"\r", b"\n"))], AA1, [ONE.replace(b"\r", b"\n")]),
    "CRLF segments": Stimulus([wrap(ONE.replace(b"\r", b"\r\n"))], AA1, [ONE.replace(b"\r", b"\r\n")]),
    "CRLF before VT": Stimulus([b"\r\n" + wrap(ONE)], AA1, [ONE]),
    "junk before VT": Stimulus([b"hello \x06\x05" + wrap(ONE)], AA1, [ONE]),
    "FS without CR": Stimulus([wrap(ONE).removesuffix(b"\r")], AA1, [ONE]),
    "framed twice": Stimulus([b"\x0b" + wrap(ONE) + b"\x1c\r"], AA1, [ONE]),
    "latin-1 byte, MSH-18 says UTF-8": Stimulus([wrap(LATIN)], AA1, [LATIN]),
    "MSH-15 AL": Stimulus([wrap(ENHANCED)], [("CA", "1")], [ENHANCED]),
    "not HL7 at all": Stimulus([wrap(b"GET / HTTP/1.1")], [], []),
    "second message on one connection": Stimulus([wrap(ONE), wrap(TWO)], [*AA1, ("AA", "2")], [ONE, TWO]),
    "8 MiB": Stimulus([wrap(ONE + b"OBX|9|ED|" + b"A" * (8 << 20) + b"\r")], AA1, [ONE + b"OBX|9|ED|" + b"A" * (8 << 20) + b"\r"]),
}  # fmt: skip


@pytest.mark.parametrize("bytewise", [False, True], ids=["as written", "in pieces"])
@pytest.mark.parametrize("name", STIMULI)
def test_stimulus(name: str, bytewise: bool) -> None:
    """As many answers as messages, each with its MSA-2, every block kept to the byte; the next message is answered."""
    stimulus = STIMULI[name]
    scheduler = Scheduler()
    journal = Journal(scheduler)
    gateway = line(scheduler, journal, "hl7")
    cable, tape = taped(scheduler, gateway)
    for data in stimulus.writes:
        step = len(data) if not bytewise else 1 if len(data) < 10_000 else 4001
        for at in range(0, len(data), step):
            tape.channel.send(data[at : at + step])
            scheduler.run_for(0.001)
        scheduler.run_for(1)
    assert answers(tape) == stimulus.answers
    assert journal.complete() == stimulus.kept
    assert all(part.endswith(b"\r") for part in tape.heard.split(b"\x1c\r") if part), "a CR behind the last segment"
    tape.channel.send(wrap(oru("9")))
    scheduler.run_for(1)
    assert answers(tape) == [*stimulus.answers, ("AA", "9")]
    assert not cable.torn


def test_what_is_not_hl7_is_kept_for_a_person() -> None:
    """No answer could settle it; what came is on disk, as incomplete and with a reason."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    tape.channel.send(wrap(b"GET / HTTP/1.1"))
    scheduler.run_for(1)
    assert [(row.data, row.why) for row in journal.incomplete()] == [(b"GET / HTTP/1.1", "it has no MSH segment")]


def test_the_store_is_down() -> None:
    """Full: AE with 207, so that the sender keeps it. Broken: no answer at all. Never AA."""
    for error, said in ((StoreFullError("full"), [("AE", "1")]), (StoreBrokenError("fsync"), [])):
        scheduler = Scheduler()
        journal = Journal(scheduler)
        journal.errors = [error]
        _, tape = taped(scheduler, line(scheduler, journal, "hl7"))
        tape.channel.send(wrap(ONE))
        scheduler.run_for(1)
        assert answers(tape) == said
        assert journal.complete() == []


def test_a_message_beyond_the_cap_is_refused() -> None:
    """AR when the cap is passed; its beginning is kept as incomplete, and the connection goes on."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7", max_message_bytes=2000))
    tape.channel.send(wrap(ONE + b"OBX|9|ED|" + b"A" * 4000 + b"\r"))
    tape.channel.send(wrap(TWO))
    scheduler.run_for(1)
    assert answers(tape) == [("AR", "1"), ("AA", "2")]
    assert journal.complete() == [TWO]
