"""Orders written for an HL7 instrument: one that knows nothing of us reads the same orders, for every driver that takes any."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.captures import read_capture
from labgateway.cli.decode_command import shipped_drivers
from labgateway.errors import ComplaintsError
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import FILE, Driver, load
from labgateway.instruments.encode import NotSendableError, Work
from labgateway.instruments.encode_hl7 import acceptance, announce, refusal, reply, step_of
from labgateway.instruments.order_form import Deed, Hl7Form, Hl7OrderForm, NoOrder
from labgateway.instruments.queries import Question, questions
from labgateway.instruments.read_back_hl7 import read_back
from labgateway.instruments.refusals import refused
from labgateway.model import Kind, Patient, Priority
from labgateway.protocols import mllp
from tests.bless import captures_of

DRIVERS = [load(p.parent) for p in sorted(shipped_drivers().glob(f"*/{FILE}"))]
TAKING = [driver for driver in DRIVERS if isinstance(driver.orders, Hl7OrderForm)]
NOW = datetime(2026, 11, 24, 8, 15, 0, tzinfo=timezone(timedelta(hours=7)))

every_driver = pytest.mark.parametrize("driver", TAKING, ids=lambda d: d.name)

IDS = st.text("ABCXYZ0123456789-./|^\\&~`@", min_size=1, max_size=20).filter(lambda s: s.strip() == s)
NAMES = st.lists(st.text("NGUYỄN VĂN ÂĐăđêô|^&\\~\r\n\x02\x0b\x1c", max_size=12), min_size=1, max_size=3)
QUERIES = {
    "ihe_law": "MSH|^~\\&|AN|LAB|LIS|BV|20261124081459+0700||QBP^Q11^QBP_Q11|Q7|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-27^IHE"
    "\rQPD|WOS^Work Order Step^IHE_LABTF|TAG7|S1\rRCP|I||R\r",
    "mindray_bc": "MSH|^~\\&|BC-5380|Mindray|||20261124081459||ORM^O01|4|P|2.3.1||||||UNICODE\rORC|RF||S1||IP\r",
    "mindray_bs": "MSH|^~\\&|Mindray|BS-480|||20261124081459||QRY^Q02|1|P|2.3.1||||||ASCII\r"
    "QRD|20261124081459|R|D|1|||RD|S1|OTH|||T|\rQRF|BS-480|20261124|20261124|||RCT|COR|ALL||\r",
    "cepheid_genexpert_hl7": "MSH|^~\\&|ICU^GeneXpert^1.0||LIS||20261124081459||QBP^Z03^QBP_Z03|662f|P|2.5\r"
    "QPD|Z03^HOST QUERY|662f|P9|S1\rRCP|I\r",
    "roche_hl7": "MSH|^~\\&|cobas pro||Host||20261124081459+0700||QBP^Q11^QBP_Q11|159|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-27R^ROCHE\r"
    "QPD|INIBAR^^99ROC|262|S1|50006|1|||||SERPLAS^^99ROC|SC^^99ROC|R\rRCP|I|1|R^HL70394\r",
    "snibe_maglumi_hl7": "MSH|^~\\&|Maglumi X3||Lis||20261124081459||TSREQ|1|P|2.5|||NE|NE||UTF-8\rQPD|TSREQ||S1^^NA001^1|0\rRCP|I||R\r",
}
QUERIES["dymind_dh"] = QUERIES["mindray_bc"].replace("BC-5380|Mindray", "DH36|Dymind")
QUERIES["biosystems_ba400"] = QUERIES["ihe_law"].replace("AN|LAB", "BA400|Biosystems").replace("NE|AL", "ER|AL")
QUERIES["roche_molecular"] = QUERIES["ihe_law"].replace("AN|LAB", "X800 DM|").replace("|S1\r", "|S1|S54|14\r")


def driver_of(name: str) -> Driver:
    return next(driver for driver in DRIVERS if driver.name == name)


def form_of(driver: Driver) -> Hl7OrderForm:
    assert isinstance(driver.orders, Hl7OrderForm)
    return driver.orders


def numbers() -> Callable[[], str]:
    return (f"OUR{n}" for n in itertools.count(1)).__next__


def answer(driver: Driver, works: list[Work], *, again: bool = False) -> list[mllp.Post]:
    query = QUERIES[driver.name].encode()
    return reply(driver, works, query, NOW, numbers(), again=again)


@st.composite
def works(draw: st.DrawFn) -> list[Work]:
    specimens = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    return [
        Work(
            specimen,
            tuple(draw(st.lists(IDS, min_size=0, max_size=20, unique=True))),
            Patient(draw(IDS), pid5="^".join(draw(NAMES)), birth_date=draw(st.sampled_from(("19720815", "", "1972"))),
                    sex=draw(st.sampled_from(("M", "F", "", "O")))),
            draw(st.sampled_from(Priority)),
            draw(st.sampled_from(("", "SER^Serum^HL70487", "UR", "?"))),
        )
        for specimen in specimens
    ]  # fmt: skip


# --- an instrument that knows HL7 and nothing of us ---


@dataclass(frozen=True)
class Order:
    """What the simulated instrument will do."""

    specimen: str
    code: str
    patient: str
    action: str


def _text(raw: str) -> str:
    for mark, char in (("\\F\\", "|"), ("\\S\\", "^"), ("\\T\\", "&"), ("\\R\\", "~"), ("\\E\\", "\x00")):
        raw = raw.replace(mark, char)
    return raw.replace("\x00", "\\")


def _field(row: list[str], n: int, component: int = 1) -> str:
    shift = 1 if row[0] == "MSH" else 0
    whole = row[n - shift] if n - shift < len(row) else ""
    parts = whole.split("~")[0].split("^")
    return _text((parts[component - 1] if component <= len(parts) else "").split("&")[0])


def rows_of(data: bytes) -> list[list[str]]:
    text = data.decode("utf-8")
    assert text.endswith("\r")
    assert not any(char in text for char in "\n\x0b\x1c\x02")
    return [line.split("|") for line in text[:-1].split("\r")]


def instrument(driver: Driver, posts: list[mllp.Post]) -> list[Order]:
    """The orders that an instrument of this kind takes from these messages, by its own manual."""
    found: list[Order] = []
    for post in posts:
        rows = rows_of(post.data)
        kind = _field(rows[0], 9)
        names = "".join(row[0] for row in rows)
        if kind == "OML":
            assert names.startswith(("MSHPIDSPMSAC", "MSHSPMSAC"))
            assert post.awaited in (_field(rows[0], 10), "")
        if kind == "DSR":
            lines = {int(row[1]): row for row in rows if row[0] == "DSP"}
            assert sorted(lines) == list(range(1, len(lines) + 1))
            assert len(lines) >= 28
            for n in range(29, len(lines) + 1):
                assert lines[n][3].endswith("^^^")
                found.append(Order(_field(lines[21], 3), _field(lines[n], 3), _field(lines[1], 3), ""))
            continue
        now = {"specimen": "", "patient": "", "action": "", "code": ""}
        for row in rows:
            match row[0]:
                case "PID":
                    now["patient"] = _field(row, 3)
                case "SPM":
                    now["specimen"] = _field(row, 2)
                case "SAC":
                    assert _field(row, 3) == now["specimen"]
                case "ORC":
                    now["action"] = _field(row, 1)
                    if kind == "ORR":
                        now["specimen"] = _field(row, 2)
                case "OBR" if kind != "ORR":
                    now["code"] = _field(row, 4)
                case _:
                    pass
            if kind == "ORR" and row[0] == "OBX":
                found.append(Order(now["specimen"], _field(row, 5), now["patient"], now["action"]))
            if row[0] == ("SPM" if kind == "RSP" else "OBR") and kind != "ORR":
                found.append(Order(now["specimen"], now["code"], now["patient"], now["action"]))
    return found


def expected(driver: Driver, wanted: list[Work], action: str) -> list[Order]:
    form = form_of(driver)
    out: list[Order] = []
    for work in wanted:
        assert work.patient
        codes: tuple[str, ...] = work.codes
        if form.modes and codes:
            codes = ("CBC",)
        out += [Order(work.specimen, code, work.patient.id or "", action) for code in codes]
    return out


@every_driver
@settings(max_examples=60, deadline=None)
@given(wanted=works())
def test_what_is_written_is_understood(driver: Driver, wanted: list[Work]) -> None:
    """Specimens, codes and patient: the simulated instrument has the same orders, and so has our own reader."""
    form = form_of(driver)
    if form.form is Hl7Form.ORR:
        wanted = wanted[:1]
    posts = answer(driver, wanted)
    action = "" if form.form is Hl7Form.DSR else form.actions[Deed.ASKED]
    orders = expected(driver, wanted, action)
    assert (
        instrument(driver, [post for post in posts if b"|DC|" not in post.data and b"ORC|DC\r" not in post.data])
        == orders
    )
    read = [one for one in read_back(driver, [post.data for post in posts]) if one.codes]
    assert [(one.specimen, code) for one in read for code in one.codes] == [(o.specimen, o.code) for o in orders]
    assert [one.patient for one in read] == [w.patient.id for w in wanted if w.codes and w.patient]
    assert not any(one.is_cancel for one in read)
    if form.form is not Hl7Form.ORR:
        assert not any(decode(driver, post.data).results for post in posts)


@every_driver
@settings(max_examples=40, deadline=None)
@given(wanted=works(), deed=st.sampled_from((Deed.UNASKED, Deed.ADD, Deed.CANCEL)))
def test_unasked_orders_are_understood(driver: Driver, wanted: list[Work], deed: Deed) -> None:
    """LAB-28: new, further and cancelled orders, each with the same number of its step; other forms refuse."""
    form = form_of(driver)
    for work in wanted:
        if form.form is not Hl7Form.LAW:
            with pytest.raises(ValueError, match="only as the answer"):
                announce(driver, work, deed, NOW, numbers())
            continue
        posts = announce(driver, work, deed, NOW, numbers())
        assert len(posts) == bool(work.codes)
        assert instrument(driver, posts) == expected(driver, [work], form.actions[deed])
        assert all(one.is_cancel is (deed is Deed.CANCEL) for one in read_back(driver, [p.data for p in posts]))
        steps = [_field(row, 2) for post in posts for row in rows_of(post.data) if row[0] == "OBR"]
        assert steps == [step_of(work, code) for code in work.codes]
        assert len(set(steps)) == len(steps)


@every_driver
@settings(max_examples=40, deadline=None)
@given(wanted=works())
def test_every_query_gets_a_reply(driver: Driver, wanted: list[Work]) -> None:
    """The reply comes first and names the query; MSA-2 and the tag are its own. Without an order that is said."""
    form = form_of(driver)
    nothing = [replace(work, codes=()) for work in wanted][: 1 if form.form is Hl7Form.ORR else 4]
    asked = rows_of(QUERIES[driver.name].encode())
    for these, error in ((wanted[:1], False), (nothing, False), ([], False), ([], True)):
        posts = refusal(driver, QUERIES[driver.name].encode(), NOW, numbers()) if error else answer(driver, these)
        if not form.reply_kind and not error:
            continue
        rows = rows_of(posts[0].data)
        assert not posts[0].awaited
        msa = next(row for row in rows if row[0] == "MSA")
        assert _field(msa, 2) == _field(asked[0], 10)
        found = any(work.codes for work in these)
        said = found or (form.none is NoOrder.DISCONTINUE and bool(these))
        if form.form is Hl7Form.ORR:
            assert msa[1] == ("AE" if error else "AA" if said else "AR")
            continue
        assert msa[1] == ("AE" if error else "AA")
        if form.reply_kind:
            qak = next(row for row in rows if row[0] == "QAK")
            assert qak[2] == ("AE" if error else "OK" if said else "NF")
            if asked[1][0] == "QPD":
                assert (qak[1], next(r for r in rows if r[0] == "QPD")) == (asked[1][2], asked[1])
    if form.none is NoOrder.DISCONTINUE:
        negative = [post for post in answer(driver, nothing) if post.data.find(b"OML^O33") > 0]
        assert [[row[0] for row in rows_of(post.data)] for post in negative] == [["MSH", "SPM", "SAC", "ORC"]] * len(
            nothing
        )
        assert [_field(rows_of(post.data)[1], 2) for post in negative] == [work.specimen for work in nothing]
        assert all(_field(rows_of(post.data)[3], 1) == "DC" for post in negative)
        assert [one.specimen for one in read_back(driver, [p.data for p in negative])] == [w.specimen for w in nothing]


@every_driver
def test_an_answer_that_was_not_taken_comes_without_its_reply(driver: Driver) -> None:
    """The instrument has had the reply already; only what follows it is sent again."""
    form = form_of(driver)
    work = Work("S1", ("A",), Patient("P1"))
    first, second = answer(driver, [work]), answer(driver, [work], again=True)
    if form.form in (Hl7Form.LAW, Hl7Form.DSR) and form.reply_kind:
        assert first[0].data.find(form.reply_kind.split("^")[0].encode()) > 0
        assert len(second) == len(first) - 1
        assert instrument(driver, first) == instrument(driver, second)


def asked_by(driver: Driver) -> list[tuple[bytes, Question]]:
    return [
        (message, question)
        for path in captures_of(driver.folder)
        for message in read_capture(path.read_bytes(), protocol="hl7")
        for question in questions(driver, message)
        if not question.taken_back
    ]


@every_driver
def test_a_driver_answers_its_own_queries(driver: Driver) -> None:
    """Each query of a driver's captures, with orders and without; what decode shows as a query is what is asked."""
    for message, question in asked_by(driver):
        shown = [r.specimen for r in decode(driver, message).results if r.kind is Kind.QUERY and r.specimen]
        assert shown == list(question.specimens)
        for codes in (("770-8", "6690-2"), ()):
            asked = [Work(s, codes, Patient("P1"), asked=question.row) for s in question.specimens]
            posts = reply(driver, asked, message, NOW, numbers())
            assert posts
            found = {one.specimen for one in read_back(driver, [p.data for p in posts]) if one.codes}
            assert found == (set(question.specimens) if codes else set())


def test_ids_pass_whole_or_not_at_all() -> None:
    """A letter that would be folded, or a control character, in an id or a code: not sent."""
    for name in ("ihe_law", "mindray_bs", "cepheid_genexpert_hl7"):
        for work in (
            Work("BÌNH1", ("A",)),
            Work("S1", ("Đ",), Patient("P1")),
            Work("S1", ("A",), Patient("P\r1")),
            Work("S\x02", ("A",)),
        ):
            with pytest.raises(NotSendableError):
                answer(driver_of(name), [replace(work, patient=work.patient or Patient("P1"))])


def test_names_in_the_characters_that_the_instrument_declares() -> None:
    """UNICODE: as they are; ASCII, or nothing said: without marks."""
    work = Work("S1", ("A",), Patient("P1", pid5="NGUYỄN^VĂN ĐỨC"))
    assert "NGUYỄN^VĂN ĐỨC" in answer(driver_of("ihe_law"), [work])[1].data.decode()
    assert b"NGUYEN VAN DUC" in answer(driver_of("mindray_bs"), [work])[1].data
    assert b"NGUYEN^VAN DUC" in answer(driver_of("cepheid_genexpert_hl7"), [work])[0].data


def test_mindray_bc_is_told_a_mode_in_its_own_words() -> None:
    """A differential is CBC+5DIFF on a BC-5380 and CBC+DIFF elsewhere; without one it is CBC."""
    driver = driver_of("mindray_bc")
    for sender, codes, word in (
        ("BC-5380|Mindray", ("6690-2", "770-8"), "CBC+5DIFF"),
        ("BC-5380|Mindray", ("6690-2", "718-7"), "CBC"),
        ("BC-6800|Mindray", ("770-8",), "CBC+DIFF"),
        ("|", ("770-8",), "CBC+DIFF"),
    ):
        query = QUERIES["mindray_bc"].replace("BC-5380|Mindray", sender).encode()
        (post,) = reply(driver, [Work("S1", codes, Patient("P1"))], query, NOW, numbers())
        assert f"OBX|1|IS|08003^Test Mode^99MRC||{word}||||||F\r" in post.data.decode()


def test_several_specimens_on_a_mindray_bs_are_pages() -> None:
    """DSC says that another page follows; the last one has none. Each is acknowledged before the next."""
    works = [Work(f"S{n}", ("1", "3"), Patient("P1")) for n in range(3)]
    posts = answer(driver_of("mindray_bs"), works)
    assert [_field(rows_of(post.data)[0], 9) for post in posts] == ["QCK", "DSR", "DSR", "DSR"]
    assert [bool(post.awaited) for post in posts] == [False, True, True, True]
    assert [rows_of(post.data)[-1] for post in posts[1:]] == [["DSC", "1"], ["DSC", "2"], ["DSC", "", ""]]


def test_a_mindray_bs_that_takes_its_query_back() -> None:
    """QRD-9 CAN: it is acknowledged by QCK^Q02, and no data set follows."""
    driver = driver_of("mindray_bs")
    message = QUERIES["mindray_bs"].replace("|OTH|", "|CAN|").encode()
    (question,) = questions(driver, message)
    assert question.taken_back
    assert question.specimens == ("S1",)
    (post,) = acceptance(driver, message, NOW, numbers())
    assert [row[0] for row in rows_of(post.data)] == ["MSH", "MSA", "ERR", "QAK"]


def test_a_query_by_sequence_number_names_no_specimen() -> None:
    """Roche INISEQ: the number is never taken for a barcode; the answer is that nothing is found."""
    driver = driver_of("roche_hl7")
    message = QUERIES["roche_hl7"].replace("INIBAR", "INISEQ").encode()
    (question,) = questions(driver, message)
    assert question.specimens == ()
    assert not decode(driver, message).results
    (post,) = reply(driver, [], message, NOW, numbers())
    assert "QAK|262|NF|INISEQ^^99ROC\r" in post.data.decode()


def test_what_refuses_an_order() -> None:
    """Its answer by AE or by ORC-1, or a message of its own; codes only. Results, acknowledgments and queries refuse nothing."""
    law, gx = driver_of("ihe_law"), driver_of("cepheid_genexpert_hl7")
    head = QUERIES["ihe_law"].split("\r")[0].replace("QBP^Q11^QBP_Q11", "ORL^O34^ORL_O42")
    assert refused(law, f"{head}\rMSA|AA|O1\rORC|OK\r".encode()) == ""
    assert refused(law, f"{head}\rMSA|AA|O1\rORC|UA\rORC|OK\r".encode()) == "ORC-1 UA"
    assert refused(law, f"{head}\rMSA|AE|O1|Nguyen Van An\rERR|||204^^HL70357\r".encode()) == "MSA-1 AE, ERR 204"
    own = QUERIES["cepheid_genexpert_hl7"].split("\r")[0].replace("QBP^Z03^QBP_Z03", "ORU^R32^ORU_R30")
    reject = f"{own}\rPID|1||P1\rORC|{{}}|1\rOBR|1|||MRSA{'|' * 21}{{}}\rNTE|1|L|Nguyen Van An\r"
    assert refused(gx, reject.format("OC", "X").encode()) == "MSH-9.1 ORU, ORC-1 OC, OBR-25 X"
    assert refused(gx, reject.format("RE", "F").encode()) == ""
    for driver in TAKING:
        assert refused(driver, QUERIES[driver.name].encode()) == ""
        for path in captures_of(driver.folder):
            for message in read_capture(path.read_bytes(), protocol="hl7"):
                assert not (refused(driver, message) and decode(driver, message).results)


def test_all_work_is_asked_for() -> None:
    """LAB-27, option Query All."""
    message = QUERIES["ihe_law"].replace("|WOS^Work Order Step^IHE_LABTF|TAG7|S1", "|WOS_ALL^^IHE_LABTF|TAG7").encode()
    (question,) = questions(driver_of("ihe_law"), message)
    assert question.everything
    message = QUERIES["ihe_law"].replace("|TAG7|S1", "|TAG7||R1|5").encode()
    (question,) = questions(driver_of("ihe_law"), message)
    assert question.specimens == () and not question.everything


def test_the_number_of_a_step_is_its_orders() -> None:
    """The same test of another order is another step; the same order again is the same."""
    one = Work("S1", ("A",), steps={"A": "7"})
    assert step_of(one, "A") == step_of(replace(one, specimen="S1", codes=("A", "B")), "A")
    assert step_of(one, "A") != step_of(replace(one, steps={"A": "8"}), "A")
    assert len(step_of(one, "A")) == 16


def test_as_a_host_of_a_cobas_writes() -> None:
    """Roche: specimen with BARCODE, rack and position of the query, its kind of specimen and container."""
    posts = answer(driver_of("roche_hl7"), [Work("S1", ("10172",), Patient("123456", pid5="TEST PATIENT", sex="M"))])
    text = posts[1].data.decode()
    assert "SPM|1|S1&BARCODE||SERPLAS^^99ROC|||||||P^^HL70369||||||||||||||||SC^^99ROC\r" in text
    assert "SAC|||S1^BARCODE|||||||50006|1\r" in text
    assert "TQ1|||||||||R^^HL70485\r" in text
    assert "||10172^^99ROC\r" in text
    assert "|||NE|AL||UNICODE UTF-8|||LAB-28R^ROCHE\r" in text


def _driver(folder: Path, orders: str) -> Driver:
    (folder / FILE).write_text(
        'schema = 1\ntitle = "X"\nmaker = "X"\nprotocol = "hl7"\nsources = ["x"]\ncodes = "open"\n'
        f'[where]\nspecimen = "SPM-2.1"\ncode = "OBX-3.1"\nvalue = "OBX-5"\n{orders}\n'
    )
    return load(folder)


@pytest.mark.parametrize(
    ("orders", "key"),
    [
        ('[orders]\nform = "loud"', "form"),
        ('[orders]\nspecimen = "O-3.1"', "specimen"),
        ('[orders]\ncode = "OBR4"', "code"),
        ('[orders]\nnone = "L"', "none"),
        ('[orders]\nactions = { sometimes = "N" }', "sometimes"),
        ('[orders]\nfields = { "MSH-5" = 5 }', "MSH-5"),
        ('[orders]\necho = { "SAC-10" = "Q-3" }', "echo"),
        ('[orders]\nencoding = "klingon"', "encoding"),
        ('[orders]\nform = "dsr"\nunasked = true', "unasked"),
        ('[orders]\nform = "rsp"\nreply = ""', "reply"),
        ("[orders]\nmodes = [{ any = ['A'] }]", "is"),
        ('[orders]\ncolour = "red"', "colour"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, orders: str, key: str) -> None:
    """Each mistake of [orders] with its key."""
    with pytest.raises(ComplaintsError) as found:
        _driver(tmp_path, orders)
    assert any(key in (complaint.key or "") + complaint.what for complaint in found.value.complaints)


def test_a_driver_without_queries_takes_no_orders(tmp_path: Path) -> None:
    """[query] or [orders] makes it take them; the form follows from the segment in which it asks."""
    assert _driver(tmp_path, "").orders is None
    for row, form in (("QPD-3", Hl7Form.LAW), ("QRD-8", Hl7Form.DSR), ("ORC-3", Hl7Form.ORR)):
        assert form_of(_driver(tmp_path, f'[query]\nspecimen = "{row}"')).form is form
