"""``labgateway reconcile``: what was sent on a day, and whether the destinations hold it."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded, open_store

if TYPE_CHECKING:
    from labgateway.config import Config
    from labgateway.gateway.reconcile import Proof

_MOST_SENT = 5000

_EPILOG = """\
  labgateway reconcile                       yesterday, every destination
  labgateway reconcile table --day 2026-11-22

Of destinations of kind sql and fhir every result is read back and compared, unless read_back = false. What differs is put onto the
list of `labgateway parked` by the running gateway, and taken off it where it is right again. The service does the same each day at
[gateway] daily_at. Where a destination cannot be read nothing is put there, and it is said why.
exit codes: 0 everything that was taken is there, 1 something differs or could not be compared, 2 wrong call
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "reconcile",
        help="what was sent on a day, and whether the destinations hold it",
        description="For each destination: how many messages of a day it has taken, refused, or not yet taken; and, where it can "
        "be asked, whether it holds every result as it was sent.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "destination", nargs="?", metavar="DESTINATION", help="the NAME of [destination.NAME]; default: all"
    )
    parser.add_argument(
        "--day", metavar="YYYY-MM-DD", help="messages made on that day, at the site; default: yesterday"
    )
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _reconcile(args))


def _reconcile(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError
    from labgateway.gateway.reconcile import asked
    from labgateway.service import control

    config = config_of(args)
    day = _day(args.day, config)
    if args.destination is not None and args.destination not in config.destinations:
        raise LabgatewayError(
            f"There is no [destination.{args.destination}]. There are: {', '.join(config.destinations)}."
        )
    names = [args.destination] if args.destination else list(config.destinations)
    proofs = asyncio.run(_prove(config, day, names))
    unsaid = ""
    for proof in proofs:
        if proof.compared is not None and not proof.trouble:
            proof.found = proof.found[:_MOST_SENT]
            try:
                control.ask(config.gateway.data, asked(proof))
            except LabgatewayError as error:
                unsaid = f"Not put onto the list of `labgateway parked`: {error}"
    if args.json:
        dump([{"day": day, **asdict(proof)} for proof in proofs])
    else:
        _show(day, proofs, unsaid)
    return 1 if any(proof.found or proof.trouble for proof in proofs) else 0


def _day(text: str | None, config: Config) -> date:
    from labgateway.errors import LabgatewayError

    if text is None:
        return datetime.now(ZoneInfo(config.gateway.timezone)).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise LabgatewayError(f"{text[:20]!r} is no day; write it as 2026-11-22.") from None


async def _prove(config: Config, day: date, names: list[str]) -> list[Proof]:
    from labgateway.gateway import destinations, outlets
    from labgateway.gateway.reconcile import prove, span_of

    since, until = span_of(day, config.gateway.timezone)
    store = open_store(config)
    found: list[Proof] = []
    try:
        for name in names:
            section = config.destinations[name]
            readable = destinations.readable(config, section, _mute)
            found.append(await prove(store, name, readable, since, until, update=outlets.updates(section)))
            if readable is not None:
                await readable.close()
    finally:
        await store.close()
    return found


def _mute(event: str, **_: object) -> None:
    """The command's own words are enough."""


def _show(day: date, proofs: list[Proof], unsaid: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    screen = Console()
    table = Table(
        "destination", "accepted", "waiting", "refused", "given up", "shadow", "results compared", "differ",
        title=f"Messages of {day}", title_justify="left",
    )  # fmt: skip
    for proof in proofs:
        states = [str(proof.states.get(name, 0)) for name in ("settled", "waiting", "parked", "skipped", "shadow")]
        compared = "cannot be asked" if proof.compared is None else str(proof.compared)
        table.add_row(
            proof.destination, *states, compared, str(len(proof.found)) if proof.compared is not None else "-"
        )
    screen.print(table)
    for proof in proofs:
        if proof.trouble:
            screen.print(f"[bold red]{escape(proof.destination)}[/]: the comparison broke off: {escape(proof.trouble)}")
        for one in proof.found[:20]:
            what = f"differs in {one.detail}" if one.detail else "is not there"
            screen.print(f"  {escape(proof.destination)}  delivery d{one.delivery}  {one.observation}  {escape(what)}")
        if len(proof.found) > 20:
            screen.print(f"  … and {len(proof.found) - 20} more; --json lists all")
    if unsaid and any(proof.found for proof in proofs):
        screen.print(f"[yellow]{escape(unsaid)}[/]")
