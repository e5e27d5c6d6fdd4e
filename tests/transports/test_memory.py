"""The cable in memory: faults that can be repeated."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from labgateway.transports.channel import Channel
from labgateway.transports.memory import Cable, Faults, Scheduler


class Sink:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.chunks: list[bytes] = []
        self.gone: list[str] = []

    def received(self, data: bytes) -> None:
        assert data
        assert not self.gone
        self.chunks.append(data)

    def disconnected(self, why: str) -> None:
        self.gone.append(why)


def joined(seed: int = 0, **faults: object) -> tuple[Scheduler, Cable, list[Sink]]:
    sinks: list[Sink] = []

    def sink(channel: Channel) -> Sink:
        sinks.append(Sink(channel))
        return sinks[-1]

    scheduler = Scheduler()
    cable = Cable(scheduler, sink, sink, random=Random(seed), to_b=Faults(**faults))  # type: ignore[arg-type]
    return scheduler, cable, sinks


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(0, 99))
def test_cutting_and_delay_keep_bytes_and_order(chunks: list[bytes], seed: int) -> None:
    """A cable that only cuts and delays delivers the same bytes in the same order, and not before their time."""
    scheduler, _, (a, b) = joined(seed, cut=0.7, delay_s=(0.1, 2.0))
    for chunk in chunks:
        a.channel.send(chunk)
    scheduler.run_for(0.09)
    assert b.chunks == []
    scheduler.run_for(3.0)
    assert b"".join(b.chunks) == b"".join(chunks)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 99))
def test_the_same_seed_gives_the_same_faults(data: bytes, seed: int) -> None:
    """Two runs with one seed deliver exactly the same."""
    seen: list[list[bytes]] = []
    for _ in range(2):
        scheduler, _, (a, b) = joined(seed, lose=0.1, garble=0.1, repeat=0.3, cut=0.5, delay_s=(0.0, 1.0))
        a.channel.send(data)
        scheduler.run_for(5.0)
        seen.append(b.chunks)
    assert seen[0] == seen[1]


def test_faults_do_happen() -> None:
    """Bytes are lost, garbled and repeated when asked for."""
    data = bytes(range(256)) * 40
    for faults, check in (
        ({"lose": 0.1}, lambda got: len(got) < len(data)),
        ({"garble": 0.1}, lambda got: len(got) == len(data) and got != data),
        ({"repeat": 1.0}, lambda got: got == data + data),
    ):
        scheduler, _, (a, b) = joined(1, **faults)
        a.channel.send(data)
        scheduler.run_for(1.0)
        assert check(b"".join(b.chunks))


def test_paused_ends_keep_the_order() -> None:
    """What arrives during a pause comes after resume, before what is sent later."""
    scheduler, _, (a, b) = joined()
    b.channel.pause()
    a.channel.send(b"1")
    scheduler.run_for(1)
    a.channel.send(b"2")
    b.channel.resume()
    a.channel.send(b"3")
    scheduler.run_for(1)
    assert b"".join(b.chunks) == b"123"


def test_a_torn_cable_tells_both_ends_once() -> None:
    """After a tear both sessions are told once; nothing more arrives."""
    scheduler, cable, (a, b) = joined(part=1.0)
    a.channel.send(b"x" * 100)
    scheduler.run_for(1.0)
    cable.tear()
    a.channel.send(b"y")
    scheduler.run_for(1.0)
    assert a.gone == b.gone == ["the cable was torn out"]


def test_close_lets_the_last_bytes_through() -> None:
    """What was sent before close() arrives before the end is told."""
    scheduler, _, (a, b) = joined(delay_s=(1.0, 1.0))
    a.channel.send(b"bye")
    a.channel.close()
    scheduler.run_for(2.0)
    assert b.chunks == [b"bye"]
    assert b.gone == ["closed by the peer"]
