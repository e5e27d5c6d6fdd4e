"""``labgateway simulate DRIVER``: play an instrument as it would behave, to try a line before the instrument stands there.

Its captures are sent (or the one named by --capture), with what goes wrong on request. Nothing here is a patient's:
captures are invented.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labgateway import captures, simulator
from labgateway.cli import decode_command
from labgateway.cli.simulate_script import SimulateError, Wanted, ending_of, messages_of, read_tests
from labgateway.errors import ComplaintsError, LabgatewayError
from labgateway.instruments import encode_raw, read_back_hl7
from labgateway.instruments.encode import read_back
from labgateway.instruments.spec import TABLE
from labgateway.model import Kind
from labgateway.transports.address import calling, listening
from labgateway.transports.pty import PtyPort

if TYPE_CHECKING:
    from labgateway.instruments.driver import Driver
    from labgateway.transports.channel import OpenSession, Transport

TIMEOUT_S = 600.0
FOLDER = "folder:"
_BITS = 10
"""Of a byte on a serial line: start, eight, stop."""
_MOST_ROUNDS = 1_000_000

_EPILOG = """\
examples:
  labgateway simulate sysmex_xn550 --to tcp://127.0.0.1:5101
  labgateway simulate sysmex_xn --to tcp://127.0.0.1:5101 --specimen S{n} --tests WBC=5.2,HGB --repeat 100 --every 2
  labgateway simulate roche_c311 --listen 4000                      the gateway calls it
  labgateway simulate siemens_bn2 --to 'serial:/dev/ttyUSB1?baud=9600'
  labgateway simulate sysmex_kx21 --pty /tmp/kx21 --baud 9600       then give the gateway /tmp/kx21 as its serial device
  labgateway simulate roche_cobas_taqman48 --to folder:/srv/pcr/out
  labgateway simulate sysmex_xn --to tcp://127.0.0.1:5101 --query S1001
  labgateway simulate sysmex_xn --to tcp://127.0.0.1:5101 --fault lost-ack

faults, once a message; then it is said right:
  bad-checksum  a frame is damaged, its repeat is not        cut         the connection is lost inside a frame
  trickle       one byte at a time                           duplicate   a frame comes again as if its ACK had been lost
  lost-ack      the last ACK is not heard: all of it again   twice       somebody presses "send" a second time
  noise         bytes that belong to nothing                 no-end      it stops before its last record, then comes whole
  contention    the host wants to send at the same moment (ASTM)
exit codes: 0 all was accepted, 1 something was not (and it is said), 2 wrong call
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "simulate",
        help="play an instrument, with faults on request",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("driver", metavar="DRIVER", help="a driver's folder or name, or maker_model (sysmex_xn550)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--to", metavar="URL",
        help="call the gateway: tcp://host:port or serial:/dev/ttyUSB0?baud=9600; or folder:/path for its files",
    )  # fmt: skip
    where.add_argument("--listen", metavar="PORT", help="wait for the gateway's call: 4000, or 0.0.0.0:4000")
    where.add_argument("--pty", metavar="PATH", help="make a serial port that a gateway on this machine opens as PATH")
    parser.add_argument(
        "--query", metavar="ID", action="append", default=[],
        help="ask for the orders of this specimen, as the instrument would, and show the answer; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--specimen", metavar="ID", help="put this specimen id into every message; {n} in it counts the rounds"
    )
    parser.add_argument(
        "--tests", metavar="CODES", help="only these tests, with another value where one is given: WBC,HGB=13.4"
    )
    parser.add_argument("--capture", metavar="NAME", help="only this capture, such as qc")
    parser.add_argument("--kind", choices=[kind.value for kind in Kind], help="only messages of this kind")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="how many rounds (default 1)")
    parser.add_argument("--every", type=float, default=0.0, metavar="S", help="a message every so many seconds")
    parser.add_argument(
        "--frame", type=int, metavar="BYTES", help="text bytes an ASTM frame (default: as long as needed)"
    )
    parser.add_argument("--packed", action="store_true", help="several ASTM records a frame, as many analyzers do")
    parser.add_argument("--baud", type=int, metavar="N", help="send byte by byte, as fast as a serial line of N baud")
    parser.add_argument("--fault", choices=[fault.value for fault in simulator.Fault], help="what goes wrong")
    parser.add_argument("--drivers", type=Path, action="append", default=[], metavar="FOLDER", help="more drivers")
    parser.add_argument("--quiet", action="store_true", help="only the last line")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    return parser


def run(args: argparse.Namespace) -> int:
    """Carry the command out: 0 all was accepted, 1 something was not, 2 a wrong call."""
    try:
        connect = _transport(args)
        if args.repeat < 1 or args.repeat > _MOST_ROUNDS or args.every < 0 or (args.baud is not None and args.baud < 1):
            raise ValueError("--repeat, --every and --baud are numbers above 0")
    except ValueError as error:
        print(f"labgateway simulate: {error}", file=sys.stderr)
        return 2
    tell = _quiet if args.quiet or args.json else _show
    try:
        driver, script = script_of(args)
        if script.fault and script.fault not in simulator.FAULTS[script.protocol]:
            known = ", ".join(simulator.FAULTS[script.protocol])
            print(
                f"labgateway simulate: {driver.name} speaks {driver.protocol}, which has no {script.fault}; it has: {known}",
                file=sys.stderr,
            )
            return 2
        summary = _play(args, driver, script, connect, tell)
    except TimeoutError:
        print(f"labgateway simulate: gave up after {TIMEOUT_S:.0f} s; is the gateway there?", file=sys.stderr)
        return 1
    except (LabgatewayError, OSError) as error:
        print(f"labgateway simulate: {error}", file=sys.stderr)
        return 1
    return _report(args, summary)


def _play(
    args: argparse.Namespace,
    driver: Driver,
    script: simulator.Script,
    connect: Callable[[OpenSession], Transport] | Path,
    tell: Callable[[str], None],
) -> simulator.Summary:
    if isinstance(connect, Path):
        from labgateway.simulator.files import drop

        return drop(script, connect, ending_of(driver), tell=tell)
    if driver.protocol == TABLE:
        raise SimulateError(f"{driver.name} writes files and has no line. Say --to {FOLDER}/path.")
    if args.pty:
        tell(f"the gateway's serial device is {args.pty}")
    timeout = TIMEOUT_S + args.every * len(script.messages)
    return asyncio.run(simulator.play(script, connect, timeout_s=timeout, tell=tell))


def _report(args: argparse.Namespace, summary: simulator.Summary) -> int:
    shown: dict[str, Any] = dataclasses.asdict(summary)
    shown["answers"] = len(summary.answers)
    shown["seconds"] = round(summary.seconds, 3)
    orders = orders_in(args, summary) if args.query else []
    if args.json:
        print(json.dumps(shown | ({"orders": orders} if args.query else {})))
    else:
        for answer in summary.answers:
            sys.stdout.write(captures.write_wire(captures.Wire((), ((captures.Way.TO, answer),))).decode())
        for order in orders:
            print(f"{order['specimen']}: {', '.join(order['codes']) or 'no order'}")
        print(", ".join(f"{value} {name}" for name, value in shown.items() if value or name == "messages"))
    return 1 if summary.failed or (args.query and not summary.answers) else 0


def orders_in(args: argparse.Namespace, summary: simulator.Summary) -> list[dict[str, Any]]:
    """What the instrument was told: for each specimen it asked about its codes, none when there is no order."""
    told: dict[str, list[str]] = {specimen: [] for specimen in args.query}
    drivers = decode_command.named_drivers(args.driver, decode_command.library(args.drivers))
    driver = next(driver for driver in drivers if driver.orders)
    if driver.protocol == "hl7":
        found = read_back_hl7.read_back(driver, summary.answers)
    elif driver.layout:
        asked = messages_of(drivers, Wanted(query=tuple(args.query)))[1]
        pairs = zip(asked, summary.answers, strict=False)
        found = [read for query, text in pairs if (read := encode_raw.read_back(driver, query, text))]
    else:
        found = [read for answer in summary.answers for read in read_back(driver, answer)]
    for read in found:
        told[read.specimen] = list(read.codes)
    return [{"specimen": specimen, "codes": codes} for specimen, codes in told.items()]


def script_of(args: argparse.Namespace) -> tuple[Driver, simulator.Script]:
    """The script that the options ask for, and whose. Raises SimulateError when there is nothing to play."""
    known = decode_command.library(args.drivers)
    try:
        named = decode_command.named_drivers(args.driver, known)
    except (decode_command.DecodeError, ComplaintsError) as error:
        raise SimulateError(str(error)) from None
    wanted = Wanted(
        args.specimen, read_tests(args.tests), args.capture, args.kind, tuple(args.query), args.repeat
    )  # fmt: skip
    driver, messages = messages_of(named, wanted)
    to_folder = str(args.to or "").startswith(FOLDER)
    protocol = "file" if to_folder or driver.protocol == TABLE else driver.protocol
    asks = bool(args.query) or any(
        b"\rQ|" in message or b"QBP^" in message or b"|QRY" in message for message in messages
    )
    script = simulator.Script(
        tuple(messages),
        protocol,
        frame_bytes=args.frame or simulator.MAX_TEXT,
        packed=args.packed,
        tokens=driver.line.framing == "tokens",
        fault=simulator.Fault(args.fault) if args.fault else None,
        linger_s=_linger_s(protocol) if asks else 0.05,
        answers=len(messages) if args.query and protocol not in ("hl7", "file") else 0,
        every_s=args.every,
    )
    if args.baud:
        script = dataclasses.replace(script, byte_s=_BITS / args.baud, paced=True)
    return driver, script


def _linger_s(speaks: str) -> float:
    """How long the orders of a query are awaited. By HL7 they come in as many messages as there are specimens."""
    return 1.5 if speaks == "hl7" else 5.0


def _transport(args: argparse.Namespace) -> Callable[[OpenSession], Transport] | Path:
    if args.pty is not None:
        return lambda open_session: PtyPort(open_session, link=Path(args.pty))
    if args.listen is not None:
        return listening(args.listen if ":" in args.listen else f"127.0.0.1:{args.listen}")
    if str(args.to).startswith(FOLDER):
        folder = Path(str(args.to).removeprefix(FOLDER).removeprefix("//"))
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder")
        return folder
    if not str(args.to).startswith(("tcp:", "serial:")):
        raise ValueError(f'--to "{args.to}" is no address; write tcp://host:port, such as tcp://127.0.0.1:5101')
    return calling(args.to)


def _show(words: str) -> None:
    print(words, flush=True)


def _quiet(words: str) -> None:
    del words
