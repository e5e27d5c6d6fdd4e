"""``labgateway trace``: a specimen's way, or one result's, from bytes to the EMR's answer."""

from __future__ import annotations

import argparse
from typing import Any

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded, local, open_store
from labgateway.config import Config


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "trace",
        help="a specimen's way from bytes to the EMR's answer",
        description="Shows everything known of one specimen, or of one observation: its orders; each message that named it (number, "
        "time, driver, SHA-256) and which fields the driver reads; each result with the record it came from (bytes from-to), the line "
        "of the mapping file as it was then, what mapping and matching made of it and why, with the orders seen; each delivery with "
        "every answer of the destination; and who decided what.",
        epilog="exit code 1 when nothing is known of it. A result that was held and moved to another specimen stands under that one "
        "and under its observation.",
    )
    parser.add_argument(
        "specimen",
        metavar="SPECIMEN|OBSERVATION",
        help="the id exactly as on the tube, or our id of an observation (OBX-21)",
    )
    parser.add_argument("--raw", action="store_true", help="show the bytes of messages and records as well")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _trace(args))


def _trace(args: argparse.Namespace) -> int:
    from labgateway.gateway import rulebook
    from labgateway.journey import journey

    config = config_of(args)
    rules = rulebook.rules(config, rulebook.library(config))
    store = open_store(config)
    try:
        found = store.read_now(lambda connection: journey(connection, args.specimen, config, rules, raw=args.raw))
    finally:
        store.close_now()
    if args.json:
        dump(found)
    else:
        _show(found, config)
    return 0 if found["orders"] or found["messages"] else 1


def _show(found: dict[str, Any], config: Config) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.tree import Tree

    screen = Console()
    if not found["orders"] and not found["messages"]:
        screen.print("Nothing is known of this specimen id. It must be written exactly as on the tube.")
        return
    tree = Tree(f"[bold]specimen {escape(found['specimen'])}[/]")
    for order in found["orders"]:
        tree.add(
            f"[cyan]order {order['order']}[/] {escape(order['code'])} placer {escape(order['placer'])} from {order['source']}, "
            f"{order['state']}, received {local(order['received_at'], config)}, patient {escape(order['patient'] or '-')}"
        )
    for message in found["messages"]:
        branch = tree.add(
            f"[magenta]message {message['message']}[/] {message['instrument']} {local(message['received_at'], config)}, "
            f"{message['bytes']} bytes, driver {message['driver']}, sha256 {message['sha256'][:12]}…"
        )
        if message["where"]:
            places = ", ".join(f"{part} {' or '.join(where)}" for part, where in message["where"].items())
            branch.add(f"[dim]the driver reads: {escape(places)}[/]")
        if "raw" in message:
            branch.add(escape(message["raw"].replace("\r\n", "\n").replace("\r", "\n")))
        for one in message["results"]:
            _show_result(branch, one, config)
        for deed in message["deeds"]:
            branch.add(_deed(deed, config))
    screen.print(tree)


def _show_result(branch: Any, one: dict[str, Any], config: Config) -> None:
    from rich.markup import escape

    said, record = one["said"], one["record"]
    colour = {"released": "green", "held": "yellow", "waiting": "yellow"}.get(one["state"], "dim")
    line = (
        f"{one['row']:6} {escape(said['code'])} = {escape(str(said['value']))} {escape(said['unit'] or '')}"
        f" -> {escape(one['code'])} {escape(str(one['value']))} {escape(one['unit'])} [{colour}]{one['state']}[/]"
        f" {one['letter']} {one['observation']} v{one['version']}"
    )
    leaf = branch.add(line + (f"  {escape(one['why'])}" if one["why"] else ""))
    if one["computed"] and one["computed"]["from"]:
        leaf.add(f"{escape(one['computed']['formula'])} from {', '.join(one['computed']['from'])}")
    if record is not None:
        leaf.add(f"[dim]bytes {record['from']}-{record['to']}[/] {escape(record.get('text', ''))}".rstrip())
    if (mapping := one["mapping"]) is not None:
        at = "" if mapping["line"] is None else f" line {mapping['line']}: {mapping['text']}"
        leaf.add(f"[dim]{escape(mapping['file'])} {mapping['version'][:12]}…{escape(at)}[/]")
    for seen in one["seen"]:
        differs = f", differs in {', '.join(seen['differs'])}" if seen["differs"] else ""
        asks = "asks for it" if seen["asks"] else "does not ask for it"
        leaf.add(
            f"[dim]saw order {seen['order']}, {seen['state']}, {asks}, the result was {seen['window']}{differs}[/]"
        )
    for way in one["deliveries"]:
        answer = leaf.add(
            f"{way['destination']} {way['state']} as {way['control_id']}: {escape(way['answer'] or 'no answer yet')}"
        )
        for before in way["before"]:
            times = f" {before['times']} times until {local(before['last_at'], config)}" if before["times"] > 1 else ""
            answer.add(
                f"[dim]{local(before['first_at'], config)}{times} {before['outcome']}: {escape(before['answer'])}[/]"
            )
        for deed in way["deeds"]:
            answer.add(_deed(deed, config))
    for deed in one["deeds"]:
        leaf.add(_deed(deed, config))


def _deed(deed: dict[str, Any], config: Config) -> str:
    from rich.markup import escape

    return f"{local(deed['at'], config)} {deed['action']} by {escape(deed['who'])}: {escape(deed['because'])}"
