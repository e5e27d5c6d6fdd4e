"""The parts of one running gateway and how they hand work to each other.

    line ──keep──> journal ──number──> pump ──process──> deliveries ──wake──> sender ──> EMR
    EMR ──> order door ──take──> orders, and what waited for them ──wake──> sender

Starts no task by itself: ``spawn`` is handed in, so that a test may run everything under a simulated clock.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from labgateway.config import Config, OrdersSection, diff
from labgateway.delivery.ports import Destination, Listener, State
from labgateway.delivery.sender import Health, Sender
from labgateway.delivery.stored import StoredOutbox
from labgateway.errors import LabgatewayError, Problem, StoreBusyError, StoreError
from labgateway.gateway import build, destinations, doubts, rulebook
from labgateway.gateway.answers import Answers
from labgateway.gateway.certificates import Certificates
from labgateway.gateway.daily import Daily
from labgateway.gateway.downloads import Downloads
from labgateway.gateway.nodes import LOOK_S, Guarded, Nodes, subjects
from labgateway.gateway.progress import Progress
from labgateway.gateway.pump import Pump
from labgateway.gateway.reconcile import proof_of
from labgateway.gateway.resending import send_again
from labgateway.gateway.sources import Job, Source, Told, Tools, file_rules, source, submitted
from labgateway.gateway.telling import Telling
from labgateway.gateway.watching import watch
from labgateway.line.arrival import Arrival, Control, Kept
from labgateway.line.line import Line
from labgateway.mapping.history import History
from labgateway.pipeline import deeds, take
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.order_book import Taken
from labgateway.pipeline.order_files import take_file
from labgateway.pipeline.rules import Rules
from labgateway.store import journal, worklist
from labgateway.store.engine import Store
from labgateway.transports.channel import Say
from labgateway.transports.tapped import Tap
from labgateway.transports.tcp import Admission

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]

_EXPIRE_S = 30.0
_PORT_RETRY_S = 10.0
_MOST_CONNECTIONS = 512


@dataclass(slots=True)
class _Door:
    """An orders section and its listener."""

    section: OrdersSection
    listener: Source


@dataclass(slots=True)
class _Way:
    """A destination section, its sender and the sender's task."""

    section: object
    sender: Sender
    task: asyncio.Task[None]
    out: Destination


def _spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name=name)


class Gateway:
    """One gateway on one store. start, then reload as often as wanted, then stop."""

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        say: Say,
        spawn: Spawn = _spawn,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.config = config
        self.store = store
        self.lines: dict[str, Line] = {}
        self.started_at = utcnow()
        self._say = say
        self._spawn = spawn
        self._utcnow = utcnow
        self._library = rulebook.library(config)
        self.rules: Rules = rulebook.rules(config, self._library)
        self._doors: dict[str, _Door] = {}
        self._ways: dict[str, _Way] = {}
        self._admission = Admission(_MOST_CONNECTIONS)
        self._pump = Pump(store, lambda: self.rules, self._processed, say=say, utcnow=utcnow)
        self._answers = Answers(store, lambda: self.rules, self.lines, self._spawn, say, utcnow)
        self._downloads: dict[str, tuple[Downloads, asyncio.Task[None]]] = {}
        self._daily = Daily(store, lambda: self.config, say, utcnow)
        self._telling = Telling(
            store, self._listeners, self._standing, lambda: self.config.gateway.name,
            lambda: self.config.matching.alarm_h, utcnow,
        )  # fmt: skip
        self._progress = Progress(store, self._answering)
        self._certificates = Certificates(self._certificate_files, say, utcnow)
        self._epoch = new_id()
        self._tasks: list[asyncio.Task[None]] = []
        self._shut: dict[str, str] = {}
        self._tools = Tools(
            lambda: self.rules, self._utcnow, lambda: self.config.gateway.timezone, self._take_orders, self._admission,
            self._spawn, say,
        )  # fmt: skip
        self._taps: dict[str, Tap] = {}
        self._nodes = Nodes(store, store.seat, self._servable, self._serve, say=say) if store.seat else None

    # --- life ---

    async def start(self) -> None:
        """Take up what an earlier process left, then open destinations, doors and lines.

        Raises StoreError. A port that is in use is said and tried again; it costs only its own line.
        """
        if self._nodes is None:
            await self._take_up(None)
        self._complain()
        await self._keep_mappings()
        for name, section in self.config.destinations.items():
            self._open_way(name, section)
        self._tasks = [
            self._spawn(self._pump.run(), "pipeline"),
            self._spawn(self._expire(), "expire"),
            self._spawn(self._open_shut(), "open ports"),
            self._spawn(doubts.resolve(self.store, self._look_again), "doubts"),
            self._spawn(self._certificates.run(), "certificates"),
            self._spawn(self._telling.run(), "telling"),
            self._spawn(self._progress.run(), "progress"),
            self._spawn(self._daily.run(), "daily"),
        ]
        for name, section in self.config.orders.items():
            await self._open_door(name, section)
        for name in self.config.instruments:
            await self._open_line(name)
        if self._nodes is not None:
            await self._nodes.round()
            self._tasks += [self._spawn(self._nodes.run(), "nodes"), self._spawn(self._look_around(), "look around")]
        self._follow_orders()

    async def stop(self) -> None:
        """Close lines and doors first, then let senders end; what is not settled is sent again after the next start."""
        for task in self._tasks:
            task.cancel()
        await self._answers.stop()
        for _, task in self._downloads.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._downloads.values()), return_exceptions=True)
        await asyncio.gather(
            *(line.stop() for line in self.lines.values()), *(door.listener.stop() for door in self._doors.values())
        )
        await asyncio.gather(*(self._close_way(name) for name in list(self._ways)))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._nodes is not None:
            await self._nodes.leave()

    # --- several nodes ---

    async def _take_up(self, instruments: list[str] | None) -> None:
        """What is stored and not processed, of all instruments or of some, is processed here."""
        left = await self.store.read(lambda connection: journal.unprocessed(connection, 10_000_000, instruments))
        if left:
            self._say("taking_up", count=len(left))
            self._pump.add(left)

    def _is_served(self, subject: str) -> bool:
        return self._nodes is None or self._nodes.serves(subject)

    def _why_shut(self, kind: str, name: str) -> str:
        """Why a line or a source of orders is not open here, for people."""
        subject = ("line " if kind == "instrument" else "orders ") + name
        if self._nodes is not None and not self._nodes.serves(subject):
            return self._nodes.words(subject)
        return self._shut.get(f"{kind}.{name}", "")

    def _servable(self) -> frozenset[str]:
        return subjects(
            {name: build.is_here(one.line) for name, one in self.config.instruments.items()},
            {name: build.is_here(one) for name, one in self.config.orders.items()},
            self.config.destinations,
        )

    async def _serve(self, mine: frozenset[str]) -> list[str]:
        """Close what other nodes serve now, open what is ours; returns what could not be opened."""
        for name in [n for n in self.lines if f"line {n}" not in mine]:
            await self.lines.pop(name).stop()
        for name in [n for n in self._doors if f"orders {n}" not in mine]:
            await self._doors.pop(name).listener.stop()
        for name in [n for n in self._ways if f"destination {n}" not in mine]:
            await self._close_way(name)
        new = [name for name in self.config.instruments if f"line {name}" in mine and name not in self.lines]
        if new:
            await self._take_up(new)
        for name, section in self.config.destinations.items():
            if name not in self._ways:
                self._open_way(name, section)
        for name, section in self.config.orders.items():
            if name not in self._doors:
                await self._open_door(name, section)
        for name in new:
            await self._open_line(name)
        missing = [f"line {name}" for name in new if name not in self.lines]
        return missing + [
            f"orders {n}" for n in self.config.orders if f"orders {n}" in mine and n not in self._doors
        ]  # fmt: skip

    async def _look_around(self) -> None:
        """Other nodes make deliveries for destinations that are served here, and take orders for lines that are."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._wake_all()

    async def _look_again(self) -> None:
        """A commit may be done of which nobody heard; see ``doubts``. Raises StoreError."""
        here = [name for name in self.config.instruments if self._is_served(f"line {name}")]
        await self._take_up(None if self._nodes is None else here)
        self._wake_all()

    def _wake_all(self) -> None:
        for way in self._ways.values():
            way.sender.wake()
        for queue, _ in self._downloads.values():
            queue.look()

    async def reload(self, config: Config) -> None:
        """Take a new config as a whole, or raise LabgatewayError and stay with the old one.

        Lines that did not change stay as they are, with the message they are in the middle of.
        """
        changes = diff(self.config, config)
        if changes.restart:
            raise LabgatewayError(
                "The store or the data folder differ: restart the service for that (systemctl restart labgateway)."
            )
        library = rulebook.library(config)
        unchanged = [
            name
            for name, one in config.instruments.items()
            if (was := self.config.instruments.get(name)) and (was.driver, was.mapping) == (one.driver, one.mapping)
        ]
        new_rules = rulebook.keep_good(self.rules, rulebook.rules(config, library), unchanged)
        before = (self.config, self.rules, self._library)
        self.config, self.rules, self._library = config, new_rules, library
        old_rules = before[1]
        gone = [
            *changes.instruments.removed,
            *(n for n in config.instruments if n in self.lines and self._differs(n, before)),
        ]
        try:
            await self._swap(gone, changes)
        except LabgatewayError:
            self.config, self.rules, self._library = before
            await self._restore()
            raise
        self._complain()
        self._follow_orders()
        await self._mend(old_rules)

    def _differs(self, name: str, before: tuple[Config, Rules, object]) -> bool:
        """Whether a line must be opened anew: its section, or what its driver says of the line, is another."""
        old_config, old_rules, _ = before
        if name not in old_config.instruments:
            return True
        old, new = old_config.instruments[name], self.config.instruments[name]
        if (old.line, old.orders_line) != (new.line, new.orders_line):
            return True
        return self._line_settings(name, old_rules) != self._line_settings(name, self.rules)

    def _line_settings(self, name: str, rules: Rules) -> object:
        instrument = rules.instruments.get(name)
        if instrument is None or isinstance(instrument.driver, Problem):
            return None
        return (instrument.driver.protocol, instrument.driver.line, instrument.driver.ack, instrument.orders != "off")

    async def _swap(self, gone: list[str], changes: Any) -> None:
        for name in gone:
            await self.lines.pop(name).stop()
        for name in (*changes.orders.removed, *changes.orders.changed):
            await self._doors.pop(name).listener.stop()
        for name in (*changes.destinations.removed, *changes.destinations.changed):
            await self._close_way(name)
        for name, section in self.config.destinations.items():
            if name not in self._ways:
                self._open_way(name, section)
        for name, section in self.config.orders.items():
            if name not in self._doors:
                await self._open_door(name, section, must=True)
        for name in self.config.instruments:
            if name not in self.lines:
                await self._open_line(name, must=True)

    async def _restore(self) -> None:
        """After a reload that could not be carried out: what the old config names stands again as it was."""
        for name in [n for n in self.lines if n not in self.config.instruments]:
            await self.lines.pop(name).stop()
        for name in [n for n in self._doors if self.config.orders.get(n) != self._doors[n].section]:
            await self._doors.pop(name).listener.stop()
        for name in [n for n in self._ways if self.config.destinations.get(n) != self._ways[n].section]:
            await self._close_way(name)
        for name, section in self.config.destinations.items():
            if name not in self._ways:
                self._open_way(name, section)
        for name, section in self.config.orders.items():
            if name not in self._doors:
                await self._open_door(name, section)
        for name in self.config.instruments:
            if name not in self.lines:
                await self._open_line(name)

    async def _mend(self, old: Rules) -> None:
        """Messages and results that parked for a driver or mapping which has changed now are read again by themselves."""
        changed = [
            name
            for name, instrument in self.rules.instruments.items()
            if (before := old.instruments.get(name)) is None
            or before.driver != instrument.driver
            or before.mapping_version != instrument.mapping_version
        ]
        if not changed:
            return
        found = await self.store.submit(lambda c: deeds.reopen_mendable(c, changed), background=True)
        if found:
            self._say("replaying", count=len(found))
            self._pump.add(found)

    async def _keep_mappings(self) -> None:
        """Keep every mapping that is in use, whoever wrote it: observations name its version."""
        for name, instrument in self.rules.instruments.items():
            mapping = instrument.mapping
            if isinstance(mapping, Problem):
                continue
            kept = History(self.config.gateway.data, self.config.instruments[name].mapping.name)
            try:
                await asyncio.to_thread(kept.found, mapping.raw, self._utcnow())
            except LabgatewayError as error:
                self._say("mapping_not_kept", level="error", instrument=name, why=str(error))

    def watched(self) -> list[Path]:
        """Folders whose .toml files, when they change, are a reload: mappings and the site's own drivers."""
        return [self.config.gateway.mappings, *self.config.gateway.drivers]

    async def beat(self) -> None:
        """Come back after a round trip through loop and writer; raises StoreError when there is none."""
        try:
            await self.store.submit(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        except StoreBusyError:
            # Locked or a server that is away: alive, and said elsewhere.
            return

    def _follow_orders(self) -> None:
        """A queue for each instrument that is told its orders unasked, as the rules of now have it."""
        for name in list(self._downloads):
            if name not in self.rules.instruments or self.rules.instruments[name].orders != "unasked":
                self._downloads.pop(name)[1].cancel()
        for name, instrument in self.rules.instruments.items():
            if instrument.orders == "unasked" and name not in self._downloads:
                queue = Downloads(
                    name, self.store, lambda: self.rules, self.lines, say=self._say, utcnow=self._utcnow
                )  # fmt: skip
                self._downloads[name] = (queue, self._spawn(queue.run(), f"orders to {name}"))

    def _complain(self) -> None:
        for name, instrument in self.rules.instruments.items():
            for problem in instrument.kept:
                self._say(
                    "last_good_kept", level="error", instrument=name, reason=problem.reason.name, why=problem.detail
                )
            for problem in (instrument.driver, instrument.mapping):
                if isinstance(problem, Problem):
                    self._say(
                        "instrument_parks",
                        level="error",
                        instrument=name,
                        reason=problem.reason.name,
                        why=problem.detail,
                    )

    # --- lines ---

    async def _open_line(self, name: str, *, must: bool = False) -> None:
        if not self._is_served(f"line {name}"):
            return
        section = self.config.instruments[name]
        instrument = self.rules.instruments[name]
        try:
            protocol, settings = build.spoken(instrument, section.driver, section.line.kind, self._driver_folders())
            connect = build.transport(section.line, settings, self._admission, self._say)
            second = section.orders_line
            line = Line(
                name,
                protocol,
                self._keeper(name),
                connect=connect if section.line.kind == "folder" else self._tap(name).through(connect),
                connect_orders=second and build.transport(second, settings, self._admission, self._say),
                wall=lambda: self._utcnow().astimezone(ZoneInfo(self.config.gateway.timezone)),
                control_id=new_id,
                say=self._say,
                **build.line_options(instrument, section.line.kind, partial(self._answers.asks, name)),
            )
            await line.start()
        except LabgatewayError as error:
            if must:
                raise LabgatewayError(f"instrument.{name}: {error}") from error
            if self._shut.get(f"instrument.{name}") != str(error):
                self._say("port_shut", level="error", instrument=name, why=str(error))
            self._shut[f"instrument.{name}"] = str(error)
            return
        self._shut.pop(f"instrument.{name}", None)
        self.lines[name] = line

    def _driver_folders(self) -> list[Path]:
        return [*self.config.gateway.drivers, rulebook.shipped("drivers")]

    def _keeper(self, name: str) -> Callable[[Arrival, Kept], None]:
        parted: set[str] = set()

        def keep(arrival: Arrival, kept: Kept) -> None:
            now = self._utcnow()
            part = arrival.control is Control.PART
            if part:
                parted.add(arrival.key)
            key = f"{self._epoch}.{name}.{arrival.key}" if part or arrival.key in parted else None
            if arrival.once:
                key = journal.once_key(name, arrival.data)

            def job(connection: Connection) -> int | None:
                if arrival.once and key and journal.is_kept(connection, key):
                    return None
                if part and key:
                    return journal.append_part(
                        connection, instrument=name, protocol=arrival.protocol, peer=arrival.peer, received_at=now,
                        raw=arrival.data, part_key=key,
                    )  # fmt: skip
                return journal.append(
                    connection, instrument=name, protocol=arrival.protocol, peer=arrival.peer, received_at=now,
                    raw=arrival.data, complete=arrival.complete, why=arrival.why, part_key=key,
                )  # fmt: skip

            def done(number: int | None, error: BaseException | None) -> None:
                if error is None and number is None:
                    self._say("kept_before", instrument=name, peer=arrival.peer)
                kept(error if error is None or isinstance(error, StoreError) else StoreBusyError(type(error).__name__))
                if error is None and number is not None and not part:
                    parted.discard(arrival.key)
                    if arrival.complete:
                        self._answers.kept(name, arrival, number)
                        self._pump.add([number])

            self.store.submit_call(job, done)

        return keep

    # --- orders ---

    async def _open_door(self, name: str, section: OrdersSection, *, must: bool = False) -> None:
        if not self._is_served(f"orders {name}"):
            return
        try:
            opened = source(name, section, self._tools)
            await opened.start()
        except LabgatewayError as error:
            if must:
                raise LabgatewayError(f"orders.{name}: {error}") from error
            if self._shut.get(f"orders.{name}") != str(error):
                self._say("port_shut", level="error", source=name, why=str(error))
            self._shut[f"orders.{name}"] = str(error)
            return
        self._shut.pop(f"orders.{name}", None)
        self._doors[name] = _Door(section, opened)

    def _take_orders(self, name: str, job: Job, told: Told) -> None:
        """Run the job of an order message; then whoever brought it is told, and whom it concerns."""

        def done(taken: Taken | None, error: BaseException | None) -> None:
            if error is not None or taken is None:
                self._say("orders_not_stored", level="error", source=name, error=type(error).__name__)
                told(None, error)
                return
            told(taken, None)
            self._answers.changed(taken.specimens)
            for downloads, _ in self._downloads.values():
                downloads.changed(taken.specimens)
            self._say("orders", source=name, state=taken.code, count=taken.count, message=taken.number)
            if taken.outcome.doubts:
                self._say("sent_and_in_doubt", level="warning", source=name, count=taken.outcome.doubts)
            self._after(taken.outcome)

        self.store.submit_call(job, done)

    async def _import(self, request: dict[str, Any]) -> dict[str, Any]:
        """A person brings a file of orders. Raises LabgatewayError."""
        who, name = str(request.get("who") or "").strip(), str(request.get("source") or "import")
        try:
            data = base64.b64decode(str(request.get("data") or ""), validate=True)
        except ValueError:
            raise LabgatewayError("The file did not come whole; try again.") from None
        section = self.config.orders.get(name)
        if section is None and name != "import":
            raise LabgatewayError(f"There is no [orders.{name[:64]}] in config.toml.")
        reading = file_rules(name, section, self.config.gateway.timezone)
        job = take_file(data, rules=self.rules, reading=reading, now=self._utcnow(), who=who or "command line")
        taken = await submitted(name, job, self._tools)
        self._say("person", action="import", state=taken.code)
        return {"orders": [asdict(one) for one in taken.said], "refused": taken.refused}

    # --- the pipeline ---

    def _processed(self, number: int, outcome: take.Outcome) -> None:
        if outcome.problem is not None:
            self._say("message_parked", level="warning", message=number, reason=outcome.problem.reason.name)
        elif held := outcome.states.get("held"):
            self._say("results_held", level="warning", message=number, count=held)
        self._after(outcome)

    def _after(self, outcome: take.Outcome) -> None:
        for name in outcome.destinations:
            self._wake(name)

    def _wake(self, destination: str) -> None:
        if destination in self._ways:
            self._ways[destination].sender.wake()

    async def _expire(self) -> None:
        """Hold what has waited too long for its order."""
        while True:
            await asyncio.sleep(_EXPIRE_S)
            try:
                outcome = await self.store.submit(
                    partial(take.expire, rules=self.rules, now=self._utcnow()), background=True
                )
            except StoreError as error:
                self._say("not_expired", level="error", error=type(error).__name__)
                continue
            if outcome.states:
                self._say("waited_too_long", level="warning", count=sum(outcome.states.values()))
            self._after(outcome)

    async def _open_shut(self) -> None:
        """Try again to open the ports that were in use."""
        while True:
            await asyncio.sleep(_PORT_RETRY_S)
            for key in list(self._shut):
                kind, _, name = key.partition(".")
                if kind == "instrument" and name in self.config.instruments and name not in self.lines:
                    await self._open_line(name)
                elif kind == "orders" and name in self.config.orders and name not in self._doors:
                    await self._open_door(name, self.config.orders[name])
                else:
                    self._shut.pop(key, None)

    # --- destinations ---

    def _open_way(self, name: str, section: Any) -> None:
        if not self._is_served(f"destination {name}"):
            return
        out = destinations.destination(self.config, section, self._say)
        if self._nodes is not None:
            out = Guarded(out, self._nodes.is_valid)
        sender = Sender(
            name, out, StoredOutbox(self.store, name, utcnow=self._utcnow), shadow=section.shadow, say=self._say,
            utcnow=self._utcnow, **destinations.pace(section),
        )  # fmt: skip
        self._ways[name] = _Way(section, sender, self._spawn(sender.run(), f"destination {name}"), out)

    async def _close_way(self, name: str) -> None:
        way = self._ways.pop(name)
        way.task.cancel()
        await asyncio.gather(way.task, return_exceptions=True)
        await way.out.close()

    def _certificate_files(self) -> dict[str, tuple[Path, ...]]:
        found = {name: destinations.certificates(section) for name, section in self.config.destinations.items()}
        return {name: files.certificates for name, files in found.items() if files is not None}

    # --- what people ask and do ---

    async def status(self) -> dict[str, Any]:
        """Everything the status page shows; no patient data."""
        now = self._utcnow()
        counts = await self.store.read(worklist.counts)
        alarm = now - timedelta(hours=self.config.matching.alarm_h)
        late = await self.store.read(lambda c: len(worklist.items(c, waiting_before=alarm, limit=100_000)))
        standing = self._standing()
        for name, way in standing["destinations"].items():
            waiting = counts["deliveries"].get(name, {}).get("waiting", 0)
            way["progress"] = self._progress.words(name, waiting, answering=way["state"] == State.ANSWERING.value)
        return {
            "running": True,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "config_version": self.config.version,
            **standing,
            **({"nodes": self._nodes.status()} if self._nodes else {}),
            "orders_from": {
                name: {"trouble": self._doors[name].listener.trouble if name in self._doors else self._why_shut("orders", name)}
                for name in self.config.orders
            },
            "to_process": len(self._pump),
            "waits_for_a_person": late,
            **counts,
        }  # fmt: skip

    def _standing(self) -> dict[str, Any]:
        """Lines and destinations; nothing is read for it."""
        now = self._utcnow()
        ending = self._certificates.words()
        return {
            "lines": {
                name: {
                    "driver": section.driver,
                    "orders_to_tell": len(self._downloads[name][0]) if name in self._downloads else 0,
                    **(self.lines[name].status(now) if name in self.lines else {"trouble": self._why_shut("instrument", name)}),
                    "parks": next(
                        (str(p) for p in (self.rules.instruments[name].driver, self.rules.instruments[name].mapping)
                         if isinstance(p, Problem)), "",
                    ),
                    "kept": [
                        f"{p} What was read of it before is used until it is mended; `labgateway check` says what is wrong."
                        for p in self.rules.instruments[name].kept
                    ],
                }
                for name, section in self.config.instruments.items()
            },
            "destinations": {
                name: {**_health(way.sender.health()), "warnings": ending.get(name, [])} for name, way in self._ways.items()
            },
        }  # fmt: skip

    def _answering(self) -> dict[str, int]:
        found = {name: way.sender.health() for name, way in self._ways.items()}
        return {name: health.accepted for name, health in found.items() if health.state is State.ANSWERING}

    def _listeners(self) -> list[Listener]:
        return [way.out for way in self._ways.values() if isinstance(way.out, Listener)]

    def _tap(self, name: str) -> Tap:
        return self._taps.setdefault(name, Tap())

    def watch(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """What happens on an instrument's line from now on. Raises LabgatewayError when there is no such instrument."""
        name = str(request.get("instrument"))
        if name not in self.config.instruments:
            there = ", ".join(sorted(self.config.instruments)) or "none"
            raise LabgatewayError(f'There is no instrument "{name[:40]}" in the running config. There are: {there}.')
        tap = self._tap(name)
        line = self.lines.get(name)
        return watch(
            tap,
            {
                "instrument": name,
                "driver": self.config.instruments[name].driver,
                "protocol": line.protocol if line else "",
                "connected": list(tap.peers),
            },
        )

    async def act(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request of the command line. Raises LabgatewayError in words for the person."""
        match request.get("action"):
            case "status":
                return await self.status()
            case "import":
                return await self._import(request)
            case "differences":
                opened, closed = await self._daily.record(proof_of(request))
                return {"opened": opened, "closed": closed}
            case "prune":
                pruned = await self._daily.prune_some(request)
                return asdict(pruned)
            case "resend":
                words = await send_again(self.store, self.config, request, self._utcnow(), self._wake)
                self._say("person", action="resend")
                return {"did": words}
            case "retry" | "skip" | "reject" | "release" | "relink" | "dismiss" | "replay":
                done = await self.store.submit(deeds.deed(request, self.rules, self._utcnow()))
                self._say("person", action=str(request["action"]), state=done.state)
                self._pump.add(list(done.reopened))
                self._after(done.outcome)
                return {"did": done.words}
            case other:
                raise LabgatewayError(f"{str(other)[:40]!r} is nothing this gateway can do")


def _health(health: Health) -> dict[str, Any]:
    return {
        "state": health.state.value,
        "since": health.since.isoformat(timespec="seconds"),
        "why": health.why,
        "last_answer_at": health.last_answer_at.isoformat(timespec="seconds") if health.last_answer_at else None,
        "accepted": health.accepted,
        "refused": health.refused,
        "parked": health.parked,
        "attempts": health.attempts,
    }
