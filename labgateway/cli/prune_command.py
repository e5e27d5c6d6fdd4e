"""``labgateway prune``: what would be taken out of the store, and taking it out."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded, open_store

_EPILOG = """\
  labgateway prune --days 3650                         counts only, nothing is changed
  labgateway prune --days 3650 --now --by "Lan" --because "kept ten years, decision 12/2026"

Taken out: messages older than that with their results, observations and settled deliveries, and orders that none of the
remaining results answers and that nothing open may be about; nothing younger than window_h and wait_h together, whatever is
said, since a resend is known by it. Never, however old: what is not processed, parked, incomplete,
waiting, held, in doubt, on its way to a destination, or found to differ there; and never the record of what people did. SQLite
uses the room again, its file does not shrink.
With [store] keep_days = N the service does it each day at [gateway] daily_at; the default keeps everything. How long a laboratory must keep
results is said by law (in Vietnam they go with the patient's record: 10 years, 20 and 30 for some); make a backup first.
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "prune",
        help="what is older than it must be kept: counts, and with --now taking it out",
        description="Counts what is done with and older than N days. With --now the running gateway takes it out.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--days", type=int, metavar="N", help="how long is kept, at least 30; default: [store] keep_days"
    )
    parser.add_argument("--now", action="store_true", help="take it out; without this only counts")
    parser.add_argument("--by", metavar="NAME", help="who decides")
    parser.add_argument("--because", metavar="REASON", help="why")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _prune(args))


def _prune(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError
    from labgateway.service import control
    from labgateway.store import prune

    config = config_of(args)
    days = args.days if args.days is not None else config.store.keep_days
    if days < 30:
        raise LabgatewayError(
            "Say for how many days results are kept: --days N, at least 30. ([store] keep_days is 0: for ever.)"
        )
    if args.now:
        total, more = prune.Pruned(), True
        while more:
            answer = control.ask(
                config.gateway.data, {"action": "prune", "days": days, "who": args.by, "because": args.because}
            )
            answer.pop("ok", None)
            total, more = total + prune.Pruned(**answer), bool(answer["more"])
        words = "Taken out"
    else:
        matching = config.matching
        before = prune.cutoff(datetime.now(UTC), days, window_h=matching.window_h, wait_h=matching.wait_h)
        around = prune.reach(matching.window_h, matching.wait_h)
        store = open_store(config)
        try:
            total = store.read_now(lambda connection: prune.would(connection, before, around))
        finally:
            store.close_now()
        words = "Would be taken out (nothing is changed without --now)"
    counts = {name: value for name, value in asdict(total).items() if name != "more"}
    if args.json:
        dump({"days": days, "done": args.now, **counts})
    else:
        print(
            f"{words}: " + ", ".join(f"{value} {name}" for name, value in counts.items()) + f", older than {days} days."
        )
    return 0
