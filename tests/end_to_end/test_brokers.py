"""Destinations on brokers through a running gateway: Mosquitto and nats-server, killed with messages in flight."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import nats as client

from tests.brokers import Server, mosquitto, nats
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.outlets import Hospital
from tests.end_to_end.test_first_light import xn


@asynccontextmanager
async def emr(broker: Server, seen: dict[str, dict[str, Any]]) -> AsyncIterator[None]:
    """An EMR on the broker that keeps every result by its id, answers each message, and connects again for ever."""

    async def serve() -> None:
        async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as link:
            await link.subscribe("lab/SITE1/xn1", qos=1)
            async for message in link.messages:
                found = json.loads(bytes(message.payload))
                for one in found["results"]:
                    seen.setdefault(one["id"], {"specimen": found["specimen"], **one})
                await link.publish(
                    "lab/SITE1/answers", json.dumps({"message": found["message"], "accepted": True}), qos=1
                )

    async def work() -> None:
        while True:
            try:
                await serve()
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)

    task = asyncio.create_task(work())
    yield
    while not task.done():  # aiomqtt may swallow one cancellation
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)


async def test_a_broker_killed_with_messages_in_flight_loses_nothing(tmp_path: Path) -> None:
    broker = mosquitto(tmp_path / "mosquitto")
    broker.start()
    seen: dict[str, dict[str, Any]] = {}
    hospital = Hospital(
        tmp_path,
        f'[destination.broker]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {broker.port}\ntopic = "lab/{{site}}/{{instrument}}"\n'
        'answers = "lab/{site}/answers"\nstatus_topic = "lab/{site}/status"\nretry_max_s = 1\nanswer_s = 5\nconnections = 4',
    )
    try:
        async with emr(broker, seen):
            with hospital.gateway as gateway:
                send = asyncio.create_task(
                    hospital.measures(*(xn(f"S{n:04}", wbc=f"{n // 10}.{n % 10}0") for n in range(60)))
                )
                while len(seen) < 20:
                    await asyncio.sleep(0.01)
                broker.kill()
                await send
                gateway.kill()
                gateway.start()
                broker.start()
                await hospital.settled(60, "broker")
                assert len(seen) == 180
                values = {one["specimen"]: one["value"] for one in seen.values() if one["code"] == "WBC"}
                assert values == {f"S{n:04}": f"{n // 10}.{n % 10}0" for n in range(60)}
                kept = await retained(broker, "lab/SITE1/status/#", 2)
                assert kept["lab/SITE1/status"]["state"] == "running"
                assert set(kept["lab/SITE1/status"]["lines"]) == {"xn1"}, "no more than half a minute old"
                assert kept["lab/SITE1/status/alerts"]["alerts"] == []
                assert gateway.stop() == 0
                assert (await retained(broker, "lab/SITE1/status", 1))["lab/SITE1/status"]["state"] == "stopped"
                log = "\n".join(gateway.raw_log)
                assert "S0001" not in log and "lab/SITE1" not in log
    finally:
        broker.kill()


async def retained(broker: Server, topic: str, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as link:
        await link.subscribe(topic)
        async with asyncio.timeout(10):
            async for message in link.messages:
                found[str(message.topic)] = json.loads(bytes(message.payload))
                if len(found) == count:
                    return found
    return found


async def test_a_site_works_alone_while_the_hub_is_down(tmp_path: Path) -> None:
    """Two sites, one hub: down at first, killed in between; every result is in the stream once, under its site."""
    hub = nats(tmp_path / "nats")
    sites: list[Hospital] = []
    for name in ("SITE1", "SITE2"):
        folder = tmp_path / name
        folder.mkdir()
        site = Hospital(
            folder,
            f'[destination.centre]\nkind = "nats"\nservers = ["nats://127.0.0.1:{hub.port}"]\nsubject = "lab.{{site}}.results"\n'
            'stream = "LAB"\nretry_max_s = 1\nconnections = 4\nstatus_subject = "state.{site}"',
        )
        site.gateway.config.write_text(site.text.replace("SITE1", name), encoding="utf-8")
        sites.append(site)
    try:
        with sites[0].gateway, sites[1].gateway:
            await asyncio.gather(*(site.measures(*(xn(f"S{n:03}") for n in range(30))) for site in sites))
            for site in sites:
                await asyncio.to_thread(
                    wait_until, lambda s=site: s.gateway.status()["observations"].get("released") == 90, what="released"
                )
            hub.start()
            link = await client.connect(f"nats://127.0.0.1:{hub.port}")  # pyright: ignore
            await link.jetstream().add_stream(name="LAB", subjects=["lab.*.results"])  # pyright: ignore
            await link.jetstream().add_stream(name="STATE", subjects=["state.*"], max_msgs_per_subject=1)  # pyright: ignore
            await link.close()
            await asyncio.to_thread(
                wait_until, lambda: sites[0].deliveries("centre").get("settled", 0) > 3, what="some at the hub"
            )
            hub.kill()
            hub.start()
            for site in sites:
                await site.settled(30, "centre")
            link = await client.connect(f"nats://127.0.0.1:{hub.port}")  # pyright: ignore
            count = (await link.jetstream().stream_info("LAB")).state.messages
            reader = await link.jetstream().subscribe("lab.>", ordered_consumer=True)  # pyright: ignore
            found = [await reader.next_msg(timeout=5) for _ in range(count)]
            await link.close()
            by_site: dict[str, set[str]] = {}
            for message in found:
                document = json.loads(message.data)
                assert message.subject == f"lab.{document['site']}.results"
                by_site.setdefault(document["site"], set()).add(document["specimen"])
            assert by_site == {name: {f"S{n:03}" for n in range(30)} for name in ("SITE1", "SITE2")}
            assert len({(message.headers or {})["Nats-Msg-Id"] for message in found}) == 60 == count
    finally:
        hub.kill()
