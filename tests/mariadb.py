"""MariaDB on this machine, for tests: a database of their own, or skipped with the reason."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, text

SERVER = "mysql+pymysql://root@127.0.0.1:3306"


@contextmanager
def database() -> Iterator[str]:
    """The address of a new database, dropped at the end. Its default is one that would rather cut than complain."""
    try:
        socket.create_connection(("127.0.0.1", 3306), timeout=0.5).close()
    except OSError:
        pytest.skip("no MariaDB on 127.0.0.1:3306")
    name = f"labgateway_test_{secrets.token_hex(6)}"
    engine = create_engine(f"{SERVER}/", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    except Exception as error:
        pytest.skip(f"MariaDB does not let us in: {type(error).__name__}")
    yield f"{SERVER}/{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()
