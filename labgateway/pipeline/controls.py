"""Control material: told apart from patients' specimens by the mapping, and counted for whoever looks after quality.

An id that [control] names and that the EMR has ordered is neither: it is held, whichever came first. Nobody's result is
kept back as a control's in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Context, Decimal

from sqlalchemy import Connection

from labgateway.errors import Problem, Reason
from labgateway.instruments.spec import Driver
from labgateway.mapping import decimals
from labgateway.mapping.control import material
from labgateway.mapping.table import Mapping
from labgateway.model import Kind, ObservationState, Result
from labgateway.pipeline.rules import Rules
from labgateway.store import orders, results
from labgateway.store.observed import Decided, Stored

_WIDE = Context(prec=60)
_LONGEST = 40


def told_apart(connection: Connection, said: Iterable[Result], mapping: Mapping) -> list[Result]:
    """The results, those of control material as such, with lot and level where the analyzer does not say them."""
    found: list[Result] = []
    for one in said:
        known = material(mapping.control, one.specimen) if one.kind is Kind.PATIENT else None
        if known is None:
            found.append(one)
        elif orders.for_specimen(connection, one.specimen or ""):
            found.append(replace(one, problem=one.problem or Problem(Reason.CONTROL_OR_PATIENT, f"code {one.code}")))
        else:
            lot, level = one.lot or known.lot or None, one.level or known.level or None
            found.append(replace(one, kind=Kind.CONTROL, lot=lot, level=level))
    return found


def named_by_id(driver: Driver, specimen: str | None) -> bool:
    """Whether the driver calls this a control's id: by its form alone, not because the analyzer said so."""
    places = dict(driver.where).get("specimen", ())
    return any(
        all(
            (clause.key == "specimen" or clause.places == places) and clause.pattern.search(specimen or "")
            for clause in condition
        )
        for condition in driver.control
    )


def ordered_by_id(connection: Connection, said: Iterable[Result], driver: Driver) -> list[Result]:
    """The results; one whose id has the form of a control's and was ordered by the EMR is neither, and is held."""
    found: list[Result] = []
    for one in said:
        if (
            one.kind is Kind.CONTROL
            and named_by_id(driver, one.specimen)
            and orders.for_specimen(connection, one.specimen or "")
        ):
            problem = one.problem or Problem(Reason.CONTROL_OR_PATIENT, f"code {one.code}")
            found.append(replace(one, kind=Kind.PATIENT, problem=problem))
        else:
            found.append(one)
    return found


def ordered_after_all(connection: Connection, rows: Iterable[Stored], rules: Rules, now: datetime) -> int:
    """Orders came for an id that mapping or driver call a control's: what was kept as one is held. How many were."""
    found = 0
    for one in rows:
        instrument = rules.instruments.get(one.instrument)
        if instrument is None or one.state is not ObservationState.CONTROL or one.result.kind is not Kind.CONTROL:
            continue
        mapping, driver = instrument.mapping, instrument.driver
        by_mapping = isinstance(mapping, Mapping) and material(mapping.control, one.specimen) is not None
        by_driver = isinstance(driver, Driver) and named_by_id(driver, one.specimen)
        if not (by_mapping or by_driver) or not orders.for_specimen(connection, one.specimen or ""):
            continue
        row = {name.name: getattr(one, name.name) for name in fields(Decided)}
        problem = Problem(Reason.CONTROL_OR_PATIENT, f"code {one.result.code}")
        held = replace(Decided(**row), state=ObservationState.HELD, problem=problem, decided_at=now)
        found += results.redecide(connection, held, one.row_version)
    return found


@dataclass(slots=True)
class Series:
    """Control values of one test, lot, level and unit, oldest first. others: values that are no plain numbers."""

    instrument: str
    code: str
    lot: str
    level: str
    unit: str
    numbers: list[Decimal] = field(default_factory=list[Decimal])
    others: int = 0
    last: str | None = None
    last_at: datetime | None = None

    @property
    def places(self) -> int:
        """One digit behind the point more than the values have."""
        exponents = [number.as_tuple().exponent for number in self.numbers]
        return 1 + max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)

    @property
    def mean(self) -> str | None:
        """Of the numbers; None without any."""
        if not self.numbers:
            return None
        return self._shown(self._mean)

    @property
    def sd(self) -> str | None:
        """Standard deviation of the sample (n - 1); None for fewer than two numbers."""
        if len(self.numbers) < 2:
            return None
        squares = [_WIDE.multiply(d, d) for number in self.numbers for d in (_WIDE.subtract(number, self._mean),)]
        return self._shown(_WIDE.divide(_total(squares), Decimal(len(squares) - 1)).sqrt(_WIDE))

    @property
    def _mean(self) -> Decimal:
        return _WIDE.divide(_total(self.numbers), Decimal(len(self.numbers)))

    def _shown(self, number: Decimal) -> str:
        return f"{number.quantize(Decimal((0, (1,), -max(self.places, 0))), context=_WIDE):f}"


def _total(numbers: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = _WIDE.add(total, number)
    return total


def series(rows: Sequence[Stored]) -> list[Series]:
    """Rows of controls, oldest first, by instrument, test, lot, level and unit."""
    found: dict[tuple[str, ...], Series] = {}
    for one in rows:
        said = one.result
        key = (one.instrument, said.code, said.lot or "", said.level or "", said.unit or "")
        mine = found.setdefault(key, Series(*key))
        value = said.value or ""
        number = decimals.read(value) if len(value) <= _LONGEST else None
        if number is None or number.sign:
            mine.others += 1
        else:
            mine.numbers.append(number.number)
        mine.last, mine.last_at = said.value, one.received_at
    return sorted(found.values(), key=lambda one: (one.instrument, one.code, one.lot, one.level, one.unit))
