"""``labgateway resend``: deliveries that a destination has taken go to it again."""

from __future__ import annotations

import argparse

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump_line, guarded

_EPILOG = """\
  labgateway resend d17 --by "Nguyễn Thị Hoa" --because "the EMR lost it in its upgrade"
  labgateway resend --destination emr --day 2026-11-20 --by "..." --because "..."

The same bytes with the same ids go again, through the queue, in the order of each specimen. What was sent later on the
same specimen goes again behind it, so that an old value is never the last that the EMR hears. A specimen that has
something waiting or parked is left alone. A day is one of the site's calendar, by when the message was made.
What was refused is retried, not sent again: labgateway parked retry.
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "resend",
        help="send again what a destination has taken: one delivery, or a day",
        description="Sends again what a destination has taken already, or what a person gave up. Needs the running gateway.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", nargs="*", help="deliveries, such as d17 (labgateway deliveries lists them)")
    parser.add_argument("--destination", metavar="NAME", help="with --day: the NAME of [destination.NAME]")
    parser.add_argument("--day", metavar="DAY", help="such as 2026-11-20")
    parser.add_argument("--by", metavar="NAME", help="who decides")
    parser.add_argument("--because", metavar="REASON", help="why")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _resend(args))


def _resend(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError
    from labgateway.service import control

    if bool(args.id) == bool(args.day and args.destination) or bool(args.day) != bool(args.destination):
        raise LabgatewayError("Name deliveries (d17), or a --destination and a --day.")
    config = config_of(args)
    wanted = [{"delivery": one} for one in args.id] or [{"destination": args.destination, "day": args.day}]
    failed = 0
    for one in wanted:
        request = {"action": "resend", "who": args.by, "because": args.because, **one}
        try:
            answer = control.ask(config.gateway.data, request)
        except LabgatewayError as error:
            failed += 1
            dump_line({**one, "error": str(error)}) if args.json else print(error)
        else:
            dump_line({**one, "did": answer["did"]}) if args.json else print(answer["did"])
    return 1 if failed else 0
