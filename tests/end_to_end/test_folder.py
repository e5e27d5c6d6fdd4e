"""Folder lines of a running service: tables, workbooks, ASTM and HL7 text; once each, over crashes and repeats."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from labgateway.cli.decode_command import library
from labgateway.instruments.decode import decode
from labgateway.instruments.spec import TABLE
from labgateway.model import Kind
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.test_bad_input import oru
from tests.end_to_end.test_first_light import Site, seen, xn

SEND = 'without_order = "send"'


def section(name: str, driver: str, path: Path, mapping: str) -> str:
    return (
        f'[instrument.{name}]\ndriver = "{driver}"\nmapping = "{mapping}"\n'
        f'line = {{ kind = "folder", path = "{path}", stable_s = 0.5 }}\n'
    )


def put(path: Path, data: bytes) -> None:
    """As instruments do: written under another name, then renamed."""
    half = path.with_name(path.name + ".tmp")
    half.write_bytes(data)
    half.rename(path)


def settled(gateway: Gateway, name: str, *, done: int, refused: int = 0) -> None:
    """Wait until so many files have gone aside."""
    place = Path(next(p for p in (gateway.folder / name, gateway.folder) if p.exists()))

    def there() -> bool:
        counts = [
            len([f for f in (place / folder).glob("*") if not f.name.endswith(".why.txt")])
            for folder in ("done", "refused")
        ]
        return counts == [done, refused]

    wait_until(there, what=f"{done} files done and {refused} refused in {name}")


async def test_texts_of_hl7_and_astm(tmp_path: Path) -> None:
    """A file of two ASTM messages and one of two HL7 messages: four messages, every result under its own specimen."""
    folders = {"a": tmp_path / "a", "h": tmp_path / "h"}
    for folder in folders.values():
        folder.mkdir()
    extra = section("fa", "sysmex_xn", folders["a"], "xn1.toml") + section("fh", "mindray_bc", folders["h"], "bc5.toml")
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=extra)
        with site.gateway as gateway:
            astm = "\r".join([*xn("FA1"), *xn("FA2"), ""])
            put(folders["a"] / "results.txt", astm.encode())
            put(folders["h"] / "results.hl7", (oru("FH1") + "\n" + oru("FH2").replace("|7|P", "|8|P")).encode())
            await asyncio.to_thread(settled, gateway, "a", done=1)
            await asyncio.to_thread(settled, gateway, "h", done=1)
            await seen(emr, 8)
            assert {one.specimen for one in emr.charts.values()} == {"FA1", "FA2", "FH1", "FH2"}
            lines = (await asyncio.to_thread(gateway.status))["lines"]
            assert (lines["fa"]["messages"], lines["fh"]["messages"]) == (2, 2)
            assert lines["fa"]["trouble"] == ""
            assert not any("FA1" in line or "results.txt" in line for line in gateway.raw_log)


async def test_the_same_file_again_and_a_crash_between_commit_and_move(tmp_path: Path) -> None:
    """Its results are delivered once: the content is known, whatever it is called, also by the next process."""
    folder = tmp_path / "in"
    folder.mkdir()
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=section("f", "sysmex_xn", folder, "xn1.toml"))
        text = "\r".join([*xn("FB1"), ""]).encode()
        with site.gateway as gateway:
            put(folder / "1.txt", text)
            await asyncio.to_thread(settled, gateway, "in", done=1)
            put(folder / "1.txt", text)
            await asyncio.to_thread(settled, gateway, "in", done=2)
            await seen(emr, 3)
            gateway.kill()
            # As after a crash before the move: the file stands where it was.
            (folder / "done" / "1.txt").rename(folder / "1.txt")
            gateway.start()
            await asyncio.to_thread(settled, gateway, "in", done=2)
            put(folder / "2.txt", "\r".join([*xn("FB2"), ""]).encode())
            await seen(emr, 6)
            status = await asyncio.to_thread(gateway.status)
            assert status["observations"]["released"] == 6
            assert gateway.events("kept_before")


async def test_a_file_that_cannot_be_read_is_refused_and_kept(tmp_path: Path) -> None:
    """refused/ with the reason; the message waits for a person as well; the next file goes through."""
    folder = tmp_path / "in"
    folder.mkdir()
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=section("f", "sysmex_xn", folder, "xn1.toml"))
        with site.gateway as gateway:
            put(folder / "bad.txt", b"\x021H|\\^&|||XN\rP|1\rR|1|^^^^WBC^1|9.9\x0300\r\n")
            await asyncio.to_thread(settled, gateway, "in", done=0, refused=1)
            why = (folder / "refused" / "bad.txt.why.txt").read_text(encoding="utf-8")
            assert "wrong checksum" in why and "replay" in why
            put(folder / "good.txt", "\r".join([*xn("FC1"), ""]).encode())
            await asyncio.to_thread(settled, gateway, "in", done=1, refused=1)
            await seen(emr, 3)
            assert {one.specimen for one in emr.charts.values()} == {"FC1"}
            parked = [json.loads(line) for line in gateway.run("parked", "--json").stdout.splitlines()]
            assert any(item["reason"] == "UNREADABLE" for item in parked)


async def test_every_export_of_every_table_driver(tmp_path: Path) -> None:
    """CSV and XLSX as the drivers' captures have them, dropped into folders: what they say arrives."""
    drivers = [d for d in library().drivers.values() if d.protocol == TABLE]
    assert len(drivers) >= 9
    said: set[tuple[str, str]] = set()
    text = f"[matching]\n{SEND}\n"
    (tmp_path / "mappings").mkdir()
    files: list[tuple[Path, bytes]] = []
    for driver in drivers:
        place = tmp_path / driver.name
        place.mkdir()
        codes: set[str] = set()
        for path in sorted((driver.folder / "captures").iterdir()):
            if path.suffix == ".json":
                continue
            files.append((place / path.name, path.read_bytes()))
            for one in decode(driver, path.read_bytes()).results:
                codes.add(one.code)
                if one.kind is Kind.PATIENT and one.problem is None and one.specimen:
                    said.add((driver.name, one.specimen))
        tests = "\n".join(f"{json.dumps(code)} = {{ emr = {json.dumps(code)} }}" for code in sorted(codes) if code)
        (tmp_path / "mappings" / f"{driver.name}.toml").write_text(
            f'instrument = "{driver.name}"\nchecked = "test"\n[tests]\n{tests}\n', encoding="utf-8"
        )
        text += section(driver.name, driver.name, place, f"{driver.name}.toml")
    async with Emr() as emr:
        text += f'[destination.emr]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr.port}\n'
        with Gateway(tmp_path, text) as gateway:
            for path, data in files:
                put(path, data)
            for driver in drivers:
                count = len([path for path, _ in files if path.parent.name == driver.name])
                await asyncio.to_thread(settled, gateway, driver.name, done=count)

            def quiet() -> bool:
                status = gateway.status()
                owed = status["deliveries"].get("emr", {})
                return status["to_process"] == 0 and not owed.get("waiting") and bool(owed.get("settled"))

            await asyncio.to_thread(wait_until, quiet, what="everything to be delivered")
            got = {(one.instrument.split("^")[0], one.specimen.split("^")[0]) for one in emr.charts.values()}
            parked = map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
            held = {(item["where"], item["specimen"]) for item in parked}
            assert got <= said
            assert said <= got | held, said - got - held
            assert {name for name, _ in got} >= {d.name for d in drivers if d.name in {name for name, _ in said - held}}
            assert not gateway.events("defect") and not gateway.events("line.defect")


async def test_a_folder_that_is_not_there_costs_its_own_line(tmp_path: Path) -> None:
    """The service starts, others serve, status says what to do; a reload that names another folder is followed."""
    async with Emr() as emr:
        missing, other = tmp_path / "missing", tmp_path / "other"
        other.mkdir()
        site = Site(tmp_path, emr, matching=SEND, extra=section("f", "sysmex_xn", missing, "xn1.toml"))
        with site.gateway as gateway:
            trouble = (await asyncio.to_thread(gateway.status))["lines"]["f"]["trouble"]
            assert "create it, or mount the share" in trouble
            gateway.config.write_text(site.text.replace(str(missing), str(other)), encoding="utf-8")
            gateway.reload()
            await asyncio.to_thread(wait_until, lambda: gateway.events("reloaded"), what="the reload")
            began = time.monotonic()
            put(other / "1.txt", "\r".join([*xn("FE1"), ""]).encode())
            await asyncio.to_thread(settled, gateway, "other", done=1)
            assert time.monotonic() - began < 10
            await seen(emr, 3)
