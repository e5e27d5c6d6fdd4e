"""The local socket by which the command line speaks to the running gateway.

One request a connection: a line of JSON ``{"action": "release", ...}``, answered by a line of JSON
``{"ok": true, ...}`` or ``{"ok": false, "error": "what is wrong and what to do"}``. The socket lies
in the data folder with mode 0600: who may read the data may act on it, nobody else.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from labgateway.errors import LabgatewayError

SOCKET_NAME = "control.sock"
_LONGEST = 1 << 20
_PATIENCE_S = 30.0

Answer = dict[str, Any]
Act = Callable[[Answer], Awaitable[Answer]]


def socket_path(data: Path) -> Path:
    """Where the socket of the gateway on this data folder is."""
    return data / SOCKET_NAME


async def serve(data: Path, act: Act) -> asyncio.Server:
    """Listen; ``act`` answers each request. A LabgatewayError it raises becomes the error text.

    Raises LabgatewayError when the socket cannot be made (path longer than the kernel's 107 bytes).
    """

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                request = _read(await reader.readline())
                answer: Answer = {"ok": True, **await act(request)}
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
            raise LabgatewayError(
                f"No gateway answers on {path}. Is the service running (systemctl status labgateway), and may you "
                "read its data folder?"
            ) from error
    if not answer.get("ok"):
        raise LabgatewayError(str(answer.get("error", "The gateway refused without a reason.")))
    return answer


def _read(line: bytes) -> Answer:
    value: object = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return cast(Answer, value)
