"""ASTM lines: nothing is acknowledged before it is kept, nothing is kept twice, nothing broken is delivered."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.errors import StoreBrokenError, StoreFullError
from labgateway.line import Arrival, Control
from labgateway.protocols.astm_frames import frame, unframe
from labgateway.transports.channel import Channel
from labgateway.transports.memory import NO_FAULTS, Cable, Faults, Scheduler
from tests.line_kit import ACK, ENQ, EOT, NAK, Analyzer, Journal, line, message, session, taped


def played(
    sessions: list[list[bytes]],
    faults: Faults = NO_FAULTS,
    *,
    delay_s: float | None = 0.005,
    seed: int = 0,
    seconds: float = 60.0,
) -> tuple[Journal, Analyzer]:
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s)
    gateway = line(scheduler, journal)
    analyzers: list[Analyzer] = []

    def analyzer(channel: Channel) -> Analyzer:
        analyzers.append(Analyzer(channel, scheduler, sessions))
        return analyzers[0]

    Cable(scheduler, analyzer, gateway.open, random=Random(seed), to_b=faults)
    analyzers[0].begin()
    scheduler.run_for(seconds)
    return journal, analyzers[0]


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.02, 5.0])
def test_a_message_is_kept_as_received(delay_s: float | None) -> None:
    """The accepted frames stand in the journal byte for byte, whether the store answers at once or late."""
    frames = session(message(1))
    journal, analyzer = played([frames], delay_s=delay_s)
    assert analyzer.done
    assert journal.complete() == [b"".join(frames)]
    assert journal.incomplete() == []
    assert unframe(journal.complete()[0]).messages == [message(1)]
    arrival = journal.asked[0]
    assert (arrival.instrument, arrival.protocol, arrival.peer) == ("xn1", "astm", "memory:b")


def test_several_messages_in_a_session() -> None:
    """H..L H..L behind one ENQ are kept as two, each with its own frames."""
    frames = session(message(1), message(2))
    journal, _ = played([frames])
    assert [unframe(data).messages for data in journal.complete()] == [[message(1)], [message(2)]]
    assert b"".join(journal.complete()) == b"".join(frames)


@pytest.mark.parametrize("size", [7, 20, 240])
@pytest.mark.parametrize("packed", [False, True])
def test_however_the_instrument_cuts_its_records(size: int, packed: bool) -> None:
    """Records cut over ETB frames, one a frame, or all in one: the same message is kept."""
    journal, _ = played([session(message(1), size=size, packed=packed), session(message(2), size=size, packed=packed)])
    assert [unframe(data).messages for data in journal.complete()] == [[message(1)], [message(2)]]


@settings(max_examples=60, deadline=None)
@given(
    delay_s=st.one_of(st.none(), st.floats(0, 3)),
    seed=st.integers(0, 1 << 16),
    cut=st.floats(0, 1),
    wait=st.floats(0, 0.5),
    results=st.integers(0, 5),
)
def test_the_way_bytes_are_cut_changes_nothing(
    delay_s: float | None, seed: int, cut: float, wait: float, results: int
) -> None:
    """The same messages are kept however the bytes are cut and delayed, and however long the store takes."""
    texts = [message(n, results) for n in range(3)]
    sessions = [session(texts[0]), session(*texts[1:])]
    faults = Faults(cut=cut, delay_s=(0.0, wait))
    journal, analyzer = played(sessions, faults, delay_s=delay_s, seed=seed, seconds=900.0)
    assert analyzer.done
    assert [unframe(data).messages for data in journal.complete()] == [[text] for text in texts]
    assert journal.incomplete() == []


_BAD_LINE = {
    "seed": st.integers(0, 1 << 16),
    "hurt": st.floats(0, 0.3),
    "cut": st.floats(0, 1),
    "full": st.lists(st.booleans(), max_size=6),
    "twice": st.sampled_from([0.0, 0.0, 0.3]),
    "delay_s": st.sampled_from([0.0, 0.2, 2.0]),
    "lose": st.sampled_from([0.0, 0.05, 0.2]),
}


@settings(max_examples=80, deadline=None)
@given(**_BAD_LINE)
def test_what_is_acknowledged_is_on_disk(**bad: Any) -> None:
    """At every moment: an L frame that the instrument may forget is committed."""
    _acknowledged_is_on_disk(**bad, every_frame=False)


@settings(max_examples=80, deadline=None)
@given(**_BAD_LINE)
def test_every_acknowledged_frame_is_on_disk(**bad: Any) -> None:
    """At every moment, with every_frame: any frame that the instrument may forget is committed."""
    _acknowledged_is_on_disk(**bad, every_frame=True)


@pytest.mark.parametrize("every_frame", [False, True])
@pytest.mark.parametrize(
    ("seed", "full"),
    [(4630, [False, True, False, False, False, True]), (17611, [False, True, True, True, True, False]), (21830, [])],
)
def test_a_line_that_says_things_twice(seed: int, full: list[bool], every_frame: bool) -> None:
    """Found by chance: two answers to one transmission, the second taken for the next frame's, and that one lost."""
    for twice in (0.1, 0.3):
        bad = {"hurt": 0.05, "cut": 0.0, "twice": twice, "delay_s": 0.2, "lose": 0.1}
        _acknowledged_is_on_disk(seed, full=full, every_frame=every_frame, **bad)


def _acknowledged_is_on_disk(
    seed: int,
    *,
    hurt: float,
    cut: float,
    full: list[bool],
    twice: float,
    delay_s: float,
    lose: float,
    every_frame: bool,
) -> None:
    """Play three messages over a bad line.

    hurt, cut, twice: chances that a transmission has one byte damaged, comes in pieces, comes twice (then in one
    piece: a repeat that comes late is the instrument's own). lose: chance that an answer of ours is lost.
    """
    scheduler = Scheduler()
    journal = Journal(scheduler, 0.01)
    journal.errors = [StoreFullError("full") if fails else None for fails in full]
    gateway = line(scheduler, journal, message_end="every_frame" if every_frame else "L")
    sessions = [session(message(n)) for n in range(3)]
    analyzers: list[Analyzer] = []

    def analyzer(channel: Channel) -> Analyzer:
        analyzers.append(Analyzer(channel, scheduler, sessions))
        return analyzers[0]

    way = (0.0, delay_s)
    to_host = Faults(hurt=hurt, cut=0.0 if twice else cut, repeat=twice, delay_s=way)
    to_instrument = Faults(lose=lose, delay_s=way)
    cable = Cable(scheduler, analyzer, gateway.open, random=Random(seed), to_b=to_host, to_a=to_instrument)
    analyzers[0].begin()
    checked = 0
    for _ in range(6000):
        scheduler.run_for(0.1)
        for sent in analyzers[0].acknowledged[checked:]:
            if every_frame or sent[2:3] == b"L":
                assert any(sent[:-4] in row.data for row in journal.rows.values()), sent
        checked = len(analyzers[0].acknowledged)
        if analyzers[0].done:
            break
    cable.tear()
    scheduler.run_for(60)
    # A digit of a checksum that became its lower case is no damage, so the texts are compared.
    whole = [message(n) for n in range(3)]
    complete = [text for data in journal.complete() for text in unframe(data).messages]
    if every_frame and lose:
        # A line end damaged into EOT whose frame's answer is lost as well looks like the end of the message.
        assert all(any(one.startswith(text) for one in whole) for text in complete)
    else:
        assert set(complete) <= set(whole)
    if analyzers[0].done:
        assert set(complete) >= set(whole)
    if not (hurt or any(full) or lose):
        assert complete == whole


def test_no_answer_before_the_commit() -> None:
    """The frame with the L record stays unanswered until the store calls back; then it is ACK."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=3.0)
    gateway = line(scheduler, journal)
    _, tape = taped(scheduler, gateway)
    tape.channel.send(ENQ)
    for data in session(message(1)):
        scheduler.run_for(0.01)
        tape.channel.send(data)
    scheduler.run_for(2.9)
    assert tape.heard == ACK * 7
    assert journal.rows == {}
    scheduler.run_for(0.2)
    assert tape.heard == ACK * 8
    assert len(journal.complete()) == 1


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 400), how=st.sampled_from(["cut", "silence", "eot", "enq"]))
def test_a_broken_session_delivers_nothing(at: int, how: str) -> None:
    """Wherever a session stops before its L is accepted: nothing complete; what was accepted is kept as incomplete."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    gateway = line(scheduler, journal)
    cable, tape = taped(scheduler, gateway)
    frames = session(message(1))
    wire = b"".join(frames)
    at = min(at, len(wire) - len(frames[-1]))
    tape.channel.send(ENQ)
    scheduler.run_for(0.01)
    tape.channel.send(wire[:at])
    scheduler.run_for(0.01)
    whole = b"".join(data for i, data in enumerate(frames) if len(b"".join(frames[: i + 1])) - 2 <= at)
    match how:
        case "cut":
            cable.tear()
        case "silence":
            scheduler.run_for(200)
        case "eot":
            tape.channel.send(EOT)
        case _:
            scheduler.run_for(0.5)
            tape.channel.send(ENQ)
    scheduler.run_for(200)
    assert journal.complete() == []
    assert [row.data for row in journal.incomplete()] == ([whole] if whole else [])
    assert all(row.why for row in journal.incomplete())
    assert gateway.stats.incomplete == len(journal.incomplete())


def test_after_a_broken_session_the_repeat_is_whole() -> None:
    """The half of a message that broke off is never joined with its repeat."""
    frames = session(message(1))
    scheduler = Scheduler()
    journal = Journal(scheduler)
    gateway = line(scheduler, journal)
    _, tape = taped(scheduler, gateway)
    for data in (ENQ, *frames[:4], EOT, ENQ, *frames, EOT):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    assert journal.complete() == [b"".join(frames)]
    assert [row.data for row in journal.incomplete()] == [b"".join(frames[:4])]


def test_a_repeated_frame_is_not_kept_twice() -> None:
    """A frame whose ACK was lost comes again: acknowledged, not kept again; the L frame too."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal))
    frames = session(message(1))
    tape.channel.send(ENQ)
    for data in frames:
        for _ in range(2):
            scheduler.run_for(0.1)
            tape.channel.send(data)
    scheduler.run_for(0.1)
    assert journal.complete() == [b"".join(frames)]
    assert len(journal.asked) == 1
    assert tape.heard == ACK * (1 + 2 * len(frames))


def test_a_second_h_without_l_parts_the_messages() -> None:
    """Without an L before it, an H ends the message before as incomplete; the new one stands alone."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal))
    head = session(message(1))[:-1]
    tail = session(message(2))
    numbered = [frame(i + 1, data[2:-5]) for i, data in enumerate([*head, *tail])]
    tape.channel.send(ENQ)
    for data in numbered:
        scheduler.run_for(0.1)
        tape.channel.send(data)
    scheduler.run_for(0.1)
    assert journal.complete() == [b"".join(numbered[len(head) :])]
    assert [row.data for row in journal.incomplete()] == [b"".join(numbered[: len(head)])]
    assert tape.heard == ACK * (1 + len(numbered))


def test_every_frame_is_kept_before_its_ack() -> None:
    """With every_frame each ACK waits for the commit of its frame, and EOT makes the whole complete."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=1.0)
    _, tape = taped(scheduler, line(scheduler, journal, message_end="every_frame"))
    frames = session(message(1))[:-1]
    tape.channel.send(ENQ)
    scheduler.run_for(0.1)
    for number, data in enumerate(frames):
        tape.channel.send(data)
        scheduler.run_for(0.9)
        assert tape.heard == ACK * (number + 1)
        scheduler.run_for(0.2)
        assert tape.heard == ACK * (number + 2)
        (row,) = journal.rows.values()
        assert row.data == b"".join(frames[: number + 1])
        assert row.control is Control.PART
        assert not row.complete
    tape.channel.send(EOT)
    scheduler.run_for(20)
    (row,) = journal.rows.values()
    assert (row.data, row.complete, row.control) == (b"".join(frames), True, Control.WHOLE)


def test_every_frame_ends_a_message_at_the_next_h() -> None:
    """An instrument that repeats H and never sends L: each H begins a message, EOT ends the last, all complete."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, message_end="every_frame"))
    texts = [b"H|\\^&\r", b"R|1|A|1\r", b"H|\\^&\r", b"R|1|A|2\r"]
    sent = [frame(i + 1, text) for i, text in enumerate(texts)]
    for data in (ENQ, *sent, EOT):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    scheduler.run_for(20)
    assert journal.complete() == [b"".join(sent[:2]), b"".join(sent[2:])]
    assert journal.incomplete() == []


def test_every_frame_doubts_an_end_with_noise_behind_it() -> None:
    """With every_frame, an STX that was damaged into EOT does not make half a message whole."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, message_end="every_frame"))
    frames = session(message(1))
    for data in (ENQ, frames[0], frames[1], EOT + frames[2][1:]):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    scheduler.run_for(60)
    assert journal.complete() == []
    assert [row.data for row in journal.incomplete()] == [b"".join(frames[:2])]


def test_two_messages_in_one_frame_are_safe() -> None:
    """A frame with the L of one message and the H of the next is not acknowledged before it is on disk."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=1.0)
    _, tape = taped(scheduler, line(scheduler, journal))
    sent = [
        frame(1, b"H|\\^&\rR|1|A|1\r"),
        frame(2, b"L|1|N\rH|\\^&\r"),
        frame(3, b"R|1|A|2\rL|1|N\rH|\\^&\r"),
        frame(4, b"R|1|A|3\r"),
        frame(5, b"L|1|N\r"),
    ]
    for number, data in enumerate((ENQ, *sent, EOT)):
        tape.channel.send(data)
        scheduler.run_for(0.5)
        stored = b"".join(row.data for row in journal.rows.values())
        assert number not in (2, 3, 5) or data not in stored
        assert tape.heard.count(ACK) == min(number + (0 if number in (2, 3, 5) else 1), 6)
        scheduler.run_for(1)
        assert number not in (2, 3, 5) or data in b"".join(row.data for row in journal.rows.values())
    assert [unframe(data).messages for data in journal.complete()] == [
        [b"H|\\^&\rR|1|A|%d\rL|1|N\r" % n for n in (1, 2, 3)]
    ]


def test_a_full_store_refuses_and_the_message_comes_again() -> None:
    """On a StoreError the L frame is NAKed; sent again and stored, it is there once; new sessions wait 10 s."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    journal.errors = [StoreFullError("full"), None]
    gateway = line(scheduler, journal)
    _, tape = taped(scheduler, gateway)
    frames = session(message(1))
    for data in (ENQ, *frames, frames[-1], EOT, ENQ):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    assert tape.heard == ACK * len(frames) + NAK + ACK + NAK
    assert journal.complete() == [b"".join(frames)]
    assert gateway.stats.store_errors == 1
    scheduler.run_for(11)
    tape.channel.send(ENQ)
    scheduler.run_for(0.1)
    assert tape.heard[-1:] == ACK


def test_a_broken_store_gets_silence() -> None:
    """After a StoreBrokenError nothing at all is answered any more, on any connection of the line."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    journal.errors = [StoreBrokenError("fsync")]
    gateway = line(scheduler, journal)
    _, tape = taped(scheduler, gateway)
    frames = session(message(1))
    for data in (ENQ, *frames, frames[-1], EOT, ENQ, *frames):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    assert tape.heard == ACK * len(frames)
    _, other = taped(scheduler, gateway)
    other.channel.send(ENQ)
    scheduler.run_for(60)
    assert other.heard == b""
    assert "nothing is acknowledged" in gateway.trouble


def test_busy_refuses_new_sessions_only() -> None:
    """busy: an enquiry is answered NAK, an open session goes on to its end."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    gateway = line(scheduler, journal)
    _, tape = taped(scheduler, gateway)
    frames = session(message(1))
    tape.channel.send(ENQ)
    scheduler.run_for(0.1)
    gateway.busy = True
    for data in (*frames, EOT, ENQ):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    assert tape.heard == ACK * (1 + len(frames)) + NAK
    assert len(journal.complete()) == 1
    gateway.busy = False
    tape.channel.send(ENQ)
    scheduler.run_for(0.1)
    assert tape.heard[-1:] == ACK


def test_an_endless_message_is_refused_and_kept_short() -> None:
    """A message beyond the limit: its next frame is NAKed, memory stays bounded, what was accepted is incomplete."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    gateway = line(scheduler, journal, max_message_bytes=300)
    _, tape = taped(scheduler, gateway)
    tape.channel.send(ENQ)
    for number in range(1, 6):
        scheduler.run_for(0.1)
        tape.channel.send(frame(number, b"R|%d|" % number + b"x" * 90 + b"\r"))
    scheduler.run_for(0.1)
    assert tape.heard == ACK * 4 + NAK * 2
    tape.channel.send(EOT)
    scheduler.run_for(0.1)
    (row,) = journal.incomplete()
    assert len(row.data) <= 310


def test_a_line_that_breaks_while_the_store_works() -> None:
    """The line is lost between the L frame and its commit: the message is kept once, complete, nothing besides."""
    for error in (None, StoreFullError("full")):
        scheduler = Scheduler()
        journal = Journal(scheduler, delay_s=1.0)
        journal.errors = [error]
        cable, tape = taped(scheduler, line(scheduler, journal))
        frames = session(message(1))
        tape.channel.send(ENQ)
        for data in frames:
            scheduler.run_for(0.01)
            tape.channel.send(data)
        scheduler.run_for(0.5)
        cable.tear()
        scheduler.run_for(30)
        if error is None:
            assert journal.complete() == [b"".join(frames)]
            assert journal.incomplete() == []
        else:
            assert journal.complete() == []
            assert [row.data for row in journal.incomplete()] == [b"".join(frames[:-1])]


def test_what_a_broken_session_left_waits_for_the_store() -> None:
    """While the store is full, an incomplete message is offered again until it is kept."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    journal.errors = [StoreFullError("full")] * 3
    cable, tape = taped(scheduler, line(scheduler, journal))
    frames = session(message(1))
    for data in (ENQ, *frames[:3]):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    cable.tear()
    scheduler.run_for(60)
    assert [row.data for row in journal.incomplete()] == [b"".join(frames[:3])]
    assert len(journal.asked) == 4


def test_a_sender_that_does_not_wait_is_held_back() -> None:
    """Thousands of frames sent without waiting: all are kept, the connection is paused, memory stays bounded."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=0.001)
    gateway = line(scheduler, journal)
    cable, tape = taped(scheduler, gateway)
    pauses: list[int] = []
    pause = cable.end_b.pause

    def paused() -> None:
        pauses.append(1)
        pause()

    cable.end_b.pause = paused  # type: ignore[method-assign]
    sent = session(*(message(n) for n in range(1500)))
    tape.channel.send(ENQ)
    scheduler.run_for(0.01)
    for i in range(0, len(sent), 10):
        tape.channel.send(b"".join(sent[i : i + 10]))
    scheduler.run_for(30)
    assert journal.complete() == [b"".join(sent[i : i + 7]) for i in range(0, len(sent), 7)]
    assert not cable.torn
    assert pauses


def test_two_connections_never_mix() -> None:
    """Two instruments on one line, frame by frame in turn: each message holds its own frames only."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    gateway = line(scheduler, journal)
    tapes = [taped(scheduler, gateway)[1] for _ in range(2)]
    sent = [session(message(n)) for n in (1, 2)]
    for step in range(len(sent[0]) + 1):
        for tape, frames in zip(tapes, sent, strict=True):
            tape.channel.send(ENQ if step == 0 else frames[step - 1])
            scheduler.run_for(0.001)
    scheduler.run_for(1)
    assert sorted(journal.complete()) == sorted(b"".join(frames) for frames in sent)
    assert len({arrival.conversation for arrival in journal.asked}) == 2


def test_the_status_counts() -> None:
    """Counters and times on the status page are those of what happened."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    gateway = line(scheduler, journal)
    cable, tape = taped(scheduler, gateway)
    frames = session(message(1))
    bad = frames[0][:-4] + b"00\r\n"
    for data in (ENQ, bad, *frames, EOT, ENQ, frames[0]):
        tape.channel.send(data)
        scheduler.run_for(0.1)
    status = gateway.status()
    assert (status["messages"], status["frames"], status["naks"], status["connections"]) == (1, len(frames) + 1, 1, 1)
    assert status["last_message_at"] is not None
    cable.tear()
    scheduler.run_for(1)
    status = gateway.status()
    assert (status["connections"], status["broken"], status["incomplete"]) == (0, 1, 1)


def test_a_keep_alive_is_no_message() -> None:
    """ENQ then EOT with nothing between (Yumizen H550) leaves nothing behind."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal))
    for data in (ENQ, EOT, ENQ + EOT):
        tape.channel.send(data)
        scheduler.run_for(1)
    assert journal.asked == []


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([ENQ, EOT, *session(message(1))])), max_size=30)
)
def test_no_bytes_raise(chunks: list[bytes]) -> None:
    """Garbage, pieces and whole frames in any order: no exception, and complete means H to L."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    cable, tape = taped(scheduler, line(scheduler, journal))
    for chunk in chunks:
        tape.channel.send(chunk)
        scheduler.run_for(0.01)
    scheduler.run_for(100)
    cable.tear()
    scheduler.run_for(100)
    for arrival in journal.rows.values():
        assert isinstance(arrival, Arrival)
        assert not arrival.complete or b"L|1|N" in arrival.data
