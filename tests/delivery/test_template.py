"""The JSON of a HIS's own: fields where the site says, numbers as they stand, every mistake said."""

from __future__ import annotations

import json

import pytest

from labgateway.delivery.template import read
from tests.delivery.reports import PERSON, SETTINGS, observation, order, report

FORM = """{"sampleCode": "{specimen}", "source": "labgateway {site} {{x}}", "rate": 1.50, "none": "{facility}",
 "patient": {"id": "{patient_id}", "born": "{birth_date}"},
 "items": [{"code": "{code}", "result": "{value}", "number": "{number}", "abnormal": "{list:flags}", "note": "{list:comments}",
            "sender": "{instrument}/{run}"}],
 "fixed": ["a", 1, null, true]}"""


def test_a_template_filled() -> None:
    """One item a result; text as measured, the number with its digits, null where there is none."""
    form, wrong = read(FORM, single=False)
    assert form is not None, wrong
    given = report(
        observation("WBC", "5.10", of=order(), flags=("H", "*W"), comments=("a", "b|c")),
        observation("CRP", "<5", of=order()),
        observation("X", None, of=order()),
        patient=PERSON,
    )
    body = form.render(given, SETTINGS, "LG-1")
    assert b'"number":5.10,' in body
    assert b'"rate":1.50,' in body
    assert json.loads(body) == {
        "sampleCode": "A123", "source": "labgateway LABGATEWAY {x}", "rate": 1.5, "none": "THIENHANH",
        "patient": {"id": "000123", "born": "19800229"},
        "items": [
            {"code": "WBC", "result": "5.10", "number": 5.1, "abnormal": ["H", "*W"], "note": ["a", "b|c"], "sender": "xn1/"},
            {"code": "CRP", "result": "<5", "number": None, "abnormal": [], "note": [], "sender": "xn1/"},
            {"code": "X", "result": None, "number": None, "abnormal": [], "note": [], "sender": "xn1/"},
        ],
        "fixed": ["a", 1, None, True],
    }  # fmt: skip
    assert body == form.render(given, SETTINGS, "LG-1")


def test_one_result_each_may_stand_at_the_top() -> None:
    """With a message for each result, its fields need no list; without, that is a mistake."""
    text = '{"code": "{code}", "value": "{value}"}'
    form, _ = read(text, single=True)
    assert form is not None
    assert json.loads(form.render(report(observation()), SETTINGS, "1")) == {"code": "WBC", "value": "8.13"}
    _, wrong = read(text, single=False)
    assert len(wrong) == 2
    assert all("one_result_each" in words for words in wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ('{"a": NaN}', "no JSON"),
        ('{"a": 1e400}', "no JSON"),
        ('{"a": "{valeu}"}', "{valeu} is no field"),
        ('[{"a": "x {number}", "b": "{code}"}]', "must stand alone"),
        ('[{"a": "{list:code}"}]', "has no several"),
        ('{"a": "{specimen"}', "brace stands alone"),
        ('{"a": "}"}', "brace stands alone"),
    ],
)
def test_mistakes_are_said(text: str, words: str) -> None:
    """Each with what to do."""
    form, wrong = read(text, single=False)
    assert form is None
    assert words in wrong[0]
