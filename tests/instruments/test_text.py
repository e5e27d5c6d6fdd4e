"""Vietnamese encodings of the 1990s, there and back."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.instruments.text import OWN, decode, encode, guess, is_known

LETTERS = "ÀÁÂÃÈÉÊÌÍÒÓÔÕÙÚÝàáâãèéêìíòóôõùúýĂăĐđĨĩŨũƠơƯư" + "".join(chr(c) for c in range(0x1EA0, 0x1EFA))
"""All letters of Vietnamese beyond ASCII."""


@pytest.mark.parametrize("encoding", ["viscii", "vni", "cp1258"])
@given(text=st.text(st.sampled_from(LETTERS + "abcxyzABC 0123|^")))
def test_every_letter_survives(encoding: str, text: str) -> None:
    """What is written in one of these encodings reads back the same, in composed form."""
    assert decode(encode(text, encoding), encoding) == text


@given(text=st.text(st.sampled_from(LETTERS + "abc 01")))
def test_tcvn3_has_no_capitals_with_a_tone(text: str) -> None:
    """Small letters survive; a capital with a tone comes back small, which is all that TCVN3 can say."""
    back = decode(encode(text, "tcvn3"), "tcvn3")
    assert back.lower() == text.lower()
    assert decode(encode(text.lower(), "tcvn3"), "tcvn3") == text.lower()


@pytest.mark.parametrize(
    ("encoding", "raw", "text"),
    [
        ("tcvn3", b"Nguy\xd4n V\xa8n \xaeo\xb5n", "Nguyễn Văn đoàn"),
        ("vni", b"Nguye\xe3n Va\xean \xf1oa\xf8n", "Nguyễn Văn đoàn"),
        ("viscii", b"Nguy\xadn V\xe5n \xf0o\xe0n", "Nguyễn Văn đoàn"),
        ("cp1258", b"Nguy\xea\xden V\xe3n \xf0o\xe0n", "Nguyễn Văn đoàn"),
        ("ascii-fold", b"Nguyen", "Nguyen"),
    ],
)
def test_known_bytes(encoding: str, raw: bytes, text: str) -> None:
    """Bytes as the tables of these encodings have them, not only as we write them."""
    assert decode(raw, encoding) == unicodedata.normalize("NFC", text)


def test_folding_drops_marks_only() -> None:
    """For instruments that know ASCII alone: letters stay, marks go, what is no letter becomes a question mark."""
    assert encode("Nguyễn Văn Đoàn µ", "ascii-fold") == b"Nguyen Van Doan ?"
    assert encode("Nguyễn", "latin-1") == b"Nguyen"


@given(data=st.binary(max_size=40))
def test_any_bytes_decode(data: bytes) -> None:
    """No bytes raise in any encoding; a guess says that it is one."""
    for encoding in ("tcvn3", "vni", "viscii", "cp1258", "ascii-fold", "utf-8", "latin-1"):
        assert isinstance(decode(data, encoding), str)
    text, guessed = guess(data)
    read = unicodedata.normalize("NFC", data.decode("utf-8", "replace")).replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert "\0" not in text
    assert guessed == (text.encode() != data and text != read)


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_folds_to_ascii(letter: str) -> None:
    """Outward, for an instrument that knows ASCII alone: each letter becomes its plain one, never a question mark."""
    folded = encode(letter, "ascii-fold")
    assert folded.isalpha() and folded.isascii() and len(folded) == 1
    assert folded.decode().isupper() == letter.isupper()


@pytest.mark.parametrize("encoding", ["cp1258", "vni", "utf-8", "utf-16-le"])
@given(text=st.text(st.sampled_from(LETTERS), min_size=1))
def test_marks_that_come_apart_are_put_together(encoding: str, text: str) -> None:
    """However the instrument composes its letters, what is stored is NFC."""
    apart = (
        unicodedata.normalize("NFD", text).encode(encoding) if encoding.startswith("utf") else encode(text, encoding)
    )
    assert decode(apart, encoding) == text
    if encoding == "utf-8":
        assert guess(apart) == (text, False)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1258", "ascii-fold"])
def test_a_byte_that_does_not_decode_is_marked(encoding: str) -> None:
    """It is no error and does not vanish: U+FFFD stands in its place, and the text around it is read."""
    raw = {"utf-8": b"Nguy\xffn", "cp1258": b"Nguy\x8an", "ascii-fold": b"Nguy\xffn"}[encoding]
    text = decode(raw, encoding)
    assert "\N{REPLACEMENT CHARACTER}" in text
    assert text.startswith("Nguy")


def test_names_of_encodings() -> None:
    """Ours and Python's text codecs, nothing else."""
    assert all(is_known(name) for name in (*OWN, "utf-8", "latin-1", "gb18030"))
    assert not any(is_known(name) for name in ("utf-9", "hex", "zlib", ""))
