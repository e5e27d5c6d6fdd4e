"""One HL7 connection: blocks in, kept, then acknowledged in the order in which they came.

    VT block FS CR -> keep -> commit -> AA            the store cannot -> AE with ERR 207, or nothing if it broke
    a query of which ``asks`` says so -> keep         the answer comes by ``post``; CA before it where MSH-15 wants one
    an instrument's own ACK or ORL -> keep            never answered: that would never end; it settles what is posted
    a block without MSH, or cut off -> keep, parked   not answered: without a control id an answer could settle
                                                      another message of the sender
    a block beyond the limit -> AR, if its MSH is known

With ``commit_block`` of the profile (MLLP release 2) a block 06 or 15 goes before each answer, and the instrument's own
are taken for what they are.

Several blocks may wait for one commit (group commit); beyond ``pending_limit`` the connection is not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from labgateway.errors import StoreError
from labgateway.line.arrival import Arrival, Told
from labgateway.line.posting import LOST, Posting
from labgateway.line.wiring import Timer, Wiring
from labgateway.protocols import hl7, mllp
from labgateway.transports.channel import Channel

_HEADER = re.compile(rb"MSH[!-/:-@\[-`{-~][^\r\n]*")

_COMMIT_BLOCKS = frozenset({b"\x06", b"\x15"})


class MllpConversation:
    """A Session of one connection. Feed it by ``received``; it answers on its channel."""

    def __init__(
        self,
        wiring: Wiring,
        channel: Channel,
        rules: mllp.Rules | None = None,
        profile: hl7.AckProfile = hl7.STANDARD_ACK,
        asks: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._wiring = wiring
        self._channel = channel
        self._reader = mllp.Reader(rules or mllp.Rules(max_bytes=wiring.max_message_bytes))
        self._profile = profile
        self._asks = asks
        self._posting = Posting(self._send, self._is_free)
        self._pending = 0
        self._paused = False
        self._gone = False
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self.number = wiring.number()
        self.busy = False
        """Means nothing to HL7: each message is answered for itself."""

    def received(self, data: bytes) -> None:
        """See Session."""
        now = self._wiring.clock()
        self._wiring.stats.last_byte_at = now
        self._reader.feed(data, now)
        self._pump()

    def post(self, posts: Sequence[mllp.Post], told: Told, tag: object = None) -> None:
        """Send messages of ours: replies at once, orders when the line is free, the next when one was answered."""
        if self._gone or self._wiring.broken:
            told(LOST)
            return
        self._posting.post(posts, told, tag, self._wiring.clock())
        self._arm()

    def withdraw(self, which: Callable[[object], bool]) -> None:
        """Messages of ours with such a tag are not wanted any more, unless they are on the line already."""
        self._posting.withdraw(which)

    def disconnected(self, why: str) -> None:
        """See Session."""
        self._reader.lost()
        self._gone = True
        self._posting.lost()
        while (event := self._reader.next_event()) is not None:
            self._take(event)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wiring.ended(self, why)

    def _pump(self) -> None:
        while self._pending < self._wiring.pending_limit:
            event = self._reader.next_event()
            if event is None:
                break
            self._take(event)
        full = self._pending >= self._wiring.pending_limit
        if full and not self._paused:
            self._paused = True
            self._channel.pause()
        elif self._paused and not full:
            self._paused = False
            self._channel.resume()
        if not self._gone:
            self._posting.go_on(self._wiring.clock())
        self._arm()

    def _send(self, data: bytes) -> None:
        if not self._gone:
            self._channel.send(mllp.wrap(data))

    def _is_free(self) -> bool:
        """Nothing of the instrument is half here, nothing waits for its acknowledgment."""
        return self._pending == 0 and not self._reader.inside and not self._gone

    def _take(self, event: mllp.Event) -> None:
        match event:
            case mllp.Block(data):
                self._block(data)
            case mllp.Broken(data, why):
                self._wiring.stats.broken += 1
                self._unfinished(data, why.value)
            case mllp.TooLong(head, length):
                self._wiring.stats.naks += 1
                self._wiring.say("line.too_long", instrument=self._wiring.name, bytes=length)
                limit = self._wiring.max_message_bytes
                message = _header(head, self._wiring.encoding)
                if message.rows:
                    fault = hl7.Fault(hl7.ErrorCode.INTERNAL_ERROR, f"message longer than {limit} bytes")
                    self._answer(message, hl7.AckCode.REJECT, fault)
                self._unfinished(head, f"longer than {limit} bytes; only its beginning is kept")
            case mllp.Junk(_, length, ended):
                self._wiring.say(
                    "line.junk", instrument=self._wiring.name, bytes=length, why="no VT before it" if ended else ""
                )

    def _block(self, data: bytes) -> None:
        wiring = self._wiring
        if self._profile.commit_block and data in _COMMIT_BLOCKS:
            return
        message = _header(data, wiring.encoding)
        if not message.rows:
            self._unfinished(data, "it has no MSH segment")
            return
        is_answer = message.header.value(9, 1) in hl7.ANSWERS
        is_question = not is_answer and self._asks is not None and self._asks(data)
        self._pending += 1

        def done(error: StoreError | None) -> None:
            self._pending -= 1
            if error is None:
                wiring.stats.messages += 1
                wiring.stats.last_message_at = wiring.clock()
                if is_question:
                    self._accept_question(message)
                elif not is_answer:
                    self._answer(message, hl7.AckCode.ACCEPT)
                else:
                    self._posting.answered(hl7.read(data, wiring.encoding), wiring.clock())
            else:
                wiring.failed(error)
                if not is_answer:
                    fault = hl7.Fault(hl7.ErrorCode.INTERNAL_ERROR, "could not be stored, send it again")
                    self._answer(message, hl7.AckCode.ERROR, fault)
            if not self._gone and (self._paused or self._posting.waits):
                # Not at once: this may run inside _pump.
                wiring.call_at(wiring.clock(), self._pump)

        wiring.keep(
            Arrival(
                wiring.name, "hl7", self._channel.peer, data, True,
                answer=is_answer, key=f"{self.number}.{wiring.number()}", conversation=self.number,
            ),
            done,
        )  # fmt: skip

    def _unfinished(self, data: bytes, why: str) -> None:
        wiring = self._wiring
        key = f"{self.number}.{wiring.number()}"
        wiring.keep_unfinished(
            Arrival(wiring.name, "hl7", self._channel.peer, data, False, why, key=key, conversation=self.number)
        )

    def _answer(self, message: hl7.Message, code: hl7.AckCode, fault: hl7.Fault | None = None) -> None:
        wiring = self._wiring
        if wiring.broken or self._gone:
            return
        if self._profile.commit_block:
            self._channel.send(mllp.COMMITTED if code is hl7.AckCode.ACCEPT else mllp.NOT_COMMITTED)
        for mode in hl7.modes(message, code, self._profile):
            answer = hl7.acknowledge(
                message, code, now=wiring.wall(), control_id=wiring.control_id(),
                profile=replace(self._profile, mode=mode), error=() if fault is None else fault,
            )  # fmt: skip
            self._channel.send(mllp.wrap(answer))

    def _accept_question(self, message: hl7.Message) -> None:
        """The answer to a question comes by itself; here only what says that it is on disk, where that is wanted."""
        if self._wiring.broken or self._gone:
            return
        if self._profile.commit_block:
            self._channel.send(mllp.COMMITTED)
        if hl7.asks_for_accept(message):
            profile = replace(self._profile, mode=hl7.AckMode.ENHANCED)
            self._send(
                hl7.acknowledge(
                    message, hl7.AckCode.ACCEPT, now=self._wiring.wall(), control_id=self._wiring.control_id(),
                    profile=profile,
                )
            )  # fmt: skip

    def _arm(self) -> None:
        # One timer that is never moved forward: it looks, when it is due, whether the deadline has moved.
        deadline = min((d for d in (self._reader.deadline, self._posting.deadline) if d is not None), default=None)
        if deadline is None or self._gone or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._wiring.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._reader.tick(self._wiring.clock())
        self._posting.tick(self._wiring.clock())
        self._pump()


def _header(data: bytes, encoding: str | None) -> hl7.Message:
    """The message as far as an answer needs it: its MSH alone. Reading all of it is not the line's business."""
    found = _HEADER.search(data)
    return hl7.read(b"" if found is None else found[0], encoding)
