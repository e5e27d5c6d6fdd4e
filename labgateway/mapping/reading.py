"""What every section of a mapping file is read with: names, texts, numbers, dates; each complains where it is wrong."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Context, Decimal
from difflib import get_close_matches
from typing import Any, TypeGuard

from labgateway.errors import Complaint
from labgateway.toml_lines import KeyPath, line_of


def is_table(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether it is a section, or a line in braces."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is a list."""
    return isinstance(value, list)


def number_of(value: object) -> Decimal | None:
    """An exact finite number, None for anything else; a whole one without needless zeros behind the point."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    if not number.is_finite() or abs(number.adjusted()) > 30:
        return None
    whole = number.to_integral_value()
    exact = Context(prec=len(number.as_tuple().digits))
    return Decimal(int(whole)) if whole == number else number.normalize(exact)


def unknown_key(key: str, known: tuple[str, ...]) -> str:
    """What to do about an unknown key."""
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    return f"Did you mean `{close[0]}`?" if close else f"Take it out. Known here: {', '.join(known)}."


class Reading:
    """One pass over one file."""

    def __init__(self, name: str, index: dict[KeyPath, int]) -> None:
        self.name = name
        self.index = index
        self.complaints: list[Complaint] = []

    def complain(self, where: KeyPath, what: str, cure: str) -> None:
        """Note a mistake. where: the keys from the top of the file."""
        key = ".".join(str(part) for part in where)
        self.complaints.append(Complaint(self.name, line_of(self.index, where), key, what, cure))

    def table(self, data: dict[str, Any], key: str) -> dict[str, Any]:
        """A section; empty when there is none, or after complaining."""
        value = data.get(key, {})
        if is_table(value):
            return value
        if not any(c.key == key for c in self.complaints):
            self.complain((key,), "must be a section.", f"Write [{key}] and its lines below it.")
        return {}

    def names(self, where: KeyPath, value: object) -> tuple[str, ...]:
        """One name or a list of different ones; () after complaining."""
        if not is_list(value):
            if isinstance(value, str) and value.strip():
                return (value.strip(),)
            self.complain(where, "must be a name.", 'Write it in quotes, such as "WBC", or several: ["GLU", "GLU2H"].')
            return ()
        found: list[str] = []
        for item in value:
            if not isinstance(item, str) or not item.strip():
                self.complain(where, "must hold names.", 'Write each in quotes, such as ["GLU", "GLU2H"].')
                return ()
            if item.strip() in found:
                self.complain(where, f"names {item.strip()} twice.", "Take one of the two out.")
            found.append(item.strip())
        if not found:
            self.complain(where, "is empty.", 'Name at least one test, such as ["WBC"].')
        return tuple(dict.fromkeys(found))

    def text(self, table: dict[str, Any], where: KeyPath, key: str, *, empty: bool = True) -> str:
        """A text without outer blanks; "" when there is none, or after complaining."""
        value = table.get(key, "")
        if not isinstance(value, str):
            self.complain((*where, key), "must be text.", f'Write it in quotes: {key} = "...".')
            return ""
        if not empty and not value.strip():
            self.complain((*where, key), "is empty.", "Write it, or take the key out.")
        return value.strip()

    def yes_no(self, table: dict[str, Any], where: KeyPath, key: str, *, default: bool) -> bool:
        """True or false; the default when there is none, or after complaining."""
        value = table.get(key, default)
        if isinstance(value, bool):
            return value
        self.complain((*where, key), "must be yes or no.", "Write true or false, without quotes.")
        return default

    def known(self, where: KeyPath, table: dict[str, Any], keys: tuple[str, ...], what: str) -> None:
        """Complain about every key that is not one of these."""
        for key in table:
            if key not in keys:
                self.complain((*where, key), what, unknown_key(key, keys))

    def number(self, where: KeyPath, value: object) -> Decimal | None:
        """An exact number; None after complaining."""
        number = number_of(value)
        if number is None:
            cure = "Write it with a point and without quotes, such as 10 or 0.0555."
            self.complain(where, "must be a number.", cure)
        return number

    def pair(self, where: KeyPath, value: object, cure: str) -> tuple[Decimal, Decimal] | None:
        """Two exact numbers; None after complaining."""
        ends = [number_of(item) for item in value] if is_list(value) else []
        if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
            return ends[0], ends[1]
        self.complain(where, "must be two numbers.", cure)
        return None

    def day(self, where: KeyPath, value: object) -> date | None:
        """A day, with or without quotes; None after complaining."""
        if isinstance(value, str):
            try:
                return date.fromisoformat(value)
            except ValueError:
                value = None
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        self.complain(where, "must be a day.", "Write it as year, month and day, such as 2026-01-31.")
        return None
