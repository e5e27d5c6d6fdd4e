"""From config, drivers and mappings to the rules under which messages are processed; and what stays of the last good ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal
from zoneinfo import ZoneInfo

from labgateway.config import (
    Config,
    DestinationSection,
    Instrument,
)
from labgateway.errors import ComplaintsError, Problem, Reason
from labgateway.gateway import destinations
from labgateway.gateway.build import may_be_told
from labgateway.instruments.library import Library, shipped
from labgateway.instruments.spec import Driver
from labgateway.mapping.table import Mapping as MappingFile
from labgateway.mapping.table import load as load_mapping
from labgateway.mapping.table import settle
from labgateway.matching.attribute import Policy
from labgateway.matching.check_digits import CheckDigit
from labgateway.pipeline.rules import DestinationRules, InstrumentRules, Rules, extended


def library(config: Config) -> Library:
    """The site's drivers and the shipped ones. Of two drivers of one name the later wins: the site's."""
    return Library.of([shipped("drivers"), *config.gateway.drivers])


def rules(config: Config, drivers: Library) -> Rules:
    """The snapshot under which messages are processed. Broken drivers and mappings become problems of their own."""
    policy = Policy(
        window_h=config.matching.window_h,
        wait_h=config.matching.wait_h,
        without_order=config.matching.without_order,
        not_ordered=config.matching.not_ordered,
        second_ids=config.matching.second_ids,
        specimen_pattern=re.compile(p) if (p := config.matching.specimen_pattern) else None,
        check=CheckDigit(digit) if (digit := config.matching.check_digit) else None,
    )
    return Rules(
        config_version=config.version,
        timezone=ZoneInfo(config.gateway.timezone),
        policy=policy,
        library=drivers,
        instruments={name: _instrument(one, drivers, policy) for name, one in config.instruments.items()},
        destinations=tuple(_destination(config, name, one) for name, one in config.destinations.items()),
    )


def keep_good(old: Rules, new: Rules, unchanged: Iterable[str]) -> Rules:
    """The new rules, but with the driver or mapping that was read before where the file has become broken since.

    unchanged: instruments that name the same driver and the same mapping file as before.
    """
    instruments = dict(new.instruments)
    for name in unchanged:
        before, now = old.instruments[name], new.instruments[name]
        driver, mapping = now.driver, now.mapping
        kept: list[Problem] = []
        if isinstance(driver, Problem) and isinstance(before.driver, Driver):
            kept.append(driver)
            driver = before.driver
        if isinstance(mapping, Problem) and isinstance(before.mapping, MappingFile):
            kept.append(mapping)
            mapping = before.mapping
        if kept:
            if isinstance(mapping, MappingFile) and isinstance(driver, Driver):
                mapping = settle(mapping, declared(driver))
                driver = extended(driver, mapping)
            instruments[name] = replace(now, driver=driver, mapping=mapping, orders=before.orders, kept=tuple(kept))
    return replace(new, instruments=instruments)


def _instrument(one: Instrument, drivers: Library, policy: Policy) -> InstrumentRules:
    driver: Driver | Problem = drivers.find(one.driver) or Problem(Reason.DRIVER_BROKEN, one.driver)
    mapping: MappingFile | Problem
    try:
        mapping = settle(load_mapping(one.mapping), None if isinstance(driver, Problem) else declared(driver))
    except (ComplaintsError, OSError):
        mapping = Problem(Reason.MAPPING_BROKEN, one.mapping.name)
    if isinstance(driver, Driver) and isinstance(mapping, MappingFile):
        driver = extended(driver, mapping)
    return InstrumentRules(
        driver, mapping, manual=one.release == "manual", orders=_orders(one, driver),
        policy=None if one.second_ids is None else replace(policy, second_ids=one.second_ids),
    )  # fmt: skip


def _orders(one: Instrument, driver: Driver | Problem) -> Literal["off", "asked", "unasked"]:
    """Whether an instrument gets orders: as the config says, else as its driver does."""
    if isinstance(driver, Problem) or driver.orders is None or one.orders == "off":
        return "off"
    unasked = one.orders == "unasked" or (one.orders == "driver" and driver.orders.unasked)
    if unasked and may_be_told(driver):
        return "unasked"
    return "asked"


def _destination(config: Config, name: str, section: DestinationSection) -> DestinationRules:
    sensitive = frozenset(config.gateway.sensitive)
    tests = frozenset(section.tests) or None
    if section.sensitive == "only":
        tests = sensitive if tests is None else tests & sensitive
    return DestinationRules(
        name,
        destinations.renderer(config, section),
        shadow=section.shadow,
        single=section.one_result_each,
        instruments=frozenset(section.instruments),
        wards=frozenset(section.wards),
        specimens=frozenset(section.specimens),
        tests=tests,
        without=sensitive if section.sensitive == "leave_out" else frozenset(),
    )


def declared(driver: Driver) -> dict[str, tuple[str, ...]]:
    """The codes that the driver declares, each with its units: all it can send, unless it leaves codes open."""
    return dict(driver.tests)
