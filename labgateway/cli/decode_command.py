"""``labgateway decode FILE``: what a message says, by the words of its driver, without storing or sending anything.

With --json one object a line, in message order; the exact form is a contract (DESIGN 5.6). With --validate hl7apy says on
standard error what breaks the letter of HL7: names of segments and fields, nothing of what stands in them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labgateway import captures
from labgateway.errors import ComplaintsError, LabgatewayError, Problem, Reason
from labgateway.instruments import decode as decoding
from labgateway.instruments import driver as drivers
from labgateway.instruments import recognise
from labgateway.instruments.library import Library, shipped
from labgateway.model import Decoded, Kind, Result

if TYPE_CHECKING:
    from labgateway.instruments.driver import Driver

Judge = Callable[[Result], Problem | None]
"""Says why the mapping would park a result; None: it would not."""


class DecodeError(LabgatewayError):
    """The file cannot be decoded at all; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a file: the driver that read it, what it said, its bytes. driver None: it could not be read at all."""

    driver: Driver | None
    decoded: Decoded
    message: bytes = b""


def shipped_drivers() -> Path:
    """The folder of the drivers that come with labgateway: in the package, else beside it in a source tree."""
    return shipped("drivers")


def library(folders: Iterable[Path] = ()) -> Library:
    """The shipped drivers and those of these folders; a later one of the same name wins."""
    return Library.of([shipped_drivers(), *folders])


def decode_file(path: Path, driver: str | None = None, *, folders: Iterable[Path] = ()) -> list[Said]:
    """Every message of a file, decoded; behind them what had to be left out, each with its problem.

    path: raw bytes (framed or bare ASTM, MLLP or bare HL7) or a ``.wire`` transcript. driver: a driver's
    name or folder, or one of its models as maker_model; None: each message must be recognised.
    Raises DecodeError when the file, the driver or the instrument cannot be made out, ComplaintsError
    when the named driver has mistakes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DecodeError(f"{path} cannot be read: {error.strerror or type(error).__name__}.") from None
    known = library(folders)
    named = named_drivers(driver, known) if driver is not None else ()
    capture = captures.open_capture(data)
    raw = tuple(each for each in named if each.layout)
    if raw and not any(_speaks(message, named) for message in capture.messages):
        capture, named = captures.open_capture(data, protocol=raw[0].protocol), raw
    if not capture.messages:
        why = capture.damage[0] if capture.damage else "it is empty"
        raise DecodeError(f"{path} holds no readable message: {why}.")
    said = [_decode(message, named, known) for message in capture.messages]
    lost = [Said(None, Decoded(None, problem=Problem(Reason.UNREADABLE, damage))) for damage in capture.damage]
    return said + lost


def named_drivers(name: str, known: Library) -> tuple[Driver, ...]:
    """The driver that a person named: its folder, its name, or maker_model; of a model with ASTM and HL7, both."""
    folder = Path(name)
    if (folder / drivers.FILE).is_file():
        return (drivers.load(folder),)
    if folder.name == drivers.FILE and folder.is_file():
        return (drivers.load(folder.parent),)
    if found := known.find_all(name):
        return found
    if name in known.broken:
        raise ComplaintsError(known.broken[name])
    raise DecodeError(
        f'There is no driver "{name}". Name a driver\'s folder, or a model as maker_model. '
        f"Drivers here: {', '.join(sorted(known.drivers)) or 'none'}."
    )


def _speaks(message: bytes, named: Sequence[Driver]) -> bool:
    """Whether a message has the header of a protocol that one of these drivers reads: then it is no raw framing."""
    protocol, rows = recognise.header_rows(message)
    return bool(rows) and rows[0].name in ("H", "MSH") and any(each.protocol == protocol for each in named)


def _decode(message: bytes, named: Sequence[Driver], known: Library) -> Said:
    if named and all(each.layout for each in named):
        chosen = named[0]
    elif named:
        protocol, _ = recognise.header_rows(message)
        fitting = [driver for driver in named if driver.protocol == protocol]
        chosen = (fitting or list(named))[0]
    else:
        found = recognise.candidates(message, known)
        if len(found) != 1:
            what = "No driver knows" if not found else f"{', '.join(d.name for d in found)} all claim"
            raise DecodeError(f"{what} the sender of this message. Name the driver with --driver.")
        chosen = found[0]
    return Said(chosen, decoding.decode(chosen, message), message)


def lines(said: Iterable[Said], judge: Judge | None = None) -> Iterator[str]:
    """The JSON line of every result, in message order."""
    for each in said:
        for result in each.decoded.results:
            yield json.dumps(as_object(result, each.decoded, judge), ensure_ascii=False)


def as_object(result: Result, decoded: Decoded, judge: Judge | None = None) -> dict[str, object]:
    """A result as DESIGN 5.6 prints it, keys in that order."""
    problem = result.problem or (judge(result) if judge and result.kind is Kind.PATIENT else None)
    return {
        "kind": result.kind.value,
        "specimen": result.specimen,
        "patient": result.patient,
        "code": result.code,
        "value": result.value,
        "unit": result.unit,
        "flags": list(result.flags),
        "status": result.status.value,
        "measured_at": result.measured_at.isoformat(timespec="seconds") if result.measured_at else None,
        "driver": decoded.driver,
        "reason": str(problem) if problem else None,
    }


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "decode", help="show what a message says", description=__doc__
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="raw bytes or a .wire transcript")
    parser.add_argument("--driver", metavar="D", help="a driver's folder or name, or maker_model (sysmex_xn550)")
    parser.add_argument("--drivers", type=Path, action="append", default=[], metavar="FOLDER", help="more drivers")
    parser.add_argument("--mapping", type=Path, metavar="M", help="a mapping file, to see what it would park")
    parser.add_argument("--json", action="store_true", help="one JSON object a line and result")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="say also what hl7apy holds against HL7 messages by their version (exit 1)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Carry the command out: 0 all was read, 1 something could not be (and it was said)."""
    try:
        judge = _judge(args.mapping) if args.mapping else None
        said = decode_file(args.file, args.driver, folders=args.drivers)
    except (DecodeError, ComplaintsError) as error:
        print(f"labgateway decode: {error}", file=sys.stderr)
        return 1
    if args.json:
        for line in lines(said, judge):
            print(line)
    else:
        _table(said, judge)
    failed = [each.decoded.problem for each in said if each.decoded.problem]
    for problem in failed:
        print(f"labgateway decode: {problem}\n  {problem.reason.cure}", file=sys.stderr)
    invalid = _validate(said) if args.validate else False
    return 1 if failed or invalid else 0


def _validate(said: Iterable[Said]) -> bool:
    """Say what is wrong with each message by the letter of HL7; whether anything is."""
    from labgateway.cli.decode_validate import mistakes

    is_wrong = False
    for number, each in enumerate((one for one in said if one.driver), 1):
        found = mistakes(each.message)
        if found is None:
            found = ["is no HL7 message; --validate judges HL7 only."]
        for what in found:
            print(f"labgateway decode: message {number}: {what}", file=sys.stderr)
        is_wrong = is_wrong or bool(found)
    return is_wrong


def _judge(path: Path) -> Judge:
    """What a mapping file would say about each result. Raises ComplaintsError when it has mistakes."""
    table = importlib.import_module("labgateway.mapping.table")
    rules = importlib.import_module("labgateway.mapping.apply")
    mapping = table.load(path)

    def judge(result: Result) -> Problem | None:
        outcome = rules.apply(mapping, result)
        return outcome if isinstance(outcome, Problem) else getattr(outcome, "hold", None)

    return judge


_WIDTH = 120
"""Characters a line where the output is no terminal."""
_COLUMNS = ("kind", "specimen", "code", "value", "unit", "flags", "status", "measured at", "would be parked")


def _table(said: Iterable[Said], judge: Judge | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    notes: dict[str, int] = {}
    for each in said:
        title = f"{each.driver.title} ({each.driver.name})" if each.driver else "unreadable"
        table = Table(*_COLUMNS, title=escape(title))
        for result in each.decoded.results:
            shown = as_object(result, each.decoded, judge)
            problem = result.problem or (judge(result) if judge and result.kind is Kind.PATIENT else None)
            cells = (
                str(shown["kind"]),
                result.specimen or "",
                result.code,
                result.value if result.value is not None else "-",
                result.unit or "",
                " ".join(result.flags),
                str(shown["status"]),
                str(shown["measured_at"] or ""),
                f"{problem.reason.name} ({notes.setdefault(str(problem), len(notes) + 1)})" if problem else "",
            )
            table.add_row(*(escape(cell) for cell in cells))
        console.print(table)
    for words, number in notes.items():
        console.print(f"({number}) {words}", markup=False, highlight=False)
