"""[control] of a mapping file: specimen ids that are control material, where the driver cannot know it. Pure.

[control]                       a regular expression for the whole id -> what is known of the material
"QC1"     = { lot = "44231", level = "1" }
"LYPHO.*" = {}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labgateway.mapping.reading import Reading, is_table
from labgateway.toml_lines import KeyPath


@dataclass(frozen=True, slots=True)
class Control:
    """Ids of one material. lot, level: "" where the file does not say; what the analyzer says counts first."""

    pattern: re.Pattern[str]
    lot: str = ""
    level: str = ""


def read(reading: Reading, table: dict[str, Any]) -> tuple[Control, ...]:
    """The lines, in their order; what is wrong is left out, after complaining."""
    found: list[Control] = []
    for text, value in table.items():
        where: KeyPath = ("control", text)
        if not is_table(value):
            reading.complain(where, "must be in braces.", 'Write { lot = "44231", level = "1" }, or {}.')
            continue
        reading.known(where, value, ("lot", "level"), "is no key of a control.")
        try:
            pattern = re.compile(text)
        except (re.error, RecursionError, OverflowError):
            reading.complain(where, "is no regular expression.", "Write the id, or one such as 'QC-.*'.")
            continue
        if pattern.fullmatch("") is not None or (
            pattern.fullmatch("2411070012345") and pattern.fullmatch("A0B1C2D3E4")
        ):
            what = "fits any specimen id: patients' results would never leave."
            reading.complain(where, what, "Write what only control material is called.")
            continue
        found.append(Control(pattern, reading.text(value, where, "lot"), reading.text(value, where, "level")))
    return tuple(found)


def material(controls: Sequence[Control], specimen: str | None) -> Control | None:
    """What a specimen id is, None when it is no control's."""
    return next((one for one in controls if specimen and one.pattern.fullmatch(specimen)), None)
