"""Ten thousand results with planted conflicts through the running gateway, and a million: nothing wrong at the EMR.

Every value tells by itself whose it is (planted/tubes.py), so each one that the EMR took is held against its tube, and each
one that it did not take must stand where it belongs, with the reason that was planted. The memory of gateway and
test is bounded in the test itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.gateways import rss_mb
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.planted.play import ASTM_LINES, LINES, Player
from tests.end_to_end.planted.tubes import BLOCK, OUTCOMES, TESTS, VERSIONS, Tube, days, specimen_of

GATEWAY_MB, TEST_MB = 400, 600
_BITS = 3  # a count of one outcome in a word of 64 bits
_OUTCOME = {name: at for at, name in enumerate(OUTCOMES)}

DRIVER = """\
schema = 1
title = "Planted"
maker = "Planted"
models = ["1"]
status = "simulated"
protocol = "{protocol}"
sources = ["tests/end_to_end/planted/play.py"]
[recognise]
sender = 'PLANTED.*'
[line]
encoding = "utf-8"
[where]
{where}
[words]
flag = {{ N = "normal" }}
status = {{ F = "final", C = "corrected", P = "preliminary" }}
[tests]
T0 = "mmol/L"
T1 = "mmol/L"
T2 = ["mmol/L", "mg/dL"]
T3 = "mmol/L"
T4 = "mmol/L"
T8 = "mmol/L"
"""
WHERE = {
    "astm": 'patient = "P-4"\npatient_name = "P-6"\nbirth_date = "P-8"\nsex = "P-9"\nspecimen = "O-3.1"\ncode = "R-3.4"\n'
    'value = "R-4"\nunit = "R-5"\nflag = "R-7"\nstatus = "R-9"\nmeasured_at = "R-13"',
    "hl7": 'patient = "PID-3.1"\npatient_name = "PID-5"\nbirth_date = "PID-7"\nsex = "PID-8"\nspecimen = "OBR-3.1"\n'
    'code = "OBX-3.1"\nvalue = "OBX-5"\nunit = "OBX-6"\nflag = "OBX-8"\nstatus = "OBX-11"\nmeasured_at = "OBR-7"',
}


def site(folder: Path, emr: int) -> tuple[str, int, list[int]]:
    """The config, the port for orders and those of the lines."""
    for protocol, where in WHERE.items():
        driver = folder / "drivers" / f"planted_{protocol}"
        driver.mkdir(parents=True)
        (driver / "driver.toml").write_text(DRIVER.format(protocol=protocol, where=where), encoding="utf-8")
    (folder / "mappings").mkdir()
    tests = "\n".join(f'T{n} = {{ emr = "E{n}", name = "Test {n}", comes = "mmol/L" }}' for n in range(TESTS))
    panels = 'ALL = ["E0", "E1", "E2", "E3", "E4"]\nFOUR = ["E0", "E1", "E2", "E3"]'
    (folder / "mappings" / "planted.toml").write_text(
        f'instrument = "planted"\nchecked = "test"\n[tests]\n{tests}\n[panels]\n{panels}\n[control]\n"LOT[0-9]+" = {{}}\n'
    )
    text = '[gateway]\nname = "PLANTED"\nfacility = "TEST"\n'
    text += '[matching]\nsecond_ids = ["patient", "birth_date", "sex", "name"]\n'
    ports = [free_port() for _ in range(LINES)]
    for n, port in enumerate(ports):
        text += (
            f'[instrument.a{n}]\ndriver = "planted_{"astm" if n < ASTM_LINES else "hl7"}"\nmapping = "planted.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}\n'
        )
    orders = free_port()
    text += f'[orders.emr]\nkind = "mllp-listen"\nhost = "127.0.0.1"\nport = {orders}\n'
    text += f'[destination.emr]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr}\n'
    return text, orders, ports


@contextmanager
def emr_of(file: Path) -> Iterator[int]:
    """The EMR as a process of its own; its port."""
    command = [sys.executable, "-m", "tests.end_to_end.planted.emr", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


class Store:
    """The gateway's store, read beside it, by SQL of our own: no code of the gateway's is asked."""

    def __init__(self, folder: Path) -> None:
        found = [path for path in folder.rglob("*.db") if path.is_file()]
        assert len(found) == 1, found
        self.path = found[0]

    def count(self, query: str) -> int:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as store:
            return int(store.execute(query).fetchone()[0])

    def rows(self) -> Iterator[tuple[str, str | None, str]]:
        """State, reason and value of every observation, one by one."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as store:
            yield from store.execute("SELECT state, reason, value FROM observation")


async def settle(store: Store, *, patience_s: float) -> None:
    """Until everything is decided and what goes out has gone; it may take any time as long as something moves."""
    before, still = (-1, -1), time.monotonic()
    while True:
        left = (
            await asyncio.to_thread(store.count, "SELECT count(*) FROM transmission WHERE state = 'stored'"),
            await asyncio.to_thread(store.count, "SELECT count(*) FROM delivery WHERE state = 'waiting'"),
        )
        if left == (0, 0):
            return
        if left != before:
            before, still = left, time.monotonic()
        assert time.monotonic() - still < patience_s, f"(messages, deliveries) {left} are left, and nothing moves"
        await asyncio.sleep(0.2)


def place(value: str) -> tuple[int, int, int]:
    """Whose value it is: tube, version, test."""
    tube, _, rest = value.partition(".")
    return int(tube), int(rest[0]), int(rest[1])


def at(n: int, version: int, test: int) -> int:
    return (n * VERSIONS + version) * TESTS + test


def stands(store: Store, tubes: int) -> array[int]:
    """By value: how often it stands where, three bits an outcome."""
    found = array("Q", bytes(8 * tubes * VERSIONS * TESTS))
    for state, reason, value in store.rows():
        outcome = _OUTCOME.get(reason or "" if state == "held" else state, len(OUTCOMES) - 1)
        found[at(*place(value))] += 1 << (_BITS * outcome)
    return found


def taken(file: Path, tubes: int) -> tuple[array[int], array[int], Counter[str]]:
    """By value: its letter and an id of its observation, 0 when the EMR has none of it; and what is wrong with it."""
    letters = array("Q", bytes(8 * tubes * VERSIONS * TESTS))
    ids = array("Q", bytes(8 * tubes * VERSIONS * TESTS))
    wrong: Counter[str] = Counter()
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            patient, placer, specimen, code, value, letter, observation = line.rstrip("\n").split("\t")
            n, version, test = place(value)
            if (patient, placer, specimen, code) != (f"P{n}", f"O{n}", specimen_of(n), f"E{test}"):
                wrong[f"{value} went to {patient} {placer} {specimen} {code}"] += 1
            one, mark = at(n, version, test), hash(observation) % 2**64 or 1
            if ids[one] not in (0, mark):
                wrong[f"{value} came as two observations"] += 1
            if version == 0 and letters[at(n, 1, test)]:
                wrong[f"{value} came behind what replaces it"] += 1
            ids[one], letters[one] = mark, ord(letter)
    return letters, ids, wrong


LETTERS = {("corrected", 1): "C", ("preliminary, then final", 0): "P"}


def judge(tube: Tube, found: array[int], letters: array[int], wrong: Counter[str]) -> Counter[str]:
    """Hold one tube against what was planted; where its values stand."""
    stood: Counter[str] = Counter()
    for version in range(VERSIONS):
        for test in range(TESTS):
            one = at(tube.number, version, test)
            have = Counter({name: count for k, name in enumerate(OUTCOMES) if (count := found[one] >> (_BITS * k) & 7)})
            allowed = tube.outcomes.get((version, test), (Counter(),))
            if have not in allowed:
                wrong[f"{tube.kind}: test {test} of version {version} stands {dict(have)}, not {allowed}"] += 1
            letter = LETTERS.get((tube.kind, version), "F") if have["released"] else "\0"
            if chr(letters[one]) != letter:
                wrong[f"{tube.kind}: letter {chr(letters[one])!r} at the EMR, not {letter!r}"] += 1
            stood += have
    return stood


def through(folder: Path, results: int, *, patience_s: float = 60.0) -> str:
    """So many results, a fifth as many tubes; raises when anything is wrong. The figures in words."""
    tubes = results // TESTS
    assert tubes % BLOCK == 0
    now = datetime.now(UTC)
    with emr_of(folder / "taken.tsv") as emr:
        text, orders, ports = site(folder, emr)
        with Gateway(folder, text) as gateway:
            assert gateway.process
            player = Player(orders, ports)
            most = 0.0
            started = time.monotonic()

            async def watched() -> None:
                nonlocal most
                playing = asyncio.ensure_future(player.play(range(tubes), now))
                while not playing.done():
                    await asyncio.wait((playing,), timeout=1)
                    most = max(most, rss_mb(gateway.process.pid if gateway.process else 0))
                await playing
                await settle(Store(folder), patience_s=patience_s)

            asyncio.run(watched())
            took = time.monotonic() - started
            most = max(most, rss_mb(gateway.process.pid))
            assert gateway.stop(patience_s=30) == 0
            (folder / "balance.json").write_text(proof(gateway))
    store = Store(folder)
    found = stands(store, tubes)
    letters, _, wrong = taken(folder / "taken.tsv", tubes)
    stood: Counter[str] = Counter()
    for tube in days(range(tubes), now):
        stood += judge(tube, found, letters, wrong)
    assert not wrong, wrong.most_common(20)
    assert stood.total() == player.results
    balance = json.loads((folder / "balance.json").read_text())
    assert balance["balances"] and balance["received"] == player.results
    states = {"delivered": "released", "waiting": "waiting", "duplicate": "duplicate", "QC": "control"}
    held = stood.total() - sum(stood[name] for name in states.values())
    expected = {name: stood[state] for name, state in states.items()} | {"held": held}
    assert {name: count for name, count in balance["results"].items() if count} == expected
    test_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert most < GATEWAY_MB, f"the gateway took {most:.0f} MB"
    assert results < 100_000 or test_mb < TEST_MB, f"the test took {test_mb:.0f} MB"
    counts = ", ".join(f"{count} {name}" for name, count in expected.items())
    return f"{player.results} results of {tubes} tubes in {took:.0f} s: {counts}; gateway {most:.0f} MB, test {test_mb:.0f} MB"


def proof(gateway: Gateway) -> str:
    """``labgateway balance`` of today."""
    command = [sys.executable, "-m", "labgateway", "balance", "--json", "--config", str(gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ten_thousand_results_with_planted_conflicts(tmp_path: Path) -> None:
    """2,000 tubes, 700 of them with something planted."""
    print(through(tmp_path, 10_000))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_million_results_with_planted_conflicts(tmp_path: Path) -> None:
    """200,000 tubes; LABGATEWAY_PLANTED names another number of results."""
    print(through(tmp_path, int(os.environ.get("LABGATEWAY_PLANTED", "1000000")), patience_s=300))
