"""``labgateway mapping inbox``: codes, units, flags and status words that nobody has declared, and drafts for them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import tomlkit

from labgateway.cli.common import Parsers, add_config, add_json, add_language, dump, local, open_store
from labgateway.cli.mapping_site import Site, config_of, configured, shown
from labgateway.config import Config, find, load
from labgateway.errors import LabgatewayError

if TYPE_CHECKING:
    from labgateway.pipeline.inbox import Change, Entry


def add_parsers(below: Parsers) -> None:
    """Declare ``inbox``."""
    parser = below.add_parser(
        "inbox",
        help="codes, units, flags and status words never seen before: how many results wait, and a draft for each",
        description="Shows what held results wait for because neither the driver nor the mapping file declares it: how many "
        "there are, since when, an example without the patient, and what could be written into the mapping file, by the "
        "catalogue. `accept` writes that into the draft beside the file in use; nothing is in use before the draft is "
        "accepted. The results that waited then flow by themselves, in the order in which they came.",
        epilog="examples:\n"
        "  labgateway mapping inbox                               of all instruments\n"
        "  labgateway mapping inbox accept xn1 PLT --emr PLT      PLT into mappings/xn1.draft.toml\n"
        '  labgateway mapping inbox accept xn1 "flag Q" --means doubtful\n'
        '  labgateway mapping inbox accept xn1 IG# --leave-out "not validated here"\n'
        "  labgateway mapping check, diff, accept                 as for every draft\n\n"
        "exit codes: 0 nothing waits, or it was written; 1 something waits, or why it was not written; 2 wrong call",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", metavar="INSTRUMENT | accept INSTRUMENT KEY", nargs="*",
        help="whose inbox; or what to write into its draft: keys as the inbox shows them, `all` for every one",
    )  # fmt: skip
    parser.add_argument("--emr", metavar="TEST", help="what the EMR calls the test of the one KEY")
    parser.add_argument("--means", metavar="WORD", help="what the one flag or status means")
    parser.add_argument("--leave-out", metavar="WHY", help="the code stops here, and why")
    add_config(parser)
    add_json(parser)
    add_language(parser)
    parser.set_defaults(deed=_inbox)


def _inbox(args: argparse.Namespace) -> int:
    match args.words:
        case ["accept", instrument, first, *more]:
            return _accept(args, instrument, [first, *more])
        case ["accept", *_]:
            raise LabgatewayError(
                "Say what: labgateway mapping inbox accept INSTRUMENT KEY, keys as the inbox shows them."
            )
        case [] | [_]:
            return _show(args, args.words[0] if args.words else None)
        case _:
            raise LabgatewayError("Name one instrument, or accept INSTRUMENT KEY.")


def entries(config: Config, instrument: str | None) -> list[Entry]:
    """What waits, of one instrument or of all, each in the order of its oldest result."""
    from labgateway.gateway import rulebook
    from labgateway.pipeline.inbox import inbox
    from labgateway.store import results

    rules = rulebook.rules(config, rulebook.library(config))
    if instrument is not None and instrument not in rules.instruments:
        known = ", ".join(rules.instruments)
        raise LabgatewayError(f"{instrument} is no instrument in config.toml. Instruments: {known}.")
    store = open_store(config)
    try:
        return [
            entry
            for name, one in rules.instruments.items()
            if instrument in (None, name)
            for entry in inbox(
                name, store.read_now(lambda c, name=name: results.held(c, name)), one.driver, one.mapping
            )
        ]
    finally:
        store.close_now()


def _show(args: argparse.Namespace, instrument: str | None) -> int:
    from labgateway.mapping.vietnamese import say

    config = load(find(args.config))
    found = entries(config, instrument)
    if args.json:
        dump([_as_object(entry) for entry in found])
        return 1 if found else 0
    for entry in found:
        print(f"{entry.instrument}  {entry.key}: {_count(entry.waiting, args.lang)} {local(entry.since, config)}")
        print(f"  {say(entry.reason.what, args.lang)}")
        example = entry.example
        flags = ", ".join(map(str, example["flags"] or [])) or "-"  # type: ignore[call-overload]
        print(
            f"  {example['code']}: {example['value']}, unit {example['unit'] or '-'}, flags {flags}; {example['observation']}"
        )
        for change in entry.changes:
            print(f"  {_line(change)}")
        if entry.note:
            print(f"  # {entry.note}")
    if not found:
        print("Không có gì chờ." if args.lang == "vi" else "Nothing waits.")
    else:
        print("labgateway mapping inbox accept INSTRUMENT KEY --emr TEST")
    return 1 if found else 0


def _count(number: int, language: str) -> str:
    if language == "vi":
        return f"{number} kết quả chờ từ"
    return f"{number} result{' waits' if number == 1 else 's wait'} since"


def _line(change: Change) -> str:
    path, value = change
    *tables, key = (tomlkit.key(part).as_string() for part in path)
    return f"[{'.'.join(tables)}] {key} = {value}"


def _as_object(entry: Entry) -> dict[str, Any]:
    return {
        "instrument": entry.instrument, "key": entry.key, "reason": entry.reason.name, "code": entry.code,
        "waiting": entry.waiting, "since": entry.since, "example": dict(entry.example),
        "draft": [{"where": list(path), "value": value} for path, value in entry.changes], "note": entry.note,
    }  # fmt: skip


def _accept(args: argparse.Namespace, instrument: str, keys: list[str]) -> int:
    """Write drafts into the draft of the mapping file."""
    from labgateway.mapping.adding import with_words
    from labgateway.mapping.history import write_whole

    site = configured(instrument, args.config)
    there = {entry.key: entry for entry in entries(config_of(site), site.instrument)}
    if keys == ["all"]:
        keys = list(there)
    if unknown := [key for key in keys if key not in there]:
        known = "; ".join(there) or "nothing"
        raise LabgatewayError(f"Nothing waits for {unknown[0]!r}. What waits: {known}.")
    if len(keys) != 1 and (args.emr or args.means or args.leave_out):
        raise LabgatewayError("--emr, --means and --leave-out are for one KEY.")
    changes = [change for key in keys for change in _decided(args, there[key])]
    base = site.draft if site.draft.is_file() else site.live
    raw = with_words(base.read_bytes(), changes)
    write_whole(site.draft, raw, like=site.live)
    if args.json:
        dump({"draft": str(site.draft), "written": [{"where": list(path), "value": value} for path, value in changes]})
        return 0
    _told(site, changes)
    return 0


def _decided(args: argparse.Namespace, entry: Entry) -> list[Change]:
    """The draft of an entry with what the person has said."""
    if args.leave_out:
        if ("tests", entry.code) not in [path for path, _ in entry.changes]:
            raise LabgatewayError("--leave-out is for a code that no line answers yet.")
        words = [change for change in entry.changes if change[0][0] == "words"]
        return [(("leave_out", entry.code), tomlkit.string(args.leave_out).as_string()), *words]
    if not entry.changes:
        raise LabgatewayError(f"{entry.key}: {entry.note}.")
    return [(path, _said(args, entry, path, value)) for path, value in entry.changes]


def _said(args: argparse.Namespace, entry: Entry, path: tuple[str, ...], value: str) -> str:
    """A drafted value, with the person's word where it is still open. Raises LabgatewayError for a word without meaning."""
    from labgateway.mapping.table import UNDECIDED

    match path:
        case ("tests", _) if args.emr:
            return value.replace(f'emr = "{UNDECIDED}"', f"emr = {tomlkit.string(args.emr).as_string()}", 1)
        case ("words", "flag" | "status", _):
            if not args.means:
                raise LabgatewayError(f"Say what {entry.key!r} means: --means WORD.")
            return tomlkit.string(args.means).as_string()
        case _:
            return value


def _told(site: Site, changes: list[Change]) -> None:
    for change in changes:
        print(f"{shown(site.draft)}: {_line(change)}")
    print("Next, as for every draft:")
    print(f"  labgateway mapping check {shown(site.draft)}")
    print(f"  labgateway mapping diff {site.instrument}")
    print(f'  labgateway mapping accept {site.instrument} --by "NAME" --against "what it was checked against"')
