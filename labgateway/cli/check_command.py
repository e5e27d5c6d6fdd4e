"""``labgateway check``: what is wrong with config.toml, drivers and mappings; opens no port and no database."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway.cli.common import Parsers, add_config, add_json, dump_line, guarded
from labgateway.errors import Complaint, ComplaintsError

if TYPE_CHECKING:
    from labgateway.config import Config
    from labgateway.instruments.library import Library
    from labgateway.toml_lines import KeyPath


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        help="what is wrong with config.toml, drivers and mappings",
        description="Reads config.toml, every driver it names and every mapping file, and says everything that is wrong, with "
        "file, line and cure. Opens no port and no database, so it may run beside the gateway.",
        epilog="A mistake in a driver or mapping stops its own instrument only: its messages are stored and parked until "
        "it is mended. exit codes: 0 good; 1 mistakes found; 2 there is no config file",
    )
    add_config(parser)
    add_json(parser)
    parser.add_argument("--drivers", action="store_true", dest="list_drivers", help="list the drivers that are known")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _list() if args.list_drivers else _check(args))


def _check(args: argparse.Namespace) -> int:
    from labgateway.config import find, load
    from labgateway.gateway import rulebook

    path = find(args.config)
    config = None
    try:
        config = load(path)
        found = mistakes(config, rulebook.library(config))
    except ComplaintsError as error:
        found = error.complaints
    for complaint in found:
        shown = replace(complaint, file=_short(complaint.file))
        if args.json:
            dump_line(asdict(shown))
        else:
            print(shown)
    if not args.json:
        parts = [_counted(len(found), "mistake") if found else "good"]
        if config is not None:
            parts.insert(0, _summary(config))
            parts += [f"note: {note}" for note in notes(config)]
        print(f"{_short(str(path))}: {': '.join(parts[:2])}", *parts[2:], sep="\n")
    return 1 if found else 0


def mistakes(config: Config, library: Library) -> list[Complaint]:
    """What is wrong with the drivers and mappings that a config names, and which libraries its destinations lack."""
    from labgateway.cli import check_files
    from labgateway.gateway import outlets
    from labgateway.gateway.build import NOT_LIVE, untold
    from labgateway.gateway.destinations import template_mistakes
    from labgateway.gateway.rulebook import declared
    from labgateway.mapping.lint import examine
    from labgateway.mapping.table import Mapping, read
    from labgateway.toml_lines import line_of, read_toml

    _, index = read_toml(config.file)
    mappings = {one.mapping: read(one.mapping)[0] for one in config.instruments.values()}
    users: dict[Path, list[str]] = {}
    for name, one in config.instruments.items():
        users.setdefault(one.mapping, []).append(name)
    found: dict[Complaint, None] = {}  # a driver or mapping that two instruments share is complained about once
    for name, one in config.instruments.items():
        driver = library.find(one.driver)
        if driver is None and one.driver in library.broken:
            found |= dict.fromkeys(library.broken[one.driver])
        elif driver is None:
            line = line_of(index, ("instrument", name, "driver"))
            several = [d.name for d in library.find_all(one.driver)]
            what = f"there is no driver {one.driver}."
            cure = "`labgateway check --drivers` lists them; one of your own is a folder under [gateway] drivers."
            if several:
                what, cure = f"{one.driver} may be more than one driver.", f"Write one of: {', '.join(several)}."
            found[Complaint(str(config.file), line, f"instrument.{name}.driver", what, cure)] = None
        elsewhere = _answered(m for path, m in mappings.items() if m is not None and path != one.mapping)
        if driver is not None and one.line.kind != "folder" and (why := NOT_LIVE.get(driver.protocol)):
            what = f"a {one.line.kind} line does not speak {driver.protocol}, as {driver.name} does: {why}."
            cure = 'Set line = { kind = "folder", path = "..." }, the folder into which the instrument writes.'
            where = ("instrument", name, "line", "kind")
            found[Complaint(str(config.file), line_of(index, where), ".".join(where), what, cure)] = None
        for key, what, cure in untold(one, driver) if driver else ():
            where = ("instrument", name, key)
            found[Complaint(str(config.file), line_of(index, where), ".".join(where), what, cure)] = None
        if driver is None:
            found |= dict.fromkeys(examine(one.mapping, None, elsewhere=elsewhere))
        else:
            units = declared(driver)
            found |= dict.fromkeys(
                examine(one.mapping, units, driver.name, open_codes=driver.is_open, elsewhere=elsewhere)
            )
        mapping = mappings[one.mapping]
        if isinstance(mapping, Mapping) and mapping.instrument and mapping.instrument not in users[one.mapping]:
            what = f"the file is written for {mapping.instrument}, and used by {', '.join(users[one.mapping])}."
            cure = f'Write instrument = "{users[one.mapping][0]}" when its lines are right for that instrument.'
            found[Complaint(str(one.mapping), mapping.index.get(("instrument",)), "instrument", what, cure)] = None
    found |= dict.fromkeys(_tests_that_are_none(config, index, _answered(mappings.values())))
    found |= dict.fromkeys(check_files.mistakes(config, index))
    for name, section in config.destinations.items():
        found |= dict.fromkeys(template_mistakes(section))
        if lack := outlets.missing(section):
            line = line_of(index, ("destination", name, "kind"))
            found[
                Complaint(
                    str(config.file), line, f"destination.{name}", f"needs {lack[0]}, which is not here.", lack[1]
                )
            ] = None
    return list(found)


def _tests_that_are_none(config: Config, index: dict[KeyPath, int], known: frozenset[str]) -> Iterator[Complaint]:
    """Tests that config.toml names and no mapping file makes: a slip there would send what must not be sent."""
    from labgateway.toml_lines import line_of

    named: list[tuple[KeyPath, tuple[str, ...]]] = [(("gateway", "sensitive"), config.gateway.sensitive)]
    named += [(("destination", name, "tests"), one.tests) for name, one in config.destinations.items()]
    for where, tests in named:
        for test in tests:
            if known and test not in known:
                what = f"{test} is no test of the EMR that any mapping file makes."
                cure = "Write it as in `emr = ...` of the mapping file, letter by letter."
                yield Complaint(str(config.file), line_of(index, where), ".".join(map(str, where)), what, cure)


def notes(config: Config) -> list[str]:
    """What is no mistake but may surprise: listeners that only this machine may call, tests without a ministry's code."""
    from labgateway.cli import check_files
    from labgateway.config import FhirListen, FolderDestination, MllpListen, TcpListenLine, WebDestination
    from labgateway.mapping.table import read

    listeners = {f"instrument.{name}": one.line for name, one in config.instruments.items()}
    listeners |= {f"orders.{name}": one for name, one in config.orders.items()}
    return (
        [
            f"[{name}] takes calls from this machine only; name who may call: allow = [...]"
            for name, one in listeners.items()
            if isinstance(one, TcpListenLine | MllpListen | FhirListen)
            and not one.allow
            and not one.host.startswith("127.")
        ]
        + [
            f"[destination.{name}] writes table 4, and {count} tests of {one.mapping.name} have no `moh` for its MA_CHI_SO"
            for name, section in config.destinations.items()
            if isinstance(section, FolderDestination) and section.format == "table4"
            for one in {one.mapping: one for one in config.instruments.values()}.values()
            if (mapping := read(one.mapping)[0]) is not None
            and (count := sum(not line.moh for lines in mapping.tests.values() for line in lines))
        ]
        + [
            f"[destination.{name}] sends results unencrypted: write https:// in url where the server can"
            for name, section in config.destinations.items()
            if isinstance(section, WebDestination) and section.url.startswith("http:")
        ]
        + list(check_files.notes(config))
        + (["[console] this version has no web console; nothing listens there"] if config.console else [])
    )


def _answered(mappings: Iterable[object]) -> frozenset[str]:
    from labgateway.mapping.table import Mapping

    return frozenset(
        emr
        for mapping in mappings
        if isinstance(mapping, Mapping)
        for lines in mapping.tests.values()
        for line in lines
        for emr in line.emr
    )


def _summary(config: Config) -> str:
    parts = [_counted(len(config.instruments), "instrument")]
    if config.orders:
        parts.append(_counted(len(config.orders), "source of orders", "sources of orders"))
    parts.append(_counted(len(config.destinations), "destination"))
    return ", ".join(parts)


def _counted(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _short(file: str) -> str:
    """A path as seen from the working folder, when it lies below it."""
    short = os.path.relpath(file)
    return file if short.startswith("..") else short


def _list() -> int:
    from labgateway.instruments.library import Library, shipped

    library = Library.of([shipped("drivers")])
    for name, driver in sorted(library.drivers.items()):
        print(f"{name:24} {driver.protocol:6} {driver.status:10} {', '.join(driver.models)}")
    return 0
