"""``labgateway mapping accept``, ``undo``, ``history``: who put which version into use, when and against what."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from labgateway.cli.common import Parsers, add_config, add_json, add_language, dump_line
from labgateway.cli.mapping_check import mistakes, show
from labgateway.cli.mapping_review import readable
from labgateway.cli.mapping_site import Site, config_of, configured, shown
from labgateway.errors import ComplaintsError, LabgatewayError
from labgateway.mapping import history
from labgateway.mapping.history import Deed, Entry, History


def add_parsers(below: Parsers) -> None:
    """Declare ``accept``, ``undo`` and ``history``."""
    parser = below.add_parser(
        "accept",
        help="put a checked mapping file into use: who, against what",
        description="Puts a file into use as the mapping of an instrument: says what changes, writes `checked` with name, day "
        "and against what, keeps both versions, and replaces the file as a whole. A running gateway takes it "
        "over by itself, and what waited for it flows.",
        epilog="Without FILE: the draft beside the file in use (xn1.draft.toml); without a draft the file in use itself, when "
        "somebody edited it by hand. With `two_persons = true` in config.toml the first person's word is written down, and "
        "the second one's puts it into use; when the draft changes in between, both look again. "
        "exit codes: 0 done, or waiting for the second person; 1 refused, with the mistakes; 2 wrong call",
    )
    parser.add_argument("name", metavar="INSTRUMENT", help="an instrument in config.toml")
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="default: the draft, else the file in use")
    parser.add_argument("--by", required=True, metavar="NAME", help="who has checked it")
    parser.add_argument(
        "--against", required=True, metavar="WHAT", help="against what, such as the analyzer's test list"
    )
    parser.add_argument(
        "--despite", default="", metavar="WHY", help="accept although `check` finds mistakes that leave it readable"
    )
    _common(parser, _accept)
    parser = below.add_parser(
        "undo",
        help="back to the version before",
        description="Puts the version back into use that was there before the one in use; letter by letter, so that it has its "
        "old version number. Both stay kept. One person is enough, also where accept wants two.",
        epilog="exit codes: 0 done, 1 there is nothing to go back to, 2 wrong call",
    )
    parser.add_argument("name", metavar="INSTRUMENT", help="an instrument in config.toml")
    parser.add_argument("--by", required=True, metavar="NAME", help="who takes it back")
    parser.add_argument("--because", required=True, metavar="REASON", help="why")
    _common(parser, _undo)
    parser = below.add_parser(
        "history",
        help="every version: when, who, against what; or the text of one",
        description="Lists what was done with an instrument's mapping file, oldest first. With VERSION: prints its text, as "
        "observations of that time were made with it.",
        epilog="exit codes: 0 good, 1 no such version",
    )
    parser.add_argument("name", metavar="INSTRUMENT", help="an instrument in config.toml")
    parser.add_argument("version", metavar="VERSION", nargs="?", help="the first letters of a version are enough")
    _common(parser, _history)


def _common(parser: argparse.ArgumentParser, deed: Any) -> None:
    add_config(parser)
    add_json(parser)
    add_language(parser)
    parser.set_defaults(deed=deed)


def _kept(site: Site) -> History:
    return History(config_of(site).gateway.data, site.live.name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabgatewayError(f"{shown(path)} cannot be read: {error.strerror or type(error).__name__}.") from None


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not name or not name.isprintable():
        raise LabgatewayError("--by needs a name.")
    return name


def _accept(args: argparse.Namespace) -> int:
    from labgateway.mapping.writing import with_checked

    site = configured(args.name, args.config)
    config = config_of(site)
    who, against = _name(args.by), " ".join(args.against.split())
    if not against:
        raise LabgatewayError("--against needs words: against what was the file checked?")
    file: Path = args.file or (site.draft if site.draft.is_file() else site.live)
    raw = _read(file)
    live = _read(site.live) if site.live.is_file() else None
    if not _may(site, file, args):
        return 1
    if _read(file) != raw:
        raise LabgatewayError(f"{shown(file)} changed while it was read; look at it again, then accept it.")
    kept = _kept(site)
    draft_version, live_version = history.version_of(raw), "" if live is None else history.version_of(live)
    now = datetime.now(ZoneInfo(config.gateway.timezone))
    changed = _changes(site, live, raw)
    first = _first_person(kept, draft_version, live_version, who) if config.gateway.two_persons else None
    if config.gateway.two_persons and first is None:
        kept.keep(raw)
        kept.record(Entry(_at(), Deed.AGREED, draft_version, live_version, who, against))
        _say(args, [*changed, f"{who} agrees. A second person must accept the same file before it is in use."])
        return 0
    persons = [f"{first.who}, {_day(first.at, config.gateway.timezone)}, {first.words}"] if first is not None else []
    persons.append(f"{who}, {now:%Y-%m-%d}, {against}")
    text = with_checked(raw, "; ".join(persons))
    if live is not None:
        kept.keep(live)
    version = kept.keep(text)
    names = who if first is None else f"{first.who}; {who}"
    words = against if not args.despite else f"{against} (despite mistakes: {args.despite})"
    kept.record(Entry(_at(), Deed.ACCEPTED, version, live_version, names, words))
    history.write_whole(site.live, text, like=site.live if live is not None else site.live.parent)
    if file.resolve() == site.draft.resolve():
        file.unlink(missing_ok=True)
    _say(
        args,
        [*changed, f"{shown(site.live)} is in use as version {version[:12]}; the gateway takes it over by itself."],
    )
    return 0


def _may(site: Site, file: Path, args: argparse.Namespace) -> bool:
    """Whether the file may be accepted; False after saying its mistakes."""
    try:
        mapping = readable(file)
    except ComplaintsError as error:
        show(error.complaints, args.lang, as_json=args.json)
        return False
    if mapping.instrument and mapping.instrument != site.instrument and not args.despite:
        raise LabgatewayError(
            f"The file is written for {mapping.instrument}, not for {site.instrument}. Correct `instrument` in it when its "
            "lines are right, or say why not: --despite."
        )
    found = mistakes(site, file)
    if found and not args.despite:
        show(found, args.lang, as_json=args.json)
        return False
    return True


def _changes(site: Site, live: bytes | None, raw: bytes) -> list[str]:
    from labgateway.mapping.difference import changes
    from labgateway.mapping.table import parse

    old = parse(live, str(site.live))[0] if live is not None else None
    new, _ = parse(raw, "")
    return [] if new is None else changes(old, new)


def _first_person(kept: History, version: str, live: str, who: str) -> Entry | None:
    """Who agreed to exactly this file in place of exactly the one in use, if it was somebody else."""
    entries = kept.entries()
    agreed = [e for e in entries if e.deed is Deed.AGREED and (e.version, e.before) == (version, live)]
    last = max((n for n, e in enumerate(entries) if e.deed is not Deed.AGREED), default=-1)
    standing = [e for e in agreed if entries.index(e) > last]
    return next((entry for entry in standing if entry.who.casefold() != who.casefold()), None)


def _undo(args: argparse.Namespace) -> int:
    site = configured(args.name, args.config)
    who, because = _name(args.by), " ".join(args.because.split())
    if not because:
        raise LabgatewayError("--because needs words.")
    kept = _kept(site)
    live = _read(site.live)
    version = history.version_of(live)
    last = kept.last()
    before = kept.before(version)
    if not before and last is not None and last.version != version:
        before = last.version  # edited by hand, and no gateway has seen it yet
    if not before:
        raise LabgatewayError(f"No version of {shown(site.live)} is known from before {version[:12]}.")
    text = kept.text(before)
    kept.keep(live)
    kept.record(Entry(_at(), Deed.UNDONE, before, version, who, because))
    history.write_whole(site.live, text, like=site.live)
    changed = _changes(site, live, text)
    _say(args, [*changed, f"{shown(site.live)} is version {before[:12]} again; the gateway takes it over by itself."])
    return 0


def _history(args: argparse.Namespace) -> int:
    site = configured(args.name, args.config)
    kept = _kept(site)
    entries = kept.entries()
    if args.version:
        versions = {v for e in entries for v in (e.version, e.before) if v.startswith(args.version.lower()) and v}
        if len(versions) != 1:
            words = "is no version of it" if not versions else "may be several; write more letters"
            raise LabgatewayError(f"{args.version} {words}.")
        print(kept.text(versions.pop()).decode("utf-8-sig"), end="")
        return 0
    for entry in entries:
        if args.json:
            dump_line({**{name: getattr(entry, name) for name in Entry.__dataclass_fields__}, "deed": entry.deed.value})
        else:
            day = _day(entry.at, config_of(site).gateway.timezone, "%Y-%m-%d %H:%M")
            print(
                f"{day}  {entry.version[:12]}  {entry.deed.value:9}{entry.who}{': ' if entry.who else ''}{entry.words}"
            )
    if not entries and not args.json:
        print("Nothing is known yet: the gateway writes down what it finds when it starts.")
    return 0


def _at() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _day(at: str, timezone: str, form: str = "%Y-%m-%d") -> str:
    return datetime.fromisoformat(at).astimezone(ZoneInfo(timezone)).strftime(form)


def _say(args: argparse.Namespace, sentences: list[str]) -> None:
    from labgateway.mapping.vietnamese import say

    told = [say(one, args.lang) for one in sentences]
    if args.json:
        dump_line({"changes": told[:-1], "did": told[-1]})
    else:
        print(*told, sep="\n")
