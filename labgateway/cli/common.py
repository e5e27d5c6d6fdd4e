"""What several commands share: the config option, the store opened for reading, words on a terminal."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from labgateway.config import Config, find, load
from labgateway.errors import ComplaintsError, LabgatewayError
from labgateway.store.engine import Store

Parsers = Any
"""argparse keeps the type of ``add_subparsers()`` to itself."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """``--config``."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="config.toml; default: the one in the working folder, then /etc/labgateway/config.toml",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_language(parser: argparse.ArgumentParser) -> None:
    """``--lang``; without it as the environment says (LC_ALL, LC_MESSAGES, LANG: the first that is set, as POSIX 8.2)."""
    said = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    parser.add_argument(
        "--lang", choices=("en", "vi"), default="vi" if said.startswith("vi") else "en", help="English or Vietnamese"
    )


def config_of(args: argparse.Namespace) -> Config:
    """The config the command works on. Raises ComplaintsError, LabgatewayError."""
    return load(find(args.config))


def guarded(work: Callable[[], int]) -> int:
    """Run a command; mistakes of the caller's files become words on stderr and the right exit code."""
    try:
        return work()
    except ComplaintsError as error:
        print(error, file=sys.stderr)
        return 2
    except LabgatewayError as error:
        print(f"labgateway: {error}", file=sys.stderr)
        return 1


def open_store(config: Config) -> Store:
    """The store for reading, beside a running gateway or without one. Raises StoreError."""
    password = None
    if config.store.password_file is not None:
        try:
            password = config.store.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise LabgatewayError(f"[store] password_file cannot be read: {error.strerror}.") from error
    return Store.open(config.store.url or "", readonly=True, password=password)


def dump(value: Any) -> None:
    """One JSON document on stdout; datetimes as ISO 8601."""
    print(json.dumps(value, ensure_ascii=False, indent=1, default=_plain))


def dump_line(value: Any) -> None:
    """One JSON object a line."""
    print(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def local(moment: datetime, config: Config) -> str:
    """A moment as people of the lab read it."""
    return moment.astimezone(ZoneInfo(config.gateway.timezone)).strftime("%Y-%m-%d %H:%M:%S")
