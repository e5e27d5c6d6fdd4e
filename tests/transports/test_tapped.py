"""A tap hears both directions of a line, and the line does not notice: not when it is slow, not when it raises."""

from __future__ import annotations

import asyncio
from random import Random

from labgateway.gateway import watching
from labgateway.transports.channel import Channel
from labgateway.transports.memory import Cable, Scheduler
from labgateway.transports.tapped import Heard, Tap
from tests.line_kit import Tape


def joined(tap: Tap) -> tuple[Scheduler, list[Tape]]:
    """A cable between two tapes, the second one behind the tap."""
    scheduler = Scheduler()
    tapes: list[Tape] = []

    def tape(channel: Channel) -> Tape:
        tapes.append(Tape(channel))
        return tapes[-1]

    Cable(scheduler, tape, tap.around(tape), random=Random(1))
    return scheduler, tapes


def test_both_directions_in_order() -> None:
    """Opened, from, to, ended; the line itself carries the same bytes; after the end nothing is told."""
    tap = Tap()
    heard: list[Heard] = []
    end = tap.listen(heard.append)
    scheduler, (instrument, gateway) = joined(tap)
    instrument.channel.send(b"\x05")
    scheduler.run_for(0.1)
    gateway.channel.send(b"\x06")
    scheduler.run_for(0.1)
    assert (gateway.heard, instrument.heard) == (b"\x05", b"\x06")
    assert tap.peers
    instrument.channel.close()
    scheduler.run_for(0.1)
    assert [(one.what, one.data) for one in heard] == [
        ("opened", b""),
        ("from", b"\x05"),
        ("to", b"\x06"),
        ("ended", b""),
    ]
    assert tap.peers == ()
    end()
    assert not tap.heard


def test_a_listener_that_raises_is_dropped() -> None:
    """The line goes on, and so do other listeners."""
    tap = Tap()
    heard: list[Heard] = []

    def bad(_: Heard) -> None:
        raise ValueError

    tap.listen(bad)
    tap.listen(heard.append)
    scheduler, (instrument, gateway) = joined(tap)
    instrument.channel.send(b"x")
    scheduler.run_for(0.1)
    assert gateway.heard == b"x"
    assert [one.what for one in heard] == ["opened", "from"]


async def test_a_slow_watcher_misses_and_is_told() -> None:
    """Memory is bounded: what does not fit is counted and said, and then it goes on."""
    tap = Tap()
    stream = watching.watch(tap, {"instrument": "x"})
    assert await anext(stream) == {"instrument": "x"}
    pulling = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    size = watching.WAITING_BYTES // 4
    for _ in range(6):
        tap.tell(Heard("from", 1, "p", b"x" * size))
    got = [await pulling, await anext(stream), await anext(stream)]
    assert all(one["what"] == "from" for one in got)
    assert (await anext(stream))["missed"] == 3 * size
    tap.tell(Heard("from", 1, "p", b"y"))
    assert (await anext(stream))["data"] == "eQ=="
    await stream.aclose()
    assert not tap.heard
