"""Brokers of the tests' own: Mosquitto and nats-server on free ports, started and killed at will."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import free_port


class Server:
    """A server process on a port of its own."""

    def __init__(self, command: list[str], port: int) -> None:
        self.command = command
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait for the port."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, what=f"{self.command[0]} on port {self.port}")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """SIGSTOP: the port takes connections, nobody answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        wait_until(lambda: all(_state(one) == "T" for one in tasks.iterdir()), what="the stop of every thread")

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def _binary(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"no {name} here: apt-get install {package}")
    return found


def mosquitto(folder: Path, *, more: str = "allow_anonymous true", port: int | None = None) -> Server:
    """Mosquitto with its state in the folder."""
    binary = _binary("mosquitto", "mosquitto")
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)  # started by root it runs as its own user
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\npersistence true\npersistence_location {folder}/\nautosave_on_changes true\n"
        f"autosave_interval 1\nuser root\n{more}\n"
    )
    return Server([binary, "-c", str(config)], port)


def nats(folder: Path, *, more: str = "", port: int | None = None) -> Server:
    """nats-server with JetStream in the folder."""
    binary = _binary("nats-server", "nats-server")
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/js" }}\n{more}\n')
    return Server([binary, "-c", str(config)], port)
