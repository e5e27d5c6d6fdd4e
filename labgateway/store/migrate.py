"""Brings a database to the schema of this version: all steps in one transaction, after a backup (Alembic).

no tables ──────────────> the newest revision
an older revision ──> backup ──> the newest revision, or, when a step fails, the old one untouched
a revision we do not know: made by a newer labgateway, refused
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from labgateway.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
REVISION = "0009"
"""What this version makes and reads: the head of migrations/versions; a test holds the two together."""


def current(connection: Connection) -> str | None:
    """The revision of a database, None when it has none of our tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's settings; there is no ini file. connection: what the revisions run on."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, back_up: Callable[[str], None]) -> None:
    """To this version's revision.

    back_up: called with the old revision before a database that has rows is changed. Raises StoreError for a
    database that a newer labgateway made.
    """
    with engine.connect() as connection:
        found = current(connection)
    if found == REVISION:
        return
    # Alembic takes a tenth of a second to load, and is needed once in the life of a version.
    from alembic import command
    from alembic.script import ScriptDirectory

    known = {step.revision for step in ScriptDirectory.from_config(configuration()).walk_revisions()}
    if found is not None:
        if found not in known:
            raise StoreError(
                f"The database was made by a newer version of labgateway (its schema is {found}, this version knows "
                f"{REVISION}). Install that version again, or restore the backup that it made before it changed anything."
            )
        back_up(found)
    with engine.begin() as connection:
        command.upgrade(configuration(connection), "head")
