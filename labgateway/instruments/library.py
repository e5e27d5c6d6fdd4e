"""The drivers of some folders, found by name. A broken one stops no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from labgateway.errors import Complaint, ComplaintsError
from labgateway.instruments.driver import FILE, load
from labgateway.instruments.spec import (
    Driver,
    squeeze,
)


class Library:
    """The drivers of some folders. A broken one stops no other: it stands in `broken` with its complaints."""

    def __init__(self, drivers: Iterable[Driver], broken: Mapping[str, list[Complaint]] | None = None) -> None:
        self.drivers: dict[str, Driver] = {driver.name: driver for driver in drivers}
        self.broken: dict[str, list[Complaint]] = dict(broken or {})

    @classmethod
    def of(cls, folders: Iterable[Path]) -> Library:
        """Every driver below these folders (each driver a folder with a driver.toml in it).

        A folder may also be a driver itself. Of two drivers of one name the later folder's wins, so
        that a site can replace a shipped driver.
        """
        drivers: dict[str, Driver] = {}
        broken: dict[str, list[Complaint]] = {}
        for folder in folders:
            inner = [folder] if (folder / FILE).is_file() else sorted(p.parent for p in folder.glob(f"*/{FILE}"))
            for place in inner:
                drivers.pop(place.name, None)
                broken.pop(place.name, None)
                try:
                    drivers[place.name] = load(place)
                except ComplaintsError as error:
                    broken[place.name] = error.complaints
        return cls(drivers.values(), broken)

    def find(self, name: str) -> Driver | None:
        """The driver of this name: its folder's name, else the only one with such a maker_model; else None."""
        if name in self.drivers:
            return self.drivers[name]
        found = self.find_all(name)
        return found[0] if len(found) == 1 else None

    def find_all(self, name: str) -> tuple[Driver, ...]:
        """Every driver that answers to a name, the one with this folder's name first (ASTM and HL7 of one model)."""
        wanted = squeeze(name)
        found = [driver for driver in self.drivers.values() if wanted in driver.names]
        return tuple(sorted(found, key=lambda d: (squeeze(d.name) != wanted, d.name)))


def shipped(name: str) -> Path:
    """A folder that travels with labgateway (drivers, mappings): in the wheel, or in the source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_shipped" / name
    return installed if installed.exists() else package.parent / name
