"""One laboratory on a store in memory: orders by HL7, results by ASTM, people's deeds, an EMR that takes what it gets.

Every job runs in its own transaction, as the writer would run it; a job that raises leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import StaticPool

from labgateway.cli.decode_command import shipped_drivers
from labgateway.instruments.driver import load
from labgateway.instruments.library import Library
from labgateway.mapping.table import parse
from labgateway.matching.attribute import Policy
from labgateway.model import Order, Report
from labgateway.orders import OrderRules
from labgateway.pipeline import deeds, take
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.order_book import Taken, take_orders
from labgateway.pipeline.rules import DestinationRules, InstrumentRules, Rules
from labgateway.store import journal, orders, outbox, results
from labgateway.store.observed import Stored
from labgateway.store.tables import metadata

T = TypeVar("T")

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DRIVER = load(shipped_drivers() / "generic_astm")
MAPPING, _ = parse(
    b'instrument = "xn1"\n[tests]\nWBC = { emr = "WBC" }\nHGB = { emr = "HGB", sane = [1, 30] }\nGLU = { emr = ["GLU", "GLU2H"] }\n'
    b'K = { emr = "K", rerun = "last" }\n[panels]\nCBC = ["WBC", "HGB"]\n[leave_out]\nRBC = "not wanted"\n',
    "xn1.toml",
)


@dataclass(frozen=True)
class Sent:
    """One observation as one destination is told it."""

    destination: str
    lane: str
    id: str
    letter: str
    code: str
    value: str | None
    placer: str | None
    patient: str | None
    replaces: str | None


def render(report: Report, control_id: str) -> bytes:
    """What the EMR gets, as JSON."""
    return json.dumps(
        [
            [o.id, o.letter.value, o.code, o.value, o.order.placer if o.order else None,
             report.patient.id if report.patient else None, o.replaces]
            for o in report.observations
        ]
    ).encode()  # fmt: skip


@dataclass
class Lab:
    """hours: since START, moved by hand."""

    policy: dict[str, Any] = field(default_factory=dict[str, Any])
    hours: float = 0.0
    manual: bool = False
    names: tuple[str, ...] = ("emr",)

    def __post_init__(self) -> None:
        assert MAPPING is not None
        self.engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        metadata.create_all(self.engine)
        one = InstrumentRules(DRIVER, MAPPING, manual=self.manual)
        self.rules = Rules(
            "v", ZoneInfo("UTC"), Policy(**self.policy), Library([DRIVER]), {"xn1": one, "xn2": one},
            tuple(DestinationRules(name, render) for name in self.names),
        )  # fmt: skip
        self.count = 0

    @property
    def now(self) -> datetime:
        return START + timedelta(hours=self.hours)

    def do(self, job: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return job(connection)

    def order(
        self, specimen: str, placer: str, *codes: str, patient: str = "P1", control: str = "NW", born: str = "",
        source: str = "emr", collected: str = "", more: tuple[str, ...] = (),
    ) -> Taken:  # fmt: skip
        """One OML^O21 with one ORC, OBR and SPM a code."""
        self.count += 1
        rows = [f"MSH|^~\\&|HIS||||20261122||OML^O21|{self.count}|P|2.5.1", f"PID|1||{patient}||A^B||{born}|M"]
        for code in codes or ("CBC",):
            rows += [f"ORC|{control}|{placer}", f"OBR|1|{placer}||{code}|||{collected}", f"SPM|1|{specimen}", *more]
        return self.hl7(*rows, source=source)

    def hl7(self, *rows: str, source: str = "emr") -> Taken:
        """Any order or ADT message."""
        data = ("\r".join(rows) + "\r").encode()
        reading = OrderRules(source=source)
        job = take_orders(data, peer="", rules=self.rules, reading=reading, now=self.now, control_id=new_id())
        return self.do(job)

    def merge(self, old: str, new: str) -> Taken:
        """ADT^A40."""
        return self.hl7("MSH|^~\\&|HIS||||20261122||ADT^A40|9|P|2.5.1", f"PID|1||{new}||A^B||19700101|M", f"MRG|{old}")

    def measure(
        self, specimen: str, *said: tuple[str, str], patient: str = "", instrument: str = "xn1", status: str = "F",
        at: str = "",
    ) -> list[Stored]:  # fmt: skip
        """One message; what became of it."""
        rows = ["H|\\^&|||X", f"P|1||{patient}", f"O|1|{specimen}||^^^{said[0][0]}"]
        rows += [f"R|{n}|^^^{code}|{value}|||||{status}||||{at}" for n, (code, value) in enumerate(said, 1)]
        raw = "\r".join([*rows, "L|1|N", ""]).encode()

        def keep(connection: Connection) -> int:
            return journal.append(
                connection, instrument=instrument, protocol="astm", peer="", received_at=self.now, raw=raw
            )

        number = self.do(keep)
        self.do(take.process(number, self.rules, self.now))
        return self.do(lambda c: results.of_transmission(c, number))

    def act(self, action: str, subject: str, **more: Any) -> deeds.Deed:
        """A person decides, seeing the row as it stands unless ``version`` says otherwise."""
        self.hours += 1 / 3600
        request = {"action": action, "id": subject, "who": "Hoa", "because": "looked", **more}
        if len(subject) == 20 and "version" not in more:
            request["version"] = self.get(subject).row_version
        return self.do(deeds.deed(request, self.rules, self.now))

    def get(self, number: str) -> Stored:
        found = self.do(lambda c: results.get(c, number))
        assert found is not None
        return found

    def orders(self, specimen: str) -> list[Order]:
        return self.do(lambda c: orders.for_specimen(c, specimen))

    def owed(self) -> list[Sent]:
        """Everything that was made for the destinations, in its order."""
        rows = self.do(lambda c: c.execute(text("SELECT destination, lane, body FROM delivery ORDER BY id")).all())
        return [Sent(row.destination, row.lane, *one) for row in rows for one in json.loads(row.body)]

    def settle(self, limit: int = 100) -> int:
        """The EMR takes what may go."""
        done = 0
        for name in self.names:
            for one in self.do(lambda c, name=name: outbox.ready(c, name, limit)):
                self.do(lambda c, one=one: outbox.settle(c, one.id, "AA", self.now))
                done += 1
        return done

    def audit(self) -> list[tuple[str, str, str]]:
        """(who, action, subject), oldest first."""
        rows = self.do(lambda c: c.execute(text("SELECT who, action, subject FROM audit ORDER BY id")).all())
        return [(row.who, row.action, row.subject) for row in rows]
