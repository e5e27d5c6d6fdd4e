"""Both directions on one bad cable, both sides with much to say: each message arrives once in effect.

"In effect": a sender that never heard our last answer sends its message again, as the standard wants it, and the copy is the
same to the byte. What may not happen: a message that its sender counts as sent and nobody has, and a message nobody sent.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.protocols.astm_frames import frames
from labgateway.protocols.astm_link import Broken, Closed, Frame, Link, LinkRules, NotSent, NotSentWhy, Opened, Sent
from labgateway.transports.channel import Channel
from labgateway.transports.memory import Cable, Faults, Scheduler, Timer

BEGAN = Scheduler().now()
STORE_S = 0.01
ANSWERS = b"\x04\x05\x06\x15"


class Side:
    """One end of the line: sends its messages one after another, each until it is sent, and stores what comes."""

    def __init__(self, scheduler: Scheduler, messages: list[bytes], *, host: bool) -> None:
        self.link = Link(LinkRules(host=host))
        self.owed = list(messages)
        self.sent: list[bytes] = []
        self.stored: list[bytes] = []
        self.why: Counter[NotSentWhy] = Counter()
        self.sent_at: list[float] = []
        self._scheduler = scheduler
        self._texts: list[bytes] = []
        self._storing = False
        self._channel: Channel | None = None
        self._timer: Timer | None = None

    def open(self, channel: Channel) -> Side:
        self._channel = channel
        self._scheduler.call_later(0.0, self._say)
        return self

    def received(self, data: bytes) -> None:
        self.link.feed(data, self._scheduler.now())
        self._pump()

    def disconnected(self, why: str) -> None:
        raise AssertionError(why)

    def _say(self) -> None:
        if self.owed and not self.link.sender.active:
            self.link.start(frames(self.owed[0], size=40), self._scheduler.now())
        self._pump()

    def _store(self, frame: Frame) -> None:
        self._storing = False
        self.stored.append(b"".join([*self._texts, frame.text]))
        self._texts = []
        self.link.accept(frame, now=self._scheduler.now())
        self._pump()

    def _pump(self) -> None:
        scheduler, link = self._scheduler, self.link
        while not self._storing and (event := link.next_event()) is not None:
            match event:
                case Frame():
                    if event.text.startswith(b"L|"):
                        self._storing = True
                        scheduler.call_later(STORE_S, lambda frame=event: self._store(frame))
                        break
                    self._texts.append(event.text)
                    link.accept(event, now=scheduler.now())
                case Opened() | Closed() | Broken():
                    self._texts = []
                case Sent():
                    self.sent.append(self.owed.pop(0))
                    self.sent_at.append(scheduler.now())
                    scheduler.call_later(0.0, self._say)
                case NotSent(why):
                    self.why[why] += 1
                    scheduler.call_later(3.0, self._say)
                case _:
                    pass
        if (out := link.bytes_to_send()) and self._channel is not None:
            self._channel.send(out)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if link.deadline is None else scheduler.call_at(link.deadline, self._due)

    def _due(self) -> None:
        self.link.tick(self._scheduler.now())
        self._pump()


def messages(letter: str, count: int) -> list[bytes]:
    return [
        f"H|\\^&|||{letter}\rP|1\rO|1|{letter}{n}||^^^A\rR|1|^^^A|{n}.5|{'x' * 50}\rL|1|N\r".encode()
        for n in range(count)
    ]


def play(seed: int, faults: Faults, *, count: int = 4, hours: float = 12.0) -> tuple[Side, Side]:
    """Let both talk until both are done. Both begin at the same moment."""
    scheduler = Scheduler()
    instrument = Side(scheduler, messages("I", count), host=False)
    host = Side(scheduler, messages("H", count), host=True)
    Cable(scheduler, instrument.open, host.open, random=Random(seed), to_a=faults, to_b=faults)
    for _ in range(int(hours * 60)):
        scheduler.run_for(60)
        for side, other in ((instrument, host), (host, instrument)):
            assert set(side.sent) <= set(other.stored), "sent, and nobody has it"
            assert set(other.stored) <= set(messages("I" if side is instrument else "H", count)), "nobody sent this"
        if not instrument.owed and not host.owed:
            break
    assert not instrument.owed
    assert not host.owed
    return instrument, host


bad_lines = st.builds(
    lambda lose, hurt, cut, twice, delay_s: Faults(
        lose=lose, hurt=hurt, cut=0.0 if twice else cut, repeat=twice, delay_s=(0.0, delay_s), never=ANSWERS
    ),
    st.sampled_from([0.0, 0.001]),
    st.sampled_from([0.0, 0.02, 0.1]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 0.05, 0.5]),
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), faults=bad_lines)
def test_both_talk_over_a_line_that_loses_garbles_delays_and_repeats(seed: int, faults: Faults) -> None:
    """Everything arrives in both directions, in order, and once in effect; nothing arrives that was not sent."""
    for side, other in (pair := play(seed, faults)), pair[::-1]:
        assert list(dict.fromkeys(other.stored)) == side.sent


@pytest.mark.parametrize("delay_s", [0.001, 0.2])
def test_where_both_ask_each_time_the_instrument_is_heard_first(delay_s: float) -> None:
    """No faults, only distance: each enquiry meets the other's; the instrument asks again after 1 s, the host follows."""
    instrument, host = play(0, Faults(delay_s=(delay_s, delay_s)))
    assert instrument.sent_at[0] < host.sent_at[0]
    assert instrument.why[NotSentWhy.CONTENTION] == host.why[NotSentWhy.CONTENTION] == 0
    assert host.stored == instrument.sent
    assert instrument.stored == host.sent
    assert max(*instrument.sent_at, *host.sent_at) - BEGAN < 60


def test_the_host_waits_20_seconds() -> None:
    """Contention, and then an instrument that says nothing more: it has 20 s to ask again, then we do."""
    scheduler = Scheduler()
    host = Side(scheduler, messages("H", 1), host=True)
    heard: list[tuple[float, bytes]] = []

    class Mute:
        def __init__(self, channel: Channel) -> None:
            self.channel = channel

        def received(self, data: bytes) -> None:
            heard.append((scheduler.now() - BEGAN, data))
            if len(heard) == 1:
                self.channel.send(b"\x05")

        def disconnected(self, why: str) -> None:
            raise AssertionError(why)

    Cable(scheduler, Mute, host.open)
    scheduler.run_for(30)
    assert heard == [(0.0, b"\x05"), (20.0, b"\x05")]
