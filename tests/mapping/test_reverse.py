"""The mapping read backwards: what the EMR orders, and what the analyzer is asked for."""

from __future__ import annotations

import pytest

from labgateway.mapping.reverse import Wanted, codes_for
from labgateway.mapping.table import Mapping, parse

TEXT = """\
instrument = "a1"
checked = "test"
[tests]
WBC = { emr = "WBC" }
HGB = { emr = ["HGB", "HB"] }
GLUC = [ { specimen = "urine", emr = "UGLU" }, { emr = ["GLU", "GLU2H"] } ]
"CREA-U" = { specimen = "urine", emr = "CREA" }
CREA = { emr = "CREA" }
NA1 = { emr = "NA" }
NA2 = { emr = "NA" }
K1 = { emr = "K" }
K2 = { emr = "K" }
[panels]
CBC = ["WBC", "HGB", "ELSEWHERE"]
ION = ["NA", "WBC"]
[orders]
DIFF = "CBC+DIFF"
LIST = ["A", "B"]
NEVER = []
K = "K2"
"""


def mapping() -> Mapping:
    read, complaints = parse(TEXT.encode(), "a1.toml")
    assert read is not None
    assert not complaints
    return read


@pytest.mark.parametrize(
    ("ordered", "specimen_type", "wanted"),
    [
        ("WBC", "", Wanted(("WBC",))),
        ("HB", "", Wanted(("HGB",))),
        ("CBC", "", Wanted(("WBC", "HGB"))),
        ("ELSEWHERE", "", Wanted()),
        ("UGLU", "UR^Urine^HL70487", Wanted(("GLUC",))),
        ("UGLU", "SER", Wanted()),
        ("GLU2H", "SER", Wanted(("GLUC",))),
        ("CREA", "UR", Wanted(("CREA-U",))),
        ("CREA", "SER", Wanted(("CREA",))),
        ("CREA", "", Wanted(("CREA",))),
        ("NA", "", Wanted((), ("NA",))),
        ("ION", "", Wanted(("WBC",), ("NA",))),
        ("DIFF", "", Wanted(("CBC+DIFF",))),
        ("LIST", "", Wanted(("A", "B"))),
        ("NEVER", "", Wanted()),
        ("K", "", Wanted(("K2",))),
    ],
)
def test_backwards(ordered: str, specimen_type: str, wanted: Wanted) -> None:
    """One code a test, by specimen type; never a choice between two."""
    assert codes_for(mapping(), ordered, specimen_type) == wanted


def test_a_mistake_in_orders_is_named() -> None:
    """[orders] holds names."""
    _, complaints = parse(b"[tests]\nA = { emr = 'A' }\n[orders]\nB = 5\nC = ['']\n", "x.toml")
    assert [c.key for c in complaints] == ["orders.B", "orders.C"]
