"""Reading HL7 without loss and writing it without surprise."""

from __future__ import annotations

import os
import timeit
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.protocols import hl7
from labgateway.protocols.rows import HL7, Delimiters

CAPTURES = Path(os.environ.get("LABGATEWAY_CAPTURES", Path(__file__).parents[3] / "shared" / "captures"))
MSH = "MSH|^~\\&|XN|LAB|EMR|BV|20261122081500||ORU^R01^ORU_R01|42|P|2.5.1||||||UNICODE UTF-8"
BODY = ["PID|1||BN-7^^^BV^MR||NGUYỄN^THỊ HOÀNG YẾN||19720815|F", "OBX|1|NM|WBC^Bạch cầu^L||8.13|10*9/L"]


def lines(*rows: str, end: str = "\r") -> bytes:
    return "".join(row + end for row in rows).encode()


@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda b: MSH.encode() + b)))
def test_no_bytes_raise(data: bytes) -> None:
    """Any bytes give a message, whose every path can be asked for; the bytes are kept as they came."""
    message = hl7.read(data)
    assert message.data == data
    for row in message.rows:
        for field in range(len(row.fields) + 2):
            row.value(field, 1, 1)
            row.repetitions(field)
    assert message.kind is not None
    assert message.control_id is not None
    for one in hl7.messages(data):
        assert hl7.read(one).rows


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r", "\n\r\n"])
@pytest.mark.parametrize("junk", [b"", b"\x0b", b"\r\n\x0b", b"\xef\xbb\xbf", b"GET / HTTP/1.1\r\n"])
def test_line_ends_and_junk(end: str, junk: bytes) -> None:
    """CR, LF, CRLF, doubled ones, and junk before MSH give the same rows."""
    message = hl7.read(junk + lines(MSH, *BODY, end=end) + b"\x1c\r")
    assert [row.name for row in message.rows] == ["MSH", "PID", "OBX"]
    assert message.rows[1].value(5, 2) == "THỊ HOÀNG YẾN"
    assert message.rows[2].fields == tuple(BODY[1].split("|"))


@given(
    rows=st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="|\r\n\x0b\x1c\x1a\0"), max_size=8), min_size=1
        ),
        max_size=6,
    )
)
def test_every_field_is_read_as_sent(rows: list[list[str]]) -> None:
    """The rows hold every field, empty ones at the end too: joined again they are the message, its letters composed."""
    text = [MSH, *("|".join(["ZZZ", *row]) for row in rows)]
    message = hl7.read(lines(*text))
    assert ["|".join(row.fields) for row in message.rows] == [unicodedata.normalize("NFC", row) for row in text]
    assert [row.number for row in message.rows[1:]] == list(range(1, len(rows) + 1))


def test_a_line_break_inside_a_field() -> None:
    """A line that is no segment goes on in the field before it: a value is never cut in two in silence."""
    message = hl7.read(lines(MSH, "OBX|1|TX|A||Không phát", "hiện|u", "OBX|2|TX|B||dương", "tính"))
    assert [row.name for row in message.rows] == ["MSH", "OBX", "OBX"]
    assert message.rows[1].fields[5:] == ("Không phát\nhiện", "u")
    assert message.rows[2].fields[5] == "dương\ntính"


def test_blanks_before_a_segment_and_a_bare_name() -> None:
    """A segment may be indented and may have no field at all."""
    assert [r.fields for r in hl7.read(lines(MSH, " PV1", "\tOBX|1")).rows[1:]] == [("PV1",), ("OBX", "1")]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("^~\\&", HL7),
        ("^~&", HL7),
        ("^~\\&amp", HL7),
        ("^~\\&amp;", HL7),
        ("^~\\\\&", HL7),
        ("^~\\&#", HL7),
        ("", HL7),
        ("^~\\", Delimiters("|", "~", "^", "\\", "")),
        ("^~", Delimiters("|", "~", "^", "", "")),
        ("^", Delimiters("|", "", "^", "", "")),
        ("@!*%", Delimiters("|", "!", "@", "*", "%")),
    ],
)
def test_delimiters(declared: str, expected: Delimiters) -> None:
    """MSH-2 counts by position; the accidents of the field are mended; what it leaves out does not exist."""
    message = hl7.read(f"MSH|{declared}|A|B\rPID|1\r".encode())
    assert message.delimiters == expected
    assert message.header.raw(2) == declared
    assert message.header.raw(3) == "A"


def test_another_field_separator() -> None:
    """MSH-1 is whatever stands behind MSH."""
    message = hl7.read(b"MSH$^~\\&$A$B\rPID$1$$7^x\r")
    assert message.rows[1].value(3, 1) == "7"
    assert message.header.raw(1) == "$"


def test_without_msh_there_are_no_rows() -> None:
    """Text that is no HL7 is a message without rows, not an exception."""
    message = hl7.read(b"hello")
    assert (message.rows, message.kind, message.control_id) == ((), "", "")


@pytest.mark.parametrize(
    ("charset", "bytes_", "encoding", "codec", "text", "marked"),
    [
        ("UNICODE UTF-8", "NGUYỄN".encode(), None, "utf-8", "NGUYỄN", False),
        ("UNICODE", "NGUYỄN".encode(), None, "utf-8", "NGUYỄN", False),
        ("", "NGUYỄN".encode(), None, "utf-8", "NGUYỄN", False),
        ("ASCII", "NGUYỄN".encode(), None, "utf-8", "NGUYỄN", False),
        ("no such", "NGUYỄN".encode(), None, "utf-8", "NGUYỄN", False),
        ("8859/1", "Müller".encode("latin-1"), None, "iso8859-1", "Müller", False),
        ("~ISO IR87", "山田".encode("iso2022_jp"), None, "iso2022_jp", "山田", False),
        ("GB 18030-2000", "张".encode("gb18030"), None, "gb18030", "张", False),
        ("UNICODE UTF-8", "Müller".encode("latin-1"), None, "latin-1", "Müller", True),
        ("", "Müller".encode("latin-1"), None, "latin-1", "Müller", True),
        ("8859/1", "NGUYỄN".encode(), "utf-8", "utf-8", "NGUYỄN", False),
        ("UNICODE UTF-8", "Müller".encode("cp1252"), "cp1252", "cp1252", "Müller", False),
        ("", "NGUYỄN".encode(), "ascii", "utf-8", "NGUYỄN", True),
    ],
)
def test_character_sets(charset: str, bytes_: bytes, encoding: str | None, codec: str, text: str, marked: bool) -> None:
    """The device's setting, then MSH-18, then UTF-8, then Latin-1; marked where the declared one does not fit."""
    data = f"MSH|^~\\&|||||||ORU^R01|1|P|2.5||||||{charset}\rNTE|1||".encode() + bytes_ + b"\r"
    message = hl7.read(data, encoding)
    assert (message.charset, message.marked) == (codec, marked)
    assert message.rows[1].raw(3) == text


@pytest.mark.parametrize(
    ("charset", "encoding", "apart"),
    [
        ("UNICODE UTF-8", None, unicodedata.normalize("NFD", "NGUYỄN THỊ HOÀNG YẾN").encode()),
        ("", None, unicodedata.normalize("NFD", "NGUYỄN THỊ HOÀNG YẾN").encode()),
        ("WINDOWS-1258", None, b"NGUY\xca\xdeN TH\x49\xf2 HO\xc0N\x47 Y\xca\xecN"),
        ("", "cp1258", b"NGUY\xca\xdeN TH\x49\xf2 HO\xc0N\x47 Y\xca\xecN"),
    ],
)
def test_letters_that_come_apart_are_put_together(charset: str, encoding: str | None, apart: bytes) -> None:
    """A decomposed name, and one of code page 1258, is the name that another sender writes composed; bytes stay as they came."""
    data = f"MSH|^~\\&|||||||ORU^R01|1|P|2.5||||||{charset}\rPID|1||7||".encode() + apart + b"\r"
    message = hl7.read(data, encoding)
    assert message.rows[1].raw(5) == "NGUYỄN THỊ HOÀNG YẾN"
    assert message.data == data and not message.marked


def test_an_answer_repeats_the_number_as_it_was_sent() -> None:
    """Composing touches nothing of MSH: MSA-2 is MSH-10 byte for byte, in the sender's own encoding."""
    number = unicodedata.normalize("NFD", "Ế7").encode()
    message = hl7.read(b"MSH|^~\\&|||||||ORU^R01|" + number + b"|P|2.5||||||UNICODE UTF-8\rPID|1\r")
    answer = hl7.reply_bytes(message, [hl7.reply_msa(message, hl7.AckCode.ACCEPT)])
    assert answer == b"MSA|AA|" + number + b"\r"


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_files(codec: str) -> None:
    """A file in UTF-16 is read, with or without a byte order mark."""
    message = hl7.read(lines(MSH, *BODY).decode().encode(codec))
    assert message.rows[1].value(5) == "NGUYỄN^THỊ HOÀNG YẾN"


def test_messages_of_a_file() -> None:
    """A file or batch is cut before each MSH; batch rows are dropped; MSH inside a field cuts nothing."""
    one, two = lines(MSH, "NTE|1||see MSH|10"), lines(MSH, *BODY)
    assert hl7.messages(b"FHS|^~\\&|x\rBHS|^~\\&\r" + one + two + b"BTS|2\rFTS|1\r") == [one, two]
    assert hl7.messages(b"\x0b" + one + b"\x1c\r\x0b" + two + b"\x1c\r") == [one + b"\x1c\r\x0b", two + b"\x1c\r"]
    assert hl7.messages(b"nothing") == []


# Writing


@given(text=st.text())
def test_unescape_undoes_escape(text: str) -> None:
    """All of Unicode survives the way through a field, composed as all text is, but a 0, which is marked; the segment stays
    one of as many fields."""
    data = hl7.segment("NTE", "1", "", hl7.escape(text), "end").encode("utf-8")
    assert data.count(b"\r") == 1
    message = hl7.read(MSH.encode() + b"\r" + data)
    assert len(message.rows) == 2
    composed = unicodedata.normalize("NFC", text).replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert message.rows[1].value(3) == message.rows[1].value(3, 1) == composed
    assert message.rows[1].value(4) == "end"


@given(
    text=st.text(),
    delimiters=st.sampled_from([HL7, Delimiters("#", "!", "*", "?", "+"), Delimiters("|", "~", "^", "")]),
)
def test_escape_leaves_no_delimiter(text: str, delimiters: Delimiters) -> None:
    """Escaped text holds no separator and no control character, whatever the delimiters."""
    out = hl7.escape(text, delimiters)
    marks = delimiters.field + delimiters.repetition + delimiters.component + delimiters.subcomponent
    assert not any(mark in out for mark in marks)
    assert all(c >= " " and c != "\x7f" for c in out)


@given(text=st.text(st.characters(categories=["L", "M", "N"])))
def test_letters_stay(text: str) -> None:
    """No letter, mark or digit of any script is changed by escaping."""
    assert hl7.escape(text) == text


@given(fields=st.lists(st.one_of(st.none(), st.text())))
def test_a_segment_is_one_segment(fields: list[str | None]) -> None:
    """Whatever stands in the fields, even unescaped, one segment of these fields comes out."""
    out = hl7.segment("ZZZ", *fields)
    assert out.endswith("\r")
    assert not any(c < " " for c in out[:-1])
    rows = hl7.read((MSH + "\r" + out).encode()).rows
    assert len(rows) == 2
    while fields and not fields[-1]:
        fields.pop()
    assert len(rows[1].fields) == 1 + len(fields)


def test_components() -> None:
    """Components are escaped and empty ones at the end left out."""
    assert hl7.components("a^b", None, "10*9/L", "") == "a\\S\\b^^10*9/L"


ODD = Delimiters("#", "!", "*", "?", "+")


@given(
    parts=st.lists(st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=3), min_size=1, max_size=3), min_size=1)
)
def test_recode_keeps_parts_and_content(parts: list[list[list[str]]]) -> None:
    """A field in other delimiters becomes one in the standard ones with the same parts; a byte 0 is marked."""

    def build(d: Delimiters, zero: str = "\0") -> str:
        return d.repetition.join(
            d.component.join(d.subcomponent.join(hl7.escape(leaf.replace("\0", zero), d) for leaf in c) for c in r)
            for r in parts
        )

    assert hl7.recode(build(ODD), ODD) == build(HL7, "\N{REPLACEMENT CHARACTER}")
    assert hl7.recode(build(HL7), HL7) == build(HL7)


# Speed


def oru(observations: int) -> bytes:
    obx = "OBX|{}|NM|6690-2^Bạch cầu^LN^WBC^WBC^L||7.{}|10*9/L|4.0-10.0|N|||F|||20261122081500||op^Người vận hành"
    head = [MSH, BODY[0], "ORC|RE|1", "OBR|1|P1|F1|CBC^x^L|||20261122080000"]
    return lines(*head, *(obx.format(i, i) for i in range(1, observations + 1)))


def cut_and_read(data: bytes) -> None:
    hl7.messages(data)
    hl7.read(data)


def test_hostile_messages_cost_their_length() -> None:
    """Stray lines, escapes and separators by the ten thousand are read in time proportional to their number."""
    for unit in ("\nx", "\r \r", "\\", "|", "\rMSH|", "\r \t \t"):
        costs: list[float] = []
        for count in (10_000, 40_000):
            data = (MSH + unit * count).encode()
            costs.append(min(timeit.repeat(partial(cut_and_read, data), number=1, repeat=3)))
        assert costs[1] < 12 * costs[0] + 0.05, unit


@pytest.mark.captures
@pytest.mark.skipif(not CAPTURES.is_dir(), reason="no folder of reference captures (LABGATEWAY_CAPTURES)")
def test_captures_are_read_without_loss() -> None:
    """Every HL7 capture: its rows, joined again, are its text."""
    files = sorted(CAPTURES.glob("*/*.hl7"))
    assert files
    for file in files:
        message = hl7.read(file.read_bytes())
        text = message.data.decode(message.charset).strip("\x0b\x1c\r\n").replace("\r\n", "\n").replace("\n", "\r")
        joined = "\r".join(message.delimiters.field.join(row.fields) for row in message.rows)
        assert joined == text.replace("\r\r", "\r"), file.parent.name
        assert message.kind, file.parent.name
        assert not message.marked, file.parent.name
