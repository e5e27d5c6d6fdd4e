"""What a site wants of matching."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from labgateway.matching.check_digits import CheckDigit
from labgateway.matching.identity import SECOND_IDS, SecondId


@dataclass(frozen=True, slots=True)
class Policy:
    """What the site wants: [matching] of config.toml, per instrument where it differs.

    Hours and minutes are as in ``windows.side``. specimen_pattern: an id must match it as a whole.
    check: the check digit that every specimen id carries; None where there is none.
    Raises ValueError on an unknown second identifier, which would compare nothing in silence.
    """

    window_h: float = 72
    wait_h: float = 240
    without_order: Literal["wait", "send"] = "wait"
    not_ordered: Literal["hold", "leave_out", "send"] = "hold"
    second_ids: tuple[SecondId, ...] = ("patient", "birth_date", "sex")
    specimen_pattern: re.Pattern[str] | None = None
    check: CheckDigit | None = None
    early_min: float = 10

    def __post_init__(self) -> None:
        if unknown := set(self.second_ids) - set(SECOND_IDS):
            raise ValueError(f"unknown second identifiers: {sorted(unknown)}")
