"""What an answer to a message of ours says: taken or not, and by which codes (HL7 2.5.1, 2.9.2; tables 0008, 0119, 0357)."""

from __future__ import annotations

from dataclasses import dataclass

from labgateway.protocols.hl7.reader import Message

ANSWERS = frozenset({"ACK", "MCF", "ORL", "ORR", "ORG", "OSR"})
"""MSH-9.1 of messages that answer something we sent (HL7 2.5.1 chapters 2 and 4)."""
_TAKEN = frozenset({"AA", "CA"})
_PASSING = frozenset({"AR", "CR"})
_UNABLE = frozenset({"UA", "UC", "UD", "UF", "UH", "UM", "UN", "UR", "UX"})
"""ORC-1 that cannot do what the order asks."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """to: MSA-2, our control id. refused: the codes by which it says no, in words for a log; "": it was taken.

    passing: refused for a reason that is not in the content, so that it may be taken later. No text of the sender is
    repeated: it may name a patient.
    """

    to: str
    refused: str
    passing: bool


def verdict(message: Message) -> Verdict | None:
    """What an answer says; None for what is no answer, or names nothing that it answers."""
    msa = next((row for row in message.rows if row.name == "MSA"), None)
    if msa is None or message.header.value(9, 1) not in ANSWERS:
        return None
    code = msa.value(1).strip()
    said = [] if code in _TAKEN else [f"MSA-1 {_short(code)}"]
    for row in message.rows:
        if row.name == "ERR" and said and (number := row.value(3, 1).strip() or row.value(1, 4, 1).strip()):
            said.append(f"ERR {_short(number)}")
        elif row.name == "ORC" and (word := row.value(1).strip()) in _UNABLE:
            said.append(f"ORC-1 {word}")
    return Verdict(msa.value(2).strip(), ", ".join(dict.fromkeys(said)), code in _PASSING)


def _short(word: str) -> str:
    """A code as it is; what is no code might be a text."""
    return word if word.isalnum() and len(word) <= 8 else "?"
