"""Every table and what each column means. The schema is made by migrations/; a test holds the two together.

    transmission ──< result ──< observation >── lab_order        order_message
    (raw bytes)      (its words)     │          (one ordered test)   (raw bytes, our answer)
                                     └──< delivery_observation >── delivery (bytes owed to one destination)
    aliquot: tubes taken from tubes. attempt: what a destination said before. difference: what it does not hold as it
    was sent. told: what instruments were told to measure. audit: who did what. meta: what the store says of itself.

Moments are UTC in microseconds since 1970, as integers: exact, sortable, the same in every database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@lru_cache(maxsize=256)  # all rows of one message have the same two or three
def to_us(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a moment without time zone")
    return (moment - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=256)
def from_us(value: int) -> datetime:
    """Turn microseconds back into an aware datetime."""
    return _EPOCH + timedelta(microseconds=value)


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as integer microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Out."""
        return None if value is None else to_us(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """In."""
        return None if value is None else from_us(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows by itself only in a column of exactly INTEGER.
Number = BigInteger().with_variant(Integer(), "sqlite")

OBSERVATION_OPEN = "state IN ('waiting', 'held')"
OBSERVATION_DOUBT = "state = 'released' AND reason IS NOT NULL"
DELIVERY_UNSETTLED = "state IN ('waiting', 'parked')"
"""What the partial indexes hold. SQLite uses such an index only for a query that says the same words, so queries
take them from here; a test asks for the plan of each."""


def _some(name: str, *columns: str, where: str) -> Index:
    """An index of the few rows that matter among many that are done with."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


transmission = Table(
    "transmission",
    metadata,
    Column("id", Number, primary_key=True),
    Column("instrument", String(64), nullable=False, comment="as configured"),
    Column("protocol", String(16), nullable=False, comment="astm, hl7 or a raw framing"),
    Column("peer", String(128), nullable=False, server_default=""),
    Column("part_key", String(64), comment="joins the parts of a message that is stored frame by frame"),
    Column("received_at", Moment, nullable=False),
    Column("raw", LargeBinary, nullable=False, comment="as received"),
    Column("sha256", String(64), nullable=False, comment="of raw, hex"),
    Column("size", Integer, nullable=False, comment="bytes"),
    Column("state", String(16), nullable=False, comment="stored, processed, parked, incomplete, superseded, dismissed"),
    Column("reason", String(32), comment="errors.Reason, why it is parked"),
    Column("detail", Text, nullable=False, server_default=""),
    Column("driver", String(64)),
    Column("config_version", String(64)),
    Column("mapping_version", String(64)),
    Column("processed_at", Moment),
    Index(None, "state", "id"),
    _some("ix_transmission_part_key_state", "part_key", "state", where="part_key IS NOT NULL"),
)

result = Table(
    "result",
    metadata,
    Column("id", Number, primary_key=True),
    Column("transmission_id", Number, ForeignKey("transmission.id"), nullable=False),
    Column("ordinal", Integer, nullable=False, comment="its place in the message, from 0"),
    Column("kind", String(16), nullable=False, comment="patient, control, calibration, query"),
    Column("specimen", Text),
    Column("code", Text, nullable=False),
    Column("value", Text, comment="as sent; null: withheld"),
    Column("unit", Text),
    Column("more", Text, nullable=False, comment="JSON: everything else the analyzer said"),
    Index(None, "transmission_id", "ordinal"),
)

observation = Table(
    "observation",
    metadata,
    Column("id", String(32), primary_key=True, comment="OBX-21"),
    Column("result_id", Number, ForeignKey("result.id"), nullable=False),
    Column("transmission_id", Number, ForeignKey("transmission.id"), nullable=False),
    Column("instrument", String(64), nullable=False),
    Column("specimen", Text),
    Column("order_id", Number, ForeignKey("lab_order.id")),
    Column("beside_id", Number, ForeignKey("lab_order.id"), comment="the order whose patient it is"),
    Column("place_patient", Text, comment="matching.versions.Place.patient; null while the place is not known"),
    Column("code", Text, nullable=False, comment="the EMR's; the analyzer's while it is not known"),
    Column("name", Text, nullable=False, server_default=""),
    Column("loinc", String(16), nullable=False, server_default=""),
    Column("moh", String(32), nullable=False, server_default=""),
    Column("value", Text),
    Column("unit", Text, nullable=False, server_default=""),
    Column("original_value", Text),
    Column("original_unit", Text),
    Column("letter", String(1), nullable=False, comment="HL7 table 0085"),
    Column("state", String(16), nullable=False, comment="model.ObservationState"),
    Column("reason", String(32)),
    Column("detail", Text, nullable=False, server_default=""),
    Column("mapping_version", String(64)),
    Column("row_version", Integer, nullable=False, server_default="1", comment="a person's page must show this one"),
    Column("replaces", String(32)),
    Column("duplicate_of", String(32)),
    Column("received_at", Moment, nullable=False, comment="our receipt of the message"),
    Column("decided_at", Moment, nullable=False),
    Column("decided_by", Text, nullable=False, server_default="", comment="a person's name; empty: the gateway"),
    Column("added", Text, comment="JSON: model.Added, what the mapping says beside the value; null: nothing"),
    Index(None, "specimen", "received_at"),
    _some("ix_observation_open", "state", "received_at", where=OBSERVATION_OPEN),
    _some("ix_observation_doubt", "received_at", where=OBSERVATION_DOUBT),
    Index(None, "transmission_id"),
    # The database asks for them when a result or an order is taken out: without them it reads all there is, for each.
    Index(None, "result_id"),
    _some("ix_observation_order_id", "order_id", where="order_id IS NOT NULL"),
    _some("ix_observation_beside_id", "beside_id", where="beside_id IS NOT NULL"),
)

lab_order = Table(
    "lab_order",
    metadata,
    Column("id", Number, primary_key=True),
    Column("source", String(64), nullable=False, comment="orders section of the config"),
    Column("specimen", Text, nullable=False),
    Column("placer", Text, nullable=False),
    Column("filler", Text, nullable=False, server_default=""),
    Column("code", Text, nullable=False),
    Column("service", Text, nullable=False, server_default="", comment="OBR-4 as ordered"),
    Column("patient_id", Text),
    Column("pid3", Text, nullable=False, server_default=""),
    Column("pid5", Text, nullable=False, server_default=""),
    Column("birth_date", Text),
    Column("sex", Text),
    Column("patient_changed_at", Moment, comment="when the order got another patient; null: never"),
    Column("ward", Text, nullable=False, server_default=""),
    Column("patient_class", Text, nullable=False, server_default=""),
    Column("specimen_type", Text, nullable=False, server_default=""),
    Column("collected_at", Moment),
    Column("collected_text", Text, nullable=False, server_default=""),
    Column("priority", String(1), nullable=False, server_default="R"),
    Column("state", String(16), nullable=False, comment="open, cancelled"),
    Column("received_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
    UniqueConstraint("source", "placer", "code", "specimen"),
    Index(None, "specimen"),
    Index(None, "patient_id"),
    Index(None, "state"),
)

aliquot = Table(
    "aliquot",
    metadata,
    Column("id", Number, primary_key=True),
    Column("source", String(64), nullable=False, comment="orders section of the config"),
    Column("specimen", Text, nullable=False),
    Column("parent", Text, nullable=False, comment="the specimen it was taken from"),
    Column("told_at", Moment, nullable=False),
    UniqueConstraint("specimen", "parent", name="uq_aliquot_specimen"),
    Index(None, "parent"),
)

told = Table(
    "told",
    metadata,
    Column("id", Number, primary_key=True),
    Column("instrument", String(64), nullable=False),
    Column("specimen", Text, nullable=False),
    Column("codes", Text, nullable=False, comment="JSON: the instrument's codes that it was last told to measure"),
    Column("told_at", Moment, nullable=False, comment="when the orders were read that it was told"),
    UniqueConstraint("instrument", "specimen"),
)

order_message = Table(
    "order_message",
    metadata,
    Column("id", Number, primary_key=True),
    Column("source", String(64), nullable=False),
    Column("peer", String(128), nullable=False, server_default=""),
    Column("received_at", Moment, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("code", String(2), nullable=False, comment="AA, AE, AR: what we answered"),
    Column("answer", LargeBinary, nullable=False),
    Index(None, "source", "sha256"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Number, primary_key=True),
    Column("destination", String(64), nullable=False),
    Column("lane", Text, nullable=False, comment="the specimen; deliveries of a lane leave in order"),
    Column("control_id", String(32), nullable=False, unique=True, comment="MSH-10, the same on every resend"),
    Column("body", LargeBinary, nullable=False, comment="sent as it stands"),
    Column("sha256", String(64), nullable=False),
    Column("state", String(16), nullable=False, comment="waiting, settled, parked, shadow, skipped"),
    Column(
        "held_back", Integer, nullable=False, server_default="0", comment="1: waits behind a parked one of its lane"
    ),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("refusals", Integer, nullable=False, server_default="0"),
    Column("answer", Text, nullable=False, server_default="", comment="the destination's last words"),
    Column("created_at", Moment, nullable=False),
    Column("settled_at", Moment),
    _some("ix_delivery_unsettled", "destination", "lane", "id", where=DELIVERY_UNSETTLED),
    Index(None, "state", "destination", "held_back", "id"),
)

delivery_observation = Table(
    "delivery_observation",
    metadata,
    Column("delivery_id", Number, ForeignKey("delivery.id"), primary_key=True),
    Column("observation_id", String(32), ForeignKey("observation.id"), primary_key=True),
    Index(None, "observation_id"),
    sqlite_with_rowid=False,
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Number, primary_key=True),
    Column("delivery_id", Number, ForeignKey("delivery.id"), nullable=False),
    Column("outcome", String(16), nullable=False, comment="failed, refused, parked"),
    Column("answer", Text, nullable=False, comment="the destination's words, or why there were none"),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("times", Integer, nullable=False, comment="how often in a row"),
    Index(None, "delivery_id"),
)

difference = Table(
    "difference",
    metadata,
    Column("id", Number, primary_key=True),
    Column("destination", String(64), nullable=False),
    Column("delivery_id", Number, ForeignKey("delivery.id"), nullable=False),
    Column("observation_id", String(32), nullable=False),
    Column("detail", Text, nullable=False, comment="the columns that differ; empty: it is not there"),
    Column("found_at", Moment, nullable=False),
    Column("state", String(8), nullable=False, comment="open, closed"),
    UniqueConstraint("destination", "observation_id"),
    Index(None, "state"),
    Index(None, "delivery_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Number, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String(64), nullable=False, comment="such as observation 01HX… or delivery 17"),
    Column("because", Text, nullable=False, server_default=""),
    Index(None, "subject"),
)

node = Table(
    "node",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("epoch", BigInteger, nullable=False, comment="raised whenever it joins, and when it is found silent"),
    Column("until", BigInteger, nullable=False, comment="alive until then, by the server's clock; 0: not"),
)

lease = Table(
    "lease",
    metadata,
    Column("subject", String(128), primary_key=True, comment="such as line xn1, orders emr, destination emr"),
    Column("node", String(64), nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
