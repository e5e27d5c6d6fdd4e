"""Reload: a new config is taken as a whole, or the old one stays as it was.

    read ──> what differs ──> close what is gone or changed ──> open what is missing ──> in force
                                                └── cannot be opened ──> the old one stands again

Lines that did not change stay as they are, with the message they are in the middle of. A line that was shut before and
still is holds up nobody: it is tried again by itself.
"""

from __future__ import annotations

from labgateway.config import Changes, Config, diff
from labgateway.errors import LabgatewayError
from labgateway.gateway import rulebook, site_files
from labgateway.gateway.lines import differs
from labgateway.gateway.openings import Openings
from labgateway.gateway.parts import Parts
from labgateway.gateway.shared import InForce, Shared, read
from labgateway.pipeline import deeds
from labgateway.pipeline.rules import Rules


async def reload(parts: Parts, config: Config) -> None:
    """Take a new config as a whole, or raise LabgatewayError and stay with the old one."""
    shared = parts.shared
    changes = diff(shared.config, config)
    if changes.restart:
        raise LabgatewayError(
            "The store or the data folder differ: restart the service for that (systemctl restart labgateway)."
        )
    before = shared.in_force
    shared.in_force = _read(config, before)
    try:
        await _carry_out(parts.openings, changes, before)
    except LabgatewayError:
        tried, shared.in_force = shared.in_force, before
        await _restore(parts.openings, tried)
        raise
    site_files.complain(shared)
    parts.queues.follow()
    if found := await _mendable(shared, before.rules):
        shared.say("replaying", count=len(found))
        parts.pump.add(found)


def _read(config: Config, before: InForce) -> InForce:
    """What the new config names; of a driver or mapping file that broke since, what was read of it before."""
    new = read(config)
    unchanged = [
        name
        for name, one in config.instruments.items()
        if (was := before.config.instruments.get(name)) and (was.driver, was.mapping) == (one.driver, one.mapping)
    ]
    return InForce(config, new.library, rulebook.keep_good(before.rules, new.rules, unchanged))


async def _carry_out(openings: Openings, changes: Changes, before: InForce) -> None:
    """Raises LabgatewayError when something new or changed cannot be opened."""
    lines, doors, senders = openings.lines, openings.doors, openings.senders
    now = openings.shared.in_force
    differ = [name for name in now.config.instruments if differs(name, before, now)]
    still_shut = {f"instrument.{name}" for name in lines.shut.why if name not in differ}
    still_shut |= {f"orders.{name}" for name in doors.shut.why if name not in changes.orders.changed}
    for name in (*changes.instruments.removed, *differ):
        await lines.close_one(name)
    for name in (*changes.orders.removed, *changes.orders.changed):
        await doors.close_one(name)
    for name in (*changes.destinations.removed, *changes.destinations.changed):
        await senders.end(name)
    named = {f"instrument.{name}" for name in now.config.instruments} | {f"orders.{name}" for name in now.config.orders}
    await openings.open_missing(must=named - still_shut)


async def _restore(openings: Openings, tried: InForce) -> None:
    """After a reload that could not be carried out: what the old config names stands again as it was."""
    lines, doors, senders, now = openings.lines, openings.doors, openings.senders, openings.shared.in_force
    config = now.config
    for name in [n for n in lines.open if n not in config.instruments or differs(n, tried, now)]:
        await lines.close_one(name)
    for name in [n for n in doors.names() if config.orders.get(n) != doors.section(n)]:
        await doors.close_one(name)
    for name in [n for n in senders.names() if config.destinations.get(n) != senders.section(n)]:
        await senders.end(name)
    await openings.open_missing()


async def _mendable(shared: Shared, old: Rules) -> list[int]:
    """Messages that parked, alone or with results, for a driver or mapping which has changed now: to be read again."""
    changed = [
        name
        for name, instrument in shared.rules.instruments.items()
        if (before := old.instruments.get(name)) is None
        or before.driver != instrument.driver
        or before.mapping_version != instrument.mapping_version
    ]
    if not changed:
        return []
    return await shared.store.submit(lambda c: deeds.reopen_mendable(c, changed), background=True)
