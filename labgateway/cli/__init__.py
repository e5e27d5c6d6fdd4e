"""The command line: one module a command, each with ``add_parser`` and ``run``.

Exit codes: 0 good, 1 problems found (and said), 2 wrong call. Commands that act speak to the running gateway
over its local socket; commands that read open the store read-only and work while it runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from labgateway import __version__

COMMANDS: tuple[tuple[str, str], ...] = (
    ("run", "run_command"),
    ("check", "check_command"),
    ("demo", "demo_command"),
    ("decode", "decode_command"),
    ("simulate", "simulate_command"),
    ("tap", "tap_command"),
    ("doctor", "doctor_command"),
    ("status", "status_command"),
    ("trace", "trace_command"),
    ("parked", "parked_command"),
    ("orders", "orders_command"),
    ("balance", "balance_command"),
    ("replay", "replay_command"),
    ("emr", "emr_command"),
    ("learn", "learn_command"),
    ("mapping", "mapping_command"),
    ("qc", "qc_command"),
    ("store", "store_command"),
    ("destination", "destination_command"),
    ("reconcile", "reconcile_command"),
    ("prune", "prune_command"),
    ("deliveries", "deliveries_command"),
    ("resend", "resend_command"),
    ("shadow", "shadow_command"),
)

_EPILOG = """\
first steps:
  labgateway demo                          see it work for a minute, nothing is installed or kept
  labgateway decode FILE                   what an analyzer's message says
  labgateway check                         what is wrong with config.toml, drivers and mappings
  labgateway learn FILE                    a draft of a driver for an instrument that nobody knows yet
  labgateway mapping --help                mapping files: check, compare, accept, take back
  labgateway run                           serve (systemd does this)
  labgateway status                        lines, queues, what waits for a person
  labgateway parked                        what waits for a person, why, and what to do
  labgateway doctor INSTRUMENT             why an instrument does not talk, and what to do
  labgateway tap INSTRUMENT                what goes over a line, live and as a transcript
  labgateway orders import FILE            orders from a file: HL7, FHIR or a table
  labgateway balance                       everything received today stands somewhere
  labgateway qc                            what control material measured: n, mean, SD, last
  labgateway trace SPECIMEN                a specimen's way from bytes to the EMR's answer

config.toml is looked for in the working folder, then in /etc/labgateway; --config names another.
exit codes: 0 good, 1 problems found and said, 2 wrong call
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for ``main`` and for the test that reads every help text."""
    parser = argparse.ArgumentParser(
        prog="labgateway",
        description="Laboratory instrument gateway: takes results from analyzers (ASTM, HL7), finds the order each one "
        "answers, and puts it into the electronic medical record.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"labgateway {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for _, module in COMMANDS:
        importlib.import_module(f"labgateway.cli.{module}").add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. argparse itself exits with 2 on a wrong call."""
    args = build_parser().parse_args(argv)
    module = dict(COMMANDS)[args.command]
    try:
        return int(importlib.import_module(f"labgateway.cli.{module}").run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `labgateway status | head`: the reader has gone; that is no problem of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
