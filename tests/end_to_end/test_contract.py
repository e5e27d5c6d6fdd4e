"""What others build against, word for word: the driver, the mapping and the fields that the contract shows, through a running gateway.

The names and examples stand here as they were promised, and are not taken from the code; a change here breaks
somebody's EMR, driver or mapping file.
"""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.delivery.emr import Emr
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import send_astm, send_hl7, states

DRIVER = """\
schema   = 1
title    = "Sysmex XN series"
maker    = "Sysmex"
models   = ["XN-330", "XN-550", "XN-1000", "XN-2000"]
status   = "capture"
protocol = "astm"
quirks   = []
sources  = ["document, revision, chapters"]

[recognise]
sender = 'XN-\\d+'

[line]
kinds   = ["tcp", "tcp-listen", "serial"]
serial  = { baud = 9600, bits = 8, parity = "none", stop = 1 }
queries = true
encoding = "utf-8"

[where]
specimen = "O-4.3"
code     = "R-3.5"
value    = "R-4"
unit     = "R-5"
flag     = "R-7"
status   = "R-9"
measured_at = "R-13"
patient  = ["P-3", "P-4"]
patient_name = "P-6"
birth_date = "P-8"
sex      = "P-9"
action   = "O-12"
range    = "R-6"
operator = "R-11"
run      = "R-3.6"
comment  = "C-4"

[words]
flag      = { N = "normal", H = "high", L = "low", A = "abnormal", W = "doubtful" }
status    = { F = "final", C = "corrected" }
no_result = ["----", "++++"]

[control]
when = [{ "O-12" = '^Q$' }, { specimen = '^QC-' }]

[calibration]
when = [{ specimen = '^CAL-' }]

[[rows]]
when = { "R-3.7" = '^[IP]$' }
is   = "ignore"

[query]
specimen = ["Q-3.2", "Q-3.1"]

[tests]
WBC = "10*3/uL"
HGB = ["g/dL", "g/L"]
GLU = "mmol/L"
PLT = "10*3/uL"
SCAT_WDF = ""
"""

MAPPING = """\
instrument = "xn1"
checked    = "who, when, against what"

[tests]
WBC = { emr = "WBC", name = "Số lượng bạch cầu", loinc = "6690-2", unit = "10*9/L", times = 1, decimals = 2, sane = [0, 500], moh = "22.1" }
HGB = { emr = "HGB", unit = "g/L", times = 10, decimals = 0, comes = "g/dL" }
PLT = { emr = "PLT" }

GLU = [ { specimen = "urine", emr = "UGLU" }, { emr = ["GLU", "GLU2H"] } ]

[panels]
CBC = ["WBC", "HGB", "PLT"]

[leave_out]
"SCAT_WDF" = "scattergram"
"""


def config(folder: Path, line: int, orders: int, emr: int) -> str:
    """The contract's config.toml on ports of this machine, every default written out."""
    (folder / "drivers" / "sysmex_example").mkdir(parents=True)
    (folder / "drivers" / "sysmex_example" / "driver.toml").write_text(DRIVER, encoding="utf-8")
    (folder / "mappings").mkdir()
    (folder / "mappings" / "xn1.toml").write_text(MAPPING, encoding="utf-8")
    return f"""\
[gateway]
name      = "LABGATEWAY"
facility  = "THIENHANH"
timezone  = "Asia/Ho_Chi_Minh"
data      = "data"
mappings  = "mappings"
drivers   = ["drivers"]
[store]
url = "sqlite:///data/labgateway.db"
[matching]
window_h      = 72
wait_h        = 240
alarm_h       = 24
without_order = "wait"
not_ordered   = "hold"
second_ids    = ["patient", "birth_date", "sex"]
specimen_pattern = ""
[instrument.xn1]
driver  = "sysmex_example"
mapping = "xn1.toml"
line    = {{ kind = "tcp-listen", host = "0.0.0.0", port = {line}, allow = ["10.20.0.0/24"], connections = 1 }}
release = "auto"
[orders.emr]
kind = "mllp-listen"
host = "0.0.0.0"
port = {orders}
specimen_id = ["SPM-2.1", "SAC-3.1", "OBR-3.1"]
patient_id  = "PID-3.1"
patient_id_type = "MR"
[destination.emr]
kind = "mllp"
host = "127.0.0.1"
port = {emr}
status = "as_sent"
shadow = false
"""


def order(kind: str, control: str, number: int, *segments: str) -> str:
    """An order message; the segments behind PV1, a placer number in each."""
    head = [
        f"MSH|^~\\&|HIS|BV|LABGATEWAY|THIENHANH|20261122080000||{kind}|M{number}|P|2.5.1||||||UNICODE UTF-8",
        "PID|1||CARD9^^^BHYT^NI~BN001^^^BV^MR||NGUYỄN^VĂN AN||19720815|M",
        "PV1|1|I|KHOA-NOI^101^A",
    ]
    return "\r".join([*head, *(segment.replace("NW", control) for segment in segments)]) + "\r"


def fields(message: str, name: str) -> list[list[str]]:
    """Of each segment of this name its fields, by the number that the standard gives them."""
    found = [line.split("|") for line in message.split("\r") if line.startswith(f"{name}|")]
    return [["MSH", *one] if name == "MSH" else one for one in found]


async def test_an_ordered_result_as_the_contract_shows_it(tmp_path: Path) -> None:
    """Each field of ORU^R01 that an EMR may rely on: of message, patient, order, result, specimen and note."""
    line, orders = free_port(), free_port()
    collected = datetime.now(ZoneInfo("Asia/Ho_Chi_Minh")).strftime("%Y%m%d%H%M%S")
    async with Emr() as emr:
        with Gateway(tmp_path, config(tmp_path, line, orders, emr.port)) as gateway:
            checked = gateway.run("check")
            assert checked.returncode == 0, checked.stdout
            said = await asyncio.to_thread(
                send_hl7,
                orders,
                order(
                    "OML^O21^OML_O21", "NW", 1,
                    "ORC|NW|P-77^HIS|F-5^LIS", "TQ1|1||||||||S",
                    f"OBR|1|P-77^HIS|F-5^LIS|CBC^Công thức máu^L|||{collected}",
                    "SPM|1|A123||BLD^Blood^HL70487",
                    "ORC|NW|P-78^HIS", f"OBR|2|P-78^HIS||GLU2H^Đường huyết 2h^L|||{collected}",
                    "SPM|1|A123||BLD^Blood^HL70487",
                ),
            )  # fmt: skip
            assert fields(said, "MSH")[0][9].startswith("ORL^O22") and fields(said, "MSA")[0][1:3] == ["AA", "M1"]
            await asyncio.to_thread(
                send_astm,
                line,
                [
                    "H|\\^&|||XN-1000^1^22723||||||||E1394-97",
                    "P|1||BN001||NGUYEN^VAN AN||19720815|M",
                    "O|1||^^A123^B|^^^^WBC|||||||N",
                    "R|1|^^^^WBC^1|5.215|10*3/uL|4.0-10.0|N||F||HOA||20261122081500",
                    "C|1|I|clotted?|G",
                    "R|2|^^^^HGB^1|13.45|g/dL|12.0-16.0|H||C||HOA||20261122081500",
                    "R|3|^^^^PLT^1|----|10*3/uL||A||F||HOA||20261122081500",
                    "R|4|^^^^GLU^1|<5.0|mmol/L||||F||HOA||20261122081500",
                    "R|5|^^^^SCAT_WDF^1|x|||N||F||||20261122081500",
                    "R|6|^^^^WBC^1^I|image|||N||F||||20261122081500",
                    "L|1|N",
                ],
            )
            await states(gateway, released=4, left_out=1)
            await emr.until(lambda it: bool(it.accepted))
            assert not emr.complaints
            text = emr.received[0].raw.decode()
            msh, pid, pv1 = (fields(text, name)[0] for name in ("MSH", "PID", "PV1"))
            assert (msh[3], msh[4], msh[9], msh[11], msh[12], msh[18]) == (
                "LABGATEWAY", "THIENHANH", "ORU^R01^ORU_R01", "P", "2.5.1", "UNICODE UTF-8",
            )  # fmt: skip
            assert 0 < len(msh[10]) <= 20
            assert (pid[5], pid[7], pid[8]) == ("NGUYỄN^VĂN AN", "19720815", "M")
            assert "BN001^^^BV^MR" in pid[3]
            assert pv1[3] == "KHOA-NOI^101^A"
            first, second = fields(text, "OBR")
            assert first[2:5] == ["P-77^HIS", "F-5^LIS", "CBC^Công thức máu^L"]
            assert first[7] == collected and re.fullmatch(r"\d{14}\+0700", first[22]) and first[25] == "C"
            assert second[2] == "P-78^HIS" and second[4] == "GLU2H^Đường huyết 2h^L"
            assert [one[1:4] for one in fields(text, "ORC")] == [["RE", "P-77^HIS", "F-5^LIS"], ["RE", "P-78^HIS"]]
            wbc, hgb, plt, glu = (one + [""] * 22 for one in fields(text, "OBX"))
            assert wbc[2:9] == [
                "NM", "WBC^Số lượng bạch cầu^L^6690-2^^LN", "1", "5.22", "10*9/L^^UCUM", "4.0-10.0", "N",
            ]  # fmt: skip
            assert wbc[11] == "F" and wbc[14] == wbc[19] == "20261122081500+0700" and wbc[16] == "HOA"
            assert wbc[18].startswith("xn1") and len(wbc[21]) == 20
            assert (hgb[2], hgb[3], hgb[5], hgb[6], hgb[8], hgb[11]) == (
                "NM", "HGB^^L", "134", "g/L^^UCUM", "H", "C",
            )  # fmt: skip
            assert (plt[3], plt[5], plt[11]) == ("PLT^^L", "", "X")
            assert (glu[2], glu[3], glu[5], glu[6], glu[11]) == ("ST", "GLU2H^^L", "<5.0", "mmol/L^^UCUM", "F")
            assert [one[2] for one in fields(text, "SPM")] == ["A123", "A123"]
            assert [one[3] for one in fields(text, "NTE")][:3] == [
                "clotted?", "as measured: 5.215 10*3/uL", "as measured: 13.45 g/dL (range 12.0-16.0)",
            ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "answer", "segments"),
    [
        ("OML^O21^OML_O21", "ORL^O22", ("ORC|NW|P-1", "OBR|1|P-1||CBC", "SPM|1|S1")),
        ("ORM^O01^ORM_O01", "ORR^O02", ("ORC|NW|P-1", "OBR|1|P-1|S1|CBC")),
        ("OML^O33^OML_O33", "ORL^O34", ("SPM|1|S1", "ORC|NW|P-1", "OBR|1|P-1||CBC")),
        ("OML^O21^OML_O21", "ORL^O22", ("ORC|NW|P-1", "OBR|1|P-1||CBC", "SAC|||S1")),
    ],
)
async def test_orders_and_their_answers(tmp_path: Path, kind: str, answer: str, segments: tuple[str, ...]) -> None:
    """Each message kind, each ORC-1, and the three answers."""
    line, orders = free_port(), free_port()
    with Gateway(tmp_path, config(tmp_path, line, orders, free_port())) as gateway:

        def say(control: str, number: int, *others: str) -> str:
            said = send_hl7(orders, order(kind, control, number, *(others or segments)))
            assert fields(said, "MSA")[0][2] == f"M{number}"
            return said

        for number, (control, done) in enumerate(
            (("NW", "OK"), ("XO", "XR"), ("CA", "CR"), ("NW", "OK"), ("DC", "DR"))
        ):
            said = await asyncio.to_thread(say, control, number)
            assert fields(said, "MSH")[0][9].startswith(answer)
            assert fields(said, "MSA")[0][1] == "AA"
            assert [one[1] for one in fields(said, "ORC")] == [done]
        none = tuple(s.replace("SPM|1|S1", "SPM|1|").replace("|S1", "|") for s in segments)
        said = await asyncio.to_thread(say, "NW", 8, *none)
        assert fields(said, "MSA")[0][1] == "AE"
        assert "No specimen id in SPM-2.1 or SAC-3.1 or OBR-3.1" in fields(said, "MSA")[0][3]
        assert fields(said, "ERR")
        said = await asyncio.to_thread(say, "ZZ", 9)
        assert fields(said, "MSA")[0][1] == "AE" and "ORC-1" in fields(said, "MSA")[0][3]
        said = await asyncio.to_thread(send_hl7, orders, order("MDM^T02", "NW", 10, "EVN|T02"))
        assert fields(said, "MSA")[0][1:3] == ["AR", "M10"]
        (one,) = [json.loads(row) for row in gateway.run("orders", "list", "S1", "--json").stdout.splitlines()]
        assert (one["specimen"], one["placer"], one["code"], one["state"]) == ("S1", "P-1", "CBC", "cancelled")
        assert (one["source"], one["patient"], one["ward"]) == ("emr", "BN001", "KHOA-NOI^101^A")


async def test_the_rules_of_a_mapping_hold_what_they_say(tmp_path: Path) -> None:
    """Another unit than `comes`, words with a factor, a value outside `sane`, an undeclared code, unit, flag or status: parked."""
    line, orders = free_port(), free_port()
    wrong = [
        ("HGB", "134", "g/L", "N", "F", "UNIT_CHANGED"),
        ("HGB", "POSITIVE", "g/dL", "N", "F", "NOT_A_DECIMAL"),
        ("WBC", "501", "10*3/uL", "N", "F", "NOT_SANE"),
        ("XYZ", "1", "", "N", "F", "CODE_UNKNOWN"),
        ("WBC", "5", "10*6/uL", "N", "F", "UNIT_UNKNOWN"),
        ("WBC", "5", "10*3/uL", "Z", "F", "FLAG_UNKNOWN"),
        ("WBC", "5", "10*3/uL", "N", "Z", "STATUS_UNKNOWN"),
        ("GLU", "5", "mmol/L", "N", "F", "SEVERAL_TARGETS"),
    ]
    async with Emr() as emr:
        with Gateway(tmp_path, config(tmp_path, line, orders, emr.port)) as gateway:
            for number, (code, *_, reason) in enumerate(wrong):
                tests = ["GLU", "GLU2H"] if reason == "SEVERAL_TARGETS" else [code]
                segments = [
                    text
                    for n, test in enumerate(tests)
                    for text in (f"ORC|NW|P-{number}-{n}", f"OBR|{n + 1}|P-{number}-{n}||{test}", f"SPM|1|T{number}")
                ]
                said = await asyncio.to_thread(send_hl7, orders, order("OML^O21", "NW", number, *segments))
                assert fields(said, "MSA")[0][1] == "AA"
            for number, (code, value, unit, flag, status, _) in enumerate(wrong):
                records = [
                    "H|\\^&|||XN-1000", "P|1", f"O|1||^^T{number}", f"R|1|^^^^{code}|{value}|{unit}||{flag}||{status}", "L|1|N",
                ]  # fmt: skip
                await asyncio.to_thread(send_astm, line, records)
            for specimen, action in (("QC-1", ""), ("CAL-1", ""), ("T1", "Q")):
                records = [
                    "H|\\^&|||XN-1000",
                    "P|1",
                    f"O|1||^^{specimen}||||||||{action}",
                    "R|1|^^^^WBC|5|10*3/uL||N||F",
                    "L|1|N",
                ]
                await asyncio.to_thread(send_astm, line, records)

            def parked() -> set[tuple[str, str]]:
                rows = map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
                return {(row["specimen"], row["reason"]) for row in rows}

            expected = {(f"T{number}", case[-1]) for number, case in enumerate(wrong)}
            await states(gateway, held=len(wrong), control=3)
            assert parked() == expected
            assert not emr.received
