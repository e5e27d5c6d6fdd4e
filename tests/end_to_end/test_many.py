"""Every capture of the first drivers, and ten thousand results at once, through the running gateway."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from pathlib import Path

from bench import ends
from labgateway.captures import open_capture
from labgateway.cli.decode_command import library
from labgateway.instruments.decode import decode
from labgateway.model import Kind
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import Astm, Hl7, frames_of, wait_until
from tests.end_to_end.gateway import Gateway, free_port

FIRST = (
    "sysmex_xn",
    "sysmex_xp",
    "roche_cobas_classic",
    "cepheid_genexpert",
    "horiba_yumizen",
    "mindray_bc",
    "biosystems_ba400",
)
HERE = Path(__file__).parents[2]
REFERENCE = HERE.parent / "shared" / "captures"
OF_DRIVER = {
    "sysmex_xn": ("sysmex_xn550", "sysmex_xs500i"), "sysmex_xp": ("sysmex_xp100",),
    "roche_cobas_classic": ("roche_cobas_c311", "roche_cobas_6000", "roche_hitachi_7600"),
    "cepheid_genexpert": ("cepheid_genexpert",), "horiba_yumizen": ("horiba_yumizen_h500",),
    "mindray_bc": ("mindray_bc5150", "mindray_bc5380", "mindray_bc6800"), "biosystems_ba400": ("biosystems_ba400",),
}  # fmt: skip


def messages_of(driver_name: str) -> list[bytes]:
    """Our own captures, and the reference ones where the folder is there."""
    driver = library().drivers[driver_name]
    files = sorted((driver.folder / "captures").glob("*.wire"))
    for folder in OF_DRIVER[driver_name]:
        files += [
            path
            for path in sorted((REFERENCE / folder).glob("*"))
            if path.suffix == (".hl7" if driver.protocol == "hl7" else ".astm") and not path.name.startswith("host_")
        ]
    return [m for path in files for m in open_capture(path.read_bytes(), protocol=driver.protocol).messages]


async def test_every_capture_of_the_first_drivers(tmp_path: Path) -> None:
    """What the EMR has in the end is what the captures say: each value under its own specimen, QC nowhere."""
    drivers = library().drivers
    said: dict[tuple[str, str, str], set[str | None]] = defaultdict(set)
    controls: set[str] = set()
    text = '[matching]\nwithout_order = "send"\n'
    ports: dict[str, int] = {}
    (tmp_path / "mappings").mkdir()
    for name in FIRST:
        codes: set[str] = set()
        for message in messages_of(name):
            for one in decode(drivers[name], message).results:
                if one.kind is Kind.PATIENT and one.problem is None and one.specimen:
                    said[name, one.specimen, one.code].add(one.value)
                elif one.kind in (Kind.CONTROL, Kind.CALIBRATION) and one.specimen:
                    controls.add(one.specimen)
                codes.add(one.code)
        ports[name] = free_port()
        tests = "\n".join(f"{json.dumps(code)} = {{ emr = {json.dumps(code)} }}" for code in sorted(codes) if code)
        (tmp_path / "mappings" / f"{name}.toml").write_text(
            f'instrument = "{name}"\nchecked = "test"\n[tests]\n{tests}\n', encoding="utf-8"
        )
        text += (
            f'[instrument.{name}]\ndriver = "{name}"\nmapping = "{name}.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {ports[name]} }}\n'
        )

    def play(name: str) -> None:
        if drivers[name].protocol == "hl7":
            sender = Hl7(ports[name])
            for message in messages_of(name):
                if b"|ORM^O01|" in message or b"|QBP^" in message:
                    continue  # queries get orders, not receipts: test_hl7_queries.py
                answer = sender.send(message)
                assert "MSA|AA" in answer or "MSA|CA" in answer
            sender.close()
            return
        analyzer = Astm(ports[name])
        encoding = drivers[name].line.encoding or "latin-1"
        for message in messages_of(name):
            analyzer.session(frames_of(message.decode(encoding), encoding=encoding))
        analyzer.close()

    async with Emr() as emr:
        text += f'[destination.emr]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr.port}\n'
        with Gateway(tmp_path, text) as gateway:
            await asyncio.gather(*(asyncio.to_thread(play, name) for name in FIRST))

            def quiet() -> bool:
                status = gateway.status()
                owed = status["deliveries"].get("emr", {})
                return status["to_process"] == 0 and not owed.get("waiting") and bool(owed.get("settled"))

            await asyncio.to_thread(wait_until, quiet, what="everything to be delivered")
            assert not emr.complaints
            got = {
                (one.instrument.split("^")[0], one.specimen.split("^")[0], one.code.split("^")[0], one.value or None)
                for one in emr.charts.values()
            }
            # A code may hold a component separator of its own; the EMR shows it unescaped, before the name.
            assert got <= {
                (name, specimen, code.split("^")[0], value)
                for (name, specimen, code), values in said.items()
                for value in values
            }
            alone = {key for key, values in said.items() if len(values) == 1 and next(iter(values)) is not None}
            missing = {key for key in alone if (*key[:2], key[2].split("^")[0]) not in {row[:3] for row in got}}
            held = {
                (item["where"], item["specimen"], item["code"])
                for item in map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
            }
            assert missing <= held, missing - held
            assert not {row[1] for row in got} & (controls - {key[1] for key in said})


def test_ten_thousand_results_from_fifty_lines(tmp_path: Path) -> None:
    """Ordered, measured on 50 lines at once, sent: none lost, none doubled in effect, none under another specimen."""
    found = ends.end_to_end(tmp_path, seconds=0.75)
    assert found["results"] >= 10_000
    assert (found["lost"], found["doubled"], found["wrong"]) == (0, 0, 0)


def test_hl7_in_and_out_to_three_destinations(tmp_path: Path) -> None:
    """The same for ORU^R01 that came over MLLP; compared at each of three EMRs."""
    found = ends.end_to_end(tmp_path, seconds=0.5, protocol="hl7", destinations=3)
    assert found["results"] >= 5_000
    assert (found["lost"], found["doubled"], found["wrong"]) == (0, 0, 0)
