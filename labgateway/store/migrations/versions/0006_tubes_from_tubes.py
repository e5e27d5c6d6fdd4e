"""Which tubes were taken from which, as the EMR says."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "aliquot",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False, comment="orders section of the config"),
        sa.Column("specimen", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False, comment="the specimen it was taken from"),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aliquot")),
        sa.UniqueConstraint("specimen", "parent", name=op.f("uq_aliquot_specimen")),
    )
    op.create_index(op.f("ix_aliquot_parent"), "aliquot", ["parent"])
