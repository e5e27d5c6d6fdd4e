"""``labgateway shadow``: what a destination in shadow would have been sent on a day, to lay beside the paper."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from zoneinfo import ZoneInfo

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded, open_store


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "shadow",
        help="what a destination with shadow = true would have been sent",
        description="Shows what a destination with shadow = true would have been sent on a day: every result in its order, "
        "how many by instrument, and how many results of that day would not have gone, and why. For the run beside paper "
        "before going live.",
        epilog="labgateway deliveries --destination NAME --day DAY --body   the messages themselves",
    )
    parser.add_argument("destination", metavar="DESTINATION", help="the NAME of [destination.NAME]")
    parser.add_argument("--day", metavar="DAY", help="such as 2026-11-20; default: today")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _report(args))


def _report(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError, Reason
    from labgateway.gateway.resending import counted, day_of
    from labgateway.store import deliveries

    config = config_of(args)
    if args.destination not in config.destinations:
        raise LabgatewayError(
            f"There is no [destination.{args.destination}]. There are: {', '.join(config.destinations)}."
        )
    zone = ZoneInfo(config.gateway.timezone)
    day = args.day or f"{datetime.now(zone):%Y-%m-%d}"
    since, until = day_of(day, config)
    store = open_store(config)
    try:
        would, back = store.read_now(
            lambda c: (deliveries.prepared(c, args.destination, since, until), deliveries.kept_back(c, since, until))
        )
    finally:
        store.close_now()
    messages = len({one.delivery for one in would})
    by_instrument = Counter(one.instrument for one in would)
    if args.json:
        dump(
            {
                "destination": args.destination, "day": day, "messages": messages,
                "results": [asdict(one) for one in would], "by_instrument": by_instrument,
                "kept_back": [{"state": state, "reason": reason or None, "count": n} for (state, reason), n in back.items()],
            }
        )  # fmt: skip
        return 0
    for one in would:
        print(
            f"{one.at.astimezone(zone):%H:%M:%S}  {one.specimen:16} {one.code:10} {one.value or '-':>10} {one.unit:10} "
            f"{one.letter}  {one.instrument}"
        )
    many = f"{counted(len(would), 'result', 'results')} in {counted(messages, 'message', 'messages')}"
    print(f"\n{args.destination}, {day}: {many} would have been sent.")
    for name, count in sorted(by_instrument.items()):
        print(f"  {count:6}  {name}")
    if back:
        print("Received that day and not sent anywhere (of all instruments):")
    for (state, reason), count in sorted(back.items()):
        words = Reason[reason].what if reason in Reason.__members__ else ""
        print(f"  {count:6}  {state}{f': {words}' if words else ''}")
    if not config.destinations[args.destination].shadow:
        print(
            f"note: [destination.{args.destination}] is no shadow (any more); only what was kept while it was is shown."
        )
    return 0
