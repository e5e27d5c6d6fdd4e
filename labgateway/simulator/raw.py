"""One connection with a raw framing, as the instrument: transmissions as they were recorded, each answer awaited.

ENQ -> ACK     STX text ETX -> the framing's answer     EOT -> nothing     in lines: CONNECT -> ACK_CONNECT and so on
the host's own texts are acknowledged where the framing has acknowledgments
"""

from __future__ import annotations

from collections.abc import Iterator

from labgateway.protocols import emerald
from labgateway.protocols.raw_framing import ACK, ENQ, EOT, NAK, STX, Answer, Check, Framing, find
from labgateway.simulator.script import Fault
from labgateway.simulator.stage import Stage
from labgateway.transports.channel import Channel, Timer

ANSWER_S = 15.0
"""An instrument waits so long for an answer (as LIS1-A 6.5.1.2)."""
SILENT_S = 0.05
"""Between two texts of an instrument that awaits no answer."""
_AGAIN = (b"?", b"\x15")
"""Texts of a host that ask for the same again."""


def is_text(step: bytes, framing: Framing) -> bool:
    """Whether a transmission holds a text; the others ask, part, or lead the conversation."""
    return emerald.is_kept(step) if framing.lines else step[0] == STX


def steps_of(message: bytes, framing: Framing) -> Iterator[bytes]:
    """The transmissions of a recording one by one: enquiries, texts, ends."""
    at = 0
    while at < len(message):
        found = find(message, framing, at)
        start = found.start if found else len(message)
        for byte in message[at:start]:
            if byte in (ENQ, EOT) and framing.enquiry:
                yield bytes([byte])
        if not found:
            return
        yield message[found.start : found.stop]
        at = found.stop


class RawVoice:
    """See Voice."""

    def __init__(self, player: Stage, channel: Channel, framing: Framing) -> None:
        self.gone = False
        self._player = player
        self._channel = channel
        self._framing = framing
        self._steps: list[bytes] = []
        self._at = 0
        self._heard = bytearray()
        self._tries = 0
        self._deaf = False
        self._due = 0
        """How many texts of the host must have come when this message is over."""
        self._timer: Timer | None = None

    def say(self, message: bytes) -> None:
        """Send one message."""
        self._steps = list(steps_of(message, self._framing))
        self._at = self._tries = 0
        self._due = len(self._player.summary.answers) + 1 if self._player.script.answers else 0
        if self._player.fault(Fault.NOISE):
            self._channel.send(b"~~noise~~\r\n")
        self._step()

    def received(self, data: bytes) -> None:
        """See Session."""
        self._heard += data
        while self._heard:
            if self._framing.lines:
                end = self._heard.find(b"\r")
                if end < 0:
                    return
                line = bytes(self._heard[:end])
                del self._heard[: end + 1]
                self._line(line)
            elif self._heard[0] == STX:
                found = find(self._heard, self._framing)
                if found is None:
                    return
                del self._heard[: found.stop]
                self._text(found.text)
            else:
                byte = self._heard[0]
                del self._heard[:1]
                self._byte(byte)

    def disconnected(self, why: str) -> None:
        """See Session."""
        self.gone = True
        self._player.tell(f"connection ended: {why}")
        self._cancel()

    def _step(self) -> None:
        player = self._player
        if self._at >= len(self._steps) and len(player.summary.answers) < self._due:
            self._timer = player.later(ANSWER_S, lambda: self._failed("no text that answers"))
            return
        if self._at >= len(self._steps):
            again = player.fault(Fault.TWICE)
            player.said(self, good=True, why="accepted", over=not again)
            return
        data = self._steps[self._at]
        if not is_text(data, self._framing):
            player.put(self._channel, data)
            if self._awaits(data):
                self._await(ANSWER_S)
            else:
                self._go_on()
            return
        player.summary.frames += 1
        checked = self._framing.check is not Check.NONE
        if checked and player.fault(Fault.BAD_CHECKSUM):
            # Where nothing is answered a damaged text is lost for good: only a repeat can heal it.
            self._channel.send(data[:2] + bytes([data[2] ^ 0x01]) + data[3:])
            self._await(ANSWER_S if self._awaits(data) else SILENT_S, good=False)
            return
        if player.fault(Fault.CUT):
            self._channel.send(data[: len(data) // 2])
            self._channel.close()
            return
        if player.fault(Fault.NO_END):
            self._channel.send(data[: len(data) // 2])
            player.tell("a text without its end; now it comes whole")
        self._deaf = self._at == self._last_text and player.fault(Fault.LOST_ACK)
        player.put(self._channel, data * 2 if player.fault(Fault.DUPLICATE) else data)
        self._await(ANSWER_S if self._awaits(data) else SILENT_S)

    def _awaits(self, step: bytes) -> bool:
        """Whether the instrument waits for an answer to it."""
        if self._framing.lines:
            return emerald.is_answered(step)
        return step[0] != EOT and self._framing.answer is not Answer.NOTHING

    @property
    def _last_text(self) -> int:
        return max((n for n, step in enumerate(self._steps) if is_text(step, self._framing)), default=-1)

    def _await(self, seconds: float, *, good: bool = True) -> None:
        self._cancel()
        trickled = len(self._steps[self._at]) * self._player.script.byte_s
        self._timer = self._player.later(seconds + trickled, lambda: self._silent(good=good))

    def _silent(self, *, good: bool) -> None:
        self._timer = None
        if self._awaits(self._steps[self._at]):
            self._failed("no answer")
        elif self._deaf:
            self._channel.close()
        elif good:
            self._go_on()
        else:
            self._step()

    def _line(self, line: bytes) -> None:
        if self._timer is None:
            return
        wanted = emerald.answer(self._steps[self._at]).strip(b"\r")
        if line == wanted:
            self._taken()
        elif line.split(b";")[0] == wanted.split(b";")[0]:
            self._refused()

    def _byte(self, byte: int) -> None:
        if self._timer is None:
            return
        if byte == NAK:
            self._refused()
        elif byte == ACK or (self._framing.answer is Answer.COUNTER and 0x20 <= byte < 0x7F):
            self._taken()

    def _text(self, text: bytes) -> None:
        if text in _AGAIN:
            self._refused()
            return
        if self._framing.answer is Answer.ACK:
            self._player.summary.answers.append(text)
            self._player.tell("the host sent a text of its own")
            self._channel.send(bytes([ACK]))
            self._player.answered()
            if self._at >= len(self._steps) and self._timer is not None:
                self._cancel()
                self._step()
        elif self._timer is not None:
            self._taken()

    def _taken(self) -> None:
        self._cancel()
        if self._deaf:
            self._player.tell("the acknowledgment is lost")
            self._channel.close()
            return
        self._go_on()

    def _refused(self) -> None:
        self._player.summary.naks += 1
        self._player.tell("the host refused (NAK)")
        self._cancel()
        self._tries += 1
        if self._tries >= 6:
            self._failed("refused six times")
        else:
            self._step()

    def _failed(self, why: str) -> None:
        self._player.said(self, good=False, why=why, again_s=1.0)

    def _go_on(self) -> None:
        self._at += 1
        self._tries = 0
        self._step()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
