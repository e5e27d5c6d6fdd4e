"""Under which rules messages are processed: one immutable snapshot of config, drivers and mappings.

A message is processed wholly under one snapshot; its versions are written beside it. A reload makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from labgateway.errors import Problem
from labgateway.instruments.driver import Library
from labgateway.instruments.spec import Driver
from labgateway.mapping.table import Mapping as MappingFile
from labgateway.matching.attribute import Policy
from labgateway.model import Report


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """How one instrument's messages are read. A Problem stands for a broken driver or mapping: its messages park.

    orders: whether it gets orders from us: never, when it asks, or also
    unasked. kept: files that became broken while the gateway ran;
    what was read of them before is used until they are mended.
    """

    driver: Driver | Problem
    mapping: MappingFile | Problem
    manual: bool = False
    orders: Literal["off", "asked", "unasked"] = "off"
    kept: tuple[Problem, ...] = ()

    @property
    def mapping_version(self) -> str | None:
        """SHA-256 of the mapping file, None when there is none to use."""
        return None if isinstance(self.mapping, Problem) else self.mapping.version


@dataclass(frozen=True, slots=True)
class DestinationRules:
    """What one destination gets. instruments, tests: empty means all. render makes the bytes from a report and an id."""

    name: str
    render: Callable[[Report, str], bytes]
    shadow: bool = False
    instruments: frozenset[str] = frozenset()
    tests: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """The snapshot. timezone: of the analyzers' clocks. library: to know a stranger on the wrong line."""

    config_version: str
    timezone: ZoneInfo
    policy: Policy
    library: Library
    instruments: Mapping[str, InstrumentRules]
    destinations: tuple[DestinationRules, ...]
