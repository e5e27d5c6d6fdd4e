"""``labgateway balance``: everything that was received on a day stands somewhere, and each destination has what it is owed."""

from __future__ import annotations

import argparse
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded, local, open_store
from labgateway.config import Config

_SHOWN = 20

_EPILOG = """\
  labgateway balance                  today
  labgateway balance yesterday
  labgateway balance 2026-11-22 --json

A message counts on the day on which it was received; what became of it is as of now. What is under way, waits or is held is no
fault: it balances, and it is listed. exit codes: 0 it balances, 1 it does not (and why), 2 wrong call
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "balance",
        help="the proof of a day: received = delivered + waiting + held + …",
        description="Counts every result that was received on a day by where it stands now, checks that each stands exactly once, "
        "and lists what each destination does not have yet.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "day", nargs="?", default="today", metavar="DAY", help="2026-11-22, today or yesterday; at the site"
    )
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _balance(args))


def _balance(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from labgateway.balance import balance

    config = config_of(args)
    start, end = _day(args.day, config)
    store = open_store(config)
    try:
        found = store.read_now(lambda connection: balance(connection, start, end))
    finally:
        store.close_now()
    if args.json:
        dump({"balances": found.balances, **asdict(found)})
    else:
        _show(found, config)
    return 0 if found.balances else 1


def _day(said: str, config: Config) -> tuple[datetime, datetime]:
    """First moment of the day at the site, and of the next. Raises LabgatewayError."""
    from labgateway.errors import LabgatewayError

    zone = ZoneInfo(config.gateway.timezone)
    today = datetime.now(zone).date()
    try:
        day = {"today": today, "yesterday": today - timedelta(days=1)}.get(said) or date.fromisoformat(said)
    except ValueError:
        raise LabgatewayError(f"{said[:20]!r} is no day: write it as 2026-11-22, or today, or yesterday.") from None
    return datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)


def _show(found: Any, config: Config) -> None:
    print(f"{found.start:%Y-%m-%d}, {config.gateway.timezone}\n")
    print(f"messages received {sum(found.messages.values()):>9}")
    for name, count in found.messages.items():
        print(f"  {name:16}{count:>9}")
    print(f"results received  {found.received:>9}")
    for name, count in found.results.items():
        if count:
            print(f"  {name:16}{count:>9}")
    for name, count in found.besides.items():
        print(f"  besides, {name}: {count}")
    for destination, count in sorted(found.differing.items()):
        print(f"\n{destination} does not have {count} of them:")
        mine = [one for one in found.differences if one.destination == destination]
        for one in mine[:_SHOWN]:
            print(
                f"  {one.observation}  delivery d{one.delivery} {one.state} since {local(one.since, config)}  {one.answer}".rstrip()
            )
        if count > min(len(mine), _SHOWN):
            print("  … --json lists more")
    print()
    for words in found.wrong:
        print(f"WRONG: {words}")
    print("It balances." if found.balances else "It does NOT balance.")
