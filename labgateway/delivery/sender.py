"""Brings one destination what is owed to it: in order per lane, for ever, one answer at a time.

    store --ready--> queue --send--> destination
                       ^                |
                       | after a wait   v
                       +--- retry --- outcome --- settle | park --> store, then the lane goes on

A lane is one specimen. A lane has at most one delivery in hand, from the moment it is read until its
settlement is committed; so a correction never overtakes what it corrects. Other lanes go on meanwhile.

    Accepted     settled
    Refused      parked: the lane stands still for a person; or, where time may cure it, tried
                 ``Schedule.refusals`` times with growing waits, then parked
    Silent       the lane waits and is tried again, for ever; it may have arrived, so the same bytes go again
    Unreachable  nobody's fault: it stays first in the queue, for ever

Behind a backlog (more waits than is kept in memory) every second send takes the newest of the lanes that may go, the
others the oldest: results of today do not wait for those of last week, and those all get their turn.

After Silent or Unreachable the destination is *away*: one delivery after the other probes it, with growing
waits, each time of another lane where there is one (a message on which the destination chokes must not keep
the others back), until it answers anything at all.

Not here: what the bytes mean, sockets (the destination's), SQL (the store's), who may press Retry.
Time is the running loop's, which a test may simulate; the wall clock only dates the health report.
"""

from __future__ import annotations

import asyncio
import random as _random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.delivery.ports import Delivery, Destination, Done, Health, Outbox, State
from labgateway.delivery.schedule import AS_DESIGNED, OF_THE_STORE, Schedule
from labgateway.delivery.standing import Seldom, Standing, mute, nothing
from labgateway.errors import StoreError

_FETCH_PAUSE_S = 0.005  # several arrivals share one read of the store
_IN_HAND = 1024  # lanes read and not finished, most of them waiting for their next try
_GRACE_S = 0.5  # at the end: for answers that are on their way
_LAST_COMMITS_S = 0.3


@dataclass(slots=True)
class _Item:
    delivery: Delivery
    refusals: int
    silences: int = 0


class Sender:
    """Delivers to one destination until cancelled. ``wake`` it when new deliveries were committed."""

    def __init__(
        self,
        name: str,
        destination: Destination,
        outbox: Outbox,
        *,
        shadow: bool = False,
        window: int = 64,
        gap_s: float = 0.0,
        schedule: Schedule = AS_DESIGNED,
        say: Callable[..., None] = mute,
        random: Callable[[], float] = _random.random,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Starts nothing; ``run`` does.

        window: deliveries kept in memory ready to send. gap_s: least time between two sends, for
        destinations that choke on more. say: a log line, ids only.
        """
        self.name = name
        self._destination = destination
        self._outbox = outbox
        self._shadow = shadow
        self._window = window
        self._gap_s = gap_s
        self._schedule = schedule
        self._say = say
        self._random = random

        self._queue: deque[_Item] = deque()
        self._fresh: deque[_Item] = deque()  # behind a backlog: what came last, newest first
        self._few = max(1, window // 4)  # of those
        self._fresh_turn = False
        self._behind = False  # the store holds more than the window
        self._new = False  # something may have come since the newest were read
        self._in_hand: dict[int, _Item] = {}
        self._lanes: set[str] = set()
        self._flying: set[asyncio.Task[None]] = set()
        self._commits = 0  # settlements under way

        self._more = True  # the store may hold something that is not in hand
        self._fetching: asyncio.Task[None] | None = None
        self._freed: set[str] = set()  # lanes freed during a fetch, whose snapshot is older than that
        self._fetch_at = 0.0

        self._away = 0  # failed attempts since the last answer
        self._away_since = 0.0
        self._away_said = False
        self._probing = False
        self._probe_at = 0.0
        self._next_send_at = 0.0
        self._gap_timer: asyncio.TimerHandle | None = None

        self._standing = Standing(name, State.SHADOW if shadow else State.STARTING, utcnow)
        self._seldom = Seldom(name, say, self._time)

        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._end: asyncio.Future[None] | None = None

    # Outside

    async def run(self) -> None:
        """Deliver until cancelled; then end within a second. Raises only what is a defect of ours."""
        loop = self._loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        try:
            if not self._shadow:
                self._refill()
            await self._end
        finally:
            await self._stop()

    def wake(self) -> None:
        """There are new deliveries, or a parked one was freed. Cheap; call it after the commit, in the loop."""
        self._more = self._new = True
        self._refill()

    def health(self) -> Health:
        """How it stands now."""
        return self._standing.health(in_hand=len(self._in_hand), attempts=self._away)

    # From the store

    def _refill(self) -> None:
        loop = self._running()
        if loop is None or self._shadow or self._fetching is not None or len(self._in_hand) >= _IN_HAND:
            return
        if not (self._wants_oldest() or self._wants_newest()):
            return
        now = loop.time()
        if now < self._fetch_at:
            # The pause is a fetch that has not begun yet: it keeps the place, so that no second one is planned.
            self._fetching = self._task(self._fetch(self._fetch_at - now))
        else:
            self._fetching = self._task(self._fetch(0.0))

    def _wants_oldest(self) -> bool:
        return self._more and len(self._queue) < max(1, self._window // 2)

    def _wants_newest(self) -> bool:
        return self._behind and self._new and not self._away and len(self._fresh) <= self._few // 2

    async def _fetch(self, pause_s: float) -> None:
        try:
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            self._freed.clear()
            if self._wants_oldest():
                self._more = False
                got = await self._outbox.ready(self._window, tuple(self._in_hand))
                taken = self._take(got, self._queue.append)
                self._behind = len(got) >= self._window
                self._more |= self._behind and taken > 0
                self._new |= self._behind
            if self._wants_newest():
                self._new = False
                got = await self._outbox.newest(self._few, tuple(self._in_hand))
                self._take(reversed(got), self._fresh.appendleft)
                self._new |= len(got) >= self._few
        except StoreError as error:
            self._more = True
            self._in_trouble(error)
            self._later(OF_THE_STORE.wait_s(1, self._random), self._refill)
            return
        finally:
            self._fetching = None
            self._fetch_at = asyncio.get_running_loop().time() + _FETCH_PAUSE_S
        self._standing.trouble = ""
        self._pump()
        self._refill()

    def _take(self, got: Iterable[Delivery], put: Callable[[_Item], None]) -> int:
        """Those whose lane is free are in hand from now on; how many."""
        before = len(self._in_hand)
        for delivery in got:
            if delivery.lane in self._lanes or delivery.lane in self._freed:
                continue  # its turn comes; whatever the store's query does, nothing here overtakes in its lane
            item = _Item(delivery, delivery.refusals)
            self._in_hand[delivery.id] = item
            self._lanes.add(delivery.lane)
            put(item)
        return len(self._in_hand) - before

    # To the destination

    def _pump(self) -> None:
        """Start every send that may start now."""
        loop = self._running()
        if loop is None:
            return
        while (self._queue or self._fresh) and len(self._flying) < max(1, self._destination.connections):
            now = loop.time()
            if self._away and (self._probing or now < self._probe_at):
                return
            if now < self._next_send_at:
                if self._gap_timer is None:
                    self._gap_timer = self._later(self._next_send_at - now, self._after_gap)
                return
            self._next_send_at = now + self._gap_s
            item = self._next()
            probe = self._away > 0
            self._probing = self._probing or probe
            task = self._task(self._send(item, probe))
            self._flying.add(task)
            task.add_done_callback(self._flying.discard)
        self._refill()

    def _next(self) -> _Item:
        """From both ends of the backlog in turn."""
        self._fresh_turn = not self._fresh_turn
        first, other = (self._fresh, self._queue) if self._fresh_turn else (self._queue, self._fresh)
        return (first or other).popleft()

    def _after_gap(self) -> None:
        self._gap_timer = None
        self._pump()

    async def _send(self, item: _Item, probe: bool) -> None:
        delivery = item.delivery
        try:
            outcome = await self._destination.send(delivery.body, delivery.control_id)
        except Exception as error:
            outcome = Silent(f"defect in the destination: {type(error).__name__}")
        task = asyncio.current_task()
        if task is not None:
            self._flying.discard(task)
        if probe:
            self._probing = False
        self._book(item, outcome, probe)
        self._pump()

    def _book(self, item: _Item, outcome: Outcome, probe: bool) -> None:
        """What an outcome means for the delivery, its lane and the destination."""
        match outcome:
            case Accepted(words):
                self._answered()
                self._standing.accepted += 1
                self._finish(item, words, self._outbox.settle)
            case Refused(words, may_retry):
                self._answered()
                self._standing.refused += 1
                item.refusals += 1
                if may_retry and item.refusals < self._schedule.refusals:
                    self._record(item, words, refused=True)
                    self._later(self._schedule.wait_s(item.refusals, self._random), lambda: self._again(item))
                else:
                    self._standing.parked += 1
                    self._seldom("delivery_parked", level="warning", delivery=item.delivery.id)
                    self._finish(item, words, self._outbox.park)
            case Silent(why, asked_s):
                item.silences += 1
                self._record(item, why, refused=False)
                wait_s = max(self._schedule.wait_s(item.silences, self._random), asked_s or 0.0)
                self._later(wait_s, lambda: self._again(item))
                self._gone(why, probe, asked_s)
            case Unreachable(why):
                self._queue.appendleft(item)
                self._gone(why, probe)

    def _record(self, item: _Item, words: str, *, refused: bool) -> None:
        """A failed attempt, for people to read and for the count of refusals; nothing waits for its commit."""
        try:
            self._outbox.retry(item.delivery, words, nothing, refused=refused)
        except StoreError:
            pass  # the try itself is not affected; the store tells its own troubles

    def _again(self, item: _Item) -> None:
        """Its wait is over. Behind the others: what went silent once must not be every probe."""
        self._queue.append(item)
        self._pump()

    def _finish(self, item: _Item, words: str, how: Callable[[Delivery, str, Done], None], failures: int = 0) -> None:
        """Book it in the store; only after the commit the lane is free. Never sends again what was answered."""
        self._commits += 1

        def done(error: BaseException | None) -> None:
            self._commits -= 1
            if error is None:
                self._finished(item)
            elif self._running() is not None:
                self._in_trouble(error)
                wait_s = OF_THE_STORE.wait_s(failures + 1, self._random)
                self._later(wait_s, lambda: self._finish(item, words, how, failures + 1))

        try:
            how(item.delivery, words, done)
        except StoreError as error:
            done(error)

    def _finished(self, item: _Item) -> None:
        delivery = item.delivery
        if self._in_hand.pop(delivery.id, None) is not None:
            self._lanes.discard(delivery.lane)
        if self._fetching is not None:
            self._freed.add(delivery.lane)
        self._more = True  # the next of this lane
        self._refill()

    # How the destination stands

    def _answered(self) -> None:
        self._standing.answered()
        if self._away:
            seconds = round(self._time() - self._away_since, 1)
            if self._away_said:
                self._say("destination_back", destination=self.name, seconds=seconds, attempt=self._away)
            self._away, self._away_said = 0, False

    def _gone(self, why: str, probe: bool, asked_s: float | None = None) -> None:
        if not self._away:
            self._away_since = self._time()
            self._standing.turn(State.AWAY, why)
        elif not probe:
            return  # several connections failed at once: one outage, counted once
        self._standing.why = why
        self._away += 1
        wait_s = max(self._schedule.wait_s(self._away, self._random), asked_s or 0.0)
        self._probe_at = self._time() + wait_s
        self._later(wait_s, self._pump)
        self._away_said |= self._seldom("destination_away", level="warning", why=why, attempt=self._away)

    def _in_trouble(self, error: BaseException) -> None:
        """The store cannot give or take: nothing is lost, but nothing leaves; someone must hear of it."""
        trouble = str(error) if isinstance(error, StoreError) else type(error).__name__
        self._standing.trouble = trouble
        self._seldom("deliveries_stand_still", level="error", why=trouble)

    # Tasks and timers

    def _running(self) -> asyncio.AbstractEventLoop | None:
        return self._loop if self._end is not None and not self._end.done() else None

    def _time(self) -> float:
        return self._loop.time() if self._loop else 0.0

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._look_at)
        return task

    def _look_at(self, task: asyncio.Task[None]) -> None:
        """A task that failed is a defect: ``run`` raises it."""
        if not task.cancelled() and (error := task.exception()) and self._end and not self._end.done():
            self._end.set_exception(error)

    def _later(self, wait_s: float, what: Callable[[], None]) -> asyncio.TimerHandle | None:
        loop = self._running()
        if loop is None:
            return None

        def fire() -> None:
            self._timers.discard(handle)
            what()

        handle = loop.call_later(wait_s, fire)
        self._timers.add(handle)
        return handle

    async def _stop(self) -> None:
        if self._end is not None and not self._end.done():
            self._end.cancel()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._fetching is not None:
            self._fetching.cancel()
        if self._flying:
            _, late = await asyncio.wait(tuple(self._flying), timeout=_GRACE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=0.1)
        await self._destination.close()
        waited = 0.0
        while self._commits and waited < _LAST_COMMITS_S:
            await asyncio.sleep(0.01)
            waited += 0.01
        self._standing.turn(State.STOPPED, "")
