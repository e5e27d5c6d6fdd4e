"""One HL7 connection, as the instrument: a block, its acknowledgment awaited; what the host sends is acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime

from labgateway.protocols import hl7, mllp
from labgateway.simulator.script import Fault
from labgateway.simulator.stage import Stage
from labgateway.transports.channel import Channel, Timer

ANSWER_S = 30.0
"""How long an HL7 sender waits for its acknowledgment."""
_WORDS = {"AA": "accepted", "CA": "accepted", "AE": "error", "CE": "error", "AR": "refused", "CR": "refused"}


_ORDERS = {"OML": "ORL^O34^ORL_O42", "DSR": "ACK^Q03"}
"""Messages of the host that an instrument answers, and MSH-9 of the answer."""


def _taken(message: hl7.Message, kind: str) -> bytes:
    """The answer of an instrument that takes what it is told."""
    now = datetime.now(UTC).astimezone()
    header = hl7.reply_header(message, kind, now=now, control_id=f"A{message.control_id}")
    return hl7.reply_bytes(message, [header, hl7.reply_msa(message, hl7.AckCode.ACCEPT)])


class Hl7Voice:
    """See Voice."""

    def __init__(self, player: Stage, channel: Channel) -> None:
        self.gone = False
        self._player = player
        self._channel = channel
        self._reader = mllp.Reader()
        self._awaited: str | None = None
        self._deaf = False
        self._timer: Timer | None = None

    def say(self, message: bytes) -> None:
        """Send one message."""
        player = self._player
        player.summary.frames += 1
        message = message.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        self._awaited = hl7.read(message).control_id
        self._timer = player.later(ANSWER_S, self._silent)
        block = mllp.wrap(message)
        if player.fault(Fault.NOISE):
            self._channel.send(b"~~noise~~\r\n")
        if player.fault(Fault.CUT):
            self._channel.send(block[: len(block) // 2])
            self._channel.close()
            return
        if player.fault(Fault.NO_END):
            self._channel.send(block[:-2])
            player.tell("a block without its end; now it comes whole")
        self._deaf = player.fault(Fault.LOST_ACK)
        player.put(self._channel, block * 2 if player.fault(Fault.DUPLICATE) else block)

    def received(self, data: bytes) -> None:
        """See Session."""
        self._reader.feed(data, self._player.now())
        while (event := self._reader.next_event()) is not None:
            if isinstance(event, mllp.Block):
                self._answer(event.data)

    def disconnected(self, why: str) -> None:
        """See Session."""
        self.gone = True
        self._player.tell(f"connection ended: {why}")
        if self._timer is not None:
            self._timer.cancel()

    def _answer(self, data: bytes) -> None:
        message = hl7.read(data)
        kind = message.header.value(9, 1)
        msa = next((row for row in message.rows if row.name == "MSA"), None)
        if kind in _ORDERS:
            self._channel.send(mllp.wrap(_taken(message, _ORDERS[kind])))
        if msa is None or kind != "ACK":
            self._player.summary.answers.append(data)
            self._player.tell(f"the host sent {message.header.value(9)}")
            self._player.answered()
        if msa is None:
            if kind not in _ORDERS:
                now = datetime.now().astimezone()
                self._channel.send(mllp.wrap(hl7.acknowledge(message, hl7.AckCode.ACCEPT, now=now, control_id="SIM1")))
            elif self._awaited:
                # Orders that come without a reply before them are the reply.
                self._settle(good=True, why="answered with orders")
            return
        if msa.value(2) != self._awaited:
            return
        if self._deaf:
            self._player.tell("the acknowledgment is lost")
            self._channel.close()
            return
        code = msa.value(1)
        # AR of a reply says that there is no order; of an acknowledgment that the message was not taken.
        good = code in ("AA", "CA") or (kind != "ACK" and code == "AR")
        self._player.summary.naks += not good
        self._settle(good=good, why=f"answered {code}, {_WORDS.get(code, 'which is no answer of HL7')}")

    def _silent(self) -> None:
        self._settle(good=False, why=f"no answer in {ANSWER_S:.0f} s")

    def _settle(self, *, good: bool, why: str) -> None:
        self._awaited = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        again = good and self._player.fault(Fault.TWICE)
        self._player.said(self, good=good, why=why, again_s=0.0 if good else 1.0, over=not again)
