r"""HL7 v2 in ER7 form (HL7 2.5.1 chapter 2): read without loss, write without surprise, acknowledge.

    bytes --read()--> Message(header, rows) --acknowledge()--> bytes
                          \__ Row.value(field, component) resolves one path, only when asked

Not a validator: a message is never refused for its structure, because most analyzers break it. Not
framing either: that is ``mllp``. Everything here is pure; nothing raises for what a message holds.
"""

from labgateway.protocols.hl7.answers import (
    STANDARD_ACK,
    AckCode,
    AckMode,
    AckProfile,
    ErrorCode,
    Fault,
    Wanted,
    acknowledge,
    asks_for_accept,
    error_segments,
    is_at_least,
    modes,
    reply_bytes,
    reply_header,
    reply_msa,
)
from labgateway.protocols.hl7.reader import Message, messages, read
from labgateway.protocols.hl7.verdict import ANSWERS, Verdict, verdict
from labgateway.protocols.hl7.writer import components, escape, recode, segment

__all__ = [
    "ANSWERS",
    "STANDARD_ACK",
    "AckCode",
    "AckMode",
    "AckProfile",
    "ErrorCode",
    "Fault",
    "Message",
    "Verdict",
    "Wanted",
    "acknowledge",
    "asks_for_accept",
    "components",
    "error_segments",
    "escape",
    "is_at_least",
    "messages",
    "modes",
    "read",
    "recode",
    "reply_bytes",
    "reply_header",
    "reply_msa",
    "segment",
    "verdict",
]
