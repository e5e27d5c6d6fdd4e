"""Log lines: JSON on standard output, one object a line, keys from an allow-list.

No patient data can get in by accident: what is no allowed key is dropped (its name is kept under
``dropped``), exceptions are logged as type and places in our code, never with their text or locals.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

ALLOWED = frozenset(
    {
        "event", "level", "at", "version",
        "instrument", "driver", "mapping", "destination", "source", "peer", "protocol", "device", "port", "host",
        "transmission", "delivery", "observation", "order", "message",
        "state", "reason", "why", "action", "file", "line", "key", "complaint", "command",
        "count", "results", "bytes", "ms", "seconds", "attempt", "waiting", "parked", "held", "pid", "signal",
        "config_version", "mapping_version", "code", "suppressed", "error", "trace", "dropped",
        "refused", "frames", "naks", "sqlite", "store", "node",
    }
)  # fmt: skip
_LONGEST = 300

EventDict = MutableMapping[str, Any]
Say = Callable[..., None]


def only_allowed(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Keep allowed keys, cut long text, name what was dropped."""
    dropped = sorted(key for key in event if key not in ALLOWED)
    for key in dropped:
        del event[key]
    for key, value in event.items():
        if isinstance(value, str) and len(value) > _LONGEST:
            event[key] = value[:_LONGEST] + "…"
        elif not isinstance(value, (str, int, float, bool, list, type(None))):
            event[key] = type(value).__name__
    if dropped:
        event["dropped"] = dropped
    return event


def places_only(_logger: object, _method: str, event: EventDict) -> EventDict:
    """An exception becomes its type and the places it passed; its text may hold patient data."""
    error = event.pop("exc_info", None)
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        event["trace"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
    return event


def configure(level: str = "info") -> None:
    """Set structlog up once, and route the standard library's warnings through the same door."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            places_only,
            only_allowed,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=_Out,
        cache_logger_on_first_use=True,
    )
    # Libraries may put anything into their messages: only who complained and how loudly is logged.
    root = logging.getLogger()
    root.handlers = [_Foreign()]
    root.setLevel(logging.WARNING)
    logging.raiseExceptions = False


class _Out:
    """Whole lines on whatever standard output is now; a full or closed one must not stop a result."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, line: str) -> None:
        """Write and flush one line."""
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            # The disk of the log is full or its reader has gone: results go on.
            return

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg


class _Foreign(logging.Handler):
    """Log lines of libraries, without their text."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line: which library, where in it, how loud."""
        structlog.get_logger().warning("library", source=record.name, file=record.filename, line=record.lineno)


def sayer() -> Say:
    """A plain callable ``say(event, **ids)`` for the lower rooms; ``level=`` picks the level."""
    log = structlog.get_logger()

    def say(event: str, *, level: str = "info", **ids: object) -> None:
        getattr(log, level)(event, **ids)

    return say
