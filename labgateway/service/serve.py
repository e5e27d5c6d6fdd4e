"""One process from start to end: config, lock, store, gateway, signals, watchdog, reload.

start ── config cannot be used ──> exit 2, complaints on stderr
  │  └── data folder in use, store refuses, port taken ──> exit 1, one clear line
  v
ready (systemd READY=1) ── SIGHUP or a changed file ──> reload: the new config as a whole, or the old one stays
  │                     └─ the store broke (fsync, I/O) ──> exit 74 at once; systemd starts a process that reads the disk again
  v
SIGTERM, SIGINT ──> lines closed, what is in flight settled, store closed: within 5 s, exit 0
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from watchfiles import watch

from labgateway import __version__
from labgateway.config import Config, load
from labgateway.errors import ComplaintsError, LabgatewayError, NodeLostError, StoreBrokenError
from labgateway.gateway import Gateway
from labgateway.service import control, logs, systemd
from labgateway.store.engine import Store
from labgateway.store.nodes import Seat

EXIT_PROBLEM = 1
EXIT_WRONG_CALL = 2
EXIT_IO_ERROR = 74
"""EX_IOERR of sysexits.h: the disk, not the config."""

_STOP_S = 4.5
"""SIGTERM ends within 5 s; what is not settled by then is sent again after the next start."""
_PULSE_S = 10.0
_SETTLE_MS = 400
"""A file that is being written changes several times; wait until it rests."""


def serve(config_path: Path, *, level: str = "info") -> int:
    """Run until told to stop; returns the exit code."""
    logs.configure(level)
    # The writer thread and the event loop share the interpreter: switch often, so that a frame never
    # waits 5 ms (Python's default) for a result row.
    sys.setswitchinterval(0.0005)
    try:
        config = load(config_path)
    except ComplaintsError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_CALL
    return asyncio.run(_Service(config_path, config).run())


class _Service:
    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.say = logs.sayer()
        self.stopping = asyncio.Event()
        self.reload_wanted = asyncio.Event()
        self.broken = False

    async def run(self) -> int:
        """Start, serve, stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self.reload_wanted.set)
        try:
            self.config.gateway.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            seat = None if (nodes := self.config.nodes) is None else Seat(nodes.name, nodes.lease_s)
            store = await asyncio.to_thread(Store.open, self.config.store_url, on_broken=self._broke, seat=seat)
        except (LabgatewayError, OSError) as error:
            return self._refuse(error)
        try:
            gateway = Gateway(self.config, store, say=self.say)
            await gateway.start()
            door = await control.serve(self.config.gateway.data, gateway.act, gateway.watch)
        except (LabgatewayError, OSError) as error:
            await store.close()
            return self._refuse(error)
        self.say("ready", version=__version__, pid=os.getpid(), config_version=self.config.version[:12])
        systemd.notify("READY=1", f"STATUS={len(self.config.instruments)} instruments")
        tasks = [
            asyncio.create_task(self._reload_when_wanted(gateway)),
            asyncio.create_task(self._watch_files(gateway)),
            asyncio.create_task(self._pulse(gateway)),
        ]
        await self.stopping.wait()
        systemd.notify("STOPPING=1")
        for task in tasks:
            task.cancel()
        door.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await gateway.stop()
                await store.close()
        with contextlib.suppress(OSError):  # a file system that has turned read-only
            control.socket_path(self.config.gateway.data).unlink(missing_ok=True)
        self.say("stopped")
        if self.broken:
            # Do not wait for threads that may hang on the broken disk.
            sys.stdout.flush()
            os._exit(EXIT_IO_ERROR)
        return 0

    def _refuse(self, error: Exception) -> int:
        words = str(error) if isinstance(error, LabgatewayError) else f"{type(error).__name__}: {error.strerror}"  # type: ignore[attr-defined]
        print(f"labgateway cannot start: {words}", file=sys.stderr)
        self.say("cannot_start", level="error", error=type(error).__name__)
        return EXIT_PROBLEM

    def _stop(self, name: str) -> None:
        self.say("stopping", signal=name)
        self.stopping.set()

    def _broke(self, error: StoreBrokenError) -> None:
        """In the loop: nothing is acknowledged any more; end so that systemd starts a new process."""
        self.broken = True
        if isinstance(error, NodeLostError):
            self.say("node_lost_itself", level="error", why="it was silent for too long, and another node serves now")
            self.stopping.set()
            return
        self.say("store_broken", level="error", error=type(error.__cause__ or error).__name__)
        self.stopping.set()

    async def _reload_when_wanted(self, gateway: Gateway) -> None:
        while True:
            await self.reload_wanted.wait()
            self.reload_wanted.clear()
            systemd.reloading()
            try:
                config = await asyncio.to_thread(load, self.path)
                await gateway.reload(config)
            except ComplaintsError as error:
                # The old config stays as it is, as a whole.
                for complaint in error.complaints:
                    self.say(
                        "reload_refused", level="error", file=complaint.file, line=complaint.line, key=complaint.key
                    )
            except LabgatewayError as error:
                self.say("reload_refused", level="error", why=str(error))
            else:
                self.config = config
                self.say("reloaded", config_version=config.version[:12])
            systemd.notify("READY=1")

    async def _watch_files(self, gateway: Gateway) -> None:
        """A changed mapping or driver file is a reload too."""
        end = threading.Event()
        try:
            while True:
                folders = [folder for folder in gateway.watched() if folder.is_dir()]
                if not folders:
                    await asyncio.sleep(_PULSE_S)
                elif await asyncio.to_thread(_changed, folders, end):
                    self.reload_wanted.set()
        finally:
            end.set()

    async def _pulse(self, gateway: Gateway) -> None:
        """Tell the watchdog that loop and store are alive: a ping only after a round trip through both."""
        every = systemd.watchdog_s() or _PULSE_S
        while True:
            started = time.monotonic()
            await gateway.beat()
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(max(0.1, every - (time.monotonic() - started)))


def _changed(folders: list[Path], end: threading.Event) -> bool:
    """Wait until a .toml file below the folders has changed and rests again (True), or a while has passed."""
    for changes in watch(
        *folders, debounce=_SETTLE_MS, step=100, stop_event=end, rust_timeout=2000, yield_on_timeout=True
    ):
        return any(name.endswith(".toml") for _, name in changes)
    return False
