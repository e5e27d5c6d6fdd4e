"""Bytes of an instrument to text and back: standard encodings, and the Vietnamese ones of the 1990s.

TCVN3 (ABC, TCVN 5712:1993 as fonts use it), VNI for Windows, VISCII 1.1 (RFC 1456) and Windows code
page 1258 (with combining marks) all become composed Unicode (NFC). Nothing here guesses: `decode`
takes the declared encoding, `guess` is the fallback order when nothing is declared.
"""

from __future__ import annotations

import codecs
import unicodedata
from functools import cache

from labgateway.protocols.rows import REPLACEMENT

_TCVN3_LOWER = {
    "a": "\xb5à \xb6ả \xb7ã \xb8á \xb9ạ",
    "ă": "\xa8ă \xbbằ \xbcẳ \xbdẵ \xbeắ \xc6ặ",
    "â": "\xa9â \xc7ầ \xc8ẩ \xc9ẫ \xcaấ \xcbậ",
    "đ": "\xaeđ",
    "e": "\xccè \xceẻ \xcfẽ \xd0é \xd1ẹ",
    "ê": "\xaaê \xd2ề \xd3ể \xd4ễ \xd5ế \xd6ệ",
    "i": "\xd7ì \xd8ỉ \xdcĩ \xddí \xdeị",
    "o": "\xdfò \xe1ỏ \xe2õ \xe3ó \xe4ọ",
    "ô": "\xabô \xe5ồ \xe6ổ \xe7ỗ \xe8ố \xe9ộ",
    "ơ": "\xacơ \xeaờ \xebở \xecỡ \xedớ \xeeợ",
    "u": "\xefù \xf1ủ \xf2ũ \xf3ú \xf4ụ",
    "ư": "\xadư \xf5ừ \xf6ử \xf7ữ \xf8ứ \xf9ự",
    "y": "\xfaỳ \xfbỷ \xfcỹ \xfdý \xfeỵ",
    "capitals": "\xa1Ă \xa2Â \xa7Đ \xa3Ê \xa4Ô \xa5Ơ \xa6Ư",
}
"""TCVN3 (ABC): single bytes; capitals with a tone have no code, fonts draw them from the small ones."""

_VISCII = {
    0x02: "Ẳ", 0x05: "Ẵ", 0x06: "Ẫ", 0x14: "Ỷ", 0x19: "Ỹ", 0x1E: "Ỵ",
}  # fmt: skip
_VISCII_HIGH = (
    "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯ"
    "ÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừửÙÚỹỵÝỡưàáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ"
)
"""RFC 1456, bytes 0x80 to 0xFF."""

_VNI_MARKS = {
    "\xf8": "\u0300", "\xf9": "\u0301", "\xfb": "\u0309", "\xf5": "\u0303", "\xef": "\u0323",
    "\xd8": "\u0300", "\xd9": "\u0301", "\xdb": "\u0309", "\xd5": "\u0303", "\xcf": "\u0323",
    "\xe2": "\u0302", "\xe0": "\u0302\u0300", "\xe1": "\u0302\u0301", "\xe5": "\u0302\u0309",
    "\xe3": "\u0302\u0303", "\xe4": "\u0302\u0323",
    "\xc2": "\u0302", "\xc0": "\u0302\u0300", "\xc1": "\u0302\u0301", "\xc5": "\u0302\u0309",
    "\xc3": "\u0302\u0303", "\xc4": "\u0302\u0323",
    "\xea": "\u0306", "\xe8": "\u0306\u0300", "\xe9": "\u0306\u0301", "\xfa": "\u0306\u0309",
    "\xfc": "\u0306\u0303", "\xeb": "\u0306\u0323",
    "\xca": "\u0306", "\xc8": "\u0306\u0300", "\xc9": "\u0306\u0301", "\xda": "\u0306\u0309",
    "\xdc": "\u0306\u0303", "\xcb": "\u0306\u0323",
}  # fmt: skip
_VNI_LETTERS = {
    "\xf1": "đ", "\xd1": "Đ", "\xf4": "ơ", "\xd4": "Ơ", "\xf6": "ư", "\xd6": "Ư",
    "\xec": "ì", "\xed": "í", "\xe6": "ỉ", "\xf3": "ĩ", "\xf2": "ị",
    "\xcc": "Ì", "\xcd": "Í", "\xc6": "Ỉ", "\xd3": "Ĩ", "\xd2": "Ị",
    "\xee": "ỵ", "\xce": "Ỵ",
}  # fmt: skip
_VNI_BASES = frozenset("aeouyAEOUYơƠưƯ")

OWN = ("tcvn3", "vni", "viscii", "cp1258", "ascii-fold")
"""Encodings with code of ours; any codec that Python knows may be named besides."""


def is_known(encoding: str) -> bool:
    """Whether [line] encoding may name this."""
    if encoding in OWN:
        return True
    try:
        info = codecs.lookup(encoding)
    except LookupError:
        return False
    return info.name not in _NOT_TEXT


_NOT_TEXT = frozenset({"base64", "bz2", "hex", "quopri", "rot13", "uu", "zlib", "undefined", "idna", "punycode"})


def decode(data: bytes, encoding: str) -> str:
    """Text of bytes in a declared encoding, in NFC.

    Bytes that the encoding does not know, and a byte 0, become U+FFFD, so that whoever reads them can see it.
    ascii-fold reads ASCII: it is the form of what we send to such instruments.
    """
    return _decode(data, encoding).replace("\0", REPLACEMENT)


def _decode(data: bytes, encoding: str) -> str:
    match encoding:
        case "tcvn3":
            return data.decode("latin-1").translate(_tcvn3())
        case "viscii":
            return data.decode("latin-1").translate(_viscii())
        case "vni":
            return _vni(data.decode("latin-1"))
        case "cp1258":
            return unicodedata.normalize("NFC", data.decode("cp1258", "replace"))
        case "ascii-fold":
            return data.decode("ascii", "replace")
        case _:
            return unicodedata.normalize("NFC", data.decode(encoding, "replace"))


def guess(data: bytes) -> tuple[str, bool]:
    """Text of bytes whose encoding nobody declared, and whether that is a guess (Latin-1) and no UTF-8. 0 as in `decode`."""
    try:
        text, guessed = unicodedata.normalize("NFC", data.decode("utf-8")), False
    except UnicodeDecodeError:
        text, guessed = data.decode("latin-1"), True
    return text.replace("\0", REPLACEMENT), guessed


def encode(text: str, encoding: str) -> bytes:
    """Bytes for an instrument; what the encoding cannot say is sent without its marks, else as ``?``.

    Only names and other free text may pass here: identifiers and codes must be ASCII already.
    """
    text = unicodedata.normalize("NFC", text)
    match encoding:
        case "tcvn3" | "viscii":
            table = _inverse(encoding)
            return bytes(ord(c) if c < "\x80" else table.get(c) or ord(_fold(c)[:1] or "?") for c in text)
        case "vni":
            return "".join(_to_vni().get(c, c if c < "\x80" else _fold(c)) for c in text).encode("latin-1", "replace")
        case "cp1258":
            return b"".join(_to_cp1258(c) for c in text)
        case "ascii-fold":
            return _fold(text).encode("ascii", "replace")
        case _:
            try:
                return text.encode(encoding)
            except UnicodeEncodeError:
                return b"".join(_either(c, encoding) for c in text)


def _either(char: str, encoding: str) -> bytes:
    try:
        return char.encode(encoding)
    except UnicodeEncodeError:
        return _fold(char).encode(encoding, "replace")


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "".join(c if c < "\x80" else "?" for c in plain if not unicodedata.combining(c))


@cache
def _tcvn3() -> dict[int, str]:
    return {ord(pair[0]): pair[1] for row in _TCVN3_LOWER.values() for pair in row.split(" ")}


@cache
def _viscii() -> dict[int, str]:
    return _VISCII | {0x80 + number: char for number, char in enumerate(_VISCII_HIGH)}


@cache
def _inverse(encoding: str) -> dict[str, int]:
    """Character to byte. TCVN3 capitals with a tone have no byte of their own: the small letter's."""
    table = _tcvn3() if encoding == "tcvn3" else _viscii()
    inverse = {char: code for code, char in table.items()}
    if encoding == "tcvn3":
        inverse |= {c.upper(): code for c, code in inverse.items() if c.upper() not in inverse}
    return inverse


def _vni(text: str) -> str:
    out: list[str] = []
    for char in text:
        if char in _VNI_MARKS and out and out[-1][0] in _VNI_BASES and len(out[-1]) == 1:
            out[-1] += _VNI_MARKS[char]
        else:
            out.append(_VNI_LETTERS.get(char, char))
    return unicodedata.normalize("NFC", "".join(out))


@cache
def _to_vni() -> dict[str, str]:
    """Composed letter to its VNI bytes (as Latin-1 characters)."""
    table = {char: code for code, char in _VNI_LETTERS.items()}
    for base in sorted(_VNI_BASES):
        for code, marks in _VNI_MARKS.items():
            if (code.lower() == code) == base.islower():
                whole = unicodedata.normalize("NFC", base + marks)
                if len(whole) == 1:
                    table.setdefault(whole, table.get(base, base) + code)
    return table


def _to_cp1258(char: str) -> bytes:
    try:
        return char.encode("cp1258")
    except UnicodeEncodeError:
        parts = unicodedata.normalize("NFD", char)
        letter = unicodedata.normalize("NFC", "".join(c for c in parts if c not in _TONES))
        try:
            return (letter + "".join(c for c in parts if c in _TONES)).encode("cp1258")
        except UnicodeEncodeError:
            return _fold(char).encode("ascii", "replace")


_TONES = "\u0300\u0301\u0309\u0303\u0323"
