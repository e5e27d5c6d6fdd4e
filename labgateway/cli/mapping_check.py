"""``labgateway mapping check``: everything that is wrong with one mapping file, in English or Vietnamese."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway.cli.common import Parsers, add_config, add_json, add_language, dump_line
from labgateway.cli.mapping_site import Site, shown, site_of

if TYPE_CHECKING:
    from labgateway.errors import Complaint


def add_parsers(below: Parsers) -> None:
    """Declare ``check``."""
    parser = below.add_parser(
        "check",
        help="all mistakes of a mapping file at once: line, what is wrong, what to do",
        description="Says everything that is wrong with one mapping file: words it does not know, factors that do not fit "
        "their units, units that are not UCUM, LOINC codes that are none or do not fit, codes without a line, two codes "
        "for one EMR test, limits the wrong way round.",
        epilog="The file is checked against the driver of its instrument in config.toml; without one name it with --driver. "
        "exit codes: 0 no mistake, 1 mistakes found, 2 wrong call",
    )
    parser.add_argument("name", metavar="FILE|INSTRUMENT", help="a mapping file, or an instrument in config.toml")
    parser.add_argument("--driver", metavar="D", help="the driver of the instrument, where config.toml does not say it")
    add_config(parser)
    add_json(parser)
    add_language(parser)
    parser.set_defaults(deed=_check)


def mistakes(site: Site, file: Path) -> list[Complaint]:
    """What is wrong with a file as the mapping of the site's instrument."""
    from labgateway.gateway.rulebook import declared
    from labgateway.mapping.lint import examine
    from labgateway.mapping.table import read

    elsewhere: set[str] = set()
    if site.config is not None:
        for other in {one.mapping for one in site.config.instruments.values()} - {site.live}:
            mapping, _ = read(other)
            if mapping is not None:
                elsewhere |= {emr for lines in mapping.tests.values() for line in lines for emr in line.emr}
                elsewhere |= {one.line.emr[0] for one in mapping.computed.values()}
    if site.driver is None:
        return examine(file, None, elsewhere=elsewhere)
    driver = site.driver
    return examine(file, declared(driver), driver.name, open_codes=driver.is_open, elsewhere=elsewhere)


def show(found: list[Complaint], language: str, *, as_json: bool) -> None:
    """Print complaints, in the language."""
    from labgateway.mapping.vietnamese import say

    for one in found:
        told = replace(one, file=shown(one.file), what=say(one.what, language), cure=say(one.cure, language))
        if as_json:
            dump_line(asdict(told))
        else:
            print(told)


def _check(args: argparse.Namespace) -> int:
    site = site_of(args.name, args.config, args.driver)
    found = mistakes(site, site.file)
    show(found, args.lang, as_json=args.json)
    if not args.json:
        print(f"{shown(site.file)}: {_summary(len(found), args.lang)}{_against(site, args.lang)}")
    return 1 if found else 0


def _summary(number: int, language: str) -> str:
    if language == "vi":
        return f"{number} lỗi" if number else "không có lỗi"
    return f"{number} mistake{'' if number == 1 else 's'}" if number else "no mistake"


def _against(site: Site, language: str) -> str:
    if site.driver is not None:
        return f" (driver {site.driver.name})"
    if language == "vi":
        return "; chưa biết driver nên mã và đơn vị của máy chưa được kiểm tra: thêm --driver"
    return "; the driver is not known, so codes and units were not held against it: name it with --driver"
