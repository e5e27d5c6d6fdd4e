"""Each rule accepts published examples and refuses every single wrong character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.matching.check_digits import CheckDigit, keeps

RIGHT = {
    CheckDigit.LUHN: ["79927398713", "4539578763621486", "18"],
    CheckDigit.MOD11: ["19", "205", "23X", "12345674"],  # by hand: 1*2 = 2, 11 - 2 = 9
    CheckDigit.MOD11_2: ["0000000218250097", "079X"],  # the first is ORCID's own example
    CheckDigit.MOD37_2: ["G123498654321H"],
    CheckDigit.MOD97_10: ["79444"],  # ISO 7064: 794 is checked by 44
    CheckDigit.ISBT128: ["G123498654321H"],  # JPAC red book, annex 2: G123 498 654 321 gives H
}
ALPHABET = {
    CheckDigit.LUHN: "0123456789",
    CheckDigit.MOD11: "0123456789X",
    CheckDigit.MOD11_2: "0123456789X",
    CheckDigit.MOD37_2: "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*",
    CheckDigit.MOD97_10: "0123456789",
    CheckDigit.ISBT128: "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*",
}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in RIGHT.items() for text in texts])
def test_right_ones(rule: CheckDigit, text: str) -> None:
    """Published or hand-made examples are right."""
    assert keeps(rule, text)


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in RIGHT.items() for text in texts])
def test_every_single_error_is_seen(rule: CheckDigit, text: str) -> None:
    """Any one character read as another is found, wherever it stands."""
    for place in range(len(text)):
        for other in ALPHABET[rule].replace(text[place], ""):
            wrong = text[:place] + other + text[place + 1 :]
            assert not keeps(rule, wrong), wrong


@pytest.mark.parametrize("rule", [CheckDigit.MOD11_2, CheckDigit.MOD37_2, CheckDigit.MOD97_10, CheckDigit.ISBT128])
def test_swapped_neighbours_are_seen(rule: CheckDigit) -> None:
    """ISO 7064 finds two neighbours in the wrong order."""
    for text in RIGHT[rule]:
        for place in range(len(text) - 1):
            wrong = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
            assert wrong == text or not keeps(rule, wrong)


@pytest.mark.parametrize("rule", list(CheckDigit))
def test_nothing_to_check(rule: CheckDigit) -> None:
    """Too short, blank or longer than any barcode: wrong, not an error."""
    for text in ("", "0", "1", "X", "  ", "79927398713 ", "7992-7398713", "٧٩", "79444\n", "9" * 9000):
        assert not keeps(rule, text)


@given(st.text(max_size=20), st.sampled_from(CheckDigit))
def test_any_text_is_judged(text: str, rule: CheckDigit) -> None:
    """No text raises."""
    assert keeps(rule, text) in (True, False)


@pytest.mark.parametrize(
    "form", ["g123498654321H", "O123498654321H", "0123498654321H", "=G123498654321H", "G123498654321", "G12349865432AH"]
)
def test_isbt_has_a_form(form: str) -> None:
    """A donation number is 13 characters of a fixed form and its check character."""
    assert not keeps(CheckDigit.ISBT128, form)


@pytest.mark.parametrize("rule", [rule for rule in CheckDigit if rule is not CheckDigit.ISBT128])
def test_every_character_may_be_there(rule: CheckDigit) -> None:
    """An id in which all of them stand, with some check character, is right."""
    body = ALPHABET[rule].rstrip("X*") if rule is not CheckDigit.MOD37_2 else ALPHABET[rule].rstrip("*")
    ends = [a + b for a in ("", *ALPHABET[rule]) for b in ALPHABET[rule]]
    assert any(keeps(rule, body + end) for end in ends)


def test_the_longest_and_the_shortest() -> None:
    """A hundred characters are taken, more are not; two check digits check at least one other."""
    assert keeps(CheckDigit.LUHN, "0" * 100)
    assert not keeps(CheckDigit.LUHN, "0" * 101)
    assert keeps(CheckDigit.MOD97_10, "001")
    assert not keeps(CheckDigit.MOD97_10, "01")


def test_another_form_is_no_donation_number() -> None:
    """Right by MOD 37-2, and too short for ISBT 128."""
    text = next("A12" + c for c in ALPHABET[CheckDigit.MOD37_2] if keeps(CheckDigit.MOD37_2, "A12" + c))
    assert not keeps(CheckDigit.ISBT128, text)
