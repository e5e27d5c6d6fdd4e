"""What a reload must not be kept from by a port that is shut, and what stands after one that could not be carried out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from labgateway.config import Config
from labgateway.config.reading import parse
from labgateway.errors import LabgatewayError
from labgateway.gateway import Gateway
from labgateway.store.engine import Store

HEAD = '[gateway]\nname = "G"\nfacility = "F"\ntimezone = "UTC"\ndata = "data"\nmappings = "mappings"\n'
LINE = '[instrument.{0}]\ndriver = "sysmex_xn"\nmapping = "{0}.toml"\nline = {{ kind = "tcp-listen", host = "127.0.0.1", port = {1} }}\n'
DOOR = '[orders.emr]\nkind = "mllp-listen"\nhost = "127.0.0.1"\nport = {0}\n'


@pytest.fixture
def taken() -> Any:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def free() -> list[int]:
    """Ports on which nobody listens."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in servers]
    for one in servers:
        one.close()
    return ports


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mappings").mkdir()
        (folder / "data").mkdir()

    def config(self, *sections: str) -> Config:
        for name in ("a", "b"):
            (self.folder / "mappings" / f"{name}.toml").write_text(
                f'instrument = "{name}"\nchecked = "-"\n[tests]\nWBC = {{ emr = "WBC" }}\n', encoding="utf-8"
            )
        return parse((HEAD + "".join(sections)).encode(), self.folder / "config.toml")

    @asynccontextmanager
    async def running(self, *sections: str) -> AsyncGenerator[Gateway]:
        config = self.config(*sections)
        store = Store.open(config.store_url)
        gateway = Gateway(config, store, say=lambda *_, **__: None)
        await gateway.start()
        try:
            yield gateway
        finally:
            await gateway.stop()
            await store.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _trouble(gateway: Gateway, name: str) -> str:
    return (await gateway.act({"action": "status"}))["lines"][name]["trouble"]


async def test_a_line_that_was_never_open_can_be_taken_out(site: Site, taken: int, free: list[int]) -> None:
    async with site.running(LINE.format("a", free[0]), LINE.format("b", taken)) as gateway:
        assert await _trouble(gateway, "b")
        await gateway.reload(site.config(LINE.format("a", free[0])))
        assert list((await gateway.act({"action": "status"}))["lines"]) == ["a"]
        assert await _listens(free[0])


async def test_a_source_of_orders_that_was_never_open_gets_another_port(
    site: Site, taken: int, free: list[int]
) -> None:
    async with site.running(DOOR.format(taken)) as gateway:
        await gateway.reload(site.config(DOOR.format(free[0])))
        assert await _listens(free[0])
        assert "in use" not in (await gateway.act({"action": "status"}))["orders_from"]["emr"]["trouble"]


async def test_a_port_that_is_still_shut_holds_up_nobody_elses_change(site: Site, taken: int, free: list[int]) -> None:
    async with site.running(LINE.format("a", free[0]), LINE.format("b", taken)) as gateway:
        await gateway.reload(site.config(LINE.format("a", free[1]), LINE.format("b", taken)))
        assert await _listens(free[1])
        assert not await _listens(free[0])
        assert await _trouble(gateway, "b")


async def test_a_changed_line_goes_back_to_its_old_port_when_another_cannot_be_opened(
    site: Site, taken: int, free: list[int]
) -> None:
    async with site.running(LINE.format("a", free[0])) as gateway:
        with pytest.raises(LabgatewayError, match=r"instrument\.b"):
            await gateway.reload(site.config(LINE.format("a", free[1]), LINE.format("b", taken)))
        assert await _listens(free[0])
        assert not await _listens(free[1])


async def test_a_changed_source_of_orders_goes_back_too(site: Site, taken: int, free: list[int]) -> None:
    async with site.running(DOOR.format(free[0])) as gateway:
        with pytest.raises(LabgatewayError, match=r"instrument\.b"):
            await gateway.reload(site.config(DOOR.format(free[1]), LINE.format("b", taken)))
        assert await _listens(free[0])
        assert not await _listens(free[1])
