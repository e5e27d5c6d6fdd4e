"""MQTT on a real Mosquitto: only an answer with our id, or a PUBACK that is a yes, settles."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import trustme

from labgateway.delivery import document
from labgateway.delivery.mqtt_out import NOBODY, Broker, MqttDestination, Topics, read_answer
from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.transports import tls
from tests.brokers import Server, mosquitto
from tests.delivery.reports import PERSON, SETTINGS, observation, order, report

TOPICS = Topics("SITE 1", "lab/{site}/{instrument}", "lab/{site}/answers", "lab/{site}/status")
BODY = document.render(report(observation(of=order()), patient=PERSON), SETTINGS, "MSG1")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    server = mosquitto(tmp_path / "mosquitto")
    server.start()
    yield server
    server.kill()


def out(broker: Server, **more: Any) -> MqttDestination:
    return MqttDestination(Broker("127.0.0.1", broker.port), TOPICS, **{"answer_s": 2.0, **more})


Reply = Callable[[dict[str, Any]], Any]


@asynccontextmanager
async def emr(broker: Server, reply: Reply | None = None, topic: str = "lab/SITE_1/xn1") -> AsyncIterator[list[Any]]:
    """An EMR that reads results and answers what ``reply`` makes of each; what it has read."""
    seen: list[Any] = []
    ready = asyncio.Event()

    async def work() -> None:
        async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe(topic, qos=2)
            ready.set()
            async for message in client.messages:
                seen.append(message)
                if reply is not None and (said := reply(json.loads(bytes(message.payload)))) is not None:
                    to = getattr(message.properties, "ResponseTopic", None)
                    await client.publish(to or "lab/SITE_1/answers", json.dumps(said), qos=1)

    task = asyncio.create_task(work())
    await asyncio.wait_for(ready.wait(), 10)
    yield seen
    while not task.done():  # aiomqtt may swallow one cancellation
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)


async def test_an_answer_settles(broker: Server) -> None:
    way = out(broker)
    async with emr(broker, lambda found: {"message": found["message"], "accepted": True, "words": "ok"}) as seen:
        assert await way.send(BODY, "MSG1") == Accepted("ok")
        (message,) = seen
        assert bytes(message.payload) == BODY
        assert message.properties.CorrelationData == b"MSG1"
        assert dict(message.properties.UserProperty)["id"] == "MSG1"
        assert str(message.topic) == "lab/SITE_1/xn1" and not message.retain
    await way.close()


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ({"message": "MSG1", "accepted": False, "words": "no such patient"}, Refused("no such patient")),
        ({"message": "MSG1", "accepted": False, "words": "later", "retry": True}, Refused("later", True)),
        ({"message": "MSG2", "accepted": True}, Silent("no answer within 1 s")),
        ({"accepted": True}, Silent("no answer within 1 s")),
        ({"message": "MSG1", "accepted": "yes"}, Silent("no answer within 1 s")),
        (None, Silent("no answer within 1 s")),
    ],
)
async def test_what_an_answer_means(broker: Server, said: Any, outcome: Outcome) -> None:
    way = out(broker, answer_s=1.0)
    async with emr(broker, lambda _: said):
        assert await way.send(BODY, "MSG1") == outcome
    await way.close()


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'"x"', b'{"message": 5, "accepted": true}', b"x" * 70_000]
)
def test_garbage_is_no_answer(payload: bytes) -> None:
    assert read_answer(payload, None) is None


def test_correlation_data_names_the_message() -> None:
    assert read_answer(b'{"accepted": true}', b"MSG7") == ("MSG7", Accepted(""))
    assert read_answer(b'{"accepted": true, "message": "MSG8"}', b"MSG7") == ("MSG7", Accepted(""))


async def test_answers_of_several_messages_do_not_mix(broker: Server) -> None:
    """Answered in the wrong order: each gets its own."""
    held: list[dict[str, Any]] = []

    def reply(found: dict[str, Any]) -> Any:
        held.append(found)
        return None

    way = out(broker, connections=3, answer_s=5.0)
    async with emr(broker, reply):
        sends = [asyncio.create_task(way.send(_body(f"M{n}"), f"M{n}")) for n in range(3)]
        while len(held) < 3:
            await asyncio.sleep(0.01)
        async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            for found in reversed(held):
                number = found["message"]
                said = {"message": number, "accepted": number != "M1", "words": f"of {number}"}
                await client.publish("lab/SITE_1/answers", json.dumps(said), qos=1)
        assert await asyncio.gather(*sends) == [Accepted("of M0"), Refused("of M1"), Accepted("of M2")]
    await way.close()


def _body(number: str) -> bytes:
    return document.render(report(observation(of=order()), patient=PERSON), SETTINGS, number)


async def test_a_puback_settles_where_it_may(broker: Server) -> None:
    way = out(broker, settle="puback")
    assert await way.send(BODY, "MSG1") == Silent(NOBODY), "a broker takes what nobody reads, and throws it away"
    async with emr(broker) as seen:
        assert await way.send(BODY, "MSG1") == Accepted("PUBACK")
        while not seen:
            await asyncio.sleep(0.01)
    await way.close()


@pytest.mark.parametrize("settle", ["puback", "answer"])
async def test_a_broker_that_forbids_is_no_yes(tmp_path: Path, settle: Any) -> None:
    """aiomqtt takes the PUBACK "not authorized" for a yes; we do not."""
    rules = tmp_path / "rules"
    rules.write_text("topic read #\n")
    rules.chmod(0o600)
    server = mosquitto(tmp_path / "mosquitto", more=f"allow_anonymous true\nacl_file {rules}")
    server.start()
    try:
        way = out(server, settle=settle)
        async with emr(server):
            assert await way.send(BODY, "MSG1") == Silent("the broker refuses with reason code 0x87")
        await way.close()
    finally:
        server.kill()


async def test_who_we_are(tmp_path: Path) -> None:
    """A password from its file, a wrong one is said without it, a renewed one counts at once."""
    keys = tmp_path / "keys"
    if subprocess.run(
        ["mosquitto_passwd", "-c", "-b", str(keys), "lab", "right"], check=False, capture_output=True
    ).returncode:
        pytest.skip("no mosquitto_passwd here")
    server = mosquitto(tmp_path / "mosquitto", more=f"allow_anonymous false\npassword_file {keys}")
    server.start()
    secret = tmp_path / "secret"
    way = MqttDestination(
        Broker("127.0.0.1", server.port, "lab", secret), TOPICS, settle="puback", answer_s=2.0
    )  # fmt: skip
    try:
        said = await way.send(BODY, "M")
        assert isinstance(said, Unreachable) and "secret cannot be read" in said.why
        secret.write_text("wrong\n")
        said = await way.send(BODY, "M")
        assert isinstance(said, Unreachable) and "reason code 0x87" in said.why and "wrong" not in said.why
        secret.write_text("right\n")
        assert await way.send(BODY, "M") == Silent(NOBODY)
        await way.close()
    finally:
        server.kill()


async def test_a_broker_that_dies_freezes_and_comes_back(broker: Server) -> None:
    def reply(found: dict[str, Any]) -> Any:
        return {"message": found["message"], "accepted": True}

    way = out(broker, answer_s=1.0)
    async with emr(broker, reply):
        assert isinstance(await way.send(_body("M1"), "M1"), Accepted)
        broker.freeze()
        assert isinstance(await way.send(_body("M2"), "M2"), Silent)
        broker.kill()
        said: Outcome = Silent("")
        for _ in range(50):  # the connection was given up; the port is shut
            said = await way.send(_body("M2"), "M2")
            if isinstance(said, Unreachable):
                break
        assert isinstance(said, Unreachable)
        assert "A123" not in said.why
    broker.start()
    async with emr(broker, reply):
        assert isinstance(await way.send(_body("M2"), "M2"), Accepted)
    await way.close()


async def test_in_flight_when_the_broker_is_killed(broker: Server) -> None:
    """The send ends at once with Silent, not after the answer's whole patience."""
    way = out(broker, answer_s=30.0)
    async with emr(broker) as seen:
        send = asyncio.create_task(way.send(BODY, "M1"))
        while not seen:
            await asyncio.sleep(0.01)
        broker.kill()
        assert await asyncio.wait_for(send, 5) == Silent("the broker broke off; it may have arrived")
    await way.close()


async def test_status_alerts_and_the_last_will(broker: Server) -> None:
    way = out(broker)
    async with emr(broker, topic="lab/SITE_1/status/#") as seen:
        await way.tell({"site": "SITE 1", "state": "running"}, {"alerts": []})
        await way.tell({"site": "SITE 1", "state": "running"}, {"alerts": ["x"]})
        way._client._client._sock.shutdown(2)  # pyright: ignore  # as if our machine were gone
        for _ in range(500):
            if any(b"gone" in bytes(m.payload) for m in seen):
                break
            await asyncio.sleep(0.01)
    async with emr(broker, topic="lab/SITE_1/status/#") as kept:
        for _ in range(500):
            if len(kept) == 2:
                break
            await asyncio.sleep(0.01)
        found = {str(m.topic): json.loads(bytes(m.payload)) for m in kept}
        assert found == {
            "lab/SITE_1/status": {"site": "SITE 1", "state": "gone"}, "lab/SITE_1/status/alerts": {"alerts": ["x"]},
        }  # fmt: skip
        assert all(m.retain for m in kept)
        other = out(broker)
        await other.tell({"site": "SITE 1", "state": "running"}, {"alerts": []})
        await other.close()
        for _ in range(500):
            if b"stopped" in bytes(kept[-1].payload):
                break
            await asyncio.sleep(0.01)
        assert json.loads(bytes(kept[-1].payload))["state"] == "stopped"


async def test_what_is_no_document() -> None:
    way = MqttDestination(Broker("127.0.0.1", 9), TOPICS)
    assert isinstance(await way.send(b"MSH|^~\\&|", "M"), Refused)
    assert isinstance(await way.send(BODY, "M"), Unreachable)
    await way.close()


async def test_encrypted_and_the_broker_is_who_it_says(tmp_path: Path) -> None:
    """Our own authority: taken. Another authority, another name: no byte of a message leaves."""
    ours, theirs = trustme.CA(), trustme.CA()
    outcomes: list[Outcome] = []
    for names in (["127.0.0.1"], ["other.example"]):
        folder = tmp_path / names[0]
        folder.mkdir()
        certificate = ours.issue_cert(*names)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        server = mosquitto(
            folder / "mosquitto", more=f"allow_anonymous true\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem"
        )
        server.start()
        try:
            for authority in (ours, theirs):
                authority.cert_pem.write_to_path(tmp_path / "ca.pem")
                context = tls.context(tls.client(tmp_path / "ca.pem"))
                way = MqttDestination(
                    Broker("127.0.0.1", server.port, tls=lambda made=context: made),
                    TOPICS,
                    settle="puback",
                    answer_s=2.0,
                )
                outcomes.append(await way.send(BODY, "M"))
                await way.close()
        finally:
            server.kill()
    right, *wrong = outcomes
    assert right == Silent(NOBODY)
    assert len(wrong) == 3 and all(isinstance(one, Unreachable) for one in wrong), wrong
