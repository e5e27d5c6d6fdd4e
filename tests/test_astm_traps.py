"""docs/astm-traps.md is true: every test it names exists. And traps that no other file's tests walk into."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from labgateway.errors import Problem, Reason
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import Driver
from labgateway.instruments.library import Library
from labgateway.matching.attribute import Policy
from labgateway.pipeline.reading import read
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.protocols.astm_frames import frame, frames
from labgateway.protocols.mllp import wrap
from labgateway.transports.memory import Scheduler
from tests.line_kit import ACK, ENQ, EOT, NAK, Journal, line, taped
from tests.protocols.astm_kit import RECORDS, RESULT
from tests.test_line_hl7 import answers, oru

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "astm-traps.md"
ROWS = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d+ \|", row)]


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the test functions of a file below tests/."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def missing(row: str) -> list[str]:
    """The tests that a row names and that do not exist."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
    return [
        f"{file}::{name}" for file, name in named if not (ROOT / "tests" / file).is_file() or name not in names_in(file)
    ]


def test_the_page_has_a_row_for_each_trap() -> None:
    """1 to 32, in order, each with four cells."""
    assert [int(row.split("|")[1]) for row in ROWS] == list(range(1, 33))
    assert {len(re.split(r"(?<!\\)\|", row)) for row in ROWS} == {6}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_test_that_the_page_names_exists(row: str) -> None:
    """A row names a test, or says why there is none yet; a renamed test is renamed there too."""
    assert missing(row) == []
    assert "::test_" in row or "not yet" in row


def test_a_name_that_does_not_exist_is_found() -> None:
    """The check can fail: a wrong name, a wrong file."""
    assert missing("| `test_astm_traps.py::test_no_such_thing` `no/such.py::test_x` |") == [
        "test_astm_traps.py::test_no_such_thing",
        "no/such.py::test_x",
    ]


def kept(*sent: bytes) -> tuple[bytes, Journal]:
    """What a line answers to each of these, and what it keeps."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal))
    for data in sent:
        tape.channel.send(data)
        scheduler.run_for(0.5)
    return tape.heard, journal


@cache
def library() -> Library:
    return Library.of([ROOT / "drivers"])


def xn() -> Driver:
    return library().drivers["sysmex_xn"]


XN = (
    b"H|\\^&|||    XN-550^00-24^16666^^^^AP807129||||||||E1394-97\rP|1\rO|1||^^                  S17^M|^^^^WBC|||||||N\r"
    b"R|1|^^^^WBC^1|8.13|10*3/uL||N||F||||20220719113855\rL|1|N\r"
)


@pytest.mark.parametrize("with_cr", [True, False], ids=["CR before ETX", "no CR before ETX"])
@pytest.mark.parametrize("last_only", [True, False], ids=["ETB on all but the last", "ETX on each"])
def test_what_ends_a_record(with_cr: bool, last_only: bool) -> None:
    """Traps 12 and 13: ETB behind whole records, and records without CR; the line takes them and the same result is read."""
    records = [
        record if with_cr or last_only else record.removesuffix(b"\r") for record in XN.splitlines(keepends=True)
    ]
    if not with_cr:
        records[-1] = records[-1].removesuffix(b"\r")
    sent = [frame(n, one, last=not last_only or n == len(records)) for n, one in enumerate(records, 1)]
    heard, journal = kept(ENQ, *sent, EOT)
    assert heard == ACK * (len(sent) + 1)
    (data,) = journal.complete()
    said = decode(xn(), data)
    assert [(r.specimen, r.code, r.value, r.problem) for r in said.results] == [("S17", "WBC", "8.13", None)]


def test_frame_numbers_go_on_over_the_messages_of_a_session() -> None:
    """Trap 4: the second message does not begin at 1 again; one that does is refused, and nothing of it is mixed in."""
    first = list(frames(RESULT))
    second = list(frames(RESULT, first=len(first) + 1))
    heard, journal = kept(ENQ, *first, *second, EOT)
    assert heard == ACK * 11
    assert journal.complete() == [b"".join(first), b"".join(second)]
    heard, journal = kept(ENQ, *first, first[0], EOT)
    assert heard == ACK * 6 + NAK
    assert journal.complete() == [b"".join(first)]
    assert journal.incomplete() == []


def test_records_without_frames_get_no_answer() -> None:
    """Trap 16: what nobody can check is not taken; the line says so, and a framed session behind it works."""
    heard, journal = kept(RESULT, b"", ENQ, *frames(RESULT), EOT)
    assert heard == ACK * (1 + len(RECORDS))
    assert len(journal.complete()) == 1


@pytest.mark.parametrize("control_id", ["", "0"])
def test_hl7_without_a_control_id_of_its_own(control_id: str) -> None:
    """Trap 30: MSH-10 empty or always the same (EDAN i15, HemoScreen): each message is kept and answered for itself."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    _, tape = taped(scheduler, line(scheduler, journal, "hl7"))
    for results in (1, 2):
        tape.channel.send(wrap(oru(control_id, results=results)))
        scheduler.run_for(1)
    assert answers(tape) == [("AA", control_id)] * 2
    assert journal.complete() == [oru(control_id, results=1), oru(control_id, results=2)]


def test_an_instrument_on_another_ones_line_is_not_read() -> None:
    """Trap 32: who speaks is known by address and name alone; what another driver knows as its own parks as a whole."""
    line_of_c311 = InstrumentRules(library().drivers["roche_cobas_classic"], Problem(Reason.MAPPING_BROKEN, ""))
    rules = Rules("", ZoneInfo("UTC"), Policy(), library(), {}, ())
    said = read(XN, line_of_c311, rules)
    assert said.results == ()
    assert said.problem is not None
    assert said.problem.reason is Reason.UNKNOWN_SENDER
    assert read(XN, InstrumentRules(xn(), line_of_c311.mapping), rules).problem is None
