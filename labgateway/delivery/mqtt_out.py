"""MQTT 5 destination: JSON documents to a broker, settled by the EMR's own answer or by the broker's PUBACK.

    send -> the one connection, or a new one -> PUBLISH -> PUBACK / PUBCOMP -> settle "puback": Accepted
                                                   |  └─ refused, or nobody has subscribed: Silent, tried again
                                                   └─ settle "answer": the message on the answer topic with our id
                                                        accepted true: Accepted   false: Refused   none: Silent

The client library holds no delivery (R17): after any failure its connection is thrown away with what is in it, and the
outbox sends again. aiomqtt tells nobody what reason a PUBACK gave; ``_Client`` looks. Of QoS 2 the reason stands in
PUBREC, which the library below drops: there only an answer may settle.

Retained beside it: the state of the gateway, with a last will that the broker publishes when we are gone, and its alerts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.delivery.secrets import SecretError, read_secret
from labgateway.delivery.topics import filled, instrument_in
from labgateway.errors import LabgatewayError

CONNECT_S = 10.0
_ANSWER_BYTES = 65536
_NOBODY = 0x10
NOBODY = "nobody has subscribed to the topic: the broker would have thrown it away"
_log = logging.getLogger("labgateway.mqtt")
_log.setLevel(logging.CRITICAL + 1)  # the library's lines hold topics and payloads


@dataclass(frozen=True, slots=True)
class Broker:
    """How it is reached. tls: the context of now, None: not encrypted; it may raise LabgatewayError."""

    host: str
    port: int
    user: str = ""
    password_file: Path | None = None
    tls: Callable[[], ssl.SSLContext] | None = None


@dataclass(frozen=True, slots=True)
class Topics:
    """results, answers: patterns for ``topics.filled``. status: "" for none; alerts lie below it. site: [gateway] name."""

    site: str
    results: str
    answers: str = ""
    status: str = ""


class _ConnectError(Exception):
    """No connection; words without patient data."""


class _AnswerError(Exception):
    """The connection went while an answer was awaited."""


class MqttDestination:
    """See above. connections: how many messages may wait for their answers at once; they share one connection."""

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        *,
        settle: Literal["answer", "puback"] = "answer",
        qos: int = 1,
        answer_s: float = 30.0,
        connections: int = 1,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._settle = settle
        self._qos = qos
        self._answer_s = answer_s
        self._connections = max(1, connections)
        self._client: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._publishing = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._told: Mapping[str, Any] | None = None
        self._closed = False

    @property
    def connections(self) -> int:
        """How many ``send`` may run at once."""
        return self._connections

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """One attempt."""
        try:
            topic = filled(self._topics.results, self._topics.site, instrument_in(body))
        except ValueError:
            return Refused(
                "labgateway: these bytes are no document of ours; was the destination of another kind before?"
            )
        try:
            await self._connected()
        except _ConnectError as error:
            return Unreachable(str(error))
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[control_id] = answer
        try:
            # The library waits by wait_for, which in Python 3.11 may swallow a cancellation from outside, so that no
            # time limit of ours may stand around it.
            reason = await self._publish(topic, body, control_id)
            if reason == _NOBODY:
                return Silent(NOBODY)
            if reason >= 0x80:
                return Silent(f"the broker refuses with reason code {reason:#04x}")
            if self._settle == "puback":
                return Accepted("PUBACK")
            async with asyncio.timeout(self._answer_s):
                return await answer
        except TimeoutError:
            return Silent(f"no answer within {self._answer_s:g} s")
        except _AnswerError as error:
            return Silent(str(error))
        finally:
            self._waiting.pop(control_id, None)
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # looked at, so that asyncio does not complain

    async def tell(self, status: Mapping[str, Any], alerts: Mapping[str, Any]) -> None:
        """Publish how the gateway stands, retained. Raises nothing; what could not be told is told the next time."""
        if not self._topics.status:
            return
        self._told = {"status": status, "alerts": alerts}
        try:
            fresh = await self._connected()
            if not fresh:
                await self._publish_told()
        except (_ConnectError, _AnswerError, TimeoutError):
            return

    async def close(self) -> None:
        """Say that we have stopped, and disconnect."""
        self._closed = True
        if self._client is not None and self._topics.status:
            try:
                async with asyncio.timeout(0.3):
                    await self._retained(self._status_topic(), {"site": self._topics.site, "state": "stopped"})
            except (TimeoutError, _AnswerError):
                pass
        await self._drop()

    # --- the connection ---

    async def _connected(self) -> bool:
        """Have a connection; True: it is a new one. Raises _ConnectError."""
        async with self._connecting:
            if self._client is not None:
                return False
            if self._closed:
                raise _ConnectError("closed")
            self._client = await self._open()
            self._reader = asyncio.create_task(self._read(self._client))
            try:
                if self._settle == "answer":
                    async with asyncio.timeout(CONNECT_S):
                        codes = await self._client.subscribe(
                            filled(self._topics.answers, self._topics.site), qos=self._qos
                        )
                    if any(_number(code) >= 0x80 for code in codes):
                        raise _ConnectError("the broker does not let us read the topic of the answers")
                await self._publish_told()
            except (TimeoutError, _AnswerError, _library().MqttError):
                await self._drop()
                raise _ConnectError("the broker broke off while we said hello") from None
            except _ConnectError:
                await self._drop()
                raise
            return True

    async def _open(self) -> Any:
        try:
            aiomqtt = _library()
        except ImportError:
            raise _ConnectError("the library aiomqtt is not installed; `labgateway check` says how") from None
        try:
            context = self._broker.tls() if self._broker.tls else None
            password = read_secret(self._broker.password_file)
        except (SecretError, LabgatewayError) as error:
            raise _ConnectError(str(error)) from None
        will = None
        if self._topics.status:
            gone = json.dumps({"site": self._topics.site, "state": "gone"})
            will = aiomqtt.Will(self._status_topic(), gone, qos=1, retain=True)
        client = _client_class()(
            self._broker.host, self._broker.port, protocol=aiomqtt.ProtocolVersion.V5, logger=_log, will=will,
            username=self._broker.user or None, password=password, tls_context=context, timeout=CONNECT_S, keepalive=30,
            max_queued_incoming_messages=1000,
        )  # fmt: skip
        try:
            await client.__aenter__()
        except aiomqtt.MqttError as error:
            code = getattr(error, "rc", None)
            why = f"reason code {_number(code):#04x}" if code is not None else "no connection"
            raise _ConnectError(f"the broker does not let us in or does not answer: {why}") from None
        except ValueError:
            raise _ConnectError("the certificate of the broker does not fit") from None
        return client

    async def _drop(self) -> None:
        """Throw the connection away, and with it all that the library keeps."""
        client, self._client = self._client, None
        reader, self._reader = self._reader, None
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_AnswerError("the broker broke off; it may have arrived"))
        if client is None:
            return
        try:
            async with asyncio.timeout(0.5):
                await client.__aexit__(None, None, None)
        except (TimeoutError, _library().MqttError):
            pass
        client.forget()

    async def _read(self, client: Any) -> None:
        """Take answers until the connection ends."""
        try:
            async for message in client.messages:
                self._take(bytes(message.payload), getattr(message.properties, "CorrelationData", None))
        except _library().MqttError:
            pass
        if client is self._client:
            await self._drop()

    def _take(self, payload: bytes, correlation: bytes | None) -> None:
        """An answer; what belongs to no message that waits says nothing."""
        found = read_answer(payload, correlation)
        if found is None:
            return
        answer = self._waiting.get(found[0])
        if answer is not None and not answer.done():
            answer.set_result(found[1])

    async def _publish(self, topic: str, body: bytes, control_id: str) -> int:
        """Publish one message and return the reason code of its acknowledgement. Raises _AnswerError."""
        properties = _properties()
        properties.ContentType = "application/json"
        properties.CorrelationData = control_id.encode()
        properties.UserProperty = [("id", control_id), ("site", self._topics.site)]
        if self._settle == "answer":
            properties.ResponseTopic = filled(self._topics.answers, self._topics.site)
        return await self._out(topic, body, self._qos, False, properties)

    async def _retained(self, topic: str, what: Mapping[str, Any]) -> None:
        await self._out(topic, json.dumps(what, ensure_ascii=False).encode(), 1, True, None)

    async def _out(self, topic: str, body: bytes, qos: int, retain: bool, properties: Any) -> int:
        # One at a time: so the reason that the client saw last is the one of this message.
        async with self._publishing:
            client = self._client
            if client is None:
                raise _AnswerError("the broker broke off before it was sent")
            try:
                await client.publish(topic, body, qos, retain, properties, timeout=self._answer_s)
            except _library().MqttError:
                await self._drop()
                raise _AnswerError("the broker broke off; it may have arrived") from None
            return int(client.reason)

    async def _publish_told(self) -> None:
        if self._told is not None and self._topics.status:
            await self._retained(self._status_topic(), self._told["status"])
            await self._retained(f"{self._status_topic()}/alerts", self._told["alerts"])

    def _status_topic(self) -> str:
        return filled(self._topics.status, self._topics.site)


def read_answer(payload: bytes, correlation: bytes | None) -> tuple[str, Outcome] | None:
    """Which message an answer is about, and what it says; None: it is no answer.

    ``{"message": "our id", "accepted": true}`` or ``{…, "accepted": false, "words": "why", "retry": true}``. The id may
    stand in CorrelationData instead.
    """
    if len(payload) > _ANSWER_BYTES:
        return None
    try:
        found: object = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    said = cast(dict[str, Any], found)
    number = correlation.decode("ascii", "replace") if correlation else said.get("message")
    words = str(said.get("words") or "")
    if not isinstance(number, str):
        return None
    match said.get("accepted"):
        case True:
            return number, Accepted(words)
        case False:
            return number, Refused(words or "refused without a word", said.get("retry") is True)
        case _:
            return None


def _number(code: Any) -> int:
    """A reason code of paho's as a number."""
    value = getattr(code, "value", code)
    return value if isinstance(value, int) else 0x80


def _library() -> Any:
    import aiomqtt

    return aiomqtt


def _properties() -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    return Properties(PacketTypes.PUBLISH)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportAttributeAccessIssue]


def _client_class() -> Any:
    """aiomqtt's client, and the reason code of the last acknowledgement."""
    import aiomqtt

    class Client(aiomqtt.Client):
        reason: int = 0x80

        def forget(self) -> None:
            """Nobody asks any more why it ended; asyncio would complain about that."""
            if self._disconnected.done() and not self._disconnected.cancelled():
                self._disconnected.exception()

        def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
            self.reason = _number(reason_code)
            super()._on_publish(client, userdata, mid, reason_code, properties)

    return Client
