"""Several gateways on one PostgreSQL: who is alive, and who serves what."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "node",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column(
            "epoch", sa.BigInteger(), nullable=False, comment="raised whenever it joins, and when it is found silent"
        ),
        sa.Column("until", sa.BigInteger(), nullable=False, comment="alive until then, by the server's clock; 0: not"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_node")),
    )
    op.create_table(
        "lease",
        sa.Column(
            "subject", sa.String(length=128), nullable=False, comment="such as line xn1, orders emr, destination emr"
        ),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_lease")),
    )
