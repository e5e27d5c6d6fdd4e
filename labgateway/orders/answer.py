"""The answer to an order message, sent only after the commit: ORL^O22, ORL^O34, ORR^O02 or ACK.

MSH MSA [ERR] [ PID { [SPM] ORC [OBR] } ]       ORC-1: OK CR DR XR as asked, UA UC UD UX not
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from labgateway.model import Action
from labgateway.orders.fields import field, text
from labgateway.orders.groups import Group, split
from labgateway.orders.read import event
from labgateway.orders.words import OrderMessage, Refusal
from labgateway.protocols import hl7
from labgateway.protocols.hl7 import AckCode, AckMode, AckProfile, Fault, Message
from labgateway.protocols.rows import Row

ORIGINAL_MODE: Final = AckProfile(mode=AckMode.ORIGINAL, offset=True)
"""Orders are answered in the original mode whatever MSH-15 says (IHE LAB-1 and LAB-35)."""

_DONE: Final = {Action.NEW: "OK", Action.CANCEL: "CR", Action.DISCONTINUE: "DR", Action.CHANGE: "XR"}
_UNABLE: Final = {Action.NEW: "UA", Action.CANCEL: "UC", Action.DISCONTINUE: "UD", Action.CHANGE: "UX"}
"""ORC-1, table 0119."""


def answer(
    message: Message,
    outcome: OrderMessage | Refusal,
    *,
    now: datetime,
    control_id: str,
    unable: Collection[int] = (),
    profile: AckProfile = ORIGINAL_MODE,
) -> bytes:
    """What to send back for a message that was read and, unless refused, committed; without MLLP framing.

    outcome: of read_orders; or a Refusal of the caller's own, such as ``could_not_store``. unable: which
    of outcome.orders, counted from 0, could not be done though the message was taken (a cancel of
    what was never ordered): their ORC-1 says so, MSA-1 stays AA. now: for MSH-7, with its offset. A placer
    number is echoed as sent. Refused whole messages say UA, UC, UD or UX for each order besides the ERR.
    """
    code, faults = (outcome.code, outcome.faults) if isinstance(outcome, Refusal) else (AckCode.ACCEPT, ())
    words = _in_words(faults[0]) if faults else ""
    kind, name = event(message)
    if code is AckCode.REJECT or (kind, name) not in _STRUCTURES:
        return hl7.acknowledge(message, code, now=now, control_id=control_id, text=words, error=faults, profile=profile)
    parts = split(message.rows)
    type_, structure = _STRUCTURES[kind, name]
    if parts.pid is None and structure == "ORL_O34":
        structure = "ORL_O42"
    version = profile.version or message.version
    msh9 = f"{type_}^{structure}" if hl7.is_at_least(version, 2, 4) else type_
    segments = [
        hl7.reply_header(message, msh9, now=now, control_id=control_id, profile=profile),
        hl7.reply_msa(message, code, words, profile),
        *hl7.error_segments(faults, version),
    ]
    if parts.pid is not None or structure in ("ORL_O42", "ORR_O02"):
        controls = _controls(parts.groups, outcome, unable)
        segments += _patient(parts.pid)
        segments += _orders(parts.groups, controls, with_specimens=name == "O33")
    return hl7.reply_bytes(message, segments, profile)


def could_not_store() -> Refusal:
    """For the moments when nothing can be kept: the EMR is to send it again (table 0357: 207)."""
    return Refusal(AckCode.ERROR, (Fault(hl7.ErrorCode.INTERNAL_ERROR, "Could not be stored; send it again."),))


_STRUCTURES: Final = {
    ("OML", "O21"): ("ORL^O22", "ORL_O22"),
    ("OML", "O33"): ("ORL^O34", "ORL_O34"),
    ("ORM", "O01"): ("ORR^O02", "ORR_O02"),
}


def _controls(groups: tuple[Group, ...], outcome: OrderMessage | Refusal, unable: Collection[int]) -> list[str]:
    """ORC-1 of each group. A test on several specimens is done when it was done for one of them."""
    if isinstance(outcome, Refusal):
        controls = {action.value: control for action, control in _UNABLE.items()}
        return [controls.get(text(group.orc, 1), "UA") for group in groups]
    done = {one.group: _UNABLE[one.action] for one in outcome.orders}
    done |= {one.group: _DONE[one.action] for at, one in enumerate(outcome.orders) if at not in unable}
    return [done.get(number, "UA") for number in range(len(groups))]


def _patient(pid: Row | None) -> Iterator[str]:
    if pid is not None:
        yield hl7.segment("PID", field(pid, 1), "", field(pid, 3), "", field(pid, 5))


def _orders(groups: tuple[Group, ...], controls: list[str], *, with_specimens: bool) -> Iterator[str]:
    shown: Row | None = None
    for group, control in zip(groups, controls, strict=True):
        spm = group.specimens[0].spm if group.specimens else None
        if with_specimens and spm is not None and spm is not shown:
            shown = spm
            yield hl7.segment("SPM", field(spm, 1), field(spm, 2), "", field(spm, 4))
        placer, filler = (field(group.orc, n) or field(group.obr, n) for n in (2, 3))
        yield hl7.segment("ORC", control, placer, filler, field(group.orc, 4))
        if group.obr is not None:
            placer, filler = (field(group.obr, n) or field(group.orc, n) for n in (2, 3))
            yield hl7.segment("OBR", field(group.obr, 1), placer, filler, field(group.obr, 4))


def _in_words(fault: Fault) -> str:
    """MSA-3, for senders that log nothing else: ``SPM-2.1: No specimen id ...``."""
    place = fault.segment
    if fault.field:
        place += f"-{fault.field}" + (f".{fault.component}" if fault.component else "")
    return f"{place}: {fault.text}" if place else fault.text
