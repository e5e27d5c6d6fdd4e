"""systemd's notification protocol: READY, RELOADING, STOPPING, WATCHDOG, STATUS (sd_notify(3)).

Eight lines on a datagram socket; outside systemd every call does nothing.
"""

from __future__ import annotations

import os
import socket
import time


def notify(*lines: str) -> None:
    """Send state lines such as ``READY=1``; silent when no one listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.connect(address)
            door.sendall("\n".join(lines).encode())
    except OSError:
        # systemd restarts us by its watchdog if it really cannot hear us.
        return


def reloading() -> None:
    """Say that a reload begins; the time lets systemd order it (sd_notify(3), RELOADING=1)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_s() -> float | None:
    """Seconds between two pings (half of what systemd allows), None when no watchdog is set."""
    allowed = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not allowed.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(allowed) / 2_000_000
