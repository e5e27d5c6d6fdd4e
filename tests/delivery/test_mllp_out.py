"""The MLLP destination over real sockets: against an EMR that does everything wrong, and two servers not ours."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import hl7
import pytest
from hl7.mllp import start_hl7_server
from hl7apy.mllp import AbstractHandler, MLLPServer

from labgateway.delivery.mllp_out import MllpDestination
from labgateway.delivery.oru import render
from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from tests.delivery.emr import Emr, Fault
from tests.delivery.reports import SETTINGS, observation, order, report

RESET = 0.05
"""Answers are awaited so long in these tests, seconds."""


def body(control_id: str = "LG-1") -> bytes:
    """A whole ORU with this MSH-10."""
    return render(report(observation(of=order())), SETTINGS, control_id)


@asynccontextmanager
async def destination(port: int, **options: Any) -> AsyncIterator[MllpDestination]:
    """One that waits 50 ms for an answer, unless told otherwise."""
    settings: dict[str, Any] = {"answer_s": RESET, **options}
    there = MllpDestination("127.0.0.1", port, **settings)
    try:
        yield there
    finally:
        await there.close()


async def test_an_accepted_message_keeps_the_connection() -> None:
    """Many messages, one connection; the EMR read each and found nothing wrong."""
    async with Emr() as emr, destination(emr.port, answer_s=5) as there:
        for n in range(20):
            assert await there.send(body(f"LG-{n}"), f"LG-{n}") == Accepted("")
        assert emr.connections == 1
        assert emr.accepted == [f"LG-{n}" for n in range(20)]
        assert not emr.complaints
        assert len(emr.charts) == 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.AE, Refused("not taken; Patient 000123 is not admitted, 204 Unknown key identifier, at PID^1^3")),
        (Fault.AE_LOCKED, Refused("206 Application record locked", may_retry=True)),
        (Fault.AR, Refused("come back later", may_retry=True)),
        (Fault.CA, Accepted("")),
        (Fault.LOOSE, Accepted("")),
    ],
)
async def test_an_answer_that_means_something_keeps_the_connection(fault: Fault, outcome: Outcome) -> None:
    """Refusals and loosely framed answers are answers: the next message goes over the same connection."""
    async with Emr() as emr, destination(emr.port, answer_s=2) as there:
        emr.next(fault)
        assert await there.send(body("A"), "A") == outcome
        assert await there.send(body("B"), "B") == Accepted("")
        assert emr.connections == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault.SILENCE,
        Fault.WRONG_ID,
        Fault.CLOSE_BEFORE,
        Fault.HALF,
        Fault.GARBAGE,
        Fault.NO_MSA,
        Fault.LATE,
        Fault.PREVIOUS_ID,
    ],
)
async def test_what_is_no_answer_closes_the_connection(fault: Fault) -> None:
    """Silence, another MSA-2, half an answer, garbage: Silent, a new connection, and the same bytes are taken then."""
    async with Emr() as emr, destination(emr.port) as there:
        emr.next(fault)
        outcome = await there.send(body("A"), "A")
        assert isinstance(outcome, Silent), outcome
        assert await there.send(body("A"), "A") == Accepted("")
        assert emr.connections == 2
        assert len({r.raw for r in emr.received}) == 1
        assert not emr.complaints


async def test_an_answer_without_an_end_is_cut_off_at_its_limit() -> None:
    """300 MB of answer: no more than the limit is read, at once, and the connection is closed."""
    async with Emr() as emr, destination(emr.port, answer_s=20) as there:
        emr.next(Fault.HUGE)
        start = time.monotonic()
        assert await there.send(body(), "LG-1") == Silent("the answer is too long")
        assert time.monotonic() - start < 5
        assert emr.huge_bytes < 20_000_000
        assert await there.send(body(), "LG-1") == Accepted("")


async def test_a_slow_answer_is_an_answer() -> None:
    """Byte by byte, but within the time."""
    async with Emr(late_s=0.1) as emr, destination(emr.port, answer_s=5) as there:
        emr.next(Fault.SLOW)
        assert await there.send(body(), "LG-1") == Accepted("")


async def test_mirth_1441_late_answer_of_one_message_is_never_booked_for_the_next() -> None:
    """Mirth #1441: message 1 times out, its answer comes while message 2 waits; message 2 needs its own answer."""
    async with Emr(late_s=0.1) as emr, destination(emr.port) as there:
        emr.next(Fault.LATE, Fault.SILENCE)
        assert isinstance(await there.send(body("ONE"), "ONE"), Silent)
        second = await there.send(body("TWO"), "TWO")
        assert isinstance(second, Silent), "the answer to ONE must not count for TWO"
        assert emr.connections == 2, "the connection of ONE was closed at its timeout"


async def test_mirth_2070_an_answer_to_another_message_never_counts() -> None:
    """Mirth #2070: with a kept connection, the answer to the message before is no answer to this one."""
    async with Emr() as emr, destination(emr.port, answer_s=5) as there:
        emr.next(None, Fault.PREVIOUS_ID)
        assert await there.send(body("ONE"), "ONE") == Accepted("")
        start = time.monotonic()
        outcome = await there.send(body("TWO"), "TWO")
        assert outcome == Silent("the answer belongs to another message (MSA-2)")
        assert time.monotonic() - start < 2, "it is not waited for until the timeout"
        assert emr.accepted == ["ONE"]


async def test_receivers_that_repeat_earlier_answers_do_not_slow_us_down() -> None:
    """node-hl7-server repeats all earlier answers: they are passed over, the right one counts, no repeat is sent."""
    async with Emr() as emr, destination(emr.port, answer_s=5) as there:
        emr.fault = lambda _: Fault.REPEATS
        for n in range(10):
            assert await there.send(body(f"LG-{n}"), f"LG-{n}") == Accepted("")
        assert len(emr.received) == 10
        assert emr.connections == 1


async def test_a_second_answer_to_the_same_message_is_passed_over() -> None:
    """Accepted twice (or CA, then AA): the next message is not disturbed."""
    async with Emr() as emr, destination(emr.port, answer_s=5) as there:
        emr.fault = lambda _: Fault.TWICE
        for n in range(10):
            assert await there.send(body(f"LG-{n}"), f"LG-{n}") == Accepted("")
        assert len(emr.received) == 10


async def test_an_answer_that_nobody_asked_for_closes_the_connection() -> None:
    """A connection that talks by itself is not trusted with the next message."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _.readuntil(b"\x1c\r")
        writer.write(b"\x0bMSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|AA|LG-1\r\x1c\r")
        writer.write(b"\x0bMSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|AA|LG-2\r\x1c\r")
        await _.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, destination(server.sockets[0].getsockname()[1]) as there:
        assert await there.send(body("LG-1"), "LG-1") == Accepted("")
        second = await there.send(body("LG-2"), "LG-2")
        assert isinstance(second, Silent), "the answer was written before the question"


async def test_a_receiver_that_closes_after_each_answer() -> None:
    """Each message gets its answer; the close that crosses the next message costs no wait."""
    async with Emr(closes=True) as emr, destination(emr.port, answer_s=5) as there:
        start = time.monotonic()
        for n in range(50):
            assert await there.send(body(f"LG-{n}"), f"LG-{n}") == Accepted("")
        assert time.monotonic() - start < 3
        assert sorted(set(emr.accepted)) == sorted(f"LG-{n}" for n in range(50))


async def test_nothing_listens() -> None:
    """Unreachable, in plain words, without the address."""
    emr = Emr()
    await emr.start()
    await emr.stop()
    async with destination(emr.port) as there:
        assert await there.send(body(), "LG-1") == Unreachable("nothing listens there")


async def test_a_host_that_swallows_packets() -> None:
    """No connection within the limit: Unreachable, not a hang."""
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    context = ssl.create_default_context()
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with destination(port, connect_s=0.05, tls=lambda: context) as there:
            outcome = await there.send(body(), "LG-1")
    assert outcome == Unreachable("no connection within 0.05 s")


async def test_several_connections_where_asked() -> None:
    """connections = 3: three messages under way at once, never more."""
    async with Emr(late_s=0.05) as emr, destination(emr.port, connections=3, answer_s=5) as there:
        emr.fault = lambda _: Fault.LATE
        outcomes = await asyncio.gather(*(there.send(body(f"LG-{n}"), f"LG-{n}") for n in range(12)))
        assert outcomes == [Accepted("")] * 12
        assert emr.most_open == 3 == emr.connections


async def test_a_cancelled_send_does_not_leave_its_answer_behind() -> None:
    """Cancelled while waiting: that connection is closed, the next message has a new one."""
    async with Emr(late_s=0.05) as emr, destination(emr.port, answer_s=5) as there:
        emr.next(Fault.LATE)
        sending = asyncio.create_task(there.send(body("ONE"), "ONE"))
        await emr.until(lambda e: bool(e.received), 2)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await there.send(body("TWO"), "TWO") == Accepted("")
        assert emr.connections == 2


# Servers that are not ours


async def test_python_hl7s_server_takes_our_messages() -> None:
    """python-hl7's asyncio MLLP server reads them and its own ACK settles them."""
    taken: list[str] = []

    async def serve(reader: Any, writer: Any) -> None:
        while not writer.is_closing():
            try:
                message = await reader.readmessage()
            except asyncio.IncompleteReadError:
                break
            taken.append(str(message.segment("OBX")[3]))
            writer.writemessage(message.create_ack("AA"))
            await writer.drain()
        writer.close()

    server = await start_hl7_server(serve, "127.0.0.1", 0, encoding="utf-8")
    async with server, destination(server.sockets[0].getsockname()[1], answer_s=5) as there:
        for n in range(5):
            assert await there.send(body(f"LG-{n}"), f"LG-{n}") == Accepted("")
    assert taken == ["WBC^Tên WBC^L^6690-2^^LN"] * 5


class _Taken(AbstractHandler):
    """hl7apy's handler; its answer is made by python-hl7."""

    def reply(self) -> str:
        """The MLLP block."""
        ack = hl7.parse(self.incoming_message).create_ack("AA")  # pyright: ignore
        return f"\x0b{ack}\x1c\r"


@contextmanager
def hl7apy_server() -> Iterator[int]:
    """hl7apy's threading server, which closes after each message."""
    server = MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (_Taken,)})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_hl7apys_server_closes_after_each_message() -> None:
    """An EMR that serves one message a connection: all are taken, none waits for a retry."""
    with hl7apy_server() as port:
        async with destination(port, answer_s=5) as there:
            start = time.monotonic()
            for n in range(10):
                assert await there.send(body(f"LG-{n}"), f"LG-{n}") == Accepted("")
            assert time.monotonic() - start < 3
