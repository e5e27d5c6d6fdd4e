"""PostgreSQL on this machine, for tests: a schema of their own, or skipped with the reason."""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, text

SERVER = f"postgresql+psycopg://{getpass.getuser()}@127.0.0.1:5432/test"


@contextmanager
def schema() -> Iterator[str]:
    """The address of a store in a new schema, dropped at the end."""
    try:
        socket.create_connection(("127.0.0.1", 5432), timeout=0.5).close()
    except OSError:
        pytest.skip("no PostgreSQL on 127.0.0.1:5432")
    name = f"labgateway_test_{secrets.token_hex(6)}"
    engine = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
    except Exception as error:
        pytest.skip(f"PostgreSQL does not let us in: {type(error).__name__}")
    yield f"{SERVER}?options=-csearch_path%3D{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()
