"""Reads the keys of one TOML table and gathers what is wrong with them: never the first mistake only.

Each getter takes a key away; `done` complains about the ones nobody took. A wrong value is reported
and answered with the default, so that reading goes on.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from labgateway.errors import Complaint
from labgateway.toml_lines import KeyPath, line_of

_MISSING = object()
Word = TypeVar("Word", bound=str)


@dataclass(slots=True)
class Complaints:
    """All mistakes of one file. name: how the file is called in them."""

    name: str
    lines: dict[KeyPath, int]
    found: list[Complaint] = field(default_factory=list[Complaint])

    def add(self, path: KeyPath, what: str, cure: str) -> None:
        """Remember a mistake at a key path; the line is the key's, else its table's, else the file's first."""
        key = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
        self.found.append(Complaint(self.name, line_of(self.lines, path) or 1, key, what, cure))


class Table:
    """A table of the file at path, with the keys that were not asked for yet."""

    def __init__(self, data: dict[str, Any], path: KeyPath, complaints: Complaints) -> None:
        self.path = path
        self.complaints = complaints
        self._data = dict(data)
        self._known: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the file has the key and nobody took it yet."""
        return key in self._data

    def peek(self, key: str) -> object:
        """The raw value of a key that nobody took yet, or None; it stays."""
        return self._data.get(key)

    def wrong(self, key: str, what: str, cure: str) -> None:
        """Complain about one key."""
        self.complaints.add((*self.path, key), what, cure)

    def take(self, key: str) -> object:
        """The raw value, or None."""
        found = self._take(key)
        return None if found is _MISSING else found

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """A text that is not blank."""
        found = self._take(key)
        if found is _MISSING:
            if required:
                self.wrong(key, "is missing.", f'Add a line {key} = "…".')
            return default
        if not isinstance(found, str) or not found.strip():
            self.wrong(key, "must be a text.", f'Write {key} = "…".')
            return default
        return found.strip()

    def texts(self, key: str, *, required: bool = False, one: bool = False, blank: bool = False) -> tuple[str, ...]:
        """A list of texts; with one, a single text stands for a list of it; with blank, texts may be empty."""
        found = self._take(key)
        if found is _MISSING:
            if required:
                self.wrong(key, "is missing.", f'Add a line {key} = ["…"].')
            return ()
        if one and isinstance(found, str):
            found = [found]
        items = cast("list[object]", found) if isinstance(found, list) else None
        if items is None or not all(isinstance(item, str) for item in items) or (required and not items):
            self.wrong(key, "must be a list of texts.", f'Write {key} = ["…"].')
            return ()
        if not blank and not all(str(item).strip() for item in items):
            self.wrong(key, "holds an empty text.", "Take the empty text away.")
            return ()
        return tuple(str(item) for item in items)

    def choice(self, key: str, choices: tuple[Word, ...], default: Word) -> Word:
        """One of a closed set of words."""
        found = self._take(key)
        if found is _MISSING:
            return default
        for word in choices:
            if found == word:
                return word
        self.wrong(key, f"{_shown(found)} is not known here.", f"Use one of: {', '.join(choices)}.")
        return default

    def number(self, key: str, default: int | float, choices: tuple[int | float, ...] = ()) -> int | float:
        """A number, one of choices when there are any."""
        found = self._take(key)
        if found is _MISSING:
            return default
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
            self.wrong(key, "must be a number above 0.", f"Write {key} = {default}.")
            return default
        if choices and found not in choices:
            self.wrong(key, f"{found} is not possible.", f"Use one of: {', '.join(str(c) for c in choices)}.")
            return default
        return found

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        found = self._take(key)
        if found is _MISSING:
            return default
        if not isinstance(found, bool):
            self.wrong(key, "must be true or false.", f"Write {key} = {str(default).lower()}.")
            return default
        return found

    def table(self, key: str, *, required: bool = False) -> Table:
        """A table within; empty when the file has none."""
        found = self._take(key)
        if found is _MISSING:
            if required:
                self.complaints.add(
                    (*self.path, key), "is missing.", f"Add a table [{'.'.join([*self._names(), key])}]."
                )
            return Table({}, (*self.path, key), self.complaints)
        if not isinstance(found, dict):
            self.wrong(key, "must be a table.", f"Write [{'.'.join([*self._names(), key])}] with its keys below it.")
            return Table({}, (*self.path, key), self.complaints)
        return Table(cast("dict[str, Any]", found), (*self.path, key), self.complaints)

    def tables(self, key: str) -> list[Table]:
        """A list of tables ([[key]]); a single table stands for a list of it."""
        found = self._take(key)
        if found is _MISSING:
            return []
        if isinstance(found, dict):
            return [Table(cast("dict[str, Any]", found), (*self.path, key), self.complaints)]
        items = cast("list[object]", found) if isinstance(found, list) else None
        if items is None or not all(isinstance(item, dict) for item in items):
            self.wrong(key, "must be a table or a list of tables.", "Write { … } or [{ … }, { … }].")
            return []
        return [
            Table(cast("dict[str, Any]", item), (*self.path, key, number), self.complaints)
            for number, item in enumerate(items)
        ]

    def rest(self) -> dict[str, Any]:
        """Every key that nobody took; they count as taken now."""
        rest, self._data = self._data, {}
        return rest

    def rest_names(self) -> tuple[str, ...]:
        """The keys that nobody took yet, in the order of the file."""
        return tuple(self._data)

    def done(self) -> None:
        """Complain about the keys that nobody took."""
        for key in self._data:
            near = difflib.get_close_matches(key, sorted(self._known), n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            place = f"[{'.'.join(self._names())}]" if self.path else "the top of the file"
            cure = f"{hint}Known at {place}: {', '.join(sorted(self._known))}."
            self.wrong(key, "is not a key that belongs here.", cure)

    def _names(self) -> list[str]:
        return [part for part in self.path if isinstance(part, str)]

    def _take(self, key: str) -> object:
        self._known.add(key)
        return self._data.pop(key, _MISSING)


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
