"""What a destination does not hold as it was sent, found by comparing."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Forward."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "difference",
        sa.Column("id", number, nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", number, nullable=False),
        sa.Column("observation_id", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="the columns that differ; empty: it is not there"),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False, comment="open, closed"),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_difference_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_difference")),
        sa.UniqueConstraint("destination", "observation_id", name=op.f("uq_difference_destination_observation_id")),
    )
    op.create_index(op.f("ix_difference_state"), "difference", ["state"])
    op.create_index(op.f("ix_difference_delivery_id"), "difference", ["delivery_id"])
