"""How an instrument is connected: the `line` of an [instrument.NAME] section of config.toml, one frozen dataclass a kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from labgateway.config.checks import (
    ONLY,
    Connections,
    Device,
    File,
    Host,
    Networks,
    Port,
    RemotePort,
    Seconds,
    StopBits,
    Text,
)
from labgateway.config.destinations import Encrypted
from labgateway.config.orders import ListenTls

SUPPORTED = frozenset({"tcp-listen", "tcp", "serial", "folder"})
"""Kinds of line that this version runs."""


@dataclass(frozen=True, slots=True, config=ONLY)
class TcpListenLine:
    """A port of ours that the instrument calls. allow: empty admits this machine only."""

    port: Port
    kind: Literal["tcp-listen"] = "tcp-listen"
    host: Host = "0.0.0.0"  # noqa: S104 -- who may call is decided by allow, which is closed by default
    allow: Networks = ()
    connections: Connections = 1
    tls: ListenTls | None = None


@dataclass(frozen=True, slots=True, config=ONLY)
class TcpLine:
    """A port of the instrument that we call."""

    host: Host
    port: RemotePort
    kind: Literal["tcp"] = "tcp"
    tls: Encrypted | None = None


@dataclass(frozen=True, slots=True, config=ONLY)
class SerialLine:
    """A serial port, or one behind a network converter (RFC 2217); None: as the driver says."""

    device: Device
    kind: Literal["serial"] = "serial"
    baud: Annotated[int, Field(strict=True, ge=50, le=4_000_000)] | None = None
    bits: Literal[5, 6, 7, 8] | None = None
    parity: Literal["none", "even", "odd", "mark", "space"] | None = None
    stop: StopBits | None = None
    flow: Literal["none", "rts/cts", "dsr/dtr", "xon/xoff"] | None = None


@dataclass(frozen=True, slots=True, config=ONLY)
class FolderLine:
    """A folder into which the instrument writes its results. pattern: which files, as a shell would say it.

    stable_s: so long a file must not change before it counts as complete.
    """

    path: File
    kind: Literal["folder"] = "folder"
    pattern: Text = "*"
    stable_s: Seconds = 2


LineSection = TcpListenLine | TcpLine | SerialLine | FolderLine
