"""Check digits of specimen ids: a misread barcode is recognised before it meets anybody's order.

Not a form of id: which form is a patient's says ``specimen_pattern``. Every rule looks at the whole id;
a site whose ids carry something around the checked part cannot use one.
"""

from __future__ import annotations

import re
from enum import StrEnum

_LONGEST = 100  # characters; no barcode of a tube comes near, and int() must not meet a hostile length
_DIGITS = "0123456789"
_ALNUM = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ISBT_DIN = re.compile(r"[A-NP-Z1-9][0-9]{12}[0-9A-Z*]")


class CheckDigit(StrEnum):
    """The rule that the last character (of MOD97_10: the last two) of every specimen id keeps."""

    LUHN = "luhn"
    """Modulo 10, weights 2 and 1 in turn from the right (ISO/IEC 7812-1 annex B)."""
    MOD11 = "mod11"
    """Modulo 11, weights 2 to 7 in turn from the right, X for ten."""
    MOD11_2 = "iso7064-11-2"
    """ISO 7064 MOD 11-2: digits, last character 0-9 or X."""
    MOD37_2 = "iso7064-37-2"
    """ISO 7064 MOD 37-2: digits and capitals, last character 0-9, A-Z or *."""
    MOD97_10 = "iso7064-97-10"
    """ISO 7064 MOD 97-10: digits, the last two check."""
    ISBT128 = "isbt128"
    """ISBT 128 donation number: 13 characters and the keyboard check character (MOD 37-2)."""


def keeps(rule: CheckDigit, specimen: str) -> bool:
    """True when the id is right by the rule; a character that the rule does not know, and more than 100, are wrong."""
    if len(specimen) > _LONGEST:
        return False
    match rule:
        case CheckDigit.LUHN:
            return _luhn(specimen)
        case CheckDigit.MOD11:
            return _mod11(specimen)
        case CheckDigit.MOD11_2:
            return _pure(specimen, _DIGITS, "X", 11)
        case CheckDigit.MOD37_2:
            return _pure(specimen, _ALNUM, "*", 37)
        case CheckDigit.MOD97_10:
            return len(specimen) > 2 and set(specimen) <= set(_DIGITS) and int(specimen) % 97 == 1
        case CheckDigit.ISBT128:
            return _ISBT_DIN.fullmatch(specimen) is not None and _pure(specimen, _ALNUM, "*", 37)


def _luhn(text: str) -> bool:
    if len(text) < 2 or not set(text) <= set(_DIGITS):
        return False
    doubled = (int(d) * 2 for d in text[-2::-2])
    return (sum(int(d) for d in text[::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def _mod11(text: str) -> bool:
    body, check = text[:-1], text[-1:]
    if not body or not set(body) <= set(_DIGITS) or check not in set(_DIGITS) | {"X"}:
        return False
    weighted = sum(int(d) * (2 + place % 6) for place, d in enumerate(reversed(body)))
    return (weighted + (10 if check == "X" else int(check))) % 11 == 0


def _pure(text: str, alphabet: str, extra: str, modulus: int) -> bool:
    """ISO 7064 pure systems of radix 2: the sum of each value times 2 to its place, check last, is 1."""
    body, check = text[:-1], text[-1:]
    if not body or not set(body) <= set(alphabet) or check not in set(alphabet + extra):
        return False
    sum_ = 0
    for character in body:
        sum_ = (sum_ + alphabet.index(character)) * 2 % modulus
    return (sum_ + (alphabet + extra).index(check)) % modulus == 1
