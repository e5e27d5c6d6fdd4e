"""``labgateway learn``: a draft of a driver and a mapping, from what an unknown instrument sent."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway.cli.common import Parsers, add_config, config_of, guarded, open_store
from labgateway.config import find
from labgateway.errors import LabgatewayError

if TYPE_CHECKING:
    from labgateway.instruments.spec import Driver
    from labgateway.learn import Draft, Guess, Material

_EPILOG = """\
from the first byte to a draft:
  labgateway tap --listen 5101 -o new.wire --seconds 600     record the line while specimens run (tap --help)
  labgateway learn new.wire --name acme_haem3                learned/acme_haem3/: driver.toml NOTES.md mapping.toml captures/
  labgateway decode new.wire --driver learned/acme_haem3     what the draft makes of it: compare with the screen, value by value
  docs/adding-a-driver.md                                    the way from there into use

Run five specimens or more before learning, with a control, a repeat, an abnormal and a withheld result, and one specimen whose
barcode you know. What learn is not sure of stands in NOTES.md, a sentence each. It never guesses what would hide a result: a flag, status
or code that nobody declared parks. Nothing drafted is used by the gateway.
exit codes: 0 a draft is there, 1 not, and why, 2 wrong call
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "learn",
        help="draft a driver and a mapping from what an unknown instrument sent",
        description="Reads captured files (raw bytes or .wire), or the stored messages of an instrument in config.toml, and finds by "
        "counting: protocol, framing, sender, where specimen, code, value, unit, flag, status and time stand, how controls are "
        "marked, which rows are no results, host queries, encoding. Writes a draft folder that is not in use.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", nargs="+", metavar="FILE|INSTRUMENT", help="captured files, or an instrument in config.toml"
    )
    parser.add_argument(
        "--name", metavar="MAKER_MODEL", help="what to call the draft, such as acme_haem3; default: by its sender"
    )
    parser.add_argument("--to", type=Path, default=Path("learned"), metavar="FOLDER", help="where drafts go (learned)")
    parser.add_argument(
        "--days", type=float, default=30, metavar="N", help="of an INSTRUMENT: messages of so many days (30)"
    )
    parser.add_argument("--replace", action="store_true", help="write over a draft of that name")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _learn(args))


def _learn(args: argparse.Namespace) -> int:
    from labgateway.cli.decode_command import library
    from labgateway.instruments.recognise import candidates
    from labgateway.learn import draft_of, guess_of, material_of

    material = material_of(_sources(args))
    guess = guess_of(material)
    known = library()
    claimed = {driver.name for message in material.messages for driver in candidates(message, known)}
    draft = draft_of(guess, _name(args.name, guess), known_by=sorted(claimed))
    folder: Path = args.to / draft.name
    if folder.exists() and not args.replace:
        raise LabgatewayError(f"{folder} is there already; give another --name, or write over it with --replace.")
    driver, unsaid = _write(folder, draft, material)
    print(
        f"{folder}: {'driver.toml, ' if driver else ''}NOTES.md{', mapping.toml' if draft.mapping else ''}. Not in use."
    )
    for one in guess.found:
        print(f"  {one}")
    for part in ("specimen", "code", "value", "unit", "flag", "measured_at"):
        if driver:
            print(f"  {part:12} {', '.join(guess.where.get(part, ['not found']))}")
    if claimed:
        print(
            f"{', '.join(sorted(claimed))} recognises these messages: use that driver instead (labgateway check --drivers)."
        )
    print(f"To check, {len(guess.doubts)} things (all stand in NOTES.md):")
    for number, one in enumerate(guess.doubts, 1):
        print(f"  {number}. {one}")
    for one in unsaid:
        print(f"  {one}")
    if not driver:
        print("No driver could be drafted; NOTES.md says what to do instead.")
        return 1
    print(
        f"Next: labgateway decode {args.source[0]} --driver {folder}"
        if _is_file(args.source[0])
        else f"Next: read {folder}/NOTES.md"
    )
    return 0


def _is_file(source: str) -> bool:
    return Path(source).is_file()


def _sources(args: argparse.Namespace) -> list[bytes]:
    """The bytes to learn from. Raises LabgatewayError when a source is neither a file nor an instrument."""
    found: list[bytes] = []
    for source in args.source:
        if _is_file(source):
            try:
                found.append(Path(source).read_bytes())
            except OSError as error:
                raise LabgatewayError(f"{source} cannot be read: {error.strerror or type(error).__name__}.") from None
        else:
            found += _stored(source, args)
    return found


def _stored(instrument: str, args: argparse.Namespace) -> list[bytes]:
    """The whole messages of an instrument, oldest first."""
    from labgateway.store import journal

    try:
        find(args.config)
    except LabgatewayError:
        raise LabgatewayError(
            f"{instrument} is no file, and there is no config.toml that could name an instrument."
        ) from None
    config = config_of(args)
    if instrument not in config.instruments:
        raise LabgatewayError(
            f"{instrument} is neither a file nor an instrument in config.toml ({', '.join(config.instruments)})."
        )
    if not 0 < args.days <= 3660:
        raise LabgatewayError("--days is a number above 0, up to 3660.")
    since = datetime.now(UTC) - timedelta(days=args.days)
    store = open_store(config)
    try:
        numbers = store.read_now(lambda connection: journal.whole_since(connection, instrument, since))
        kept = [
            store.read_now(lambda connection, number=number: journal.get(connection, number))
            for number in numbers[-500:]
        ]
    finally:
        store.close_now()
    found = [one.raw for one in kept if one is not None]
    if not found:
        raise LabgatewayError(f"No message of {instrument} is stored from the last {args.days:g} days.")
    return found


def _name(wanted: str | None, guess: Guess) -> str:
    from labgateway.instruments.spec import squeeze

    if wanted is not None:
        parts = [squeeze(part) for part in wanted.split("_")]
        if not all(parts):
            raise LabgatewayError("--name is maker_model in letters and digits, such as acme_haem3.")
        return "_".join(parts)
    sender = squeeze(guess.senders[0]) if guess.senders else ""
    return f"unknown_{sender[:30] or guess.protocol or 'instrument'}"


def _write(folder: Path, draft: Draft, material: Material) -> tuple[Driver | None, list[str]]:
    """The draft on disk, and what could not be written with it."""
    from labgateway.instruments.driver import FILE, load

    unsaid: list[str] = []
    driver = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if draft.driver:
            (folder / FILE).write_text(draft.driver, encoding="utf-8")
            driver = load(folder)
            unsaid = _capture(folder, driver, material)
        if draft.mapping:
            (folder / "mapping.toml").write_text(draft.mapping, encoding="utf-8")
        more = "".join(f"\n{one}\n" for one in unsaid)
        (folder / "NOTES.md").write_text(draft.notes + more, encoding="utf-8")
    except OSError as error:
        raise LabgatewayError(f"{folder} cannot be written: {error.strerror or type(error).__name__}.") from None
    return driver, unsaid


def _capture(folder: Path, driver: Driver, material: Material) -> list[str]:
    """The messages without people, and what the draft makes of them; why not, where they cannot be had."""
    from labgateway.captures import read_capture, wire_of, write_wire
    from labgateway.cli.decode_command import as_object
    from labgateway.instruments.decode import decode
    from labgateway.recording import ScrubError, without_people

    header = (
        ("instrument", driver.title),
        ("source", "captured at the instrument; people replaced by invented ones"),
        ("shows", "what `labgateway learn` was given: read it before you give it away"),
    )
    try:
        made = write_wire(without_people(wire_of(material.messages, header, protocol=material.protocol), driver))
    except ScrubError as error:
        return [f"No capture was written, because people could not be taken out of it: {error}"]
    (folder / "captures").mkdir(exist_ok=True)
    (folder / "captures" / "learned.wire").write_bytes(made)
    objects = [
        {key: value for key, value in as_object(result, said).items() if key != "driver"}
        for message in read_capture(made, protocol=driver.protocol)
        for said in [decode(driver, message)]
        for result in said.results
    ]
    (folder / "captures" / "learned.expected.json").write_text(_lines(objects), encoding="utf-8")
    return []


def _lines(objects: Iterable[dict[str, object]]) -> str:
    lines = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in objects)
    return f"[\n{lines}\n]\n" if lines else "[]\n"
