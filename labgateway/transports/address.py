"""A line's address as a person writes it: ``tcp://10.20.0.31:4000``, ``serial:/dev/ttyUSB0?baud=9600&parity=even``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from labgateway.transports.channel import OpenSession, Transport
from labgateway.transports.serial import Flow, Parity, SerialPort
from labgateway.transports.tcp import TcpConnect, TcpListen

Connect = Callable[[OpenSession], Transport]

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
"""Who may call a tool that listens: the networks of a house (RFC 1918, RFC 4193), and this machine always."""

_HOW = (
    "write tcp://host:port, such as tcp://10.20.0.31:5101, or serial:/dev/ttyUSB0?baud=9600&bits=8&parity=none&stop=1"
)
_SERIAL = {"baud": int, "bits": int, "stop": float, "parity": str, "flow": str}
_WORDS = {"parity": ("none", "even", "odd", "mark", "space"), "flow": ("none", "rts/cts", "dsr/dtr", "xon/xoff")}


def calling(address: str) -> Connect:
    """A transport that calls this address or opens this port. Raises ValueError with the cure."""
    url = urlsplit(address if "//" in address or address.startswith("serial:") else f"tcp://{address}")
    try:
        port = url.port
    except ValueError:
        port = None
    if url.scheme == "tcp" and url.hostname and port:
        host, number = url.hostname, port
        return lambda open_session: TcpConnect(host, number, open_session)
    if url.scheme == "serial" and url.path.startswith("/"):
        settings = _settings(url.query, address)
        return lambda open_session: SerialPort(
            url.path,
            open_session,
            baud=settings.get("baud", 9600),
            bits=settings.get("bits", 8),
            stop=settings.get("stop", 1),
            parity=cast("Parity", settings.get("parity", "none")),
            flow=cast("Flow", settings.get("flow", "none")),
        )
    raise ValueError(f'"{address}" is no address; {_HOW}')


def listening(address: str, allow: Iterable[str] = PRIVATE, connections: int = 1) -> Connect:
    """A transport that waits for a call: ``5101``, ``127.0.0.1:5101`` or ``tcp://0.0.0.0:5101``. Raises ValueError."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f'"{address}" is no port to listen on; write 5101, or 0.0.0.0:5101')
    networks = tuple(allow)
    return lambda open_session: TcpListen(
        host.strip("[]"), int(port), open_session, allow=networks, connections=connections
    )


def _settings(query: str, address: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in parse_qs(query, keep_blank_values=True).items():
        try:
            value = _SERIAL[name](values[0])
        except (KeyError, ValueError):
            raise ValueError(f'"{address}": {name}={values[0]} is not known; {_HOW}') from None
        if name in _WORDS and value not in _WORDS[name]:
            raise ValueError(f'"{address}": {name} is one of {", ".join(_WORDS[name])}')
        found[name] = value
    return found
