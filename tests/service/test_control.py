"""The control socket: one JSON line asked, one answered, and clear words when nobody is there."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from labgateway.errors import LabgatewayError
from labgateway.service import control


async def test_question_and_answer(tmp_path: Path) -> None:
    """A request reaches the gateway and its answer comes back; an error comes back as its words."""

    async def act(request: control.Answer) -> control.Answer:
        if request["action"] == "no":
            raise LabgatewayError("That cannot be done. Do this instead.")
        return {"heard": request["action"]}

    server = await control.serve(tmp_path, act)
    try:
        answer = await asyncio.to_thread(control.ask, tmp_path, {"action": "retry"})
        assert answer["heard"] == "retry"
        with pytest.raises(LabgatewayError, match="Do this instead"):
            await asyncio.to_thread(control.ask, tmp_path, {"action": "no"})
        assert stat.S_IMODE(control.socket_path(tmp_path).stat().st_mode) == 0o600
    finally:
        server.close()


async def test_garbage_is_answered(tmp_path: Path) -> None:
    """Bytes that are no JSON get an error, and the next question is served."""

    async def act(_: control.Answer) -> control.Answer:
        return {}

    server = await control.serve(tmp_path, act)
    try:
        for garbage in (b"\x00\xff\n", b"[1]\n", b'"x"\n', b"\n"):
            reader, writer = await asyncio.open_unix_connection(control.socket_path(tmp_path))
            writer.write(garbage)
            assert b'"ok": false' in await reader.readline()
            writer.close()
        assert (await asyncio.to_thread(control.ask, tmp_path, {}))["ok"] is True
    finally:
        server.close()


def test_nobody_there(tmp_path: Path) -> None:
    """Without a running gateway the error says where we looked and what to do."""
    with pytest.raises(LabgatewayError, match="systemctl status labgateway"):
        control.ask(tmp_path, {"action": "status"})


async def test_watching_is_a_stream(tmp_path: Path) -> None:
    """Line after line until the asker hangs up, which the watched one hears; what is refused is said in words."""
    ended = asyncio.Event()

    async def counting() -> AsyncGenerator[control.Answer, None]:
        try:
            for n in range(1_000_000):
                yield {"n": n}
                await asyncio.sleep(0)
        finally:
            ended.set()

    def watch(request: control.Answer) -> AsyncGenerator[control.Answer, None]:
        if request["instrument"] == "nobody":
            raise LabgatewayError("There is no such instrument.")
        return counting()

    async def act(_: control.Answer) -> control.Answer:
        return {}

    def first(count: int, instrument: str) -> list[int]:
        found: list[int] = []
        for answer in control.follow(tmp_path, {"action": "watch", "instrument": instrument}, seconds=20):
            found.append(answer["n"])
            if len(found) == count:
                break
        return found

    server = await control.serve(tmp_path, act, watch)
    try:
        assert await asyncio.to_thread(first, 5, "xn1") == [0, 1, 2, 3, 4]
        await asyncio.wait_for(ended.wait(), 10)
        with pytest.raises(LabgatewayError, match="no such instrument"):
            await asyncio.to_thread(first, 1, "nobody")
    finally:
        server.close()
