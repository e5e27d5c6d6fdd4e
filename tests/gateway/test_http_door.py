"""The HTTP door without sockets: who calls is known before the body is read; cutting the bytes changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.errors import StoreBrokenError, StoreBusyError
from labgateway.gateway.http_door import HttpConversation, Taken


class Timer:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when, self.call, self.is_cancelled = when, call, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Door:
    """The conversation with a channel that writes down, a clock that is moved by hand, and a store that is asked."""

    peer = "10.0.0.1:1"

    def __init__(self, token: str | None = "secret", *, at_once: bool = True) -> None:
        self.sent, self.taken, self.timers = b"", list[bytes](), list[Timer]()
        self.now, self.state, self.at_once = 0.0, "open", at_once
        self.waiting: list[Taken] = []
        self.error: BaseException | None = None
        self.session = HttpConversation(
            self, self.take, token=None if token is None else lambda: token, clock=lambda: self.now,  # type: ignore[arg-type]
            call_at=self.call_at, say=lambda *_, **__: None,
        )  # fmt: skip

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, call))
        return self.timers[-1]

    def take(self, body: bytes, peer: str, done: Taken) -> None:
        self.taken.append(body)
        self.waiting.append(done)
        if self.at_once:
            self.answer()

    def answer(self) -> None:
        self.waiting.pop(0)(None if self.error else (201, b"{}"), self.error)

    def send(self, data: bytes) -> None:
        self.sent += data

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for timer in list(self.timers):
            if not timer.is_cancelled and timer.when <= self.now:
                timer.cancel()
                timer.call()

    def statuses(self) -> list[int]:
        """What a client reads."""
        client, found = h11.Connection(h11.CLIENT), list[int]()
        rest = self.sent
        while rest:
            client = h11.Connection(h11.CLIENT)
            client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            client.send(h11.EndOfMessage())
            client.receive_data(rest)
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                assert event is not h11.NEED_DATA, "half an answer"
                if isinstance(event, h11.Response):
                    found.append(event.status_code)
            rest = client.trailing_data[0]
        return found


def request(body: bytes = b"{}", *, path: str = "/fhir", method: str = "POST", **headers: str) -> bytes:
    said = {"Host": "lab", "Authorization": "Bearer secret", "Content-Type": "application/fhir+json", **headers}
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name.replace('_', '-')}: {value}" for name, value in said.items() if value),
    ]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def test_a_request_and_the_next_on_the_same_connection() -> None:
    door = Door()
    door.session.received(request(b'{"a":1}') + request(b'{"b":2}'))
    assert door.taken == [b'{"a":1}', b'{"b":2}']
    assert door.statuses() == [201, 201]
    assert door.state == "open"


@given(st.lists(st.integers(1, 400), max_size=8))
def test_cutting_changes_nothing(cuts: list[int]) -> None:
    data = request(b'{"a":1}') + request(b"", method="GET", path="/metadata") + request(b'{"b":2}')
    door, start = Door(), 0
    for cut in [*cuts, len(data)]:
        if part := data[start : start + cut]:
            door.session.received(part)
        start += cut
    assert door.taken == [b'{"a":1}', b'{"b":2}']
    assert door.statuses() == [201, 200, 201]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer secre"}, 401),
        ({"Authorization": "Bearer secret2"}, 401),
        ({"Authorization": "Basic secret"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Content-Type": "text/plain"}, 415),
        ({"path": "/Patient"}, 404),
        ({"path": "/ServiceRequest/BN001"}, 404),
        ({"method": "PUT"}, 405),
    ],
)
def test_a_refusal_needs_no_body(headers: dict[str, Any], status: int) -> None:
    """Not a byte of the body is taken; the answer is an OperationOutcome; the connection ends."""
    door = Door()
    data = request(b"x" * 1000, **headers)
    door.session.received(data[:-1000])
    assert door.statuses() == [status]
    assert b"OperationOutcome" in door.sent
    before = door.sent
    door.session.received(data[-1000:] + request())
    assert (door.taken, door.sent) == ([], before)
    door.wait(3)
    assert door.state == "aborted"


def test_a_token_that_is_empty_admits_nobody() -> None:
    door = Door("")
    door.session.received(request(Authorization="Bearer "))
    assert door.statuses() == [401]


def test_too_long_a_body() -> None:
    door = Door()
    door.session.received(request(b"").replace(b"Content-Length: 0", b"Content-Length: 999999999"))
    assert door.statuses() == [413]
    door = Door()
    door.session.received(request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
    for _ in range(20):
        door.session.received(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
    assert door.statuses() == [413]
    assert door.taken == []


def test_an_answer_only_after_the_commit() -> None:
    door = Door(at_once=False)
    door.session.received(request())
    assert door.sent == b""
    door.answer()
    assert door.statuses() == [201]


def test_the_store_cannot() -> None:
    door = Door()
    door.error = StoreBusyError("locked")
    door.session.received(request())
    assert door.statuses() == [503]
    assert b"Retry-After" in door.sent
    door = Door()
    door.error = StoreBrokenError("fsync")
    door.session.received(request())
    assert (door.sent, door.state) == (b"", "aborted")


def test_half_a_request_and_silence() -> None:
    door = Door()
    door.session.received(request(b"{}")[:-1])
    door.wait(31)
    assert door.state == "aborted"
    door = Door()
    door.wait(76)
    assert door.state == "aborted"
    door = Door()
    door.session.received(request())
    door.wait(70)
    door.session.received(request())
    assert door.statuses() == [201, 201]


def test_the_caller_hangs_up_while_it_is_stored() -> None:
    door = Door(at_once=False)
    door.session.received(request())
    door.session.disconnected("gone")
    door.answer()
    assert door.sent == b""


@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    door = Door()
    for start in range(0, len(data), 7):
        door.session.received(data[start : start + 7])
    door.session.disconnected("gone")
    assert door.taken == []
    if door.sent:
        assert json.loads(door.sent.partition(b"\r\n\r\n")[2])["resourceType"] == "OperationOutcome"
