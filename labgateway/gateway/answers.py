"""Instruments that ask for their work are answered: the query is on disk, its answer goes out on the same connection.

    kept ── a query? ── questions ── read the orders ── letter ── Line ── took it
                            │                                      └── did not: read the orders again, send again
                            └── taken back: what waits for the line is withdrawn

HL7: the line does not acknowledge what ``asks`` calls a query, so each gets its reply here: orders, none, or an error.
Raw framings: the line acknowledges it, and says nothing more; the text that answers it comes from here.

An answer is never kept: an instrument that got none asks again. What changes in the EMR while an answer waits for the
line changes the answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from labgateway.errors import Problem, StoreError
from labgateway.gateway import letters
from labgateway.gateway.downloads import note_works
from labgateway.instruments.encode import NotSendableError
from labgateway.instruments.queries import Question, questions
from labgateway.instruments.spec import Driver
from labgateway.line.arrival import Arrival, Refused
from labgateway.line.line import Line
from labgateway.pipeline.asked import Answer, answer
from labgateway.pipeline.rules import Rules
from labgateway.store.engine import Store
from labgateway.transports.channel import Say

TRIES = 3
"""How often an answer is offered; each try is six frames or enquiries by itself."""
PATIENCE = timedelta(seconds=60)
"""An answer that is older helps nobody: the tube has gone on, or the instrument has asked again."""
_SHORT = 4096
_QUERY = re.compile(rb"(?:\A|[\r\n]|\x02[0-7]?)Q(?:PD|RD)?[!-/:-@\[-`{-~]")
"""A Q record behind a record's end or at the start of a frame, or a QPD or QRD; longer messages without one are no query."""

_NO_QUERY = frozenset({b"ORU", b"OUL", b"ORL", b"ACK"})
"""MSH-9 of HL7 that is known by its header to be no query: results, and answers to what we sent."""


@dataclass(slots=True, eq=False)
class _Asked:
    """One message of questions that waits for its answer, or for the line."""

    instrument: str
    conversation: int
    message: int
    query: bytes
    questions: tuple[Question, ...]
    at: datetime
    read_at: datetime
    specimens: frozenset[str] = frozenset()
    tries: int = 0
    again: bool = False
    """Withdrawn only to be answered anew."""
    over: bool = False


@dataclass(slots=True)
class Answers:
    """Answers the queries of all lines. spawn: starts a task. rules, lines: those of now."""

    store: Store
    rules: Callable[[], Rules]
    lines: Mapping[str, Line]
    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
    say: Say
    utcnow: Callable[[], datetime]
    _open: list[_Asked] = field(default_factory=list[_Asked])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def asks(self, name: str, data: bytes) -> bool:
        """Whether this message of the instrument will be answered here."""
        return bool(self._found(name, data))

    def kept(self, name: str, arrival: Arrival, number: int) -> None:
        """A message of this instrument is on disk under its number."""
        found = self._found(name, arrival.data)
        if not found:
            return
        for question in found:
            if question.taken_back:
                self._take_back(name, arrival.conversation, frozenset(question.specimens))
        wanted = tuple(question for question in found if not question.taken_back)
        specimens = frozenset(s for question in wanted for s in question.specimens)
        if specimens:
            self._take_back(name, arrival.conversation, specimens, whole=True)
        now = self.utcnow()
        asked = _Asked(name, arrival.conversation, number, arrival.data, wanted, now, now, specimens)
        if wanted:
            self._open.append(asked)
            self._begin(asked)
        else:
            self._reply(asked, letters.acceptance)

    def _found(self, name: str, data: bytes) -> tuple[Question, ...]:
        instrument = self.rules().instruments.get(name)
        if instrument is None or instrument.orders == "off" or isinstance(instrument.driver, Problem):
            return ()
        if _kind(data) in _NO_QUERY:
            return ()
        if len(data) > _SHORT and not _QUERY.search(data):
            return ()
        return questions(instrument.driver, data)

    def changed(self, specimens: Iterable[str]) -> None:
        """Orders of these specimens came, changed or were cancelled: what still waits for the line is answered anew."""
        touched = frozenset(specimens)
        for asked in list(self._open):
            if asked.tries and touched & asked.specimens:
                asked.again = True
                self._withdraw(asked)
                asked.again = False

    async def stop(self) -> None:
        """Answer nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take_back(self, name: str, conversation: int, specimens: frozenset[str], *, whole: bool = False) -> None:
        """Give up the answers about these specimens, about all of them where none is named.

        whole: only answers that say nothing else.
        """
        for asked in list(self._open):
            if (asked.instrument, asked.conversation) != (name, conversation):
                continue
            if not specimens or (
                asked.specimens <= specimens and asked.specimens if whole else asked.specimens & specimens
            ):
                asked.over = True
                self._withdraw(asked)

    def _withdraw(self, asked: _Asked) -> None:
        if line := self.lines.get(asked.instrument):
            line.withdraw(lambda tag: tag is asked)

    def _begin(self, asked: _Asked) -> None:
        task = self.spawn(self._answer(asked), f"answer {asked.instrument}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: _Asked) -> None:
        rules = self.rules()
        instrument = rules.instruments.get(asked.instrument)
        if instrument is None or isinstance(instrument.driver, Problem):
            self._done(asked)
            return
        asked.read_at = self.utcnow()
        try:
            job = partial(
                answer,
                asked_for=asked.questions,
                name=asked.instrument,
                instrument=instrument,
                rules=rules,
                now=asked.at,
            )
            told = await self.store.read(job)
        except StoreError as error:
            self.say("query_not_answered", level="error", instrument=asked.instrument, error=type(error).__name__)
            self._reply(asked, letters.refusal)
            return
        if asked.over:
            self._done(asked)
            return
        asked.specimens |= {work.specimen for work in told.works}
        now = self.utcnow().astimezone(rules.timezone)
        try:
            letter = letters.answer(instrument.driver, told.works, asked.query, now, again=asked.tries > 0)
        except (NotSendableError, ValueError) as error:
            self.say("query_not_answered", level="error", instrument=asked.instrument, why=str(error))
            self._reply(asked, letters.unsayable)
            return
        asked.tries += 1
        line = self.lines.get(asked.instrument)
        if line is None:
            self._done(asked)
            return
        letter(line, lambda why: self._went(asked, told, why), asked.conversation, asked)

    def _reply(self, asked: _Asked, make: Callable[[Driver, bytes, datetime], letters.Letter | None]) -> None:
        """A reply without orders, where the protocol wants one; only if nothing was said yet."""
        self._done(asked)
        rules = self.rules()
        instrument, line = rules.instruments.get(asked.instrument), self.lines.get(asked.instrument)
        if instrument is None or isinstance(instrument.driver, Problem) or line is None or asked.tries:
            return
        try:
            letter = make(instrument.driver, asked.query, self.utcnow().astimezone(rules.timezone))
        except ValueError as error:
            self.say("query_not_answered", level="error", instrument=asked.instrument, why=str(error))
            return
        if letter:
            letter(line, lambda _: None, asked.conversation, asked)

    def _went(self, asked: _Asked, told: Answer, why: str) -> None:
        """How an answer went."""
        if isinstance(why, Refused):
            # The message that said so is parked with its reason.
            self.say("order_refused", level="warning", instrument=asked.instrument, message=asked.message, why=str(why))
        if not why or isinstance(why, Refused):
            self.say(
                "query_answered", instrument=asked.instrument, message=asked.message, count=told.count,
                seconds=round((self.utcnow() - asked.at).total_seconds(), 3),
            )  # fmt: skip
            self._done(asked)
            instrument = self.rules().instruments.get(asked.instrument)
            if instrument is not None and instrument.orders == "unasked":
                self.store.submit_call(note_works(asked.instrument, told.works, asked.read_at), _nothing)
        elif asked.over:
            self.say("query_taken_back", instrument=asked.instrument, message=asked.message)
            self._done(asked)
        elif asked.again:
            self._begin(asked)
        elif asked.tries >= TRIES or self.utcnow() - asked.at > PATIENCE or not self._is_there(asked):
            self.say("query_not_answered", level="warning", instrument=asked.instrument, message=asked.message, why=why)
            self._done(asked)
        else:
            self._begin(asked)

    def _is_there(self, asked: _Asked) -> bool:
        line = self.lines.get(asked.instrument)
        return line is not None and line.has(asked.conversation)

    def _done(self, asked: _Asked) -> None:
        if asked in self._open:
            self._open.remove(asked)


def _kind(data: bytes) -> bytes:
    """The first three letters of MSH-9; empty where the message does not begin with MSH."""
    fields = data[:_SHORT].split(data[3:4], 9) if data[:3] == b"MSH" and len(data) > 3 else []
    return fields[8][:3] if len(fields) > 8 else b""


def _nothing(value: object, error: BaseException | None) -> None:
    """What it was told is noted only to send less; the store says its own troubles."""
