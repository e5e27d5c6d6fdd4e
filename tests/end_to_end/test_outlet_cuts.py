"""kill -9 at any call of a gateway that delivers to each other kind of destination than MLLP; see ``cuts``, ``receivers``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.brokers import Server, mosquitto, nats
from tests.end_to_end.cuts import CALLS, House, copied, life_with, prepare
from tests.end_to_end.receivers import NOWHERE, nowhere, receiver

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

FILES = ("link,linkat", "unlink,unlinkat", "write", "fdatasync,fsync")
SAMPLE = {
    "folder": [("unlink,unlinkat", 3)],
    "http": [("sendto", 10)],
    "fhir": [("recvfrom", 16)],
    "postgresql": [("recvfrom", 50)],
    "mariadb": [("sendto", 24)],
    "mqtt": [("recvfrom", 16)],
    "nats": [("sendto", 12)],
}
"""At one of the first deliveries; of a folder: between its two names."""


@dataclass(frozen=True)
class Site:
    """house: prepared, to be copied. server: the broker, of the kinds that need one."""

    kind: str
    house: House
    server: Server | None


@pytest.fixture(scope="module", params=NOWHERE)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Of each kind."""
    kind = str(request.param)
    folder = tmp_path_factory.mktemp(kind)
    server = {"mqtt": mosquitto, "nats": nats}[kind](folder / "server") if kind in ("mqtt", "nats") else None
    if server is not None:
        server.start()
    try:
        house = House(folder, f"sqlite:///{folder}/data/labgateway.db", destination=nowhere(kind))
        prepare(house)
        yield Site(kind, house, server)
    finally:
        if server is not None:
            server.kill()


async def lived(site: Site, folder: Path, cuts: list[tuple[str, int]]) -> list[bool]:
    """One life, its receiver fresh."""
    async with receiver(site.kind, folder, site.server) as there:
        return await life_with(there, copied(site.house, folder, there.destination), cuts)


async def test_killed_while_it_delivers(tmp_path: Path, site: Site) -> None:
    """A sample."""
    assert all(await lived(site, tmp_path, SAMPLE[site.kind])), "the kill must have come"


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("calls", dict.fromkeys((*CALLS, *FILES)))
async def test_every_cut(tmp_path: Path, site: Site, calls: str) -> None:
    """Every N of this call, until a life had no such call any more."""
    if calls not in (FILES if site.kind == "folder" else CALLS):
        pytest.skip("what this kind of destination does not do is cut in test_delivery_cuts")
    for n in range(1, 2000):
        folder = tmp_path / str(n)
        folder.mkdir()
        if not all(await lived(site, folder, [(calls, n)])):
            return
        shutil.rmtree(folder)
    raise AssertionError("no life without a cut")
