"""Brings a database to the schema of this version, each step in one transaction (Alembic)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from labgateway.errors import StoreError

_FOLDER = Path(__file__).parent / "migrations"


def configuration(connection: Connection) -> Config:
    """Alembic's settings for an open connection; there is no ini file."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """To the newest revision. Raises StoreError for a database that a newer labgateway made."""
    with engine.begin() as connection:
        config = configuration(connection)
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                "The database was made by a newer version of labgateway. Install that version again, or restore the "
                "backup that was made before the upgrade."
            ) from error


def newest() -> str:
    """The revision this version makes."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return ScriptDirectory.from_config(config).get_current_head() or ""
