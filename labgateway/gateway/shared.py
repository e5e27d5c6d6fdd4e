"""What every part of the running gateway shares: the store, the clock, the log, and what is in force now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from labgateway.config import Config
from labgateway.errors import LabgatewayError
from labgateway.gateway import rulebook
from labgateway.gateway.nodes import Nodes
from labgateway.instruments.library import Library
from labgateway.pipeline.rules import Rules
from labgateway.store.engine import Store
from labgateway.transports.channel import Say

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True)
class InForce:
    """A config, and the drivers and rules as they were read with it. A reload replaces all of it at once."""

    config: Config
    library: Library
    rules: Rules


def read(config: Config) -> InForce:
    """Read the drivers and mappings that a config names."""
    library = rulebook.library(config)
    return InForce(config, library, rulebook.rules(config, library))


@dataclass(slots=True)
class Shared:
    """in_force: only start and reload set it. nodes: None when this gateway is the only one on its store."""

    store: Store
    say: Say
    spawn: Spawn
    utcnow: Callable[[], datetime]
    in_force: InForce
    nodes: Nodes | None = None

    @property
    def config(self) -> Config:
        """The config of now."""
        return self.in_force.config

    @property
    def rules(self) -> Rules:
        """The rules of now."""
        return self.in_force.rules

    def serves(self, subject: str) -> bool:
        """Whether this node serves ``line NAME``, ``orders NAME`` or ``destination NAME``; alone, it serves everything."""
        return self.nodes is None or self.nodes.serves(subject)


@dataclass(slots=True)
class Shut:
    """What could not be opened, by name, and why; each reason is said once. section: ``instrument`` or ``orders``."""

    section: str
    say: Say
    why: dict[str, str] = field(default_factory=dict[str, str])

    def refused(self, name: str, error: LabgatewayError, *, must: bool) -> None:
        """It could not be opened. must: this is not to be lived with; raises LabgatewayError that names the section."""
        if must:
            raise LabgatewayError(f"{self.section}.{name}: {error}") from error
        if self.why.get(name) != str(error):
            kind = "instrument" if self.section == "instrument" else "source"
            self.say("port_shut", level="error", **{kind: name}, why=str(error))
        self.why[name] = str(error)

    def opened(self, name: str) -> None:
        """It is open, or nobody wants it any more."""
        self.why.pop(name, None)
