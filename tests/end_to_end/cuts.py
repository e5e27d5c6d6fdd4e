"""Lives that end suddenly: a gateway that receives and delivers is ended at one call, started again, and asked for the ledger.

    prepared store: K00 .. K02, three messages each, owed to an EMR that was away
      -> the EMR is there; two more tubes are measured; the gateway is killed at its N-th call of a kind (strace,
         RELIABILITY C1) -> what is settled must be at the EMR, what was acknowledged must be stored
      -> started again, to the end -> the EMR holds every result once, its own value, in order per specimen

The EMR takes the second message without answering, and closes after every third answer: retries and new connections
are part of every life. Instead of that EMR any other ``receivers.Receiver`` may stand there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, text

from labgateway.errors import StoreError
from labgateway.store.engine import Store
from tests.delivery.emr import Emr, Fault, Received
from tests.end_to_end.analyzer import Astm, RefusedError, frames_of, wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.receivers import Receiver

GATEWAY = (sys.executable, "-m", "labgateway")
CALLS = ("sendto", "recvfrom", "connect", "pwrite64", "fdatasync,fsync")
"""At which a gateway is killed; each alone, so that the N-th of one kind is about the same moment in every run."""
OWED = {f"K{n:02}": {"WBC": f"{n}.11", "HGB": f"{100 + n}", "PLT": f"{200 + n}"} for n in range(3)}
FRESH = {f"F{n:02}": {"WBC": f"{n}.22", "HGB": f"{120 + n}", "PLT": f"{300 + n}"} for n in range(2)}
_UNITS = {"WBC": "10*3/uL", "HGB": "g/dL", "PLT": "10*3/uL"}
_MAPPING = 'instrument = "xn1"\nchecked = "test"\n[tests]\nWBC = { emr = "WBC" }\nHGB = { emr = "HGB" }\nPLT = { emr = "PLT" }\n'


def strace(calls: str, n: int) -> list[str]:
    """Kill at the n-th of these calls, at most 65535. Not with --seccomp-bpf, which on some kernels makes every injection
    fail in silence.
    """
    return [
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={n}",
    ]  # fmt: skip


def messages(specimen: str, values: Mapping[str, str]) -> list[list[str]]:
    """One test a message: three deliveries of one lane, whose order can be seen."""
    return [
        [
            "H|\\^&|||    XN-1000^00-24^22723^^^^BD000001||||||||E1394-97",
            "P|1",
            f"O|1||^^{specimen:>22}^B|^^^^{code}|||||||N||||||||||||||F",
            f"R|1|^^^^{code}^1|{value}|{_UNITS[code]}||N||F||||20261122081500",
            "L|1|N",
        ]
        for code, value in values.items()
    ]


@dataclass
class House:
    """One site in a folder. url: of its store. fresh: what is measured while it lives, beside what is owed, by specimen
    and code.
    """

    folder: Path
    url: str
    fresh: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: FRESH)
    owed: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: OWED)
    destination: str = ""
    """Text of its section, without the name; empty: MLLP to the port below."""
    emr: int = field(default_factory=free_port)
    line: int = field(default_factory=free_port)

    def gateway(self) -> Gateway:
        """Not started."""
        (self.folder / "mappings").mkdir(parents=True, exist_ok=True)
        (self.folder / "mappings" / "xn1.toml").write_text(_MAPPING, encoding="utf-8")
        mllp = f'kind = "mllp"\nhost = "127.0.0.1"\nport = {self.emr}\nconnections = 2'
        return Gateway(
            self.folder,
            f"""\
[store]
url = "{self.url}"
[matching]
without_order = "send"
[instrument.xn1]
driver = "sysmex_xn"
mapping = "xn1.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {self.line} }}
[destination.emr]
{self.destination or mllp}
answer_s = 1
retry_first_s = 0.1
retry_max_s = 0.3
""",
        )

    @property
    def every(self) -> dict[str, Mapping[str, str]]:
        """All that is to reach the EMR."""
        return {**self.owed, **self.fresh}

    @property
    def done(self) -> tuple[int, int, int]:
        """What ``counts`` says at the end."""
        return 0, sum(map(len, self.every.values())), 0

    def open(self) -> Store:
        """The store, to read. Raises StoreError."""
        return Store.open(self.url, readonly=True)


def prepare(house: House) -> None:
    """Deliveries of what is owed, to an EMR that is not there."""
    with house.gateway() as gateway:
        analyzer = Astm(house.line)
        for specimen, values in house.owed.items():
            for one in messages(specimen, values):
                analyzer.session(frames_of(one))
        analyzer.close()
        store = house.open()
        wait_until(lambda: counts(store)[0] == 9, what="nine deliveries")
        store.close_now()
        assert gateway.stop() == 0
    (house.folder / "data" / "control.sock").unlink(missing_ok=True)


def counts(store: Store) -> tuple[int, int, int]:
    """Deliveries that wait, that are settled; messages not yet processed (any other state of a delivery counts 1000)."""

    def job(c: Connection) -> tuple[int, int, int]:
        by = {
            str(row[0]): int(row[1]) for row in c.execute(text("SELECT state, count(*) FROM delivery GROUP BY state"))
        }
        left = c.execute(text("SELECT count(*) FROM transmission WHERE state = 'stored'")).scalar_one()
        return by.pop("waiting", 0), by.pop("settled", 0), int(left) + 1000 * sum(by.values())

    return store.read_now(job)


def faults(seen: Sequence[Received]) -> Callable[[Received], Fault | None]:
    """See the module."""

    def of(_: Received) -> Fault | None:
        return Fault.CLOSE_BEFORE if len(seen) == 2 else Fault.CLOSE_AFTER if len(seen) % 3 == 0 else None

    return of


class Bench:
    """An analyzer that sends what is fresh, each message until it is acknowledged. acked: specimen and code, so far."""

    def __init__(self, house: House, pause_s: float = 0.0) -> None:
        self.acked: list[tuple[str, str]] = []
        self._fresh = self._fresh_all = house.fresh
        self._port = house.line
        self._pause_s = pause_s
        self._link: Astm | None = None

    def send(self, ended: Callable[[], bool], patience_s: float = 30.0) -> None:
        """Go on where it was, until all are through or the gateway has ended."""
        until = time.monotonic() + patience_s
        for specimen, values in self._fresh.items():
            for code, one in zip(values, messages(specimen, values), strict=True):
                while (specimen, code) not in self.acked:
                    if ended() or time.monotonic() > until:
                        return
                    try:
                        if self._link is None:
                            self._link = Astm(self._port, patience_s=1)
                        self._link.session(frames_of(one))
                    except (OSError, RefusedError):
                        self.hang_up()
                        time.sleep(0.03)
                        continue
                    self.acked.append((specimen, code))
                    time.sleep(self._pause_s)

    def only(self, specimen: str) -> None:
        """From now on nothing but this one."""
        self._fresh = {specimen: self._fresh_all[specimen]}

    def hang_up(self) -> None:
        """As after a broken session."""
        if self._link is not None:
            self._link.close()
            self._link = None


def check_halfway(house: House, emr: Receiver, bench: Bench) -> None:
    """With nothing running: settled only what the EMR said yes to; on disk what the analyzer was told is safe."""
    store = house.open()
    settled = store.read_now(
        lambda c: [str(row[0]) for row in c.execute(text("SELECT control_id FROM delivery WHERE state = 'settled'"))]
    )
    raws = store.read_now(lambda c: [bytes(row[0]) for row in c.execute(text("SELECT raw FROM transmission"))])
    store.close_now()
    assert set(settled) <= set(emr.accepted), "settled, and the EMR has never said yes"
    for specimen, code in bench.acked:
        assert any(specimen.encode() in raw and code.encode() in raw for raw in raws), "acknowledged, and not stored"


def check_the_end(house: House, store: Store, emr: Receiver) -> None:
    """Everything released is at the EMR, once in effect, each specimen's in order; and nothing else is there."""
    owed = store.read_now(
        lambda c: [
            (str(row[0]), str(row[1]))
            for row in c.execute(text("SELECT lane, control_id FROM delivery WHERE destination = 'emr' ORDER BY id"))
        ]
    )
    released = store.read_now(
        lambda c: [str(row[0]) for row in c.execute(text("SELECT observation_id FROM delivery_observation"))]
    )
    assert not emr.complaints, emr.complaints
    assert sorted(emr.charts) == sorted(released), "the EMR holds what nobody released, or lacks what was"
    held = [(one.specimen.split("^")[0], one.code.split("^")[0], one.value) for one in emr.charts.values()]
    assert sorted(held) == sorted((s, code, value) for s, all_ in house.every.items() for code, value in all_.items())
    for lane in house.every:
        mine = [control_id for of, control_id in owed if of == lane]
        assert [one for one in dict.fromkeys(emr.accepted) if one in mine] == mine, "out of order"
        assert [one for one in dict.fromkeys(emr.arrivals) if one in mine] == mine


async def life(house: House, cuts: Sequence[tuple[str, int]], program: Sequence[str] = GATEWAY) -> list[bool]:
    """Killed at each of these cuts, one start after the other, then to the end. Returns which cuts were reached."""
    async with Emr(port=house.emr) as emr:
        emr.fault = faults(emr.received)
        return await life_with(emr, house, cuts, program)


async def life_with(
    emr: Receiver, house: House, cuts: Sequence[tuple[str, int]], program: Sequence[str] = GATEWAY
) -> list[bool]:
    """The same with any receiver, which is there already."""
    reached: list[bool] = []
    bench = Bench(house)
    gateway = house.gateway()
    for calls, n in cuts:
        reached.append(await asyncio.to_thread(_until_killed, house, gateway.config, calls, n, program, bench))
        await emr.look()
        await asyncio.to_thread(check_halfway, house, emr, bench)
    await to_the_end(house, gateway, emr, bench)
    return reached


async def to_the_end(house: House, gateway: Gateway, emr: Receiver, bench: Bench) -> None:
    """Start, until nothing waits; then the ledger."""
    await asyncio.to_thread(gateway.start)
    try:
        await asyncio.to_thread(bench.send, lambda: False)
        store = await asyncio.to_thread(house.open)
        try:
            await asyncio.to_thread(wait_until, lambda: counts(store) == house.done, what="all settled")
        except AssertionError as error:
            raise AssertionError(f"{error}: {counts(store)}\n" + "\n".join(gateway.raw_log[-20:])) from None
        await emr.look(last=True)
        check_the_end(house, store, emr)
        await asyncio.to_thread(store.close_now)
    finally:
        bench.hang_up()
        gateway.kill()


def _until_killed(house: House, config: Path, calls: str, n: int, program: Sequence[str], bench: Bench) -> bool:
    """One start under strace. False: it had nothing more to do before its n-th call came, and was killed then."""
    process = subprocess.Popen(
        [*strace(calls, n), *program, "run", "--config", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        bench.send(lambda: process.poll() is not None)
        store: Store | None = None
        until = time.monotonic() + 15
        while process.poll() is None and time.monotonic() < until:
            with suppress(StoreError):
                store = store or house.open()
                if counts(store) == house.done:
                    break
            time.sleep(0.02)
        if store is not None:
            store.close_now()
        return process.poll() is not None
    finally:
        bench.hang_up()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def copied(prepared: House, folder: Path, destination: str = "") -> House:
    """The prepared SQLite site once more, in another folder, and with a destination that is there."""
    shutil.copytree(prepared.folder / "data", folder / "data")
    url = f"sqlite:///{folder}/data/labgateway.db"
    return House(folder, url, prepared.fresh, destination=destination)
