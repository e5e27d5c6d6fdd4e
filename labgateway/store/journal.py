"""Raw messages: kept before they are acknowledged, and the truth behind everything else.

stored ──> processed
   └─────> parked (reason) ──replay──> stored
incomplete                  what a broken session left; delivers nothing
superseded                  parts whose whole came; an incomplete message whose full repeat came
dismissed                   a person has seen it and let it go
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, text, update

from labgateway.errors import Problem, Reason, StoreError
from labgateway.store.rows import Insert, Statement
from labgateway.store.tables import from_us, to_us, transmission

_APPEND = Insert(
    transmission,
    "instrument", "protocol", "peer", "part_key", "received_at", "raw", "sha256", "size", "state", "reason", "detail",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transmission:
    """One row of the journal. raw is checked against its hash when it is read."""

    id: int
    instrument: str
    protocol: str
    peer: str
    received_at: datetime
    raw: bytes
    state: str
    problem: Problem | None
    driver: str | None
    config_version: str | None
    mapping_version: str | None
    sha256: str


def append(
    connection: Connection,
    *,
    instrument: str,
    protocol: str,
    peer: str,
    received_at: datetime,
    raw: bytes,
    complete: bool = True,
    why: str = "",
    part_key: str | None = None,
) -> int:
    """Keep one message; returns its number. It counts as stored when the transaction has committed.

    complete=False: what a broken session left; why says how it broke. part_key: replaces the parts
    that came under this key before.
    """
    if part_key is not None:
        connection.execute(
            update(transmission)
            .where(transmission.c.part_key == part_key, transmission.c.state == "incomplete")
            .values(state="superseded")
        )
    return _APPEND.one(
        connection,
        (
            instrument, protocol, peer, part_key, to_us(received_at), raw, hashlib.sha256(raw).hexdigest(), len(raw),
            "stored" if complete else "incomplete", None if complete else Reason.INCOMPLETE.name, why,
        ),
    )  # fmt: skip


def once_key(instrument: str, raw: bytes) -> str:
    """The part_key under which a message is kept that must not be kept twice: it says whose, and which bytes."""
    return "once." + hashlib.sha256(instrument.encode() + b"\0" + raw).hexdigest()[:59]


def is_kept(connection: Connection, key: str) -> bool:
    """Whether a whole message is kept under this part_key."""
    found = select(transmission.c.id).where(
        transmission.c.part_key == key, transmission.c.state.not_in(("incomplete", "superseded"))
    )
    return connection.execute(found.limit(1)).first() is not None


def append_part(
    connection: Connection,
    *,
    instrument: str,
    protocol: str,
    peer: str,
    received_at: datetime,
    raw: bytes,
    part_key: str,
) -> int:
    """Keep one part of a message that is not whole yet: it is incomplete until its whole comes under the same key."""
    row = connection.execute(
        select(transmission.c.id, transmission.c.raw).where(
            transmission.c.part_key == part_key, transmission.c.state == "incomplete"
        )
    ).first()
    if row is None:
        return append(
            connection, instrument=instrument, protocol=protocol, peer=peer, received_at=received_at, raw=raw,
            complete=False, why="not ended yet", part_key=part_key,
        )  # fmt: skip
    whole = bytes(row.raw) + raw
    connection.execute(
        update(transmission)
        .where(transmission.c.id == row.id)
        .values(raw=whole, size=len(whole), sha256=hashlib.sha256(whole).hexdigest())
    )
    return int(row.id)


_GET = Statement(
    "SELECT id, instrument, protocol, peer, received_at, raw, sha256, state, reason, detail, driver, config_version, "
    "mapping_version FROM transmission WHERE id = :number"
)


def get(connection: Connection, number: int) -> Transmission | None:
    """One message. Raises StoreError when its bytes are not those that were stored (a fault of the disk)."""
    for row in _GET.rows(connection, number=number):
        found, instrument, protocol, peer, received_at, raw, sha256, state, reason, detail, driver, config, mapping = (
            row
        )
        raw = bytes(raw)
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise StoreError(
                f"message {found} is damaged on disk (its hash differs); restore it from a backup, or send it again"
            )
        return Transmission(
            found, instrument, protocol, peer, from_us(received_at), raw, state, problem_of(reason, detail), driver,
            config, mapping, sha256,
        )  # fmt: skip
    return None


def problem_of(reason: str | None, detail: str) -> Problem | None:
    """The Problem behind a stored reason; an unknown one (from a newer version) is a DEFECT that names it."""
    if reason is None:
        return None
    try:
        return Problem(Reason[reason], detail)
    except KeyError:
        return Problem(Reason.DEFECT, f"{reason} {detail}".strip())


def unprocessed(connection: Connection, limit: int, instruments: Collection[str] | None = None) -> Sequence[int]:
    """Numbers of messages that wait to be processed, oldest first; of these instruments only, None: of all."""
    rows = connection.execute(
        text("SELECT id, instrument FROM transmission WHERE state = 'stored' ORDER BY id LIMIT :n"), {"n": limit}
    )
    return [int(number) for number, instrument in rows if instruments is None or instrument in instruments]


def first_since(connection: Connection, moment: datetime) -> int:
    """The number of the first message received at that moment or later; above all numbers when there is none.

    Found by halving: numbers are given in the order of receipt. A clock that was set back blurs it by as much.
    """
    low, high = 1, int(connection.execute(text("SELECT coalesce(max(id), 0) FROM transmission")).scalar_one()) + 1
    wanted = to_us(moment)
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_FROM, {"n": middle}).first()
        if row is None or row.received_at >= wanted:
            high = middle
        else:
            low = int(row.id) + 1
    return low


_FROM = text("SELECT id, received_at FROM transmission WHERE id >= :n ORDER BY id LIMIT 1")


_OF_INSTRUMENT = Statement(
    "SELECT id FROM transmission WHERE id >= :first AND instrument = :instrument AND state IN "
    "('stored', 'processed', 'parked', 'dismissed') ORDER BY id"
)


def whole_since(connection: Connection, instrument: str, moment: datetime) -> list[int]:
    """Numbers of an instrument's whole messages received at that moment or later, oldest first."""
    first = first_since(connection, moment)
    return [int(row[0]) for row in _OF_INSTRUMENT.rows(connection, first=first, instrument=instrument)]


_FINISH = Statement(
    "UPDATE transmission SET state = :state, reason = :reason, detail = :detail, driver = :driver, "
    "config_version = :config, mapping_version = :mapping, processed_at = :now WHERE id = :number"
)


def finish(
    connection: Connection,
    number: int,
    *,
    now: datetime,
    driver: str | None,
    config_version: str,
    mapping_version: str | None,
    problem: Problem | None = None,
) -> None:
    """The message is processed, or parked with its problem."""
    _FINISH.run(
        connection,
        number=number,
        state="processed" if problem is None else "parked",
        reason=None if problem is None else problem.reason.name,
        detail="" if problem is None else problem.detail,
        driver=driver,
        config=config_version,
        mapping=mapping_version,
        now=to_us(now),
    )


_PARKED = Statement(
    "SELECT id FROM transmission WHERE state = 'parked' AND instrument = :instrument AND reason = :reason "
    "AND detail = :detail LIMIT 1"
)


def is_parked(connection: Connection, instrument: str, problem: Problem) -> bool:
    """Whether a message of this instrument waits for a person for exactly this problem."""
    return bool(_PARKED.rows(connection, instrument=instrument, reason=problem.reason.name, detail=problem.detail))


def reopen(connection: Connection, number: int) -> bool:
    """Let a message be processed again; False when there is none, or it is incomplete."""
    done = connection.execute(
        update(transmission)
        .where(transmission.c.id == number, transmission.c.state.in_(("parked", "processed")))
        .values(state="stored", reason=None, detail="")
    )
    return done.rowcount == 1


def dismiss(connection: Connection, number: int) -> bool:
    """A person lets a parked or incomplete message go; its bytes stay."""
    done = connection.execute(
        update(transmission)
        .where(transmission.c.id == number, transmission.c.state.in_(("parked", "incomplete")))
        .values(state="dismissed")
    )
    return done.rowcount == 1


_EDGE_BEFORE = rb"(?<![^|^~&\\ \t\r\n\x02])"
_EDGE_AFTER = rb"(?![^|^~&\\ \t\r\n\x03\x17])"
"""What may stand beside an id: a delimiter, a blank, the end of a frame or of the text."""


_INCOMPLETE = Statement(
    "SELECT id, raw, received_at FROM transmission WHERE state = 'incomplete' AND instrument = :instrument "
    "AND received_at >= :since"
)


def supersede_incomplete(
    connection: Connection,
    instrument: str,
    specimens: Sequence[str],
    since: datetime,
    has_come: Callable[[bytes, datetime], bool] = lambda raw, at: True,
) -> int:
    """An instrument's full repeat has come: what its broken sessions left since then needs nobody any more.

    A fragment is taken as repeated only when it names one of the specimens that have now come whole, as a field or
    component of its own: a part of a longer id is another specimen. has_come: whether all that is in a fragment,
    received at that time, has come whole since.
    """
    rows = _INCOMPLETE.rows(connection, instrument=instrument, since=to_us(since))
    names = [re.escape(specimen.encode("utf-8", "replace")) for specimen in specimens if len(specimen) > 2]
    if not names or not rows:
        return 0
    named = re.compile(_EDGE_BEFORE + b"(?:" + b"|".join(names) + b")" + _EDGE_AFTER)
    done = [int(number) for number, raw, at in rows if named.search(bytes(raw)) and has_come(bytes(raw), from_us(at))]
    if done:
        connection.execute(update(transmission).where(transmission.c.id.in_(done)).values(state="superseded"))
    return len(done)
