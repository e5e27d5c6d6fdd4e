"""Messages of ours on an HL7 line: a query gets its reply and no acknowledgment, orders go when the line is free."""

from __future__ import annotations

import pytest

from labgateway.errors import StoreFullError
from labgateway.line import Line
from labgateway.line.arrival import Refused
from labgateway.line.posting import ANSWER_S, CANCELLED, LOST, NO_ANSWER
from labgateway.protocols.hl7 import AckProfile, read
from labgateway.protocols.mllp import Block, Post, Reader, wrap
from labgateway.transports.memory import Cable, Scheduler
from tests.line_kit import Journal, Tape, line, taped
from tests.test_line_hl7 import oru

QUERY = b"MSH|^~\\&|AN|||LIS|20261122081500||QBP^Q11^QBP_Q11|Q1|P|2.5.1|||NE|AL\rQPD|WOS|T|S1\rRCP|I\r"
REPLY = Post(b"MSH|^~\\&|LIS|||AN|20261122081500||RSP^K11^RSP_K11|R1|P|2.5.1\rMSA|AA|Q1\r")
BARE = QUERY.split(b"\r")[0].replace(b"QBP^Q11^QBP_Q11", b"ORL^O34^ORL_O42").replace(b"Q1|P", b"A1|P")


def order(number: int) -> Post:
    """An OML^O33 of ours."""
    return Post(f"MSH|^~\\&|LIS|||AN|20261122081500||OML^O33^OML_O33|O{number}|P|2.5.1\r".encode(), f"O{number}")


def orl(number: int, code: str = "AA", *rows: str) -> bytes:
    """The instrument's answer to it."""
    return b"\r".join([BARE, f"MSA|{code}|O{number}".encode(), *(row.encode() for row in rows), b""])


class Bench:
    """A line, the instrument's end of the cable, and what was told."""

    def __init__(self, delay_s: float | None = 0.005, profile: AckProfile | None = None) -> None:
        self.scheduler = Scheduler()
        self.journal = Journal(self.scheduler, delay_s)
        self.line: Line = line(
            self.scheduler, self.journal, "hl7", asks=lambda data: b"QPD" in data, ack=profile or AckProfile()
        )
        self.cable: Cable
        self.tape: Tape
        self.cable, self.tape = taped(self.scheduler, self.line)
        self.told: list[str] = []

    def say(self, *messages: bytes) -> None:
        for message in messages:
            self.tape.channel.send(wrap(message))
        self.scheduler.run_for(0.1)

    def post(self, *posts: Post, tag: object = None) -> None:
        self.line.post(posts, self.told.append, tag=tag)
        self.scheduler.run_for(0.1)

    def heard(self) -> list[tuple[str, str]]:
        """MSH-9.1 and MSH-10 of what came since the last call; of an acknowledgment of the line its MSA-1 and MSA-2."""
        reader = Reader()
        reader.feed(self.tape.heard, 0.0)
        self.tape.heard = b""
        out: list[tuple[str, str]] = []
        while isinstance(event := reader.next_event(), Block):
            message = read(event.data)
            kind = message.header.value(9, 1)
            msa = next((row for row in message.rows if row.name == "MSA"), None)
            out.append((msa.value(1), msa.value(2)) if kind == "ACK" and msa else (kind, message.control_id))
        return out


def test_a_query_is_answered_and_not_acknowledged() -> None:
    """On disk, then the reply at once, then the order, then its answer: told that it was taken."""
    bench = Bench()
    bench.say(QUERY)
    assert bench.heard() == []
    assert bench.journal.complete() == [QUERY]
    bench.post(REPLY, order(1))
    assert bench.heard() == [("RSP", "R1"), ("OML", "O1")]
    assert bench.told == []
    bench.say(orl(1))
    assert bench.told == [""]
    assert bench.heard() == []
    assert bench.line.stats.sent == 1
    bench.say(oru("9"))
    assert bench.heard() == [("AA", "9")]


def test_a_query_that_wants_an_accept_acknowledgment_gets_it_first() -> None:
    """MSH-15 AL: CA when it is on disk (HL7 2.5.1, 2.9.3); one that could not be stored is an error."""
    bench = Bench()
    bench.journal.errors = [StoreFullError("full"), None]
    for wanted in ([("AE", "Q1")], [("CA", "Q1")]):
        bench.say(QUERY.replace(b"|NE|AL", b"|AL|AL"))
        assert bench.heard() == wanted


def test_a_message_that_asks_nothing_is_acknowledged_as_ever() -> None:
    """Only what is a question waits for an answer of its own."""
    bench = Bench()
    bench.say(oru("1"), QUERY, oru("2"))
    assert bench.heard() == [("AA", "1"), ("AA", "2")]


@pytest.mark.parametrize(
    ("answer", "why", "refused"),
    [
        (orl(1, "AE", "ERR|||204^Unknown key identifier^HL70357"), "MSA-1 AE, ERR 204", True),
        (orl(1, "CE"), "MSA-1 CE", True),
        (orl(1, "AA", "ORC|OK", "ORC|UA"), "ORC-1 UA", True),
        (orl(1, "AR", "ERR|||207"), "the instrument refused it: MSA-1 AR, ERR 207", False),
        (orl(1, "AE", "ERR|||Nguyen Van An"), "MSA-1 AE, ERR ?", True),
        (orl(1, "CA"), "", False),
    ],
)
def test_what_the_instrument_says_to_an_order(answer: bytes, why: str, refused: bool) -> None:
    """AE and UA: it does not want what is in it. AR: not now. Its own words are not repeated: they may name a patient."""
    bench = Bench()
    bench.post(order(1))
    bench.say(answer)
    assert bench.told == [why]
    assert isinstance(bench.told[0], Refused) is refused


def test_an_answer_is_matched_by_its_control_id() -> None:
    """Another MSA-2, a repeat, an acknowledgment of the reply: none of them settles the order."""
    bench = Bench()
    bench.post(REPLY, order(1))
    bench.say(orl(7), orl(0, "AE"), BARE + b"\rMSA|AA|R1\r", BARE + b"\rMSA|AA\r")
    assert bench.told == []
    bench.say(orl(1), orl(1), orl(1, "AE"))
    assert bench.told == [""]
    assert len(bench.journal.complete()) == 7


def test_an_answer_that_does_not_come() -> None:
    """After a while it is told; what comes later means nothing; the next letter goes on."""
    bench = Bench()
    bench.post(order(1))
    bench.post(order(2))
    assert bench.heard() == [("OML", "O1")]
    bench.scheduler.run_for(ANSWER_S)
    assert bench.told == [NO_ANSWER]
    assert bench.heard() == [("OML", "O2")]
    bench.say(orl(1), orl(2))
    assert bench.told == [NO_ANSWER, ""]
    assert bench.line.stats.not_sent == 1


def test_orders_go_one_after_another() -> None:
    """The next message of a letter when the one before was answered; the next letter when all of this one is."""
    bench = Bench()
    bench.post(order(1), order(2))
    bench.post(order(3))
    for number in (1, 2, 3):
        assert bench.heard() == [("OML", f"O{number}")]
        bench.say(orl(number))
    assert bench.told == ["", ""]


def test_a_refused_order_does_not_stop_the_rest_of_its_letter() -> None:
    """The others are sent; at the end it is told what was refused."""
    bench = Bench()
    bench.post(order(1), order(2))
    bench.say(orl(1, "AA", "ORC|UA"))
    bench.say(orl(2))
    assert bench.told == ["ORC-1 UA"]


def test_a_reply_does_not_wait_for_an_answer() -> None:
    """The instrument asks while its answer to an order is awaited: it gets the reply at once, the orders later."""
    bench = Bench()
    bench.post(order(1))
    bench.say(QUERY)
    bench.post(REPLY, order(2))
    assert bench.heard() == [("OML", "O1"), ("RSP", "R1")]
    bench.say(orl(1))
    assert bench.heard() == [("OML", "O2")]


def test_an_order_waits_for_the_line() -> None:
    """While a message of the instrument is half here, or waits for its acknowledgment, nothing of ours is sent."""
    bench = Bench(delay_s=2.0)
    data = wrap(oru("1"))
    bench.tape.channel.send(data[:50])
    bench.scheduler.run_for(0.1)
    bench.post(order(1))
    assert bench.heard() == []
    bench.tape.channel.send(data[50:])
    bench.scheduler.run_for(1.9)
    assert bench.heard() == []
    bench.scheduler.run_for(0.3)
    assert bench.heard() == [("AA", "1"), ("OML", "O1")]


def test_a_letter_is_withdrawn() -> None:
    """What waits is not sent; what is on the line stays, and what should follow it is not sent."""
    bench = Bench()
    bench.post(order(1), order(2), tag="a")
    bench.post(order(3), tag="b")
    bench.post(order(4), tag="c")
    bench.line.withdraw(lambda tag: tag in ("a", "b"))
    assert bench.told == [CANCELLED]
    assert bench.heard() == [("OML", "O1")]
    bench.say(orl(1))
    assert bench.told == [CANCELLED, ""]
    assert bench.heard() == [("OML", "O4")]


def test_the_connection_is_lost() -> None:
    """Every letter is told, once; later ones at once."""
    bench = Bench()
    bench.post(order(1))
    bench.post(order(2))
    bench.cable.tear()
    bench.scheduler.run_for(60)
    assert bench.told == [LOST, LOST]
    bench.line.post([order(3)], bench.told.append)
    assert len(bench.told) == 3
    assert bench.told[2]


def test_the_commit_block_of_release_2() -> None:
    """Before the reply to a query; the instrument's own commit blocks are no messages."""
    bench = Bench(profile=AckProfile(commit_block=True))
    bench.say(QUERY)
    assert bench.tape.heard == b"\x0b\x06\x1c\r"
    bench.tape.heard = b""
    bench.post(REPLY, order(1))
    bench.tape.channel.send(b"\x0b\x06\x1c\r" * 2)
    bench.say(orl(1))
    assert bench.told == [""]
    assert bench.journal.incomplete() == []
