"""Orders of raw framings: byte by byte as the sources have them, read by an instrument that knows nothing of the encoder."""

from __future__ import annotations

import dataclasses
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.cli.decode_command import library
from labgateway.errors import ComplaintsError
from labgateway.instruments import encode_raw
from labgateway.instruments.driver import load
from labgateway.instruments.encode import NotSendableError, Work
from labgateway.instruments.queries import questions
from labgateway.instruments.refusals import refused
from labgateway.instruments.spec import Driver
from labgateway.model import Patient

DRIVERS = library().drivers
AU, DIMENSION = DRIVERS["beckman_au"], DRIVERS["siemens_dimension"]
FS = "\x1c"


def au(text: str) -> bytes:
    """STX, text, ETX and the XOR of what stands behind STX, as the driver of an AU5800 computes it."""
    block = text.encode() + b"\x03"
    return b"\x02" + block + bytes([reduce(lambda a, b: a ^ b, block)])


def dimension(text: str) -> bytes:
    """STX, text, the sum of its bytes in two hexadecimal capitals, ETX."""
    return b"\x02" + text.encode() + f"{sum(text.encode()) % 256:02X}".encode() + b"\x03"


def work(specimen: str, *codes: str, patient: str = "", kind: str = "") -> Work:
    return Work(specimen, codes, Patient(id=patient) if patient else None, specimen_type=kind)


def test_the_sums_of_the_sources() -> None:
    """What drivers in use write as constants: no request, and a result accepted."""
    assert dimension(f"N{FS}") == b"\x02N\x1c6A\x03"
    assert dimension(f"M{FS}A{FS}{FS}") == b"\x02M\x1cA\x1c\x1cE2\x03"


# --- Beckman AU ---

RACK = "R 000305 0024            26110384"


def test_an_order_of_an_au() -> None:
    """S, rack, cup, sample type, sample number and id as they were asked, four blanks, E, the tests."""
    query = au(RACK)
    assert [one.specimens for one in questions(AU, query)] == [("26110384",)]
    assert encode_raw.answer(AU, [work("26110384", "01", "07", "26")], query) == (
        b"S 000305 0024            26110384    E010726"
    )


@pytest.mark.parametrize(
    "query",
    [
        "RH000305 0024            26110384",  # a rerun: two sources answer differently
        "R 000305U0024            26110384",  # urine: two sources answer differently
        "R 000305 0024  26110384",  # an id of ten columns: this site's settings are not declared
        "R 99000305 0024  26110384",
    ],
)
def test_no_order_of_an_au(query: str) -> None:
    """A form whose answer is not known to the byte: the order is not told. SE, as where there is nothing to do."""
    with pytest.raises(NotSendableError, match="of this form"):
        encode_raw.answer(AU, [work("26110384", "01")], au(query))
    assert encode_raw.none(AU, au(query)) == b"SE"
    for asked in (query, RACK):
        assert encode_raw.answer(AU, [work("26110384")], au(asked)) == b"SE"


def test_what_an_au_cannot_be_told() -> None:
    """A code of three digits on a line of two, and an id that stands elsewhere than the columns of the answer."""
    with pytest.raises(NotSendableError, match="form"):
        encode_raw.answer(AU, [work("26110384", "001")], au(RACK))
    with pytest.raises(NotSendableError, match="elsewhere"):
        encode_raw.answer(AU, [work("110384", "01")], au(RACK))


def test_a_barcode_that_an_au_could_not_read() -> None:
    """ERR in the id's place is nobody's id."""
    (one,) = questions(AU, au("R 000305 0024            ERR00001"))
    assert one.unreadable == {"ERR00001"}


ids = st.text(st.sampled_from("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ-"), min_size=1, max_size=20)


@given(
    rack=st.integers(0, 9999), cup=st.integers(0, 99), number=st.integers(0, 9999), specimen=ids,
    tests=st.lists(st.integers(1, 99), min_size=1, max_size=99, unique=True),
)  # fmt: skip
def test_an_au_reads_its_order(rack: int, cup: int, number: int, specimen: str, tests: list[int]) -> None:
    """By columns alone, whatever the widths of what stands in them; the id keeps its place to the blank."""
    asked = f"R {rack:04}{cup:02} {number:04}{specimen:>20}"
    codes = tuple(f"{test:02}" for test in tests)
    text = encode_raw.answer(AU, [work(specimen, *codes)], au(asked))
    assert text is not None
    said = text.decode()
    assert (said[:2], said[2:6], said[6:8], said[8], said[9:13]) == (
        "S ", f"{rack:04}", f"{cup:02}", " ", f"{number:04}",
    )  # fmt: skip
    assert said[13:33] == asked[13:33]
    assert said[33:38] == "    E"
    assert [said[at : at + 2] for at in range(38, len(said), 2)] == list(codes)
    read = encode_raw.read_back(AU, au(asked), text)
    assert read is not None and (read.specimen, read.codes) == (specimen, codes)


def test_three_digits_with_a_dilution(tmp_path: Path) -> None:
    """A site's own copy: AU680 and AU5800 with three digits take a digit behind each test, 0 for undiluted."""
    folder = tmp_path / "beckman_au"
    folder.mkdir()
    text = (AU.folder / "driver.toml").read_text(encoding="utf-8")
    text = text.replace("fits  = '^[0-9]{2}$'", "fits  = '^[0-9]{3}$'\nafter_code = \"0\"")
    (folder / "driver.toml").write_text(text, encoding="utf-8")
    site = load(folder)
    said = encode_raw.answer(site, [work("26110384", "001", "097")], au(RACK))
    assert said == b"S 000305 0024            26110384    E00100970"
    read = encode_raw.read_back(site, au(RACK), said)
    assert read is not None and read.codes == ("001", "097")


# --- Siemens Dimension ---


def test_an_order_of_a_dimension() -> None:
    """Fields and their order as two drivers have them that were written from the maker's guide."""
    query = dimension(f"I{FS}26110400{FS}")
    text = encode_raw.answer(
        DIMENSION, [work("26110400", "GLUC", "CREA", patient="BN001", kind="SER^Serum^HL70487")], query
    )
    assert (
        text
        == FS.join(
            ["D", "0", "0", "A", "BN001", "26110400", "1", "", "0", "1", "**", "1", "2", "GLUC", "CREA", ""]
        ).encode()
    )


@pytest.mark.parametrize(
    ("kind", "told"), [("SER", "1"), ("PLAS", "2"), ("UR", "3"), ("CSF", "4"), ("BLD", "W"), ("X^^L^PLAS", "2")]
)
def test_the_kind_of_a_specimen(kind: str, told: str) -> None:
    """By HL7 table 0487, in whichever component the EMR says it."""
    text = encode_raw.answer(DIMENSION, [work("26", "GLUC", kind=kind)], dimension(f"I{FS}26{FS}"))
    assert text is not None and text.split(b"\x1c")[6] == told.encode()


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (work("26110400", "GLUC"), "specimen type"),
        (work("26110400", "GLUC", kind="SAL"), "specimen type"),
        (work("2611040012345", "GLUC", kind="SER"), "12 characters"),
        (work("26110400", "GLUC", kind="SER", patient="B" * 28), "27 characters"),
        (work("26110400", "GLUC", kind="SER", patient="BN\x1c1"), "characters"),
        (work("26110400", "GLÜC", kind="SER"), "characters"),
        (work("26110400", "GL C", kind="SER"), "form"),
    ],
)
def test_what_a_dimension_cannot_be_told(one: Work, why: str) -> None:
    """Nothing is cut, folded or taken for serum: the order is not told."""
    with pytest.raises(NotSendableError, match=why):
        encode_raw.answer(DIMENSION, [one], dimension(f"I{FS}{one.specimen}{FS}"))


@given(
    specimen=st.text(st.sampled_from("0123456789ABC-"), min_size=1, max_size=12),
    patient=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=27),
    tests=st.lists(st.from_regex(r"[A-Z][A-Z0-9]{0,4}", fullmatch=True), min_size=1, max_size=40, unique=True),
)
def test_a_dimension_reads_its_order(specimen: str, patient: str, tests: list[str]) -> None:
    """By its separators alone: as many tests as it was told to expect, and nothing behind them."""
    query = dimension(f"I{FS}{specimen}{FS}")
    text = encode_raw.answer(DIMENSION, [work(specimen, *tests, patient=patient, kind="PLAS")], query)
    assert text is not None
    fields = text.decode("ascii").split(FS)
    assert (fields[0], fields[3], fields[4], fields[5], fields[6]) == ("D", "A", patient, specimen, "2")
    assert fields[13 : 13 + int(fields[12])] == tests
    assert fields[13 + int(fields[12]) :] == [""]
    read = encode_raw.read_back(DIMENSION, query, text)
    assert read is not None and (read.specimen, read.codes, read.patient) == (specimen, tuple(tests), patient)


def test_a_dimension_refuses() -> None:
    """M R with its reason; acceptance, results and polls refuse nothing."""
    assert refused(DIMENSION, dimension(f"M{FS}R{FS}3{FS}{FS}{FS}0{FS}")) == "code 3"
    assert refused(DIMENSION, dimension(f"M{FS}R{FS}{FS}")) == "without a code"
    assert refused(DIMENSION, dimension(f"M{FS}A{FS}{FS}{FS}{FS}42{FS}")) == ""
    assert refused(DIMENSION, dimension(f"P{FS}1{FS}1{FS}1{FS}")) == ""
    assert refused(AU, au(RACK)) == ""


# --- the keys ---


@pytest.mark.parametrize(
    ("orders", "what"),
    [
        ("texts = [{ when = '^R (?P<id>.*)$', say = 'S \\g<who>{codes}' }]", "no group of when"),
        ("texts = [{ when = '^R', say = 'S {tests}{codes}' }]", "names {tests}"),
        ("texts = [{ when = '^R', say = 'S' }]", "no {codes}"),
        ("texts = [{ when = '^R(', say = '{codes}' }]", "no regular expression"),
        ("texts = [{ when = '^R', say = 'ü{codes}' }]", "not ASCII"),
        ("fits = '^1$'", "is missing"),
        ("texts = [{ when = '^R', say = '{codes}' }]\nrefusal = '^M'", "no group why"),
        ("texts = [{ when = '^R', say = '{codes}' }]\nmost = { tests = 1 }", "not a key"),
        ("texts = [{ when = '^R', say = '{codes}' }]\nunasked = true", "not a key"),
    ],
)
def test_a_mistake_in_orders_is_named(tmp_path: Path, orders: str, what: str) -> None:
    """Each with its key, when the driver is loaded."""
    with pytest.raises(ComplaintsError) as error:
        _with_orders(AU, tmp_path, orders)
    assert any(what in one.what for one in error.value.complaints)


def test_a_framing_that_acknowledges_nothing_takes_no_orders(tmp_path: Path) -> None:
    """Whether such an instrument took a text cannot be known."""
    with pytest.raises(ComplaintsError) as error:
        _with_orders(DRIVERS["hitachi_7180"], tmp_path, "texts = [{ when = '^;', say = ';{codes}' }]")
    assert any("does not acknowledge" in one.what for one in error.value.complaints)


def _with_orders(driver: Driver, tmp_path: Path, orders: str) -> Driver:
    text = (driver.folder / "driver.toml").read_text(encoding="utf-8").split("[orders]", maxsplit=1)[0]
    folder = tmp_path / driver.name
    folder.mkdir()
    (folder / "driver.toml").write_text(f"{text}\n[orders]\n{orders}\n", encoding="utf-8")
    return load(folder)


def test_a_driver_without_orders_takes_none() -> None:
    """Its queries are answered by [line] replies, and by nobody else."""
    assert DRIVERS["hitachi_7180"].orders is None
    with pytest.raises(ValueError, match="takes no orders"):
        encode_raw.answer(dataclasses.replace(AU, orders=None), [work("1", "01")], au(RACK))
