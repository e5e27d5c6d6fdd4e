"""The sweep: every shipped driver is played over a real connection, and what arrives decodes to what its captures say."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from pathlib import Path

import pytest

from labgateway.captures import read_capture
from labgateway.cli import simulate_command
from labgateway.cli.decode_command import shipped_drivers
from labgateway.cli.simulate_script import captures_of
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import FILE, Driver, load
from labgateway.instruments.spec import TABLE
from labgateway.line import Line
from labgateway.protocols.astm_rules import Framing, LinkRules
from labgateway.protocols.raw_framing import FRAMINGS, Check
from labgateway.simulator import Fault, Script, play
from labgateway.simulator.files import drop
from labgateway.transports.tcp import TcpConnect, TcpListen

from .test_simulator import AtOnce

DRIVERS = [load(folder.parent) for folder in sorted(shipped_drivers().glob(f"*/{FILE}"))]
NOT_LIVE = ("beckman_lh",)


def options(driver: Driver, *args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    simulate_command.add_parser(parser.add_subparsers())
    return parser.parse_args(["simulate", str(driver.folder), *args])


def said(driver: Driver, messages: list[bytes]) -> Counter[tuple[object, ...]]:
    return Counter(
        (r.kind, r.specimen, r.code, r.value, r.unit, r.flags, r.status, r.measured_at)
        for message in messages
        for r in decode(driver, message).results
    )


async def played(driver: Driver, script: Script) -> tuple[AtOnce, int]:
    """A real line of the driver's protocol on a real port."""
    journal = AtOnce()
    line = Line(
        driver.name,
        driver.protocol,
        journal.keep,
        connect=lambda opened: TcpListen("127.0.0.1", 0, opened, silent_s=0.0),
        encoding=driver.line.encoding if driver.protocol == "hl7" else None,
        link_rules=LinkRules(framing=Framing(driver.line.framing)),
    )
    await line.start()
    assert isinstance(line.transport, TcpListen)
    port = line.transport.port
    try:
        summary = await play(
            script, lambda opened: TcpConnect("127.0.0.1", port, opened, random=lambda: 0.99), timeout_s=60
        )
    finally:
        await line.stop()
    assert summary.messages == len(script.messages), summary
    return journal, summary.naks


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda d: d.name)
async def test_a_driver_is_played_and_decoded_the_same(driver: Driver, tmp_path: Path) -> None:
    """As its protocol has it: by ASTM, MLLP, its raw framing, or as files in a folder."""
    if driver.protocol in NOT_LIVE:
        pytest.skip("where its messages end is not known well enough; no line runs it")
    _, script = simulate_command.script_of(options(driver, "--to", "tcp://127.0.0.1:1"))
    wanted = [
        message
        for path in captures_of(driver)
        for message in (
            [path.read_bytes()]
            if driver.protocol == TABLE
            else read_capture(path.read_bytes(), protocol=driver.protocol)
        )
    ]
    if driver.protocol == TABLE:
        drop(script, tmp_path, ".x", wait=False)
        got = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    else:
        got = (await played(driver, script))[0].complete()
    assert said(driver, got) == said(driver, wanted)
    assert said(driver, got)


RAW = [d for d in DRIVERS if d.protocol in FRAMINGS and d.protocol not in NOT_LIVE]


@pytest.mark.parametrize(
    "fault", [Fault.BAD_CHECKSUM, Fault.CUT, Fault.DUPLICATE, Fault.LOST_ACK, Fault.TWICE, Fault.NOISE, Fault.NO_END]
)
@pytest.mark.parametrize("driver", {d.protocol: d for d in RAW}.values(), ids=lambda d: d.protocol)
async def test_every_fault_of_every_raw_framing(driver: Driver, fault: Fault) -> None:
    """Every result is there; what is there twice was said twice, and has the same value."""
    if fault is Fault.BAD_CHECKSUM and FRAMINGS[driver.protocol].check is Check.NONE:
        pytest.skip("has no checksum")
    _, script = simulate_command.script_of(options(driver, "--to", "tcp://127.0.0.1:1", "--fault", fault))
    journal, _ = await asyncio.wait_for(played(driver, script), 90)
    wanted = said(driver, list(script.messages))
    got = said(driver, journal.complete())
    assert set(got) == set(wanted)
