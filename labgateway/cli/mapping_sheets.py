"""``labgateway mapping export`` and ``import``: a mapping file to a spreadsheet, and the edited spreadsheet to a draft."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway.cli.common import Parsers, add_config, add_json, add_language
from labgateway.cli.mapping_check import mistakes, show
from labgateway.cli.mapping_site import Site, shown, site_of
from labgateway.errors import Complaint, ComplaintsError, LabgatewayError

if TYPE_CHECKING:
    from labgateway.mapping.sheet_reading import Entered

_OLD_EXCEL, _ZIP = b"\xd0\xcf\x11\xe0", b"PK\x03\x04"


def add_parsers(below: Parsers) -> None:
    """Declare ``export`` and ``import``."""
    parser = below.add_parser(
        "export",
        help="a mapping file as a spreadsheet: .xlsx, or .csv",
        description="Writes a mapping file as a workbook with a page for tests, panels, orders and left-out codes, and one that "
        "explains every column in English and Vietnamese; or, where FILE ends in .csv, as one table.",
        epilog="In .xlsx every cell is text, so that no code becomes a date or loses a zero; prefer it. "
        "`labgateway mapping import` takes the edited file back. exit codes: 0 written, 1 not, and why, 2 wrong call",
    )
    parser.add_argument("name", metavar="INSTRUMENT|FILE", help="an instrument in config.toml, or a mapping file")
    parser.add_argument(
        "sheet", metavar="SHEET", nargs="?", type=Path, help="default: INSTRUMENT.xlsx in the working folder"
    )
    parser.add_argument("--delimiter", choices=(";", ","), default=";", help="between the cells of a .csv (;)")
    parser.add_argument("--replace", action="store_true", help="write over SHEET when it is there already")
    _common(parser, _export)
    parser = below.add_parser(
        "import",
        help="an edited spreadsheet to a draft, every mistake with its cell",
        description="Reads a spreadsheet that `export` wrote and a person edited, and writes it as the draft of a mapping file: "
        "only what changed is touched, comments and order stay. The file in use is not changed.",
        epilog="Then: labgateway mapping diff, try, accept. A decimal comma is read as such (0,0555); what a spreadsheet may have "
        "changed (dates, dropped zeros, formulas, merged cells) is refused, with the cell. With mistakes of form nothing "
        "is written. exit codes: 0 the draft is there, 1 mistakes found and said, 2 wrong call",
    )
    parser.add_argument("name", metavar="INSTRUMENT|FILE", help="an instrument in config.toml, or a mapping file")
    parser.add_argument("sheet", metavar="SHEET", type=Path, help="the .xlsx or .csv")
    parser.add_argument(
        "--replace", action="store_true",
        help="although another draft is there, or the file in use has changed since the export",
    )  # fmt: skip
    _common(parser, _import)


def _common(parser: argparse.ArgumentParser, deed: object) -> None:
    add_config(parser)
    add_json(parser)
    add_language(parser)
    parser.set_defaults(deed=deed)


def _export(args: argparse.Namespace) -> int:
    from labgateway.mapping import sheet_csv, sheet_xlsx
    from labgateway.mapping.sheet import pages_of

    site = site_of(args.name, args.config)
    target: Path = args.sheet or Path(f"{site.instrument or site.file.stem}.xlsx")
    if target.suffix.lower() not in (".xlsx", ".csv"):
        raise LabgatewayError(f"{shown(target)}: write a name that ends in .xlsx or .csv.")
    if target.exists() and not args.replace:
        raise LabgatewayError(f"{shown(target)} is there already; name another file, or write over it with --replace.")
    source = site.file if site.file.is_file() or not site.draft.is_file() else site.draft
    pages = pages_of(bytes_of(source), shown(source))
    is_csv = target.suffix.lower() == ".csv"
    raw = sheet_csv.written(pages, args.delimiter) if is_csv else sheet_xlsx.written(pages, shown(source))
    write(target, raw)
    if not args.json:
        print(f"{shown(target)}: {shown(source)}, {len(pages['tests'])} lines, {len(pages['leave_out'])} left out.")
        if site.draft.is_file() and site.draft != source:
            print(f"There is a draft besides, {shown(site.draft)}: name it to export it instead.")
        print(f"Edit and save it, then: labgateway mapping import {args.name} {shown(target)}")
    return 0


def bytes_of(path: Path) -> bytes:
    """A file's bytes. Raises LabgatewayError in words."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabgatewayError(f"{shown(path)} cannot be read: {error.strerror or type(error).__name__}.") from None


def write(path: Path, raw: bytes) -> None:
    """Write a file that nothing uses yet. Raises LabgatewayError in words."""
    try:
        path.write_bytes(raw)
    except OSError as error:
        raise LabgatewayError(f"{shown(path)} cannot be written: {error.strerror or type(error).__name__}.") from None


def _import(args: argparse.Namespace) -> int:
    from labgateway.mapping.history import version_of
    from labgateway.mapping.writing import with_entered

    site = site_of(args.name, args.config)
    there = [bytes_of(path) for path in (site.live, site.draft) if path.is_file()]
    raw = there[0] if there else None
    try:
        said = _said(args.sheet)
        # A sheet that was exported from the draft goes into the draft.
        raw = next((one for one in there if version_of(one) == said.version), raw)
        if raw is not None and said.version and said.version != version_of(raw) and not args.replace:
            raise LabgatewayError(
                f"{shown(site.live if site.live.is_file() else site.draft)} has changed since {shown(args.sheet)} was exported; "
                "the import would take that back. "
                "Export again and edit that, or say --replace and read the differences."
            )
        draft = with_entered(raw, said, site.instrument or said.instrument)
        wrong = _wrong(said, raw, draft, args.sheet, site.instrument)
    except ComplaintsError as error:
        wrong = error.complaints
        said, draft = None, b""
    if wrong or said is None:
        show(wrong, args.lang, as_json=args.json)
        return 1
    if site.draft.is_file() and bytes_of(site.draft) not in (draft, raw) and not args.replace:
        raise LabgatewayError(
            f"There is another draft, {shown(site.draft)}; accept it first, or write over it with --replace."
        )
    write(site.draft, draft)
    return _told(args, site, said, raw, draft)


def _said(path: Path) -> Entered:
    """What a spreadsheet says. Raises ComplaintsError."""
    from labgateway.mapping import sheet_csv, sheet_xlsx
    from labgateway.mapping.sheet_reading import entered

    raw = bytes_of(path)
    if raw.startswith(_OLD_EXCEL):
        raise LabgatewayError(f"{shown(path)} is an old .xls workbook; save it as .xlsx.")
    read = sheet_xlsx.read if raw.startswith(_ZIP) else sheet_csv.read
    return entered(read(raw, shown(path)), shown(path))


def _wrong(said: Entered, raw: bytes | None, draft: bytes, sheet: Path, instrument: str) -> list[Complaint]:
    """What makes the draft unusable, or is surely a spreadsheet's doing."""
    from labgateway.mapping.sheet import data_of
    from labgateway.mapping.sheet_reading import dropped

    found: list[Complaint] = []
    if said.instrument and instrument and said.instrument != instrument:
        what = f"the sheet is written for {said.instrument}, not for {instrument}."
        found.append(
            Complaint(
                shown(sheet), None, "file", what, "Import it into its own instrument, or correct the page `file`."
            )
        )
    try:
        new, _ = data_of(draft, "draft")
        old = data_of(raw, "live")[0] if raw is not None else {}
        found += [replace(one, file=shown(sheet)) for one in dropped(old, new, said)]
    except ComplaintsError as error:
        found += [in_cells(one, said, sheet) for one in error.complaints]
    return found


def in_cells(one: Complaint, said: Entered, sheet: Path) -> Complaint:
    """A mistake of the draft, told by the cell that made it, where one did."""
    cell = said.places.get(one.key) or said.places.get(one.key.rpartition(".")[0])
    if cell is None:
        return one
    return replace(one, file=shown(sheet), line=cell.line, key=f"{cell.place} ({one.key})")


def _told(args: argparse.Namespace, site: Site, said: Entered, raw: bytes | None, draft: bytes) -> int:
    """Say what the draft changes and what is still wrong with it."""
    from labgateway.mapping.difference import changes
    from labgateway.mapping.table import parse
    from labgateway.mapping.vietnamese import say

    old = parse(raw, "")[0] if raw is not None else None
    new = parse(draft, "")[0]
    found = [in_cells(one, said, args.sheet) for one in mistakes(site, site.draft)]
    show(found, args.lang, as_json=args.json)
    if not args.json:
        told = [say(one, args.lang) for one in (changes(old, new) if new is not None else [])]
        nothing = "Không có gì thay đổi." if args.lang == "vi" else "Nothing changes."
        print(*(told or [nothing]), sep="\n")
        name = site.instrument or shown(site.live)
        print(f"Draft: {shown(site.draft)}" + (f", {len(found)} to mend" if found else ""))
        if site.instrument:
            print(f'Next: labgateway mapping try {name}; labgateway mapping accept {name} --by "..." --against "..."')
    return 1 if found else 0
