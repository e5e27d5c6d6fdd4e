"""What happens to tube n, and what must become of each of its values. Pure, and written without the gateway's code.

    day(n) -> Tube(messages in four steps, what must become of each value)

Tube n is patient n's, ordered as placer number n. Every value is ``n.VT`` (V the version, T the test), so that it is known
whose it is without asking anybody. Of every hundred tubes 35 have something wrong or odd, the others are plain.

Steps, each sent when the one before was acknowledged: 0 orders, 1 results, 2 orders, 3 results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

TESTS = 5
BLOCK = 100
VERSIONS = 2
OUTCOMES = (
    "released", "duplicate", "waiting", "control", "AMBIGUOUS_ORDER", "IDENTITY_CONFLICT", "ORDER_CANCELLED", "NO_SPECIMEN",
    "NOT_A_PATIENT_ID", "CONTROL_OR_PATIENT", "RERUN_DIFFERS", "STATUS_REGRESSION", "CODE_UNKNOWN", "UNMAPPED", "UNIT_UNKNOWN",
    "UNIT_CHANGED", "NOT_ORDERED", "OTHER_INSTRUMENT", "something else",
)  # fmt: skip
"""Where a value may stand: a state, or the reason for which it is held."""
PLACEHOLDERS = ("UNKNOWN", "00000000", "XXXX", "NO READ", "----", "ERROR", "N/A")


@dataclass(frozen=True)
class Row:
    """One result as the analyzer says it."""

    code: str
    value: str
    unit: str = "mmol/L"
    status: str = "F"


@dataclass(frozen=True)
class Said:
    """One message of an analyzer. line: beside the tube's own line."""

    step: int
    specimen: str
    rows: tuple[Row, ...]
    patient: str = ""
    name: str = ""
    born: str = ""
    sex: str = ""
    line: int = 0


@dataclass
class Tube:
    """orders: (step, message). outcomes: by version and test, how often the value must stand where; or one of several."""

    number: int
    kind: str = "plain"
    orders: list[tuple[int, str]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    outcomes: dict[tuple[int, int], tuple[Counter[str], ...]] = field(default_factory=dict)
    specimen: str = ""

    def must(self, version: int, *allowed: str, test: int | None = None) -> None:
        """Each of allowed is a list of outcomes, such as ``released duplicate``."""
        for one in range(TESTS) if test is None else (test,):
            self.outcomes[version, one] = tuple(Counter(words.split()) for words in allowed)


def specimen_of(n: int) -> str:
    """The id on tube n, when nothing is wrong with it."""
    return f"S{n:08d}"


def name_of(n: int) -> str:
    """The name of patient n."""
    return f"NGUYỄN^VĂN N{n}"


def born_of(n: int) -> str:
    """The birth date of patient n."""
    return f"{1930 + n % 80}{1 + n % 12:02}{1 + n % 28:02}"


def sex_of(n: int) -> str:
    """The sex of patient n."""
    return "MF"[n % 2]


def value_of(n: int, version: int, test: int) -> str:
    """Unique over the whole day."""
    return f"{n}.{version}{test}"


def order(
    n: int,
    specimen: str,
    *,
    patient: int | None = None,
    placer: str = "",
    control: str = "NW",
    code: str = "ALL",
    collected: datetime | None = None,
) -> str:
    """OML^O21 for tube n. patient: another one than n."""
    who = n if patient is None else patient
    placer = placer or f"O{n}"
    at = f"{collected:%Y%m%d%H%M%S}+0000" if collected else ""
    return (
        f"MSH|^~\\&|HIS|BV|BENCH|BENCH|20261122080000||OML^O21^OML_O21|{control}{placer}P{who}|P|2.5.1||||||UNICODE UTF-8\r"
        f"PID|1||P{who}^^^BV^MR||{name_of(who)}||{born_of(who)}|{sex_of(who)}\r"
        f"ORC|{control}|{placer}\rOBR|1|{placer}||{code}^{code}^L\r"
        f"SPM|1|{specimen}||BLD^Blood^HL70487|||||||||||||{at}\r"
    )


def rows(n: int, version: int = 0, status: str = "F") -> tuple[Row, ...]:
    """All tests of tube n."""
    return tuple(Row(f"T{test}", value_of(n, version, test), status=status) for test in range(TESTS))


def changed(n: int, test: int, *, code: str = "", unit: str = "mmol/L") -> tuple[Row, ...]:
    """All tests of tube n, one of them said otherwise."""
    return tuple(Row(code or row.code, row.value, unit) if at == test else row for at, row in enumerate(rows(n)))


def day(n: int, now: datetime) -> Tube:
    """What happens to tube n."""
    tube = Tube(n, specimen=specimen_of(n))
    own = order(n, tube.specimen)
    plain = Said(1, tube.specimen, rows(n), f"P{n}", name_of(n), born_of(n), sex_of(n))
    tube.must(0, "released")

    def of(kind: str, *orders: tuple[int, str], said: tuple[Said, ...] = (plain,)) -> Tube:
        tube.kind = kind
        tube.orders += orders
        tube.said += said
        return tube

    def bare(step: int, specimen: str, what: tuple[Row, ...], line: int = 0) -> Said:
        return Said(step, specimen, what, line=line)

    match n % BLOCK:
        case 0 | 1 as at:  # the id of tube n on n + 1 too, both ordered before either is measured
            tube.specimen = specimen_of(n - at)
            tube.must(0, "AMBIGUOUS_ORDER")
            return of("id twice", (0, order(n, tube.specimen)), said=(bare(1, tube.specimen, rows(n)),))
        case 2:  # its id is used again after its results: held only if the second order came before it was judged
            tube.must(0, "released", "AMBIGUOUS_ORDER")
            return of("id used again, first", (0, own))
        case 3:
            tube.specimen = specimen_of(n - 1)
            tube.must(0, "AMBIGUOUS_ORDER")
            return of("id used again, second", (2, order(n, tube.specimen)), said=(bare(3, tube.specimen, rows(n)),))
        case 4:  # somebody else's order of the same id, older than the window
            old = order(n, tube.specimen, patient=n + 1, placer=f"A{n}", collected=now - timedelta(hours=100))
            fresh = order(n, tube.specimen, collected=now - timedelta(hours=1))
            return of("old order of this id", (0, old), (0, fresh), said=(bare(1, tube.specimen, rows(n)),))
        case 5:
            tube.must(0, "AMBIGUOUS_ORDER")
            return of("two orders", (0, own), (0, order(n, tube.specimen, placer=f"A{n}")))
        case 6 | 7 as at:  # the analyzer was told the neighbour's number for this tube
            other = n + 1 if at == 6 else n - 1
            tube.must(0, "IDENTITY_CONFLICT")
            return of("patients swapped", (0, own), said=(Said(1, tube.specimen, rows(n), f"P{other}"),))
        case 8 | 9 as at:
            other = n + 1 if at == 8 else n - 1
            tube.must(0, "IDENTITY_CONFLICT")
            return of("names swapped", (0, own), said=(Said(1, tube.specimen, rows(n), name=name_of(other)),))
        case 10:
            tube.must(0, "IDENTITY_CONFLICT")
            return of("birth date", (0, own), said=(Said(1, tube.specimen, rows(n), f"P{n}", born="19010203"),))
        case 11:
            tube.must(0, "IDENTITY_CONFLICT")
            return of("sex", (0, own), said=(Said(1, tube.specimen, rows(n), f"P{n}", sex=sex_of(n + 1)),))
        case 12:  # the same name, spelt otherwise
            said = Said(1, tube.specimen, rows(n), name=f"van n{n}^NGUYEN", born=born_of(n)[:4], sex="U")
            return of("spelt otherwise", (0, own), said=(said,))
        case 13:
            tube.must(0, "ORDER_CANCELLED")
            return of("cancelled", (0, own), (0, order(n, tube.specimen, control="CA")))
        case 14:
            tube.must(0, "NO_SPECIMEN")
            return of("no id", (0, own), said=(bare(1, "", rows(n)),))
        case 15:
            tube.must(0, "NOT_A_PATIENT_ID")
            said = bare(1, PLACEHOLDERS[n // BLOCK % len(PLACEHOLDERS)], rows(n))
            return of("placeholder", (0, own), said=(said,))
        case 16:
            tube.must(0, "control")
            return of("control", said=(bare(1, f"LOT{n}", rows(n)),))
        case 17:
            tube.must(0, "NOT_A_PATIENT_ID")
            return of("control that nobody declared", said=(bare(1, f"QC-{n}", rows(n)),))
        case 18:
            tube.must(0, "CONTROL_OR_PATIENT")
            return of("control or patient", (0, order(n, f"LOT{n}")), said=(bare(1, f"LOT{n}", rows(n)),))
        case 19:
            tube.must(0, "released duplicate")
            return of("sent twice", (0, own), said=(plain, bare(3, tube.specimen, rows(n))))
        case 20:
            tube.must(1, "released")
            return of("corrected", (0, own), said=(plain, bare(3, tube.specimen, rows(n, 1, "C"))))
        case 21:
            tube.must(1, "released")
            said = (bare(1, tube.specimen, rows(n, 0, "P")), bare(3, tube.specimen, rows(n, 1)))
            return of("preliminary, then final", (0, own), said=said)
        case 22:
            tube.must(1, "RERUN_DIFFERS")
            return of("measured again", (0, own), said=(plain, bare(3, tube.specimen, rows(n, 1))))
        case 23:
            tube.must(1, "STATUS_REGRESSION")
            return of("preliminary after final", (0, own), said=(plain, bare(3, tube.specimen, rows(n, 1, "P"))))
        case 24:
            tube.must(0, "CODE_UNKNOWN", test=3)
            return of("unknown code", (0, own), said=(bare(1, tube.specimen, changed(n, 3, code="T9")),))
        case 25:
            tube.must(0, "UNMAPPED", test=3)
            return of("unmapped code", (0, own), said=(bare(1, tube.specimen, changed(n, 3, code="T8")),))
        case 26:
            tube.must(0, "UNIT_UNKNOWN", test=2)
            return of("unknown unit", (0, own), said=(bare(1, tube.specimen, changed(n, 2, unit="mval")),))
        case 27:
            tube.must(0, "UNIT_CHANGED", test=2)
            return of("unit changed", (0, own), said=(bare(1, tube.specimen, changed(n, 2, unit="mg/dL")),))
        case 28:
            tube.must(0, "waiting")
            return of("not ordered at all")
        case 29:
            return of("ordered afterwards", (2, own))
        case 30:
            tube.must(0, "NOT_ORDERED", test=4)
            return of("one test not ordered", (0, order(n, tube.specimen, code="FOUR")))
        case 31:
            tube.must(1, "OTHER_INSTRUMENT")
            return of("on two analyzers", (0, own), said=(plain, bare(3, tube.specimen, rows(n, 1), line=1)))
        case 32:  # read as a neighbouring id: exact ids only
            tube.must(0, "waiting")
            return of("misread", (0, own), said=(bare(1, tube.specimen.lower(), rows(n)),))
        case 33:  # ordered for a wrong patient, put right before the results
            wrong = order(n, tube.specimen, patient=n + 1)
            return of("patient put right", (0, wrong), (0, order(n, tube.specimen, control="XO")))
        case 34:  # two patients' orders, one of them cancelled: whose the tube is, nobody knows
            tube.must(0, "AMBIGUOUS_ORDER")
            other = {"patient": n + 1, "placer": f"A{n}"}
            return of(
                "one of two cancelled", (0, own), (0, order(n, tube.specimen, **other)),
                (0, order(n, tube.specimen, control="CA", **other)), said=(bare(1, tube.specimen, rows(n)),),
            )  # fmt: skip
        case _:
            return of("plain", (0, own))


def days(numbers: range, now: datetime) -> Iterator[Tube]:
    """The tubes one by one; nothing is kept."""
    return (day(n, now) for n in numbers)
