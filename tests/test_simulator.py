"""The simulator against a real Line: over loopback TCP in both roles, and over a cable under a simulated clock."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from labgateway.cli import main
from labgateway.errors import StoreError, StoreFullError
from labgateway.line import Arrival, Kept, Line
from labgateway.protocols.astm_frames import frames, unframe
from labgateway.simulator import Fault, Player, Script, Summary, play, with_specimen
from labgateway.transports.memory import Cable, Faults, Scheduler
from labgateway.transports.tcp import TcpConnect, TcpListen
from tests.line_kit import ENQ, EOT, Journal, Tape, line, message
from tests.test_line_hl7 import oru


class AtOnce:
    """A journal that commits at once."""

    def __init__(self, error: StoreError | None = None) -> None:
        self.arrivals: list[Arrival] = []
        self.errors: list[StoreError | None] = [error]

    def keep(self, arrival: Arrival, kept: Kept) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error is None:
            self.arrivals.append(arrival)
        kept(error)

    def complete(self) -> list[bytes]:
        return [arrival.data for arrival in self.arrivals if arrival.complete]


def listening(journal: AtOnce, protocol: str) -> Line:
    return Line(
        "xn1",
        protocol,  # type: ignore[arg-type]
        journal.keep,
        connect=lambda open_session: TcpListen("127.0.0.1", 0, open_session, silent_s=0.0),
    )


@pytest.mark.parametrize("fault", [None, *Fault])
@pytest.mark.parametrize("protocol", ["astm", "hl7"])
async def test_every_message_arrives_once_whatever_goes_wrong(protocol: str, fault: Fault | None) -> None:
    """Over real TCP, with each fault: every message is complete in the journal, none is there twice."""
    journal = AtOnce()
    gateway = listening(journal, protocol)
    await gateway.start()
    assert isinstance(gateway.transport, TcpListen)
    port = gateway.transport.port
    texts = [message(n) for n in range(3)] if protocol == "astm" else [oru(str(n)) for n in range(3)]
    script = Script(tuple(texts), protocol, fault=fault)  # type: ignore[arg-type]
    summary = await play(
        script, lambda opened: TcpConnect("127.0.0.1", port, opened, random=lambda: 0.99), timeout_s=20
    )
    await gateway.stop()
    assert (summary.messages, summary.failed) == (3, 0)
    if protocol == "astm":
        stored = journal.complete()
        if fault in (Fault.LOST_ACK, Fault.TWICE):  # said twice as a whole: what is twice is told apart by its results
            assert len(stored) == 6
            stored = list(dict.fromkeys(stored))
        assert [unframe(data).messages for data in stored] == [[text] for text in texts]
        assert summary.naks == (3 if fault is Fault.BAD_CHECKSUM else 0)
    else:
        assert list(dict.fromkeys(journal.complete())) == texts
    assert summary.connections == (4 if fault in (Fault.CUT, Fault.LOST_ACK) else 1)


async def test_the_instrument_listens() -> None:
    """The other role: the gateway calls, the simulated instrument answers the call and sends."""
    journal = AtOnce()
    ports: list[TcpListen] = []

    def listen(opened: object) -> TcpListen:
        ports.append(TcpListen("127.0.0.1", 0, opened))  # type: ignore[arg-type]
        return ports[0]

    script = Script((message(1), message(2)), "astm", frame_bytes=50)
    task = asyncio.create_task(play(script, listen, timeout_s=20))
    while not ports or not ports[0].port:
        await asyncio.sleep(0.005)
    gateway = Line("xn1", "astm", journal.keep, connect=lambda opened: TcpConnect("127.0.0.1", ports[0].port, opened))
    await gateway.start()
    summary = await task
    await gateway.stop()
    assert summary.messages == 2
    assert len(journal.complete()) == 2


async def test_refusals_are_counted() -> None:
    """A host that refuses shows in the summary: NAKs, and a message that was offered again."""
    journal = AtOnce(StoreFullError("full"))
    gateway = listening(journal, "astm")
    await gateway.start()
    assert isinstance(gateway.transport, TcpListen)
    port = gateway.transport.port
    summary = await play(Script((message(1),), "astm"), lambda o: TcpConnect("127.0.0.1", port, o), timeout_s=20)
    await gateway.stop()
    assert (summary.messages, summary.failed, summary.naks) == (1, 0, 1)


def test_over_a_bad_cable() -> None:
    """Player against Line over a cable that hurts a byte here and there: what the player counts as accepted is in the journal."""
    for seed in range(20):
        scheduler = Scheduler()
        journal = Journal(scheduler)
        gateway = line(scheduler, journal)
        over: list[Summary] = []
        script = Script(tuple(message(n) for n in range(5)), "astm")
        player = Player(script, over.append, clock=scheduler.now, call_at=scheduler.call_at)
        bad = Faults(hurt=0.05, cut=0.5, delay_s=(0.0, 0.05))
        Cable(scheduler, player.open, gateway.open, random=Random(seed), to_b=bad)
        scheduler.run_for(3600)
        assert over
        stored = {unframe(data).messages[0] for data in journal.complete()}
        assert len(stored) >= over[0].messages
        assert stored <= set(script.messages)


def test_what_the_host_sends_is_answered_and_shown() -> None:
    """A session that the host opens (orders, an answer to a query) is acknowledged and stands in the summary."""
    scheduler = Scheduler()
    over: list[Summary] = []
    player = Player(Script((), "astm", linger_s=1.0), over.append, clock=scheduler.now, call_at=scheduler.call_at)
    hosts: list[Tape] = []

    def host(channel: object) -> Tape:
        hosts.append(Tape(channel))  # type: ignore[arg-type]
        return hosts[0]

    Cable(scheduler, player.open, host)
    for data in (ENQ, *frames(b"H|\\^&\rL|1|N\r"), EOT):
        hosts[0].channel.send(data)
        scheduler.run_for(0.01)
    scheduler.run_for(2)
    assert hosts[0].heard == b"\x06" * 3
    assert over[0].answers == [b"H|\\^&\rL|1|N\r"]


def test_the_specimen_is_replaced_before_framing() -> None:
    """Every occurrence changes, longer ids first, and the frames made of it have right checksums."""
    changed = with_specimen(b"H|\\^&\rO|1|S1||A\rO|2|S12||A\rL|1|N\r", ["S1", "S12"], "X")
    assert changed == b"H|\\^&\rO|1|X||A\rO|2|X||A\rL|1|N\r"
    assert unframe(b"".join(frames(changed))).messages == [changed]


async def test_the_command_plays_a_shipped_driver(capsys: pytest.CaptureFixture[str]) -> None:
    """`labgateway simulate sysmex_xn --to tcp://…` plays its captures with the specimen that was asked for."""
    journal = AtOnce()
    gateway = listening(journal, "astm")
    await gateway.start()
    assert isinstance(gateway.transport, TcpListen)
    url = f"tcp://127.0.0.1:{gateway.transport.port}"
    options = ["simulate", "sysmex_xn", "--to", url, "--specimen", "ZZ7", "--capture", "patient_cbc_diff", "--json"]
    assert await asyncio.to_thread(main, options) == 0
    await gateway.stop()
    assert len(journal.complete()) == 1
    assert b"ZZ7" in journal.complete()[0]
    assert '"messages": 1' in capsys.readouterr().out


def test_wrong_calls_say_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """An address that is none is a wrong call (2); an unknown driver a problem (1), both with a cure."""
    assert main(["simulate", "sysmex_xn", "--to", "nonsense"]) == 2
    assert "tcp://host:port" in capsys.readouterr().err
    assert main(["simulate", "no_such_driver", "--to", "tcp://127.0.0.1:1"]) == 1
    assert "no_such_driver" in capsys.readouterr().err
