"""What another mapping file would make of stored messages. Reads only; nothing is decided, kept or sent.

Each result is judged twice, with the mapping in use and with the other one, as if it came for the first time: by the
driver and the orders as they are now, alone on its specimen, so that the mapping is the only difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from labgateway.errors import Problem
from labgateway.instruments.spec import Driver
from labgateway.mapping.table import Mapping
from labgateway.model import Kind, Order, Result
from labgateway.pipeline.decide import Case, Verdict, decide
from labgateway.pipeline.reading import read
from labgateway.pipeline.rules import InstrumentRules, Rules, extended
from labgateway.store import journal, orders


@dataclass(frozen=True, slots=True)
class Change:
    """A result of which the two mappings make something else."""

    message: int
    received_at: datetime
    result: Result
    before: Verdict
    after: Verdict


@dataclass(frozen=True, slots=True)
class Tried:
    """One message. results: how many patients' results it holds. problem: why it says nothing, None when it was read."""

    message: int
    results: int
    changes: tuple[Change, ...]
    problem: Problem | None = None


def tried(
    connection: Connection,
    numbers: list[int],
    name: str,
    instrument: InstrumentRules,
    other: Mapping,
    rules: Rules,
    now: datetime,
) -> Iterator[Tried]:
    """Each stored message with what would change. name: the instrument's. other: settled with its driver. now: UTC."""
    mended = replace(instrument, mapping=other)
    if isinstance(instrument.driver, Driver):
        mended = replace(mended, driver=extended(instrument.driver, other))
    known: dict[str, list[Order]] = {}
    for number in numbers:
        message = journal.get(connection, number)
        if message is None:
            continue
        decoded = read(message.raw, instrument, rules)
        again = read(message.raw, mended, rules) if mended.driver is not instrument.driver else decoded
        if decoded.problem is not None:
            yield Tried(number, 0, (), decoded.problem)
            continue
        said = [result for result in decoded.results if result.kind is Kind.PATIENT]
        heard = {result.where: result for result in again.results}
        changes: list[Change] = []
        for result in said:
            specimen = result.specimen or ""
            if specimen and specimen not in known:
                known[specimen] = orders.for_specimen(connection, specimen)
            before, after = (
                decide(
                    Case(
                        result=result if each is instrument else heard.get(result.where, result),
                        instrument=name,
                        mapping=each.mapping,
                        orders=known.get(specimen, []),
                        priors={},
                        policy=each.policy or rules.policy,
                        received_at=message.received_at,
                        now=now,
                        manual=each.manual,
                    )
                )
                for each in (instrument, mended)
            )
            if before != after:
                changes.append(Change(number, message.received_at, result, before, after))
        yield Tried(number, len(said), tuple(changes))
