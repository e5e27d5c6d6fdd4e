"""The MLLP machine: any cutting, any junk, bounded memory, and nothing lost in silence."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.protocols.mllp import Block, Breach, Broken, Event, Junk, Reader, Rules, TooLong, wrap

GOOD = b"MSH|^~\\&|XN|LAB|||20261122081500||ORU^R01|7|P|2.5.1\rOBX|1|NM|WBC||8.13\r"
SMALL = Rules(max_bytes=100, junk_bytes=8, head_bytes=10)


def drain(reader: Reader) -> list[Event]:
    events: list[Event] = []
    while (event := reader.next_event()) is not None:
        events.append(event)
    return events


def hear(pieces: list[bytes], rules: Rules | None = None, *, hang_up: bool = True) -> list[Event]:
    reader = Reader(rules)
    events: list[Event] = []
    for piece in pieces:
        reader.feed(piece, 0.0)
        events += drain(reader)
    if hang_up:
        reader.lost()
    return events + drain(reader)


def split(wire: bytes, cuts: list[int]) -> list[bytes]:
    marks = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    return [wire[a:b] for a, b in itertools.pairwise(marks)]


text = st.binary(max_size=150).map(lambda b: b.replace(b"\x1c", b"").replace(b"\x0b", b""))
piece = st.one_of(
    st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"\x1c\r", b"\x0bMSH|", GOOD[:30], b" ", b"\0", b"x"]),
    st.just(wrap(GOOD)),
    st.binary(max_size=40),
    text.map(wrap),
)
wires = st.lists(piece, max_size=12).map(b"".join)


@given(wire=wires, cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_cutting_changes_nothing(wire: bytes, cuts: list[int]) -> None:
    """The same bytes give the same events, however they arrive, also byte by byte and beyond the limit."""
    for rules in (None, SMALL):
        whole = hear([wire], rules)
        assert hear(split(wire, cuts), rules) == whole
        assert hear([wire[i : i + 1] for i in range(len(wire))], rules) == whole


@given(wire=wires)
def test_memory_is_bounded(wire: bytes) -> None:
    """Between events never more is kept than the limit of one block, and every event is as small as its limit."""
    reader = Reader(SMALL)
    for i in range(len(wire)):
        reader.feed(wire[i : i + 1], 0.0)
        assert len(reader._kept) <= SMALL.max_bytes
        for event in drain(reader):
            match event:
                case Block(data) | Broken(data):
                    assert len(data) <= SMALL.max_bytes
                case TooLong(head, length):
                    assert len(head) <= SMALL.head_bytes
                    assert length > SMALL.max_bytes
                case Junk(data, length):
                    assert len(data) <= min(SMALL.junk_bytes, length)


@given(wire=wires)
def test_after_any_garbage_the_next_good_message_is_accepted(wire: bytes) -> None:
    """Whatever came before, a well framed message comes out whole and last."""
    for rules in (None, SMALL, Rules(max_bytes=len(GOOD)), Rules(max_bytes=len(GOOD) + 1)):
        assert hear([wire, wrap(GOOD)], rules)[-1] == Block(GOOD)


@pytest.mark.parametrize("length", range(60, 130))
def test_a_half_message_does_not_use_up_the_limit_of_the_next(length: int) -> None:
    """A broken-off block of any length before a good one costs the good one nothing, wherever the limit falls."""
    half = b"MSH|" + b"x" * (length - 4)
    rules = Rules(max_bytes=100)
    first, last = hear([b"\x0b" + half + wrap(GOOD)], rules)
    assert last == Block(GOOD)
    assert first == (Broken(half, Breach.RESTARTED) if length <= 100 else TooLong(half[:101], length))


@given(messages=st.lists(text.filter(lambda b: bool(b.strip(b"\r\n\0 "))), max_size=6))
def test_blocks_come_out_as_they_went_in(messages: list[bytes]) -> None:
    """Any texts without framing bytes pass unchanged, one block each, in order, in one read."""
    assert hear([b"".join(map(wrap, messages))]) == [Block(m) for m in messages]


@given(wire=wires)
def test_no_byte_of_text_vanishes_in_silence(wire: bytes) -> None:
    """All bytes but framing and blanks stand in some event, or are counted by it."""
    told = 0
    for event in hear([wire]):
        match event:
            case Block(data) | Broken(data):
                told += len(data.translate(None, b"\r\n\0 \x0b\x1c"))
            case Junk(_, length) | TooLong(_, length):
                told += length
    assert told >= len(wire.translate(None, b"\r\n\0 \x0b\x1c"))


def test_vt_after_junk() -> None:
    """Junk before VT is told with its length and its beginning only; a CRLF there is no junk."""
    assert hear([b"\xff" * 1000 + wrap(GOOD)]) == [Junk(b"\xff" * 256, 1000, False), Block(GOOD)]
    assert hear([b"\r\n" + wrap(GOOD) + b"\r\n" + wrap(GOOD)]) == [Block(GOOD), Block(GOOD)]


def test_double_framing() -> None:
    """0B 0B ... 1C 0D 1C 0D is one message; so is a doubled FS alone."""
    assert hear([b"\x0b" + wrap(GOOD) + b"\x1c\r"], hang_up=False) == [Block(GOOD)]
    assert hear([b"\x0b" + GOOD + b"\x1c\x1c\r"], hang_up=False) == [Block(GOOD)]


def test_bare_fs_ends_the_block_after_silence() -> None:
    """FS without CR: the block is there when the deadline has passed, not before; a late CR is nothing."""
    reader = Reader()
    reader.feed(b"\x0b" + GOOD + b"\x1c", 10.0)
    assert reader.next_event() is None
    assert reader.deadline is not None
    reader.tick(reader.deadline - 0.01)
    assert reader.next_event() is None
    reader.tick(reader.deadline)
    assert drain(reader) == [Block(GOOD)]
    assert reader.deadline is None
    reader.feed(b"\r", 11.0)
    reader.lost()
    assert drain(reader) == []


def test_bare_fs_before_vt() -> None:
    """FS directly before the next VT ends the block at once."""
    assert hear([b"\x0b" + GOOD + b"\x1c" + wrap(GOOD)], hang_up=False) == [Block(GOOD), Block(GOOD)]


def test_bare_fs_then_late_bytes_without_a_tick() -> None:
    """A timer that fires late changes nothing: feed looks at the deadline first."""
    reader = Reader()
    reader.feed(b"\x0b" + GOOD + b"\x1c", 0.0)
    reader.feed(b"late" + wrap(GOOD), 5.0)
    assert drain(reader) == [Block(GOOD), Junk(b"late", 4, False), Block(GOOD)]


def test_fs_in_text_is_text() -> None:
    """FS followed by anything else does not end a block."""
    assert hear([wrap(b"MSH|a\x1cb")]) == [Block(b"MSH|a\x1cb")]


def test_half_a_message_and_a_lost_line() -> None:
    """What came of a block is told as broken when the line goes; the next line starts clean."""
    reader = Reader()
    reader.feed(b"\x0b" + GOOD[:40], 0.0)
    reader.lost()
    assert drain(reader) == [Broken(GOOD[:40], Breach.LOST)]
    reader.feed(wrap(GOOD), 1.0)
    assert drain(reader) == [Block(GOOD)]


def test_half_a_message_and_silence() -> None:
    """A block in which nothing comes for the idle time is broken; its late rest is junk that had an end."""
    reader = Reader()
    reader.feed(b"\x0b" + GOOD[:40], 0.0)
    reader.tick(29.9)
    assert drain(reader) == []
    reader.tick(30.0)
    assert drain(reader) == [Broken(GOOD[:40], Breach.SILENT)]
    reader.feed(GOOD[40:] + b"\x1c\r", 40.0)
    assert drain(reader) == [Junk(GOOD[40:], len(GOOD) - 40, True)]


def test_half_a_message_and_the_next() -> None:
    """A header behind a VT inside a block: the first is broken, the second whole; any other VT is text."""
    assert hear([b"\x0b" + GOOD[:40] + wrap(GOOD)]) == [Broken(GOOD[:40], Breach.RESTARTED), Block(GOOD)]
    note = GOOD + b"NTE|1||pasted\x0btext\r"
    assert hear([wrap(note)]) == [Block(note)]


def test_a_sender_without_vt_is_told_so() -> None:
    """A message with FS but no VT is no block; the event says that it ended like one."""
    assert hear([GOOD + b"\x1c\r"]) == [Junk(GOOD, len(GOOD), True)]


def test_empty_blocks_are_nothing() -> None:
    """VT FS CR carries nothing, so nothing is told."""
    assert hear([b"\x0b\x1c\r\x0b\r\n\x1c\r"]) == []


def test_eight_mebibytes_pass_and_the_limit_holds() -> None:
    """8 MiB in pieces come out whole; beyond the limit TooLong tells the head and the length; then all is well."""
    big = b"MSH|^~\\&|" + b"A" * (8 * 1024 * 1024)
    wire = wrap(big)
    pieces = [wire[i : i + 65536] for i in range(0, len(wire), 65536)]
    assert hear([*pieces, wrap(GOOD)]) == [Block(big), Block(GOOD)]
    assert hear([*pieces, wrap(GOOD)], Rules(max_bytes=1_000_000)) == [TooLong(big[:4096], len(big)), Block(GOOD)]


def test_exactly_the_limit_passes() -> None:
    """max_bytes is the longest block that is taken."""
    assert hear([wrap(b"x" * 100)], SMALL) == [Block(b"x" * 100)]
    assert hear([wrap(b"x" * 101)], SMALL) == [TooLong(b"x" * 10, 101)]


def test_hostile_streams_cost_their_length() -> None:
    """Streams made of framing bytes only take time in proportion to their length, not to its square."""
    for unit in (b"\x0b", b"\x1c", b"\x0b\x1c", b"\x0bx", b"x\x1c", b"\x0bMSH"):
        times: list[float] = []
        for size in (8_000, 32_000):
            wire = (unit * size)[:size]
            best = 9.0
            for _ in range(2):
                start = time.process_time()
                hear([wire])
                best = min(best, time.process_time() - start)
            times.append(best)
        assert times[1] < 10 * times[0] + 0.05, unit
