"""A result or an order is taken out without a look at every observation: which one refers to it is asked of an index."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Forward."""
    op.create_index("ix_observation_result_id", "observation", ["result_id"])
    for column in ("order_id", "beside_id"):
        some = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_observation_{column}", "observation", [column], sqlite_where=some, postgresql_where=some)
