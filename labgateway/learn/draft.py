"""A guess as files: driver.toml, NOTES.md, and the lines of a mapping. Text only; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import tomlkit

from labgateway.instruments.spec import RAW_PROTOCOLS
from labgateway.learn.evidence import Guess
from labgateway.mapping import proposals


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person finishes. driver: "" when none can be drafted, notes say why. mapping: "" when no code was seen."""

    name: str
    driver: str
    notes: str
    mapping: str


def draft_of(guess: Guess, name: str, *, known_by: Iterable[str] = ()) -> Draft:
    """The draft of a guess. name: maker_model; known_by: shipped drivers that recognise these messages."""
    maker, _, model = name.partition("_")
    usable = guess.protocol in ("astm", "hl7") and bool(guess.tests)
    driver = _driver(guess, maker.title(), model) if usable else ""
    mapping = ""
    if guess.tests:
        head = (
            f"Drafted by `labgateway learn` for {name}. NOT IN USE, NOT CHECKED: every emr that is ? is a decision for a person.",
            "Names, LOINC codes and factors are proposals of the catalogue. docs/mapping.md explains every word.",
        )
        mapping = proposals.draft("", guess.tests, guess.names, head)
    return Draft(name, driver, _notes(guess, name, tuple(known_by), drafted=usable), mapping)


def _driver(guess: Guess, maker: str, model: str) -> str:
    lines = [
        "# Drafted by `labgateway learn`, not checked by anybody. NOTES.md says what is doubtful; finish that first.",
        "schema   = 1",
        f"title    = {_text(f'{maker} {model}'.strip() + ' (draft)')}",
        f"maker    = {_text(maker)}",
        f"models   = [{_text(model or maker)}]",
        'status   = "simulated"',
        f"protocol = {_text(guess.protocol)}",
        'sources  = ["captured messages only, see NOTES.md; no document of the maker was read"]',
    ]
    if guess.time_format:
        lines.append(f"time_format = {_text(guess.time_format)}")
    if guess.senders:
        pattern = "|".join(_pattern_of(sender) for sender in guess.senders)
        lines += ["", "[recognise]", f"sender = {_literal(pattern)}"]
    line: list[str] = ["queries = true"] if guess.query else []
    if guess.encoding:
        line.append(f"encoding = {_text(guess.encoding)}")
    lines += ["", "[line]", *line] if line else []
    lines += ["", "[where]"]
    lines += [f"{key:12} = {_places(places)}" for key, places in guess.where.items()]
    if guess.take:
        lines += ["", "[take]", *(f"{key} = {_literal(pattern)}" for key, pattern in guess.take.items())]
    if guess.join:
        lines += ["", "[join]", 'code = "^"']
    words = [
        *([f"flag      = {_table(guess.flags)}"] if guess.flags else []),
        *([f"status    = {_table(guess.statuses)}"] if guess.statuses else []),
        *([f"no_result = [{', '.join(_text(word) for word in guess.no_result)}]"] if guess.no_result else []),
    ]
    lines += ["", "[words]", *words] if words else []
    if guess.control:
        lines += ["", "[control]", f"when = [{', '.join(_conditions(one) for one in guess.control)}]"]
    for when, kind, why in guess.rows:
        lines += ["", f"[[rows]]   # {_plain(why)}", f"when = {_conditions(when)}", f'is   = "{kind}"']
    if guess.query:
        lines += ["", "[query]", f"specimen = {_places(guess.query)}"]
        lines += [f"when     = {_conditions(guess.query_when)}"] if guess.query_when else []
        lines += [f"everything = {_literal(guess.everything)}"] if guess.everything else []
    lines += ["", "[tests]   # only what was seen; the manual has the rest"]
    lines += [f"{tomlkit.key(code).as_string()} = {_units(units)}" for code, units in guess.tests.items()]
    return "\n".join(lines) + "\n"


def _pattern_of(sender: str) -> str:
    """A sender as a regular expression; only what it is, never a guess at its relatives."""
    return "".join(f"\\{char}" if char in r"\.^$*+?{}[]()|" else char for char in sender)


def _places(places: list[str]) -> str:
    return _text(places[0]) if len(places) == 1 else f"[{', '.join(_text(place) for place in places)}]"


def _units(units: list[str]) -> str:
    return _text(units[0]) if len(units) == 1 else f"[{', '.join(_text(unit) for unit in units)}]"


def _conditions(when: Mapping[str, str]) -> str:
    return (
        "{ " + ", ".join(f"{tomlkit.key(place).as_string()} = {_literal(want)}" for place, want in when.items()) + " }"
    )


def _table(words: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{tomlkit.key(word).as_string()} = {_text(said)}" for word, said in words.items()) + " }"


def _text(text: str) -> str:
    return tomlkit.string(text).as_string()


def _literal(pattern: str) -> str:
    """A regular expression between single quotes where it can be."""
    return f"'{pattern}'" if "'" not in pattern and pattern.isprintable() else _text(pattern)


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _notes(guess: Guess, name: str, known_by: tuple[str, ...], *, drafted: bool) -> str:
    lines = [f"# {name}: a draft", ""]
    lines += [
        "Drafted by `labgateway learn` from captured messages. Nothing here is in use, and nobody has checked it.",
        "",
    ]
    if known_by:
        lines += [f"**{', '.join(known_by)} recognises these messages. Use that driver, and delete this draft.**", ""]
    lines += [
        "## Sources",
        "",
        "- captured messages; no document of the maker was read. Name the manual here, with its revision.",
        "",
    ]
    lines += ["## What was found", ""]
    lines += [f"- {_plain(one)}" for one in guess.found] or ["- nothing"]
    lines += [f"- {key}: {', '.join(places)}" for key, places in guess.where.items()] if drafted else []
    if not drafted:
        why = (
            "Raw framings and files need a [layout], which counting cannot find."
            if guess.protocol in RAW_PROTOCOLS
            else "No results were found."
        )
        lines += [
            "",
            f"No driver was drafted. {why} Copy the nearest driver of this kind and write it from the manual.",
        ]
    lines += ["", "## Not verified", "", "Everything. First of all:", ""]
    lines += [f"{number}. {_plain(one)}" for number, one in enumerate(guess.doubts, 1)] or [
        "1. nothing special was seen"
    ]
    lines += ["", "## What to do", ""]
    lines += [f"{number}. {one}" for number, one in enumerate(_STEPS, 1)]
    return "\n".join(lines) + "\n"


_STEPS = (
    "Answer each point above at the instrument or from its manual, and correct driver.toml. docs/adding-a-driver.md "
    "goes through it.",
    "`labgateway decode CAPTURE --driver FOLDER` shows what the driver makes of the capture. Compare EVERY value, "
    "unit, flag and specimen "
    "id with the instrument's screen or slip.",
    "Complete [tests] from the manual's list; write what is not sure under `Not verified`.",
    'Fill in mapping.toml (or as a spreadsheet: `labgateway mapping export`), every `emr = "?"`.',
    "Only then move the folder below a folder that config.toml names in [gateway] drivers, and let every result wait "
    "for a person at "
    'first: release = "manual".',
)
