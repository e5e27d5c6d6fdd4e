"""Facts about this machine for ``labgateway doctor``: looked up, never changed, but for one small file that is removed again."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from labgateway.cli import check_command
from labgateway.config import Config, find, load
from labgateway.doctor import HostFacts
from labgateway.errors import ComplaintsError, LabgatewayError
from labgateway.gateway import rulebook
from labgateway.service import control
from labgateway.store import sqlite

_TRIES = 5


def host_facts(args: argparse.Namespace) -> HostFacts:
    """Everything `examine` wants to know. A config that cannot be read is a fact, too. Raises LabgatewayError: there is none."""
    path = find(args.config)
    try:
        config = load(path)
        complaints = len(check_command.mistakes(config, rulebook.library(config)))
    except ComplaintsError as error:
        return HostFacts(
            data=str(path), sqlite=_sqlite(), complaints=len(error.complaints), running=True, synced=_synced()
        )
    data = config.gateway.data
    there = _nearest(data)
    writable = os.access(there, os.W_OK)
    running = _running(data)
    return HostFacts(
        data=str(data),
        sqlite=_sqlite(),
        free_mb=shutil.disk_usage(there).free / 2**20,
        fsync_ms=_fsync_ms(there) if writable else None,
        writable=writable,
        open_to=_open_to(data),
        year=datetime.now().astimezone().year,
        synced=_synced(),
        systemd=_enabled(),
        running=running,
        ports=() if running else tuple(_taken(config)),
        complaints=complaints,
    )


def _nearest(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _sqlite() -> str:
    try:
        sqlite.module()
    except LabgatewayError as error:
        return str(error)
    return ""


def _fsync_ms(folder: Path) -> float:
    """The slowest of a few fsyncs of 8 kB: what a message waits for at worst."""
    slowest = 0.0
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_TRIES):
            file.write(b"\0" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            slowest = max(slowest, time.perf_counter() - began)
    return 1000 * slowest


def _open_to(data: Path) -> str:
    """Who else may read the data folder: the files in it have the service's umask."""
    if not data.exists():
        return ""
    mode = data.stat().st_mode
    return "everybody" if mode & 0o005 else "group" if mode & 0o050 else ""


def _said(*command: str) -> str | None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()


def _booted() -> bool:
    """Whether systemd runs this machine (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def _synced() -> bool | None:
    said = _said("timedatectl", "show", "-p", "NTPSynchronized", "--value") if _booted() else None
    return {"yes": True, "no": False}.get(said or "")


def _enabled() -> bool | None:
    return _said("systemctl", "is-enabled", "labgateway") in ("enabled", "static") if _booted() else None


def _running(data: Path) -> bool:
    try:
        control.ask(data, {"action": "status"}, patience_s=10)
    except LabgatewayError:
        return False
    return True


def _taken(config: Config) -> Iterator[int]:
    """Ports of the config that another program holds."""
    sections = (*(one.line for one in config.instruments.values()), *config.orders.values())
    for section in sections:
        host, port = getattr(section, "host", None), getattr(section, "port", 0)
        if host is None or not port or "listen" not in section.kind:
            continue
        with contextlib.suppress(socket.gaierror), socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                yield port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
