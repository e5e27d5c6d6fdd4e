"""``labgateway doctor``: what is wrong with a line, or with this installation, and what to do, in plain words."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from labgateway.cli.common import Parsers, add_config, add_json, add_language, dump, guarded

if TYPE_CHECKING:
    from labgateway.doctor import Finding

_EPILOG = """\
examples:
  labgateway doctor                        SQLite, disk, clock, rights, ports, service
  labgateway doctor xn1                    watches the line xn1 for 30 s; let the instrument send a result meanwhile
  labgateway doctor xn1 --seconds 300 --lang vi
  labgateway doctor urine1 --try           a serial line that brings garbage: tries the usual settings (gateway stopped)

While the gateway runs, its line is only listened to. While none runs, the doctor opens the line itself: it lets an ASTM
instrument begin, refuses every frame, and acknowledges nothing, so that the instrument keeps its results. Where nobody
calls, it looks once whether the instrument's address (a single one in `allow`) takes calls itself. Nothing is sent to
anybody else, and nothing of a patient is shown.
exit codes: 0 nothing is wrong, 1 something is (and it is said), 2 wrong call
"""
_MARKS = {"bad": "✗", "doubt": "!", "good": "✓"}
_LABELS = {"en": ("why", "do"), "vi": ("vì sao", "nên làm")}


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        help="what is wrong with a line or with this installation",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "instrument", nargs="?", metavar="INSTRUMENT", help="as in config.toml; without: the installation"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, metavar="N", help="how long to watch (default 30; Ctrl-C ends it)"
    )
    parser.add_argument(
        "--try", action="store_true", dest="try_settings", help="try the usual settings of a serial line"
    )
    add_config(parser)
    add_language(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _line(args) if args.instrument else _installation(args))


def _installation(args: argparse.Namespace) -> int:
    from labgateway.cli.doctor_host import host_facts
    from labgateway.doctor import examine

    return show(args, examine(host_facts(args)))


def _line(args: argparse.Namespace) -> int:
    from labgateway.cli.doctor_line import line_facts
    from labgateway.doctor import diagnose

    return show(args, diagnose(line_facts(args)))


def show(args: argparse.Namespace, findings: Iterable[Finding]) -> int:
    """Print the findings; the exit code."""
    findings = tuple(findings)
    if args.json:
        dump({"instrument": args.instrument, "findings": [finding.as_json(args.lang) for finding in findings]})
    else:
        why_label, do_label = _LABELS[args.lang]
        for finding in findings:
            what, why, do = finding.said(args.lang)
            print(f"{_MARKS[finding.severity.value]} {what}\n    {why_label}: {why}\n    {do_label}: {do}")
    return 0 if all(finding.severity.value == "good" for finding in findings) else 1
