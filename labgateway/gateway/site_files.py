"""The site's driver and mapping files under the running gateway: said to be broken, kept in their history, watched."""

from __future__ import annotations

import asyncio
from pathlib import Path

from labgateway.config import Config
from labgateway.errors import LabgatewayError, Problem
from labgateway.gateway.shared import Shared
from labgateway.mapping.history import History


def complain(shared: Shared) -> None:
    """Say which instruments park what they send, or go by what was read before, because a file of theirs is broken."""
    for name, instrument in shared.rules.instruments.items():
        for problem in instrument.kept:
            shared.say("last_good_kept", level="error", instrument=name, reason=problem.reason.name, why=problem.detail)
        for problem in (instrument.driver, instrument.mapping):
            if isinstance(problem, Problem):
                shared.say(
                    "instrument_parks", level="error", instrument=name, reason=problem.reason.name, why=problem.detail
                )


async def keep_mappings(shared: Shared) -> None:
    """Keep every mapping that is in use, whoever wrote it: observations name its version."""
    for name, instrument in shared.rules.instruments.items():
        mapping = instrument.mapping
        if isinstance(mapping, Problem):
            continue
        kept = History(shared.config.gateway.data, shared.config.instruments[name].mapping.name)
        try:
            await asyncio.to_thread(kept.found, mapping.raw, shared.utcnow())
        except LabgatewayError as error:
            shared.say("mapping_not_kept", level="error", instrument=name, why=str(error))


def watched(config: Config) -> list[Path]:
    """Folders whose .toml files, when they change, are a reload: mappings and the site's own drivers."""
    return [config.gateway.mappings, *config.gateway.drivers]
