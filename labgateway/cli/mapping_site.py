"""Which mapping file a ``labgateway mapping`` command is about: of an instrument in config.toml, or a file alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labgateway.config import Config, find, load
from labgateway.errors import LabgatewayError

if TYPE_CHECKING:
    from labgateway.instruments.library import Library
    from labgateway.instruments.spec import Driver
    from labgateway.mapping.table import Mapping

DRAFT = ".draft.toml"


@dataclass(frozen=True, slots=True)
class Site:
    """What a command works on. config None: there is none; driver None: not known, so that less can be checked.

    instrument: as configured, "" for a file that none is known of. live: the file that is in use, of a file alone that
    file itself. file: what the person named.
    """

    config: Config | None
    library: Library
    instrument: str
    live: Path
    file: Path
    driver: Driver | None

    @property
    def draft(self) -> Path:
        """Where what is not accepted yet stands: beside the live file, never read by the gateway."""
        if self.live.name.endswith(DRAFT):
            return self.live
        return self.live.with_name(self.live.name.removesuffix(".toml") + DRAFT)


def site_of(name: str, config_file: Path | None, driver: str | None = None) -> Site:
    """The site of an instrument, or of a mapping file. driver: as the person named it, None: as config.toml says.

    Raises LabgatewayError when there is neither, ComplaintsError when config.toml has mistakes.
    """
    from labgateway.gateway.rulebook import library
    from labgateway.instruments.library import Library, shipped

    config = _config(config_file)
    known = library(config) if config is not None else Library.of([shipped("drivers")])
    if config is not None and name in config.instruments:
        one = config.instruments[name]
        return Site(config, known, name, one.mapping, one.mapping, _driver(driver or one.driver, known))
    path = Path(name)
    if not path.is_file():
        instruments = ", ".join(config.instruments) if config is not None else ""
        known_names = f" Instruments in config.toml: {instruments}." if instruments else ""
        raise LabgatewayError(f"{name} is neither a mapping file nor an instrument in config.toml.{known_names}")
    instrument = _instrument_of(path, config)
    if config is not None and instrument:
        one = config.instruments[instrument]
        return Site(config, known, instrument, one.mapping, path, _driver(driver or one.driver, known))
    return Site(config, known, "", path, path, _driver(driver, known) if driver else None)


def configured(name: str, config_file: Path | None) -> Site:
    """As `site_of`, for what needs the instrument's place in config.toml. Raises LabgatewayError where it has none."""
    site = site_of(name, config_file)
    if site.config is None or not site.instrument:
        raise LabgatewayError(f"{name} belongs to no instrument in config.toml; name the instrument.")
    return site


def config_of(site: Site) -> Config:
    """The config of a `configured` site."""
    if site.config is None:
        raise LabgatewayError("This needs a config.toml; name it with --config.")
    return site.config


def settled(mapping: Mapping, site: Site) -> Mapping:
    """The mapping together with what its driver declares."""
    from labgateway.gateway.rulebook import declared
    from labgateway.mapping.table import settle

    return settle(mapping, None if site.driver is None else declared(site.driver))


def shown(path: Path | str) -> str:
    """A path as seen from the working folder, when it lies below it."""
    short = os.path.relpath(path)
    return str(path) if short.startswith("..") else short


def _config(config_file: Path | None) -> Config | None:
    """The config; None where no one named one and none is found in the usual places."""
    try:
        path = find(config_file)
    except LabgatewayError:
        if config_file is not None:
            raise
        return None
    return load(path)


def _instrument_of(path: Path, config: Config | None) -> str:
    """The instrument that a file is for: it is its mapping, or stands in it by name; "" when neither."""
    from labgateway.mapping.table import read

    if config is None:
        return ""
    for name, one in config.instruments.items():
        if one.mapping.resolve() == path.resolve():
            return name
    mapping, _ = read(path)
    return mapping.instrument if mapping is not None and mapping.instrument in config.instruments else ""


def _driver(name: str, known: Library) -> Driver | None:
    found = known.find(name)
    if found is not None or name in known.broken:
        return found
    several = [one.name for one in known.find_all(name)]
    raise LabgatewayError(
        f"{name} may be {' or '.join(several)}: name one with --driver." if several else f"There is no driver {name}."
    )
