"""``labgateway emr``: a test EMR for trying things out: orders one tube, takes results by MLLP, prints them. Keeps nothing."""

from __future__ import annotations

import argparse
import asyncio
from datetime import datetime

from labgateway.cli.common import Parsers, guarded
from labgateway.errors import LabgatewayError
from labgateway.protocols import hl7, mllp

_EPILOG = """\
a first result, in two more terminals:
  labgateway run                                                  the gateway, with [orders.emr] port 2575 and [destination.emr] port 2576
  labgateway emr --order T1001:CBC                                this; orders a CBC on tube T1001, then waits for results
  labgateway simulate sysmex_xn --to tcp://127.0.0.1:5101 --specimen T1001

Several tests (T1001:WBC,HGB) are several orders: the gateway believes that they are one person's only with --patient.
It is no EMR: it believes everybody on this machine, accepts everything and forgets it.
exit codes: 0 stopped, 1 the order was not taken, 2 wrong call
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "emr",
        help="a test EMR: orders a tube, takes results by MLLP and prints them",
        description="Plays the electronic medical record while an instrument is being connected: listens on this machine for ORU^R01, "
        "prints every result and answers AA; with --order it orders tests first (OML^O21). For trying out only.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=2576, metavar="N", help="where results come (2576)")
    parser.add_argument(
        "--patient",
        default="",
        metavar="ID",
        help="the patient's id in the orders; an instrument that says another one is held",
    )
    parser.add_argument(
        "--order", action="append", default=[], metavar="TUBE:TEST,TEST", help="order these; may be repeated"
    )
    parser.add_argument(
        "--to", type=int, default=2575, metavar="N", help="the gateway's port for orders on this machine (2575)"
    )
    parser.add_argument(
        "--results", type=int, default=0, metavar="N", help="end after so many results (0: until Ctrl-C)"
    )


def run(args: argparse.Namespace) -> int:
    """Run it."""
    for said in args.order:
        tube, _, tests = str(said).partition(":")
        if not tube or not tests:
            raise SystemExit(f"labgateway emr: --order {said}: write TUBE:TEST,TEST, such as T1001:WBC,HGB")
    return guarded(lambda: asyncio.run(_play(args)))


async def _play(args: argparse.Namespace) -> int:
    enough = asyncio.Event()
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        try:
            while True:
                message = hl7.read((await reader.readuntil(b"\x1c\r"))[1:-2])
                seen += show(message)
                now = datetime.now().astimezone()
                writer.write(
                    mllp.wrap(
                        hl7.acknowledge(message, hl7.AckCode.ACCEPT, now=now, control_id=f"E{message.control_id}")
                    )
                )
                await writer.drain()
                if 0 < args.results <= seen:
                    enough.set()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, OSError):
            writer.close()

    try:
        server = await asyncio.start_server(serve, "127.0.0.1", args.port, limit=1 << 22)
    except OSError as error:
        raise LabgatewayError(f"Port {args.port} cannot be opened: {error.strerror or 'it failed'}.") from None
    async with server:
        for number, said in enumerate(args.order, 1):
            tube, _, tests = str(said).partition(":")
            await _order(args.to, tube, tests.split(","), args.patient, number)
        print(f"waiting for results on port {args.port}; Ctrl-C ends", flush=True)
        await enough.wait()
    return 0


def show(message: hl7.Message) -> int:
    """Print the results of a message; how many there were."""
    specimen = next((row.value(2, 1) for row in message.rows if row.name == "SPM"), "")
    count = 0
    for row in message.rows:
        if row.name == "OBX":
            count += 1
            name = "^".join(part for part in (row.value(3, 1), row.value(3, 2)) if part)
            print(
                f"{specimen:16} {name:40} {row.value(5)} {row.value(6, 1)} {row.value(8)} {row.value(11)}".rstrip(),
                flush=True,
            )
    return count


async def _order(port: int, tube: str, tests: list[str], patient: str, number: int) -> None:
    """Order tests on a tube, patient invented. Raises LabgatewayError when the gateway does not take it."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(15):
            writer.write(mllp.wrap(order_message(tube, tests, patient, number, datetime.now().astimezone())))
            answer = hl7.read((await reader.readuntil(b"\x1c\r"))[1:-2])
        writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        raise LabgatewayError(
            f"No gateway takes orders on port {port}: is it running, with [orders.emr] port = {port}?"
        ) from None
    msa = next((row for row in answer.rows if row.name == "MSA"), None)
    if msa is None or msa.value(1) != "AA":
        why = "; ".join(row.value(8) for row in answer.rows if row.name == "ERR")
        raise LabgatewayError(
            f"The gateway did not take the order of {tube}: {msa.value(1) if msa else 'no MSA'} {why}"
        )
    print(f"ordered {', '.join(tests)} on tube {tube}", flush=True)


def order_message(tube: str, tests: list[str], patient: str, number: int, now: datetime) -> bytes:
    """OML^O21 with one order a test, on one tube; of the patient only the id and an invented name."""
    stamp = now.strftime("%Y%m%d%H%M%S")
    rows = [
        f"MSH|^~\\&|EMR|TEST|LABGATEWAY|TEST|{stamp}||OML^O21^OML_O21|T{stamp}{number}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{patient}^^^TEST^MR||Thử^Nghiệm",
    ]
    for count, test in enumerate(tests, 1):
        rows += [
            f"ORC|NW|{tube}-{count}|||||||{stamp}",
            f"OBR|{count}|{tube}-{count}||{test.strip()}^{test.strip()}^L|||{stamp}",
            f"SPM|1|{tube}||BLD|||||||||||||{stamp}",
        ]
    return "\r".join([*rows, ""]).encode()
