"""Ranges by sex, age and day: the one that fits for certain, or none; what is wrong with them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.mapping.lint import lint
from labgateway.mapping.ranges import Age, Range, choose, flag
from labgateway.mapping.table import parse

LINE = '[tests]\nHGB = { emr = "HGB", unit = "g/L", times = 1 }\n'
DAY = date(2026, 11, 22)


def ranges(*items: str) -> tuple[Range, ...]:
    mapping, found = parse(f"{LINE}[ranges]\nHGB = [{', '.join(items)}]\n".encode(), "m.toml")
    assert mapping is not None and not found, found
    return mapping.ranges["HGB"]


def mistakes(text: str) -> list[str]:
    mapping, found = parse(text.encode(), "m.toml")
    assert mapping is not None
    return [f"{one.line} {one.key}: {one.what}" for one in [*found, *lint(mapping, "m.toml", None)]]


ADULTS = ranges(
    '{ to = "28d", low = 145, high = 225 }',
    '{ from = "28d", to = "18y", low = 110, high = 160 }',
    '{ from = "18y", sex = "F", low = 120, high = 155 }',
    '{ from = "18y", sex = "M", low = 130, high = 175 }',
)


@pytest.mark.parametrize(
    ("sex", "born", "said"),
    [
        ("F", "1990-01-01", "120-155"),
        ("M", "1990-01-01", "130-175"),
        (None, "1990-01-01", None),
        (None, "2020-01-01", "110-160"),
        ("M", None, None),
        ("M", "2008-11-22", "130-175"),  # eighteen that day
        ("M", "2008-11-23", "110-160"),
        (None, "2026-11-22", "145-225"),
        (None, "2026-10-25", "110-160"),  # 28 days old
        (None, "2026-10-26", "145-225"),
        ("M", "2026-11-23", None),  # not born yet
    ],
)
def test_the_range_of_a_patient(sex: str | None, born: str | None, said: str | None) -> None:
    days = None if born is None else (date.fromisoformat(born),) * 2
    found = choose(ADULTS, sex, days, (DAY, DAY))  # type: ignore[arg-type]
    assert (None if found is None else str(found)) == said


def test_a_birth_year_alone_must_not_matter() -> None:
    """Of 1990 any day is adult; of 2008 it may be either."""
    of_1990, of_2008 = ((date(1990, 1, 1), date(1990, 12, 31)), (date(2008, 1, 1), date(2008, 12, 31)))
    assert str(choose(ADULTS, "M", of_1990, (DAY, DAY))) == "130-175"
    assert choose(ADULTS, "M", of_2008, (DAY, DAY)) is None


def test_an_unknown_day_of_collection_must_not_matter() -> None:
    """The same range on the first and the last day that it may have been, or none."""
    born = (date(2008, 11, 20), date(2008, 11, 20))
    assert choose(ADULTS, "M", born, (date(2026, 11, 9), DAY)) is None
    assert str(choose(ADULTS, "M", born, (date(2026, 11, 21), DAY))) == "130-175"


def test_effective_dates() -> None:
    """`until` and `since` are both included; between two of them there is none."""
    found = ranges("{ low = 1, high = 2, until = 2026-06-30 }", '{ low = 3, high = 4, since = "2026-07-02" }')
    said = [choose(found, None, None, (day, day)) for day in (date(2026, 6, 30), date(2026, 7, 1), date(2026, 7, 2))]
    assert [one and str(one) for one in said] == ["1-2", None, "3-4"]


def test_how_a_range_is_written() -> None:
    """As the lab wrote it: zeros stay; one end alone as HL7 writes it."""
    found = ranges('{ sex = "F", low = 3.50, high = 5.10 }', '{ sex = "M", high = 5 }')
    assert [str(one) for one in found] == ["3.50-5.10", "<5"]
    assert str(ranges("{ low = 0.10 }")[0]) == ">0.10"
    assert str(ranges('{ text = "negative" }')[0]) == "negative"


@pytest.mark.parametrize(
    ("value", "said"),
    [("119", "L"), ("120", "N"), ("155", "N"), ("155.1", "H"), ("<120", "L"), ("<=120", ""), ("<130", ""), (">155", "H"),
     (">200", "H"), (">140", ""), ("NEG", "")],
)  # fmt: skip
def test_flags(value: str, said: str) -> None:
    """High, low or normal only where it is certain."""
    assert flag(ADULTS[2], value, comma=False) == said


def test_ages() -> None:
    """The last day of a shorter month; a leap day's birthday; no age runs out of the calendar."""
    assert Age(1, "m").after(date(2026, 1, 31)) == date(2026, 2, 28)
    assert Age(1, "y").after(date(2024, 2, 29)) == date(2025, 2, 28)
    assert Age(2, "w").after(date(2026, 1, 1)) == date(2026, 1, 15)
    assert Age(99999, "y").after(DAY) == date.max
    assert Age(99999, "d").after(date(9999, 1, 1)) == date.max


@given(
    st.dates(date(1900, 1, 1), date(2026, 11, 22)),
    st.dates(date(1990, 1, 1), date(2040, 1, 1)),
    st.integers(0, 400),
    st.integers(0, 400),
    st.sampled_from(["F", "M", None]),
)
def test_never_a_guess(born: date, day: date, unsure: int, late: int, sex: str | None) -> None:
    """What is chosen for dates that are not known whole is what is chosen for every day they may be."""
    births, days = (born, born + timedelta(days=unsure)), (day, day + timedelta(days=late))
    found = choose(ADULTS, sex, births, days)  # type: ignore[arg-type]
    for one in births:
        for other in (day for day in days if one <= day):
            exact = choose(ADULTS, sex, (one, one), (other, other))  # type: ignore[arg-type]
            assert found is None or exact is found


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ("{ low = 5, high = 3 }", "the lowest value 5 is above the highest 3."),
        ('{ from = "18y", to = "17y", low = 1 }', "ends at 17y, before it begins at 18y."),
        ("{ since = 2026-02-01, until = 2026-01-01, low = 1 }", "ends on 2026-01-01, before it begins on 2026-02-01."),
        ("{ from = 18, low = 1 }", "must be an age."),
        ('{ since = "1.2.2026", low = 1 }', "must be a day."),
        ('{ sex = "W", low = 1 }', "is none of the words that it may be."),
        ("{ low = 1, lower = 2 }", "is no key of a range."),
        ('{ sex = "F" }', "must say `low` and `high`, or `text`."),
        ('{ low = 1, text = "x" }', "must say `low` and `high`, or `text`."),
        ('{ low = "1" }', "must be a number."),
        ("7", "must be in braces."),
        ('{ low = 1 }, { sex = "F", low = 2 }', "may be meant for the same patient as the one in line 4."),
    ],
)
def test_what_is_wrong_with_a_range(item: str, what: str) -> None:
    assert any(what in one for one in mistakes(f"{LINE}[ranges]\nHGB = [{item}]\n"))


def test_what_is_wrong_with_their_tests() -> None:
    """A test nobody answers; a test without a unit of its own; several units."""
    assert mistakes(f"{LINE}[ranges]\nHGBX = {{ low = 1 }}\n") == ["4 ranges.HGBX: no line under [tests] answers HGBX."]
    assert "which unit A has" in mistakes('[tests]\nA = { emr = "A" }\n[ranges]\nA = { low = 1 }\n')[0]
    assert not mistakes('[tests]\nA = { emr = "A" }\n[ranges]\nA = { text = "negative" }\n')
    several = '[tests]\nA = [{ specimen = "urine", emr = "A", unit = "g/L", times = 1 }, { emr = "A", comes = "%" }]\n'
    assert "several units: %, g/L" in mistakes(several + "[ranges]\nA = { low = 1 }\n")[-1]
    assert "no use without [ranges]" in mistakes("range_flags = true\n" + LINE)[0]
