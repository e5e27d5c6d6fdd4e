"""``labgateway check``: what is wrong with config.toml, drivers and mappings; opens no port and no database."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from labgateway.cli.common import Parsers, add_config, add_json, dump_line, guarded
from labgateway.errors import Complaint, ComplaintsError


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        help="what is wrong with config.toml, drivers and mappings",
        description="Reads config.toml, every driver it names and every mapping file, and says everything that is wrong, with "
        "file, line and cure. Opens no port and no database, so it may run beside the gateway.",
        epilog="exit codes: 0 good; 1 a driver or mapping has mistakes (that instrument's messages park until they are mended); "
        "2 config.toml cannot be used",
    )
    add_config(parser)
    add_json(parser)
    parser.add_argument("--drivers", action="store_true", dest="list_drivers", help="list the drivers that are known")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _list() if args.list_drivers else _check(args))


def _check(args: argparse.Namespace) -> int:
    from labgateway.config import find, load
    from labgateway.gateway import build

    found: list[Complaint] = []
    try:
        config = load(find(args.config))
    except ComplaintsError as error:
        _say(error.complaints, as_json=args.json)
        return 2
    library = build.library(config)
    used = {one.driver for one in config.instruments.values()}
    for name, complaints in library.broken.items():
        if name in used or any((folder / name).is_dir() for folder in config.gateway.drivers):
            found += complaints
    for name, one in config.instruments.items():
        found += build.complaints(name, one, library, config.file.name)
    _say(found, as_json=args.json)
    if not args.json:
        counts = [
            f"{len(config.instruments)} instruments", f"{len(config.orders)} sources of orders",
            f"{len(config.destinations)} destinations",
        ]  # fmt: skip
        verdict = "good" if not found else f"{len(found)} mistakes"
        print(f"{config.file.name}: {', '.join(counts)}: {verdict}")
    return 1 if found else 0


def _say(found: list[Complaint], *, as_json: bool) -> None:
    for complaint in found:
        if as_json:
            dump_line(asdict(complaint))
        else:
            print(complaint)


def _list() -> int:
    from labgateway.gateway import build
    from labgateway.instruments.driver import Library

    library = Library.of([build.shipped("drivers")])
    for name, driver in sorted(library.drivers.items()):
        print(f"{name:24} {driver.protocol:6} {driver.status:10} {', '.join(driver.models)}")
    return 0
