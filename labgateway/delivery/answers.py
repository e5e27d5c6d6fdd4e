"""What the destination's answer to an HL7 message means. Pure; never raises for what the bytes are.

    AA, CA                       settled
    AE, CE                       parked at once, with the destination's words
    AE, CE with ERR-3 206, 207   a locked record or an internal error: tried again, counted
    AR, CR                       refused for reasons that may pass (system down): tried again, counted
    anything else                no answer: another MSA-2, no MSA, an unknown code, unreadable bytes

Source: HL7 2.5.1 chapter 2.9.2 (original and enhanced mode), tables 0008 and 0357.
"""

from __future__ import annotations

from dataclasses import dataclass

from labgateway.protocols import hl7
from labgateway.protocols.rows import Row

WORDS_LENGTH = 500
"""The destination's words are cut here, in characters: they are for a person to read."""

_MAY_PASS = frozenset({"206", "207"})  # table 0357: application record locked; application internal error


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement as read.

    code: MSA-1, upper case. control_id: MSA-2. words: what the destination says, MSA-3 and every ERR,
    at most WORDS_LENGTH characters; may hold patient data. errors: the codes of ERR-3 (before v2.5
    ERR-1.4, before v2.3 none; MSA-6 where no ERR is).
    """

    code: str
    control_id: str
    words: str
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """Taken."""

    words: str


@dataclass(frozen=True, slots=True)
class Park:
    """Refused for a reason that no timer cures."""

    words: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Refused for a reason that may pass. Counted: after ``Schedule.refusals`` it is parked."""

    words: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """This is not the answer to that message: close the connection, try again for ever. why holds no patient data."""

    why: str


def read_answer(data: bytes) -> Answer | None:
    """Read the content of an MLLP block as an acknowledgement; None when it is none (no MSH, no MSA)."""
    message = hl7.read(data)
    msa = next((row for row in message.rows if row.name == "MSA"), None)
    if msa is None:
        return None
    errs = [row for row in message.rows if row.name == "ERR"]
    codes = [code for err in errs for code in _codes(err)]
    if not codes and msa.raw(6):
        codes = [msa.value(6, 1).strip()]
    said = [msa.value(3).strip(), *(_said(err) for err in errs)]
    if not errs and msa.raw(6):
        said.append(_coded(msa, 6))
    words = "; ".join(dict.fromkeys(text for text in said if text))
    return Answer(
        msa.value(1, 1).strip().upper(),
        msa.value(2).strip(),
        words if len(words) <= WORDS_LENGTH else words[: WORDS_LENGTH - 1] + "…",
        tuple(codes),
    )


def classify(answer: Answer | None, control_id: str) -> Settled | Park | Retry | NoAnswer:
    """What an answer means for the message that was sent with MSH-10 = control_id."""
    if answer is None:
        return NoAnswer("the answer is no HL7 acknowledgement")
    if answer.control_id != control_id:
        return NoAnswer("the answer belongs to another message (MSA-2)")
    words = answer.words or answer.code
    match answer.code:
        case "AA" | "CA":
            return Settled(answer.words)
        case "AE" | "CE":
            return Retry(words) if _MAY_PASS.intersection(answer.errors) else Park(words)
        case "AR" | "CR":
            return Retry(words)
        case _:
            return NoAnswer("the answer has no code that HL7 knows (MSA-1)")


def _codes(err: Row) -> list[str]:
    """ERR-3.1 (2.5 and later), else ERR-1.4 of every repetition (2.3 to 2.4: ELD, the code a subcomponent)."""
    modern = [err.value(3, 1, repetition=n).strip() for n in range(len(err.repetitions(3)))]
    old = [err.value(1, 4, 1, repetition=n).strip() for n in range(len(err.repetitions(1)))]
    return [code for code in modern or old if code]


def _said(err: Row) -> str:
    """One ERR in a person's words: ERR-8 (for the user), ERR-3 (code and text), ERR-7 (diagnostics), ERR-2 (where)."""
    if not err.raw(3) and not err.raw(7) and not err.raw(8):
        return err.value(1).strip()
    where = err.raw(2).strip()
    parts = [err.value(8).strip(), _coded(err, 3), err.value(7).strip(), f"at {where}" if where else ""]
    return ", ".join(part for part in parts if part)


def _coded(row: Row, field: int) -> str:
    return " ".join(part for part in (row.value(field, 1).strip(), row.value(field, 2).strip()) if part)
