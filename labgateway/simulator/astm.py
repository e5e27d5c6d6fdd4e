"""One ASTM connection, as the instrument: LIS01-A2's sender and receiver, and what goes wrong on request."""

from __future__ import annotations

from labgateway.protocols.astm_bare import tokens
from labgateway.protocols.astm_events import Closed, Frame, NotSent, NotSentWhy, Sent
from labgateway.protocols.astm_frames import ACK, CR, ENQ, EOT, NAK, STX, frames
from labgateway.protocols.astm_link import Link
from labgateway.protocols.astm_rules import Framing, LinkRules
from labgateway.simulator.script import Fault
from labgateway.simulator.stage import Stage
from labgateway.transports.channel import Channel, Timer

NOISE = b"\x00~~noise~~\r\n"


class AstmVoice:
    """See Voice."""

    def __init__(self, player: Stage, channel: Channel) -> None:
        self.gone = False
        self._player = player
        self._channel = channel
        framing = Framing.TOKENS if player.script.tokens else Framing.FRAMES
        self._link = Link(LinkRules(host=False, framing=framing))
        self._text: list[bytes] = []
        self._repeat = b""
        self._deaf = False
        """The acknowledgment of the last frame will not be heard."""
        self._left = 0
        """Frames of this message that are still to come."""
        self._partial = False
        self._contending = False
        self._timer: Timer | None = None

    def say(self, message: bytes) -> None:
        """Send one message."""
        player, script = self._player, self._player.script
        if player.fault(Fault.NOISE):
            self._channel.send(NOISE)
        text = message.replace(b"\n", b"\r")
        self._partial = player.fault(Fault.NO_END)
        if self._partial:
            text = CR.join(record for record in text.split(CR) if record[:1] != b"L")
        whole = tokens(text) if script.tokens else list(frames(text, size=script.frame_bytes, packed=script.packed))
        self._left = len(whole)
        self._link.start(whole, player.now())
        self._pump()

    def received(self, data: bytes) -> None:
        """See Session."""
        if self._deaf and data[:1] == ACK:
            self._player.tell("the acknowledgment of the last frame is lost")
            self._channel.close()
            return
        if self._repeat and data[:1] == ACK:
            # The ACK is lost, as the instrument sees it: the same frame goes out again.
            again, self._repeat = self._repeat, b""
            self._channel.send(again)
            data = data[1:]
            if not data:
                return
        if data == ENQ and self._link.idle and self._player.fault(Fault.CONTENTION):
            self._channel.send(ENQ)
            self._player.later(1.0, self._contend)
            return
        if self._contending:
            self._contending = False
            self._channel.send(EOT)
            return
        if naks := data.count(NAK):
            self._player.summary.naks += naks
            self._player.tell("the host refused (NAK)")
        self._link.feed(data, self._player.now())
        self._pump()

    def disconnected(self, why: str) -> None:
        """See Session."""
        self.gone = True
        self._player.tell(f"connection ended: {why}")
        if self._timer is not None:
            self._timer.cancel()

    def _contend(self) -> None:
        self._contending = True
        self._channel.send(ENQ)

    def _pump(self) -> None:
        player, link = self._player, self._link
        while (event := link.next_event()) is not None:
            match event:
                case Frame():
                    self._text.append(event.text)
                    link.accept(event, now=player.now())
                case Closed():
                    player.summary.answers.append(b"".join(self._text))
                    self._text.clear()
                    player.tell("the host sent a message of its own")
                    player.answered()
                case Sent():
                    self._sent()
                case NotSent(why):
                    busy = why is NotSentWhy.BUSY
                    player.said(self, good=False, why=f"not taken, {why.value}", again_s=0.0 if busy else 1.0)
                case _:
                    pass
        if out := link.bytes_to_send():
            self._send(out)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if link.deadline is not None and not self.gone:
            self._timer = player.later(max(0.0, link.deadline - player.now()), self._due)

    def _sent(self) -> None:
        if self._partial:
            self._player.said(self, good=True, why="sent without its last record", over=False)
        elif self._player.fault(Fault.TWICE):
            self._player.said(self, good=True, why="accepted", over=False)
        else:
            self._player.said(self, good=True)

    def _due(self) -> None:
        self._timer = None
        self._link.tick(self._player.now())
        self._pump()

    def _send(self, data: bytes) -> None:
        player = self._player
        if data[:1] == STX:
            player.summary.frames += 1
            self._left -= 1
            if player.fault(Fault.BAD_CHECKSUM):
                wrong = b"00" if data[-4:-2] != b"00" else b"01"
                data = data[:-4] + wrong + data[-2:]
                self._left += 1
            elif data[1:2] != b"1" and player.fault(Fault.CUT):
                self._channel.send(data[: len(data) // 2])
                self._channel.close()
                return
            elif player.fault(Fault.DUPLICATE):
                self._repeat = data
            elif self._left <= 0 and player.fault(Fault.LOST_ACK):
                self._deaf = True
        player.put(self._channel, data)
