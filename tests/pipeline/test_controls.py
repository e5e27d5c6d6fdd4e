"""Control material: kept with lot and level, counted exactly, never sent; and nobody's result taken for it in silence."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.cli import main
from labgateway.cli.decode_command import shipped_drivers
from labgateway.errors import Reason
from labgateway.instruments.driver import load
from labgateway.mapping.difference import changes
from labgateway.mapping.table import parse
from labgateway.model import ObservationState
from labgateway.pipeline import take
from labgateway.pipeline.controls import Series, series
from labgateway.pipeline.rules import InstrumentRules
from labgateway.store import journal, results
from tests.pipeline.lab import Lab as PlainLab
from tests.pipeline.mapped_lab import Lab, mapping_of

MakeLab = Callable[..., Lab]
TESTS = '[tests]\nK = { emr = "K", unit = "mmol/L", times = 1 }\n'
MAPPING = TESTS + '[control]\n"LYPHO-[12]" = { lot = "44231", level = "1" }\n"MULTI" = {}\n'


def rows(lab: Lab) -> list[Series]:
    return series(lab.store.read_now(lambda c: results.controls(c, lab.now - timedelta(days=30))))


def test_by_the_mapping(make_lab: MakeLab) -> None:
    """Ids that match as a whole; lot and level from the file where the analyzer is silent; nothing leaves."""
    lab = make_lab(MAPPING, without_order="send")
    for value in ("4.0", "4.2", "4.1"):
        lab.send("LYPHO-1", f"K {value} mmol/L")
        lab.wait(days=1)
    lab.send("MULTI", "K <0.5 mmol/L")
    lab.send("LYPHO-12", "K 5.0 mmol/L")
    assert lab.sent == ["K|5.0|mmol/L|||F"]
    assert lab.states("LYPHO-1") == ["K 4.0 control", "K 4.2 control", "K 4.1 control"]
    first, second = rows(lab)
    assert (first.lot, first.level, first.others, first.last) == ("", "", 1, "<0.5")
    assert (second.lot, second.level, len(second.numbers), second.mean, second.sd) == ("44231", "1", 3, "4.10", "0.10")


def xp(lab: PlainLab, specimen: str, action: str = "") -> int:
    """A message of the Sysmex XP, whose driver takes ids that begin with QC for control material."""
    rows = [
        "H|\\^&|||XP-100",
        "P|1",
        f"O|1||^^{specimen}^B|^^^^WBC|||||||{action}",
        "R|1|^^^^WBC^1|5.1|10*3/uL||N||F",
        "L|1|N",
        "",
    ]
    raw = "\r".join(rows).encode()
    return int(
        lab.do(lambda c: journal.append(c, instrument="a1", protocol="astm", peer="", received_at=lab.now, raw=raw))
    )


@pytest.mark.parametrize("order_first", [True, False])
def test_an_id_that_the_driver_takes_for_a_control_s_and_that_is_ordered_is_held(order_first: bool) -> None:
    """A hospital whose tubes are called QC... loses none in silence; where the analyzer says so itself it is QC."""
    lab = PlainLab()
    mapping = mapping_of('[tests]\nWBC = { emr = "WBC" }\n')
    one = InstrumentRules(load(shipped_drivers() / "sysmex_xp"), mapping)
    lab.rules = replace(lab.rules, instruments={"a1": one})

    def measure(specimen: str, action: str = "") -> list[str]:
        number = xp(lab, specimen, action)
        lab.do(take.process(number, lab.rules, lab.now))
        lab.hours += 0.01
        return [one.id for one in lab.do(lambda c: results.of_transmission(c, number))]

    if order_first:
        lab.order("QC2211007", "O1", "WBC")
    (number,) = measure("QC2211007")
    if not order_first:
        assert lab.get(number).state is ObservationState.CONTROL
        lab.order("QC2211007", "O1", "WBC")
    problem = lab.get(number).problem
    assert problem is not None and problem.reason is Reason.CONTROL_OR_PATIENT
    assert lab.get(number).state is ObservationState.HELD
    (said,) = measure("2211008", "Q")
    lab.order("2211008", "O2", "WBC")
    (again,) = measure("2211008", "Q")
    assert {lab.get(one).state for one in (said, again)} == {ObservationState.CONTROL}
    assert lab.owed() == []


@pytest.mark.parametrize("order_first", [True, False])
def test_an_id_that_is_ordered_is_held(make_lab: MakeLab, order_first: bool) -> None:
    """Whichever comes first: a patient's result is never kept back as a control's in silence."""
    lab = make_lab(MAPPING)
    collected = lab.now - timedelta(minutes=1)
    if order_first:
        lab.order("MULTI", "K", collected_at=collected)
    number = lab.send("MULTI", "K 4.0 mmol/L")
    if not order_first:
        assert lab.states("MULTI") == ["K 4.0 control"]
        lab.order("MULTI", "K", collected_at=collected)
    assert lab.states("MULTI") == ["K 4.0 held CONTROL_OR_PATIENT"]
    lab.mappings["a1"] = TESTS
    lab.replay(number)
    assert lab.states("MULTI") == ["K 4.0 released"]


def test_what_was_held_flows_to_where_it_belongs(make_lab: MakeLab) -> None:
    """An id of no patient's form is held; named in [control] and read again it is a control's."""
    lab = make_lab(TESTS)
    number = lab.send("QC-7", "K 4.0 mmol/L")
    assert lab.states("QC-7") == ["K 4.0 held NOT_A_PATIENT_ID"]
    lab.mappings["a1"] = TESTS + '[control]\n"QC-.*" = { lot = "L1" }\n'
    lab.replay(number)
    assert lab.states("QC-7") == ["K 4.0 control"]
    assert rows(lab)[0].lot == "L1"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('"[" = {}', "is no regular expression."),
        ('".*" = {}', "fits any specimen id: patients' results would never leave."),
        ('"[A-Z0-9]+" = {}', "fits any specimen id: patients' results would never leave."),
        ('QC = "1"', "must be in braces."),
        ("QC = { lvl = 1 }", "is no key of a control."),
    ],
)
def test_what_is_wrong_with_a_control(line: str, what: str) -> None:
    _, found = parse(f"{TESTS}[control]\n{line}\n".encode(), "m.toml")
    assert [(one.line, one.what) for one in found] == [(4, what)]


def test_in_words() -> None:
    assert changes(mapping_of(TESTS), mapping_of(MAPPING)) == [
        "Specimens LYPHO-[12] are control material: lot 44231, level 1.",
        "Specimens MULTI are control material: lot -, level -.",
    ]
    assert changes(mapping_of(MAPPING), mapping_of(TESTS))[0] == "Specimens LYPHO-[12] are no longer control material."


@given(st.lists(st.decimals(-1000, 1000, places=3, allow_nan=False), min_size=2, max_size=30))
def test_the_figures(numbers: list[Decimal]) -> None:
    """Mean and SD as Python's exact statistics have them, rounded to one digit more than the values."""
    one = Series("a1", "K", "", "", "", numbers)
    assert one.mean is not None and one.sd is not None
    half = Decimal("0.00005")
    assert abs(Decimal(one.mean) - statistics.mean(numbers)) <= half
    assert abs(Decimal(one.sd) - statistics.stdev(numbers)) <= half + Decimal("1e-12")
    assert one.mean.partition(".")[2].__len__() == 4


def test_the_command(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``labgateway qc``: the figures as text and as JSON; 1 when there is none."""
    lab = make_lab(MAPPING)
    lab.wait(days=0)
    (tmp_path / "mappings").mkdir()
    (tmp_path / "config.toml").write_text(
        f'[store]\nurl = "sqlite:///{tmp_path}/0/labgateway.db"\n[instrument.a1]\ndriver = "generic_astm"\n'
        'mapping = "a1.toml"\nline = { kind = "tcp-listen", port = 0 }\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    days = ["--days", "3660"]
    assert main(["qc", *days]) == 1
    for value in ("4.0", "4.2"):
        lab.send("LYPHO-1", f"K {value} mmol/L")
    assert main(["qc", "a1", *days]) == 0
    assert "44231" in capsys.readouterr().out
    assert main(["qc", "--json", *days]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in ("code", "lot", "level", "unit", "n", "mean", "sd", "last")} == {
        "code": "K", "lot": "44231", "level": "1", "unit": "mmol/L", "n": 2, "mean": "4.10", "sd": "0.14", "last": "4.2",
    }  # fmt: skip
