"""Callers that mean no good: ``python -m bench.hostile_load PORT,PORT,... CALLERS``, until SIGTERM.

A third sends half frames, a third a byte a second, a third garbage; whoever is closed calls again. Prints "ready" when
every caller has called once, and at the end one JSON object of what was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter

HALF = b"\x05\x021H|\\^&|||" + b"x" * 300
GARBAGE = bytes(range(256)) * 8
EVERY_S = 0.2
SLOW_S = 1.0
AGAIN_S = 0.2


async def call(port: int, kind: int, done: Counter[str], begun: asyncio.Event, later_s: float) -> None:
    """One caller, for ever. later_s: it begins so much later, so that they do not act in step."""
    await asyncio.sleep(later_s)
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            done["calls"] += 1
            begun.set()
            ended = asyncio.ensure_future(reader.read(-1))
            try:
                while not ended.done():
                    data = (HALF, b"\x02", GARBAGE)[kind]
                    writer.write(data)
                    done["bytes"] += len(data)
                    await asyncio.wait([ended], timeout=SLOW_S if kind == 1 else EVERY_S)
                done["closed"] += 1
            finally:
                ended.cancel()
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await ended
                writer.transport.abort()
        begun.set()
        await asyncio.sleep(AGAIN_S)


async def main(ports: list[int], callers: int) -> None:
    """All of them, until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    done: Counter[str] = Counter()
    begun = [asyncio.Event() for _ in range(callers)]
    tasks = [
        asyncio.create_task(call(ports[n % len(ports)], n % 3, done, one, SLOW_S * n / callers))
        for n, one in enumerate(begun)
    ]
    for one in begun:
        await one.wait()
    print("ready", flush=True)
    await over.wait()
    for task in tasks:
        task.cancel()
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1].split(",")], int(sys.argv[2])))
