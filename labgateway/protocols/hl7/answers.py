"""Acknowledgments and what all answers share: MSH, MSA and ERR (HL7 2.5.1, 2.9 and 2.14; table 0357)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from labgateway.protocols.hl7.reader import Message
from labgateway.protocols.hl7.writer import components, escape, recode, segment
from labgateway.protocols.rows import Row


class AckCode(StrEnum):
    """MSA-1 (table 0008). AE: something in the content is wrong. AR: not this type, version or moment."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"


class AckMode(StrEnum):
    """AUTO: enhanced codes only when the sender asks for an accept and for no application acknowledgment.

    BOTH: as AUTO, but where the sender asks for both it gets CA and then AA (HL7 2.5.1, 2.9.3).
    """

    AUTO = "auto"
    ORIGINAL = "original"
    ENHANCED = "enhanced"
    BOTH = "both"


class Wanted(StrEnum):
    """When a message is acknowledged. ASKED: as MSH-15 and MSH-16 say, always where both are empty."""

    ALWAYS = "always"
    ASKED = "asked"
    NEVER = "never"


class ErrorCode(IntEnum):
    """HL7 2.5.1 table 0357."""

    SEGMENT_SEQUENCE = 100
    REQUIRED_FIELD_MISSING = 101
    DATA_TYPE = 102
    TABLE_VALUE_NOT_FOUND = 103
    UNSUPPORTED_MESSAGE_TYPE = 200
    UNSUPPORTED_EVENT = 201
    UNSUPPORTED_PROCESSING_ID = 202
    UNSUPPORTED_VERSION = 203
    UNKNOWN_KEY = 204
    DUPLICATE_KEY = 205
    RECORD_LOCKED = 206
    INTERNAL_ERROR = 207

    @property
    def text(self) -> str:
        """As table 0357 prints it."""
        return _ERROR_TEXTS.get(self, self.name.replace("_", " ").capitalize())


_ERROR_TEXTS = {
    ErrorCode.SEGMENT_SEQUENCE: "Segment sequence error",
    ErrorCode.DATA_TYPE: "Data type error",
    ErrorCode.UNSUPPORTED_EVENT: "Unsupported event code",
    ErrorCode.UNSUPPORTED_VERSION: "Unsupported version id",
    ErrorCode.UNKNOWN_KEY: "Unknown key identifier",
    ErrorCode.DUPLICATE_KEY: "Duplicate key identifier",
    ErrorCode.RECORD_LOCKED: "Application record locked",
    ErrorCode.INTERNAL_ERROR: "Application internal error",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a message, and where: one ERR segment.

    text: for the person who reads the sender's log; no patient data. segment ``""``: the whole
    message. sequence: which segment of that name, from 1. field, component 0: all of it; a component
    only together with a field.
    """

    code: ErrorCode
    text: str
    segment: str = ""
    sequence: int = 1
    field: int = 0
    component: int = 0


@dataclass(frozen=True, slots=True)
class AckProfile:
    """How one device wants to be acknowledged; the default suits the standard and most devices.

    wanted: whether it wants to be acknowledged at all; what goes wrong is told even where it says NE.
    kind: MSH-9, with ``{event}`` for the sender's; empty: ``ACK`` up to 2.3, ``ACK^R01`` in 2.3.1,
    ``ACK^R01^ACK`` from 2.4. version: MSH-12; None echoes. sender, receiver: MSH-3 and 4, MSH-5 and 6
    as field text; None swaps the sender's own. accept_text: MSA-3 of an AA. msa6: of an AA; of an error then the
    error's number. msh15, msh16, msh21: field text; None echoes. echo_control_id: MSH-10 is the sender's instead of
    ours. err_zero: ``ERR|0`` stands in an AA. charset: MSH-18; None echoes. final_cr: the last segment has its CR.
    offset: MSH-7 of an aware moment has its offset; many analyzers know only 14 digits. commit_block: MLLP release 2,
    an ACK block (06) before the acknowledgment when the message is on disk, a NAK block (15) when it is not.
    """

    mode: AckMode = AckMode.AUTO
    wanted: Wanted = Wanted.ALWAYS
    kind: str = ""
    version: str | None = None
    sender: tuple[str, str] | None = None
    receiver: tuple[str, str] | None = None
    accept_text: str = ""
    msa6: str = ""
    msh15: str | None = ""
    msh16: str | None = ""
    msh21: str | None = ""
    echo_control_id: bool = False
    err_zero: bool = False
    charset: str | None = None
    final_cr: bool = True
    offset: bool = False
    commit_block: bool = False


STANDARD_ACK = AckProfile()


def acknowledge(
    message: Message,
    code: AckCode,
    *,
    now: datetime,
    control_id: str,
    text: str = "",
    error: Fault | Sequence[Fault] = (),
    profile: AckProfile = STANDARD_ACK,
) -> bytes:
    """The acknowledgment to send back, in the message's character set, without MLLP framing.

    An AA may only be sent after the commit. now: local; written as given into MSH-7, to the second.
    control_id: our MSH-10. text: MSA-3. Also answers what has no MSH (then MSA-2 is empty). An answer
    is made even where MSH-15 and MSH-16 ask for none (NE, NE): devices that say so still wait for one; see ``modes``.
    """
    faults = (error,) if isinstance(error, Fault) else tuple(error)
    accepted = code is AckCode.ACCEPT
    version = profile.version if profile.version is not None else message.version
    parts = [
        reply_header(message, profile.kind or _ack_kind(version), now=now, control_id=control_id, profile=profile),
        reply_msa(message, code, text or (profile.accept_text if accepted else ""), profile, faults),
        *error_segments(faults, version),
    ]
    if accepted and profile.err_zero:
        parts.append(segment("ERR", "0"))
    return reply_bytes(message, parts, profile)


def reply_header(
    message: Message, kind: str, *, now: datetime, control_id: str, profile: AckProfile = STANDARD_ACK
) -> str:
    """MSH of any answer: the sender's MSH-3..6 turned round, processing id, version and charset echoed."""
    header = message.header
    mine = profile.sender or (header.raw(5), header.raw(6))
    theirs = profile.receiver or (header.raw(3), header.raw(4))
    event = escape(header.value(9, 2))
    if "{event}" in kind:
        kind = kind.replace("{event}", event) if event else kind.split("^", 1)[0]
    charset = recode(header.raw(18), message.delimiters) if profile.charset is None else profile.charset

    def echoed(said: str | None, field: int) -> str:
        return recode(header.raw(field), message.delimiters) if said is None else said

    return segment(
        "MSH",
        "^~\\&",
        *(recode(text, message.delimiters) if profile.sender is None else text for text in mine),
        *(recode(text, message.delimiters) if profile.receiver is None else text for text in theirs),
        now.strftime("%Y%m%d%H%M%S%z" if profile.offset else "%Y%m%d%H%M%S"),
        "",
        kind,
        recode(header.raw(10), message.delimiters) if profile.echo_control_id else control_id,
        recode(header.raw(11), message.delimiters) or "P",
        (recode(header.raw(12), message.delimiters) or "2.5.1") if profile.version is None else profile.version,
        "",
        "",
        echoed(profile.msh15, 15),
        echoed(profile.msh16, 16),
        "",
        charset,
        "",
        "",
        echoed(profile.msh21, 21),
    )


def reply_msa(
    message: Message,
    code: AckCode,
    text: str = "",
    profile: AckProfile = STANDARD_ACK,
    faults: Sequence[Fault] = (),
) -> str:
    """MSA of any answer. MSA-1 by the profile's mode, MSA-2 the sender's MSH-10 as it was sent."""
    number = str(faults[0].code.value) if profile.msa6 and faults else profile.msa6
    return segment(
        "MSA",
        f"C{code[1]}" if _is_enhanced(message.header, code, profile.mode) else code,
        recode(message.header.raw(10), message.delimiters),
        escape(text),
        "",
        "",
        number,
    )


def modes(message: Message, code: AckCode, profile: AckProfile = STANDARD_ACK) -> tuple[AckMode, ...]:
    """The modes of the acknowledgments that a message gets, in their order: mostly one, none, or accept and application.

    HL7 2.5.1, 2.9.2 and 2.9.3: original mode where MSH-15 and MSH-16 are empty, else each as it is asked for.
    """
    header = message.header
    accept, application = _asks(header.value(15), code), _asks(header.value(16), code)
    is_original = not header.value(15) and not header.value(16)
    if profile.wanted is Wanted.NEVER:
        return ()
    if profile.wanted is Wanted.ASKED and not (is_original or accept or application):
        return ()
    if profile.mode is AckMode.BOTH:
        return (AckMode.ENHANCED, AckMode.ORIGINAL) if accept and application else (AckMode.AUTO,)
    return (profile.mode,)


def asks_for_accept(message: Message) -> bool:
    """Whether the sender of a message that gets an answer of its own (a query) wants CA as well: MSH-15 AL or SU."""
    return _asks(message.header.value(15), AckCode.ACCEPT)


def error_segments(faults: Sequence[Fault], version: str) -> list[str]:
    """ERR: from 2.5 one a fault (ERL, code, severity, user text); before, one with ERR-1 repeating (ELD)."""
    if not is_at_least(version, 2, 5):
        places = ("^".join((*_place(f), f"{f.code.value}&{f.code.text}&HL70357")) for f in faults)
        return [segment("ERR", "~".join(places))] if faults else []
    return [
        segment(
            "ERR", "", components(*_place(fault), *(("1", str(fault.component)) if fault.component else ())),
            components(str(fault.code.value), fault.code.text, "HL70357"), "E", "", "", "", escape(fault.text),
        )
        for fault in faults
    ]  # fmt: skip


def _place(fault: Fault) -> tuple[str, ...]:
    """Segment, which one, which field; nothing when the whole message is meant."""
    return (fault.segment, str(fault.sequence), str(fault.field or "")) if fault.segment else ("", "", "")


def reply_bytes(message: Message, segments: Iterable[str], profile: AckProfile = STANDARD_ACK) -> bytes:
    """The segments of an answer as bytes, in the character set that the sender used."""
    text = "".join(segments)
    return (text if profile.final_cr else text.removesuffix("\r")).encode(message.charset, "replace")


def is_at_least(version: str, major: int, minor: int, patch: int = 0) -> bool:
    """Whether MSH-12 names this version or a later one. An empty or odd one counts as the newest."""
    numbers = re.findall(r"\d+", version)[:3]
    if not numbers:
        return True
    return tuple(int(n[:4]) for n in numbers) + (0,) * (3 - len(numbers)) >= (major, minor, patch)


def _ack_kind(version: str) -> str:
    if is_at_least(version, 2, 4):
        return "ACK^{event}^ACK"
    return "ACK^{event}" if is_at_least(version, 2, 3, 1) else "ACK"


def _is_enhanced(header: Row, code: AckCode, mode: AckMode) -> bool:
    if mode in (AckMode.ORIGINAL, AckMode.ENHANCED):
        return mode is AckMode.ENHANCED
    return _asks(header.value(15), code) and not _asks(header.value(16), code)


def _asks(word: str, code: AckCode) -> bool:
    """Table 0155."""
    return {"AL": True, "ER": code is not AckCode.ACCEPT, "SU": code is AckCode.ACCEPT}.get(word, False)
