"""The gateway's own jobs on a store that may be cut, and the world around it as truth.py knows it.

The model knows which tube a value came from; the gateway only knows bytes. Every measured value is unique, so
what the EMR holds can be traced to its tube without asking the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

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
from tests.simulation.truth import (
    ASKED,
    BIRTHS,
    DAY,
    MISTYPED,
    PEOPLE,
    WAIT_H,
    WINDOW_H,
    Order,
    Sent,
    Stand,
    Taken,
    Tube,
    who_has,
)

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


class Lab:
    """Everything together. Raises AssertionError the moment a promise breaks."""

    def __init__(self) -> None:
        self.now = DAY
        self.seen: dict[str, datetime] = {}
        self.births = {pid: BIRTHS[name][0] for name, ids in PEOPLE.items() for pid in ids}
        """As the EMR has them."""
        self.disk = Disk()
        self.chart = Chart()
        self.tubes: list[Tube] = []
        self.orders: dict[str, Order] = {}
        self.values: dict[str, Sent] = {}
        self.acked: dict[int, bytes] = {}
        self.queue: list[int] = []
        self.sent: list[tuple[str, bytes]] = []
        self.told: list[tuple[bytes, Sequence[Stand | Taken]]] = []
        """The EMR's order messages, and what each one says."""
        self.by_hand: set[str] = set()
        """Observations that went out, or back, by a person's word."""
        self.mistaken: set[str] = set()
        """Those of them that a person put in the wrong place."""
        self.lost: set[str] = set()
        self.checked = 0
        self._since_backup: list[str] = []
        self._acked_since: list[int] = []
        self._told_then = 0
        self._made: dict[str, int] = {}
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
        """Not under a label that is at an analyzer this very hour on another person's tube: nobody could see it.

        Nor under one from which another tube was filled: which of the two is meant, only the label says.
        """
        if any(t.taken_from is not None and t.taken_from.parent.specimen == specimen for t in self.tubes):
            return False
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
        if said:
            tube.disturbed = True
        order = Order(f"P{self.next()}", code)
        self.orders[order.placer] = order
        self._emr_says("NW", order, tube, pid)
        return order

    def of(self, tube: Tube) -> list[Order]:
        """The orders that stand on a tube, open or not, now."""
        return [order for order in self.orders.values() if order.now.tube is tube]

    def cancel(self, order: Order, word: str) -> None:
        """The EMR takes an order back: CA or DC."""
        order.now.tube.disturbed = True
        self._emr_says(word, order, order.now.tube, order.now.pid)

    def reopen(self, order: Order) -> None:
        """The EMR sends a cancelled order anew under its number."""
        order.now.tube.disturbed = True
        self._emr_says("NW", order, order.now.tube, order.now.pid)

    def correct(self, order: Order) -> None:
        """The EMR mends the patient of an order."""
        order.now.tube.disturbed = True
        self._emr_says("XO", order, order.now.tube, order.now.tube.said)

    def move(self, order: Order, tube: Tube) -> None:
        """The EMR says that an order is for another tube."""
        for one in (order.now.tube, tube):
            one.disturbed = True
        self._emr_says("XO", order, tube, order.now.pid)

    def aliquot(self, parent: Tube, *, with_order: str) -> Tube:
        """A tube is filled from another one, and the EMR says so, with an order on either (a code); "": with that of the parent."""
        tube = Tube(self.next(), f"L{self.next():03}", parent.person, parent.said, self.now, disturbed=parent.disturbed)
        self.tubes.append(tube)
        taken = Taken(self._last_delivery(), parent)
        tube.taken_from = taken
        if with_order:
            order = Order(f"P{self.next()}", with_order)
            self.orders[order.placer] = order
            for one in (tube, parent):
                one.disturbed = True
            self._emr_says("NW", order, tube, tube.said, parent=parent.specimen, taken=taken)
        elif mine := [o for o in self.of(parent) if o.now.is_open]:
            self._emr_says("NW", mine[0], parent, mine[0].now.pid, container=tube.specimen, taken=taken)
        else:
            tube.taken_from = None  # there is no message that could say so
        return tube

    def merge(self) -> None:
        """The EMR finds that two numbers are one person."""
        survivor, merged = PEOPLE["lan"]
        stands = [
            self._stand(order, old.tube, survivor, is_open=old.is_open)
            for order in self.orders.values()
            for old in order.stands()
            if old.pid == merged
        ]
        for one in stands:
            one.tube.disturbed = True
        self._tell(
            f"MSH|^~\\&|HIS|H|||{self._clock()}||ADT^A40^ADT_A39|{self.next()}|P|2.5.1\r"
            f"EVN||{self._clock()}\r{self._pid(survivor)}MRG|{merged}^^^TH^MR\r",
            stands,
        )

    def update(self, pid: str, *, right: bool) -> None:
        """The EMR has new particulars of a patient (A08), right ones or mistyped ones."""
        self.births[pid] = BIRTHS[who_has(pid)][0] if right else MISTYPED
        stands = [
            self._stand(order, old.tube, pid, is_open=old.is_open)
            for order in self.orders.values()
            for old in order.stands()
            if old.pid == pid
        ]
        for one in stands:
            one.tube.disturbed = True
        self._tell(
            f"MSH|^~\\&|HIS|H|||{self._clock()}||ADT^A08^ADT_A01|{self.next()}|P|2.5.1\r"
            f"EVN||{self._clock()}\r{self._pid(pid)}PV1|1|I\r",
            stands,
        )

    def _stand(self, order: Order, tube: Tube, pid: str, *, is_open: bool) -> Stand:
        stand = Stand(self._last_delivery(), self.now, tube, pid, self.births[pid], is_open)
        # Behind the last word about this tube, so that the last of all stays what it is.
        at = max(n for n, one in enumerate(order.history) if one.tube is tube)
        order.history.insert(at + 1, stand)
        return stand

    def _pid(self, pid: str) -> str:
        return f"PID|1||{pid}^^^TH^MR||TEN^HO||{self.births[pid]}|{BIRTHS[who_has(pid)][1]}\r"

    def _emr_says(
        self, word: str, order: Order, tube: Tube, pid: str, *, parent: str = "", container: str = "", taken: Taken | None = None
    ) -> None:  # fmt: skip
        said: list[Stand | Taken] = [taken] if taken else []
        if order.history and order.now.tube is not tube:
            old = order.now
            order.history.append(Stand(self._last_delivery(), self.now, old.tube, old.pid, old.born, is_open=False))
            said.append(order.now)
        is_open = word in ("NW", "XO")
        # A cancellation names the order; what it says of the patient changes nothing.
        born = self.births[pid] if is_open else order.now.born
        order.history.append(Stand(self._last_delivery(), self.now, tube, pid, born, is_open))
        said.append(order.now)
        self._tell(
            f"MSH|^~\\&|HIS|H|||{self._clock()}||OML^O21^OML_O21|{self.next()}|P|2.5.1\r{self._pid(pid)}"
            f"ORC|{word}|{order.placer}\rOBR|1|{order.placer}||{order.code}^test|||{tube.drawn:%Y%m%d%H%M%S}\r"
            f"SPM|1|{tube.specimen}|{parent}|BLD\r" + (f"SAC|||{container}|{tube.specimen}\r" if container else ""),
            said,
        )

    def _tell(self, message: str, says: Sequence[Stand | Taken]) -> None:
        self.told.append((message.encode(), says))
        self.again(message.encode())

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
            born = BIRTHS[tube.person][0] if naming and tube else ""
            rows.append(f"P|{number}||{tube.said if naming and tube else ''}||||{born}")
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
        born = BIRTHS[tube.person][0] if naming else None
        self.values[value] = Sent(tube, test, in_emr, tube.said if naming else None, born)
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
        for row in raw.decode().split("\r"):
            if row.startswith("R|") and (sent := self.values.get(row.split("|")[3])):
                sent.arrivals.append(self.now)
                sent.by.add(instrument)
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

    def made(self) -> dict[str, int]:
        """Every delivery there ever was, by control id, counted as they were made. Their own numbers begin anew when the
        newest are taken out."""
        for (control_id,) in self.rows("SELECT control_id FROM delivery ORDER BY id"):
            self._made.setdefault(str(control_id), len(self._made) + 1)
        return self._made

    def _last_delivery(self) -> int:
        return len(self.made())

    def fingerprint(self) -> list[Any]:
        """Counts that any change would show in."""
        tables = ("transmission", "result", "observation", "delivery", "delivery_observation", "lab_order")
        return [
            *(self.rows(f"SELECT count(*) FROM {table}") for table in tables),
            self.rows("SELECT id, state FROM transmission"),
            self.rows("SELECT id, state, row_version FROM observation"),
        ]

    def rows(self, query: str) -> list[Any]:
        """Of the store, as it is committed."""
        return self.disk.read(query)

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
        self._told_then = len(self.told)

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
        for _, says in self.told:
            for one in says:
                one.behind = min(one.behind, last)
        for raw, says in self.told[self._told_then :]:
            for one in says:
                one.behind = self._last_delivery()
            self.again(raw)
