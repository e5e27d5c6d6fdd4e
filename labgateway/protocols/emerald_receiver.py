"""The receiving half of a Cell-Dyn Emerald's line: as raw_receiver, but the conversation is led in lines.

    what comes                     what we do                                                     next
    CONNECT, RESULT_READY          its ACK; RESULT_READY is not answered while busy               READY
    DISCONNECT                     Closed                                                         READY
    a good result, calibration,    Frame                                                          DECIDING
    start-up check
    a damaged one                  ACK_RESULT;CRC_ERROR                                           READY
    one that breaks off            Unfinished, nothing is answered                                READY

A result that is not acknowledged with OK stays unsent at the instrument, which offers it again: that is why a busy
gateway keeps silent. The words for "not OK" are those of a driver in use; Abbott's own are not known.
"""

from __future__ import annotations

from labgateway.protocols import emerald
from labgateway.protocols.astm_events import Closed, Frame, Opened, Unfinished, Why
from labgateway.protocols.astm_rules import Fault
from labgateway.protocols.raw_framing import FRAMINGS, MAX_TEXT_BYTES, Framing
from labgateway.protocols.raw_receiver import RawReceiver

__all__ = ["EmeraldReceiver", "receiver_for"]

DAMAGED, NOT_KEPT = b"CRC_ERROR", b"ERROR"


def receiver_for(framing: str) -> RawReceiver:
    """The machine of a raw framing, by its name in FRAMINGS."""
    found: Framing = FRAMINGS[framing]
    return EmeraldReceiver(found) if found.lines else RawReceiver(found)


class EmeraldReceiver(RawReceiver):
    """See RawReceiver; Frame.raw is a transmission from its header to the line with its sum."""

    def _run(self, now: float) -> None:
        buffer = self._buffer
        while buffer and self._offered is None:
            found = emerald.find(buffer)
            if found is None:
                self._bound()
                return
            whole = bytes(buffer[: found.stop])
            del buffer[: found.stop]
            self._set_aside(whole[: found.start], Why.QUIET)
            self._say_noise()
            if not found.good:
                self.faults[Fault.CHECKSUM] += 1
                self._out += emerald.answer(found.text, DAMAGED)
            elif not emerald.is_kept(found.text):
                self._led(found.text)
            else:
                self._offered = Frame(0, found.text, True, whole[found.start :])
                self._offered_at = now
                self._late = False
                self._events.append(self._offered)

    def _bound(self) -> None:
        """Lines without an end are given up; blank ones are nothing."""
        buffer = self._buffer
        if not buffer.strip(b"\r\n\x00 "):
            buffer.clear()
        elif len(buffer) > MAX_TEXT_BYTES:
            self.faults[Fault.TOO_LONG] += 1
            self._give_up(Why.QUIET)
            buffer.clear()

    def _led(self, text: bytes) -> None:
        """What only leads the conversation."""
        if emerald.kind_of(text) == b"DISCONNECT":
            self._events.append(Closed())
            return
        if self.busy and emerald.kind_of(text) == b"RESULT_READY":
            self.faults[Fault.BUSY] += 1
            return
        self._out += emerald.answer(text)
        self._events.append(Opened())

    def _acknowledge(self, text: bytes, *, replied: bool) -> None:
        del replied
        self._out += emerald.answer(text)

    def _nak(self) -> None:
        if self._offered is not None:
            self._out += emerald.answer(self._offered.text, NOT_KEPT)

    def _stopped(self, now: float) -> None:
        del now
        self.faults[Fault.UNFINISHED] += 1
        self._give_up(Why.QUIET)
        self._buffer.clear()
        self._say_noise()

    def _give_up(self, why: Why) -> None:
        self._set_aside(bytes(self._buffer[:MAX_TEXT_BYTES]), why)

    def _set_aside(self, data: bytes, why: Why) -> None:
        """What stands before a transmission, or will not become one: lines of fields are shown, all else is noise."""
        if b";" in data:
            self._events.append(Unfinished(data, why.value))
        elif data.strip(b"\r\n\x00 "):
            self._note_noise(data)
