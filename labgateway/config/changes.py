"""What a reload has to touch: the difference of two configs, as names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labgateway.config.sections import Config, Instrument


@dataclass(frozen=True, slots=True)
class Change:
    """Names of one kind of section, each in the order of its file."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two configs.

    lines: instruments among ``instruments.changed`` whose line or driver differs, so that their connection must
    be opened again; the others keep theirs. gateway: [gateway], [matching] or [console] differ. restart: the
    store, the data folder or [nodes] differ, which only a new process can take over. The text of mapping files is not
    compared here; ``Config.version`` tells it.
    """

    instruments: Change
    orders: Change
    destinations: Change
    lines: tuple[str, ...]
    gateway: bool
    restart: bool

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.instruments or self.orders or self.destinations or self.gateway or self.restart)


def diff(old: Config, new: Config) -> Changes:
    """What was added, removed and changed from old to new."""
    instruments = _change(old.instruments, new.instruments)
    return Changes(
        instruments=instruments,
        orders=_change(old.orders, new.orders),
        destinations=_change(old.destinations, new.destinations),
        lines=tuple(
            name for name in instruments.changed if _line_of(old.instruments[name]) != _line_of(new.instruments[name])
        ),
        gateway=(old.gateway, old.matching, old.console) != (new.gateway, new.matching, new.console),
        restart=(old.store, old.gateway.data, old.nodes) != (new.store, new.gateway.data, new.nodes),
    )


def _line_of(one: Instrument) -> object:
    return one.line, one.orders_line, one.driver


def _change(old: Mapping[str, object], new: Mapping[str, object]) -> Change:
    return Change(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
    )
