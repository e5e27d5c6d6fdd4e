"""kill -9 at any storage or socket call of a gateway that delivers, on SQLite and on PostgreSQL; see ``cuts``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import Cluster, cluster
from tests.end_to_end.cuts import CALLS, House, copied, life, prepare

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@dataclass(frozen=True)
class Site:
    """make: a prepared site in a folder, each time the same. first_send: the call of sendto soon after which the first result leaves."""

    make: Callable[[Path], House]
    first_send: int


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A PostgreSQL of our own."""
    with cluster() as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """On each store."""
    folder = tmp_path_factory.mktemp("prepared")
    if request.param == "sqlite":
        house = House(folder, f"sqlite:///{folder}/data/labgateway.db")
        prepare(house)
        return Site(lambda new: copied(house, new), 8)
    postgres: Cluster = request.getfixturevalue("server")
    template = postgres.database()
    house = House(folder, postgres.url(template))
    prepare(house)
    return Site(lambda new: House(new, postgres.url(postgres.database(template))), 74)


async def test_killed_while_it_delivers(tmp_path: Path, site: Site) -> None:
    """A sample: at one of the first sends, at an answer, in a commit; all in one life."""
    n = site.first_send
    reached = await life(site.make(tmp_path), [("sendto", n + 4), ("recvfrom", n + 14), ("fdatasync,fsync", 6)])
    assert reached[0], "the kill must have come"


async def test_the_harness_sees_what_is_settled_before_the_answer(tmp_path: Path, site: Site) -> None:
    """One of the first sends is such a cut."""
    program = (sys.executable, "-m", "tests.end_to_end.wrong", "settle_first")
    for n in range(site.first_send, site.first_send + 30):
        (tmp_path / str(n)).mkdir()
        try:
            await life(site.make(tmp_path / str(n)), [("sendto", n)], program)
        except AssertionError as error:
            assert "settled, and the EMR has never said yes" in str(error)
            return
    raise AssertionError("no cut saw it")


async def test_the_harness_sees_what_is_sent_before_the_commit(tmp_path: Path, site: Site) -> None:
    """What was sent comes again under another id."""
    program = (sys.executable, "-m", "tests.end_to_end.wrong", "send_first")
    with pytest.raises(AssertionError, match="the EMR holds what nobody released"):
        await life(site.make(tmp_path), [("recvmsg", 1)], program)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("calls", CALLS)
async def test_every_cut(tmp_path: Path, site: Site, calls: str) -> None:
    """Every N of this call, until a life had no such call any more."""
    for n in range(1, 2000):
        folder = tmp_path / str(n)
        folder.mkdir()
        if not all(await life(site.make(folder), [(calls, n)])):
            return
        shutil.rmtree(folder)
    raise AssertionError("no life without a cut")
