"""Watching a line of the running gateway: a stream of what happens on it, for `labgateway tap` and `labgateway doctor`.

    {"instrument": "xn1", "driver": "sysmex_xn", "protocol": "astm", "connected": ["10.20.0.31:4001"]}      first
    {"at": 1764300000.25, "what": "from", "connection": 3, "peer": "10.20.0.31:4001", "data": "BQ=="}       then each chunk
    {"missed": 70000}                                                            the reader was too slow for so many bytes

Who watches never holds up the line: beyond WAITING_BYTES what goes over it is not kept for him.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from labgateway.errors import LabgatewayError
from labgateway.gateway.lines import Lines
from labgateway.transports.tapped import Heard, Tap

WAITING_BYTES = 4 << 20


def watch_line(request: Mapping[str, Any], lines: Lines) -> AsyncGenerator[dict[str, Any], None]:
    """What happens on an instrument's line from now on. Raises LabgatewayError when there is no such instrument."""
    name = str(request.get("instrument"))
    instruments = lines.shared.config.instruments
    if name not in instruments:
        there = ", ".join(sorted(instruments)) or "none"
        raise LabgatewayError(f'There is no instrument "{name[:40]}" in the running config. There are: {there}.')
    tap, line = lines.tap(name), lines.open.get(name)
    first = {
        "instrument": name,
        "driver": instruments[name].driver,
        "protocol": line.protocol if line else "",
        "connected": list(tap.peers),
    }
    return watch(tap, first)


async def watch(tap: Tap, first: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """What happens on a line from now on, until the generator is closed. first: what is said before everything."""
    waiting: deque[dict[str, Any]] = deque()
    room = WAITING_BYTES
    missed = 0
    news = asyncio.Event()

    def hear(heard: Heard) -> None:
        nonlocal room, missed
        size = len(heard.data) + 100
        if size > room:
            missed += len(heard.data)
        else:
            room -= size
            waiting.append(_plain(heard))
        news.set()

    end = tap.listen(hear)
    try:
        yield first
        while True:
            await news.wait()
            news.clear()
            while waiting:
                yield waiting.popleft()
            room = WAITING_BYTES
            if missed:
                lost, missed = missed, 0
                yield {"missed": lost}
    finally:
        end()


def _plain(heard: Heard) -> dict[str, Any]:
    said: dict[str, Any] = {
        "at": time.time(),
        "what": heard.what,
        "connection": heard.connection,
        "peer": heard.peer,
    }
    if heard.data:
        said["data"] = base64.b64encode(heard.data).decode()
    if heard.why:
        said["why"] = heard.why
    return said
