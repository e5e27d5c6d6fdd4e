"""``labgateway qc``: what control material measured, per test, lot and level."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded, local, open_store
from labgateway.errors import LabgatewayError

if TYPE_CHECKING:
    from labgateway.config import Config
    from labgateway.pipeline.controls import Series


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "qc",
        help="what control material measured, per test, lot and level: n, mean, SD, last",
        description="Shows the control results of the last days, as the analyzers measured them: for each test, lot, level and "
        "unit how many, their mean, the standard deviation (n - 1), and the last one. Exact decimals; values that are no plain "
        "numbers are counted apart. Control results never leave as a patient's.",
        epilog="A control is known by its driver ([control] of driver.toml) or by [control] of the mapping file. "
        "exit codes: 0 shown, 1 there is none, 2 wrong call",
    )
    parser.add_argument("instrument", metavar="INSTRUMENT", nargs="?", help="of this instrument alone")
    parser.add_argument("--days", type=float, default=30, metavar="N", help="of so many days (30)")
    add_config(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _qc(args))


def _qc(args: argparse.Namespace) -> int:
    from labgateway.pipeline.controls import series
    from labgateway.store import results

    if not 0 < args.days <= 3660:
        raise LabgatewayError("--days is a number above 0, up to 3660.")
    config = config_of(args)
    if args.instrument is not None and args.instrument not in config.instruments:
        known = ", ".join(config.instruments)
        raise LabgatewayError(f"{args.instrument} is no instrument in config.toml. Instruments: {known}.")
    since = datetime.now(UTC) - timedelta(days=args.days)
    store = open_store(config)
    try:
        rows = store.read_now(lambda connection: results.controls(connection, since))
    finally:
        store.close_now()
    found = [one for one in series(rows) if args.instrument in (None, one.instrument)]
    if args.json:
        dump([_as_object(one) for one in found])
    else:
        _show(found, config)
    return 0 if found else 1


def _as_object(one: Series) -> dict[str, object]:
    return {
        "instrument": one.instrument, "code": one.code, "lot": one.lot or None, "level": one.level or None,
        "unit": one.unit or None, "n": len(one.numbers), "mean": one.mean, "sd": one.sd, "not_numbers": one.others,
        "last": one.last, "last_at": one.last_at,
    }  # fmt: skip


def _show(found: list[Series], config: Config) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not found:
        print("No control results.")
        return
    table = Table("instrument", "test", "lot", "level", "unit", "n", "mean", "SD", "no numbers", "last", "at")
    for one in found:
        cells = (
            one.instrument, one.code, one.lot or "-", one.level or "-", one.unit or "-", str(len(one.numbers)),
            one.mean or "-", one.sd or "-", str(one.others or "-"), one.last or "-",
            local(one.last_at, config) if one.last_at else "-",
        )  # fmt: skip
        table.add_row(*(escape(cell) for cell in cells))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)
