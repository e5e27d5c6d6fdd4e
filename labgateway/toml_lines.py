"""Which line of a TOML file says what: data from tomllib, and a line number for every key path.

Not a TOML parser: tomllib has judged the text before `lines` walks it, so the walk trusts that the
text is well formed and only has to know where keys, strings and brackets begin and end.

    [tests]                      ("tests",): 1
    WBC = "10*3/uL"              ("tests", "WBC"): 2
    [[rows]]                     ("rows", 0): 3
    when = { "R-3.7" = "I" }     ("rows", 0, "when"): 4, ("rows", 0, "when", "R-3.7"): 4
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from labgateway.errors import Complaint, ComplaintsError

KeyPath = tuple[str | int, ...]

_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_BLANKS = " \t\r\n"


def read_toml(path: Path, *, name: str | None = None) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The data of a TOML file and the line (from 1) of every key path in it.

    name: how complaints call the file; None: the path as given. A UTF-8 byte order mark, as Windows
    editors write it, is accepted. Raises ComplaintsError with one complaint when the file is
    missing, not UTF-8, or no TOML.
    """
    name = str(path) if name is None else name
    try:
        raw = path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {error.strerror or type(error).__name__}."
        raise _complaint(name, None, what, "Put the file there, readable for labgateway.") from None
    return parse_toml(raw, name=name)


def parse_toml(raw: bytes, *, name: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """As `read_toml`, for the bytes of a file called name."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _complaint(name, line, "is not UTF-8 here.", "Save the file as UTF-8.") from None
    try:
        data = tomllib.loads(text)
        return data, lines(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        at = _AT_LINE.search(words)
        last = text.count("\n", 0, len(text.rstrip())) + 1
        what = f"is not TOML: {_AT_LINE.sub('', words).replace('(at end of document)', '').strip()}."
        cure = "Look for a missing quote or bracket, a key written twice, or a text without quotes."
        raise _complaint(name, int(at[1]) if at else last, what, cure) from None
    except (ValueError, OverflowError):
        # A number of more digits than Python converts (sys.get_int_max_str_digits), a date beyond its calendar.
        what, cure = "holds a number or date that is too long.", "Look for the longest number, and write it as a text."
        raise _complaint(name, _longest_number(text), what, cure) from None
    except RecursionError:
        raise _complaint(name, None, "is nested too deep.", "Take the brackets within brackets away.") from None


def _longest_number(text: str) -> int | None:
    found = max(re.finditer(r"[0-9_]{19,}", text), key=lambda number: len(number[0]), default=None)
    return text.count("\n", 0, found.start()) + 1 if found else None


def line_of(index: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of a path, else of its nearest known parent; None when there is none (a missing top key)."""
    while path:
        if path in index:
            return index[path]
        path = path[:-1]
    return None


def lines(text: str) -> dict[KeyPath, int]:
    """Line number, from 1, of every key path of a well-formed TOML text.

    Tables stand with the line of their first header, arrays of tables with an index behind the name,
    items of an array with their index, keys of inline tables with their path.
    """
    return _Walk(text).run()


def _complaint(name: str, line: int | None, what: str, cure: str) -> ComplaintsError:
    return ComplaintsError([Complaint(name, line, "", what, cure)])


class _Walk:
    """One pass over the text with a position; every method leaves the position behind what it read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0
        self._line = 1
        self._found: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}

    def run(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip():
            if self._text.startswith("[[", self._at):
                self._at += 2
                keys = self._resolve(self._key())
                self._at += 2
                index = self._arrays.get(keys, -1) + 1
                self._arrays[keys] = index
                table = (*keys, index)
                self._note(table, len(keys))
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._resolve(self._key())
                self._at += 1
                self._note(table, len(table))
            else:
                self._pair(table)
        return self._found

    def _resolve(self, keys: KeyPath) -> KeyPath:
        """A header's path with the current index behind every part that is an array of tables."""
        path: KeyPath = ()
        for number, key in enumerate(keys):
            path = (*path, key)
            if path in self._arrays and number < len(keys) - 1:
                path = (*path, self._arrays[path])
        return path

    def _note(self, path: KeyPath, known: int) -> None:
        """Remember the line of a path and of its last parts behind the first `known - 1`."""
        line = self._line_now()
        for size in range(max(known, 1), len(path) + 1):
            self._found.setdefault(path[:size], line)
        for size in range(1, known):
            self._found.setdefault(path[:size], line)

    def _line_now(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _skip(self) -> bool:
        """Go behind blanks, commas and comments; False at the end."""
        text = self._text
        while self._at < len(text):
            if text[self._at] in _BLANKS or text[self._at] == ",":
                self._at += 1
            elif text[self._at] == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            else:
                return True
        return False

    def _pair(self, table: KeyPath) -> None:
        key = self._key()
        path = (*table, *key)
        self._note(path, len(table) + 1)
        self._at += 1
        self._value(path)

    def _key(self) -> KeyPath:
        """A bare, quoted or dotted key, up to the = or ] behind it."""
        text = self._text
        parts: list[str | int] = []
        while self._at < len(text) and text[self._at] not in "=]":
            char = text[self._at]
            if char in " \t.":
                self._at += 1
            elif char in "\"'":
                start = self._at
                self._string()
                parts.append(_string_value(text[start : self._at]))
            else:
                start = self._at
                while self._at < len(text) and text[self._at] not in " \t.=]":
                    self._at += 1
                parts.append(text[start : self._at])
        return tuple(parts)

    def _value(self, path: KeyPath) -> None:
        self._skip()
        text = self._text
        match text[self._at]:
            case '"' | "'":
                self._string()
            case "[":
                self._at += 1
                index = 0
                while self._skip() and text[self._at] != "]":
                    self._found.setdefault((*path, index), self._line_now())
                    self._value((*path, index))
                    index += 1
                self._at += 1
            case "{":
                self._at += 1
                while self._skip() and text[self._at] != "}":
                    self._pair(path)
                self._at += 1
            case _:
                while self._at < len(text) and text[self._at] not in ",]}#\r\n":
                    self._at += 1

    def _string(self) -> None:
        text = self._text
        quote = text[self._at]
        if text.startswith(quote * 3, self._at):
            end = text.find(quote * 3, self._at + 3)
            while quote == '"' and end > 0 and _is_escaped(text, end):
                end = text.find(quote * 3, end + 1)
            self._at = end + 3
            while text[self._at : self._at + 1] == quote:  # up to two quotes may stand before the last three
                self._at += 1
            return
        self._at += 1
        while text[self._at] != quote:
            self._at += 2 if text[self._at] == "\\" and quote == '"' else 1
        self._at += 1


def _is_escaped(text: str, at: int) -> bool:
    slashes = 0
    while text[at - 1 - slashes] == "\\":
        slashes += 1
    return slashes % 2 == 1


def _string_value(quoted: str) -> str:
    return str(tomllib.loads(f"k = {quoted}")["k"])
