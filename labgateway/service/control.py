"""The local socket by which the command line speaks to the running gateway.

One request a connection: a line of JSON ``{"action": "release", ...}``, answered by a line of JSON
``{"ok": true, ...}`` or ``{"ok": false, "error": "what is wrong and what to do"}``. ``{"action": "watch", ...}`` is
answered by one line after another, until the asker hangs up. The socket lies
in the data folder with mode 0600: who may read the data may act on it, nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

from labgateway.errors import LabgatewayError

SOCKET_NAME = "control.sock"
_LONGEST = 32 << 20
"""A file of orders comes in one line."""
_PATIENCE_S = 30.0

Answer = dict[str, Any]
Act = Callable[[Answer], Awaitable[Answer]]
Watch = Callable[[Answer], AsyncGenerator[Answer, None]]
"""Answers a request by one object after another."""


def socket_path(data: Path) -> Path:
    """Where the socket of the gateway on this data folder is."""
    return data / SOCKET_NAME


async def serve(data: Path, act: Act, watch: Watch | None = None) -> asyncio.Server:
    """Listen; ``act`` answers each request, ``watch`` those to watch. A LabgatewayError they raise becomes the error text.

    Raises LabgatewayError when the socket cannot be made (path longer than the kernel's 107 bytes).
    """

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                request = _read(await reader.readline())
                watched = watch(request) if watch and request.get("action") == "watch" else None
                answer: Answer = {"ok": True} if watched else {"ok": True, **await act(request)}
            if watched:
                await _stream(watched, reader, writer)
                return
        except LabgatewayError as error:
            answer = {"ok": False, "error": str(error)}
        except TimeoutError:
            answer = {"ok": False, "error": "The gateway did not finish in 30 s; look at its log."}
        except (ValueError, OSError):
            answer = {"ok": False, "error": "The request is not one line of JSON."}
        try:
            writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    path = socket_path(data)
    path.unlink(missing_ok=True)
    try:
        server = await asyncio.start_unix_server(conversation, path, limit=_LONGEST)
    except OSError as error:
        raise LabgatewayError(
            f"The control socket {path} cannot be made ({error.strerror or error}). "
            "Use a data folder with a shorter path."
        ) from error
    path.chmod(0o600)
    return server


async def _stream(
    answers: AsyncGenerator[Answer, None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write each answer as it comes, until the asker hangs up."""

    async def write() -> None:
        async with contextlib.aclosing(answers):
            async for answer in answers:
                writer.write(json.dumps({"ok": True, **answer}, ensure_ascii=False).encode() + b"\n")
                await writer.drain()

    writing = asyncio.ensure_future(write())
    gone = asyncio.ensure_future(reader.read())
    try:
        await asyncio.wait((writing, gone), return_when=asyncio.FIRST_COMPLETED)
        if writing.done() and not writing.cancelled() and (error := writing.exception()):
            said = str(error) if isinstance(error, LabgatewayError) else "The gateway failed at this."
            writer.write(json.dumps({"ok": False, "error": said}, ensure_ascii=False).encode() + b"\n")
    finally:
        writing.cancel()
        gone.cancel()
        await asyncio.gather(writing, gone, return_exceptions=True)
        writer.close()


def follow(data: Path, request: Answer, *, seconds: float | None = None) -> Iterator[Answer]:
    """Each answer to a request to watch, for so long (None: until the gateway ends); blocking, for the command line.

    Raises LabgatewayError when no gateway runs on this data folder or it refuses.
    """
    until = None if seconds is None else time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        try:
            door.settimeout(_PATIENCE_S)
            door.connect(str(socket_path(data)))
            door.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise _nobody(data) from error
        rest = bytearray()
        while until is None or until > time.monotonic():
            door.settimeout(None if until is None else max(0.001, until - time.monotonic()))
            try:
                got = door.recv(1 << 16)
            except TimeoutError:
                return
            except OSError:
                got = b""
            if not got:
                return
            rest += got
            while b"\n" in rest:
                line, _, after = bytes(rest).partition(b"\n")
                rest[:] = after
                answer = _read(line)
                if not answer.get("ok"):
                    raise LabgatewayError(str(answer.get("error", "The gateway refused without a reason.")))
                yield answer


def _nobody(data: Path) -> LabgatewayError:
    return LabgatewayError(
        f"No gateway answers on {socket_path(data)}. Is the service running (systemctl status labgateway), and may you "
        "read its data folder?"
    )


def ask(data: Path, request: Answer, *, patience_s: float = _PATIENCE_S) -> Answer:
    """Send one request and return its answer; blocking, for the command line.

    Raises LabgatewayError when no gateway runs on this data folder or the answer says it failed.
    """
    path = socket_path(data)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(patience_s)
        try:
            door.connect(str(path))
            door.sendall(json.dumps(request).encode() + b"\n")
            with door.makefile("rb") as lines:
                answer = _read(lines.readline())
        except (OSError, ValueError) as error:
            raise _nobody(data) from error
    if not answer.get("ok"):
        raise LabgatewayError(str(answer.get("error", "The gateway refused without a reason.")))
    return answer


def _read(line: bytes) -> Answer:
    value: object = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return cast(Answer, value)
