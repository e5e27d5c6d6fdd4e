"""Who did what, when and why; written in the transaction of the deed itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert

from labgateway.store.tables import audit


def add(connection: Connection, *, at: datetime, who: str, action: str, subject: str, because: str = "") -> None:
    """One deed. who: a person's name, or ``labgateway``. subject: such as ``observation 01HX…``."""
    connection.execute(insert(audit), {"at": at, "who": who, "action": action, "subject": subject, "because": because})
