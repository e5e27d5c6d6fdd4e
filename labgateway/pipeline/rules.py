"""Under which rules messages are processed: one immutable snapshot of config, drivers and mappings.

A message is processed wholly under one snapshot; its versions are written beside it. A reload makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal
from zoneinfo import ZoneInfo

from labgateway.errors import Problem
from labgateway.instruments.library import Library
from labgateway.instruments.spec import Driver
from labgateway.mapping.specimens import same
from labgateway.mapping.table import Mapping as MappingFile
from labgateway.matching.attribute import Policy
from labgateway.model import Observation, Report, Status


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """How one instrument's messages are read. A Problem stands for a broken driver or mapping: its messages park.

    orders: whether it gets orders from us: never, when it asks, or also
    unasked. kept: files that became broken while the gateway ran;
    what was read of them before is used until they are mended. policy: where
    matching differs from the site's for this instrument, None: as the site's.
    """

    driver: Driver | Problem
    mapping: MappingFile | Problem
    manual: bool = False
    orders: Literal["off", "asked", "unasked"] = "off"
    kept: tuple[Problem, ...] = ()
    policy: Policy | None = None

    @property
    def flag_words(self) -> Mapping[str, str] | None:
        """What the driver calls the instrument's flags; None when it declares none, or is broken."""
        return None if isinstance(self.driver, Problem) else self.driver.words.flag

    @property
    def mapping_version(self) -> str | None:
        """SHA-256 of the mapping file, None when there is none to use."""
        return None if isinstance(self.mapping, Problem) else self.mapping.version


@dataclass(frozen=True, slots=True)
class DestinationRules:
    """What one destination gets. render makes the bytes from a report and an id.

    instruments, wards (PV1-3.1), specimens (kinds, in the words of mapping files): empty means all; tests: None
    means all. without: tests that it never gets. single: a message for each result.
    """

    name: str
    render: Callable[[Report, str], bytes]
    shadow: bool = False
    single: bool = False
    instruments: frozenset[str] = frozenset()
    wards: frozenset[str] = frozenset()
    specimens: frozenset[str] = frozenset()
    tests: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def wants(self, one: Observation) -> bool:
        """Whether the destination gets an observation; a correction follows what it corrects, whatever this says."""
        if self.instruments and one.instrument not in self.instruments:
            return False
        if one.code in self.without or (self.tests is not None and one.code not in self.tests):
            return False
        if self.wards and (one.order is None or one.order.ward.split("^", 1)[0] not in self.wards):
            return False
        if not self.specimens:
            return True
        kinds = (one.order.specimen_type if one.order else "", one.result.specimen_type or "")
        return any(kind and same(wanted, kind) for wanted in self.specimens for kind in kinds)


@dataclass(frozen=True, slots=True)
class Rules:
    """The snapshot. timezone: of the analyzers' clocks. library: to know a stranger on the wrong line."""

    config_version: str
    timezone: ZoneInfo
    policy: Policy
    library: Library
    instruments: Mapping[str, InstrumentRules]
    destinations: tuple[DestinationRules, ...]

    def policy_of(self, instrument: str) -> Policy:
        """How results of an instrument are matched: as the site says, or as is said for it alone."""
        known = self.instruments.get(instrument)
        return self.policy if known is None or known.policy is None else known.policy


def extended(driver: Driver, mapping: MappingFile) -> Driver:
    """The driver together with the words that the site has accepted for this very analyzer; itself when there are none."""
    beyond = mapping.beyond
    words = driver.words
    if beyond.flags and words.flag is not None:
        words = replace(words, flag={**words.flag, **beyond.flags})
    if beyond.statuses:
        known = {"F": Status.FINAL, "": Status.FINAL} if words.status is None else words.status
        words = replace(words, status={**known, **beyond.statuses})
    if words is driver.words and not beyond.codes:
        return driver
    return replace(driver, words=words, tests=beyond.declared(driver.tests))
