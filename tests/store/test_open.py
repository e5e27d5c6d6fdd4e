"""Opening: the right library, settings that stick, one gateway on one data folder, the right schema."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from labgateway.errors import StoreError
from labgateway.store import journal, migrate, sqlite
from labgateway.store.engine import LOCK_NAME, Store
from labgateway.store.tables import metadata
from tests.store.kit import append, count

DATABASES = Path(__file__).parent / "databases"


def raw(url: str) -> Path:
    """The database file behind a url."""
    return Path(url.removeprefix("sqlite:///"))


# --- the library and its settings ---


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 45, 0), False), ((3, 50, 6), False),
        ((3, 50, 7), True), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 53, 4), True), ((4, 0, 0), True),
    ],
)  # fmt: skip
def test_which_libraries_are_sound(version: tuple[int, ...], good: bool) -> None:
    """The WAL-reset bug is fixed in 3.51.3 and in the two older lines that got the fix, nowhere else."""
    assert sqlite.sound(version) is good


def test_the_library_here_is_sound() -> None:
    """What the tests run on is what a gateway would run on."""
    assert sqlite.sound(tuple(int(part) for part in sqlite.module().sqlite_version.split(".")))


def test_no_sound_library_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Old everywhere: the message names both versions and what to install; nothing is created."""
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.40.1")
    monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", SimpleNamespace(sqlite_version="3.51.1"))
    with pytest.raises(StoreError, match=r"3\.40\.1.*3\.51\.1.*pip install"):
        Store.open(url)
    assert not raw(url).exists()


def test_pythons_own_library_is_taken_where_it_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, a fixed SQLite of the system will do."""
    monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", None)
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.50.7")
    assert sqlite.module() is sqlite3


async def test_every_setting_is_in_force(store: Store) -> None:
    """The writer's connection answers each PRAGMA as we want it; synchronous is FULL and the journal is a WAL."""

    def ask(connection: Connection) -> dict[str, str]:
        return {
            name: str(connection.exec_driver_sql(f"PRAGMA {name}").scalar()).lower() for name, _, _ in sqlite.PRAGMAS
        }

    assert await store.submit(ask) == {name: expected for name, _, expected in sqlite.PRAGMAS}


def test_a_setting_that_does_not_stick_is_refused() -> None:
    """SQLite raises nothing when it stays out of WAL mode, as a database in memory does; we do."""
    connection = sqlite.module().connect(":memory:")
    with pytest.raises(StoreError, match=r"journal_mode=WAL.*says memory"):
        sqlite.prepare(connection)


def test_a_reader_cannot_write(url: str) -> None:
    """Reading connections refuse to change anything, whatever is asked of them."""
    store = Store.open(url)
    with pytest.raises(StoreError, match="READONLY"):
        store.read_now(lambda c: c.execute(text("INSERT INTO meta VALUES ('a', 'b')")))
    store.close_now()


async def test_a_read_sees_one_moment(store: Store) -> None:
    """What is committed between two statements of a read is not seen by the second one."""
    begun, done = threading.Event(), threading.Event()

    def job(connection: Connection) -> tuple[int, int]:
        before = count(connection, "transmission")
        begun.set()
        assert done.wait(5)
        return before, count(connection, "transmission")

    reading = asyncio.create_task(store.read(job))
    await asyncio.to_thread(begun.wait, 5)
    await store.submit(append)
    done.set()
    assert await reading == (0, 0)
    assert await store.read(lambda c: count(c, "transmission")) == 1


def test_only_our_user_may_read_the_files(url: str) -> None:
    """Database, WAL and lock hold patients' data: mode 0600, in a folder of 0700."""
    store = Store.open(url)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in raw(url).parent.iterdir()}
    assert {"labgateway.db", LOCK_NAME} <= set(files)
    assert set(files.values()) == {0o600}
    assert stat.S_IMODE(raw(url).parent.stat().st_mode) == 0o700
    store.close_now()


# --- one gateway ---


def test_a_second_gateway_is_refused_and_told_who_is_there(url: str) -> None:
    """Another process on the same data: refused, naming our process id; after we close it may."""
    code = f"from labgateway.store.engine import Store; s = Store.open({url!r}); print('open'); s.close_now()"

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    store = Store.open(url)
    refused = other()
    assert refused.returncode == 1
    assert re.search(rf"StoreError: Another gateway \(process {os.getpid()}\)", refused.stderr)
    store.close_now()
    assert other().stdout == "open\n"


async def test_readers_beside_a_running_gateway(url: str) -> None:
    """The command line reads what is committed while the gateway has the store open, and takes no lock."""
    store = Store.open(url)
    await store.submit(append)
    beside = Store.open(url, readonly=True)
    assert beside.read_now(lambda c: count(c, "transmission")) == 1
    await store.submit(append)
    assert beside.read_now(lambda c: count(c, "transmission")) == 2
    with pytest.raises(StoreError, match="reading only"):
        beside.submit(append)
    beside.close_now()
    await store.close()


async def test_readers_without_a_gateway(url: str) -> None:
    """After a clean end the command line still reads, and makes no gateway believe that somebody is there."""
    store = Store.open(url)
    await store.submit(append)
    await store.close()
    alone = Store.open(url, readonly=True)
    assert alone.read_now(lambda c: count(c, "transmission")) == 1
    again = Store.open(url)
    again.close_now()
    alone.close_now()


def test_readers_where_nothing_is(url: str, tmp_path: Path) -> None:
    """No store yet: said so, and none is made."""
    with pytest.raises(StoreError, match="no store yet"):
        Store.open(url, readonly=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_is_no_database(url: str, readonly: bool) -> None:
    """Refused with words, not overwritten; the lock is free again."""
    path = raw(url)
    path.parent.mkdir()
    path.write_bytes(b"this is a letter, not a database\n" * 100)
    for _ in range(2):
        with pytest.raises(StoreError, match="damaged or no database of ours"):
            Store.open(url, readonly=readonly)
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """A data folder that cannot be made is refused with words."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be opened: (Not a directory|File exists)"):
        Store.open(f"sqlite:///{tmp_path}/file/data/labgateway.db")


def test_a_url_without_a_file() -> None:
    """In memory nothing would survive: refused."""
    with pytest.raises(StoreError, match="names no file"):
        Store.open("sqlite://")


def test_a_server_that_is_not_there() -> None:
    """A database server that does not answer is refused with the cure, without the password."""
    with pytest.raises(StoreError, match=r"Check \[store\] url") as caught:
        Store.open("postgresql+psycopg://lab@127.0.0.1:1/lab?connect_timeout=2", password="secret")
    assert "secret" not in str(caught.value)


# --- the schema ---


def test_the_revisions_make_what_the_tables_say(url: str) -> None:
    """Alembic finds no difference between a migrated database and tables.py, and its head is ours."""
    store = Store.open(url)
    assert store.read_now(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []
    assert store.read_now(migrate.current) == migrate.REVISION
    assert ScriptDirectory.from_config(migrate.configuration()).get_current_head() == migrate.REVISION

    def comments(connection: Connection) -> dict[str, str]:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type = 'index'"))
        return {row.name: row.sql for row in rows}

    found = store.read_now(comments)
    for table in metadata.tables.values():
        for index in table.indexes:
            where = index.dialect_options["sqlite"]["where"]
            assert (f"WHERE {where}" if where is not None else ")") in found[str(index.name)]
    store.close_now()


def restore(url: str, script: Path) -> None:
    """Make a database from one of the released schemas."""
    path = raw(url)
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript(script.read_text(encoding="utf-8"))
    connection.close()


@pytest.mark.parametrize("script", sorted(DATABASES.glob("v*.sql")), ids=lambda path: path.stem)
async def test_every_released_schema_is_brought_up_to_date(url: str, script: Path) -> None:
    """A database of each release opens, keeps its rows, and takes new ones."""
    restore(url, script)
    store = Store.open(url)
    assert store.read_now(migrate.current) == migrate.REVISION
    assert store.read_now(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []
    message = store.read_now(lambda c: journal.get(c, 1))
    assert message is not None and message.raw == b"\x021H|\\^&\r\x03E5\r\n" and message.instrument == "xn1"
    assert store.read_now(lambda c: journal.unprocessed(c, 10)) == [2]
    assert await store.submit(append) == 3
    await store.close()


def test_a_newer_schema_is_refused(url: str) -> None:
    """Made by a newer version: refused for writing and for reading, and left as it is."""
    store = Store.open(url)
    store.close_now()
    connection = sqlite3.connect(raw(url))
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"newer version.*9999"):
        Store.open(url)
    with pytest.raises(StoreError, match=r"another version.*9999"):
        Store.open(url, readonly=True)


def test_a_reader_does_not_guess_an_older_schema(url: str) -> None:
    """An empty database beside a reader is of another version, not an empty store."""
    raw(url).parent.mkdir()
    sqlite3.connect(raw(url)).execute("PRAGMA user_version = 1").connection.close()
    with pytest.raises(StoreError, match="of another version"):
        Store.open(url, readonly=True)


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A version of the program with one more revision, whose script may be written over."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    script = folder / "versions" / "9999_more.py"
    script.write_text(
        f'import sqlalchemy as sa\nfrom alembic import op\n\nrevision = "9999"\ndown_revision = "{migrate.REVISION}"\n\n\n'
        'def upgrade() -> None:\n    op.add_column("meta", sa.Column("more", sa.Text()))\n'
    )
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "REVISION", "9999")
    return script


async def test_before_a_migration_there_is_a_backup(
    url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The old database is copied whole, readable by the old version and by nobody else; then it is changed."""
    was = migrate.REVISION
    store = Store.open(url)
    await store.submit(append)
    await store.close()
    request.getfixturevalue("next_version")
    newer = Store.open(url)
    assert newer.read_now(lambda c: c.execute(text("SELECT count(more) FROM meta")).scalar()) == 0
    newer.close_now()
    (backup,) = raw(url).parent.glob(f"*.before-9999.from-{was}.db")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    monkeypatch.undo()
    old = Store.open(f"sqlite:///{backup}", readonly=True)
    assert old.read_now(lambda c: count(c, "transmission")) == 1
    old.close_now()


async def test_a_migration_that_fails_changes_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Half a step is no step: the old version opens the database as if nothing had been tried."""
    store = Store.open(url)
    await store.submit(append)
    await store.close()
    script: Path = request.getfixturevalue("next_version")
    script.write_text(
        script.read_text() + '    op.execute("DELETE FROM transmission")\n    op.execute("SELECT nonsense")\n'
    )
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(url)
    monkeypatch.undo()
    old = Store.open(url)
    assert old.read_now(migrate.current) == migrate.REVISION
    assert old.read_now(lambda c: count(c, "transmission")) == 1
    old.close_now()
