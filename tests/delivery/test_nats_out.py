"""NATS on a real nats-server: only the stream's own acknowledgement settles, and our id makes a repeat harmless."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats as client
import pytest
import trustme

from labgateway.delivery import document
from labgateway.delivery.nats_out import Hub, NatsDestination
from labgateway.delivery.outcome import Accepted, Refused, Silent, Unreachable
from labgateway.transports import tls
from tests.brokers import Server, nats
from tests.delivery.reports import PERSON, SETTINGS, observation, order, report


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Server]:
    server = nats(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


def body(number: str = "MSG1", comment: str = "") -> bytes:
    return document.render(report(observation(of=order(), comments=(comment,)), patient=PERSON), SETTINGS, number)


def out(hub: Server, **more: Any) -> NatsDestination:
    return NatsDestination(
        Hub([f"nats://127.0.0.1:{hub.port}"]), "SITE 1", "lab.{site}.{instrument}", **{"answer_s": 2.0, **more}
    )


async def make_stream(hub: Server, **more: Any) -> None:
    link = await client.connect(f"nats://127.0.0.1:{hub.port}")  # pyright: ignore
    await link.jetstream().add_stream(name="LAB", subjects=["lab.>"], **more)  # pyright: ignore
    await link.close()


async def kept(hub: Server) -> list[Any]:
    link = await client.connect(f"nats://127.0.0.1:{hub.port}")  # pyright: ignore
    stream = link.jetstream()
    count = (await stream.stream_info("LAB")).state.messages
    reader = await stream.subscribe("lab.>", ordered_consumer=True)  # pyright: ignore
    found = [await reader.next_msg(timeout=5) for _ in range(count)]
    await link.close()
    return found


async def test_the_streams_acknowledgement_settles(hub: Server) -> None:
    await make_stream(hub)
    way = out(hub, stream="LAB")
    assert await way.send(body(), "MSG1") == Accepted("LAB 1")
    assert await way.send(body(), "MSG1") == Accepted("LAB has it already")
    assert await way.send(body("MSG2"), "MSG2") == Accepted("LAB 2")
    first, second = await kept(hub)
    assert (first.data, first.subject, first.headers["Nats-Msg-Id"]) == (body(), "lab.SITE_1.xn1", "MSG1")
    assert second.headers["Site"] == "SITE 1"
    await way.close()


async def test_no_stream_no_yes(hub: Server) -> None:
    way = out(hub)
    assert await way.send(body(), "MSG1") == Silent("no stream of the hub takes this subject: make one there")
    await make_stream(hub)
    assert isinstance(await way.send(body(), "MSG1"), Accepted)
    other = out(hub, stream="OTHER")
    said = await other.send(body("MSG2"), "MSG2")
    assert isinstance(said, Silent) and "refuses with error" in said.why
    assert len(await kept(hub)) == 1
    await way.close()
    await other.close()


async def test_a_stream_that_is_full(hub: Server) -> None:
    await make_stream(hub, max_msgs=1, discard="new")
    way = out(hub)
    assert isinstance(await way.send(body(), "MSG1"), Accepted)
    said = await way.send(body("MSG2"), "MSG2")
    assert isinstance(said, Silent) and "refuses with error" in said.why
    await way.close()


async def test_too_large_parks_and_the_others_go_on(hub: Server) -> None:
    await make_stream(hub)
    way = out(hub)
    said = await way.send(body("MSG1", "x" * 2_000_000), "MSG1")
    assert isinstance(said, Refused) and "max_payload" in said.words
    assert isinstance(await way.send(body("MSG2"), "MSG2"), Accepted)
    await way.close()


async def test_a_hub_that_is_killed_and_comes_back_has_all_that_it_acknowledged(hub: Server) -> None:
    await make_stream(hub)
    way = out(hub, connections=8)
    taken: set[str] = set()

    async def bring(number: str) -> None:
        while not isinstance(await way.send(body(number), number), Accepted):
            await asyncio.sleep(0.05)
        taken.add(number)

    work = asyncio.gather(*(bring(f"N{n:03}") for n in range(200)))
    while len(taken) < 40:
        await asyncio.sleep(0.005)
    hub.kill()
    await asyncio.sleep(0.3)  # for what it had said before
    before = len(taken)
    await asyncio.sleep(0.3)
    assert len(taken) == before, "nobody acknowledges while it is dead"
    hub.start()
    await asyncio.wait_for(work, 60)
    ids = [message.headers["Nats-Msg-Id"] for message in await kept(hub)]
    assert sorted(set(ids)) == [f"N{n:03}" for n in range(200)]
    assert len(ids) == 200, "a repeat is known by our id"
    await way.close()


async def test_in_flight_when_the_hub_is_killed_or_frozen(hub: Server) -> None:
    await make_stream(hub)
    way = out(hub, answer_s=30.0)
    assert isinstance(await way.send(body(), "MSG1"), Accepted)
    hub.freeze()
    send = asyncio.create_task(way.send(body("MSG2"), "MSG2"))
    await asyncio.sleep(0.2)
    hub.kill()
    assert await asyncio.wait_for(send, 5) == Silent("the hub broke off; it may have arrived")
    said = await way.send(body("MSG2"), "MSG2")
    assert isinstance(said, Unreachable) and "A123" not in said.why
    await way.close()


async def test_a_second_server_is_called_when_the_first_is_away(hub: Server) -> None:
    await make_stream(hub)
    way = NatsDestination(Hub(["nats://127.0.0.1:9", f"nats://127.0.0.1:{hub.port}"]), "S", "lab.x", answer_s=2.0)
    assert isinstance(await way.send(body(), "MSG1"), Unreachable)
    assert isinstance(await way.send(body(), "MSG1"), Accepted)
    await way.close()


async def test_a_token_from_its_file(tmp_path: Path) -> None:
    server = nats(tmp_path / "nats", more='authorization { token: "right" }')
    server.start()
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    way = NatsDestination(Hub([f"nats://127.0.0.1:{server.port}"], token_file=secret), "S", "lab.x", answer_s=2.0)
    try:
        said = await way.send(body(), "MSG1")
        assert isinstance(said, Unreachable) and "wrong" not in said.why
        secret.write_text("right\n")
        assert isinstance(await way.send(body(), "MSG1"), Silent)
        await way.close()
    finally:
        server.kill()


async def test_status_goes_along(hub: Server) -> None:
    await make_stream(hub)
    way = out(hub, status_subject="lab.{site}.status")
    await way.tell({"state": "running"}, {"alerts": ["x"]})
    (message,) = await kept(hub)
    assert message.subject == "lab.SITE_1.status"
    assert json.loads(message.data) == {"state": "running", "alerts": ["x"]}
    hub.kill()
    await asyncio.wait_for(way.tell({"state": "running"}, {"alerts": []}), 10)
    await way.close()


async def test_what_is_no_document() -> None:
    way = NatsDestination(Hub(["nats://127.0.0.1:9"]), "S", "lab.x")
    assert isinstance(await way.send(b"MSH|^~\\&|", "M"), Refused)
    await way.close()


async def test_encrypted_and_the_hub_is_who_it_says(tmp_path: Path) -> None:
    """Our own authority: taken. Another authority: no connection."""
    ours, theirs = trustme.CA(), trustme.CA()
    certificate = ours.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}'
    server = nats(tmp_path / "nats", more=files)
    server.start()
    outcomes: list[Any] = []
    try:
        for authority in (ours, theirs):
            authority.cert_pem.write_to_path(tmp_path / "ca.pem")
            context = tls.context(tls.client(tmp_path / "ca.pem"))
            where = Hub([f"tls://127.0.0.1:{server.port}"], tls=lambda made=context: made)
            way = NatsDestination(where, "S", "lab.x", answer_s=2.0)
            outcomes.append(await way.send(body(), "MSG1"))
            await way.close()
    finally:
        server.kill()
    assert outcomes[0] == Silent("no stream of the hub takes this subject: make one there")
    assert isinstance(outcomes[1], Unreachable)
