"""Tubes, orders and measurements as they are in truth, and the gateway's own jobs on a store that may be cut.

The model knows which tube a value came from; the gateway only knows bytes. Every measured value is unique, so
what the EMR holds can be traced to its tube without asking the gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from labgateway.cli.decode_command import shipped_drivers
from labgateway.delivery.oru import render
from labgateway.instruments.driver import load
from labgateway.instruments.library import Library
from labgateway.mapping.table import parse
from labgateway.matching.attribute import Policy
from labgateway.model import Settings
from labgateway.orders import OrderRules
from labgateway.pipeline import take
from labgateway.pipeline.order_book import take_orders
from labgateway.pipeline.rules import DestinationRules, InstrumentRules, Rules
from labgateway.store import journal, outbox
from tests.simulation.chart import Chart
from tests.simulation.disk import Disk

DAY = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
WINDOW_H, WAIT_H = 72, 240
TESTS = ("GLU", "WBC", "HGB")
ASKED = {"GLU": ("GLU",), "CBC": ("WBC", "HGB"), "HGB": ("HGB",)}
"""What an order's code asks for."""
PEOPLE = {"lan": ("1001", "1091"), "hung": ("1002",), "mai": ("1003",)}
"""Who has which numbers; the EMR merges the second into the first."""
_BIRTHS = {"lan": ("19700512", "F"), "hung": ("19811130", "M"), "mai": ("20010203", "F")}
_UNITS = {"GLU": "mmol/L", "WBC": "10*3/uL", "HGB": "g/dL"}

_DRIVER = load(shipped_drivers() / "generic_astm")
_MAPPING, _ = parse(
    b"[tests]\n"
    b'GLU = { emr = "GLU", unit = "mmol/L", times = 1, comes = "mmol/L" }\n'
    b'WBC = { emr = "WBC", unit = "10*9/L", times = 1, comes = "10*3/uL", rerun = "last" }\n'
    b'HGB = { emr = "HGB", unit = "g/L", times = 10, comes = "g/dL" }\n'
    b'[panels]\nCBC = ["WBC", "HGB"]\n',
    "lab.toml",
)
assert _MAPPING is not None
_SETTINGS = Settings("LABGATEWAY", "THIENHANH", "UTC")
RULES = Rules(
    "v1",
    ZoneInfo("UTC"),
    Policy(window_h=WINDOW_H, wait_h=WAIT_H),
    Library([_DRIVER]),
    {name: InstrumentRules(_DRIVER, _MAPPING) for name in ("a1", "a2")},
    (DestinationRules("emr", lambda report, control_id: render(report, _SETTINGS, control_id)),),
)
_READING = OrderRules("his")


@dataclass
class Tube:
    """Blood of one person under a label that may be on another tube at another time."""

    number: int
    specimen: str
    person: str
    said: str
    """The patient number that its label and request carry."""
    drawn: datetime
    measured: set[str] = field(default_factory=set[str])
    """Tests that were sent for it at least once."""
    disturbed: bool = False
    """Something happened to its orders that a person may have to look at."""


@dataclass(frozen=True)
class Said:
    """Patient's number and tube of an order from a moment on. behind: the last delivery that was made before."""

    behind: int
    at: datetime
    pid: str
    tube: Tube


@dataclass
class Order:
    """One test or panel that the EMR asked for. history: which patient number and tube it named, since when."""

    placer: str
    tube: Tube
    code: str
    history: list[Said]
    is_open: bool = True

    def said_when(self, delivery: int) -> Said:
        """What it named when a delivery was made."""
        return [said for said in self.history if said.behind < delivery][-1]


@dataclass(frozen=True)
class Sent:
    """One value as an instrument sent it. named: the patient's number that stood beside it, None when none did."""

    value: str
    tube: Tube
    test: str
    in_emr: str
    named: str | None
    at: datetime


class Lab:
    """Everything together. Raises AssertionError the moment a promise breaks."""

    def __init__(self) -> None:
        self.now = DAY
        self.seen: dict[str, datetime] = {}
        self.disk = Disk()
        self.chart = Chart()
        self.tubes: list[Tube] = []
        self.orders: dict[str, Order] = {}
        self.values: dict[str, Sent] = {}
        self.acked: dict[int, bytes] = {}
        self.queue: list[int] = []
        self.sent: list[tuple[str, bytes]] = []
        self.order_bytes: list[bytes] = []
        self.persons_hand: set[str] = set()
        """Placer numbers of orders where a person released, moved or took back something."""
        self.by_person: set[str] = set()
        """Values that a person put where they are, having looked at the tube."""
        self.lost: set[str] = set()
        self._since_backup: list[str] = []
        self._acked_since: list[int] = []
        self._counter = 0

    # --- the ward and the EMR ---

    def next(self) -> int:
        """A number that was not used before."""
        self._counter += 1
        return self._counter

    def draw(self, specimen: str, person: str, said: str) -> Tube:
        """Take blood now."""
        for other in self.tubes:
            if other.specimen == specimen:
                other.disturbed = True
        reused = any(t.specimen == specimen for t in self.tubes)
        self.tubes.append(Tube(self.next(), specimen, person, said, self.now, disturbed=reused))
        return self.tubes[-1]

    def may_draw(self, specimen: str, person: str) -> bool:
        """Not under a label that is at an analyzer this very hour on another person's tube: nobody could see it."""
        if all(PEOPLE[t.person] == PEOPLE[person] for t in self.tubes if t.specimen == specimen):
            return True
        return specimen not in self.seen or self.now - self.seen[specimen] > timedelta(hours=1)

    def is_shared(self, tube: Tube) -> bool:
        """Is the label on another tube as well, at whatever time?"""
        return any(t.specimen == tube.specimen for t in self.tubes if t is not tube)

    def order(self, tube: Tube, code: str, *, said: str | None = None) -> Order:
        """The EMR asks for a test; said: the patient number it names, where that is a clerk's mistake."""
        for other in self.of(tube):
            if set(ASKED[other.code]) & set(ASKED[code]):
                tube.disturbed = True
        pid = said or tube.said
        order = Order(f"P{self.next()}", tube, code, [self._said(pid, tube)])
        if said:
            tube.disturbed = True
        self.orders[order.placer] = order
        self._emr_says("NW", order, pid)
        return order

    def of(self, tube: Tube) -> list[Order]:
        """The orders of a tube."""
        return [order for order in self.orders.values() if order.tube is tube]

    def cancel(self, order: Order, word: str) -> None:
        """The EMR takes an order back: CA or DC."""
        order.is_open, order.tube.disturbed = False, True
        self._emr_says(word, order, order.history[-1].pid)

    def reopen(self, order: Order) -> None:
        """The EMR sends a cancelled order anew under its number."""
        order.is_open, order.tube.disturbed = True, True
        self._emr_says("NW", order, order.history[-1].pid)

    def correct(self, order: Order) -> None:
        """The EMR mends the patient of an order."""
        order.tube.disturbed = True
        order.history.append(self._said(order.tube.said, order.tube))
        self._emr_says("XO", order, order.tube.said)

    def move(self, order: Order, tube: Tube) -> None:
        """The EMR finds that an order belongs on another tube of the same person."""
        for one in (order.tube, tube):
            one.disturbed = True
        order.tube = tube
        order.history.append(self._said(tube.said, tube))
        self._emr_says("XO", order, tube.said)

    def update(self, person: str) -> None:
        """The EMR has another name for somebody (A08): nobody else's results, and none of them twice."""
        birth, sex = _BIRTHS[person]
        number = PEOPLE[person][0]
        self._take_order_message(
            f"MSH|^~\\&|HIS|H|||{self._clock()}||ADT^A08^ADT_A01|{self.next()}|P|2.5.1\r"
            f"EVN||{self._clock()}\rPID|1||{number}^^^TH^MR||TEN^MOI||{birth}|{sex}\rPV1|1|I\r".encode()
        )

    def merge(self) -> None:
        """The EMR finds that two numbers are one person."""
        survivor, merged = PEOPLE["lan"]
        for order in self.orders.values():
            if order.history[-1].pid == merged:
                order.history.append(self._said(survivor, order.tube))
                order.tube.disturbed = True
        birth, sex = _BIRTHS["lan"]
        self._take_order_message(
            f"MSH|^~\\&|HIS|H|||{self._clock()}||ADT^A40^ADT_A39|{self.next()}|P|2.5.1\r"
            f"EVN||{self._clock()}\rPID|1||{survivor}^^^TH^MR||TEN^HO||{birth}|{sex}\rMRG|{merged}^^^TH^MR\r".encode()
        )

    def _emr_says(self, word: str, order: Order, pid: str) -> None:
        person = next(name for name, ids in PEOPLE.items() if pid in ids)
        birth, sex = _BIRTHS[person]
        self._take_order_message(
            (
                f"MSH|^~\\&|HIS|H|||{self._clock()}||OML^O21^OML_O21|{self.next()}|P|2.5.1\r"
                f"PID|1||{pid}^^^TH^MR||TEN^HO||{birth}|{sex}\rORC|{word}|{order.placer}\r"
                f"OBR|1|{order.placer}||{order.code}^test|||{order.tube.drawn:%Y%m%d%H%M%S}\r"
                f"SPM|1|{order.tube.specimen}||BLD\r"
            ).encode()
        )

    def _take_order_message(self, raw: bytes) -> None:
        self.order_bytes.append(raw)
        self.again(raw)

    def again(self, raw: bytes) -> None:
        """An order message reaches the gateway, the first time or once more."""
        job = take_orders(raw, peer="his", rules=RULES, reading=_READING, now=self.now, control_id=f"A{self.next()}")
        taken = self.disk.run(job)
        assert taken.code == "AA", taken.answer

    def _clock(self) -> str:
        return f"{self.now:%Y%m%d%H%M%S}"

    # --- the analyzers ---

    def may_measure(self, tube: Tube, *, naming: bool) -> bool:
        """Not what no gateway could see (docs/matching.md): the only order on a label belongs to another tube.

        With the patient's number beside the value it is seen; so is it where both tubes have their orders.
        """
        horizon = timedelta(hours=WINDOW_H + WAIT_H + 2)
        others = [
            t for t in self.tubes
            if t is not tube and t.specimen == tube.specimen and t.person != tube.person
            and (abs(self.now - t.drawn) < horizon or abs(tube.drawn - t.drawn) < horizon)
        ]  # fmt: skip
        if not others:
            return True
        if naming and all(PEOPLE[t.person] != PEOPLE[tube.person] for t in others):
            return True
        in_window = self.now - tube.drawn < timedelta(hours=WINDOW_H - 1)
        return in_window and bool(self.of(tube)) and all(self.of(t) for t in others)

    def message(
        self,
        parts: list[tuple[Tube | None, str, list[tuple[str, str, str]]]],
        *,
        naming: bool,
        measured: datetime | None,
    ) -> bytes:
        """Bytes of one ASTM message: for each tube its label (or what was read instead) and test, value, status."""
        rows = ["H|\\^&|||Simulated"]
        when = f"{measured:%Y%m%d%H%M%S}" if measured else ""
        for number, (tube, label, results) in enumerate(parts, 1):
            rows.append(f"P|{number}||{tube.said if naming and tube else ''}")
            rows.append(f"O|{number}|{label}||{'^^^' + results[0][0]}|R||||||{'Q' if tube is None else ''}")
            rows += [
                f"R|{at}|^^^{test}|{value}|{_UNITS[test]}||N||{status}||||{when}"
                for at, (test, value, status) in enumerate(results, 1)
            ]
        return "\r".join([*rows, "L|1|N", ""]).encode()

    def value(self, tube: Tube, test: str, *, naming: bool) -> str:
        """A value that nobody else ever had."""
        number = self.next()
        value = f"{number}.{number % 10}0"
        in_emr = str(Decimal(value) * 10) if test == "HGB" else value
        self.values[value] = Sent(value, tube, test, in_emr, tube.said if naming else None, self.now)
        return value

    def arrive(self, instrument: str, raw: bytes) -> int:
        """Bytes are on disk and acknowledged."""
        number = self.disk.run(
            lambda c: journal.append(c, instrument=instrument, protocol="astm", peer="", received_at=self.now, raw=raw)
        )
        self.acked[number] = raw
        for tube in self.tubes:
            if f"|{tube.specimen}|" in raw.decode():
                self.seen[tube.specimen] = max(self.now, self.seen.get(tube.specimen, self.now))
        self._acked_since.append(number)
        self.queue.append(number)
        self.sent.append((instrument, raw))
        return number

    def forget(self, number: int) -> None:
        """A message was taken out because it is old and done with."""
        self.acked.pop(number, None)

    def process(self) -> None:
        """Everything that is stored is processed, in order."""
        for number in self.queue:
            self.disk.run(take.process(number, RULES, self.now))
        self.queue.clear()

    def crash_in_processing(self, after: int) -> None:
        """The plug is pulled while a message is processed; the next start takes it up."""
        if not self.queue:
            self.disk.restart()
            return
        before = self.fingerprint()
        self.disk.cut(take.process(self.queue[0], RULES, self.now), after)
        assert self.fingerprint() == before, "D5: something of a transaction that was cut is on disk"
        self.queue = list(self.disk.run(lambda c: journal.unprocessed(c, 1000)))

    def _said(self, pid: str, tube: Tube) -> Said:
        return Said(self._last_delivery(), self.now, pid, tube)

    def _last_delivery(self) -> int:
        return int(self.rows("SELECT coalesce(max(id), 0) FROM delivery")[0][0])

    def fingerprint(self) -> list[Any]:
        """Counts that any change would show in."""
        tables = ("transmission", "result", "observation", "delivery", "delivery_observation", "lab_order")
        return [
            *(self.rows(f"SELECT count(*) FROM {table}") for table in tables),
            self.rows("SELECT id, state FROM transmission"),
            self.rows("SELECT id, state, row_version FROM observation"),
        ]

    def rows(self, query: str) -> list[Any]:
        """What the gateway's store says, in a transaction of its own."""
        return self.disk.run(lambda c: [tuple(row) for row in c.execute(text(query))])

    # --- time ---

    def pass_time(self, by: timedelta) -> None:
        """The wall clock moves, forwards or a little back."""
        self.now += by
        self.disk.run(lambda c: take.expire(c, RULES, self.now))

    # --- delivery ---

    def deliver(self, mood: str, nth: int) -> bool:
        """One delivery goes out to an EMR in some mood; False when none may go."""
        ready = self.disk.run(lambda c: outbox.ready(c, "emr", 50))
        assert len({one.lane for one in ready}) == len(ready), "E3: two of one lane at once"
        if not ready:
            return False
        one = ready[nth % len(ready)]
        assert not one.damaged
        match mood:
            case "up" | "late":
                assert self.chart.take(one.body) == one.control_id
                self._since_backup.append(one.control_id)
                if mood == "up":
                    self.disk.run(lambda c: outbox.settle(c, one.id, "AA", self.now))
                else:
                    self.disk.run(lambda c: outbox.retry_later(c, one.id, "silence", refused=False))
            case "refuses":
                self.disk.run(lambda c: outbox.park(c, one.id, "AE"))
            case _:
                self.disk.run(lambda c: outbox.retry_later(c, one.id, "silence", refused=False))
        return True

    def drain(self) -> None:
        """A good day: whatever is parked is sent again, and everything else arrives."""
        for (number,) in self.rows("SELECT id FROM delivery WHERE state = 'parked'"):
            self.disk.run(lambda c, number=number: outbox.unpark(c, number))  # type: ignore[misc]
        while self.deliver("up", 0):
            pass

    # --- backups ---

    def back_up(self) -> None:
        """A copy is made."""
        self.disk.back_up()
        self._since_backup.clear()
        self._acked_since.clear()
        self._orders_then = len(self.order_bytes)

    def restore(self) -> None:
        """The copy is put back; what was acknowledged since is gone with the disk, and the EMR tells its orders again."""
        self.disk.restore()
        self.lost |= set(self._since_backup)
        for number in self._acked_since:
            self.acked.pop(number, None)
        self._acked_since.clear()
        self.queue = list(self.disk.run(lambda c: journal.unprocessed(c, 1000)))
        for tube in self.tubes:
            tube.disturbed = True
        last = self._last_delivery()
        for order in self.orders.values():
            order.history = [replace(said, behind=min(said.behind, last)) for said in order.history]
        for raw in self.order_bytes[self._orders_then :]:
            self.again(raw)
