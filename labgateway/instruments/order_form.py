"""How orders are written for a model of instrument, as values; order_keys.py reads them from driver.toml, [orders].

What a driver does not say is as LIS02-A2 (ASTM E1394) has it, and the patient's particulars stand where the instrument
itself sends them. Not here: the records (encode.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from labgateway.instruments.paths import Condition, Place


class Deed(StrEnum):
    """What a message of orders does.

    ASKED: answers a host query. UNASKED: new orders, nobody asked. ADD: further tests on a specimen whose tests were
    sent before. CANCEL: tests that are not wanted any more. NONE: answers a query, there is nothing to do.
    """

    ASKED = "asked"
    UNASKED = "unasked"
    ADD = "add"
    CANCEL = "cancel"
    NONE = "none"


class NoOrder(StrEnum):
    """How it is told that a specimen has no order.

    END: by the message's last record alone. ORDER: by an O record of the specimen without a test. QUERY: by the query's
    own record with a status. HL7: NOT_FOUND: by the reply alone (QAK-2 NF, MSA-1 AR). DISCONTINUE: by an order of the
    specimen whose ORC-1 is DC (IHE LAW, LAB-27).
    """

    END = "L"
    ORDER = "O"
    QUERY = "Q"
    NOT_FOUND = "NF"
    DISCONTINUE = "DC"


ACTIONS = {Deed.ASKED: "N", Deed.UNASKED: "N", Deed.ADD: "A", Deed.CANCEL: "C", Deed.NONE: ""}
"""LIS02-A2 9.4.12."""
REPORTS = {Deed.ASKED: "Q", Deed.UNASKED: "O", Deed.ADD: "O", Deed.CANCEL: "O", Deed.NONE: "Y"}
"""LIS02-A2 9.4.26: Q answers a query, O is an order, Y no order on record."""
ENDS = {Deed.ASKED: "N", Deed.UNASKED: "N", Deed.ADD: "N", Deed.CANCEL: "N", Deed.NONE: "I"}
"""LIS02-A2 13.1.3: N normal, I no information available from the last query."""
PRIORITIES = {"S": "S", "A": "A", "R": "R"}
"""LIS02-A2 9.4.6."""
SEXES = {"M": "M", "F": "F", "": "U"}
"""LIS02-A2 8.1.9."""

FIELDS = {"H-5": "LABGATEWAY", "H-12": "P", "H-13": "LIS2-A2"}
"""LIS02-A2 chapter 6: sender, production, version."""
PARTICULARS = {"patient": "P-3", "patient_name": "P-6", "birth_date": "P-8", "sex": "P-9"}
"""LIS02-A2 chapter 8, where the instrument itself does not send them."""


@dataclass(frozen=True, slots=True)
class OrderForm:
    """[orders]. Places of None are not written.

    width: the specimen id is right-aligned in so many characters, 0: not. each: every test has an O record of its own.
    fields: texts that always stand somewhere, as they go over the wire; unasked_fields: over these, when nobody asked.
    after_code: what follows each code, as it goes over the wire. echo: what is taken over from the query's record,
    to and from. delimiters: H-2 with the field delimiter before it. encoding: None: the line's, else ASCII without
    marks. frame_bytes: text bytes a frame. packed: several records a frame. needs_patient: an order without a patient
    id is not sent, since the instrument would refuse it. unasked: it is sent its orders before it asks.
    """

    specimen: Place
    code: Place
    places: Mapping[str, Place] = field(default_factory=dict[str, Place])
    action: Place | None = None
    report: Place | None = None
    priority: Place | None = None
    sent_at: Place | None = None
    none: NoOrder = NoOrder.END
    actions: Mapping[Deed, str] = field(default_factory=lambda: dict(ACTIONS))
    reports: Mapping[Deed, str] = field(default_factory=lambda: dict(REPORTS))
    ends: Mapping[Deed, str] = field(default_factory=lambda: dict(ENDS))
    priorities: Mapping[str, str] = field(default_factory=lambda: dict(PRIORITIES))
    sexes: Mapping[str, str] = field(default_factory=lambda: dict(SEXES))
    specimen_types: Mapping[str, str] = field(default_factory=dict[str, str])
    fields: tuple[tuple[Place, str], ...] = ()
    unasked_fields: tuple[tuple[Place, str], ...] = ()
    after_code: str = ""
    echo: tuple[tuple[Place, Place], ...] = ()
    query_status: str = "X"
    delimiters: str = "|\\^&"
    width: int = 0
    each: bool = False
    encoding: str | None = None
    frame_bytes: int = 240
    packed: bool = False
    needs_patient: bool = False
    unasked: bool = False


class Hl7Form(StrEnum):
    """Which messages tell an HL7 instrument its orders.

    LAW: the reply RSP^K11, then an OML^O33 for each specimen, each answered by an ORL (IHE LAW, LAB-27 and LAB-28).
    RSP: all of it in the reply (RSP^Z02). ORR: all of it in the reply ORR^O02 to an ORM^O01, one specimen. DSR: the reply
    QCK^Q02, then a DSR^Q03 for each specimen, each acknowledged (HL7 2.3.1 chapter 2).
    """

    LAW = "law"
    RSP = "rsp"
    ORR = "orr"
    DSR = "dsr"


@dataclass(frozen=True, slots=True)
class Mode:
    """A way of measuring that stands for tests: asked for when one of them is wanted; without any, always.

    when: what must hold of the query, so that models with other words have theirs.
    """

    word: str
    any_of: frozenset[str] = frozenset()
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Hl7OrderForm(OrderForm):
    """[orders] of an HL7 driver. specimen, code: where each is read back.

    specimens, codes_at: all places at which they are written. step: where the number of the order step stands (AWOS,
    OBR-2). numbers: places that count. kind, reply_kind: MSH-9 of the orders and of the reply; no reply_kind: the orders
    are the reply. reply_fields: texts that always stand in the reply. rows: whole segments before those of the tests.
    modes: the first that fits is asked for instead of the tests. refused: messages of the instrument that refuse orders,
    besides its answers to them. DSP-n means line n.
    """

    form: Hl7Form = Hl7Form.LAW
    specimens: tuple[Place, ...] = ()
    codes_at: tuple[Place, ...] = ()
    step: Place | None = None
    numbers: tuple[Place, ...] = ()
    kind: str = "OML^O33^OML_O33"
    reply_kind: str = "RSP^K11^RSP_K11"
    reply_fields: tuple[tuple[Place, str], ...] = ()
    modes: tuple[Mode, ...] = ()
    refused: tuple[Condition, ...] = ()


ORDER_WORDS = ("specimen", "patient", "specimen_type", "count", "codes")
"""What {name} may stand for in the text of a raw framing's orders."""


@dataclass(frozen=True, slots=True)
class OrderText:
    """One of [orders] texts: the answer to a query whose text fits.

    parts: of the template, in order: what is written as it is; ``\\g<name>``, a group of ``when``; ``{name}``, one of
    ORDER_WORDS.
    """

    when: re.Pattern[str]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawOrderForm(OrderForm):
    """[orders] of a driver with a raw framing; of OrderForm only after_code, specimen_types and needs_patient count.

    texts: the first whose expression fits the query is written; where none fits the order cannot be told. fits: what each
    code must be. most: characters at most of what ORDER_WORDS name. refusal: a text of the instrument that refuses orders; its
    group ``why`` is the code.
    """

    texts: tuple[OrderText, ...] = ()
    fits: re.Pattern[str] = re.compile("")
    most: Mapping[str, int] = field(default_factory=dict[str, int])
    refusal: re.Pattern[str] | None = None
