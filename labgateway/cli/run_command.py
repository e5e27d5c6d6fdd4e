"""``labgateway run``: serve until told to stop."""

from __future__ import annotations

import argparse

from labgateway.cli.common import Parsers, add_config, guarded


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "run",
        help="serve: lines, orders, deliveries (systemd runs this)",
        description="Serves until SIGTERM. SIGHUP, or a changed mapping or driver file, takes the new config as a whole "
        "or not at all; lines that did not change stay connected. Log lines are JSON on stdout.",
        epilog="exit codes: 0 told to stop; 1 cannot start (said why); 2 config.toml cannot be used; "
        "74 the disk failed: start again, acknowledged messages are safe",
    )
    add_config(parser)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    from labgateway.config import find
    from labgateway.service.serve import serve

    return guarded(lambda: serve(find(args.config), level=args.log_level))
