"""Orders as an instrument's protocol sends them: what answers and downloads hand to the line, whatever it speaks.

works, deed -> Letter -> Line.send (ASTM frames), Line.post (HL7 messages) or Line.tell (a text of a raw framing)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from labgateway.instruments import encode_hl7, encode_raw
from labgateway.instruments.encode import Work, encode
from labgateway.instruments.order_form import Deed, RawOrderForm
from labgateway.instruments.spec import Driver
from labgateway.line.arrival import Told
from labgateway.line.line import Line
from labgateway.pipeline.ids import new_id
from labgateway.protocols.astm_bare import tokens
from labgateway.protocols.astm_frames import frames
from labgateway.protocols.mllp import Post

Letter = Callable[[Line, Told, int | None, object], None]
"""Hands the letter to a line: how it went, the connection (None: the newest), the tag by which it may be withdrawn."""


def answer(driver: Driver, works: Sequence[Work], query: bytes, now: datetime, *, again: bool) -> Letter:
    """What answers a query. now: local time of the instrument. Raises NotSendableError, ValueError as ``encode``."""
    if driver.protocol == "hl7":
        return _posts(encode_hl7.reply(driver, works, query, now, new_id, again=again))
    if isinstance(driver.orders, RawOrderForm):
        return _text(query, encode_raw.answer(driver, works, query))
    return _frames(driver, works, Deed.ASKED, now)


def news(driver: Driver, work: Work, deed: Deed, now: datetime) -> Letter:
    """What tells orders that nobody asked for. Raises as ``answer``."""
    if driver.protocol == "hl7":
        return _posts(encode_hl7.announce(driver, work, deed, now, new_id))
    return _frames(driver, [work], deed, now)


def refusal(driver: Driver, query: bytes, now: datetime) -> Letter | None:
    """What says that a query could not be answered; None: an instrument by ASTM or a raw framing just asks again."""
    return _posts(encode_hl7.refusal(driver, query, now, new_id)) if driver.protocol == "hl7" else None


def unsayable(driver: Driver, query: bytes, now: datetime) -> Letter | None:
    """What is said instead of orders that this instrument cannot be told; None: as ``refusal``.

    By a raw framing "no order": its instrument waits for an answer and knows no error.
    """
    if isinstance(driver.orders, RawOrderForm):
        return _text(query, encode_raw.none(driver, query))
    return refusal(driver, query, now)


def acceptance(driver: Driver, query: bytes, now: datetime) -> Letter | None:
    """What says that queries were taken back; None: in ASTM the frame's ACK has said it."""
    return _posts(encode_hl7.acceptance(driver, query, now, new_id)) if driver.protocol == "hl7" else None


def _posts(posts: list[Post]) -> Letter:
    return lambda line, told, conversation, tag: line.post(posts, told, conversation=conversation, tag=tag)


def _text(query: bytes, text: bytes | None) -> Letter:
    def send(line: Line, told: Told, conversation: int | None, tag: object) -> None:
        del tag  # it leaves at once or not at all
        if text is None:
            told("the driver says no answer to such a query")
        else:
            line.tell(query, text, told, conversation=conversation)

    return send


def _frames(driver: Driver, works: Sequence[Work], deed: Deed, now: datetime) -> Letter:
    form = driver.orders
    if form is None:
        raise ValueError(f"driver {driver.name} takes no orders")
    text = encode(driver, works, deed, now)
    body = (
        tokens(text)
        if driver.line.framing == "tokens"
        else list(frames(text, size=form.frame_bytes, packed=form.packed))
    )
    return lambda line, told, conversation, tag: line.send(body, told, conversation=conversation, tag=tag)
