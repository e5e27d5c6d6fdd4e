"""``labgateway deliveries``: what was made for the destinations, and what they said."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump_line, guarded, local, open_store

_STATES = ("waiting", "settled", "parked", "skipped", "shadow")


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "deliveries",
        help="what was made for the destinations, what they said, and the very bytes",
        description="Lists deliveries, newest first. Reads the store, beside the gateway or without it.",
        epilog="labgateway deliveries d17 --body   the bytes of delivery 17, as they were and will be sent\n"
        "labgateway resend, labgateway parked retry and labgateway parked skip act on them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", nargs="?", help="one delivery, such as d17")
    parser.add_argument("--destination", metavar="NAME")
    parser.add_argument("--state", choices=_STATES)
    parser.add_argument("--specimen", metavar="ID")
    parser.add_argument("--day", metavar="DAY", help="made on that day, such as 2026-11-20")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    parser.add_argument("--body", action="store_true", help="print the bytes too")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _list(args))


def _list(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError
    from labgateway.gateway.resending import day_of
    from labgateway.store import deliveries

    config = config_of(args)
    number = (args.id or "").lower().removeprefix("d")
    if args.id and not number.isdigit():
        raise LabgatewayError(f"{args.id[:40]!r} is no delivery: write d17.")
    since, until = day_of(args.day, config) if args.day else (None, None)
    store = open_store(config)
    try:
        found = store.read_now(
            lambda c: deliveries.listed(
                c, number=int(number) if number else None, destination=args.destination, state=args.state,
                specimen=args.specimen, since=since, until=until, limit=max(1, args.limit),
            )
        )  # fmt: skip
    finally:
        store.close_now()
    for one in found:
        body = one.body.decode("utf-8", "replace")
        if args.json:
            dump_line(
                {**asdict(one), "body": body} if args.body else {k: v for k, v in asdict(one).items() if k != "body"}
            )
            continue
        said = f"  {one.answer}" if one.answer else ""
        print(
            f"d{one.id}  {local(one.created_at, config)}  {one.destination}  {one.specimen}  {one.state}  "
            f"{one.attempts} tries  {one.control_id}{said}"
        )
        if args.body:
            print(body.replace("\r", "\n").rstrip("\n"), end="\n\n")
    if not found and not args.json:
        print("None fits.")
    return 0 if found else 1
