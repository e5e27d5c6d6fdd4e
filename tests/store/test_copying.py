"""A store copied into an empty one: the same rows, proven; then it goes on with numbers of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from labgateway.errors import Problem, Reason, StoreError
from labgateway.model import ObservationState
from labgateway.store import audit, copying, journal, orders, outbox
from labgateway.store.engine import Store
from tests.postgresql import schema
from tests.store.kit import NOW, append, observe, order


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty store."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new/labgateway.db"
        return
    with schema() as address:
        yield address


def fill(connection: Connection) -> None:
    """Something in every table that a day fills."""
    for n in range(copying.BATCH + 3):
        append(connection, b"H|\\^&\rR|1|^^^^WBC|%d\r\x00\xff" % n)
    observe(connection, "O1", ObservationState.RELEASED)
    observe(connection, "O2", ObservationState.HELD, Problem(Reason.NOT_SANE, "Số lượng"))
    orders.put(connection, order(received_at=NOW), NOW)
    outbox.add(
        connection, destination="emr", lane="S1", control_id="C1", body=b"MSH|1", observation_ids=["O1"], now=NOW
    )
    audit.add(connection, at=NOW, who="Nguyễn Thị Hoa", action="release", subject="observation O1", because="tube")


def silent(_: str, __: int, ___: int) -> None:
    """Nobody watches."""


def prints(store: Store) -> list[copying.Fingerprint]:
    """Of all tables."""
    return store.read_now(lambda c: copying.fingerprints(c, silent))


async def test_a_store_moves(url: str, target: str) -> None:
    """Counts and fingerprints are equal, every raw message is whole, and new rows get new numbers."""
    old, new = Store.open(url), Store.open(target)
    await old.submit(fill)
    await new.submit(lambda there: old.read_now(lambda here: copying.copy_rows(here, there, silent)))
    assert prints(old) == prints(new)
    assert {p.table: p.rows for p in prints(new)}["transmission"] == copying.BATCH + 5
    last = await old.submit(append)
    assert await new.submit(append) == last
    message = new.read_now(lambda c: journal.get(c, 1))
    assert message is not None and message.raw.endswith(b"\x00\xff")
    assert prints(old)[0].rows == prints(new)[0].rows
    await old.close()
    await new.close()


async def test_a_difference_is_seen(url: str, target: str) -> None:
    """One changed digit of one value, with all counts equal."""
    old, new = Store.open(url), Store.open(target)
    await old.submit(fill)
    await new.submit(lambda there: old.read_now(lambda here: copying.copy_rows(here, there, silent)))
    await new.submit(lambda c: c.execute(text("UPDATE observation SET value = '8.12' WHERE id = 'O1'")))
    different = [a.table for a, b in zip(prints(old), prints(new), strict=True) if a != b]
    assert different == ["observation"]
    await old.close()
    await new.close()


async def test_only_into_an_empty_store(url: str, target: str) -> None:
    """A target with rows is refused and stays as it is."""
    old, new = Store.open(url), Store.open(target)
    await old.submit(fill)
    await new.submit(append)
    before = prints(new)
    with pytest.raises(StoreError, match="transmission already holds rows"):
        await new.submit(lambda there: old.read_now(lambda here: copying.copy_rows(here, there, silent)))
    assert prints(new) == before
    await old.close()
    await new.close()


def labgateway(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The command, on a config in this folder."""
    config = folder / "config.toml"
    config.write_text('[gateway]\nname = "G"\nfacility = "F"\n', encoding="utf-8")
    command = [sys.executable, "-m", "labgateway", "store", "copy", "--config", str(config), *args]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


async def test_the_command(tmp_path: Path, target: str) -> None:
    """From outside: refused while a gateway has the store, refused with a password in sight, else done and said."""
    store = Store.open(f"sqlite:///{tmp_path}/data/labgateway.db")
    await store.submit(fill)
    busy = labgateway(tmp_path, "--to", target)
    assert busy.returncode == 1 and "Another gateway" in busy.stderr
    await store.close()
    open_secret = labgateway(tmp_path, "--to", "postgresql+psycopg://u:secret@127.0.0.1/x")
    assert (
        open_secret.returncode == 1 and "--password-file" in open_secret.stderr and "secret" not in open_secret.stderr
    )
    done = labgateway(tmp_path, "--to", target, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["equal"] is True and {t["table"] for t in said["tables"]} >= {"transmission", "delivery", "audit"}
    again = labgateway(tmp_path, "--to", target)
    assert again.returncode == 1 and "already holds rows" in again.stderr
