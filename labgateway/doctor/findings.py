"""class Finding: one thing that is wrong, why we think so, and what to do; in English and Vietnamese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """BAD: it does not work. DOUBT: it works, and something is not right. GOOD: it works."""

    BAD = "bad"
    DOUBT = "doubt"
    GOOD = "good"


Words = tuple[str, str, str]
"""what, why, do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. name: for programs and tests. known: what fills the words."""

    name: str
    severity: Severity
    words: Mapping[str, Words]
    known: Mapping[str, object] = field(default_factory=dict[str, object])

    def said(self, lang: str) -> Words:
        """what, why, do in a language."""
        what, why, do = self.words[lang]
        return what.format(**self.known), why.format(**self.known), do.format(**self.known)

    def as_json(self, lang: str) -> dict[str, object]:
        """For programs."""
        what, why, do = self.said(lang)
        return {"finding": self.name, "severity": self.severity.value, "what": what, "why": why, "do": do}
