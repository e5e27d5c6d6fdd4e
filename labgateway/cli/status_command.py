"""``labgateway status``: lines, queues, destinations, and what waits."""

from __future__ import annotations

import argparse
from typing import Any

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded, open_store


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "status",
        help="lines, queues, destinations, what waits for a person",
        description="Shows how the gateway stands. Asks the running gateway; when none runs, counts what is in the store.",
        epilog="exit code 1 when no gateway runs, or something is in trouble",
    )
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _status(args))


def _status(args: argparse.Namespace) -> int:
    from labgateway.errors import LabgatewayError
    from labgateway.service import control
    from labgateway.store import worklist

    config = config_of(args)
    try:
        found: dict[str, Any] = control.ask(config.gateway.data, {"action": "status"})
        found.pop("ok", None)
    except LabgatewayError as error:
        store = open_store(config)
        try:
            found = {"running": False, "why": str(error), **store.read_now(worklist.counts)}
        finally:
            store.close_now()
    if args.json:
        dump(found)
    else:
        _show(found)
    trouble = not found["running"] or any(way.get("state") == "away" for way in found.get("destinations", {}).values())
    return 1 if trouble else 0


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    screen = Console()
    if not found["running"]:
        screen.print(f"[bold red]No gateway is running.[/] {found['why']}")
    else:
        lines = Table(
            "instrument",
            "driver",
            "messages",
            "last message (UTC)",
            "how it stands",
            title="Lines",
            title_justify="left",
        )
        for name, line in found["lines"].items():
            state = line.get("parks") or line.get("trouble") or "connected"
            lines.add_row(
                name, line["driver"], str(line.get("messages", 0)), str(line.get("last_message_at") or "-"),
                state if state == "connected" else f"[yellow]{state}[/]",
            )  # fmt: skip
        screen.print(lines)
        if nodes := found.get("nodes"):
            screen.print(f"[bold]node {nodes['node']}[/] of {', '.join(nodes['alive'])}")
            for subject, owner in nodes["owners"].items():
                screen.print(f"  {escape(subject)}: {owner}")
        for name, line in found["lines"].items():
            for words in line.get("kept", []):
                screen.print(f"[bold yellow]{name}[/]: {escape(words)}")
        ways = Table(
            "destination",
            "state",
            "since (UTC)",
            "accepted",
            "waiting",
            "parked",
            "why, how long",
            title="Destinations",
            title_justify="left",
        )
        for name, way in found["destinations"].items():
            owed = found["deliveries"].get(name, {})
            ways.add_row(
                name, way["state"], way["since"], str(owed.get("settled", 0)), str(owed.get("waiting", 0)),
                str(owed.get("parked", 0)), way["why"] or way.get("progress") or _kept(owed),
            )  # fmt: skip
        screen.print(ways)
        for name, way in found["destinations"].items():
            for words in way.get("warnings", []):
                screen.print(f"[bold yellow]{name}[/]: {escape(words)}")
    for title, counts in (
        ("messages", found["messages"]),
        ("results", found["observations"]),
        ("orders", found["orders"]),
    ):
        words = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"
        screen.print(f"[bold]{title}[/]: {words}")
    if found.get("counted_s_ago", 0) >= 1:
        screen.print(
            f"counted {found['counted_s_ago']:.0f} s ago ({found['counted_at'][11:19]} UTC): counting takes long"
        )
    if waits := found.get("waits_for_a_person"):
        screen.print(f"[bold yellow]{waits} wait for a person[/]: labgateway parked")


def _kept(owed: dict[str, int]) -> str:
    """What a shadow has kept."""
    return f"{owed['shadow']} kept, not sent: labgateway shadow" if "shadow" in owed else ""
