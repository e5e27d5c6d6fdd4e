"""``labgateway tap``: see what goes over a line, live, and keep it as a ``.wire`` transcript; with --scrub without people.

Of a running gateway's line, which does not notice; or between two ports; or of an instrument that nobody answers yet.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import signal
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from labgateway.captures import CaptureError, Way, Wire, is_wire, read_wire, write_wire
from labgateway.cli.common import add_config, config_of, guarded
from labgateway.errors import LabgatewayError
from labgateway.recording import Recorder, line_text, without_people
from labgateway.transports.tapped import Heard

if TYPE_CHECKING:
    from labgateway.instruments.spec import Driver
    from labgateway.transports.address import Connect

MOST_BYTES = 64 << 20
"""So much is kept in memory for --scrub, which needs the whole; then the tap ends."""

_EPILOG = """\
examples:
  labgateway tap xn1                                        the running gateway's line xn1; it does not notice
  labgateway tap xn1 -o xn1.wire --scrub --seconds 600      ten minutes of it, without people, to give away
  labgateway tap --listen 5101 --connect 10.20.0.9:5101     stand between an instrument and its host
  labgateway tap --serial '/dev/ttyUSB0?baud=9600' --connect 10.20.0.9:5101
  labgateway tap --listen 5101                              only listen: who calls, and its first words
  labgateway tap --file old.wire --scrub -o clean.wire --driver sysmex_xn

Only listening answers nothing, so an ASTM instrument says ENQ and no more. Without --scrub a transcript holds patients'
data: its file is readable by you alone. With it nothing of a patient is written or shown.
exit codes: 0 recorded, 1 nothing came or it could not be scrubbed (and it is said why), 2 wrong call
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "tap",
        help="record a line as a transcript",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("instrument", nargs="?", metavar="INSTRUMENT", help="of the running gateway, as in config.toml")
    parser.add_argument("--listen", metavar="PORT", help="wait for a call: 5101, or an address of ours and a port")
    parser.add_argument("--connect", metavar="HOST:PORT", help="call this address")
    parser.add_argument(
        "--serial", metavar="DEVICE", help="a serial port: /dev/ttyUSB0?baud=9600&bits=8&parity=none&stop=1"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="a transcript that there is already")
    parser.add_argument(
        "--swap", action="store_true", help="between two ports: the instrument is the one that is called by us"
    )
    parser.add_argument("--allow", action="append", metavar="NET", help="who may call (default: private networks)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the transcript here")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so long (default: at Ctrl-C)")
    parser.add_argument("--scrub", action="store_true", help="replace people by invented ones of the same form")
    parser.add_argument("--driver", metavar="D", help="whose [where] says where people stand; of INSTRUMENT: its own")
    parser.add_argument("--drivers", type=Path, action="append", default=[], metavar="FOLDER", help="more drivers")
    parser.add_argument("--quiet", action="store_true", help="do not show the line, only record it")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    if why := _wrong(args):
        print(f"labgateway tap: {why}", file=sys.stderr)
        return 2
    return guarded(lambda: _tap(args))


def _wrong(args: argparse.Namespace) -> str:
    """What is wrong with the call."""
    ends = [end for end in (args.listen, args.connect, args.serial) if end is not None]
    ways = [bool(args.instrument), bool(ends), bool(args.file)]
    if sum(ways) != 1 or len(ends) > 2:
        return "name one line: INSTRUMENT, or --listen, --connect, --serial (two of them: between the two), or --file."
    if args.file and not args.scrub:
        return "--file is for --scrub."
    if args.scrub and not args.output:
        return "--scrub needs -o FILE."
    try:
        if ends:
            _ends(args)
    except ValueError as error:
        return str(error)
    return ""


def _ends(args: argparse.Namespace) -> tuple[Connect, Connect | None]:
    """The instrument's end first: the serial port, else the caller, else the one that is called."""
    from labgateway.transports.address import PRIVATE, calling, listening

    found: list[Connect] = []
    if args.serial is not None:
        found.append(calling(f"serial:{args.serial}"))
    if args.listen is not None:
        found.append(listening(args.listen, args.allow or PRIVATE))
    if args.connect is not None:
        found.append(calling(args.connect))
    return found[0], found[1] if len(found) > 1 else None


def _tap(args: argparse.Namespace) -> int:
    driver = _driver(args)
    if args.file:
        try:
            data = args.file.read_bytes()
        except OSError as error:
            raise LabgatewayError(f"{args.file} cannot be read: {error.strerror}.") from None
        if not is_wire(data):
            raise LabgatewayError(f"{args.file} is no transcript. Raw bytes: labgateway decode reads them.")
        try:
            wire = read_wire(data)
        except CaptureError as error:
            raise LabgatewayError(f"{args.file}: {error}.") from None
        return _write_clean(wire, driver, args.output)
    tape = _Tape(args.output, shown=not args.quiet, scrub=args.scrub, title=_title(args, driver))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if args.instrument:
            _of_gateway(args, tape)
        else:
            asyncio.run(_own(args, tape))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        tape.end()
    if tape.missed:
        print(
            f"labgateway tap: {tape.missed} bytes came faster than they could be taken and are not in it.",
            file=sys.stderr,
        )
    if not tape.bytes:
        print("labgateway tap: nothing came. `labgateway doctor` says why.", file=sys.stderr)
        return 1
    if args.scrub:
        return _write_clean(tape.wire(), driver, args.output)
    if args.output:
        print(f"labgateway tap: {tape.bytes} bytes in {args.output}", file=sys.stderr)
    return 0


def _driver(args: argparse.Namespace) -> Driver | None:
    """Whose words count for --scrub. Raises LabgatewayError when the named one is not known."""
    from labgateway.cli import decode_command

    if not args.scrub:
        return None
    name, folders = args.driver, list(args.drivers)
    if args.instrument:
        config = config_of(args)
        section = config.instruments.get(args.instrument)
        name = name or (section.driver if section else None)
        folders += config.gateway.drivers
    if name is None:
        return None
    return decode_command.named_drivers(name, decode_command.library(folders))[0]


def _title(args: argparse.Namespace, driver: Driver | None) -> list[tuple[str, str]]:
    where = args.instrument or " and ".join(str(end) for end in (args.serial, args.listen, args.connect) if end)
    return [
        ("instrument", driver.title if driver else args.instrument or "unknown"),
        ("source", f"recorded by labgateway tap at {where}, {datetime.now().astimezone():%Y-%m-%d %H:%M}"),
        ("shows", "people replaced by invented ones" if args.scrub else "may hold patients' data: do not give it away"),
    ]


def _of_gateway(args: argparse.Namespace, tape: _Tape) -> None:
    """Hear the running gateway's line."""
    from labgateway.service import control

    data = config_of(args).gateway.data
    request = {"action": "watch", "instrument": args.instrument}
    for said in control.follow(data, request, seconds=args.seconds):
        if "missed" in said:
            tape.missed += int(said["missed"])
        elif "what" in said:
            tape.hear(heard_of(said))
        else:
            who = ", ".join(said["connected"]) or "nobody is connected yet"
            tape.note(f"line {said['instrument']} ({said['driver']}): {who}")
        if tape.full:
            return


def heard_of(said: dict[str, Any]) -> Heard:
    """One line of the control socket's stream as what happened."""
    what = cast("Literal['opened', 'from', 'to', 'ended']", said["what"])
    return Heard(what, said["connection"], said["peer"], base64.b64decode(said.get("data", "")), said.get("why", ""))


async def _own(args: argparse.Namespace, tape: _Tape) -> None:
    """Hear a line that we hold ourselves."""
    from labgateway.transports.bridge import Bridge

    first, second = _ends(args)
    bridge = Bridge(first, second, tape.hear, swapped=args.swap)
    await bridge.transport.start()
    port = getattr(bridge.transport, "port", None)
    if args.listen is not None and port:
        tape.note(f"waiting on port {port}")
    try:
        async with asyncio.timeout(args.seconds):
            while not tape.full:
                await asyncio.sleep(0.2)
                tape.idle()
    except TimeoutError:
        pass
    finally:
        await bridge.transport.stop()


class _Tape:
    """Where what is heard goes: the screen, and a file or, for --scrub, memory."""

    def __init__(self, path: Path | None, *, shown: bool, scrub: bool, title: list[tuple[str, str]]) -> None:
        self.bytes = 0
        self.missed = 0
        self._shown = shown
        self._scrub = scrub
        self._title = title
        self._recorders: dict[int, Recorder] = {}
        self._lines: list[tuple[Way, bytes]] = []
        self._file = None
        if path and not scrub:
            try:
                self._file = os.fdopen(
                    os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
                )
            except OSError as error:
                raise LabgatewayError(f"{path} cannot be written: {error.strerror}.") from None
            self._file.write(write_wire(Wire(tuple(title), ())).decode())

    @property
    def full(self) -> bool:
        """Whether no more can be kept for --scrub."""
        return self._scrub and self.bytes > MOST_BYTES

    def hear(self, heard: Heard) -> None:
        """Take one thing that happened."""
        match heard.what:
            case "opened":
                self.note(f"connection {heard.connection} from {heard.peer}")
            case "ended":
                self._take(self._recorders.pop(heard.connection, Recorder()).rest())
                self.note(f"connection {heard.connection} ended: {heard.why}")
            case "from" | "to":
                self.bytes += len(heard.data)
                recorder = self._recorders.setdefault(heard.connection, Recorder())
                self._take(recorder.feed(Way.FROM if heard.what == "from" else Way.TO, heard.data))

    def idle(self) -> None:
        """Write out what is there, so that a file that is looked at meanwhile is whole lines."""
        if self._file:
            self._file.flush()

    def note(self, words: str) -> None:
        """Something that is no byte of the line: a comment in the file."""
        if self._shown:
            print(f"{datetime.now():%H:%M:%S.%f}"[:12], "-", words, flush=True)  # noqa: DTZ005 - for the eye
        if self._file:
            self._file.write(f"# {words.replace(':', ' -')}\n")

    def _take(self, lines: Iterator[tuple[Way, bytes]]) -> None:
        for way, data in lines:
            text = line_text(way, data)
            if self._shown:
                shown = f"{way.value} {len(data)} bytes" if self._scrub else text.rstrip("\n")
                print(f"{datetime.now():%H:%M:%S.%f}"[:12], shown, flush=True)  # noqa: DTZ005 - for the eye
            if self._scrub:
                self._lines.append((way, data))
            elif self._file:
                self._file.write(text)

    def wire(self) -> Wire:
        """All of it."""
        return Wire(tuple(self._title), tuple(self._lines))

    def end(self) -> None:
        """Nothing more comes."""
        for recorder in self._recorders.values():
            self._take(recorder.rest())
        if self._file:
            self._file.close()


def _write_clean(wire: Wire, driver: Driver | None, path: Path) -> int:
    """Scrub and write. Raises ScrubError, and then nothing is written."""
    clean = without_people(wire, driver)
    try:
        path.write_bytes(write_wire(clean))
    except OSError as error:
        raise LabgatewayError(f"{path} cannot be written: {error.strerror}.") from None
    print(
        f"labgateway tap: {path} is written without people: {'its values decode as before' if driver else 'by the standard places'}."
        " Free text of other people is not known to anybody: read it once before you give it away.",
        file=sys.stderr,
    )
    return 0
