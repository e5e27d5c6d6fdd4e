"""[orders] of a driver with a raw framing to RawOrderForm, every mistake reported. The keys stand in docs/drivers.md."""

from __future__ import annotations

import re

from labgateway.instruments.keys import Table
from labgateway.instruments.order_form import ORDER_WORDS, OrderText, RawOrderForm
from labgateway.instruments.order_keys import words
from labgateway.instruments.paths import Place
from labgateway.protocols.raw_framing import FRAMINGS, Answer

_PART = re.compile(r"\\g<\w+>|\{\w*\}")
_PRINTABLE = re.compile("^[\x21-\x7e]+$")


def read_orders(table: Table, protocol: str) -> RawOrderForm:
    """How the instrument wants its orders: texts written by templates, which have no places."""
    framing = FRAMINGS.get(protocol)
    if framing is None or framing.answer is not Answer.ACK:
        what = f"is not possible with protocol {protocol}: its instrument does not acknowledge our texts by ACK."
        table.complaints.add(table.path, what, "Take [orders] away; queries are then answered by [line] replies.")
    nowhere = Place("", 2)
    form = RawOrderForm(
        specimen=nowhere,
        code=nowhere,
        texts=tuple(found for each in table.tables("texts") if (found := _text(each))),
        fits=_pattern(table, "fits") or _PRINTABLE,
        after_code=_raw(table, "after_code"),
        most=_most(table.table("most")),
        specimen_types=words(table, "specimen_types", {}),
        needs_patient=table.flag("needs_patient", default=False),
        refusal=_pattern(table, "refusal"),
    )
    if not form.texts:
        table.wrong("texts", "is missing.", "Write texts = [{ when = '^R …$', say = 'S …{codes}' }].")
    if form.refusal is not None and "why" not in form.refusal.groupindex:
        table.wrong("refusal", "has no group why.", "Name the part that says the reason: (?P<why>…).")
    table.done()
    return form


def _text(table: Table) -> OrderText | None:
    when, said = _pattern(table, "when"), _raw(table, "say")
    if when is None or not said:
        table.wrong("say", "and when are both needed.", "Write { when = '^R …$', say = 'S …{codes}' }.")
        table.done()
        return None
    parts = tuple(part for part in re.split(f"({_PART.pattern})", said) if part)
    for part in parts:
        if part.startswith("\\g<"):
            if part[3:-1] not in when.groupindex:
                table.wrong("say", f"names {part}, which is no group of when.", "Write (?P<name>…) in when.")
        elif _PART.fullmatch(part):
            if part[1:-1] not in ORDER_WORDS:
                table.wrong("say", f"names {part}.", f"Use {', '.join(f'{{{word}}}' for word in ORDER_WORDS)}.")
        elif not part.isascii():
            table.wrong("say", "has letters that are not ASCII.", "Write ASCII; control characters as \\u001c.")
    if "{codes}" not in parts:
        table.wrong("say", "has no {codes}.", "Say where the tests stand.")
    table.done()
    return OrderText(when, parts)


def _raw(table: Table, key: str) -> str:
    """A text as it goes over the wire: blanks and control characters count."""
    found = table.take(key)
    if found is not None and not isinstance(found, str):
        table.wrong(key, "must be a text.", f'Write {key} = "…".')
    return found if isinstance(found, str) else ""


def _pattern(table: Table, key: str) -> re.Pattern[str] | None:
    if not table.has(key):
        return None
    try:
        return re.compile(_raw(table, key))
    except re.error as error:
        table.wrong(key, f"is no regular expression: {error}.", "Write it between single quotes: '^R'.")
        return None


def _most(table: Table) -> dict[str, int]:
    found = {word: int(table.number(word, 1)) for word in ORDER_WORDS if table.has(word)}
    table.done()
    return found
