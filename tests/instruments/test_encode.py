"""Orders written for an ASTM instrument: read back they are the same, for every driver that takes orders."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.captures import read_capture, read_wire
from labgateway.cli.decode_command import shipped_drivers
from labgateway.instruments import groups
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import FILE, Driver, load
from labgateway.instruments.encode import NotSendableError, Work, encode, read_back
from labgateway.instruments.order_form import Deed, NoOrder
from labgateway.instruments.queries import Question, questions
from labgateway.model import Kind, Patient, Priority
from labgateway.protocols import astm_frames, astm_records
from tests.bless import captures_of

DRIVERS = [load(p.parent) for p in sorted(shipped_drivers().glob(f"*/{FILE}"))]
TAKING = [driver for driver in DRIVERS if driver.orders and driver.protocol == "astm"]
NOW = datetime(2026, 11, 24, 8, 15, 0)  # noqa: DTZ001 - local time of the instrument

every_driver = pytest.mark.parametrize("driver", TAKING, ids=lambda d: d.name)

# What stands in a barcode or a code; the delimiters among them, since they must come back as well.
IDS = st.text("ABCXYZ0123456789-./|^\\&`@", min_size=1, max_size=20)
NAMES = st.lists(st.text("NGUYỄN VĂN ÂĐăđêô|^&\\~\r\n\x02", max_size=12), min_size=1, max_size=3)


def driver_of(name: str) -> Driver:
    return next(driver for driver in DRIVERS if driver.name == name)


def asked_by(driver: Driver) -> list[Question]:
    """The questions in the driver's own captures."""
    return [
        question
        for path in captures_of(driver.folder)
        for message in read_capture(path.read_bytes(), protocol=driver.protocol)
        for question in questions(driver, message)
        if not question.taken_back
    ]


@st.composite
def works(draw: st.DrawFn) -> list[Work]:
    specimens = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    return [
        Work(
            specimen,
            tuple(draw(st.lists(IDS, min_size=0, max_size=40, unique=True))),
            Patient(draw(IDS), pid5="^".join(draw(NAMES)), birth_date=draw(st.sampled_from(("19720815", "", "1972"))),
                    sex=draw(st.sampled_from(("M", "F", "", "O")))),
            draw(st.sampled_from(Priority)),
            draw(st.sampled_from(("", "SER^Serum^HL70487", "UR", "?"))),
        )
        for specimen in specimens
    ]  # fmt: skip


@every_driver
@settings(max_examples=60, deadline=None)
@given(
    wanted=works(), deed=st.sampled_from((Deed.ASKED, Deed.UNASKED, Deed.ADD, Deed.CANCEL)), size=st.integers(7, 300)
)
def test_what_is_written_is_read_back(driver: Driver, wanted: list[Work], deed: Deed, size: int) -> None:
    """Specimens, codes, patient and priority, through frames of any size, read by the decoder's own rules."""
    assert driver.orders
    records = encode(driver, wanted, deed, NOW)
    framed = b"".join(astm_frames.frames(records, size=size))
    read = read_back(driver, framed)
    assert read == read_back(driver, records)
    with_codes = [work for work in wanted if work.codes]
    found = [one for one in read if one.codes]
    assert [(one.specimen, one.codes) for one in found] == [(work.specimen, work.codes) for work in with_codes]
    assert all(one.is_cancel is (deed is Deed.CANCEL) for one in found)
    if "patient" in driver.orders.places:
        assert [one.patient for one in found] == [work.patient.id for work in with_codes if work.patient]
    if driver.orders.priority:
        assert [one.priority for one in found] == [driver.orders.priorities[work.priority] for work in with_codes]
    # and every specimen without codes is named where the driver can name it
    if with_codes or driver.orders.none is NoOrder.ORDER:
        assert {one.specimen for one in read} == {work.specimen for work in wanted}
    assert not decode(driver, records).results


@every_driver
@settings(max_examples=30, deadline=None)
@given(wanted=works())
def test_where_results_name_their_specimen_orders_do_too(driver: Driver, wanted: list[Work]) -> None:
    """Where both stand at the same place, the decoder's own path finds the ordered specimen, and the patient."""
    assert driver.orders
    rows = astm_records.read_records(driver_text(driver, encode(driver, wanted, Deed.ASKED, NOW)))
    items = [item for item in groups.astm(rows, frozenset({"O"})) if driver.orders.code.of(item.row)]
    for name, place, said in (
        ("specimen", driver.orders.specimen, [w.specimen for w in wanted if w.codes]),
        ("patient", driver.orders.places.get("patient"), [w.patient.id for w in wanted if w.codes and w.patient]),
    ):
        if place in driver.where.get(name, ()) and name not in driver.take:
            found = dict.fromkeys(item.text((place,)) for item in items if place)
            assert list(found) == list(dict.fromkeys(said))


def driver_text(driver: Driver, records: bytes) -> str:
    return records.decode(driver.line.encoding or "ascii")


@every_driver
def test_a_driver_answers_its_own_queries(driver: Driver) -> None:
    """Each query of a driver's captures can be answered with orders and without, and names its specimens again."""
    assert driver.orders
    for question in asked_by(driver):
        for codes in (("A", "B"), ()):
            asked = [Work(s, codes, Patient("P1"), asked=question.row) for s in question.specimens]
            if not asked:
                continue
            records = encode(driver, asked, Deed.ASKED, NOW)
            rows = astm_records.read_records(records.decode("ascii"))
            assert (rows[0].name, rows[-1].name) == ("H", "L")
            assert list(astm_frames.frames(records, size=driver.orders.frame_bytes, packed=driver.orders.packed))
            if codes:
                assert [one.specimen for one in read_back(driver, records)] == list(question.specimens)
                continue
            assert not any(one.codes for one in read_back(driver, records))
            match driver.orders.none:
                case NoOrder.END:
                    assert [row.name for row in rows] == ["H", "L"]
                case NoOrder.ORDER:
                    assert [one.specimen for one in read_back(driver, records)] == list(question.specimens)
                case NoOrder.QUERY:
                    assert [row.name for row in rows] == ["H", "Q", "L"]


@pytest.mark.parametrize(
    ("name", "specimen", "codes", "patient"),
    [
        ("sysmex_xn", "0071123457", ("WBC", "RBC", "HGB"), Patient("40777", pid5="Van^Long", birth_date="19660712", sex="M")),
        ("roche_e411", "26101288", ("630",), Patient("not told")),
    ],
)  # fmt: skip
def test_as_a_host_was_seen_to_answer(name: str, specimen: str, codes: tuple[str, ...], patient: Patient) -> None:
    """The answers in the captures, but for what we say of ourselves, the priority, and the type of the specimen."""
    driver = driver_of(name)
    wire = next(p for p in captures_of(driver.folder) if p.stem == "query")
    seen = [line.partition(b"<STX>")[2] for line in wire.read_bytes().splitlines() if line.startswith(b"> <STX>")]
    host = b"".join(read_wire(b"> <STX>" + line + b"\n").lines[0][1] for line in seen)
    wanted = astm_records.read_records(b"".join(astm_frames.unframe(host).messages).decode())
    question = next(q for q in asked_by(driver) if specimen in q.specimens)
    ours = encode(driver, [Work(specimen, codes, patient, asked=question.row)], Deed.ASKED, NOW)
    rows = astm_records.read_records(ours.decode())
    assert [row.name for row in rows] == [row.name for row in wanted]
    ignored = {"H": {5, 12, 14}, "O": {6, 16}}
    for mine, theirs in zip(rows, wanted, strict=True):
        for field in range(2, max(len(mine.fields), len(theirs.fields)) + 1):
            if field not in ignored.get(mine.name, set()):
                assert mine.raw(field) == theirs.raw(field), (mine.name, field)


def test_ids_pass_whole_or_not_at_all() -> None:
    """A letter that would be folded, or a control character, in an id or a code: not sent."""
    driver = driver_of("generic_astm")
    for work in (Work("BÌNH1", ("A",)), Work("S1", ("Đ",)), Work("S1", ("A",), Patient("P\r1")), Work("S\x02", ("A",))):
        with pytest.raises(NotSendableError):
            encode(driver, [work], Deed.ASKED, NOW)


def test_an_instrument_that_takes_no_blank_patient_is_not_sent_one() -> None:
    """GeneXpert does not download an order without patient id: the answer is "no order"."""
    records = encode(driver_of("cepheid_genexpert"), [Work("S1", ("FT",), Patient(None))], Deed.ASKED, NOW)
    assert [record[:1] for record in records.split(b"\r") if record] == [b"H", b"L"]
    assert records.endswith(b"L|1|I\r")


def query(driver: Driver, *rows: str) -> tuple[Question, ...]:
    return questions(driver, "\r".join(["H|\\^&|||X", *rows, "L|1|N", ""]).encode())


def test_every_form_of_a_query() -> None:
    """One specimen, several in a row or a row each, a range, everything, an unreadable one, and one that is taken back."""
    driver = driver_of("roche_c111")
    assert [q.specimens for q in query(driver, "Q|1|^S1||ALL||||||||O")] == [("S1",)]
    assert [q.specimens for q in query(driver, "Q|1|S1||ALL")] == [("S1",)]
    assert [q.specimens for q in query(driver, "Q|1|^S1\\^S2\\^S3||ALL")] == [("S1", "S2", "S3")]
    assert [q.specimens for q in query(driver, "Q|1|^S1", "Q|2|^S2")] == [("S1",), ("S2",)]
    (span,) = query(driver, "Q|1|^S1|^S9|ALL")
    assert (span.specimens, span.until) == (("S1",), "S9")
    (all_,) = query(driver, "Q|1|ALL||ALL")
    assert all_.everything
    (back,) = query(driver, "Q|1|^S1||ALL||||||||A")
    assert back.taken_back
    assert query(driver, "R|1|^^^A|1") == ()
    (unread,) = query(driver_of("roche_e411"), "Q|1|^^@40^42^0^2^^S1^SC||ALL||||||||O")
    assert unread.unreadable == {"@40"}


@every_driver
def test_decode_calls_the_same_rows_queries(driver: Driver) -> None:
    """What decode shows as a query is what is answered."""
    for path in captures_of(driver.folder):
        for message in read_capture(path.read_bytes(), protocol=driver.protocol):
            shown = [r.specimen for r in decode(driver, message).results if r.kind is Kind.QUERY and r.specimen]
            asked = [
                s for q in questions(driver, message) if not q.taken_back for s in q.specimens if s not in q.unreadable
            ]
            taken_back = [s for q in questions(driver, message) if q.taken_back for s in q.specimens]
            assert [s for s in shown if s not in taken_back] == asked


def _write(folder: Path, orders: str) -> Path:
    (folder / "driver.toml").write_text(
        'schema = 1\ntitle = "X"\nmaker = "X"\nprotocol = "astm"\nsources = ["x"]\ncodes = "open"\n'
        '[where]\nspecimen = "O-3.1"\ncode = "R-3.4"\nvalue = "R-4"\n' + orders
    )
    return folder


@pytest.mark.parametrize(
    ("orders", "key"),
    [
        ('[orders]\nspecimen = "R-3.1"', "specimen"),
        ('[orders]\ncode = "O5"', "code"),
        ('[orders]\nnone = "Z"', "none"),
        ('[orders]\nactions = { sometimes = "N" }', "sometimes"),
        ('[orders]\nfields = { "H-5" = 5 }', "H-5"),
        ('[orders]\necho = { "O-3.1" = "O-3.1" }', "echo"),
        ('[orders]\ndelimiters = "|^"', "delimiters"),
        ('[orders]\nencoding = "klingon"', "encoding"),
        ('[orders]\ncolour = "red"', "colour"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, orders: str, key: str) -> None:
    """Each mistake of [orders] with its key."""
    from labgateway.errors import ComplaintsError

    with pytest.raises(ComplaintsError) as found:
        load(_write(tmp_path, orders))
    assert any(key in (complaint.key or "") + complaint.what for complaint in found.value.complaints)


def test_a_driver_without_queries_takes_no_orders(tmp_path: Path) -> None:
    """[query] or [orders] makes it take them; without both nothing is ever sent."""
    assert load(_write(tmp_path, "")).orders is None
    assert load(_write(tmp_path, '[query]\nspecimen = "Q-3.2"')).orders is not None
    assert load(_write(tmp_path, "[orders]\nunasked = true")).orders is not None
