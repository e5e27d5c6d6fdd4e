"""Certificates that end within 30 days: said once a day in the log, and always in the status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from labgateway.transports.certificates import Ending, ending
from labgateway.transports.channel import Say

_LOOK_S = 3600.0
_SAY_S = 24 * 3600.0


class Certificates:
    """Looks after the certificates of destinations. files: of each by name, as the config of now has them."""

    def __init__(self, files: Callable[[], Mapping[str, tuple[Path, ...]]], say: Say, utcnow: Callable[[], datetime]):
        self._files = files
        self._say = say
        self._utcnow = utcnow

    def words(self) -> dict[str, list[str]]:
        """What is to be said of each destination now; only those of which something is."""
        now = self._utcnow()
        return {name: [one.words(now) for one in found] for name, found in self._look(now).items()}

    async def run(self) -> None:
        """Say it, for ever."""
        said: dict[Path, datetime] = {}
        while True:
            now = self._utcnow()
            found = await asyncio.to_thread(self._look, now)
            for name, endings in found.items():
                for one in endings:
                    if one.path not in said or (now - said[one.path]).total_seconds() >= _SAY_S:
                        said[one.path] = now
                        self._say("certificate_ends", level="warning", destination=name, why=one.words(now))
            await asyncio.sleep(_LOOK_S)

    def _look(self, now: datetime) -> dict[str, list[Ending]]:
        found = {name: ending(files, now) for name, files in self._files().items()}
        return {name: endings for name, endings in found.items() if endings}
