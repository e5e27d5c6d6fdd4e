"""A mapping file written anew: only what changes is touched; comments and order stay. Uses tomlkit.

What was written is read again and compared before anybody gets it: tomlkit's answer is never taken on trust.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, InlineTable, Item

from labgateway.errors import LabgatewayError
from labgateway.mapping.difference import same
from labgateway.mapping.sheet import Values, data_of, lines_of
from labgateway.mapping.sheet_columns import COLUMNS
from labgateway.mapping.sheet_reading import Entered
from labgateway.mapping.table import Mapping, parse


def with_checked(raw: bytes, checked: str) -> bytes:
    """The file with another `checked`. Raises LabgatewayError when it cannot be written so."""
    document = _document(raw)
    if "checked" in document:
        document["checked"] = checked
        written = tomlkit.dumps(document).encode()
    else:
        line = tomlkit.dumps({"checked": checked}).encode()
        written = line + raw.removeprefix(b"\xef\xbb\xbf")
    old, _ = parse(raw, "before")
    new, complaints = parse(written, "after")
    if old is None or new is None or complaints or new.checked != checked.strip() or not same(_as(old, new), new):
        raise LabgatewayError("`checked` cannot be written into this file; write it by hand, then accept it.")
    return written


def _as(old: Mapping, new: Mapping) -> Mapping:
    from dataclasses import replace

    return replace(old, checked=new.checked)


def _document(raw: bytes) -> Any:
    try:
        return tomlkit.parse(raw.decode("utf-8-sig"))
    except (TOMLKitError, UnicodeDecodeError, ValueError, RecursionError):
        raise LabgatewayError("The file cannot be read for writing; run `labgateway mapping check` on it.") from None


def with_entered(raw: bytes | None, said: Entered, instrument: str) -> bytes:
    """The file with what a spreadsheet says: lines, panels, orders, what is left out. The same bytes when nothing differs.

    Whether what it says makes sense is not looked at.

    raw: None: there is no file yet. Keys that a spreadsheet does not carry stay with their code and specimen type. Raises
    ComplaintsError when raw has mistakes, LabgatewayError when it cannot be written so.
    """
    base = raw if raw is not None else _new_file(instrument)
    data, _ = data_of(base, "the file in use")
    wanted = _wanted(data, said)
    if raw is not None and _bare(data) == _bare(wanted):
        return raw
    document = _document(base)
    try:
        head = _write_top(document, data, wanted)
        _write_table(document, "tests", data, wanted, _write_lines)
        for table in ("panels", "orders", "leave_out"):
            _write_table(document, table, data, wanted, _write_value)
        written = (head + tomlkit.dumps(document)).encode()
        again: dict[str, Any] = tomllib.loads(written.decode(), parse_float=Decimal)
    except (TOMLKitError, ValueError, TypeError, KeyError):
        again, written = {}, b""
    if _bare(again) != _bare(wanted):
        if raw is None or not said.tests:
            raise LabgatewayError("This cannot be written as a mapping file; write it by hand.")
        raise LabgatewayError(
            "The file in use is laid out in a way that cannot be kept. Write each test as one line, CODE = { ... }, then "
            "import again."
        )
    return written


def _new_file(instrument: str) -> bytes:
    head = tomlkit.dumps({"instrument": instrument, "checked": ""})
    return f"{head}\n[tests]\n\n[panels]\n\n[leave_out]\n".encode()


_SHEET_KEYS = frozenset(column.key for column in COLUMNS["tests"]) - {"code", "lowest", "highest"} | {"sane"}
_ORDER = ("specimen", "emr", "name", "loinc", "comes", "unit", "times", "decimals", "sane")


def _wanted(data: dict[str, Any], said: Entered) -> dict[str, Any]:
    """What the file shall hold: the old with the sheet's words, and old keys that no sheet carries."""
    wanted = {key: value for key, value in data.items() if key not in _TABLES}
    if said.decimal_comma is not None:
        wanted["decimal_comma"] = said.decimal_comma
    else:
        wanted.pop("decimal_comma", None)
    tests: dict[str, Any] = {}
    for code, lines in _in_order(data.get("tests", {}), said.tests).items():
        old = (
            {line.get("specimen"): line for line in lines_of(data["tests"][code])}
            if code in data.get("tests", {})
            else {}
        )
        new = [_kept(old.get(line.get("specimen"), {}), line) for line in lines]
        tests[code] = new[0] if len(new) == 1 else new
    for name, table in (
        ("tests", tests),
        ("panels", said.panels),
        ("orders", said.orders),
        ("leave_out", said.leave_out),
    ):
        if table or name in data:
            wanted[name] = table if name == "tests" else _in_order(data.get(name, {}), table)
    return wanted


_TABLES = ("tests", "panels", "orders", "leave_out")


def _in_order(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new entries, those that were there before first and as they stood."""
    return {code: new[code] for code in old if code in new} | {code: new[code] for code in new if code not in old}


def _kept(old: Values, new: Values) -> Values:
    return {key: value for key, value in old.items() if key not in _SHEET_KEYS} | new


def _bare(data: Any) -> Any:
    """Data for comparison: names in one form, numbers by value, nothing for what is empty."""
    if not isinstance(data, dict):
        return _bare_value(data)
    found = {key: _bare(value) for key, value in cast("dict[str, Any]", data).items()}
    return {key: value for key, value in found.items() if value not in ("", {})}


def _bare_value(value: Any) -> Any:
    match value:
        case bool():
            return ("yes" if value else "no",)
        case int() | Decimal():
            return Decimal(value)
        case str():
            return value.strip()
        case [str() as one]:
            return one.strip()
        case [one] if isinstance(one, dict):
            return _bare(cast("Any", one))
        case list():
            return [_bare(item) for item in cast("list[Any]", value)]
        case _:
            return value


def _write_top(document: Any, data: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Write `decimal_comma`; the line that has to stand above all else where the file has no place for it."""
    comma = wanted.get("decimal_comma")
    last = next((key for key in ("checked", "instrument") if key in document), None)
    if comma == data.get("decimal_comma"):
        return ""
    if comma is None:
        del document["decimal_comma"]
    elif "decimal_comma" in data:
        document["decimal_comma"] = comma
    elif last is not None:
        document._insert_after(last, "decimal_comma", tomlkit.item(comma))
    else:
        return tomlkit.dumps({"decimal_comma": comma})
    return ""


def _write_table(document: Any, name: str, data: dict[str, Any], wanted: dict[str, Any], write: Any) -> None:
    old, new = data.get(name, {}), wanted.get(name, {})
    if _bare(old) == _bare(new):
        return
    if name not in document:
        document.add(tomlkit.nl())
        document.add(name, tomlkit.table())
    table = document[name]
    for code in old:
        if code not in new:
            del table[code]
    for code, value in new.items():
        if code not in old:
            table.add(code, tomlkit.value(_line_text(value) if name == "tests" else _value_text(value)))
        elif _bare(value) != _bare(old[code]):
            write(table, code, value)


def _write_value(table: Any, code: str, value: Any) -> None:
    table[code] = tomlkit.value(_value_text(value))


def _write_lines(table: Any, code: str, value: Any) -> None:
    """Replace the lines of a code; of a list only the items that differ, so that the others keep their layout."""
    there = table[code]
    lines = lines_of(value)
    old = [dict(line) for line in lines_of(there.unwrap())]
    if isinstance(there, Array) and len(old) == len(lines):
        for number, line in enumerate(lines):
            if _bare(old[number]) != _bare(line):
                there[number] = tomlkit.value(_line_text(line, there[number]))
    else:
        known = there if isinstance(there, InlineTable) and len(lines) == 1 else None
        table[code] = tomlkit.value(_line_text(value, known))


def _line_text(value: Any, old: Any = None) -> str:
    """A line in braces, or several in brackets; what stays is written as it was. old: the item before, None for none."""
    if isinstance(value, list):
        return "[ " + ", ".join(_line_text(line) for line in cast("list[Values]", value)) + " ]"
    line = cast("Values", value)
    there: dict[str, Any] = {} if old is None else {key: old[key] for key in old}
    keys = dict.fromkeys([*(key for key in there if key in line), *(key for key in _ORDER if key in line), *line])
    parts: list[str] = []
    for key in keys:
        item = there.get(key)
        # A boolean has no spelling to keep: tomlkit gives it bare.
        is_kept = isinstance(item, Item) and _bare(_plain(item)) == _bare(line[key])
        parts.append(
            f"{_key_text(key)} = {item.as_string() if is_kept and item is not None else _value_text(line[key])}"
        )
    return "{ " + ", ".join(parts) + " }"


def _plain(item: Item) -> Any:
    """The exact value of an item, numbers as Decimal."""
    return tomllib.loads(f"x = {item.as_string()}", parse_float=Decimal)["x"]


def _key_text(key: str) -> str:
    return tomlkit.key(key).as_string()


def _value_text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return f"{Decimal(value):f}"
        case str():
            return tomlkit.string(value).as_string()
        case dict():
            return _line_text(value)
        case _:
            return "[" + ", ".join(_value_text(item) for item in cast("list[Any]", value)) + "]"


def with_loinc(raw: bytes, wanted: dict[str, str]) -> bytes:
    """The file with other LOINC codes on lines that are there. wanted: code to LOINC.

    Raises LabgatewayError when a code has no line of its own, or several.
    """
    data, _ = data_of(raw, "the mapping file")
    document = _document(raw)
    tests = data.get("tests", {})
    expected = {**data, "tests": dict(tests)}
    for code, loinc in wanted.items():
        if not isinstance(tests.get(code), dict):
            raise LabgatewayError(f"{code} has not exactly one line under [tests]; write the LOINC by hand.")
        expected["tests"][code] = {**tests[code], "loinc": loinc}
        _write_lines(document["tests"], code, expected["tests"][code])
    written = tomlkit.dumps(document).encode()
    if _bare(tomllib.loads(written.decode(), parse_float=Decimal)) != _bare(expected):
        raise LabgatewayError("The file is laid out in a way that cannot be kept; write the LOINC by hand.")
    return written
