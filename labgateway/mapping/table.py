"""mappings/<instrument>.toml to a table: every mistake of the file at once, with its line and its cure (DESIGN 5.3)."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from labgateway.errors import Complaint, ComplaintsError
from labgateway.toml_lines import parse_toml

Keys = tuple[str | int, ...]

_TOP = ("instrument", "checked", "decimal_comma", "tests", "panels", "leave_out")
_LINE = ("emr", "name", "loinc", "moh", "unit", "times", "decimals", "sane", "comes", "specimen", "rerun", "decimal_comma")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of [tests]: what becomes of one analyzer code, on one specimen type where `specimen` says so.

    emr: the EMR's tests it may answer, at least one. unit: what is sent, None as the analyzer writes it. times: the
    exact factor, 1 without. decimals: places after rounding, None as measured. sane: lowest and highest value
    after the factor. comes: the unit this very instrument sends, None what its driver says.
    """

    emr: tuple[str, ...]
    name: str = ""
    loinc: str = ""
    moh: str = ""
    unit: str | None = None
    times: Decimal = Decimal(1)
    decimals: int | None = None
    sane: tuple[Decimal, Decimal] | None = None
    comes: str | None = None
    specimen: str | None = None
    rerun: Literal["hold", "last"] = "hold"
    decimal_comma: bool = False


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping file. version: SHA-256 (hex) of its bytes. lines: where each key stands, for complaints."""

    instrument: str
    checked: str
    version: str
    tests: MappingOf[str, tuple[Line, ...]]
    panels: MappingOf[str, tuple[str, ...]]
    leave_out: MappingOf[str, str]
    lines: MappingOf[Keys, int]


def load(path: Path) -> Mapping:
    """Read a mapping file. Raises ComplaintsError with every mistake, OSError never: an unreadable file is one too."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ComplaintsError(
            [Complaint(path.name, None, "", f"cannot be read: {error.strerror}.", "Check the name in config.toml and who may read it.")]
        ) from error
    _, lines = parse_toml(raw, name=path.name)
    # Read once more for exact numbers: a binary float would turn 0.0555 into something else.
    data = tomllib.loads(raw.decode("utf-8-sig"), parse_float=Decimal)
    return _Reader(path.name, lines).mapping(data, hashlib.sha256(raw).hexdigest())


class _Reader:
    def __init__(self, file: str, lines: MappingOf[Keys, int]) -> None:
        self._file = file
        self._lines = lines
        self._found: list[Complaint] = []

    def mapping(self, data: dict[str, Any], version: str) -> Mapping:
        """The whole file, or every complaint."""
        self._unknown((), data, _TOP)
        comma = self._flag((), data, "decimal_comma")
        tests = {code: self._test(code, said, comma) for code, said in self._table(data, "tests").items()}
        panels = {code: self._texts(("panels", code), said) for code, said in self._table(data, "panels").items()}
        leave_out = {
            code: self._text(("leave_out", code), said) for code, said in self._table(data, "leave_out").items()
        }
        for code in tests.keys() & leave_out.keys():
            self._wrong(("leave_out", code), "stands in [tests] as well.", "Keep one of the two lines.")
        instrument = self._text(("instrument",), data.get("instrument", ""))
        if not instrument:
            self._wrong(("instrument",), "is missing.", 'Name the instrument as config.toml does: instrument = "xn1"')
        checked = self._text(("checked",), data.get("checked", ""))
        if self._found:
            raise ComplaintsError(sorted(self._found, key=lambda one: one.line or 0))
        return Mapping(instrument, checked, version, tests, panels, leave_out, self._lines)

    def _test(self, code: str, said: object, comma: bool) -> tuple[Line, ...]:
        if isinstance(said, list):
            items = cast("list[object]", said)
            if not items:
                self._wrong(("tests", code), "is an empty list.", "Write one line a specimen type, or none.")
            return tuple(self._line(("tests", code, n), one, comma) for n, one in enumerate(items))
        return (self._line(("tests", code), said, comma),)

    def _line(self, at: Keys, said: object, comma: bool) -> Line:
        if not isinstance(said, dict):
            self._wrong(at, "is no table.", 'Write it as CODE = { emr = "CODE" }')
            return Line(("",))
        line = cast("dict[str, Any]", said)
        self._unknown(at, line, _LINE)
        emr = self._texts((*at, "emr"), line["emr"]) if "emr" in line else ()
        if not emr:
            self._wrong((*at, "emr"), "is missing.", 'Say what the EMR calls this test: emr = "HGB"')
        if ("unit" in line) != ("times" in line):
            there, missing = ("unit", "times") if "unit" in line else ("times", "unit")
            self._wrong((*at, there), f"stands without {missing}.", "Write both; times = 1 when the numbers stay as they are.")
        times = self._decimal((*at, "times"), line.get("times", 1))
        if times <= 0:
            self._wrong((*at, "times"), "must be more than 0.", "Write the factor from the analyzer's unit to yours.")
            times = Decimal(1)
        rerun = line.get("rerun", "hold")
        if rerun not in ("hold", "last"):
            self._wrong((*at, "rerun"), f"cannot be {rerun!r}.", 'Write "hold" or "last".')
        return Line(
            emr=emr or ("",),
            **{key: self._text((*at, key), line[key]) for key in ("name", "loinc", "moh") if key in line},
            unit=self._text((*at, "unit"), line["unit"]) if "unit" in line else None,
            times=times,
            decimals=self._decimals((*at, "decimals"), line.get("decimals")),
            sane=self._sane((*at, "sane"), line.get("sane")),
            comes=self._text((*at, "comes"), line["comes"]) if "comes" in line else None,
            specimen=self._text((*at, "specimen"), line["specimen"]) if "specimen" in line else None,
            rerun="last" if rerun == "last" else "hold",
            decimal_comma=comma or self._flag(at, line, "decimal_comma"),
        )

    def _table(self, data: dict[str, Any], key: str) -> dict[str, Any]:
        said = data.get(key, {})
        if isinstance(said, dict):
            return cast("dict[str, Any]", said)
        self._wrong((key,), "is no table.", f"Write [{key}] on a line of its own.")
        return {}

    def _decimals(self, at: Keys, said: object) -> int | None:
        if said is None or (isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= 12):
            return said
        self._wrong(at, "must be a whole number from 0 to 12.", "Write how many digits stand behind the point.")
        return None

    def _sane(self, at: Keys, said: object) -> tuple[Decimal, Decimal] | None:
        if said is None:
            return None
        limits = [self._decimal(at, one) for one in cast("list[object]", said)] if isinstance(said, list) else []
        if len(limits) != 2 or limits[0] > limits[1]:
            self._wrong(at, "must be two numbers, the lower one first.", "Write sane = [0, 500]")
            return None
        return limits[0], limits[1]

    def _decimal(self, at: Keys, said: object) -> Decimal:
        if isinstance(said, int | Decimal) and not isinstance(said, bool) and Decimal(said).is_finite():
            return Decimal(said)
        self._wrong(at, "must be a number.", "Write it without quotes and with a point: times = 0.0555")
        return Decimal(1)

    def _flag(self, at: Keys, table: dict[str, Any], key: str) -> bool:
        said = table.get(key, False)
        if not isinstance(said, bool):
            self._wrong((*at, key), "must be true or false.", f"Write {key} = true, or leave it out.")
        return said is True

    def _text(self, at: Keys, said: object) -> str:
        if isinstance(said, str):
            return said.strip()
        self._wrong(at, "must be text.", "Put it in quotes.")
        return ""

    def _texts(self, at: Keys, said: object) -> tuple[str, ...]:
        if isinstance(said, str):
            return (said.strip(),) if said.strip() else ()
        if isinstance(said, list) and all(isinstance(one, str) and one.strip() for one in cast("list[object]", said)):
            return tuple(one.strip() for one in cast("list[str]", said))
        self._wrong(at, "must be text, or a list of texts.", 'Write "GLU" or ["GLU", "GLU2H"].')
        return ()

    def _unknown(self, at: Keys, table: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                self._wrong((*at, key), "is no key of a mapping file.", f"Known here: {', '.join(known)}.")

    def _wrong(self, at: Keys, what: str, cure: str) -> None:
        line = next((self._lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self._lines), None)
        self._found.append(Complaint(self._file, line, ".".join(str(key) for key in at), what, cure))
