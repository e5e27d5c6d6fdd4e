"""class Line: the transport of one instrument, its conversations, its counters."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

from labgateway.line.arrival import Keep, Stats, Told
from labgateway.line.astm import NO_CONNECTION, AstmConversation, MessageEnd
from labgateway.line.folder import FileConversation, Judge, readable
from labgateway.line.mllp import MllpConversation
from labgateway.line.raw import RawConversation, Reply, no_reply
from labgateway.line.wiring import CallAt, Timer, Wiring
from labgateway.protocols.astm_rules import LinkRules
from labgateway.protocols.hl7 import STANDARD_ACK, AckProfile
from labgateway.protocols.mllp import Post
from labgateway.transports.channel import Channel, OpenSession, Say, Session, Sparing, Transport, quiet
from labgateway.transports.folder import FileChannel

Conversation = AstmConversation | MllpConversation | RawConversation | FileConversation

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Of one message in memory, per connection. Sysmex sends 300 kB of scattergrams, HL7 with images some megabytes."""
PENDING_LIMIT = 16
BUSY_S = 10.0
"""After a store error new sessions are refused for as long as an instrument waits anyway (LIS01-A2 6.2.6)."""


class Line:
    """One instrument's line.

    name: the instrument as configured. protocol: astm, hl7, or a framing of raw_framing.FRAMINGS. keep: stores one
    arrival and calls back in the event loop after the commit, exactly once and in order. connect: makes the transport,
    given what opens a session; None when somebody else calls ``open``. connect_orders: likewise, of a second connection
    on which an HL7 instrument wants its orders; None: they go where it asks, or where it is connected.
    link_rules, message_end: of an ASTM line; sends: messages of ours may be sent on it. ack, encoding: of an HL7 line;
    asks: whether a message on it is a query that ``post`` or ``tell`` will answer, None: none is. reply: of a line with a
    raw framing. judge: why a message of a file cannot be read.
    max_message_bytes: a longer message is refused. pending_limit: how many messages of one connection may wait
    for their commit before it is not read any more.
    clock, call_at: seconds on one time base; the default is the running loop's. wall: aware, for MSH-7.
    control_id: MSH-10 of our acknowledgments.
    """

    def __init__(
        self,
        name: str,
        protocol: str,
        keep: Keep,
        *,
        connect: Callable[[OpenSession], Transport] | None = None,
        connect_orders: Callable[[OpenSession], Transport] | None = None,
        link_rules: LinkRules | None = None,
        message_end: MessageEnd = "L",
        sends: bool = False,
        ack: AckProfile = STANDARD_ACK,
        asks: Callable[[bytes], bool] | None = None,
        encoding: str | None = None,
        reply: Reply = no_reply,
        judge: Judge = readable,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        pending_limit: int = PENDING_LIMIT,
        clock: Callable[[], float] = time.monotonic,
        call_at: CallAt | None = None,
        wall: Callable[[], datetime] | None = None,
        control_id: Callable[[], str] | None = None,
        say: Say = quiet,
    ) -> None:
        numbers = itertools.count(int(time.time() * 1000))
        self._wiring = Wiring(
            name=name,
            keep=keep,
            ended=self._ended,
            troubled=self._troubled,
            clock=clock,
            call_at=call_at or _call_in_loop,
            wall=wall or (lambda: datetime.now(UTC).astimezone()),
            control_id=control_id or (lambda: str(next(numbers))),
            say=Sparing(say, clock),
            max_message_bytes=max_message_bytes,
            pending_limit=pending_limit,
            encoding=encoding,
        )
        self.name = name
        self.protocol = protocol
        self._link_rules = link_rules
        self._message_end: MessageEnd = message_end
        self._sends = sends
        self._ack = ack
        self._reply = reply
        self._asks = asks
        self._judge = judge
        self._conversations: dict[Conversation, Conversation] = {}
        self._busy = False
        self._rest: Timer | None = None
        self.transport = connect(self.open) if connect else None
        self._orders_transport = connect_orders(self._open_for_orders) if connect_orders else None
        self._for_orders: list[Conversation] = []
        """The conversations of the second connection."""

    @property
    def stats(self) -> Stats:
        """Counters; times are of this line's clock."""
        return self._wiring.stats

    @property
    def trouble(self) -> str:
        """Why nothing comes, in plain words; empty when nothing is known to be wrong."""
        if self._wiring.broken:
            return "the store cannot be trusted any more; nothing is acknowledged"
        own = self.transport.trouble if self.transport else ""
        if not own and self._orders_transport is not None and (second := self._orders_transport.trouble):
            return f"connection for orders: {second}"
        return own

    @property
    def busy(self) -> bool:
        """Whether enquiries are refused for now; set it when the store or the outbox cannot take more (ASTM only)."""
        return self._busy

    @busy.setter
    def busy(self, value: bool) -> None:
        self._busy = value
        self._tell_busy()

    async def start(self) -> None:
        """Open the transport. Raises what it raises, with the cure in the text."""
        if self.transport is not None:
            await self.transport.start()
        if self._orders_transport is not None:
            try:
                await self._orders_transport.start()
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Close. What was not acknowledged will be sent again by the instrument."""
        for transport in (self.transport, self._orders_transport):
            if transport is not None:
                await transport.stop()

    def send(self, frames: Sequence[bytes], told: Told, *, conversation: int | None = None, tag: object = None) -> None:
        """Send a message of ours: frames as astm_frames.frames() gives them. told: how it went, once; perhaps at once.

        conversation: the connection that is answered (Arrival.conversation); None: the newest. It is sent when the
        instrument is silent, and the instrument always goes first (LIS01-A2 6.2.7.1). Nothing is tried again here.
        """
        for one in reversed(self._conversations):
            if isinstance(one, AstmConversation) and conversation in (None, one.number):
                one.send(frames, told, tag)
                return
        told(NO_CONNECTION)

    def tell(self, question: bytes, text: bytes, told: Told, *, conversation: int | None = None) -> None:
        """On a line with a raw framing: answer a question, as it came, by a text; told as in ``send``."""
        for one in reversed(self._conversations):
            if isinstance(one, RawConversation) and conversation in (None, one.number):
                one.tell(question, text, told)
                return
        told(NO_CONNECTION)

    def post(self, posts: Sequence[Post], told: Told, *, conversation: int | None = None, tag: object = None) -> None:
        """As ``send``, on an HL7 line: replies leave at once, the rest when the line is free, one after another.

        Replies go on the connection that asked; where there is a second connection for orders, the rest goes there.
        told: "" when all were taken; Refused when the instrument has them and does not want them.
        """
        told = self._counted(told)
        if self._orders_transport is None:
            self._post_on(self._conversations, posts, told, conversation, tag)
            return
        replies = list(itertools.takewhile(lambda post: not post.awaited, posts))
        if replies:
            whole = len(replies) == len(posts)
            self._post_on(self._conversations, replies, told if whole else _nobody, conversation, tag)
        if len(replies) < len(posts):
            self._post_on(self._for_orders, posts[len(replies) :], told, None, tag)

    def _post_on(
        self, among: Collection[Conversation], posts: Sequence[Post], told: Told, number: int | None, tag: object
    ) -> None:
        for one in reversed(list(among)):
            if isinstance(one, MllpConversation) and number in (None, one.number):
                one.post(posts, told, tag)
                return
        told(NO_CONNECTION)

    def _counted(self, told: Told) -> Told:
        def done(why: str) -> None:
            self.stats.sent += not why
            self.stats.not_sent += bool(why)
            told(why)

        return done

    def has(self, conversation: int) -> bool:
        """Whether this connection is still there."""
        return any(one.number == conversation for one in self._conversations)

    def withdraw(self, which: Callable[[object], bool]) -> None:
        """Messages of ours with such a tag are not wanted any more, unless they are on the line already."""
        for one in list(self._conversations):
            if isinstance(one, AstmConversation | MllpConversation):
                one.withdraw(which)

    def open(self, channel: Channel) -> Session:
        """Open a conversation on a new connection."""
        conversation: Conversation
        match self.protocol:
            case protocol if isinstance(channel, FileChannel):
                conversation = FileConversation(self._wiring, channel, protocol, self._judge)
            case "astm":
                conversation = AstmConversation(
                    self._wiring, channel, self._link_rules, self._message_end, sends=self._sends
                )
            case "hl7":
                conversation = MllpConversation(self._wiring, channel, profile=self._ack, asks=self._asks)
            case framing:
                conversation = RawConversation(self._wiring, channel, framing, self._reply, self._asks)
        conversation.busy = self._busy or self._rest is not None
        self._conversations[conversation] = conversation
        self.stats.connections += 1
        self.stats.connected_at = self._wiring.clock()
        self._wiring.say("line.connected", instrument=self.name, peer=channel.peer)
        return conversation

    def _open_for_orders(self, channel: Channel) -> Session:
        session = self.open(channel)
        self._for_orders += [one for one in self._conversations if one is session]
        return session

    def status(self, now: datetime | None = None) -> dict[str, object]:
        """For the status page and ``status --json``: counters, and times as UTC in ISO 8601, null when never."""
        moment, at = self._wiring.clock(), now or datetime.now(UTC)

        def utc(when: float | None) -> str | None:
            if when is None:
                return None
            return datetime.fromtimestamp(at.timestamp() - (moment - when), UTC).isoformat(timespec="seconds")

        s = self.stats
        return {
            "line": self.name,
            "protocol": self.protocol,
            "connections": s.connections,
            "trouble": self.trouble,
            "connected_at": utc(s.connected_at),
            "last_byte_at": utc(s.last_byte_at),
            "last_message_at": utc(s.last_message_at),
            "messages": s.messages,
            "incomplete": s.incomplete,
            "frames": s.frames,
            "naks": s.naks,
            "broken": s.broken,
            "store_errors": s.store_errors,
            "sent": s.sent,
            "not_sent": s.not_sent,
            "turned_away": getattr(self.transport, "turned_away", 0),
            "last_refused": getattr(self.transport, "last_refused", ""),
        }

    def _ended(self, conversation: object, why: str) -> None:
        for one in [one for one in self._conversations if one is conversation]:
            del self._conversations[one]
        self._for_orders = [one for one in self._for_orders if one is not conversation]
        self.stats.connections -= 1
        self._wiring.say("line.disconnected", instrument=self.name, why=why)

    def _troubled(self) -> None:
        """The store could not take something: no new sessions for a while, whatever is open ends by its own rules."""
        if self._rest is not None:
            self._rest.cancel()
        self._rest = self._wiring.call_at(self._wiring.clock() + BUSY_S, self._rested)
        self._tell_busy()

    def _rested(self) -> None:
        self._rest = None
        self._tell_busy()

    def _tell_busy(self) -> None:
        busy = self._busy or self._rest is not None
        for conversation in self._conversations.values():
            conversation.busy = busy


def _nobody(_: str) -> None:
    """Told how a reply went whose orders go elsewhere: they are told about."""


def _call_in_loop(when: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), call)
