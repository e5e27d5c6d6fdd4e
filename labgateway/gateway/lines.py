"""The lines of this gateway, one for each instrument: opened from their sections, closed, and shown to who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from labgateway.errors import LabgatewayError, Problem
from labgateway.gateway import build, keeping
from labgateway.gateway.shared import InForce, Shared, Shut
from labgateway.instruments.library import shipped
from labgateway.line.arrival import Arrival
from labgateway.line.line import Line
from labgateway.pipeline.ids import new_id
from labgateway.transports.tapped import Tap
from labgateway.transports.tcp import Admission


@dataclass(slots=True)
class Lines:
    """open: by instrument; of one whose port is shut, or that another node serves, there is none.

    asks: whether a message is a query that is answered here. stored: a whole message is on disk under its number.
    """

    shared: Shared
    open: dict[str, Line]
    admission: Admission
    asks: Callable[[str, bytes], bool]
    stored: Callable[[str, Arrival, int], None]
    shut: Shut
    _taps: dict[str, Tap] = field(default_factory=dict[str, Tap])
    _epoch: str = field(default_factory=new_id)

    async def open_one(self, name: str, *, must: bool = False) -> None:
        """Open the line of an instrument, if it is ours. A port that cannot be opened is said and costs only this line.

        must: raises LabgatewayError instead.
        """
        if not self.shared.serves(f"line {name}"):
            return
        try:
            line = self._make(name)
            await line.start()
        except LabgatewayError as error:
            self.shut.refused(name, error, must=must)
            return
        self.shut.opened(name)
        self.open[name] = line

    async def close_one(self, name: str) -> None:
        """Close it, if it is open."""
        if (line := self.open.pop(name, None)) is not None:
            await line.stop()

    def tap(self, name: str) -> Tap:
        """Where one may listen to what goes over the line; it stays when the line is opened anew."""
        return self._taps.setdefault(name, Tap())

    def _make(self, name: str) -> Line:
        """Raises LabgatewayError."""
        shared = self.shared
        section, instrument = shared.config.instruments[name], shared.rules.instruments[name]
        protocol, settings = build.spoken(instrument, section.driver, section.line.kind, self._driver_folders())
        connect = build.transport(section.line, settings, self.admission, shared.say)
        second = section.orders_line
        return Line(
            name,
            protocol,
            keeping.keeper(shared, name, self._epoch, partial(self.stored, name)),
            connect=connect if section.line.kind == "folder" else self.tap(name).through(connect),
            connect_orders=second and build.transport(second, settings, self.admission, shared.say),
            wall=lambda: shared.utcnow().astimezone(ZoneInfo(shared.config.gateway.timezone)),
            control_id=new_id,
            say=shared.say,
            **build.line_options(instrument, section.line.kind, partial(self.asks, name)),
        )

    def _driver_folders(self) -> list[Path]:
        return [*self.shared.config.gateway.drivers, shipped("drivers")]


def differs(name: str, before: InForce, now: InForce) -> bool:
    """Whether a line must be opened anew: its section, or what its driver says of the line, is another."""
    if name not in before.config.instruments:
        return True
    old, new = before.config.instruments[name], now.config.instruments[name]
    if (old.line, old.orders_line) != (new.line, new.orders_line):
        return True
    return _settings(name, before) != _settings(name, now)


def _settings(name: str, in_force: InForce) -> object:
    instrument = in_force.rules.instruments.get(name)
    if instrument is None or isinstance(instrument.driver, Problem):
        return None
    return (instrument.driver.protocol, instrument.driver.line, instrument.driver.ack, instrument.orders != "off")
