"""A person has deliveries sent again. Found on a reader's connection, reopened in small bites: intake never waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from labgateway.config import Config
from labgateway.errors import LabgatewayError
from labgateway.store import audit, resend
from labgateway.store.engine import Store

_BITE = 100  # lanes in one transaction


async def send_again(
    store: Store, config: Config, request: Mapping[str, Any], now: datetime, wake: Callable[[str], None]
) -> str:
    """``delivery`` (a number), or ``destination`` and ``day``; ``who``, ``because``. What was done, in words.

    Raises LabgatewayError.
    """
    who, because = (str(request.get(key) or "").strip() for key in ("who", "because"))
    if not (who and because):
        raise LabgatewayError('Say who decides and why: --by "NAME" --because "REASON".')
    newest = await store.read(resend.newest)
    destination, firsts, subject = await _chosen(store, config, request)
    section = config.destinations.get(destination)
    if section is None:
        raise LabgatewayError(f"There is no [destination.{destination}] any more: nobody would send it.")
    if section.shadow:
        raise LabgatewayError(
            f"[destination.{destination}] is a shadow: it sends nothing. Take shadow = true out first."
        )
    lanes = await store.read(lambda c: resend.with_later(c, destination, firsts))
    await store.submit(
        lambda c: audit.add(c, at=now, who=who, action="resend", subject=subject, because=because), background=True
    )
    count = left = 0
    for bite in _bites(lanes):
        done = await store.submit(
            partial(resend.reopen, destination=destination, lanes=bite, newest=newest), background=True
        )
        count, left = count + done.count, left + done.left
        wake(destination)
    words = f"{counted(count, 'delivery', 'deliveries')} to {destination} again, with the same bytes and ids."
    asked = len(firsts) if request.get("day") else 1
    if count > asked:
        words += " Those that were sent later on the same specimens are among them, so that corrections come last."
    if left:
        words += (
            f" Left alone, because something of them is waiting or parked: {counted(left, 'specimen', 'specimens')}."
        )
    return words


def _bites(lanes: Mapping[str, list[int]]) -> list[dict[str, list[int]]]:
    names = list(lanes)
    return [{name: lanes[name] for name in names[at : at + _BITE]} for at in range(0, len(names), _BITE)]


async def _chosen(store: Store, config: Config, request: Mapping[str, Any]) -> tuple[str, dict[str, int], str]:
    """The destination, the first delivery of each lane, and what the audit says."""
    if (one := request.get("delivery")) is not None:
        digits = str(one).lower().removeprefix("d")
        if not digits.isdigit() or len(digits) > 18:
            raise LabgatewayError(f"{str(one)[:40]!r} is no delivery; labgateway deliveries lists them.")
        found = await store.read(lambda c: resend.of_one(c, int(digits)))
        if found is None:
            raise LabgatewayError(f"Delivery {digits} is neither settled nor skipped: what is parked is retried.")
        return *found, f"delivery {digits}"
    name, day = str(request.get("destination") or ""), str(request.get("day") or "")
    if name not in config.destinations:
        known = ", ".join(config.destinations) or "none"
        raise LabgatewayError(f"There is no [destination.{name[:40]}]. There are: {known}.")
    since, until = day_of(day, config)
    firsts = await store.read(lambda c: resend.of_day(c, name, since, until))
    if not firsts:
        raise LabgatewayError(f"Nothing that {name} has taken was made on {day}.")
    return name, firsts, f"destination {name} day {day}"


def day_of(text: str, config: Config) -> tuple[datetime, datetime]:
    """A day of the site's calendar, from its beginning to the next one's. Raises LabgatewayError."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise LabgatewayError(f"{text[:40]!r} is no day: write it as 2026-11-20.") from None
    zone = ZoneInfo(config.gateway.timezone)
    return datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)


def counted(number: int, one: str, more: str) -> str:
    """``1 delivery``, ``2 deliveries``."""
    return f"{number} {one if number == 1 else more}"
