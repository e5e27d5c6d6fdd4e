"""The running gateway as a process: config file, start, wait for readiness, signals, its log."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.end_to_end.analyzer import wait_until

_given: set[int] = set()


def free_port() -> int:
    """A port that was free a moment ago, and was not given before in this process: one config may name many."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


class Gateway:
    """``labgateway run`` on a config file in ``folder``."""

    def __init__(self, folder: Path, config: str, *, prefix: list[str] | None = None) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.config.write_text(config, encoding="utf-8")
        self.prefix = prefix or []
        self.log: list[dict[str, Any]] = []
        self.raw_log: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self, *, patience_s: float = 30.0) -> Gateway:
        """Start and wait until it says that it is ready."""
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "labgateway", "run", "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        seen = len(self.log)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        wait_until(
            lambda: any(line.get("event") == "ready" for line in self.log[seen:]) or self.process.poll() is not None,  # pyright: ignore
            patience_s=patience_s,
            what="the gateway's readiness; its log:\n" + "\n".join(self.raw_log[-20:]),
        )
        if self.process.poll() is not None:
            raise AssertionError("the gateway did not start:\n" + "\n".join(self.raw_log))
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.raw_log.append(line.rstrip("\n"))
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                self.log.append(value)  # pyright: ignore

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        return [line for line in self.log if line.get("event") == name]

    def reload(self) -> None:
        """SIGHUP."""
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """kill -9, of what runs below a prefix such as strace too."""
        assert self.process
        if self.prefix:
            subprocess.run(["pkill", "-9", "-P", str(self.process.pid)], check=False)
        self.process.kill()
        self.process.wait()

    def stop(self, *, patience_s: float = 10.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience_s)

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Another labgateway command on the same config."""
        done = subprocess.run(
            [sys.executable, "-m", "labgateway", *args, "--config", str(self.config)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode not in (0, 1):
            raise AssertionError(f"labgateway {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def status(self) -> dict[str, Any]:
        """``labgateway status --json``."""
        return json.loads(self.run("status", "--json").stdout)

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
