"""What instruments were told to measure, for those that are told unasked."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "told",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("instrument", sa.String(length=64), nullable=False),
        sa.Column("specimen", sa.Text(), nullable=False),
        sa.Column(
            "codes", sa.Text(), nullable=False, comment="JSON: the instrument's codes that it was last told to measure"
        ),
        sa.Column("told_at", sa.BigInteger(), nullable=False, comment="when the orders were read that it was told"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_told")),
        sa.UniqueConstraint("instrument", "specimen", name=op.f("uq_told_instrument_specimen")),
    )
