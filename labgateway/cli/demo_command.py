"""``labgateway demo``: the gateway at work for a minute, live in this terminal; nothing is kept.

The gateway is a process of its own, as under systemd, on SQLite in a temporary folder. The players (analyzers and
EMR) live here and count what they see themselves; the summary holds both counts against each other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import sys
import tempfile
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

from labgateway.cli.common import Parsers
from labgateway.errors import LabgatewayError

_OUTAGE = (0.35, 0.65)
"""When the EMR is away, as parts of the whole time."""
_CONFLICT, _STRANGE = 0.12, 0.22


def add_parser(commands: Parsers) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "demo",
        help="see it work: three analyzers, an EMR, an outage; one minute, nothing is kept",
        description="Starts a gateway on SQLite in a temporary folder, with three simulated analyzers (two ASTM, one HL7) and "
        "a small EMR. Shows orders coming in, results going from bytes to accepted, one that is parked and why, and an "
        "EMR outage with catch-up. Ends by itself or on Ctrl-C, with a summary that adds up.",
    )
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="how long (default 60)")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a live screen")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    try:
        return asyncio.run(_Demo(max(6.0, args.seconds), plain=args.plain or not sys.stdout.isatty()).play())
    except LabgatewayError as error:
        print(f"labgateway demo: {error}", file=sys.stderr)
        return 1


def _free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class _Demo:
    def __init__(self, seconds: float, *, plain: bool) -> None:
        from labgateway.cli import demo_play as play

        self.seconds = seconds
        self.plain = plain
        self.play_ = play
        self.tally = play.Tally()
        self.news: deque[str] = deque(maxlen=14)
        self.status: dict[str, Any] = {}
        self.parked: list[Any] = []
        self.patients: dict[str, str] = {}
        self.emr = play.Emr(self.tally, self.patients.get)
        self.unacknowledged = 0
        self.started = 0.0

    async def play(self) -> int:
        """The whole piece."""
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory(prefix="labgateway-demo-") as name:
            folder = Path(name)
            process = await self._start(folder)
            stop = asyncio.Event()
            import signal

            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
            try:
                self.started = loop.time()
                watch = asyncio.create_task(self._watch(folder, stop))
                story = asyncio.create_task(self._story(stop))
                with self._screen() as refresh:
                    while not story.done():
                        refresh()
                        await asyncio.wait([story], timeout=0.25)
                    await self._settle(folder, refresh)
                watch.cancel()
                story.result()
                return self._summary()
            finally:
                if process.returncode is None:
                    process.terminate()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(8):
                            await process.wait()
                if process.returncode is None:
                    process.kill()

    async def _start(self, folder: Path) -> asyncio.subprocess.Process:
        play = self.play_
        xn1, c311, bc5, orders = _free_ports(4)
        await self.emr.come()
        self.ports = {"xn1": xn1, "c311": c311, "bc5": bc5, "orders": orders}
        (folder / "mappings").mkdir()
        for name, text in play.MAPPINGS.items():
            (folder / "mappings" / name).write_text(text, encoding="utf-8")
        config = folder / "config.toml"
        config.write_text(play.CONFIG.format(**self.ports, emr=self.emr.port), encoding="utf-8")
        log = (folder / "log.json").open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "labgateway", "run", "--config", str(config), stdout=log, stderr=log
        )
        log.close()
        for _ in range(300):
            if b'"ready"' in (folder / "log.json").read_bytes():
                break
            if process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        else:
            process.kill()
        if process.returncode is not None or b'"ready"' not in (folder / "log.json").read_bytes():
            raise LabgatewayError("the gateway did not start:\n" + (folder / "log.json").read_text()[-2000:])
        self.folder = folder
        self._tell("the gateway is ready: three analyzers' ports are open, orders come on another")
        return process

    # --- the story ---

    async def _story(self, stop: asyncio.Event) -> None:
        play = self.play_
        chance = random.Random(3)  # noqa: S311  # invented values, no secret
        tubes = play.visits()
        analyzers = {name: play.Analyzer(name, self.ports[name]) for name in ("xn1", "c311", "bc5")}
        conflict = strange = False
        number = 0
        while not stop.is_set() and (part := self._part()) < 0.85:
            if _OUTAGE[0] <= part < _OUTAGE[1]:
                if not self.emr.away:
                    self.emr.leave()
                    self._tell("[bold red]the EMR is away[/]: results are kept and wait", "the EMR is away")
            elif self.emr.away:
                await self.emr.come()
                self._tell("[bold green]the EMR is back[/]: everything catches up, in order", "the EMR is back")
            visit = tubes.popleft()
            number += 1
            self.patients[visit.specimen] = visit.patient
            now = datetime.now()  # noqa: DTZ005  # analyzers write local time
            if await self.emr.order(self.ports["orders"], play.order_message(visit, number, now)):
                self._tell(f"EMR orders {', '.join(visit.tests)} on tube {visit.specimen}")
            born, odd = "", False
            if not conflict and part >= _CONFLICT and visit.instrument == "xn1":
                conflict, born = True, "19010101"
            elif not strange and part >= _STRANGE and visit.instrument == "c311":
                strange = odd = True
            message = play.records(visit, now, chance, born=born, strange=odd)
            count = message.count(b"\rR|") + message.count(b"\rOBX|")
            try:
                taken = await analyzers[visit.instrument].send(message)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                taken = False
            if taken:
                self.tally.sent_messages += 1
                self.tally.sent_results += count
                self._tell(
                    f"{visit.instrument} sends {len(message)} bytes, {count} results of tube {visit.specimen}: acknowledged, on disk"
                )
            else:
                self.unacknowledged += count
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.15, self.seconds / 80)):
                    await stop.wait()
        if self.emr.away:
            await self.emr.come()
            self._tell("[bold green]the EMR is back[/]", "the EMR is back")
        for analyzer in analyzers.values():
            analyzer.close()

    def _part(self) -> float:
        return (asyncio.get_running_loop().time() - self.started) / self.seconds

    def _tell(self, words: str, plain: str = "") -> None:
        stamp = datetime.now().strftime("%H:%M:%S")  # noqa: DTZ005  # the terminal's own clock
        self.news.append(f"[dim]{stamp}[/] {words}")
        if self.plain:
            print(f"{stamp} {plain or words}", flush=True)

    # --- watching the gateway ---

    async def _watch(self, folder: Path, stop: asyncio.Event) -> None:
        while True:
            await self._look(folder)
            await asyncio.sleep(0.3)

    async def _look(self, folder: Path) -> None:
        from labgateway.service import control
        from labgateway.store import worklist
        from labgateway.store.engine import Store

        def items() -> list[Any]:
            store = Store.open(f"sqlite:///{folder}/data/labgateway.db", readonly=True)
            try:
                return store.read_now(worklist.items)
            finally:
                store.close_now()

        with contextlib.suppress(LabgatewayError, OSError):
            self.status = await asyncio.to_thread(control.ask, folder / "data", {"action": "status"})
            known = len(self.parked)
            self.parked = await asyncio.to_thread(items)
            if self.plain:
                for item in self.parked[known:]:
                    print(
                        f"         parked: {item.where} {item.code}: {item.problem.reason.what} {item.problem.reason.cure}",
                        flush=True,
                    )

    def _waiting(self) -> int:
        return int(self.status.get("deliveries", {}).get("emr", {}).get("waiting", 0)) + int(
            self.status.get("to_process", 0)
        )

    async def _settle(self, folder: Path, refresh: Any) -> None:
        """Let the queue run empty, at most as long as the demo took."""
        self._tell("the analyzers rest; the queue runs empty")
        until = asyncio.get_running_loop().time() + self.seconds
        await asyncio.sleep(0.5)
        await self._look(folder)
        while self._waiting() and asyncio.get_running_loop().time() < until:
            refresh()
            await asyncio.sleep(0.3)
            await self._look(folder)
        await self._look(folder)
        refresh()

    @contextlib.contextmanager
    def _screen(self) -> Any:
        if self.plain:
            yield lambda: None
            return
        from rich.live import Live

        with Live(self._picture(), refresh_per_second=6, screen=False) as live:
            yield lambda: live.update(self._picture())

    def _picture(self) -> Any:
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        states = self.status.get("observations", {})
        way = self.status.get("destinations", {}).get("emr", {})
        owed = self.status.get("deliveries", {}).get("emr", {})
        top = Table.grid(expand=True, padding=(0, 2))
        for _ in range(4):
            top.add_column()
        lines = "\n".join(
            f"{name}  {line.get('messages', 0)} messages" for name, line in self.status.get("lines", {}).items()
        )
        emr = "[bold red]away[/]" if self.emr.away else "[bold green]answering[/]"
        top.add_row(
            Panel(lines or "starting", title="analyzers"),
            Panel(
                f"released {states.get('released', 0)}\nheld {states.get('held', 0)}\nwaiting {states.get('waiting', 0)}",
                title="results",
            ),
            Panel(
                f"waiting {owed.get('waiting', 0)}\naccepted {owed.get('settled', 0)}\nsender {way.get('state', '-')}",
                title="queue",
            ),
            Panel(
                f"{emr}\n{len(self.tally.accepted)} results in charts\n{self.tally.repeats} repeats dropped",
                title="EMR",
            ),
        )
        parked = Table.grid(padding=(0, 1))
        for item in self.parked[:4]:
            parked.add_row(f"[yellow]{item.where}[/]", f"{item.code} {item.value or ''}", item.problem.reason.what)
            parked.add_row("", "", f"[green]{item.problem.reason.cure}[/]")
        if not self.parked:
            parked.add_row("nothing yet")
        elif len(self.parked) > 4:
            parked.add_row(f"… and {len(self.parked) - 4} more")
        left = max(0, self.seconds * (1 - self._part()))
        return Group(
            Text.from_markup(f"[bold]labgateway demo[/]  {left:.0f} s to go, Ctrl-C ends it"),
            top,
            Panel(Text.from_markup("\n".join(self.news)), title="what happens"),
            Panel(parked, title="what waits for a person, and what to do"),
        )

    def _summary(self) -> int:
        states: dict[str, int] = self.status.get("observations", {})
        owed: dict[str, int] = self.status.get("deliveries", {}).get("emr", {})
        known = sum(states.values())
        released = states.get("released", 0)
        rest = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "released") or "none"
        checks = [
            (
                f"{self.tally.sent_results} results acknowledged to the analyzers = {known} in the store",
                self.tally.sent_results == known,
            ),
            (f"{known} in the store = {released} released + others ({rest})", True),
            (
                f"{released} released = {len(self.tally.accepted)} in the EMR's charts",
                released == len(self.tally.accepted),
            ),
            (
                f"{owed.get('settled', 0)} deliveries accepted, {owed.get('waiting', 0)} still waiting",
                owed.get("waiting", 0) == 0,
            ),
            (f"{self.tally.wrong} under another patient", self.tally.wrong == 0),
        ]
        print(f"\nIn {self.seconds:.0f} s three analyzers sent {self.tally.sent_messages} messages.")
        for words, good in checks:
            print(f"  {'adds up' if good else 'DOES NOT ADD UP'}: {words}")
        if self.tally.repeats:
            print(
                f"  {self.tally.repeats} came to the EMR twice (an answer got lost in the outage) and were dropped by their id"
            )
        for item in self.parked:
            print(f"  parked: {item.where} {item.code}: {item.problem.reason.what} {item.problem.reason.cure}")
        print('Next: labgateway decode FILE on one of your own messages, then README.md, "Connect an analyzer".')
        return 0 if all(good for _, good in checks) else 1
