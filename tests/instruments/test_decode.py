"""From a stored message to results: scope, words, problems, and that nothing raises."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.errors import Reason
from labgateway.instruments import decode as decoding
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import Driver, load
from labgateway.instruments.times import read_time
from labgateway.model import Kind, Result, Status
from labgateway.protocols import astm_frames

ASTM = """schema = 1
title = "t"
maker = "m"
protocol = "astm"
sources = ["s"]
{top}
[where]
specimen = ["O-4.3", "O-3.1"]
patient = "P-3"
code = "R-3.4"
value = "R-4"
unit = "R-5"
range = "R-6"
flag = "R-7"
status = "R-9"
measured_at = "R-13"
{where}
[tests]
WBC = "10*3/uL"
HGB = ["g/dL", "g/L"]
pH = ""
{rest}
"""

HL7 = """schema = 1
title = "t"
maker = "m"
protocol = "hl7"
sources = ["s"]
codes = "open"
[where]
specimen = ["SPM-2.1", "SAC-3.1"]
patient = "PID-3.1"
code = "OBX-3.1"
value = "OBX-5"
unit = "OBX-6.1"
flag = "OBX-8"
status = "OBX-11"
measured_at = "OBX-14"
run = "ORC-3"
{rest}
"""

WORDS = '[words]\nflag = { N = "normal", H = "high" }\nstatus = { F = "final", R = "rerun" }\nno_result = ["----"]\n'


at = datetime.fromisoformat


def make(folder: Path, text: str) -> Driver:
    place = folder / "d"
    place.mkdir(exist_ok=True)
    (place / "driver.toml").write_text(text)
    return load(place)


@pytest.fixture
def astm(tmp_path: Path) -> Driver:
    return make(tmp_path, ASTM.format(top="", where="", rest=WORDS))


@pytest.fixture
def hl7(tmp_path: Path) -> Driver:
    return make(tmp_path, HL7.format(rest=""))


def records(*lines: str) -> bytes:
    return b"".join(line.encode() + b"\r" for line in ("H|\\^&|||X", *lines, "L|1|N"))


def one(driver: Driver, *lines: str) -> Result:
    results = decode(driver, records(*lines)).results
    assert len(results) == 1
    return results[0]


GOOD = "R|1|^^^HGB|13.4|g/dL|12 - 16|H||F||||20261012081500"


def test_a_result_says_what_was_sent(astm: Driver) -> None:
    """Every part as sent, blanks off, escapes resolved, text kept as text."""
    result = one(astm, "P|1|P77", "O|1||^^  0012^B", "R|1|^^^HGB| 13.40 |g/dL|12&S&16|H||F||||20261012081500")
    assert result == Result(
        Kind.PATIENT, "0012", "HGB", "13.40", "g/dL", patient="P77", flags=("H",), status=Status.FINAL,
        measured_at=at("2026-10-12T08:15:00"), measured_at_text="20261012081500", where="R1", range="12^16",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD.replace("HGB", "HGX"), Reason.CODE_UNKNOWN),
        (GOOD.replace("HGB", ""), Reason.CODE_UNKNOWN),
        (GOOD.replace("g/dL", "mg/dL"), Reason.UNIT_UNKNOWN),
        (GOOD.replace("g/dL", ""), Reason.UNIT_UNKNOWN),
        (GOOD.replace("|H|", "|Z|"), Reason.FLAG_UNKNOWN),
        (GOOD.replace("|H|", "|H\\Z|"), Reason.FLAG_UNKNOWN),
        (GOOD.replace("|F|", "|Z|"), Reason.STATUS_UNKNOWN),
        (GOOD.replace("20261012", "20261312"), Reason.BAD_TIME),
        (GOOD.replace("081500", "256100"), Reason.BAD_TIME),
    ],
)
def test_what_is_not_declared_parks_that_result_alone(astm: Driver, line: str, reason: Reason) -> None:
    """The result carries the reason; its neighbour of the same message lives."""
    wbc = "R|2|^^^WBC|7.1|10*3/uL||N||F"
    first, second = decode(astm, records("O|1|A1", line, wbc)).results
    assert first.problem is not None
    assert first.problem.reason is reason
    assert second.problem is None
    assert (first.specimen, second.specimen) == ("A1", "A1")


@pytest.mark.parametrize(
    ("line", "flags", "status"),
    [
        ("R|1|^^^pH|7.4|||||", (), Status.FINAL),
        ("R|1|^^^pH|7.4|||N\\H||R", ("N", "H"), Status.RERUN),
        ("R|1|^^^pH|----", (), Status.FINAL),
        ("R|1|^^^HGB|", (), Status.FINAL),
    ],
)
def test_what_is_empty_is_no_problem(astm: Driver, line: str, flags: tuple[str, ...], status: Status) -> None:
    """No flag, no status, no time, no unit where none is declared, a withheld value."""
    result = one(astm, "O|1|A1", line)
    assert result.problem is None
    assert (result.flags, result.status) == (flags, status)
    assert result.measured_at is None
    assert (result.value is None) == ("7.4" not in line)


def test_repetitions_where_nobody_expects_them(astm: Driver) -> None:
    """Each repetition of a flag counts; a repeated status is none that is declared, and a repeated value stays whole."""
    result = one(astm, "O|1|A1", "R|1|^^^pH|7.4|||N\\H||F\\R")
    assert result.flags == ("N", "H")
    assert result.problem is not None
    assert result.problem.reason is Reason.STATUS_UNKNOWN
    assert one(astm, "O|1|A1", "R|1|^^^pH|7.4\\7.5").value == "7.4\\7.5"


def test_without_words_flags_stay_and_other_states_park(tmp_path: Path) -> None:
    """No [words]: any flag is kept, F and empty are final, another status is unknown and parked."""
    driver = make(tmp_path, ASTM.format(top="", where="", rest=""))
    assert one(driver, "O|1|A", GOOD.replace("|H|", "|Zz|")).problem is None
    odd = one(driver, "O|1|A", GOOD.replace("|F|", "|Q|"))
    assert odd.status is Status.UNKNOWN
    assert odd.problem is not None
    assert odd.problem.reason is Reason.STATUS_UNKNOWN


def test_no_specimen_is_never_made_up(astm: Driver) -> None:
    """No id: neither the sequence, nor the order before, nor the patient's."""
    first, second, third = decode(astm, records("P|1|P1", "O|1|A1", GOOD, "O|2|", GOOD, "P|2|P2", GOOD)).results
    assert [r.specimen for r in (first, second, third)] == ["A1", None, None]
    assert [r.patient for r in (first, second, third)] == ["P1", "P1", "P2"]
    assert [r.problem.reason if r.problem else None for r in (first, second, third)] == [
        None, Reason.NO_SPECIMEN, Reason.NO_SPECIMEN,
    ]  # fmt: skip


def test_a_new_patient_ends_the_patient_before(astm: Driver) -> None:
    """A P without an id has none: the one before does not stay."""
    results = decode(astm, records("P|1|P1", "O|1|A1", GOOD, "P|2|", "O|1|A2", GOOD)).results
    assert [(r.specimen, r.patient) for r in results] == [("A1", "P1"), ("A2", None)]


def test_comments_hang_on_the_result_before_them(astm: Driver) -> None:
    """C behind R is that result's, C behind O nobody's."""
    results = decode(astm, records("O|1|A1", "C|1|I|of the order|G", GOOD, "C|1|I|one|G", "C|2|I|two|G", GOOD)).results
    assert [r.comments for r in results] == [("one", "two"), ()]


def test_several_messages_in_one_transmission_stay_apart(astm: Driver) -> None:
    """Nothing of a message is seen by the next one, which has no P and no O."""
    data = records("P|1|P1", "O|1|A1", GOOD) + records(GOOD)
    assert [(r.specimen, r.patient) for r in decode(astm, data).results] == [("A1", "P1"), (None, None)]


RULES = (
    WORDS
    + """
[control]
when = [{ "O-12" = '^Q$' }, { specimen = '^QC-', range = 'x' }]
[calibration]
when = { "O-12" = '^C$' }
[[rows]]
when = { "R-3.7" = '^I$' }
is = "comment"
[[rows]]
when = [{ "R-3.7" = '^P$' }, { "R-8" = '^raw$' }]
is = "ignore"
[[rows]]
when = { code = '^PIC' }
is = "attachment"
[query]
specimen = "Q-3.2"
everything = '^ALL$'
when = { "Q-13" = '^(?!A)' }
"""
)


def test_rows_controls_and_calibrations(tmp_path: Path) -> None:
    """The first rule that fits says what a row is; all keys of a table must hold, one table of a list."""
    driver = make(tmp_path, ASTM.format(top="", where="", rest=RULES))
    results = decode(
        driver,
        records(
            "O|1|A1|||||||||N", "R|1|^^^PIC1|p0", GOOD, "R|2|^^^HGB^^^I|Reactive", "R|3|^^^HGB^^^P|12345|RLU",
            "R|4|^^^PIC2|p1", "O|2|QC-1|||||||||N", GOOD, "O|3|QC-1|||||||||N", GOOD.replace("12 - 16", "x"),
            "O|4|B|||||||||Q", GOOD, "O|5|C|||||||||C", GOOD,
        ),
    ).results  # fmt: skip
    assert [r.kind for r in results] == [
        Kind.PATIENT, Kind.PATIENT, Kind.CONTROL, Kind.CONTROL, Kind.CALIBRATION,
    ]  # fmt: skip
    assert results[0].comments == ("Reactive",)
    assert [(a.code, a.text) for a in results[0].attachments] == [("PIC1", "p0"), ("PIC2", "p1")]
    assert results[1].attachments == ()


def test_an_interpretation_without_its_number_is_a_result(tmp_path: Path) -> None:
    """A comment row goes to the result of its code in its group; with no result before it, it is one."""
    driver = make(tmp_path, ASTM.format(top="", where="", rest=RULES))
    results = decode(
        driver,
        records(
            "O|1|A1", "R|1|^^^pH|7.4", GOOD, "R|2|^^^pH^^^I|Low", "O|2|A2", "R|1|^^^pH^^^I|High", "R|2|^^^HGB^^^I|Odd",
        ),
    ).results  # fmt: skip
    assert [(r.specimen, r.code, r.value, r.comments) for r in results] == [
        ("A1", "pH", "7.4", ("Low",)), ("A1", "HGB", "13.4", ()), ("A2", "pH", "High", ("Odd",)),
    ]  # fmt: skip


def test_queries_name_each_specimen(tmp_path: Path) -> None:
    """One object a specimen; all orders have no specimen; a cancelled query asks nothing."""
    driver = make(tmp_path, ASTM.format(top="", where="", rest=RULES))
    data = records("Q|1|^A1\\^A2", "Q|2|^ALL", "Q|3|^A3||||||||||A")
    assert [(r.kind, r.specimen) for r in decode(driver, data).results] == [
        (Kind.QUERY, "A1"), (Kind.QUERY, "A2"), (Kind.QUERY, None),
    ]  # fmt: skip


def test_take_and_join_and_variant(tmp_path: Path) -> None:
    """A part of a text, several texts joined, and other places for other messages."""
    rest = """
[take]
code = '^([^/]*)'
[join]
range = " to "
[[variant]]
when = { "H-12" = '^Q$' }
where = { specimen = "O-5.2", unit = "R-6" }
"""
    text = ASTM.format(top="", where="", rest=rest).replace('range = "R-6"', 'range = ["R-6.1", "R-6.2"]')
    driver = make(tmp_path, text)
    plain = one(driver, "O|1|A1", "R|1|^^^HGB/1/not|13|g/L|12^16")
    assert (plain.code, plain.range, plain.problem) == ("HGB", "12 to 16", None)
    data = b"H|\\^&||||||||||Q\rO|1|A1||x^LOT7\rR|1|^^^HGB|13|ignored|g/L\rL|1|N\r"
    result = decode(driver, data).results[0]
    assert (result.specimen, result.unit) == ("LOT7", "g/L")


OBX = "OBX|1|NM|{code}||{value}|g/L|||||F"


def segments(kind: str, *lines: str) -> bytes:
    return b"".join(line.encode() + b"\r" for line in (f"MSH|^~\\&|X||||20261012||{kind}|1|P|2.5.1", *lines))


def ids(driver: Driver, kind: str, *lines: str) -> list[tuple[str | None, str | None]]:
    return [(r.specimen, r.patient) for r in decode(driver, segments(kind, *lines)).results]


ROW = OBX.format(code="K", value="1")


def test_oru_takes_the_specimen_behind_its_order(hl7: Driver) -> None:
    """Each OBR has the SPM behind it; one without has none, whatever its neighbours have."""
    lines = ["PID|||P1", "OBR|1", ROW, ROW, "SPM|1|A", "OBR|2", ROW, "OBR|3", ROW, "SPM|1|C"]
    assert ids(hl7, "ORU^R01", *lines) == [("A", "P1"), ("A", "P1"), (None, "P1"), ("C", "P1")]


def test_oru_with_an_orc_before_each_obr(hl7: Driver) -> None:
    """An ORC begins the next order: it is not the one before's, nor the next one's."""
    lines = ["ORC|RE||F1", "OBR|1", ROW, "SPM|1|A", "ORC|RE||F2", "OBR|2", ROW, "SPM|1|B", "OBR|3", ROW]
    results = decode(hl7, segments("ORU^R01", *lines)).results
    assert [(r.specimen, r.run) for r in results] == [("A", "F1"), ("B", "F2"), (None, None)]


def test_oru_that_breaks_the_structure_names_nobody(hl7: Driver) -> None:
    """An SPM before the first OBR, and two different ones behind an OBR: nobody can know whose they are."""
    assert ids(hl7, "ORU^R01", "SPM|1|A", "OBR|1", ROW, "SPM|2|B", "OBR|2", ROW) == [("B", None), (None, None)]
    assert ids(hl7, "ORU^R01", "OBR|1", ROW, "SPM|1|A", "SPM|2|B") == [(None, None)]


def test_oru_with_a_second_patient(hl7: Driver) -> None:
    """A new PID begins anew; the second patient's results are not the first one's."""
    lines = ["PID|||P1", "OBR|1", ROW, "SPM|1|A", "PID|||", "OBR|1", ROW, "SPM|1|B"]
    assert ids(hl7, "ORU^R01", *lines) == [("A", "P1"), ("B", None)]


@pytest.mark.parametrize("kind", ["OUL^R22^OUL_R22", "OUL^R21"])
def test_oul_takes_the_specimen_before(hl7: Driver, kind: str) -> None:
    """The SPM or SAC before the result; a new one ends the one before."""
    lines = ["SPM|1|A", "OBR|1", "ORC|OK||F1", ROW, ROW, "OBR|2", ROW, "SPM|2|B", "OBR|1", ROW, "SAC|||C", "OBR|1", ROW]
    results = decode(hl7, segments(kind, *lines)).results
    assert [r.specimen for r in results] == ["A", "A", "A", "B", "C"]
    assert [r.run for r in results] == ["F1", "F1", None, None, None]


def test_oul_with_a_container_of_its_specimen(hl7: Driver) -> None:
    """SPM and SAC before an order are one specimen; a new SPM without an id has none."""
    lines = ["SPM|1|", "SAC|||S1", "OBR|1", ROW, "SPM|2|", "OBR|1", ROW]
    assert [s for s, _ in ids(hl7, "OUL^R22", *lines)] == ["S1", None]


def test_oul_with_a_second_patient_before_any_order(hl7: Driver) -> None:
    """The tube before it, of which nothing was said, is not the second patient's."""
    lines = ("PID|||P1", "SPM|1|S1", "PID|||P2", "OBR|1", "OBX|1|NM|WBC||5")
    assert ids(hl7, "OUL^R22", *lines) == [(None, "P2")]


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ("<^5", "<5"), ("^5.10", "5.10"), ("=^5", "5"), (">=^500", ">=500"), ("^1^:^128", "1:128"), ("^10^-^20", "10-20"),
        ("^2^+", "2+"), (" < ^ 5 ", "<5"), ("", None), ('""', None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["OBX-5", "OBX-5.1"])
def test_a_structured_numeric_is_read_whole(tmp_path: Path, where: str, sent: str, value: str | None) -> None:
    """HL7 2.5.1, 2.A.73: a comparison without its number, or with a circumflex in it, would be no value."""
    driver = make(tmp_path, HL7.format(rest="").replace('"OBX-5"', f'"{where}"'))
    said = decode(driver, segments("OUL^R22", "SPM|1|S1", "OBR|1", f"OBX|1|SN|WBC||{sent}|g/L"))
    assert [one.value for one in said.results] == [value]


def test_hl7_null_is_nothing(hl7: Driver) -> None:
    """The HL7 null ("") is no specimen, no unit and no value."""
    (result,) = decode(hl7, segments("OUL^R22", 'SPM|1|""', "OBR|1", 'OBX|1|NM|K||""|""|||||F')).results
    assert (result.specimen, result.value, result.unit) == (None, None, None)


def test_notes_hang_on_their_result(hl7: Driver) -> None:
    """NTE behind OBX is that result's; NTE behind OBR nobody's."""
    lines = ["SPM|1|A", "OBR|1", "NTE|1||order", ROW, "NTE|1||first", ROW]
    assert [r.comments for r in decode(hl7, segments("OUL^R22", *lines)).results] == [("first",), ()]


@pytest.mark.parametrize("kind", ["ORU^R01", "OUL^R22"])
def test_a_row_that_hangs_on_one_result_is_not_the_next_ones(tmp_path: Path, kind: str) -> None:
    """INV or a Z segment behind an OBX is that OBX's alone; one before the results is the group's."""
    driver = make(tmp_path, HL7.format(rest="").replace('run = "ORC-3"', 'lot = "INV-1"\nlevel = "ZQC-1"'))
    spm = ["SPM|1|A"]
    lines = ["OBR|1", "ZQC|L2", ROW, "INV|7", ROW, "ZQC|L9", ROW, "OBR|2", ROW]
    results = decode(driver, segments(kind, *(spm if kind != "ORU^R01" else []), *lines)).results
    assert [(r.lot, r.level) for r in results] == [("7", "L2"), (None, "L9"), (None, "L2"), (None, None)]


def test_bytes_of_no_known_encoding_park_only_what_they_touch(tmp_path: Path) -> None:
    """Latin-1 by guess: a result with such a letter is parked, its neighbours are not."""
    driver = make(tmp_path, ASTM.format(top='codes = "open"', where="", rest=""))
    data = "H|\\^&\rP|1|Tr\xe2n\rO|1|A\rR|1|^^^K|1|\xb5g/L\rR|2|^^^L|2|g/L\rL|1|N\r".encode("latin-1")
    first, second = decode(driver, data).results
    assert first.problem is not None
    assert first.problem.reason is Reason.BAD_TEXT
    assert first.unit == "µg/L"
    assert second.problem is None


def test_a_declared_encoding_is_believed(tmp_path: Path) -> None:
    """Declared Latin-1 parks nothing; declared UTF-8 with other bytes parks what they touch."""
    data = "H|\\^&\rO|1|A\rR|1|^^^K|1|\xb5g/L\rL|1|N\r".encode("latin-1")
    line = '[line]\nencoding = "{}"\n'
    latin = make(tmp_path, ASTM.format(top='codes = "open"', where="", rest=line.format("latin-1")))
    assert decode(latin, data).results[0].problem is None
    utf = make(tmp_path, ASTM.format(top='codes = "open"', where="", rest=line.format("utf-8")))
    problem = decode(utf, data).results[0].problem
    assert problem is not None
    assert problem.reason is Reason.BAD_TEXT


def test_a_damaged_frame_gives_nothing(astm: Driver) -> None:
    """A message whose frame has a wrong checksum is unreadable as a whole."""
    good = b"".join(astm_frames.frames(records("O|1|A1", GOOD)))
    assert decode(astm, good).results
    said = decode(astm, good.replace(b"13.4", b"23.4"))
    assert said.problem is not None
    assert said.problem.reason is Reason.UNREADABLE
    assert not said.results


def test_a_defect_of_ours_is_a_problem_and_tells_nothing(astm: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception inside becomes DEFECT, without a word of the message."""

    def fail(*_: object) -> None:
        raise ValueError("patient Nguyen")

    monkeypatch.setattr(decoding.groups, "astm", fail)
    said = decode(astm, records("O|1|A1", GOOD))
    assert said.problem is not None
    assert said.problem.reason is Reason.DEFECT
    assert "Nguyen" not in str(said.problem)


_BITS = st.lists(
    st.sampled_from(["H|\\^&", "P|1|P1", "O|1|A1", "O|2|", "R|1|^^^HGB|1|g/dL", "R|", "C|1|I|x", "Q|1|^A", "L|1"])
    | st.text(max_size=12),
    max_size=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(lines=_BITS, data=st.binary(max_size=60), kind=st.sampled_from(["ORU^R01", "OUL^R22", "", "ORM"]))
def test_no_input_raises_or_is_a_defect(lines: list[str], data: bytes, kind: str) -> None:
    """Any records, any segments, any bytes: results or a problem, never DEFECT; an id is always one that was sent."""
    for driver, message in (
        (_ASTM, "\r".join(lines).encode("utf-8", "replace")),
        (_ASTM, data),
        (_HL7, segments(kind, *lines)),
        (_HL7, data),
    ):
        said = decode(driver, message)
        assert said.problem is None or said.problem.reason is not Reason.DEFECT
        for result in said.results:
            assert result.specimen is None or result.specimen.strip() == result.specimen != ""


def test_a_long_message_is_linear() -> None:
    """Twice the rows cost about twice the time; counted in rows looked at, not in seconds."""
    calls = 0
    original = decoding.any_holds

    def count(*args: object) -> bool:
        nonlocal calls
        calls += 1
        return original(*args)  # type: ignore[arg-type]

    for rows in (500, 1000):
        calls = 0
        decoding.any_holds = count  # type: ignore[assignment]
        try:
            assert len(decode(_ASTM, records("O|1|A", *[GOOD] * rows)).results) == rows
        finally:
            decoding.any_holds = original
        assert calls <= 5 * rows + 5


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("20261012081530", at("2026-10-12T08:15:30")),
        ("202610120815", at("2026-10-12T08:15:00")),
        ("20261012", at("2026-10-12T00:00:00")),
        ("20261012081530.1234", at("2026-10-12T08:15:30")),
        ("20261012081530+0700", at("2026-10-12T08:15:30")),
        ("20261012081530.5-03:00", at("2026-10-12T08:15:30")),
        ("20260229", None),
        ("20261012246060", None),
        ("00000000000000", None),
        ("2026-10-12", None),
        ("202610", None),
        ("", None),
        ("２０２６１０１２", None),
    ],
)
def test_times(text: str, time: datetime | None) -> None:
    """Local time as sent; fraction and offset dropped; an impossible one is none."""
    assert read_time(text) == time


def test_other_forms_of_time_are_declared() -> None:
    """The driver's forms come first, the standard one after them."""
    assert read_time("12/10/2026 08:15", ("%d/%m/%Y %H:%M",)) == at("2026-10-12T08:15:00")
    assert read_time("20261012", ("%d/%m/%Y %H:%M",)) == at("2026-10-12T00:00:00")


def _module_driver(text: str) -> Driver:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder), text)


_ASTM = _module_driver(ASTM.format(top="", where="", rest=RULES))
_HL7 = _module_driver(HL7.format(rest='[query]\nspecimen = "ORC-3"\n'))
