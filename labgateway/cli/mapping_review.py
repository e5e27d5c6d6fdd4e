"""``labgateway mapping diff`` and ``try``: what another mapping file would change, before it is in use."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labgateway.cli.common import (
    Parsers,
    add_config,
    add_json,
    add_language,
    dump,
    dump_line,
    local,
    open_store,
)
from labgateway.cli.mapping_site import Site, config_of, configured, settled, shown, site_of
from labgateway.errors import LabgatewayError, Problem

if TYPE_CHECKING:
    from labgateway.mapping.table import Mapping
    from labgateway.pipeline.decide import Verdict
    from labgateway.pipeline.trial import Change

_AT_ONCE = 200
"""Messages read in one look at the store: a long one would keep the gateway's own log of changes growing."""


def add_parsers(below: Parsers) -> None:
    """Declare ``diff`` and ``try``."""
    parser = below.add_parser(
        "diff",
        help="what changes for the laboratory between two mapping files, in words",
        description="Says in words what changes for the laboratory: one sentence a change, by code.",
        epilog="`labgateway mapping diff xn1` compares what xn1 uses with its draft. exit codes: 0 (changes or not), 2 wrong call",
    )
    parser.add_argument("old", metavar="OLD", help="a mapping file, or an instrument: the file that it uses")
    parser.add_argument(
        "new", metavar="NEW", nargs="?", help="a mapping file; default: the draft of the instrument OLD"
    )
    _common(parser, _diff)
    parser = below.add_parser(
        "try",
        help="every result of the last days that another mapping file would treat otherwise",
        description="Reads the instrument's stored messages again, in memory, with the mapping in use and with FILE, and "
        "shows every result that would change. Nothing is kept, sent or decided; it may run beside the gateway.",
        epilog="Each result is judged as if it came for the first time, against the orders as they are now. What has been "
        "sent stays sent: a new mapping is for what comes later, and for what waits. "
        "exit codes: 0 (changes or not), 1 it could not be tried",
    )
    parser.add_argument("name", metavar="INSTRUMENT", help="an instrument in config.toml")
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="default: the draft of the instrument")
    parser.add_argument("--days", type=float, default=7, metavar="N", help="messages of so many days (7)")
    _common(parser, _try)


def _common(parser: argparse.ArgumentParser, deed: Any) -> None:
    add_config(parser)
    add_json(parser)
    add_language(parser)
    parser.set_defaults(deed=deed)


def readable(file: Path) -> Mapping:
    """The mapping of a file, with mistakes in what it says or not. Raises ComplaintsError when it cannot be read whole."""
    from labgateway.mapping.table import load

    return load(file)


def of_site(site: Site, file: Path | None) -> Path:
    """The file that a person named, else the draft. Raises LabgatewayError when there is none."""
    chosen = site.draft if file is None else file
    if not chosen.is_file():
        raise LabgatewayError(
            f"There is no {shown(chosen)}. Copy {shown(site.live)} there and change the copy, or name a file."
        )
    return chosen


def _diff(args: argparse.Namespace) -> int:
    from labgateway.mapping.difference import changes
    from labgateway.mapping.vietnamese import say

    site = site_of(args.old, args.config)
    new = of_site(site, Path(args.new) if args.new else None)
    found = [say(one, args.lang) for one in changes(readable(site.file), readable(new))]
    if args.json:
        dump({"old": shown(site.file), "new": shown(new), "changes": found})
        return 0
    nothing = "Không có gì thay đổi." if args.lang == "vi" else "Nothing changes."
    print(*(found or [nothing]), sep="\n")
    return 0


def _try(args: argparse.Namespace) -> int:
    from labgateway.gateway import rulebook
    from labgateway.pipeline.trial import tried
    from labgateway.store import journal

    if not 0 < args.days <= 3660:
        raise LabgatewayError("--days is a number above 0, up to 3660.")
    site = configured(args.name, args.config)
    config = config_of(site)
    other = settled(readable(of_site(site, args.file)), site)
    rules = rulebook.rules(config, site.library)
    instrument = rules.instruments[site.instrument]
    if isinstance(instrument.driver, Problem):
        raise LabgatewayError(f"{instrument.driver} {instrument.driver.reason.cure}")
    now = datetime.now(UTC)
    rules = replace(rules, destinations=())
    store = open_store(config)
    messages = results = unread = 0
    found: list[Change] = []
    try:
        numbers = store.read_now(
            lambda connection: journal.whole_since(connection, site.instrument, now - timedelta(days=args.days))
        )
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            for one in store.read_now(
                lambda connection, part=part: list(
                    tried(connection, part, site.instrument, instrument, other, rules, now)
                )
            ):
                messages += 1
                results += one.results
                unread += one.problem is not None
                for change in one.changes:
                    _show(change, args) if args.json else found.append(change)
    finally:
        store.close_now()
    if not args.json:
        _table(found, args)
        _sum_up(found, messages, results, unread, args)
    return 0


def _show(change: Change, args: argparse.Namespace) -> None:
    said = change.result
    dump_line(
        {
            "message": change.message, "received_at": change.received_at, "specimen": said.specimen, "code": said.code,
            "value": said.value, "unit": said.unit, "before": _as_object(change.before, args.lang),
            "after": _as_object(change.after, args.lang),
        }
    )  # fmt: skip


def _as_object(verdict: Verdict, language: str) -> dict[str, Any]:
    from labgateway.mapping.vietnamese import say

    target = verdict.target
    return {
        "state": verdict.state.value,
        "emr": target.emr if target else None,
        "loinc": (target.loinc or None) if target else None,
        "value": verdict.value,
        "unit": verdict.unit,
        "reason": verdict.problem.reason.name if verdict.problem else None,
        "what": say(verdict.problem.reason.what, language) if verdict.problem else None,
        "detail": verdict.problem.detail if verdict.problem else None,
    }


def _words(verdict: Verdict, other: Verdict) -> str:
    """What becomes of a result, in one cell; a name or LOINC where only that differs."""
    said = " ".join(part for part in (verdict.value or "-", verdict.unit) if part)
    parts = [f"{verdict.target.emr} {said}" if verdict.target else said]
    if verdict.problem is not None:
        parts.append(f"{verdict.state.value}: {verdict.problem.reason.name}")
    elif verdict.state is not other.state or verdict.target is None:
        parts.append(verdict.state.value)
    one, two = verdict.target, other.target
    if one is not None and two is not None and one.emr == two.emr:
        parts += [text or "-" for text, was in zip(_carried(one), _carried(two), strict=True) if text != was]
    return ", ".join(parts)


def _carried(target: Any) -> tuple[str, str, str]:
    return target.name, target.loinc, target.moh


def _table(found: list[Change], args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not found:
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    config = config_of(configured(args.name, args.config))
    heads = ("received", "specimen", "code", "sent", "now", "then")
    if args.lang == "vi":
        heads = ("nhận lúc", "mẫu", "mã", "máy gửi", "hiện nay", "sau này")
    table = Table(*heads)
    for change in found:
        said = change.result
        cells = (
            local(change.received_at, config),
            said.specimen or "-",
            said.code,
            " ".join(part for part in (said.value or "-", said.unit or "") if part),
            _words(change.before, change.after),
            _words(change.after, change.before),
        )
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


def _sum_up(found: list[Change], messages: int, results: int, unread: int, args: argparse.Namespace) -> None:
    by_code = ", ".join(f"{code} {count}" for code, count in Counter(one.result.code for one in found).most_common())
    if args.lang == "vi":
        print(
            f"{messages} bản tin, {results} kết quả trong {args.days:g} ngày: {len(found)} sẽ thay đổi. {by_code}".strip()
        )
        if unread:
            print(f"{unread} bản tin không đọc được (xem labgateway parked).")
        return
    print(f"{messages} messages, {results} results of {args.days:g} days: {len(found)} would change. {by_code}".strip())
    if unread:
        print(f"{unread} messages could not be read (see labgateway parked).")
