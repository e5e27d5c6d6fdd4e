"""From messages to a guess: each part in its turn, each doubt a sentence. Pure."""

from __future__ import annotations

from labgateway.instruments import text
from labgateway.instruments.recognise import senders
from labgateway.learn import identity, parts, rows
from labgateway.learn.evidence import Guess, Look
from labgateway.learn.material import Material
from labgateway.protocols import astm_frames, astm_records, hl7
from labgateway.protocols.rows import Row


def guess_of(material: Material) -> Guess:
    """The guess from messages in ASTM or HL7; of other protocols only what the material says."""
    guess = Guess(
        material.protocol, found=list(material.found), doubts=list(material.doubts), encoding=material.encoding
    )
    if material.protocol in ("astm", "hl7"):
        _all(guess, Look(guess, [_rows(material, message) for message in material.messages]))
    return guess


def _rows(material: Material, message: bytes) -> list[Row]:
    if material.protocol == "hl7":
        return list(hl7.read(message, material.encoding).rows)
    records = b"".join(astm_frames.unframe(message).messages) or message
    whole = text.decode(records, material.encoding) if material.encoding else text.guess(records)[0]
    return astm_records.read_records(whole)


def _all(guess: Guess, look: Look) -> None:
    guess.senders = [name for name in dict.fromkeys(senders(rows)[0] for rows in look.messages) if name]
    if not guess.senders:
        look.doubt(
            "The messages do not name their sender, so that this driver cannot be recognised by a message; name it "
            "in config.toml."
        )
    identity.queries(look)
    rows.silent(look)
    if not look.items:
        look.doubt(
            "No message holds a result: nothing but the framing was learned. Capture results of several specimens."
        )
        return
    guess.found.append(
        f"{len(look.messages)} messages, {len(look.groups)} specimens or orders, {len(look.items)} rows of results "
        f"({look.row})."
    )
    if len(look.groups) < 3:
        look.doubt(
            f"Only {len(look.groups)} specimen{'s were' if len(look.groups) > 1 else ' was'} seen. What is the same in "
            "all of them may differ tomorrow; capture five or more, with a control, a repeat, a withheld and an "
            "abnormal result among them."
        )
    rows.kinds_of_rows(look)
    parts.code(look)
    parts.value(look)
    parts.unit(look)
    parts.flag(look)
    parts.status(look)
    identity.specimen(look)
    parts.measured_at(look)
    parts.people(look)
    identity.control(look)
    parts.tests(look)
