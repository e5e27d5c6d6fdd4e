"""What the EMR's answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.delivery.answers import WORDS_LENGTH, NoAnswer, Park, Retry, Settled, classify, read_answer

HEAD = "MSH|^~\\&|EMR|H|LAB|TH|20261122||ACK^R01^ACK|9|P|2.5.1\r"


def meaning(*segments: str, control_id: str = "LG-1") -> Settled | Park | Retry | NoAnswer:
    """Of an answer with these segments after its MSH."""
    return classify(read_answer((HEAD + "\r".join(segments) + "\r").encode()), control_id)


@pytest.mark.parametrize("code", ["AA", "CA", "aa"])
def test_yes_with_the_right_id_settles(code: str) -> None:
    """AA and CA, whether the EMR says a word or not."""
    assert meaning(f"MSA|{code}|LG-1") == Settled("")
    assert meaning(f"MSA|{code}|LG-1|Message accepted") == Settled("Message accepted")


@pytest.mark.parametrize("msa", ["MSA|AA|LG-2", "MSA|AA", "MSA|AA|", "MSA|AE|lg-1|no", "MSA|AA|LG-11", "MSA|AA|LG-"])
def test_another_id_is_no_answer_whatever_it_says(msa: str) -> None:
    """Only the MSA-2 that equals our MSH-10 says anything about our message."""
    assert isinstance(meaning(msa), NoAnswer)


@pytest.mark.parametrize("code", ["AE", "CE"])
def test_an_error_in_the_content_parks_with_the_emrs_words(code: str) -> None:
    """Every AE that no timer cures; MSA-3, ERR-8, ERR-3, ERR-7 and the place are for the person who mends it."""
    answer = meaning(
        f"MSA|{code}|LG-1|Rejected", "ERR||PID^1^3|204^Unknown key identifier^HL70357|E|||no such id|B\\T\\nh nhân lạ"
    )
    assert answer == Park("Rejected; B&nh nhân lạ, 204 Unknown key identifier, no such id, at PID^1^3")


@pytest.mark.parametrize(
    "err",
    ["ERR|||206^Application record locked^HL70357|E", "ERR|||207^Application internal error|E",
     "ERR|PID^1^3^207&internal", "ERR|||100|E\rERR|||206|E", "ERR|||100~206|E"],
)  # fmt: skip
def test_a_locked_record_or_an_internal_error_may_pass(err: str) -> None:
    """ERR-3 206 or 207, also as v2.3 to 2.4 wrote it in ERR-1.4, also as one of several."""
    assert isinstance(meaning("MSA|AE|LG-1", err), Retry)


def test_msa_6_counts_where_there_is_no_err() -> None:
    """v2.3 to 2.4: the error condition stands in MSA-6."""
    assert meaning("MSA|AE|LG-1||||207^Application internal error") == Retry("207 Application internal error")
    assert meaning("MSA|AE|LG-1||||101^Required field missing") == Park("101 Required field missing")


def test_a_reject_may_pass() -> None:
    """AR and CR: the EMR did not look at it."""
    assert meaning("MSA|AR|LG-1|down for maintenance") == Retry("down for maintenance")
    assert meaning("MSA|CR|LG-1") == Retry("CR")


@pytest.mark.parametrize("code", ["", "OK", "AAA", "NACK"])
def test_an_unknown_code_is_no_answer(code: str) -> None:
    """What HL7 does not know settles nothing and parks nothing."""
    assert isinstance(meaning(f"MSA|{code}|LG-1"), NoAnswer)


def test_words_are_cut() -> None:
    """An EMR that answers with a stack trace does not fill the store."""
    answer = meaning("MSA|AE|LG-1|" + "x" * 5000)
    assert isinstance(answer, Park) and len(answer.words) == WORDS_LENGTH


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_any_line_end(end: str) -> None:
    """Receivers write CR, LF or CRLF."""
    data = (HEAD + "MSA|AA|LG-1\r").replace("\r", end).encode()
    assert classify(read_answer(data), "LG-1") == Settled("")


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda t: f"{HEAD}{t}\r".encode()))
def test_no_bytes_raise_and_none_settle_by_chance(data: bytes) -> None:
    """Any bytes give a meaning; without MSA and our id it is no answer."""
    assert isinstance(classify(read_answer(data), "LG-1-never-in-the-data"), NoAnswer)


def test_why_and_words_are_kept_apart() -> None:
    """What may go to a log (why) never quotes the answer."""
    answer = meaning("MSA|AA|NGUYEN VAN A")
    assert isinstance(answer, NoAnswer) and "NGUYEN" not in answer.why
