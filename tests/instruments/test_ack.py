"""[ack]: every shipped HL7 driver's acknowledgment, to the field, and every mistake of the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from labgateway.captures import read_capture
from labgateway.cli.decode_command import shipped_drivers
from labgateway.errors import ComplaintsError
from labgateway.instruments.driver import FILE, Driver, load
from labgateway.protocols import hl7
from labgateway.protocols.hl7 import STANDARD_ACK, AckCode, AckMode, AckProfile, Wanted
from tests.bless import captures_of

DRIVERS = [d for p in sorted(shipped_drivers().glob(f"*/{FILE}")) if (d := load(p.parent)).protocol == "hl7"]
NOW = datetime(2026, 11, 22, 8, 15, 0, tzinfo=timezone(timedelta(hours=7)))

every_driver = pytest.mark.parametrize("driver", DRIVERS, ids=lambda d: d.name)


def answers(driver: Driver, message: bytes, code: AckCode = AckCode.ACCEPT) -> list[str]:
    """The acknowledgments of a message, CR as /."""
    read = hl7.read(message)
    fault = () if code is AckCode.ACCEPT else hl7.Fault(hl7.ErrorCode.INTERNAL_ERROR, "")
    return [
        hl7.acknowledge(read, code, now=NOW, control_id="OUR1", profile=profile, error=fault)
        .decode()
        .replace("\r", "/")
        for mode in hl7.modes(read, code, driver.ack)
        for profile in [_with_mode(driver.ack, mode)]
    ]


def _with_mode(profile: AckProfile, mode: AckMode) -> AckProfile:
    return replace(profile, mode=mode)


def driver_of(name: str) -> Driver:
    return next(driver for driver in DRIVERS if driver.name == name)


def header(msh9: str, version: str, tail: str = "", sender: str = "A|B") -> bytes:
    return f"MSH|^~\\&|{sender}|C|D|20261122081400||{msh9}|7|P|{version}|{tail}\r".encode()


@pytest.mark.parametrize(
    ("name", "message", "wanted"),
    [
        (
            "mindray_bs",
            header("ORU^R01", "2.3.1", "|||2||ASCII", "Mindray|BS-480"),
            "MSH|^~\\&|C|D|Mindray|BS-480|20261122081500||ACK^R01|7|P|2.3.1||||2||ASCII/MSA|AA|7|Message accepted|||0/",
        ),
        (
            "mindray_bc",
            header("ORU^R01", "2.3.1", "|||||UNICODE", "BC-5380|Mindray"),
            "MSH|^~\\&|C|D|BC-5380|Mindray|20261122081500||ACK^R01|OUR1|P|2.3.1||||||UNICODE/MSA|AA|7/",
        ),
        (
            "cepheid_genexpert_hl7",
            header("ORU^R32^ORU_R30", "2.5", "||AL|NE", "ICU^GeneXpert^1.0|"),
            "MSH|^~\\&|LIS||ICU^GeneXpert^1.0||20261122081500||ACK|OUR1|P|2.5|||NE|NE/MSA|CA|7/",
        ),
        (
            "cepheid_genexpert_hl7",
            header("ORU^R32^ORU_R30", "2.5", "", "ICU^GeneXpert^1.0|"),
            "MSH|^~\\&|LIS||ICU^GeneXpert^1.0||20261122081500||ACK|OUR1|P|2.5|||NE|NE/MSA|CA|7/",
        ),
        (
            "biosystems_ba400",
            header("OUL^R22^OUL_R22", "2.5.1", "||ER|AL||UNICODE UTF-8|||LAB-29^IHE", "BA400|Biosystems"),
            "MSH|^~\\&|C|D|BA400|Biosystems|20261122081500||ACK^R22^ACK|OUR1|P|2.5.1||||||UNICODE UTF-8/MSA|AA|7/",
        ),
        (
            "roche_hl7",
            header("OUL^R22^OUL_R22", "2.5.1", "||NE|AL||UNICODE UTF-8|||LAB-29^IHE", "cobas pro|"),
            "MSH|^~\\&|C|D|cobas pro||20261122081500+0700||ACK^R22^ACK|OUR1|P|2.5.1||||||UNICODE UTF-8|||LAB-29^IHE/"
            "MSA|AA|7/",
        ),
        (
            "abbott_afinion2_hl7",
            header("ORU^R01", "2.4", "|||||8859/1", "Afinion 2 Analyzer|"),
            "MSH|^~\\&|C|D|Afinion 2 Analyzer||20261122081500||ACK^R01^ACK|OUR1|P|2.4||||||8859/1/MSA|AA|7/",
        ),
        (
            "urit",
            header("ORU^R01", "2.3.1", "|||0||ASCII", "urit|8031"),
            "MSH|^~\\&|C|D|urit|8031|20261122081500||ACK^R01|OUR1|P|2.3.1||||||ASCII/MSA|AA|7/",
        ),
        (
            "snibe_maglumi_hl7",
            header("OUL^R22", "2.5", "||NE|NE||UTF-8", "Maglumi X3|"),
            "MSH|^~\\&|C|D|Maglumi X3||20261122081500||ACK^R22^ACK|OUR1|P|2.5||||||UTF-8/MSA|AA|7/",
        ),
    ],
)
def test_as_the_instrument_wants_it(name: str, message: bytes, wanted: str) -> None:
    """Codes, MSH-9, version, MSA-3, MSA-6, MSH-3 to 6, 15, 16, 18 and 21, to the byte."""
    assert answers(driver_of(name), message) == [wanted]


@every_driver
def test_every_message_of_a_capture_is_accepted_once(driver: Driver) -> None:
    """Exactly one acceptance with the sender's MSH-10 and version, the last segment ended by CR."""
    for path in captures_of(driver.folder):
        for message in read_capture(path.read_bytes(), protocol="hl7"):
            sent = hl7.read(message)
            (answer,) = answers(driver, message)
            read = hl7.read(answer.replace("/", "\r").encode())
            (msa,) = [row for row in read.rows if row.name == "MSA"]
            assert msa.value(1) in ("AA", "CA")
            assert msa.value(2) == sent.control_id
            assert read.version == sent.version
            assert answer.endswith("/")


def test_an_error_has_its_number_where_msa_6_is_used() -> None:
    """Mindray BS reads the error's number in MSA-6."""
    (answer,) = answers(driver_of("mindray_bs"), header("ORU^R01", "2.3.1", "|||0"), AckCode.ERROR)
    assert "/MSA|AE|7||||207/" in answer


@pytest.mark.parametrize(
    ("modes", "wanted", "mode", "good", "bad"),
    [
        ("|", Wanted.ASKED, AckMode.AUTO, ["AA"], ["AE"]),
        ("NE|NE", Wanted.ASKED, AckMode.AUTO, [], []),
        ("NE|NE", Wanted.ALWAYS, AckMode.AUTO, ["AA"], ["AE"]),
        ("NE|AL", Wanted.ASKED, AckMode.AUTO, ["AA"], ["AE"]),
        ("ER|NE", Wanted.ASKED, AckMode.AUTO, [], ["CE"]),
        ("SU|NE", Wanted.ASKED, AckMode.AUTO, ["CA"], []),
        ("AL|AL", Wanted.ALWAYS, AckMode.BOTH, ["CA", "AA"], ["CE", "AE"]),
        ("ER|AL", Wanted.ALWAYS, AckMode.BOTH, ["AA"], ["CE", "AE"]),
        ("AL|NE", Wanted.ALWAYS, AckMode.BOTH, ["CA"], ["CE"]),
        ("AL|AL", Wanted.NEVER, AckMode.AUTO, [], []),
    ],
)
def test_original_and_enhanced_mode(modes: str, wanted: Wanted, mode: AckMode, good: list[str], bad: list[str]) -> None:
    """MSH-15 and MSH-16 (table 0155) decide which acknowledgments there are, and the profile whether to look at them."""
    message = hl7.read(header("ORU^R01", "2.5.1", f"||{modes}"))
    profile = AckProfile(mode=mode, wanted=wanted)
    for code, expected in ((AckCode.ACCEPT, good), (AckCode.ERROR, bad)):
        said: list[str] = []
        for one in hl7.modes(message, code, profile):
            data = hl7.acknowledge(message, code, now=NOW, control_id="1", profile=_with_mode(profile, one))
            said.append(hl7.read(data).rows[1].value(1))
        assert said == expected


def _driver(folder: Path, ack: str) -> Driver:
    (folder / FILE).write_text(
        'schema = 1\ntitle = "X"\nmaker = "X"\nprotocol = "hl7"\nsources = ["x"]\ncodes = "open"\n'
        '[where]\nspecimen = "OBR-3.1"\ncode = "OBX-3.1"\nvalue = "OBX-5"\n'
        f"{ack}\n"
    )
    return load(folder)


def test_without_the_table_the_standard(tmp_path: Path) -> None:
    """What a driver does not say is HL7 2.5.1."""
    assert _driver(tmp_path, "").ack == STANDARD_ACK


@pytest.mark.parametrize(
    ("ack", "key"),
    [
        ('[ack]\nmode = "loud"', "mode"),
        ('[ack]\nwanted = "sometimes"', "wanted"),
        ('[ack]\nsender = "LIS"', "sender"),
        ('[ack]\nreceiver = ["LIS"]', "receiver"),
        ('[ack]\nfinal_cr = "no"', "final_cr"),
        ('[ack]\ncolour = "red"', "colour"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, ack: str, key: str) -> None:
    """Each with its key."""
    with pytest.raises(ComplaintsError) as found:
        _driver(tmp_path, ack)
    assert any(key in complaint.key for complaint in found.value.complaints)
