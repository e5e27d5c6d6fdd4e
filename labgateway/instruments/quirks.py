"""What no key of driver.toml can say: one named function a deviation; drivers only name it.

Three kinds, by what they are given; each dictionary below is all there is of its kind.

    SPECIMEN  specimen id, blanks stripped -> specimen id
    TEXT      the decoded text of one message -> the text that is then cut into rows
    RESULT    a result and the row it came from -> the result, or None when the row is none
"""

from __future__ import annotations

from collections.abc import Callable

from labgateway.model import Result
from labgateway.protocols.rows import Row

SpecimenQuirk = Callable[[str], str]
TextQuirk = Callable[[str], str]
ResultQuirk = Callable[[Result, Row], Result | None]

SPECIMEN: dict[str, SpecimenQuirk] = {}
TEXT: dict[str, TextQuirk] = {}
RESULT: dict[str, ResultQuirk] = {}


def known(name: str) -> bool:
    """Whether a driver may name this quirk."""
    return name in SPECIMEN or name in TEXT or name in RESULT
