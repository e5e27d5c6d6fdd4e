"""Both directions on one line: turns, and sender against receiver over cables as bad as they come."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.protocols.astm_frames import frame, frames
from labgateway.protocols.astm_link import Closed, Frame, Link, LinkRules, NotSent, Opened, Sent
from labgateway.protocols.astm_receiver import State
from tests.protocols.astm_kit import ACK, ENQ, EOT, QUERY, RECORDS, RESULT, Cable, wires

ORDER = list(frames(b"H|\\^&\rP|1\rO|1|S-17||^^^HGB\rL|1|N\r"))


def good(data: bytes, _: Random) -> Sequence[tuple[float, bytes]]:
    """A cable without faults, 1 ms long."""
    return [(0.001, data)]


def loses_and_garbles(data: bytes, random: Random) -> Sequence[tuple[float, bytes]]:
    """Of twenty transmissions one is lost, one misses a byte, one has a bit turned; pieces come with delays."""
    fate = random.randrange(20)
    at = random.randrange(len(data))
    if fate == 0:
        return []
    if fate == 1:
        data = data[:at] + data[at + 1 :]
    if fate == 2:
        data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    cut = random.randrange(len(data) + 1)
    return [(random.random() * 0.2, data[:cut]), (random.random() * 0.2, data[cut:])]


def repeats(data: bytes, random: Random) -> Sequence[tuple[float, bytes]]:
    """A cable that says things twice."""
    return [(0.001, data), (0.001, data)] if random.randrange(4) == 0 else [(0.001, data)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), to_host=st.booleans())
def test_over_a_line_that_loses_garbles_and_delays_each_frame_arrives_exactly_once(seed: int, to_host: bool) -> None:
    """Whenever the sender says Sent, the receiver has each frame of the message once, in order, undamaged."""
    cable = Cable(loses_and_garbles, seed)
    sender = cable.instrument if to_host else cable.host
    for _ in range(3):
        assert cable.deliver(sender, RESULT) == RECORDS


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), to_host=st.booleans())
def test_over_a_line_that_repeats_each_frame_arrives_exactly_once(seed: int, to_host: bool) -> None:
    """Transmissions that come twice are taken once."""
    cable = Cable(repeats, seed)
    sender = cable.instrument if to_host else cable.host
    for _ in range(3):
        assert cable.deliver(sender, RESULT) == RECORDS


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), later=st.floats(0, 3))
def test_both_want_the_line_at_once(seed: int, later: float) -> None:
    """Contention in all its timings: both messages arrive whole, the instrument's first if both asked at once."""
    cable = Cable(good, seed)
    cable.host.start(ORDER, cable.now)
    cable.run(later * 0.001)
    cable.instrument.start(frames(QUERY), cable.now)
    cable.run(120)
    assert [e for e in cable.events[cable.host] if isinstance(e, Sent | NotSent)] == [Sent()]
    assert [e for e in cable.events[cable.instrument] if isinstance(e, Sent | NotSent)] == [Sent()]
    assert b"".join(e.text for e in cable.events[cable.host] if isinstance(e, Frame)) == QUERY
    got = [e.raw + b"\r\n" for e in cable.events[cable.instrument] if isinstance(e, Frame)]
    assert got == ORDER
    if later < 0.9:
        assert isinstance(cable.events[cable.host][-1], Sent)


@pytest.mark.parametrize("host", [True, False])
def test_a_crossing_of_enquiries(host: bool) -> None:
    """Our ENQ meets theirs: the host is silent and hears the next ENQ; the instrument asks again after a second."""
    link = Link(LinkRules(host=host))
    link.start(ORDER, 0.0)
    assert link.bytes_to_send() == ENQ
    link.feed(ENQ, 0.1)
    assert link.bytes_to_send() == b""
    assert link.deadline == (20.1 if host else 1.1)
    if host:
        link.feed(ENQ, 1.2)
        assert link.bytes_to_send() == ACK
        assert link.next_event() == Opened()
    else:
        link.tick(1.1)
        assert link.bytes_to_send() == ENQ


def test_a_crossing_of_enquiries_where_the_instrument_wants_an_ack() -> None:
    """Declared: the host becomes receiver on the very ENQ that met its own."""
    link = Link(LinkRules(acks_contention=True))
    link.start(ORDER, 0.0)
    link.bytes_to_send()
    link.feed(ENQ, 0.1)
    assert link.bytes_to_send() == ACK
    link.feed(EOT, 0.2)
    assert link.bytes_to_send() == ENQ


def test_a_query_is_answered_when_the_line_is_free() -> None:
    """The reply is started inside the instrument's session and goes out behind its EOT, not before."""
    link = Link()
    link.feed(ENQ, 0.0)
    for number, record in enumerate([b"H|\\^&\r", b"Q|1|^S-17||ALL\r", b"L|1|N\r"], start=1):
        link.feed(frame(number, record), 0.0)
        while (event := link.next_event()) is not None:
            if isinstance(event, Frame):
                link.accept(event, now=0.0)
    link.start(ORDER, 0.1)
    assert link.bytes_to_send() == ACK * 4
    assert not link.idle
    link.feed(EOT, 0.2)
    assert link.bytes_to_send() == ENQ
    assert link.next_event() == Closed()
    for piece in [*ORDER, EOT]:
        link.feed(ACK, 0.3)
        assert link.bytes_to_send() == piece
    assert link.next_event() == Sent()
    assert link.idle
    assert link.deadline is None


def test_eot_and_enq_in_one_piece_leave_the_line_to_the_instrument() -> None:
    """It ends and asks again in one segment: our message waits for the end of that session, too."""
    link = Link()
    link.feed(ENQ, 0.0)
    link.start(ORDER, 0.0)
    link.feed(EOT + ENQ, 0.1)
    assert link.bytes_to_send() == ACK + ACK
    link.feed(EOT, 0.2)
    assert link.bytes_to_send() == ENQ


def test_the_turn_comes_when_a_held_end_is_reached_by_accept() -> None:
    """The EOT came while the last frame was undecided: accept() frees the line, and the message goes out."""
    link = Link()
    link.feed(ENQ + frame(1, b"L|1|N\r") + EOT, 0.0)
    link.start(ORDER, 0.0)
    assert link.bytes_to_send() == ACK
    link.accept(now=0.1)
    assert link.bytes_to_send() == ACK + ENQ


def test_after_an_interrupt_the_instrument_has_its_turn_first() -> None:
    """6.3.5.2: its session lifts our pause of 15 s; we ask again right behind it."""
    link = Link()
    link.start(ORDER, 0.0)
    link.feed(ACK, 0.1)
    link.feed(EOT, 0.2)
    assert link.bytes_to_send().endswith(EOT)
    link.start(ORDER, 0.3)
    assert link.bytes_to_send() == b""
    link.feed(ENQ, 1.0)
    link.feed(EOT, 1.1)
    assert link.bytes_to_send() == ACK + ENQ


def test_busy_goes_through() -> None:
    """Back-pressure is set on the link as on its receiver."""
    link = Link()
    link.busy = True
    assert link.busy
    link.feed(ENQ, 0.0)
    assert link.bytes_to_send() == b"\x15"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(wires(), st.sampled_from(["start", "cancel", "lost", "accept", "refuse"])), max_size=20),
    st.data(),
)
def test_whatever_happens_on_the_line(steps: list[bytes | str], data: st.DataObject) -> None:
    """T1, T6: nothing raises, and every message of ours ends in Sent or NotSent once time has passed."""
    link = Link()
    now, started, told = 0.0, 0, 0
    for step in [*steps, *["wait"] * 8]:
        now += data.draw(st.sampled_from([0.0, 0.4, 2.0])) if step != "wait" else 40
        link.tick(now)
        match step:
            case bytes():
                link.feed(step, now)
            case "start":
                if not link.sender.active:
                    started += 1
                    link.start(ORDER, now)
            case "cancel":
                link.cancel(now)
            case "lost":
                link.lost(now)
            case "refuse":
                link.refuse(now=now)
            case "accept":
                link.accept(now=now)
            case _:
                while link.receiver.state is State.DECIDING:
                    link.accept(now=now)
        while (event := link.next_event()) is not None:
            told += isinstance(event, Sent | NotSent)
        link.bytes_to_send()
    assert told == started
