"""A gateway's store in a process of its own, for tests that kill it or take its disk away.

    python -m tests.store.child URL SECONDS WAITERS START

Prints one line an event, at once: ``ready``; ``ack N`` when message N was told to be stored; ``no ERROR`` when it was
refused; ``broken`` when on_broken was called; ``end``. A waiter that was refused as full or busy offers again.

However slow the disk, LEAST messages are told, and behind a broken store two of each waiter: not the clock decides what a
test gets to see.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from labgateway.errors import StoreBrokenError
from labgateway.store import journal
from labgateway.store.engine import Store

LEAST = 60


def say(words: str) -> None:
    os.write(1, f"{words}\n".encode())


def keep(n: int, connection: Connection) -> int:
    return journal.append(
        connection, instrument="xn1", protocol="astm", peer="", received_at=datetime.now(UTC),
        raw=b"%d:" % n + b"x" * 2000,
    )  # fmt: skip


async def main(url: str, seconds: float, waiters: int, start: int) -> None:
    store = await asyncio.to_thread(Store.open, url, on_broken=lambda _: say("broken"))
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    numbers = iter(range(start, start + 1_000_000))
    left = waiters
    seen = refused = 0
    ended = asyncio.Event()

    def offer() -> None:
        nonlocal left
        if loop.time() >= ends_at and seen >= LEAST and not 0 < refused < 2 * waiters:
            left -= 1
            if not left:
                ended.set()
            return
        n = next(numbers)
        store.submit_call(partial(keep, n), partial(told, n))

    def told(n: int, value: Any, error: BaseException | None) -> None:
        nonlocal seen, refused
        seen += 1
        refused += isinstance(error, StoreBrokenError)
        if error is None:
            say(f"ack {n}")
            offer()
            return
        say(f"no {type(error).__name__}")
        # After a broken store a few more are offered, so that the test sees them refused as well.
        loop.call_later(0.01 if not isinstance(error, StoreBrokenError) else 0.1, offer)

    say("ready")
    for _ in range(waiters):
        offer()
    await ended.wait()
    await store.close()
    say("end")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
