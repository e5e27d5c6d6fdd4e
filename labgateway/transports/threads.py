"""Work that may block for ever (a network share, a converter that does not answer), each in a thread of its own.

Not asyncio's common pool: six hung shares would stop every name from being resolved, and the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], *, too_late: Callable[[T], object] = lambda result: None) -> asyncio.Future[T]:
    """The result of work, or what it raised. A cancelled future leaves the thread alone, and too_late gets its result."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            if error is None:
                too_late(result)  # pyright: ignore[reportArgumentType]  # T where there is no error
        elif error is None:
            future.set_result(result)  # pyright: ignore[reportArgumentType]  # as above
        else:
            future.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is closed: nobody is interested any more
            if error is None:
                too_late(result)  # pyright: ignore[reportArgumentType]  # as above

    threading.Thread(target=run, name=getattr(work, "__name__", "work"), daemon=True).start()
    return future
