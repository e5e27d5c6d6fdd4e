"""``labgateway mapping livd`` and ``draft``: LOINC proposals of a maker's publication, and a first file from driver and catalogue."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labgateway.cli.common import Parsers, add_config, add_json, dump_line
from labgateway.cli.mapping_sheets import bytes_of, write
from labgateway.cli.mapping_site import Site, shown, site_of
from labgateway.errors import LabgatewayError

if TYPE_CHECKING:
    from labgateway.mapping.livd import Entry, Offer

_ZIP = b"PK\x03\x04"


def add_parsers(below: Parsers) -> None:
    """Declare ``draft`` and ``livd``."""
    parser = below.add_parser(
        "draft",
        help="a first mapping file from the driver and the catalogue, every line for a person to decide",
        description="Writes the draft of a mapping file with a line for every code that the driver declares: names in Vietnamese and "
        "English, LOINC, unit and factor where the catalogue is sure of them. Every emr is ?, so that nobody can "
        "put it into use before it was decided.",
        epilog="Then fill in the names of your EMR, in an editor or by `labgateway mapping export`, and `labgateway mapping accept`. "
        "exit codes: 0 written, 1 not, and why, 2 wrong call",
    )
    parser.add_argument("name", metavar="INSTRUMENT", help="an instrument in config.toml")
    parser.add_argument("--replace", action="store_true", help="write over the draft that is there")
    add_config(parser)
    parser.set_defaults(deed=_draft)
    parser = below.add_parser(
        "livd",
        help="LOINC proposals from a maker's LIVD publication",
        description="Reads a LIVD publication (IICC spreadsheet v1 or v2 as .xlsx or .csv, or a FHIR bundle in JSON) and shows which "
        "LOINC codes it proposes for the codes of an instrument: check digits checked, properties held against units.",
        epilog="Nothing is written without --take CODE=LOINC, a person's word for each: it goes into the draft. What a maker "
        "publishes is for its own units and specimens; one code may have several LOINCs. exit codes: 0 shown or written, "
        "1 nothing fits, or it is refused, 2 wrong call",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the publication: .xlsx, .csv or .json")
    parser.add_argument(
        "--instrument", required=True, metavar="I", help="an instrument in config.toml, or a mapping file"
    )
    parser.add_argument("--model", default="", metavar="M", help="only rows of this Model, where the file has several")
    parser.add_argument(
        "--take",
        action="append",
        default=[],
        metavar="CODE=LOINC",
        help="write this proposal into the draft; may be repeated",
    )
    add_config(parser)
    add_json(parser)
    parser.set_defaults(deed=_livd)


def _draft(args: argparse.Namespace) -> int:
    from labgateway.mapping.proposals import draft, proposal

    site = site_of_new(args.name, args.config)
    if site.driver is None:
        raise LabgatewayError("The driver has mistakes; run `labgateway check`.")
    if site.live.is_file():
        raise LabgatewayError(
            f"{shown(site.live)} is there already; `labgateway mapping export {args.name}` opens it for changes."
        )
    if site.draft.exists() and not args.replace:
        raise LabgatewayError(f"{shown(site.draft)} is there already; write over it with --replace.")
    if not site.driver.tests:
        raise LabgatewayError(
            f"Driver {site.driver.name} leaves the codes to the site: run specimens, then `labgateway learn {args.name}` proposes lines."
        )
    head = (
        f"Drafted for driver {site.driver.name}. NOT IN USE, NOT CHECKED: every emr that is ? is a decision for a person.",
        "A code that is not wanted goes under [leave_out] with the reason. docs/mapping.md explains every word.",
    )
    write(site.draft, draft(site.instrument, site.driver.tests, {}, head).encode())
    sure = sum(proposal(code, sent).analyte is not None for code, sent in site.driver.tests.items())
    print(
        f"{shown(site.draft)}: {len(site.driver.tests)} codes of driver {site.driver.name}, {sure} known to the catalogue."
    )
    print(f"Next: write every emr (labgateway mapping export {shown(site.draft)} makes a spreadsheet of it), then")
    print(
        f'labgateway mapping check {shown(site.draft)}; labgateway mapping accept {args.name} --by "..." --against "..."'
    )
    return 0


def site_of_new(name: str, config_file: Path | None) -> Site:
    """The site of an instrument; its mapping file need not exist. Raises LabgatewayError when it is no instrument."""
    site = site_of(name, config_file)
    if site.config is None or name not in site.config.instruments:
        raise LabgatewayError(f"{name} is no instrument in config.toml.")
    return site


def _livd(args: argparse.Namespace) -> int:
    from labgateway.mapping.livd import offers

    site = site_of(args.instrument, args.config)
    entries = entries_of(args.file)
    tests = _tests(site)
    found = offers(entries, tests, args.model)
    if args.take:
        return _take(args, site, found)
    for offer in found:
        _show(offer, args)
    if not args.json:
        silent = [code for code in tests if code not in {offer.code for offer in found}]
        print(f"{len(entries)} rows in {shown(args.file)}, {len(found)} for codes of {args.instrument}.")
        if silent:
            print(f"Nothing is proposed for: {', '.join(silent[:30])}{' …' if len(silent) > 30 else ''}")
        if found:
            print(f"To write one into the draft: --take {found[0].code}={found[0].entry.loinc}")
        print("LOINC is copyright Regenstrief Institute; the publication is its maker's.")
    return 0 if found else 1


def entries_of(path: Path) -> list[Entry]:
    """The entries of a publication. Raises ComplaintsError, LabgatewayError."""
    from labgateway.instruments import tables
    from labgateway.instruments.layout import LayoutError
    from labgateway.mapping import livd

    raw = bytes_of(path)
    if len(raw) > livd.MAX_BYTES:
        raise LabgatewayError(f"{shown(path)} is larger than a publication can be.")
    if raw.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
        return livd.of_bundle(raw, shown(path))
    try:
        if not tables.is_workbook(raw):
            text = raw.decode("utf-8-sig")
            first = "\n".join(text.splitlines()[:20])
            return livd.of_grid(tables.delimited(text, max(";,\t", key=first.count)), shown(path))
        return livd.of_grid(tables.workbook(raw, _sheet(raw)), shown(path))
    except LayoutError as error:
        raise LabgatewayError(f"{shown(path)}: {error}.") from None
    except UnicodeDecodeError:
        raise LabgatewayError(f"{shown(path)} is not UTF-8; save it as CSV UTF-8.") from None


def _sheet(raw: bytes) -> str:
    """The name of the sheet that holds the mapping; "": the first."""
    import io
    import re
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as packed:
            book = packed.open("xl/workbook.xml").read(1 << 20).decode("utf-8", "replace")
    except (KeyError, zipfile.BadZipFile, OSError):
        return ""
    names = re.findall(r'<(?:\w+:)?sheet [^>]*?name="([^"]*)"', book)
    return next((name for name in names if "loinc" in name.casefold() and "map" in name.casefold()), "")


def _tests(site: Site) -> dict[str, tuple[str, ...]]:
    """Codes of the instrument, each with the unit that goes out, else those that may come."""
    from labgateway.mapping.table import read

    found = dict(site.driver.tests) if site.driver is not None else {}
    path = site.live if site.live.is_file() else site.file
    mapping = read(path)[0] if path.is_file() else None
    for code, lines in (mapping.tests if mapping is not None else {}).items():
        if unit := next((line.unit or line.comes for line in lines if line.unit or line.comes), None):
            found[code] = (unit,)
        else:
            found.setdefault(code, ())
    return {code: tuple(units) for code, units in found.items()}


def _show(offer: Offer, args: argparse.Namespace) -> None:
    entry = offer.entry
    if args.json:
        dump_line(
            {
                "code": offer.code, "loinc": entry.loinc, "long_name": entry.long_name, "name": entry.name, "specimen": entry.specimen,
                "result": entry.result, "property": entry.property, "unit": offer.unit, "fits": offer.fits, "wrong": offer.wrong or None,
            }
        )  # fmt: skip
        return
    about = "; ".join(part for part in (entry.name, entry.specimen, entry.result, entry.property) if part)
    judged = (
        f"NOT RIGHT: {offer.wrong}"
        if offer.wrong
        else f"fits {offer.unit}"
        if offer.fits
        else "not known whether it fits"
    )
    print(f"{offer.code:14} {entry.loinc:10} {entry.long_name or '-'}  ({about})  {judged}")


def _take(args: argparse.Namespace, site: Site, found: list[Offer]) -> int:
    """Write the named proposals into the draft."""
    from labgateway.mapping.writing import with_loinc

    wanted: dict[str, str] = {}
    for said in args.take:
        code, equals, loinc = str(said).rpartition("=")
        offer = next((one for one in found if (one.code, one.entry.loinc) == (code, loinc)), None)
        if not equals or offer is None:
            raise LabgatewayError(f"--take {said}: the file proposes no such thing; write CODE=LOINC as it is shown.")
        if offer.wrong:
            raise LabgatewayError(f"--take {said}: {offer.wrong} Write it by hand if it is right all the same.")
        wanted[code] = loinc
    base = site.draft if site.draft.is_file() else site.live
    raw: Any = with_loinc(bytes_of(base), wanted)
    write(site.draft, raw)
    print(
        f"{shown(site.draft)}: {', '.join(f'{code} {loinc}' for code, loinc in wanted.items())}. Look at it, then accept it."
    )
    return 0
