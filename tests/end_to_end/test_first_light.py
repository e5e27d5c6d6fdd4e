"""From bytes on a TCP line to an accepted ORU^R01, by a running service, with another library's eyes at the end."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.emr import Emr, Fault
from tests.end_to_end.analyzer import EOT, Astm, Hl7, RefusedError, frame, frames_of, wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.postgresql import schema

MAPPING = """\
instrument = "xn1"
checked = "test"
[tests]
WBC = { emr = "WBC", name = "Số lượng bạch cầu", loinc = "6690-2", unit = "10*9/L", times = 1, sane = [0, 500] }
HGB = { emr = "HGB", loinc = "718-7", unit = "g/L", times = 10, decimals = 0 }
PLT = { emr = "PLT" }
[panels]
CBC = ["WBC", "HGB", "PLT"]
[leave_out]
RBC = "not wanted here"
"""


class Site:
    """Ports and files of one small hospital: an XN on ASTM, a BC-5380 on HL7, orders and results."""

    store = ""
    """The [store] section, by the fixture."""

    def __init__(self, folder: Path, emr: Emr, *, extra: str = "", matching: str = "", options: str = "") -> None:
        self.xn, self.bc, self.orders = free_port(), free_port(), free_port()
        (folder / "mappings").mkdir(exist_ok=True)
        (folder / "mappings" / "xn1.toml").write_text(MAPPING, encoding="utf-8")
        (folder / "mappings" / "bc5.toml").write_text(
            'instrument = "bc5"\nchecked = "test"\n[tests]\n"6690-2" = { emr = "WBC" }\n"718-7" = { emr = "HGB" }\n',
            encoding="utf-8",
        )
        self.text = f"""\
[gateway]
name = "LABGATEWAY"
facility = "TEST"
{self.store}
[matching]
{matching}
[instrument.xn1]
driver = "sysmex_xn"
mapping = "xn1.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {self.xn} }}
[instrument.bc5]
driver = "mindray_bc"
mapping = "bc5.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {self.bc} }}
[orders.emr]
kind = "mllp-listen"
host = "127.0.0.1"
port = {self.orders}
[destination.emr]
kind = "mllp"
host = "127.0.0.1"
port = {emr.port}
{options}
{extra}
"""
        self.gateway = Gateway(folder, self.text)


@pytest.fixture(autouse=True, params=["sqlite", "postgresql"])
def on_each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test of this file on SQLite, and on PostgreSQL where a server answers on this machine."""
    if request.param == "sqlite":
        yield
        return
    with schema() as url:
        monkeypatch.setattr(Site, "store", f'[store]\nurl = "{url}"')
        yield


def xn(
    specimen: str, *, wbc: str = "5.21", hgb: str = "13.4", plt: str = "250", at: str = "20261122081500", born: str = ""
) -> list[str]:
    """One XN message, a record an item."""
    return [
        "H|\\^&|||    XN-1000^00-24^22723^^^^BD000001||||||||E1394-97",
        f"P|1||||||{born}|",
        f"O|1||^^{specimen:>22}^B|^^^^WBC|||||||N||||||||||||||F",
        f"R|1|^^^^WBC^1|{wbc}|10*3/uL||N||F||||{at}",
        f"R|2|^^^^RBC^1|4.50|10*6/uL||N||F||||{at}",
        f"R|3|^^^^HGB^1|{hgb}|g/dL||N||F||||{at}",
        f"R|4|^^^^PLT^1|{plt}|10*3/uL||L||F||||{at}",
        "L|1|N",
    ]


def oml(
    specimen: str,
    *,
    placer: str = "P1",
    patient: str = "BN001",
    control: str = "NW",
    born: str = "19720815",
    number: int = 1,
) -> str:
    """OML^O21 for a CBC."""
    return (
        "\r".join(
            [
                f"MSH|^~\\&|HIS|BV|LABGATEWAY|TEST|20261122080000||OML^O21^OML_O21|{specimen}{number}|P|2.5.1||||||UNICODE UTF-8",
                f"PID|1||{patient}^^^BV^MR||NGUYỄN^VĂN AN||{born}|M",
                "PV1|1|I|KHOA-NOI^101^A",
                f"ORC|{control}|{placer}",
                f"OBR|1|{placer}||CBC^Công thức máu^L",
                f"SPM|1|{specimen}||BLD^Blood^HL70487",
            ]
        )
        + "\r"
    )


def send_astm(port: int, *messages: list[str]) -> None:
    analyzer = Astm(port)
    try:
        for records in messages:
            analyzer.session(frames_of(records))
    finally:
        analyzer.close()


def send_hl7(port: int, message: str) -> str:
    sender = Hl7(port)
    try:
        return sender.send(message)
    finally:
        sender.close()


async def seen(emr: Emr, count: int) -> None:
    """Wait until the EMR holds that many observations."""
    await asyncio.to_thread(wait_until, lambda: len(emr.charts) >= count, what=f"{count} observations")


async def states(gateway: Gateway, **wanted: int) -> dict[str, Any]:
    """Wait until so many observations are in those states."""
    found: dict[str, Any] = {}

    def there() -> bool:
        found.update(gateway.status())
        return all(found["observations"].get(state, 0) == count for state, count in wanted.items())

    try:
        await asyncio.to_thread(wait_until, there, what=f"{wanted}")
    except AssertionError as late:
        late.add_note(f"found instead: {found['observations']}; {gateway.run('parked', '--json').stdout}")
        raise
    return found


async def test_an_ordered_result_arrives_whole(tmp_path: Path) -> None:
    """Order in, measured, mapped, matched, sent: value, unit, patient, placer and the original are all there."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            answer = await asyncio.to_thread(send_hl7, site.orders, oml("S1001"))
            assert "MSA|AA|S10011" in answer and "ORL^O22" in answer
            await asyncio.to_thread(send_astm, site.xn, xn("S1001"))
            await seen(emr, 3)
            assert not emr.complaints
            found = {one.code.split("^")[0]: one for one in emr.charts.values()}
            assert set(found) == {"WBC", "HGB", "PLT"}
            assert (found["HGB"].value, found["HGB"].unit.split("^")[0]) == ("134", "g/L")
            assert found["WBC"].value == "5.21"
            assert any("13.4 g/dL" in note for note in found["HGB"].comments)
            assert {one.specimen.split("^")[0] for one in found.values()} == {"S1001"}
            assert all(one.patient.startswith("BN001") and one.placer.startswith("P1") for one in found.values())
            status = await states(gateway, released=3, left_out=1)
            assert status["deliveries"]["emr"] == {"settled": 1}
            trace = json.loads(gateway.run("trace", "S1001", "--json").stdout)
            assert trace["messages"][0]["results"][0]["deliveries"][0]["state"] == "settled"
            assert gateway.stop() == 0


async def test_a_result_waits_for_its_order(tmp_path: Path) -> None:
    """A result before its order waits, goes out when the order comes, and is the same as the other way round."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("S2001"))
            await states(gateway, waiting=3)
            assert not emr.charts
            await asyncio.to_thread(send_hl7, site.orders, oml("S2001", placer="P2"))
            await seen(emr, 3)
            assert not emr.complaints


async def test_nobody_gets_anothers_result(tmp_path: Path) -> None:
    """A birth date that disagrees, two patients on one id, a cancelled order, no id: held, and nothing is sent."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            for message in (
                oml("S3001", born="19720815"),
                oml("S3002", placer="PA", patient="BN001"),
                oml("S3002", placer="PB", patient="BN002", number=2),
                oml("S3003", placer="PC"),
                oml("S3003", placer="PC", control="CA", number=2),
            ):
                assert "MSA|AA" in await asyncio.to_thread(send_hl7, site.orders, message)
            await asyncio.to_thread(send_astm, site.xn, xn("S3001", born="19990101"), xn("S3002"), xn("S3003"), xn(""))
            await states(gateway, held=13)
            reasons = {
                (item["specimen"], item["reason"])
                for item in map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
            }
            assert ("S3001", "IDENTITY_CONFLICT") in reasons
            assert ("S3002", "AMBIGUOUS_ORDER") in reasons
            assert ("S3003", "ORDER_CANCELLED") in reasons
            assert (None, "NO_SPECIMEN") in reasons
            assert not emr.charts


async def test_a_site_without_orders(tmp_path: Path) -> None:
    """without_order = "send": results leave with the instrument's own ids; ASTM and HL7 alike; QC never leaves."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("S4001"), xn("QC-07110801"))
            answer = await asyncio.to_thread(
                send_hl7,
                site.bc,
                "MSH|^~\\&|BC-5380|Mindray|||20261122081500||ORU^R01|1|P|2.3.1||||||UNICODE\rPID|1||^^^^MR\r"
                "OBR|1||S4002|00001^Automated Count^99MRC|||20261122081500\r"
                "OBX|1|NM|6690-2^WBC^LN||6.78|10*9/L|4.00-10.00|N|||F\r",
            )
            assert "MSA|AA|1" in answer
            await seen(emr, 4)
            await states(gateway, control=4)
            assert {one.specimen.split("^")[0] for one in emr.charts.values()} == {"S4001", "S4002"}
            assert not emr.complaints


async def test_the_emr_is_away_and_comes_back(tmp_path: Path) -> None:
    """While nobody answers everything waits; then it arrives, once in effect, with the ids it had."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        emr.fault = lambda _: Fault.CLOSE_BEFORE
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, *(xn(f"S5{n:03}", wbc=f"{n}.5") for n in range(10)))
            await states(gateway, released=30)
            gateway.kill()
            emr.fault = lambda _: None
            gateway.start()
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["deliveries"]["emr"].get("settled") == 10, what="ten settled"
            )
            values = {
                one.specimen.split("^")[0]: one.value for one in emr.charts.values() if one.code.startswith("WBC")
            }
            assert values == {f"S5{n:03}": f"{n}.5" for n in range(10)}
            assert len(emr.charts) == 30


async def test_a_refusal_parks_with_the_emrs_words(tmp_path: Path) -> None:
    """AE parks that specimen's lane at once, says the EMR's words, others flow; retry by a person sends it again."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        emr.fault = lambda one: Fault.AE if b"S6001" in one.raw else None
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("S6001"), xn("S6002"))
            await asyncio.to_thread(
                wait_until,
                lambda: gateway.status()["deliveries"]["emr"] == {"settled": 1, "parked": 1},
                what="one parked",
            )
            (item,) = map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
            assert item["reason"] == "REFUSED" and item["answer"]
            emr.fault = lambda _: None
            done = gateway.run("parked", "retry", item["id"], "--by", "Lan", "--because", "mended")
            assert done.returncode == 0, done.stdout + done.stderr
            await seen(emr, 6)


async def test_a_duplicate_and_a_rerun(tmp_path: Path) -> None:
    """The same message again is a duplicate; another value for the same test is held, not sent over the first."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            await asyncio.to_thread(send_hl7, site.orders, oml("S7001"))
            await asyncio.to_thread(
                send_astm, site.xn, xn("S7001"), xn("S7001"), xn("S7001", wbc="9.99", at="20261122091500")
            )
            await states(gateway, released=3, held=1)
            assert len(emr.charts) == 3
            held = [json.loads(line) for line in gateway.run("parked", "--json").stdout.splitlines()]
            assert [item["reason"] for item in held] == ["RERUN_DIFFERS"]
            by = ("--by", "Lan", "--because", "rerun is right")
            stale = gateway.run("parked", "release", held[0]["id"], "--version", "7", *by)
            assert stale.returncode == 1
            assert "has changed since you looked" in stale.stdout
            done = gateway.run("parked", "release", held[0]["id"], "--version", str(held[0]["version"]), *by)
            assert done.returncode == 0, done.stdout + done.stderr
            await seen(emr, 4)
            assert [one.letter for one in emr.charts.values() if one.value == "9.99"] == ["C"]


async def test_broken_sessions_and_hostile_bytes(tmp_path: Path) -> None:
    """A session that breaks is kept as incomplete and delivers nothing; damage is NAKed; other lines go on."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        with site.gateway as gateway:

            def hostile() -> None:
                analyzer = Astm(site.xn)
                frames = frames_of(xn("S8001"))
                analyzer.socket.sendall(b"\x05")
                analyzer.expect_ack()
                for one in frames[:4]:
                    analyzer.socket.sendall(one)
                    analyzer.expect_ack()
                damaged = bytearray(frames[4])
                damaged[8] ^= 1
                analyzer.socket.sendall(bytes(damaged))
                with pytest.raises(RefusedError):
                    analyzer.expect_ack()
                analyzer.close()

            await asyncio.to_thread(hostile)
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["messages"].get("incomplete") == 1, what="one incomplete message"
            )
            assert not emr.charts

            def garbage() -> None:
                noise = Astm(site.bc)
                noise.socket.sendall(b"\x0b" + bytes(range(256)) * 40 + b"\x1c\r" + b"GET / HTTP/1.1\r\n\r\n")
                noise.close()

            await asyncio.to_thread(garbage)
            await asyncio.to_thread(send_astm, site.xn, xn("S8001"))
            await seen(emr, 3)
            status = await asyncio.to_thread(gateway.status)
            assert status["messages"].get("superseded") == 1, "the full repeat has come: nobody needs the fragment"


async def test_unknown_code_flows_when_the_mapping_is_mended(tmp_path: Path) -> None:
    """An unmapped code parks; when the lab manager adds its line the result goes out by itself.

    Saved with a mistake on the way, the file of before stays in use, and status says so.
    """
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        path = tmp_path / "mappings" / "xn1.toml"
        path.write_text(MAPPING.replace('PLT = { emr = "PLT" }\n', ""), encoding="utf-8")
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("S9001"))
            await states(gateway, released=2, held=1)
            path.write_text(MAPPING + "nonsense", encoding="utf-8")
            await asyncio.to_thread(wait_until, lambda: bool(gateway.events("last_good_kept")), what="the complaint")
            await asyncio.to_thread(send_astm, site.xn, xn("S9002"))
            await states(gateway, released=4, held=2)
            status = await asyncio.to_thread(gateway.status)
            assert "xn1.toml" in status["lines"]["xn1"]["kept"][0]
            assert "until it is mended" in gateway.run("status").stdout
            path.write_text(MAPPING, encoding="utf-8")
            await seen(emr, 6)
            assert {one.code.split("^")[0] for one in emr.charts.values()} == {"WBC", "HGB", "PLT"}
            assert not (await asyncio.to_thread(gateway.status))["lines"]["xn1"]["kept"]


async def test_reload_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """SIGHUP with a broken config changes nothing; with a good one an unchanged line keeps its open message."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        with site.gateway as gateway:

            def half(analyzer: Astm, frames: list[bytes]) -> None:
                analyzer.socket.sendall(b"\x05")
                analyzer.expect_ack()
                for one in frames:
                    analyzer.socket.sendall(one)
                    analyzer.expect_ack()

            analyzer = Astm(site.xn)
            frames = frames_of(xn("SA001"))
            await asyncio.to_thread(half, analyzer, frames[:3])
            gateway.config.write_text(site.text + "\n[nonsense]\n", encoding="utf-8")
            gateway.reload()
            await asyncio.to_thread(wait_until, lambda: bool(gateway.events("reload_refused")), what="the refusal")
            extra = free_port()
            gateway.config.write_text(
                site.text + f'\n[instrument.xn2]\ndriver = "sysmex_xn"\nmapping = "xn1.toml"\n'
                f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {extra} }}\n',
                encoding="utf-8",
            )
            gateway.reload()
            await asyncio.to_thread(wait_until, lambda: bool(gateway.events("reloaded")), what="the reload")

            def rest() -> None:
                for one in frames[3:]:
                    analyzer.socket.sendall(one)
                    analyzer.expect_ack()
                analyzer.socket.sendall(EOT)
                analyzer.close()

            await asyncio.to_thread(rest)
            await asyncio.to_thread(send_astm, extra, xn("SA002"))
            await seen(emr, 6)


async def test_ends_cleanly_and_refuses_a_second(tmp_path: Path) -> None:
    """SIGTERM ends within 5 s with exit 0, also with a line open; a second gateway on the same data is refused."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            second = gateway.run("run", check=False)
            assert second.returncode == 1
            assert "already" in second.stderr
            analyzer = Astm(site.xn)
            analyzer.socket.sendall(b"\x05")
            analyzer.expect_ack()
            started = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - started < 5
            analyzer.close()


async def test_one_line_that_cannot_open_costs_only_itself(tmp_path: Path) -> None:
    """A port in use, and a driver whose framing no line speaks, are said; the other lines serve."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with Emr() as emr:
            more = "".join(
                f'[instrument.{name}]\ndriver = "{driver}"\nmapping = "xn1.toml"\n'
                f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}\n'
                for name, driver, port in (
                    ("blocked", "sysmex_xn", taken.getsockname()[1]),
                    ("raw", "beckman_lh", free_port()),
                )
            )
            site = Site(tmp_path, emr, matching='without_order = "send"', extra=more)
            with site.gateway as gateway:
                await asyncio.to_thread(send_astm, site.xn, xn("SB001"))
                await seen(emr, 3)
                lines = (await asyncio.to_thread(gateway.status))["lines"]
                assert str(taken.getsockname()[1]) in lines["blocked"]["trouble"]
                assert "beckman_lh" in lines["raw"]["trouble"]


async def test_no_patient_data_in_the_log(tmp_path: Path) -> None:
    """Names and specimen ids appear in no log line, whatever goes wrong."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        emr.fault = lambda _: Fault.AE
        with site.gateway as gateway:
            await asyncio.to_thread(send_hl7, site.orders, oml("ZZCANARY1"))
            await asyncio.to_thread(
                send_astm, site.xn, xn("ZZCANARY1"), xn("ZZCANARY2"), ["H|\\^&|||ZZCANARY", "L|1|N"]
            )
            await states(gateway, released=3, waiting=3)
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["deliveries"]["emr"].get("parked") == 1, what="the refusal"
            )
            gateway.stop()
            assert "ZZCANARY" not in "\n".join(gateway.raw_log)
            assert "NGUY" not in "\n".join(gateway.raw_log)


def test_frame_helper_is_the_standard_one() -> None:
    """The test's own framing gives the checksum of LIS01-A2's worked example."""
    assert frame(1, b"Test\r")[-4:-2] == f"{sum(b'1Test' + bytes([13, 3])) % 256:02X}".encode()
