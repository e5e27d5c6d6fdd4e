"""Whoever takes results in the tests of sudden ends, one of each kind of destination: real servers, nothing of ours in them.

received    what it was sent                    arrivals: our ids of the messages, in order, repeats included
accepted    what it said yes to, or holds       charts: what it keeps, by our id of the observation
complaints  half a file, other bytes under a known id, a row or a resource of which there are two
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiomqtt
import nats as client
from aiohttp import web
from sqlalchemy import create_engine, text

from tests import mariadb, postgresql
from tests.brokers import Server
from tests.end_to_end.gateway import free_port


class Held(Protocol):
    """One observation as it was understood."""

    @property
    def specimen(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def value(self) -> str: ...


class Receiver(Protocol):
    """See the module; ``tests.delivery.emr.Emr`` is the one for MLLP."""

    complaints: list[str]

    @property
    def arrivals(self) -> list[str]: ...
    @property
    def accepted(self) -> list[str]: ...
    @property
    def charts(self) -> Mapping[str, Held]: ...
    async def look(self, *, last: bool = False) -> None:
        """Bring the lists up to date while no gateway runs. last: nothing may lie about any more."""
        ...


@dataclass(frozen=True)
class Found:
    """See Held."""

    specimen: str
    code: str
    value: str


class Kept:
    """What all of them have. destination: the section's text."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.complaints: list[str] = []
        self.arrivals: list[str] = []
        self.accepted: list[str] = []
        self.charts: dict[str, Held] = {}
        self._bodies: dict[str, bytes] = {}

    async def look(self, *, last: bool = False) -> None:
        """It knows by itself."""

    def arrive(self, number: str, body: bytes) -> None:
        """A message; the same id must bear the same bytes."""
        self.arrivals.append(number)
        if self._bodies.setdefault(number, body) != body:
            self.complaints.append(f"{number}: came again with other bytes")

    def take(self, number: str, body: bytes) -> None:
        """Yes to a JSON document of ours."""
        self.accepted.append(number)
        found = json.loads(body)
        if found["message"] != number:
            self.complaints.append(f"{number}: its document says {found['message']}")
        for one in found["results"]:
            self._chart(one["id"], Found(found["specimen"], one["code"], one["value"]))

    def _chart(self, number: str, one: Held) -> None:
        if self.charts.setdefault(number, one) != one:
            self.complaints.append(f"{number}: came again with another value")


class _Web(Kept):
    """Takes the second request without an answer, closes after every third."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        number, body = request.headers["Idempotency-Key"], await request.read()
        self.arrive(number, body)
        if len(self.arrivals) == 2:
            assert request.transport
            request.transport.abort()
            return web.Response()
        response = self.answer(number, body)
        if len(self.arrivals) % 3 == 0:
            response.force_close()
        return response

    def answer(self, number: str, body: bytes) -> web.Response:
        """A HIS's."""
        self.take(number, body)
        return web.Response(status=201)


class _Fhir(_Web):
    def answer(self, number: str, body: bytes) -> web.Response:
        """A transaction, by conditional create as R4 has it: what is there by its identifier is not made again."""
        self.accepted.append(number)
        entries = json.loads(body, parse_float=str, parse_int=str)["entry"]
        (tube,) = (e["resource"] for e in entries if e["resource"]["resourceType"] == "Specimen")
        for entry in entries:
            one = entry["resource"]
            if one["resourceType"] != "Observation":
                continue
            (id_,) = (identifier["value"] for identifier in one["identifier"])
            if id_ not in entry["request"].get("ifNoneExist", ""):
                self.complaints.append(f"{id_}: would be made a second time")
            code = one["code"]["coding"][-1]["code"]
            found = Found(tube["accessionIdentifier"]["value"], code, one["valueQuantity"]["value"])
            self._chart(id_, found)
        made = [{"response": {"status": "201 Created"}} for _ in entries]
        return web.json_response({"resourceType": "Bundle", "type": "transaction-response", "entry": made})


@asynccontextmanager
async def _web(kind: type[_Web], destination: str) -> AsyncIterator[Kept]:
    port = free_port()
    there = kind(f'{destination}\nurl = "http://127.0.0.1:{port}/results"')
    app = web.Application()
    app.router.add_post("/results", there.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield there
    finally:
        await runner.cleanup()


class _Table(Kept):
    """A table that counts its rows, so that their order can be seen."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f'kind = "sql"\nurl = "{url}"\ntable = "lab"\n'
            'columns = { id = "id", message = "message", specimen = "specimen", code = "code", value = "value" }'
        )
        self._engine = create_engine(url)
        counts = "SERIAL" if url.startswith("postgresql") else "BIGINT AUTO_INCREMENT"
        rest = ", ".join(f"{name} VARCHAR(60)" for name in ("message", "specimen", "code", "value"))
        with self._engine.begin() as connection:
            connection.execute(text(f"CREATE TABLE lab (n {counts} PRIMARY KEY, id VARCHAR(40) UNIQUE, {rest})"))

    async def look(self, *, last: bool = False) -> None:
        """Read all of it."""
        with self._engine.begin() as connection:
            rows = connection.execute(text("SELECT message, id, specimen, code, value FROM lab ORDER BY n")).all()
        self.arrivals = self.accepted = [str(row[0]) for row in rows]
        if not set(self.charts) <= {str(row[1]) for row in rows}:
            self.complaints.append("a row is gone")
        self.charts = {str(row[1]): Found(*map(str, row[2:])) for row in rows}
        if len(self.charts) != len(rows):
            self.complaints.append("a row is there twice")

    def close(self) -> None:
        """Let go of the server."""
        self._engine.dispose()


@asynccontextmanager
async def _table(server: str) -> AsyncIterator[Kept]:
    with (postgresql.schema if server == "postgresql" else mariadb.database)() as url:
        there = _Table(url)
        try:
            yield there
        finally:
            there.close()


class _Folder(Kept):
    """A reader that takes away every other file that it finds, by moving it, while the gateway is dead."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f'kind = "folder"\npath = "{folder}/out"\nformat = "json"')
        self._out, self._taken = folder / "out", folder / "taken"
        self._out.mkdir()
        self._taken.mkdir()
        self._seen = 0

    async def look(self, *, last: bool = False) -> None:
        """In the order of the names."""
        for path in sorted(self._out.iterdir()):
            if path.name.startswith("."):
                if last:
                    self.complaints.append(f"{path.name}: left lying")
                continue
            body = path.read_bytes()
            self.arrive(path.stem, body)
            self.take(path.stem, body)
            if last or self._seen % 2:
                path.rename(self._taken / f"{path.stem}.{self._seen}.json")
            self._seen += 1
        for path in self._taken.iterdir() if last else ():
            if path.stat().st_nlink > 1:
                self.complaints.append(f"{path.name}: has another name, under which it could be changed")
            if path.read_bytes() != self._bodies[path.name.split(".")[0]]:
                self.complaints.append(f"{path.name}: was changed after the reader had it")


class _Mqtt(Kept):
    """Answers everything but the second message."""

    def __init__(self, broker: Server) -> None:
        self._broker, self._place = broker, f"lab/{secrets.token_hex(5)}"
        super().__init__(
            f'kind = "mqtt"\nhost = "127.0.0.1"\nport = {broker.port}\ntopic = "{self._place}/results"\n'
            f'answers = "{self._place}/answers"'
        )
        self.ready = asyncio.Event()

    async def serve(self) -> None:
        """Until cancelled."""
        async with aiomqtt.Client("127.0.0.1", self._broker.port, protocol=aiomqtt.ProtocolVersion.V5) as link:
            await link.subscribe(f"{self._place}/results", qos=1)
            self.ready.set()
            async for message in link.messages:
                body = bytes(message.payload)
                number = str(json.loads(body)["message"])
                self.arrive(number, body)
                if len(self.arrivals) != 2:
                    self.take(number, body)
                    answer = json.dumps({"message": number, "accepted": True})
                    await link.publish(f"{self._place}/answers", answer, qos=1)


@asynccontextmanager
async def _mqtt(broker: Server) -> AsyncIterator[Kept]:
    there = _Mqtt(broker)
    task = asyncio.create_task(there.serve())
    async with asyncio.timeout(10):
        await there.ready.wait()
    try:
        yield there
    finally:
        while not task.done():  # aiomqtt may swallow one cancellation
            task.cancel()
            await asyncio.wait({task}, timeout=0.5)


class _Stream(Kept):
    """A JetStream stream; it drops repeats by our id."""

    def __init__(self, hub: Server) -> None:
        self._hub, self._name = hub, f"LAB{secrets.token_hex(5)}"
        super().__init__(
            f'kind = "nats"\nservers = ["nats://127.0.0.1:{hub.port}"]\nsubject = "lab.{self._name}"\nstream = "{self._name}"'
        )

    async def make(self) -> None:
        """The stream."""
        link = await client.connect(f"nats://127.0.0.1:{self._hub.port}")  # pyright: ignore
        await link.jetstream().add_stream(name=self._name, subjects=[f"lab.{self._name}"])  # pyright: ignore
        await link.close()

    async def look(self, *, last: bool = False) -> None:
        """Read all of it."""
        link: Any = await client.connect(f"nats://127.0.0.1:{self._hub.port}")  # pyright: ignore
        stream: Any = link.jetstream()
        count = (await stream.stream_info(self._name)).state.messages
        self.arrivals, self.accepted = [], []
        for n in range(1, count + 1):
            message = await stream.get_msg(self._name, n)
            number = str(message.headers["Nats-Msg-Id"])
            self.arrive(number, message.data)
            self.take(number, message.data)
        await link.close()
        if len(set(self.arrivals)) != len(self.arrivals):
            self.complaints.append("a message is there twice")


@asynccontextmanager
async def _stream(hub: Server) -> AsyncIterator[Kept]:
    there = _Stream(hub)
    await there.make()
    yield there


@asynccontextmanager
async def _folder(folder: Path) -> AsyncIterator[Kept]:
    yield _Folder(folder)


NOWHERE = {
    "http": 'kind = "http"\nurl = "http://127.0.0.1:{port}/"',
    "fhir": 'kind = "fhir"\ncode_system = "urn:codes"\nurl = "http://127.0.0.1:{port}/"',
    "postgresql": 'kind = "sql"\nurl = "postgresql+psycopg://nobody@127.0.0.1:{port}/no"\ntable = "lab"',
    "mariadb": 'kind = "sql"\nurl = "mysql+pymysql://nobody@127.0.0.1:{port}/no"\ntable = "lab"',
    "mqtt": 'kind = "mqtt"\nhost = "127.0.0.1"\nport = {port}\ntopic = "lab"\nanswers = "answers"',
    "nats": 'kind = "nats"\nservers = ["nats://127.0.0.1:{port}"]\nsubject = "lab"',
    "folder": 'kind = "folder"\npath = "not-there"\nformat = "json"',
}
"""By kind: one that is not there yet."""


def nowhere(kind: str) -> str:
    """The section's text of a receiver that is away."""
    return NOWHERE[kind].replace("{port}", str(free_port()))


@asynccontextmanager
async def receiver(kind: str, folder: Path, server: Server | None) -> AsyncIterator[Kept]:
    """One of this kind, fresh. server: the broker, of the kinds that need one."""
    async with AsyncExitStack() as stack:
        match kind:
            case "http":
                made = _web(_Web, 'kind = "http"')
            case "fhir":
                made = _web(_Fhir, 'kind = "fhir"\ncode_system = "urn:codes"')
            case "mqtt":
                assert server
                made = _mqtt(server)
            case "nats":
                assert server
                made = _stream(server)
            case "folder":
                made = _folder(folder)
            case _:
                made = _table(kind)
        yield await stack.enter_async_context(made)
