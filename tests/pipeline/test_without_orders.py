"""Sites whose EMR sends no orders: results leave with the analyzer's own ids, each under its own person."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from labgateway.store import journal
from tests.pipeline.mapped_lab import Lab, bodies

MAPPING = '[tests]\nWBC = { emr = "WBC" }\nHGB = { emr = "HGB" }\n'


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("PA||NGUYEN^A||19700101|F", "PB||TRAN^B||19800202|M"),
        ("||NGUYEN^A||19700101|F", "||TRAN^B"),
        ("|||", "PB||TRAN^B"),
    ],
)
def test_two_persons_under_one_tube_number_are_two_reports(
    make_lab: Callable[..., Lab], first: str, second: str
) -> None:
    """A rack number that comes again in one message: nobody's value stands under the other's name, and none is lost."""
    lab = make_lab(MAPPING, without_order="send")
    raw = "\r".join(
        [
            "H|\\^&|||X", f"P|1||{first}", "O|1|S7||^^^WBC", "R|1|^^^WBC|5.1|||N||F",
            f"P|2||{second}", "O|1|S7||^^^HGB", "R|1|^^^HGB|13.4|||N||F", "L|1", "",
        ]
    )  # fmt: skip
    number = lab.do(
        lambda c: journal.append(c, instrument="a1", protocol="astm", peer="", received_at=lab.now, raw=raw.encode())
    )
    lab.process(number)
    one, other = (body.decode() for body in lab.store.read_now(bodies))
    assert ("^WBC" in one or "|WBC^" in one) and "|HGB^" not in one
    assert "|HGB^" in other and "|WBC^" not in other
    assert "TRAN" not in one
    assert "NGUYEN" not in other and "TRAN^B" in other
