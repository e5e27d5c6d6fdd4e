"""A PostgreSQL server of a test's own, so that it can be killed: initdb from this machine's binaries, a free port.

As root the server runs as user postgres, for it refuses to be root; its folder then lies where that user may go.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.end_to_end.gateway import free_port

_USER = "postgres"


def binaries() -> Path | None:
    """Where initdb, pg_ctl and postgres are, the newest; None: not on this machine."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return versions[-1].parent if versions else None


class Cluster:
    """One server. data: its folder, given to user postgres. Starts nothing; ``start`` does."""

    def __init__(self, data: Path) -> None:
        found = binaries()
        assert found is not None
        self.data = data
        self.port = free_port()
        self._binaries = found
        self._postmaster = 0
        if os.geteuid() == 0:
            shutil.chown(data, _USER, _USER)
        data.chmod(0o700)
        self._run("initdb", "-D", str(data), "-U", _USER, "-A", "trust", "--no-locale", "-E", "UTF8")
        with (data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            # A full checkpoint is asked for by no test; a small server starts and recovers fast.
            conf.write("unix_socket_directories = ''\nlisten_addresses = '127.0.0.1'\nshared_buffers = 16MB\n")
            conf.flush()
            os.fsync(conf.fileno())

    def start(self) -> None:
        """Start, recover, wait until it answers."""
        if not self.pids():
            # Of a dead one, which PID 1 of a container may not have reaped: the server would take it for alive.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        # -l: else the server would keep the pipe to us open for ever.
        log = str(self.data / "log")
        self._run("pg_ctl", "-D", str(self.data), "-o", f"-p {self.port}", "-l", log, "-w", "-t", "30", "start")
        self._postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def stop(self, how: str = "fast") -> None:
        """``pg_ctl stop``. how: smart, fast or immediate (as a crash: recovery at the next start)."""
        found = self.pids()
        self._run("pg_ctl", "-D", str(self.data), "-m", how, "-w", "stop")
        self._gone(found)  # pg_ctl may come back while they still run, and then they still commit

    def kill(self) -> None:
        """kill -9 of the postmaster and of every process of its."""
        found = self.pids()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._gone(found)

    def _gone(self, found: list[int]) -> None:
        until = time.monotonic() + 20
        while any(map(_is_alive, found)):
            assert time.monotonic() < until, "processes of the server do not end"
            time.sleep(0.01)

    def pids(self) -> list[int]:
        """The postmaster first, then its children; empty when there is none. Not from its folder, whose disk may be gone."""
        first = self._postmaster
        with suppress(OSError):
            if first and _is_alive(first):
                children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
                return [first, *map(int, children)]
        return []

    def execute(self, statement: str, database: str = _USER) -> list[tuple[object, ...]]:
        """As its owner, outside a transaction."""
        with psycopg.connect(self._address(database), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def database(self, template: str = "template1") -> str:
        """A new database, maybe a copy of another; its name."""
        name = f"lab_{secrets.token_hex(5)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def url(self, database: str) -> str:
        """For [store] url."""
        return f"postgresql+psycopg://{_USER}@127.0.0.1:{self.port}/{database}"

    def _address(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={_USER} dbname={database} connect_timeout=5"

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [self._binaries / program, *args], check=False, capture_output=True, text=True, cwd="/",
            user=_USER if os.geteuid() == 0 else None, group=_USER if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
        )  # fmt: skip
        log = self.data / "log"
        said = log.read_text(errors="replace")[-2000:] if done.returncode and log.exists() else ""
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}{said}"


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def skip_unless_there_is_one() -> None:
    """Skip the test where no server can be made."""
    if binaries() is None:
        pytest.skip("no PostgreSQL binaries in /usr/lib/postgresql")
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            pytest.skip(f"root needs a user {_USER} to run a PostgreSQL server")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running server, gone with everything at the end."""
    skip_unless_there_is_one()
    folder = Path(tempfile.mkdtemp(prefix="labgateway-pg-"))
    folder.chmod(0o755)
    (folder / "data").mkdir()
    server = Cluster(folder / "data")
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
