"""Whose fault a database error is: this delivery's data, which only a person can change, or something that passes.

SQLSTATE class 22 data, 23 constraint, 45 and P0001 a trigger that says no (SQL:2016 part 2, 23; PostgreSQL appendix
A); MySQL and MariaDB have numbers of their own beside it, Oracle 20000 to 20999 for what triggers raise. What is not
known here is tried again: nothing is parked by mistake, and the destination is seen to be away.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

_STATES = ("22", "23", "45")
_MYSQL = frozenset({1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1451, 1452, 1644, 3819, 4025})
_ORACLE_RAISED = range(20000, 21000)


def code_of(error: SQLAlchemyError) -> str:
    """The database's numbers of an error, or the name of its class: without content."""
    if not isinstance(error, DBAPIError):
        return type(error).__name__
    found = [str(one) for one in _codes(error.orig) if one is not None]
    return " ".join(found) or type(error.orig).__name__


def is_about_the_data(error: DBAPIError) -> bool:
    """Whether the same rows would be refused again."""
    if isinstance(error, IntegrityError | DataError):
        return True
    state, number = _codes(error.orig)
    if state is not None and (state == "P0001" or state[:2] in _STATES):
        return True
    return number is not None and (number in _MYSQL or number in _ORACLE_RAISED)


def _codes(orig: Any) -> tuple[str | None, int | None]:
    """SQLSTATE (psycopg, pymysql, pyodbc) and the database's own number (pymysql, oracledb)."""
    first = orig.args[0] if getattr(orig, "args", ()) else None
    state = getattr(orig, "sqlstate", None)
    if not isinstance(state, str):
        state = first if isinstance(first, str) and len(first) == 5 and first.isalnum() else None
    number = first if isinstance(first, int) else getattr(first, "code", None)
    return state, number if isinstance(number, int) else None
