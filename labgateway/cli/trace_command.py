"""``labgateway trace``: a specimen's way from bytes to the EMR's answer."""

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
        description="Shows everything known of one specimen: its orders, each message that named it (number, time, driver, "
        "SHA-256), each result with the row it came from, what mapping and matching made of it and why, each delivery "
        "with the destination's answer, and who decided what.",
        epilog="exit code 1 when nothing is known of that specimen",
    )
    parser.add_argument("specimen", metavar="SPECIMEN", help="the id exactly as on the tube")
    parser.add_argument("--raw", action="store_true", help="show the messages' bytes as well")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _trace(args))


def _trace(args: argparse.Namespace) -> int:
    config = config_of(args)
    store = open_store(config)
    try:
        found = store.read_now(lambda connection: journey(connection, args.specimen, raw=args.raw))
    finally:
        store.close_now()
    if args.json:
        dump(found)
    else:
        _show(found, config)
    return 0 if found["orders"] or found["messages"] else 1


def journey(connection: Any, specimen: str, *, raw: bool = False) -> dict[str, Any]:
    """All rows of one specimen id, as plain values; raw: with the bytes of its messages as text."""
    from labgateway.store import journal, orders, results, worklist

    observations = results.of_specimen(connection, specimen)
    messages: dict[int, dict[str, Any]] = {}
    for one in observations:
        if one.transmission_id not in messages:
            message = journal.get(connection, one.transmission_id)
            if message is None:
                continue
            messages[message.id] = {
                "message": message.id, "instrument": message.instrument, "peer": message.peer,
                "received_at": message.received_at, "bytes": len(message.raw), "sha256": message.sha256,
                "driver": message.driver, "config_version": message.config_version,
                "mapping_version": message.mapping_version, "state": message.state, "results": [],
            }  # fmt: skip
            if raw:
                messages[message.id]["raw"] = message.raw.decode("utf-8", "backslashreplace")
        messages[one.transmission_id]["results"].append(
            {
                "observation": one.id, "row": one.result.where, "kind": one.result.kind.value,
                "said": {"code": one.result.code, "value": one.result.value, "unit": one.result.unit,
                         "flags": list(one.result.flags), "status": one.result.status.value,
                         "measured_at": one.result.measured_at},
                "code": one.code, "value": one.value, "unit": one.unit, "loinc": one.loinc,
                "letter": one.letter.value, "state": one.state.value,
                "reason": None if one.problem is None else one.problem.reason.name,
                "why": "" if one.problem is None else str(one.problem), "order": one.order_id,
                "replaces": one.replaces, "duplicate_of": one.duplicate_of, "decided_at": one.decided_at,
                "decided_by": one.decided_by, "version": one.row_version,
                "range": None if one.added is None else one.added.range,
                "range_of_instrument": one.result.range,
                "computed": None if one.added is None or not one.added.formula
                else {"formula": one.added.formula, "from": list(one.added.inputs)},
                "deliveries": worklist.deliveries_of(connection, one.id),
                "deeds": worklist.deeds_on(connection, f"observation {one.id}"),
            }
        )  # fmt: skip
    return {
        "specimen": specimen,
        "orders": [
            {
                "order": order.id, "source": order.source, "placer": order.placer, "code": order.code,
                "state": order.state.value, "collected_at": order.collected_at, "received_at": order.received_at,
                "patient": order.patient.id,
            }
            for order in orders.for_specimen(connection, specimen)
        ],
        "messages": sorted(messages.values(), key=lambda m: m["received_at"]),
    }  # fmt: skip


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
        if "raw" in message:
            branch.add(escape(message["raw"].replace("\r\n", "\n").replace("\r", "\n")))
        for one in message["results"]:
            said = one["said"]
            colour = {"released": "green", "held": "yellow", "waiting": "yellow"}.get(one["state"], "dim")
            line = (
                f"{one['row']:6} {escape(said['code'])} = {escape(str(said['value']))} {escape(said['unit'] or '')}"
                f" -> {escape(one['code'])} {escape(str(one['value']))} {escape(one['unit'])} [{colour}]{one['state']}[/]"
            )
            leaf = branch.add(line + (f"  {escape(one['why'])}" if one["why"] else ""))
            if one["computed"] and one["computed"]["from"]:
                leaf.add(f"{escape(one['computed']['formula'])} from {', '.join(one['computed']['from'])}")
            for way in one["deliveries"]:
                leaf.add(
                    f"{way['destination']} {way['state']} as {way['control_id']}: {escape(way['answer'] or 'no answer yet')}"
                )
            for deed in one["deeds"]:
                leaf.add(f"{deed['action']} by {escape(deed['who'])}: {escape(deed['because'])}")
    screen.print(tree)
