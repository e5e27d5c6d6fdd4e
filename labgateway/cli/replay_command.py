"""``labgateway replay``: read stored messages again."""

from __future__ import annotations

import argparse

from labgateway.cli import parked_command
from labgateway.cli.common import Parsers, add_config, add_json


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "replay",
        help="read stored messages again, after a driver or mapping was mended",
        description="Decodes, maps and matches stored messages again. What has been delivered, and what a person decided, "
        "stays as it is. When a driver or mapping file changes this happens by itself for what it may cure.",
    )
    parser.add_argument("id", nargs="+", metavar="MESSAGE", help="numbers of messages, as trace and parked show them")
    add_config(parser)
    add_json(parser)
    parser.set_defaults(
        action="replay", by=None, because="", version=None, order=None, to=None, identity_checked=False
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return parked_command.run(args)
