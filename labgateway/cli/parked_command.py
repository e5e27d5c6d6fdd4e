"""``labgateway parked``: what waits for a person, why, what to do; and doing it."""

from __future__ import annotations

import argparse
import getpass
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump_line, guarded, local, open_store

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from labgateway.config import Config
    from labgateway.store.worklist import Item

_ACTIONS = {
    "release": "send a held observation as it stands; of one that is out and in doubt: it stands",
    "reject": "a held observation is wrong: it is kept and never sent; one that is out is taken back (W)",
    "relink": "it belongs to another specimen or order: taken back where it was sent, sent where it belongs",
    "retry": "send a refused delivery again",
    "skip": "give a refused delivery up, later ones of that specimen go on",
    "dismiss": "a parked or incomplete message (its bytes are kept) or a difference needs nothing any more",
    "replay": "read a message again, after its driver or mapping was mended",
}

_EPILOG = """\
ids: m17 is message 17, d5 is delivery 5, f3 is difference 3, twenty characters are an observation.

  labgateway parked                    the oldest 1,000; --limit 0: all
  labgateway parked release 01K9ZX4V7Q2M8N3B5C6D --version 1 --by "Nguyễn Thị Hoa" --because "checked with the ward"
  labgateway parked relink 01K9ZX4V7Q2M8N3B5C6D --version 1 --to 24110700124 --identity-checked --by "..." --because "..."
  labgateway parked retry d5 --by "..." --because "EMR has the patient now"
  labgateway parked retry --destination emr --by "..." --because "its address was wrong, corrected"

A decision is written down with name and reason. About an observation it names the version you saw (the list shows it as
v1), and it is refused when the observation has changed since. Where it is in doubt whose the result is, and always when it
is moved, --identity-checked says that you compared tube, label, order and patient.
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "parked",
        help="what waits for a person: why, what to do, and doing it",
        description="Without an action: lists everything that waits for a person, oldest first, with reason and cure.\n\n"
        "actions:\n" + "\n".join(f"  {name:9}{words}" for name, words in _ACTIONS.items()),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=(*_ACTIONS, "list"), default="list", metavar="ACTION")
    parser.add_argument("id", nargs="*", help="what to act on")
    parser.add_argument("--by", metavar="NAME", help="who decides")
    parser.add_argument("--because", metavar="REASON", help="why")
    parser.add_argument("--version", type=int, metavar="N", help="observations: the version you saw")
    parser.add_argument(
        "--order", type=int, metavar="N", help="release, relink: the order it answers, when several could be meant"
    )
    parser.add_argument("--to", metavar="SPECIMEN", help="relink: the specimen it belongs to, exactly as on the tube")
    parser.add_argument("--identity-checked", action="store_true", help="you have proved whose the result is")
    parser.add_argument("--destination", metavar="NAME", help="retry: everything that this destination refused")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="list: the oldest so many (default: 1000); 0: all"
    )
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _list(args) if args.action == "list" else _act(args))


def _act(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError
    from labgateway.service import control

    config = config_of(args)
    if args.destination and (args.id or args.action != "retry"):
        raise LabgatewayError("--destination stands for everything that it refused, and only with retry.")
    ids = _refused_by(args.destination, config) if args.destination else args.id
    if not ids:
        raise LabgatewayError(f"Say what to {args.action}: labgateway parked shows the ids.")
    failed = 0
    for one in ids:
        request: dict[str, Any] = {
            "action": args.action, "id": one, "who": args.by or (getpass.getuser() if args.action == "replay" else ""),
            "because": args.because, "version": args.version, "order": args.order, "to": args.to,
            "identity_checked": args.identity_checked,
        }  # fmt: skip
        try:
            answer = control.ask(config.gateway.data, request)
        except LabgatewayError as error:
            failed += 1
            dump_line({"id": one, "error": str(error)}) if args.json else print(f"{one}: {error}")
        else:
            dump_line({"id": one, "did": answer["did"]}) if args.json else print(answer["did"])
    return 1 if failed else 0


def _refused_by(destination: str, config: Config) -> list[str]:
    """Ids of what it refused, oldest first, so that each specimen goes on in order."""
    from labgateway.errors import LabgatewayError
    from labgateway.store import deliveries

    store = open_store(config)
    try:
        found = store.read_now(lambda c: deliveries.refused_by(c, destination))
    finally:
        store.close_now()
    if not found:
        raise LabgatewayError(f"Nothing is parked that {destination} refused.")
    return [f"d{number}" for number in found]


def _list(args: argparse.Namespace) -> int:
    config = config_of(args)
    before = datetime.now(UTC) - timedelta(hours=config.matching.alarm_h)
    store = open_store(config)
    try:
        total, items = store.read_now(lambda connection: _oldest(connection, before, args.limit))
    finally:
        store.close_now()
    more = f"The oldest {len(items)} of {total} that wait; --limit 0 shows all." if total > len(items) else ""
    if args.json:
        for item in items:
            dump_line(
                {
                    "subject": item.subject, "id": _id(item), "where": item.where, "reason": item.problem.reason.name,
                    "what": item.problem.reason.what, "cure": item.problem.reason.cure, "detail": item.problem.detail,
                    "since": item.since, "specimen": item.specimen, "code": item.code, "value": item.value,
                    "unit": item.unit, "answer": item.answer, "version": item.row_version, "is_out": item.is_out,
                }
            )  # fmt: skip
        if more:
            print(f"labgateway: {more}", file=sys.stderr)
        return 0
    from rich.console import Console
    from rich.markup import escape

    screen = Console()
    if not items:
        screen.print("Nothing waits for a person.")
        return 0
    shown = ""
    for item in sorted(items, key=lambda i: (i.problem.reason.name, i.since)):
        if item.problem.reason.name != shown:
            shown = item.problem.reason.name
            screen.print(
                f"\n[bold yellow]{escape(item.problem.reason.what)}[/]\n  [green]{escape(item.problem.reason.cure)}[/]"
            )
        what = f"{item.specimen or '(no specimen id)'}  {item.code or ''} {item.value or ''} {item.unit or ''}".rstrip()
        out = "has gone out" if item.is_out else ""
        beside = escape("  ".join(part for part in (out, item.problem.detail, item.answer) if part))
        version = f" v{item.row_version}" if item.row_version else ""
        screen.print(
            f"  [bold]{_id(item)}[/]{version}  {local(item.since, config)}  {escape(item.where)}  "
            f"{escape(what) if item.subject != 'message' else ''}  [dim]{beside}[/]"
        )
    screen.print(f"\n{more or f'{total} wait.'} Act with: labgateway parked ACTION ID --by NAME --because REASON")
    return 0


def _oldest(connection: Connection, before: datetime, limit: int) -> tuple[int, list[Item]]:
    """How many wait, and the oldest of them; limit 0: all."""
    from labgateway.store import worklist

    total = worklist.count(connection, waiting_before=before)
    return total, worklist.items(connection, waiting_before=before, limit=limit if limit > 0 else total)


def _id(item: Any) -> str:
    return {"message": "m", "delivery": "d", "difference": "f"}.get(item.subject, "") + str(item.id)
