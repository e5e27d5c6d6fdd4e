"""What the mapping says beside a value: the lab's range and flags, notes, what a computed value was computed from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Forward."""
    op.add_column(
        "observation",
        sa.Column(
            "added", sa.Text(), comment="JSON: model.Added, what the mapping says beside the value; null: nothing"
        ),
    )
