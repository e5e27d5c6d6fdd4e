"""``labgateway store copy``: the whole store into another database, compared row by row."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway.cli.common import Parsers, add_config, add_json, config_of, dump, guarded

if TYPE_CHECKING:
    from labgateway.store.copying import Fingerprint

_TELL_S = 1.0


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "store", help="move the store to another database", description="Work on the store as a whole."
    )
    deeds = parser.add_subparsers(dest="deed", metavar="DEED", required=True)
    copy = deeds.add_parser(
        "copy",
        help="copy everything into an empty database, and compare",
        description="Copies every row of the store that config.toml names into an empty one (SQLite or PostgreSQL), in one "
        "transaction, then reads both again and compares count and fingerprint of each table. The gateway must be "
        "stopped. The source is not changed. When all is equal, write the new address into [store] url.",
        epilog="example: labgateway store copy --to postgresql+psycopg://labgateway@db.example/labgateway "
        "--password-file /etc/labgateway/db.password",
    )
    copy.add_argument("--to", required=True, metavar="URL", help="the new store, without a password")
    copy.add_argument("--password-file", type=Path, metavar="FILE", help="file that holds the new store's password")
    add_config(copy)
    add_json(copy)


def run(args: argparse.Namespace) -> int:
    """Run it."""
    return guarded(lambda: _copy(args))


def _copy(args: argparse.Namespace) -> int:
    import asyncio

    from sqlalchemy import Connection
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from labgateway.errors import LabgatewayError
    from labgateway.store import copying
    from labgateway.store.engine import Store

    config = config_of(args)
    try:
        if make_url(args.to).password is not None:
            raise LabgatewayError(
                "--to holds a password, which every user of this machine can read: use --password-file."
            )
    except ArgumentError:
        raise LabgatewayError(
            "--to is no address of a database. Write sqlite:////path/labgateway.db or postgresql+psycopg://user@host/database"
        ) from None
    password = _password(args.password_file)
    tell = _teller(quiet=args.json)

    async def work() -> tuple[list[Fingerprint], list[Fingerprint]]:
        # Opened for writing, though nothing is written: that is what no running gateway allows.
        source = await asyncio.to_thread(Store.open, config.store_url)
        try:
            target = await asyncio.to_thread(Store.open, args.to, password=password)
            try:
                await target.submit(
                    lambda new: source.read_now(lambda old: copying.copy_rows(old, new, tell("copied")))
                )

                def prints(connection: Connection) -> list[Fingerprint]:
                    return copying.fingerprints(connection, tell("compared"))

                return await source.read(prints), await target.read(prints)
            finally:
                await target.close()
        finally:
            await source.close()

    old, new = asyncio.run(work())
    equal = old == new
    if args.json:
        tables = [
            {"table": a.table, "rows": a.rows, "digest": a.digest, "equal": a == b}
            for a, b in zip(old, new, strict=True)
        ]
        dump({"equal": equal, "tables": tables})
    else:
        for a, b in zip(old, new, strict=True):
            print(f"{a.table:<22}{a.rows:>12} rows   {'equal' if a == b else f'DIFFERENT: {b.rows} rows there'}")
        print(
            "Everything is there. Write the new address into [store] url of config.toml, then start the gateway."
            if equal
            else "The copy is not the same. Do not use it: drop it and copy again."
        )
    return 0 if equal else 1


def _password(path: Path | None) -> str | None:
    from labgateway.errors import LabgatewayError

    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LabgatewayError(f"--password-file {path} cannot be read: {error.strerror}.") from None


def _teller(*, quiet: bool) -> Callable[[str], Callable[[str, int, int], None]]:
    """Make what says on stderr, once a second, how far it is."""
    told_at = time.monotonic()

    def of(what: str) -> Callable[[str, int, int], None]:
        def tell(table: str, done: int, in_all: int) -> None:
            nonlocal told_at
            if not quiet and time.monotonic() - told_at >= _TELL_S:
                told_at = time.monotonic()
                print(f"{table}: {done} of {in_all} rows {what}", file=sys.stderr)

        return tell

    return of
