"""The sending machine: its table move by move, and what always holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.protocols.astm_events import NotSent, NotSentWhy, Sent
from labgateway.protocols.astm_rules import LinkRules
from labgateway.protocols.astm_sender import Sender, SenderState
from tests.protocols.astm_kit import ACK, ENQ, EOT, MESSAGE, NAK, Clocked, started


def test_a_message_goes_frame_by_frame() -> None:
    """ENQ, each frame when the one before was acknowledged, EOT, Sent."""
    sender = started()
    for piece in MESSAGE:
        assert sender.feed(ACK) == piece
        assert sender.events == []
    assert sender.feed(ACK) == EOT
    assert sender.events == [Sent()]
    assert sender.machine.deadline is None


def test_only_one_message_at_a_time_and_none_without_frames() -> None:
    """Calling it wrong is a mistake of the caller and said so."""
    sender = started()
    with pytest.raises(RuntimeError):
        sender.machine.start(MESSAGE, sender.now)
    with pytest.raises(ValueError, match="without frames"):
        Sender().start([], 0.0)


def test_what_came_with_an_answer_answers_nothing_else() -> None:
    """A doubled ACK is not taken for the answer to a frame that had not gone out yet."""
    sender = started()
    assert sender.feed(ACK + ACK) == MESSAGE[0]
    assert sender.feed(ACK + NAK + b"\r\n") == MESSAGE[1]


def test_line_ends_behind_answers_are_ignored() -> None:
    """Some instruments end their ACK like a line."""
    sender = started()
    sender.feed(ACK)
    assert sender.feed(b"\r\n\0") == b""
    assert sender.wait(1) == b""
    assert sender.feed(ACK) == MESSAGE[1]


def test_an_unreadable_answer_is_nak_only_if_none_follows() -> None:
    """6.5.1.2 with care: the frame goes out again after a moment, unless what follows can be read."""
    sender = started()
    sender.feed(ACK)
    assert sender.feed(b"\x86") == b""
    assert sender.wait(0.1) == b""
    assert sender.feed(ACK) == MESSAGE[1]
    assert sender.feed(b"?") == b""
    assert sender.wait(0.6) == MESSAGE[1]


def test_the_rest_after_the_last_answer_is_given_back() -> None:
    """The instrument asks for the line in the same breath: its ENQ is the receiver's."""
    sender = started()
    for _ in MESSAGE:
        sender.feed(ACK)
    assert sender.machine.feed(ACK + ENQ, sender.now) == ENQ


def test_cancelled() -> None:
    """In any state: what was begun is ended with EOT, and the message is given up once."""
    waiting = Clocked()
    waiting.machine.line_is(free=False, now=waiting.now)
    assert waiting.start() == b""
    for sender, out in ((waiting, b""), (started(), EOT)):
        sender.machine.cancel(sender.now)
        sender.machine.cancel(sender.now)
        assert sender.out() == out
        assert sender.events == [NotSent(NotSentWhy.CANCELLED, 0)]


def test_lost() -> None:
    """The connection goes: NotSent, and nothing is left to say or to wait for on the next one."""
    sender = started()
    sender.feed(ACK)
    sender.machine.lost(sender.now)
    assert sender.out() == b""
    assert sender.events == [NotSent(NotSentWhy.LOST, 0)]
    assert sender.machine.deadline is None
    assert sender.start() == ENQ


def test_a_line_that_is_taken_is_waited_for() -> None:
    """No ENQ into a session of the other side; at once when that ends."""
    sender = Clocked()
    sender.machine.line_is(free=False, now=sender.now)
    assert sender.start() == b""
    assert sender.machine.deadline is None
    sender.machine.line_is(free=True, now=sender.now)
    assert sender.out() == ENQ


steps = st.one_of(
    st.tuples(st.just("feed"), st.lists(st.sampled_from([ACK, NAK, EOT, ENQ, b"\r", b"x"]), max_size=4).map(b"".join)),
    st.tuples(st.just("feed"), st.binary(max_size=5)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.6, 1, 10, 15, 20])),
    st.tuples(st.sampled_from(["start", "cancel", "lost", "free", "taken"]), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(steps, max_size=40), host=st.booleans())
def test_whatever_is_answered(steps: list[tuple[str, object]], host: bool) -> None:
    """T1, T6: nothing raises; each message ends in exactly one event; whoever owns the line has a deadline."""
    sender = Clocked(LinkRules(host=host))
    messages = 0
    for what, value in steps:
        match what, value:
            case "feed", bytes(data) if sender.machine.owns_line:
                sender.feed(data)
            case "wait", float() | int() as seconds:
                sender.wait(seconds)
            case "start", _ if not sender.machine.active:
                messages += 1
                sender.start()
            case "cancel", _:
                sender.machine.cancel(sender.now)
            case "lost", _:
                sender.machine.lost(sender.now)
            case "free" | "taken", _:
                sender.machine.line_is(free=what == "free", now=sender.now)
            case _:
                pass
        sender.out()
        assert len(sender.events) == messages - sender.machine.active
        assert (sender.machine.deadline is not None) or not sender.machine.owns_line


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([ACK, NAK, b"x", b""]), max_size=60))
def test_sent_is_said_only_when_every_frame_was_acknowledged(answers: list[bytes]) -> None:
    """Sent needs an ACK for the enquiry and one for each frame, in order; each frame goes out six times at most."""
    sender = started()
    out: list[bytes] = []
    acknowledged = 0
    for answer in answers:
        if not sender.machine.owns_line:
            break
        before = sender.machine.state
        out.append(sender.feed(answer) + sender.wait(1 if answer else 15))
        acknowledged += answer == ACK and before in (SenderState.ASKING, SenderState.SENDING)
    assert (Sent() in sender.events) == (acknowledged == len(MESSAGE) + 1)
    for piece in MESSAGE:
        assert out.count(piece) <= 6
