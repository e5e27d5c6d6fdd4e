"""labgateway with a promise of delivery broken on purpose; only to prove that the tests of sudden ends see it.

    python -m tests.end_to_end.wrong settle_first|send_first run --config FILE

settle_first: a delivery is booked as settled before it is sent. send_first: it leaves before its row is committed.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any

from labgateway.cli import main
from labgateway.delivery.sender import Sender
from labgateway.store import outbox

_send = Sender._send  # pyright: ignore[reportPrivateUsage]
_owe = outbox.owe


async def _settle_first(self: Sender, item: Any, probe: bool) -> None:
    done = asyncio.get_running_loop().create_future()
    self._outbox.settle(item.delivery, "AA", lambda _: done.set_result(None))  # pyright: ignore[reportPrivateUsage]
    await done
    await _send(self, item, probe)


def _send_first(connection: Any, *, body: bytes, **rest: Any) -> int:
    number = _owe(connection, body=body, **rest)
    config = tomllib.loads(Path(sys.argv[-1]).read_text(encoding="utf-8"))
    with socket.create_connection(("127.0.0.1", config["destination"]["emr"]["port"])) as emr:
        emr.sendall(b"\x0b" + body + b"\x1c\r")
        emr.recvmsg(4096)  # nothing else here uses this call: the cut right after the send is at its first
    return number


if __name__ == "__main__":
    match sys.argv.pop(1):
        case "settle_first":
            Sender._send = _settle_first  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        case "send_first":
            outbox.owe = _send_first  # pyright: ignore[reportAttributeAccessIssue]
        case other:
            raise SystemExit(f"no such mistake: {other}")
    sys.exit(main())
