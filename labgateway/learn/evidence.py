"""The messages of an instrument side by side, what stands at a place in all of them, and the guess that grows from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from labgateway.instruments import groups
from labgateway.instruments.groups import Item
from labgateway.instruments.paths import Place, read_place
from labgateway.protocols.rows import Row


@dataclass(slots=True)
class Guess:
    """What a driver would say, and why it may be wrong. names: code to what the instrument calls it."""

    protocol: str
    where: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    take: dict[str, str] = field(default_factory=dict[str, str])
    flags: dict[str, str] = field(default_factory=dict[str, str])
    statuses: dict[str, str] = field(default_factory=dict[str, str])
    no_result: list[str] = field(default_factory=list[str])
    control: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    rows: list[tuple[dict[str, str], str, str]] = field(default_factory=list[tuple[dict[str, str], str, str]])
    """When, what it is, and why, of each rule about rows."""
    query: list[str] = field(default_factory=list[str])
    query_when: dict[str, str] = field(default_factory=dict[str, str])
    everything: str = ""
    join: bool = False
    """Whether the places of the code are joined, instead of the first filled one counting."""
    senders: list[str] = field(default_factory=list[str])
    tests: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    names: dict[str, str] = field(default_factory=dict[str, str])
    time_format: str = ""
    encoding: str | None = None
    doubts: list[str] = field(default_factory=list[str])
    found: list[str] = field(default_factory=list[str])


class Look:
    """One look at all messages."""

    def __init__(self, guess: Guess, messages: list[list[Row]]) -> None:
        self.guess = guess
        self.messages = [rows for rows in messages if rows]
        self.is_hl7 = guess.protocol == "hl7"
        self.row = "OBX" if self.is_hl7 else "R"
        split = groups.hl7 if self.is_hl7 else groups.astm
        self.items = [item for rows in self.messages for item in split(rows, frozenset({self.row}))]
        self.asking = [row for rows in self.messages for row in rows if row.name in ("Q", "QPD", "QRD")]
        self.groups = list({id(item.group): item for item in self.items}.values())

    def doubt(self, sentence: str) -> None:
        """Note what a person has to check."""
        self.guess.doubts.append(sentence)

    def texts(self, place: str, items: Iterable[Item] | None = None) -> list[str]:
        """What stands at a place, row by row, empty texts too."""
        found = place_of(place)
        return [item.text((found,)) for item in (self.items if items is None else items)]

    def components(self, name: str, number: int, items: Sequence[Item] | None = None) -> int:
        """How many components a field has at most; 0 when it is never filled."""
        most = 0
        for item in self.items if items is None else items:
            row = item.find(name)
            raw = row.raw(number) if row is not None else ""
            if row is not None and raw:
                most = max(most, max(part.count(row.delimiters.component) for part in row.repetitions(number)) + 1)
        return most

    def filled(self, place: str) -> float:
        """In what part of the rows a place is filled, 0 to 1."""
        texts = self.texts(place)
        return sum(map(bool, texts)) / len(texts) if texts else 0.0

    def place(self, number: int, component: int | None = None) -> str:
        """A path in the rows that hold results."""
        return f"{self.row}-{number}" + (f".{component}" if component else "")

    def of(self, name: str) -> list[str]:
        """What the guessed places of a part say, row by row: the first that is filled."""
        places = tuple(place_of(place) for place in self.guess.where.get(name, ()))
        return [item.text(places) for item in self.items]


def place_of(path: str) -> Place:
    """The place of a path that is one."""
    found = read_place(path)
    if found is None:
        raise ValueError(path)
    return found


def pairs(several: Iterable[tuple[str, str]]) -> str:
    """Codes with their names, for a sentence."""
    return ", ".join(f"{code} ({name})" for code, name in several)


def listed(words: Sequence[str]) -> str:
    """Words for a sentence, twenty at most."""
    return ", ".join(words[:20]) + (" …" if len(words) > 20 else "")
