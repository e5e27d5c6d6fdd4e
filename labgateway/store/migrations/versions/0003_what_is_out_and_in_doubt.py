"""What has gone out and is in doubt since the EMR changed its orders is found without reading everything."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_DOUBT = sa.text("state = 'released' AND reason IS NOT NULL")


def upgrade() -> None:
    """Forward."""
    op.create_index(
        "ix_observation_doubt", "observation", ["received_at"], sqlite_where=_DOUBT, postgresql_where=_DOUBT
    )
