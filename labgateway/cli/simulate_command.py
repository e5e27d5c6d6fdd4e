"""``labgateway simulate DRIVER``: play an instrument's captures as the instrument would, to try a line before it exists.

Every capture of the driver is sent, or the one named by --capture. Nothing here is a patient's: captures are invented.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from labgateway import captures, simulator
from labgateway.cli import decode_command
from labgateway.errors import ComplaintsError, LabgatewayError
from labgateway.instruments import decode, encode_hl7, recognise
from labgateway.instruments.encode import read_back
from labgateway.instruments.queries import questions
from labgateway.model import Kind
from labgateway.transports.channel import OpenSession, Transport
from labgateway.transports.serial import SerialPort
from labgateway.transports.tcp import TcpConnect, TcpListen

if TYPE_CHECKING:
    from labgateway.instruments.driver import Driver

TIMEOUT_S = 600.0


class SimulateError(LabgatewayError):
    """It cannot be played; the text says why and what to do."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate", help="play an instrument's captures", description=__doc__
    )
    parser.add_argument("driver", metavar="DRIVER", help="a driver's folder or name, or maker_model (sysmex_xn550)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", metavar="URL", help="call the gateway: tcp://host:port or serial:/dev/ttyUSB0?baud=9600")
    where.add_argument("--listen", type=int, metavar="PORT", help="wait for the gateway's call on this port")
    parser.add_argument(
        "--query", metavar="ID", action="append", default=[],
        help="ask for the orders of this specimen, as the instrument would, and show the answer; may be repeated",
    )  # fmt: skip
    parser.add_argument("--specimen", metavar="ID", help="put this specimen id into every message")
    parser.add_argument("--capture", metavar="NAME", help="only this capture, such as qc")
    parser.add_argument("--kind", choices=[kind.value for kind in Kind], help="only messages of this kind")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="how many times (default 1)")
    parser.add_argument(
        "--frame", type=int, metavar="BYTES", help="text bytes an ASTM frame (default: as long as needed)"
    )
    parser.add_argument("--packed", action="store_true", help="several ASTM records a frame, as many analyzers do")
    parser.add_argument(
        "--fault", choices=[fault.value for fault in simulator.Fault], help="what goes wrong, once a message"
    )
    parser.add_argument("--drivers", type=Path, action="append", default=[], metavar="FOLDER", help="more drivers")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    return parser


def run(args: argparse.Namespace) -> int:
    """Carry the command out: 0 all was accepted, 1 something was not, 2 a wrong call."""
    try:
        connect = _transport(args)
    except ValueError as error:
        print(f"labgateway simulate: {error}", file=sys.stderr)
        return 2
    try:
        script = script_of(args)
        summary = asyncio.run(simulator.play(script, connect, timeout_s=TIMEOUT_S))
    except TimeoutError:
        print(f"labgateway simulate: gave up after {TIMEOUT_S:.0f} s; is the gateway there?", file=sys.stderr)
        return 1
    except (LabgatewayError, OSError) as error:
        print(f"labgateway simulate: {error}", file=sys.stderr)
        return 1
    shown: dict[str, Any] = dataclasses.asdict(summary)
    shown["answers"] = len(summary.answers)
    shown["seconds"] = round(summary.seconds, 3)
    orders = orders_in(args, summary) if args.query else []
    if args.json:
        print(json.dumps(shown | ({"orders": orders} if args.query else {})))
    else:
        print(", ".join(f"{value} {name}" for name, value in shown.items() if value or name == "messages"))
        for answer in summary.answers:
            sys.stdout.write(captures.write_wire(captures.Wire((), ((captures.Way.TO, answer),))).decode())
        for order in orders:
            print(f"{order['specimen']}: {', '.join(order['codes']) or 'no order'}")
    return 1 if summary.failed or (args.query and not summary.answers) else 0


def orders_in(args: argparse.Namespace, summary: simulator.Summary) -> list[dict[str, Any]]:
    """What the instrument was told: for each specimen it asked about its codes, none when there is no order."""
    told: dict[str, list[str]] = {specimen: [] for specimen in args.query}
    drivers = decode_command.named_drivers(args.driver, decode_command.library(args.drivers))
    driver = next(driver for driver in drivers if driver.orders)
    if driver.protocol == "hl7":
        found = encode_hl7.read_back(driver, summary.answers)
    else:
        found = [read for answer in summary.answers for read in read_back(driver, answer)]
    for read in found:
        told[read.specimen] = list(read.codes)
    return [{"specimen": specimen, "codes": codes} for specimen, codes in told.items()]


def script_of(args: argparse.Namespace) -> simulator.Script:
    """The script that the options ask for. Raises SimulateError when there is nothing to play."""
    known = decode_command.library(args.drivers)
    try:
        named = decode_command.named_drivers(args.driver, known)
    except (decode_command.DecodeError, ComplaintsError) as error:
        raise SimulateError(str(error)) from None
    messages: list[bytes] = []
    protocol = ""
    for driver in named:
        if args.query:
            found = _queries(driver, args.query)
            if found and not messages:
                messages, protocol = found, driver.protocol
            continue
        found = _messages(driver, args.capture, args.kind, args.specimen)
        if found and not messages:
            messages, protocol = found, driver.protocol
    if not messages:
        what = "query in its captures that could be asked" if args.query else "capture to play"
        raise SimulateError(f'"{args.driver}" has no {what}; see the folder captures of its driver.')
    speaks: Literal["astm", "hl7"]
    match protocol:
        case "astm" | "hl7":
            speaks = protocol
        case _:
            raise SimulateError(f"{protocol} is not played yet; only astm and hl7 are.")
    asks = bool(args.query) or any(
        b"\rQ|" in message or b"QBP^" in message or b"|QRY" in message for message in messages
    )
    return simulator.Script(
        tuple(messages) * max(1, args.repeat),
        speaks,
        frame_bytes=args.frame or simulator.MAX_TEXT,
        packed=args.packed,
        fault=simulator.Fault(args.fault) if args.fault else None,
        linger_s=_linger_s(speaks) if asks else 0.05,
        answers=len(messages) * max(1, args.repeat) if args.query and speaks == "astm" else 0,
    )


def _linger_s(speaks: str) -> float:
    """How long the orders of a query are awaited. By HL7 they come in as many messages as there are specimens."""
    return 5.0 if speaks == "astm" else 1.5


def _queries(driver: Driver, specimens: list[str]) -> list[bytes]:
    """The driver's own query of one specimen, once for each of these."""
    if driver.orders is None:
        return []
    for path in sorted((driver.folder / "captures").glob("*.wire")):
        for message in captures.read_capture(path.read_bytes(), protocol=driver.protocol):
            found = questions(driver, message)
            if len(found) == 1 and len(found[0].specimens) == 1 and not (found[0].taken_back or found[0].unreadable):
                return [simulator.with_specimen(message, found[0].specimens, wanted) for wanted in specimens]
    return []


def _messages(driver: Driver, only: str | None, kind: str | None, specimen: str | None) -> list[bytes]:
    """The messages of a driver's captures, in the order of their names."""
    out: list[bytes] = []
    for path in sorted(p for p in (driver.folder / "captures").glob("*") if p.suffix in (".wire", ".raw")):
        if only and path.stem != only:
            continue
        for message in captures.read_capture(path.read_bytes()):
            if recognise.header_rows(message)[0] != driver.protocol:
                continue
            results = decode.decode(driver, message).results
            if kind and all(result.kind.value != kind for result in results):
                continue
            if specimen is None:
                out.append(message)
            else:
                found = [result.specimen for result in results if result.specimen]
                out.append(simulator.with_specimen(message, found, specimen))
    return out


def _transport(args: argparse.Namespace) -> Callable[[OpenSession], Transport]:
    if args.listen is not None:
        return lambda open_session: TcpListen("127.0.0.1", args.listen, open_session)
    url = urlsplit(str(args.to))
    if url.scheme == "tcp" and url.hostname and url.port:
        host, port = url.hostname, url.port
        return lambda open_session: TcpConnect(host, port, open_session)
    if url.scheme == "serial" and url.path.startswith("/"):
        device, baud = url.path, int(parse_qs(url.query).get("baud", ["9600"])[0])
        return lambda open_session: SerialPort(device, open_session, baud=baud)
    raise ValueError(f'--to "{args.to}" is no address; write tcp://host:port, such as tcp://127.0.0.1:5101')
