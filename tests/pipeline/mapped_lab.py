"""A small laboratory on a store of its own: orders come, an analyzer sends, a person decides. No sockets, own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from labgateway.cli.decode_command import shipped_drivers
from labgateway.delivery.oru import OruOptions, render
from labgateway.instruments.driver import load
from labgateway.instruments.library import Library
from labgateway.mapping.table import Mapping, parse, settle
from labgateway.matching.attribute import Policy
from labgateway.model import Order, Patient, Report, Settings
from labgateway.pipeline import deeds, take
from labgateway.pipeline.rules import DestinationRules, InstrumentRules, Rules
from labgateway.store import journal, orders, results
from labgateway.store.engine import Store
from labgateway.store.observed import Stored

DRIVER = load(shipped_drivers() / "generic_astm")
START = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
SETTINGS = Settings("LABGATEWAY", "TEST", "Asia/Ho_Chi_Minh")


def mapping_of(text: str) -> Mapping:
    """A mapping without a mistake."""
    mapping, complaints = parse(text.encode(), "m.toml")
    assert mapping is not None and not complaints, complaints
    return settle(mapping, {})


class Lab:
    """Its clock moves only when told. ``sent``: every OBX and NTE that left, oldest first."""

    def __init__(self, folder: Path, mapping: str, *, others: dict[str, str] | None = None, **policy: Any) -> None:
        self.store = Store.open(f"sqlite:///{folder}/labgateway.db")
        self._loop = asyncio.new_event_loop()
        self.now = START
        self.policy = Policy(**policy)
        self.mappings = {"a1": mapping, **(others or {})}
        self.manual: set[str] = set()

    @property
    def rules(self) -> Rules:
        """The rules of now."""
        instruments = {
            name: InstrumentRules(DRIVER, mapping_of(text), manual=name in self.manual)
            for name, text in self.mappings.items()
        }
        return Rules(
            "v", ZoneInfo("Asia/Ho_Chi_Minh"), self.policy, Library([DRIVER]), instruments,
            (DestinationRules("emr", _render),),
        )  # fmt: skip

    def wait(self, **delta: float) -> None:
        """Time passes."""
        self.now += timedelta(**delta)

    def do(self, job: Callable[..., Any]) -> Any:
        """One transaction."""
        return self._loop.run_until_complete(self._submit(job))

    async def _submit(self, job: Callable[..., Any]) -> Any:
        return await self.store.submit(job)

    def order(self, specimen: str, *codes: str, patient: str = "P1", **more: Any) -> None:
        """The EMR orders tests on a specimen; what waited for them is judged again."""
        born, sex = more.pop("born", "19700102"), more.pop("sex", "M")

        def job(connection: Any) -> None:
            for code in codes:
                order = Order(
                    "emr", specimen, f"{specimen}-{code}", code, Patient(patient, f"{patient}^^^TH^MR", "X^Y", born, sex),
                    collected_at=self.now - timedelta(minutes=1),
                )  # fmt: skip
                orders.put(connection, replace(order, **more), self.now)
            take.judge_again(connection, [specimen], self.rules, self.now)

        self.do(job)

    def send(self, specimen: str, *said: str, instrument: str = "a1", status: str = "F") -> int:
        """An analyzer sends results, each "CODE VALUE [UNIT [FLAG]]"; the number of its message."""
        rows = [f"O|1|{specimen}||^^^ALL"]
        for number, text in enumerate(said, 1):
            code, value, unit, flag = (*text.split(" "), "", "")[:4]
            rows.append(f"R|{number}|^^^{code}|{value}|{unit}||{flag}||{status}||||{self.now:%Y%m%d%H%M%S}")
        raw = "\r".join(["H|\\^&|||X", "P|1", *rows, "L|1|N", ""]).encode()
        number = self.do(
            lambda c: journal.append(c, instrument=instrument, protocol="astm", peer="", received_at=self.now, raw=raw)
        )
        self.process(number)
        return int(number)

    def process(self, number: int) -> None:
        """Process a stored message."""
        self.do(take.process(number, self.rules, self.now))

    def replay(self, number: int) -> None:
        """Read a message again."""
        self.do(lambda c: journal.reopen(c, number))
        self.process(number)

    def decide(self, action: str, one: Stored, **more: Any) -> str:
        """A person releases or rejects."""
        request = {
            "action": action,
            "id": one.id,
            "who": "Hoa",
            "because": "looked",
            "version": one.row_version,
            **more,
        }
        return str(self.do(deeds.deed(request, self.rules, self.now)).words)

    def seen(self, specimen: str) -> list[Stored]:
        """Everything observed on a specimen."""
        return self.store.read_now(lambda c: results.of_specimen(c, specimen))

    def states(self, specimen: str) -> list[str]:
        """Each observation as "CODE VALUE STATE [REASON]"."""
        return [
            " ".join(filter(None, [one.code, one.value or "-", one.state, one.problem and one.problem.reason.name]))
            for one in self.seen(specimen)
        ]

    def one(self, specimen: str, code: str) -> Stored:
        """The last observation of a test on a specimen."""
        return [one for one in self.seen(specimen) if one.code == code][-1]

    @property
    def sent(self) -> list[str]:
        """Every OBX and NTE that left, cut to what is asked for here: code, value, unit, range, flags, letter."""
        found: list[str] = []
        for body in self.store.read_now(bodies):
            for line in body.decode().split("\r"):
                parts = [*line.split("|"), *[""] * 12]
                if parts[0] == "OBX":
                    unit = parts[6].split("^")[0]
                    found.append("|".join([parts[3].split("^")[0], parts[5], unit, parts[7], parts[8], parts[11]]))
                elif parts[0] == "NTE":
                    found.append(f"NTE {parts[3]}")
        return found

    def close(self) -> None:
        """The end."""
        self._loop.run_until_complete(self.store.close())
        self._loop.close()


def bodies(connection: Any) -> list[bytes]:
    """Every message that was made, oldest first."""
    from sqlalchemy import select

    from labgateway.store.tables import delivery

    return [bytes(row[0]) for row in connection.execute(select(delivery.c.body).order_by(delivery.c.id))]


def _render(report: Report, control_id: str) -> bytes:
    return render(report, SETTINGS, control_id, OruOptions())
