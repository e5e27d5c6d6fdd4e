"""An instrument that drops files into a folder: whole at once under a name of its own, or as a fault wants it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from labgateway.simulator.script import Fault, Script, Summary

HALF_S = 1.0
TAKEN_S = 30.0


def drop(
    script: Script,
    folder: Path,
    ending: str,
    *,
    wait: bool = True,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:
    """Write every message as a file, and wait until somebody has taken it away. Raises OSError.

    ending: of the names, such as ``.csv``. A file that still lies there after TAKEN_S counts as failed.
    """
    summary = Summary()
    began = time.monotonic()
    for number, message in enumerate(script.messages, 1):
        names = list(_names(folder, ending, number, 2 if script.fault is Fault.TWICE else 1))
        for path in names:
            if script.fault is Fault.CUT:
                path.write_bytes(message[: len(message) // 2])
                tell(f"{path.name} is half written")
                sleep(HALF_S)
                path.write_bytes(message)
            else:
                part = path.with_name(f".{path.name}.part")
                part.write_bytes(message)
                part.rename(path)
            tell(f"{path.name} is written, {len(message)} bytes")
            summary.frames += 1
        until = time.monotonic() + TAKEN_S
        while wait and any(path.exists() for path in names) and time.monotonic() < until:
            sleep(0.1)
        taken = not wait or not any(path.exists() for path in names)
        summary.messages += taken
        summary.failed += not taken
        if wait:
            tell(
                f"message {number} of {len(script.messages)}: {'taken' if taken else 'NOT taken, it still lies there'}"
            )
        if number < len(script.messages):
            sleep(max(0.0, began + number * script.every_s - time.monotonic()))
    summary.seconds = time.monotonic() - began
    return summary


def _names(folder: Path, ending: str, number: int, count: int) -> Iterator[Path]:
    stamp = f"{time.time_ns():x}"
    for copy in range(1, count + 1):
        yield folder / f"sim_{stamp}_{number}{'' if copy == 1 else f'_{copy}'}{ending}"
