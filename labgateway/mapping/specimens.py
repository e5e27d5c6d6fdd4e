"""What specimen types are called: HL7 tables 0487 and 0070, plain English, plain Vietnamese. Case does not matter."""

from __future__ import annotations

import re

NAMES: tuple[frozenset[str], ...] = tuple(
    frozenset(names)
    for names in (
        {"serum", "ser", "huyết thanh"},
        {"plasma", "plas", "huyết tương"},
        {"blood", "whole blood", "bld", "wb", "máu", "máu toàn phần"},
        {"urine", "ur", "urn", "u", "nước tiểu"},
        {"csf", "cerebrospinal fluid", "dịch não tủy"},
        {"stool", "stl", "feces", "phân"},
        {"sputum", "spt", "đờm"},
        {"fluid", "body fluid", "flu", "bf", "dịch cơ thể"},
    )
)
"""Each set is one type. A type that stands nowhere here is only itself: what the instrument sends can be written."""


def same(written: str, sent: str) -> bool:
    """Whether the type that a mapping line names is the one that an instrument sent (any component of its field)."""
    wanted = _key(written)
    names = next((names for names in NAMES if wanted in names), frozenset({wanted}))
    return any(_key(part) in names for part in re.split(r"[\^&]", sent))


def _key(text: str) -> str:
    return " ".join(text.casefold().split())
