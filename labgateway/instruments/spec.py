"""What is true of one model of instrument, as values; driver.py reads them from driver.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from labgateway.instruments.layout import Layout
from labgateway.instruments.order_form import OrderForm
from labgateway.instruments.paths import Condition, Place
from labgateway.model import Status
from labgateway.protocols.hl7 import STANDARD_ACK, AckProfile
from labgateway.protocols.raw_framing import FRAMINGS

TABLE = "table"
"""Files with a header row: CSV, text with tabs, XLSX, XLS."""
RAW_PROTOCOLS = (*sorted(FRAMINGS), TABLE)
"""Named raw framings of labgateway/protocols, and files: those whose texts a [layout] explains."""
PROTOCOLS = ("astm", "hl7", *RAW_PROTOCOLS)
ASTM_RECORDS = ("H", "P", "O", "R", "C", "Q", "M", "S", "L")
STATUSES = ("simulated", "capture", "field")
KINDS = ("tcp", "tcp-listen", "serial", "folder")
ROW_KINDS = ("result", "ignore", "comment", "attachment")

Parity = Literal["none", "even", "odd", "mark", "space"]
Flow = Literal["none", "rts/cts", "dsr/dtr", "xon/xoff"]

WHERE_REQUIRED = ("specimen", "code", "value")
WHERE = (
    *WHERE_REQUIRED,
    "unit", "flag", "status", "measured_at", "patient", "patient_name", "birth_date", "sex", "action", "range",
    "operator", "run", "comment", "dilution", "serial", "lot", "level", "specimen_type",
)  # fmt: skip
"""The names that [where] may place."""


@dataclass(frozen=True, slots=True)
class Serial:
    """How an RS-232 line is set when config.toml does not say."""

    baud: int = 9600
    bits: int = 8
    parity: Parity = "none"
    stop: float = 1
    flow: Flow = "none"


@dataclass(frozen=True, slots=True)
class Reply:
    """One of [line] replies. say: the text that follows the acknowledgment, a template for ``re.Match.expand``."""

    when: re.Pattern[str]
    say: str


@dataclass(frozen=True, slots=True)
class LineSettings:
    """[line]. encoding None: MSH-18, else UTF-8, else Latin-1 with a mark. queries: asks the host for orders.

    replies: of a raw framing; the first whose expression fits a text is said. The others are how an ASTM line deviates from
    the standard: frames without checksum or number, no frames, an EOT that wants an answer, messages without L.
    """

    kinds: tuple[str, ...] = ("tcp-listen", "tcp", "serial")
    serial: Serial = Serial()
    queries: bool = False
    encoding: str | None = None
    replies: tuple[Reply, ...] = ()
    checksum: Literal["required", "optional"] = "required"
    numbers: Literal["strict", "loose", "absent"] = "strict"
    framing: Literal["frames", "tokens", "records"] = "frames"
    silence_s: float = 2
    acks_eot: bool = False
    end: Literal["L", "session"] = "L"


@dataclass(frozen=True, slots=True)
class Recognise:
    """[recognise]. sender None and no conditions: only a person can name this driver.

    sender: must match the whole sender. when: conditions on the first row of each name; one must hold.
    """

    sender: re.Pattern[str] | None = None
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """[words]. flag, status None: none declared. unreadable: specimen ids that are no id."""

    flag: Mapping[str, str] | None = None
    status: Mapping[str, Status] | None = None
    no_result: frozenset[str] = frozenset()
    unreadable: tuple[re.Pattern[str], ...] = ()
    elsewhere: frozenset[str] = frozenset()
    """Values that mean "look at the next place"."""


@dataclass(frozen=True, slots=True)
class RowRule:
    """One [[rows]]: rows for which one of the conditions holds are of this kind."""

    when: tuple[Condition, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Query:
    """[query]. specimen: where a host query names its specimens; when: which rows ask; empty: all."""

    specimen: tuple[Place, ...] = ()
    when: tuple[Condition, ...] = ()
    everything: re.Pattern[str] | None = None
    """What stands in the specimen's place when orders of all specimens are asked for."""
    until: tuple[Place, ...] = ()
    """Where the last specimen of a range stands."""
    cancelled: tuple[Condition, ...] = ()
    """Rows that take a query back."""
    all_when: tuple[Condition, ...] = ()
    """Rows that ask for the orders of all specimens."""
    nameless: tuple[Condition, ...] = ()
    """Rows that ask without naming a specimen (by a sequence number, by a place in a rack)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One [[variant]]: messages for which a condition holds have these parts elsewhere."""

    when: tuple[Condition, ...]
    where: Mapping[str, tuple[Place, ...]]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Driver:
    """What is true of an instrument's model. name: the folder's name.

    tests: code to its possible units, "" for none. is_open: the site decides about codes; codes that
    stand in tests are checked nevertheless. time_formats: strptime forms tried before the standard one.
    """

    name: str
    folder: Path
    title: str
    maker: str
    protocol: str
    sources: tuple[str, ...]
    where: Mapping[str, tuple[Place, ...]]
    tests: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    is_open: bool = False
    models: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    status: str = "simulated"
    quirks: tuple[str, ...] = ()
    recognise: Recognise = Recognise()
    line: LineSettings = LineSettings()
    words: Words = Words()
    control: tuple[Condition, ...] = ()
    calibration: tuple[Condition, ...] = ()
    rows: tuple[RowRule, ...] = ()
    query: Query = Query()
    variants: tuple[Variant, ...] = ()
    take: Mapping[str, re.Pattern[str]] = field(default_factory=dict[str, re.Pattern[str]])
    """Name of [where] to the expression whose first group is what is meant of the text there."""
    join: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of [where] to the separator between all its filled places (instead of the first filled)."""
    time_formats: tuple[str, ...] = ()
    not_shown: tuple[str, ...] = ()
    orders: OrderForm | None = None
    """How orders are written for it; None: it takes none from us."""
    ack: AckProfile = STANDARD_ACK
    """How it wants to be acknowledged (HL7)."""
    layout: Layout | None = None
    """How texts of a raw protocol become rows; None exactly for astm and hl7."""

    @property
    def names(self) -> frozenset[str]:
        """Every name it answers to, squeezed: its folder, and maker_model of each model and alias."""
        makers = (self.maker, self.maker.split()[0])
        models = {squeeze(maker + model) for maker in makers for model in (*self.models, *self.aliases)}
        return frozenset({squeeze(self.name), *models, *(squeeze(alias) for alias in self.aliases)})


def squeeze(name: str) -> str:
    """A name for comparison: lower case, letters and digits only (``sysmex_xn550`` and ``Sysmex XN-550`` agree)."""
    return "".join(c for c in name.lower() if c.isalnum())
