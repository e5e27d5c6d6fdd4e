"""Folds may only make two spellings agree; nothing but equality proves two patients to be one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.matching.identity import (
    all_one_patient,
    birth_days,
    differing,
    is_placeholder,
    name_parts,
    same_patient,
    says_nothing,
)
from labgateway.model import Kind, Patient, Result
from tests.matching.people import HUNG, LAN, NOBODY, order


def result(**said: str | None) -> Result:
    """A result that says this of its patient."""
    return Result(Kind.PATIENT, "A100", "GLU", "5.1", **said)  # pyright: ignore[reportArgumentType] - names are the fields'


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("19700512", "19700512", True),
        ("19700512", "1970-05-12", True),
        ("19700512", "197005121230+0700", True),
        ("1970/05/12", "1970-05-12T00:00:00", True),
        ("1970", "19700512", True),
        ("197005", "19700512", True),
        ("19700000", "19700512", True),
        ("19700500", "19700512", True),
        ("19700500", "197005", True),
        ("19700012", "19700512", True),
        ("00000000", "19700512", True),
        ("00010101", "19700512", True),
        ("", "19700512", True),
        (None, "19700512", True),
        ("UNKNOWN", "19700512", True),
        ("12/05/1970", "12/05/1970", True),
        ("19700512", "19700513", False),
        ("197006", "19700512", False),
        ("1971", "19700512", False),
        ("12/05/1970", "19700512", False),
        ("12051970", "19700512", False),
        ("19701305", "19701306", False),
        ("19701305", "1970", False),
        ("19701205", "1970", True),
        ("19700531", "197005", True),
        ("?", "19700512", True),
        ("12/05/197", "12/05/1970", False),
        ("19700132", "197001", False),
        ("1970051", "19700512", False),
        ("19000101", "19700512", False),
        ("00020101", "19700512", False),
    ],
)
def test_birth_dates(one: str | None, other: str | None, *, agree: bool) -> None:
    """Dates are compared as far as both are known; text that is no date agrees only with itself."""
    for a, b in ((one, other), (other, one)):
        assert differing(result(birth_date=a), Patient("1", birth_date=b)) == (() if agree else ("birth_date",))


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        *[
            (a, b, True)
            for a, b in [("M", "m"), ("M", "Male"), ("Nam", "M"), ("Nữ", "F"), ("NU", "female"), ("M^Male", "M")]
        ],
        *[(a, "F", True) for a in ("U", "N", "", None, " ", "Unknown", "0", "-")],
        *[(a, b, False) for a, b in [("M", "F"), ("Nam", "Nữ"), ("O", "M"), ("A", "F"), ("1", "M"), ("O", "A")]],
        ("o", "O", True),
    ],
)
def test_sexes(one: str | None, other: str, *, agree: bool) -> None:
    """Known words of M and F agree, unknown and not applicable say nothing, anything else agrees only with itself."""
    for a, b in ((one, other), (other, one)):
        assert differing(result(sex=a), Patient("1", sex=b)) == (() if agree else ("sex",))


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("1001", "1001", True),
        (" 1001 ", "1001", True),
        *[(a, "1001", True) for a in (None, "", "0", "000", "--", "unknown", "N/A")],
        *[(a, "1001", False) for a in ("01001", "1001A", "1002", "TEST", "QC1", "10\ufffd1")],
        ("AB1", "ab1", False),
    ],
)
def test_patient_ids(one: str | None, other: str, *, agree: bool) -> None:
    """Patient ids are exact but for outer blanks; what says nothing speaks neither for nor against."""
    for a, b in ((one, other), (other, one)):
        assert differing(result(patient=a), Patient(b)) == (() if agree else ("patient",))


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("TRẦN^THỊ LAN", "Tran Thi Lan", True),
        ("Đỗ^Văn Đạt", "DO^VAN DAT", True),
        ("đỗ^văn đạt", "Do Van Dat", True),
        ("LAN^TRAN THI", "TRẦN^THỊ LAN", True),
        ("TRAN-THI^LAN", "Trần^Thị^Lan^^Bà", True),
        ("O'Brien^Ann", "O Brien^ANN", True),
        ("Groß^Jörg", "GROSS^JORG", True),
        ("TRA\u0302\u0300N^LAN", "TR\u1ea6N^LAN", True),
        ("TRAN&TRAN^LAN", "TRAN^LAN", True),
        ("M\\S\\^LAN", "M^LAN", True),
        ("", "TRAN^LAN", True),
        ("UNKNOWN", "TRAN^LAN", True),
        ("TRAN^LAN\\X41\\", "TRAN^LANA", True),
        ("TRAN^A\\T\\B", "TRAN^A B", True),
        ("TRAN^LAN", "LE^LAN~TRAN^LAN", True),
        ("TRAN^LAN", "TRAN^LAN^THI", False),
        ("TRAN^LAN", "TRAN^LAN^^^^LAN", True),
        ("TRAN^LAN", "TRAN^LAN^^JR", True),
        ("TRAN^LAN", "TRAN^LANH", False),
        ("LAN LAN^TRAN", "LAN^TRAN", False),
        ("王^芳", "王^芬", False),
    ],
)
def test_names(one: str, other: str, *, agree: bool) -> None:
    """The fold takes case, diacritics, hyphens, blanks and the order of parts away, and nothing else."""
    assert differing(result(patient_name=one), Patient("1", pid5=other)) == (() if agree else ("name",))


def test_what_proves_one_patient() -> None:
    """Equal ids with nothing against them; or, where there is no id, all of the identity."""
    proven = [
        (LAN, LAN),
        (LAN, replace(LAN, id=" 1001 ", pid3="1001", pid5="TRAN^LAN", birth_date="1970", sex="Nữ")),
        (LAN, replace(LAN, birth_date=None, sex=None, pid5="")),
        (replace(LAN, id=None), replace(LAN, id=None, pid5="TRAN^LAN")),
        (replace(LAN, id=None, pid3=""), replace(LAN, id="0", pid3="", sex="female")),
    ]
    for one, other in proven:
        assert same_patient(one, other, same_source=True)
        assert same_patient(other, one, same_source=True)


def test_what_proves_nothing() -> None:
    """Different ids, one conflict, missing parts, a fold, or one id only: not one patient."""
    bare = replace(LAN, id=None, pid3="")
    unproven = [
        (LAN, HUNG),
        (LAN, replace(LAN, id="1002")),
        (LAN, replace(LAN, id="01001")),
        (LAN, replace(LAN, birth_date="19700513")),
        (LAN, replace(LAN, sex="M")),
        (LAN, replace(LAN, pid3="1001^^^BM^MR")),
        (LAN, replace(LAN, id=None)),
        (NOBODY, NOBODY),
        (replace(NOBODY, id="0"), replace(NOBODY, id="0")),
        (replace(NOBODY, id="10\ufffd1"), replace(NOBODY, id="10\ufffd1")),
        (replace(bare, pid3="^^^TH^MR", pid5=""), replace(bare, pid3="^^^TH^MR", pid5="")),
        (replace(bare, pid3="0"), replace(bare, pid3="0", pid5="")),
        (bare, replace(bare, pid5="TRAN^THI LAN")),
        (bare, replace(bare, sex=None)),
        (replace(bare, pid3="7^^^TH^MR", pid5=""), replace(bare, pid3="8^^^TH^MR", pid5="")),
        (replace(bare, birth_date="1970051"), replace(bare, birth_date="1970051")),
        (bare, replace(bare, birth_date="1970")),
        (replace(bare, birth_date="1970"), replace(bare, birth_date="1970")),
        (replace(bare, sex=None), replace(bare, sex=None)),
        (replace(bare, sex="U"), replace(bare, sex="U")),
        (replace(bare, pid5="UNKNOWN^LADY"), replace(bare, pid5="UNKNOWN^LADY")),
        (replace(bare, pid5=""), replace(bare, pid5="")),
    ]
    for one, other in unproven:
        assert not same_patient(one, other, same_source=True), (one, other)
        assert not same_patient(other, one, same_source=True), (one, other)
    assert not same_patient(replace(LAN, id=None, sex=None), replace(LAN, id=None, sex=None), same_source=False)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("19700512", (date(1970, 5, 12), date(1970, 5, 12))),
        ("1970-05-12T08:30", (date(1970, 5, 12), date(1970, 5, 12))),
        ("19701203", (date(1970, 12, 3), date(1970, 12, 3))),
        ("197011", (date(1970, 11, 1), date(1970, 11, 30))),
        ("197005", (date(1970, 5, 1), date(1970, 5, 31))),
        ("19720200", (date(1972, 2, 1), date(1972, 2, 29))),
        ("1970", (date(1970, 1, 1), date(1970, 12, 31))),
        *[(text, None) for text in (None, "", "00000000", "UNKNOWN", "19700230", "12/05/1970")],
    ],
)
def test_the_days_on_which_somebody_may_be_born(text: str | None, days: tuple[date, date] | None) -> None:
    """From the first to the last day that the text allows; none when it is no date, or no day of the calendar."""
    assert birth_days(text) == days


def test_a_name_of_which_nothing_is_said_has_no_parts() -> None:
    """Nothing is nothing to compare, not a part."""
    assert [name_parts(name) for name in (None, "", "UNKNOWN", "-^-")] == [()] * 4


@pytest.mark.parametrize(
    ("one", "other", "is_proven"),
    [
        ({"pid3": "1001", "birth_date": "19700512"}, {"pid3": "1001", "birth_date": "1970-05-12"}, True),
        ({"pid3": "1001", "birth_date": "1970"}, {"pid3": "1001", "birth_date": "1970"}, False),
        ({"pid3": "1001", "birth_date": None}, {"pid3": "1001", "birth_date": None}, False),
        ({"pid3": "1001", "birth_date": "19700512"}, {"pid3": "1001", "birth_date": None}, False),
        ({"pid3": "1001^^^TH"}, {"pid3": "9^^^BM~ 1001 ^^^TH^MR"}, True),
        ({"pid3": "1001^^^TH"}, {"pid3": "9^^^TH~1001^^^BM^MR"}, False),
        ({"pid3": "1001^^^TH"}, {"pid3": "9^^^TH~1001^^", "birth_date": None}, False),
    ],
)
def test_a_number_in_two_sources(one: dict[str, str | None], other: dict[str, str | None], *, is_proven: bool) -> None:
    """Two sources may number differently: the authority of that number must be the same, or the full birth date."""
    a, b = (Patient(**{"id": "1001", "pid5": "", "sex": None} | said) for said in (one, other))  # pyright: ignore[reportArgumentType]
    assert same_patient(a, b, same_source=False) is is_proven
    assert same_patient(b, a, same_source=False) is is_proven


@pytest.mark.parametrize(
    "text", ["QC1", "qc-level-2", "XXX", "Error", "READ ERROR", "test", "DUMMY", "default", "?", "A\ufffd1"]
)
def test_words_that_are_no_patients_id(text: str) -> None:
    """What instruments fill in; in any spelling."""
    assert is_placeholder(text)
    assert not is_placeholder(f"24{text.replace(chr(0xFFFD), '').replace('?', '1')}7")


def test_every_pair_counts() -> None:
    """Three orders are one patient's only when every two are: agreeing with the first is not enough."""
    year, may, june = (replace(LAN, birth_date=d) for d in ("1970", "19700512", "19700613"))
    assert all_one_patient([order(patient=year), order(patient=may)])
    assert not all_one_patient([order(patient=year), order(patient=may), order(patient=june)])
    number = Patient("1001", "1001")
    assert all_one_patient([order(patient=number), order(patient=replace(number, sex="F"))])
    assert not all_one_patient([order(patient=number), order(patient=number, source="file")]), "two numberings"
    assert all_one_patient([])
    assert all_one_patient([order(patient=NOBODY)])
    assert not all_one_patient([order(patient=NOBODY), order(patient=NOBODY)])


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_fold_never_parts_what_is_equal(one: str, other: str) -> None:
    """Whatever the text: equal spellings never differ, and whether two differ does not depend on the side."""
    for name, field in (("patient", "id"), ("birth_date", "birth_date"), ("sex", "sex"), ("patient_name", "pid5")):
        said, same, changed = result(**{name: one}), {"id": None, field: one}, {"id": None, field: other}
        if "~" not in one:
            assert differing(said, Patient(**same)) == ()
            if "~" not in other:
                back = {"id": None, field: one}
                assert differing(said, Patient(**changed)) == differing(result(**{name: other}), Patient(**back))


@given(st.text(max_size=12))
def test_placeholders_are_total(text: str) -> None:
    """Any text is judged without an error; zeros and punctuation around it never make a placeholder an id."""
    assert is_placeholder(text + "\ufffd")
    if says_nothing(text):
        assert is_placeholder(text)
        assert says_nothing(f" {text}. ")
    name_parts(text)
