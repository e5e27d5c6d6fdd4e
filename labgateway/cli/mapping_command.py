"""``labgateway mapping``: the lab manager's files checked, compared, tried, accepted, taken back, carried in sheets."""

from __future__ import annotations

import argparse
import importlib

from labgateway.cli.common import Parsers, guarded

_PARTS = ("mapping_check", "mapping_review", "mapping_keep", "mapping_sheets", "mapping_livd", "mapping_inbox")
"""One module a group of commands, each with ``add_parsers``; what it adds sets ``deed``."""

_EPILOG = """\
a change, from the first word to the last:
  cp mappings/xn1.toml mappings/xn1.draft.toml       write into the draft; the gateway does not read it
  labgateway mapping check mappings/xn1.draft.toml   all mistakes at once: line, what is wrong, what to do
  labgateway mapping diff xn1                        what the draft changes, in words
  labgateway mapping try xn1 --days 7                every result of the last week that it would treat otherwise
  labgateway mapping accept xn1 --by "Lê Thị Hoa" --against "the analyzer's test list"      now it is in use
  labgateway mapping undo xn1 --by "Lê Thị Hoa" --because "GLU is in mg/dL after all"       as it was before
  labgateway mapping history xn1                     who accepted what, when
  labgateway mapping inbox                           what analyzers say that nobody has declared, with a draft for each

FILE is a mapping file, INSTRUMENT a name in config.toml. With --lang vi, or LANG=vi_VN, mistakes are told in Vietnamese.
exit codes: 0 good, 1 problems found and said, 2 wrong call
"""


def add_parser(commands: Parsers) -> None:
    """Declare the command and what stands below it."""
    parser = commands.add_parser(
        "mapping",
        help="mapping files: check, compare, try, accept, take back, carry to a spreadsheet and back",
        description="What a lab manager does with mapping files. Nothing here changes a file that the gateway uses, "
        "but accept and undo.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    below = parser.add_subparsers(dest="deed_name", metavar="WHAT", required=True)
    for part in _PARTS:
        importlib.import_module(f"labgateway.cli.{part}").add_parsers(below)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: int(args.deed(args)))
