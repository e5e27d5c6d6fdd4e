"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False, comment="such as observation 01HX… or delivery 17"),
        sa.Column("because", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_subject"), ["subject"], unique=False)

    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False, comment="the specimen; deliveries of a lane leave in order"),
        sa.Column("control_id", sa.String(length=32), nullable=False, comment="MSH-10, the same on every resend"),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="sent as it stands"),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="waiting, settled, parked, shadow, skipped"),
        sa.Column(
            "held_back",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="1: waits behind a parked one of its lane",
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refusals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("answer", sa.Text(), server_default="", nullable=False, comment="the destination's last words"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("control_id", name=op.f("uq_delivery_control_id")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_delivery_unsettled",
            ["destination", "lane", "id"],
            unique=False,
            sqlite_where=sa.text("state IN ('waiting', 'parked')"),
            postgresql_where=sa.text("state IN ('waiting', 'parked')"),
        )
        batch_op.create_index(
            batch_op.f("ix_delivery_state_destination_held_back_id"),
            ["state", "destination", "held_back", "id"],
            unique=False,
        )

    op.create_table(
        "lab_order",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False, comment="orders section of the config"),
        sa.Column("specimen", sa.Text(), nullable=False),
        sa.Column("placer", sa.Text(), nullable=False),
        sa.Column("filler", sa.Text(), server_default="", nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), server_default="", nullable=False, comment="OBR-4 as ordered"),
        sa.Column("patient_id", sa.Text(), nullable=True),
        sa.Column("pid3", sa.Text(), server_default="", nullable=False),
        sa.Column("pid5", sa.Text(), server_default="", nullable=False),
        sa.Column("birth_date", sa.Text(), nullable=True),
        sa.Column("sex", sa.Text(), nullable=True),
        sa.Column(
            "patient_changed_at",
            sa.BigInteger(),
            nullable=True,
            comment="when the order got another patient; null: never",
        ),
        sa.Column("ward", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_class", sa.Text(), server_default="", nullable=False),
        sa.Column("specimen_type", sa.Text(), server_default="", nullable=False),
        sa.Column("collected_at", sa.BigInteger(), nullable=True),
        sa.Column("collected_text", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.String(length=1), server_default="R", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="open, cancelled"),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lab_order")),
        sa.UniqueConstraint(
            "source", "placer", "code", "specimen", name=op.f("uq_lab_order_source_placer_code_specimen")
        ),
    )
    with op.batch_alter_table("lab_order", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lab_order_patient_id"), ["patient_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_lab_order_specimen"), ["specimen"], unique=False)
        batch_op.create_index(batch_op.f("ix_lab_order_state"), ["state"], unique=False)

    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "order_message",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=128), server_default="", nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=2), nullable=False, comment="AA, AE, AR: what we answered"),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_message")),
    )
    with op.batch_alter_table("order_message", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_order_message_source_sha256"), ["source", "sha256"], unique=False)

    op.create_table(
        "transmission",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False, comment="as configured"),
        sa.Column("protocol", sa.String(length=16), nullable=False, comment="astm, hl7 or a raw framing"),
        sa.Column("peer", sa.String(length=128), server_default="", nullable=False),
        sa.Column(
            "part_key",
            sa.String(length=64),
            nullable=True,
            comment="joins the parts of a message that is stored frame by frame",
        ),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False, comment="as received"),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="of raw, hex"),
        sa.Column("size", sa.Integer(), nullable=False, comment="bytes"),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="stored, processed, parked, incomplete, superseded, dismissed",
        ),
        sa.Column("reason", sa.String(length=32), nullable=True, comment="errors.Reason, why it is parked"),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("driver", sa.String(length=64), nullable=True),
        sa.Column("config_version", sa.String(length=64), nullable=True),
        sa.Column("mapping_version", sa.String(length=64), nullable=True),
        sa.Column("processed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transmission")),
    )
    with op.batch_alter_table("transmission", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_transmission_part_key_state"),
            ["part_key", "state"],
            unique=False,
            sqlite_where=sa.text("part_key IS NOT NULL"),
            postgresql_where=sa.text("part_key IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_transmission_state_id"), ["state", "id"], unique=False)

    op.create_table(
        "result",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transmission_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, comment="its place in the message, from 0"),
        sa.Column("kind", sa.String(length=16), nullable=False, comment="patient, control, calibration, query"),
        sa.Column("specimen", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True, comment="as sent; null: withheld"),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("more", sa.Text(), nullable=False, comment="JSON: everything else the analyzer said"),
        sa.ForeignKeyConstraint(
            ["transmission_id"], ["transmission.id"], name=op.f("fk_result_transmission_id_transmission")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
    )
    with op.batch_alter_table("result", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_result_transmission_id_ordinal"), ["transmission_id", "ordinal"], unique=False
        )

    op.create_table(
        "observation",
        sa.Column("id", sa.String(length=32), nullable=False, comment="OBX-21"),
        sa.Column("result_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transmission_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("specimen", sa.Text(), nullable=True),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "beside_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="the order whose patient it is",
        ),
        sa.Column(
            "place_patient",
            sa.Text(),
            nullable=True,
            comment="matching.versions.Place.patient; null while the place is not known",
        ),
        sa.Column("code", sa.Text(), nullable=False, comment="the EMR's; the analyzer's while it is not known"),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("loinc", sa.String(length=16), server_default="", nullable=False),
        sa.Column("moh", sa.String(length=32), server_default="", nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("unit", sa.Text(), server_default="", nullable=False),
        sa.Column("original_value", sa.Text(), nullable=True),
        sa.Column("original_unit", sa.Text(), nullable=True),
        sa.Column("letter", sa.String(length=1), nullable=False, comment="HL7 table 0085"),
        sa.Column("state", sa.String(length=16), nullable=False, comment="model.ObservationState"),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("mapping_version", sa.String(length=64), nullable=True),
        sa.Column(
            "row_version",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="a person's page must show this one",
        ),
        sa.Column("replaces", sa.String(length=32), nullable=True),
        sa.Column("duplicate_of", sa.String(length=32), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False, comment="our receipt of the message"),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "decided_by", sa.Text(), server_default="", nullable=False, comment="a person's name; empty: the gateway"
        ),
        sa.ForeignKeyConstraint(["beside_id"], ["lab_order.id"], name=op.f("fk_observation_beside_id_lab_order")),
        sa.ForeignKeyConstraint(["order_id"], ["lab_order.id"], name=op.f("fk_observation_order_id_lab_order")),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_observation_result_id_result")),
        sa.ForeignKeyConstraint(
            ["transmission_id"], ["transmission.id"], name=op.f("fk_observation_transmission_id_transmission")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observation")),
    )
    with op.batch_alter_table("observation", schema=None) as batch_op:
        batch_op.create_index(
            "ix_observation_open",
            ["state", "received_at"],
            unique=False,
            sqlite_where=sa.text("state IN ('waiting', 'held')"),
            postgresql_where=sa.text("state IN ('waiting', 'held')"),
        )
        batch_op.create_index(
            batch_op.f("ix_observation_specimen_received_at"), ["specimen", "received_at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_observation_transmission_id"), ["transmission_id"], unique=False)

    op.create_table(
        "delivery_observation",
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("observation_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_observation_delivery_id_delivery")
        ),
        sa.ForeignKeyConstraint(
            ["observation_id"], ["observation.id"], name=op.f("fk_delivery_observation_observation_id_observation")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "observation_id", name=op.f("pk_delivery_observation")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("delivery_observation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_delivery_observation_observation_id"), ["observation_id"], unique=False)
