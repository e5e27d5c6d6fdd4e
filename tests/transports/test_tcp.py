"""TCP lines over real loopback sockets."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from labgateway.transports import connection as connection_module
from labgateway.transports import tcp as tcp_module
from labgateway.transports.channel import Channel
from labgateway.transports.tcp import Admission, CannotListenError, TcpConnect, TcpListen, allowed


class Echo:
    """Remembers what happens; sends everything back."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.data = b""
        self.gone: list[str] = []

    def received(self, data: bytes) -> None:
        self.data += data
        self.channel.send(data)

    def disconnected(self, why: str) -> None:
        self.gone.append(why)


class House:
    """Opens Echo sessions and keeps them."""

    def __init__(self, make: Callable[[Channel], Any] = Echo) -> None:
        self.sessions: list[Any] = []
        self.said: list[tuple[str, dict[str, object]]] = []
        self._make = make

    def open(self, channel: Channel) -> Any:
        self.sessions.append(self._make(channel))
        return self.sessions[-1]

    def say(self, event: str, /, **ids: object) -> None:
        self.said.append((event, ids))

    def events(self) -> list[str]:
        return [event for event, _ in self.said]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def call(port: int, host: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(host, port)


async def test_bytes_go_both_ways_and_the_end_is_told_once() -> None:
    """A caller's bytes reach its session, answers come back, and disconnected is called exactly once."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open)
    assert line.trouble
    await line.start()
    assert line.trouble == "waiting for the instrument to call"
    reader, writer = await call(line.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    assert line.trouble == ""
    assert house.sessions[0].channel.peer.startswith("127.0.0.1:")
    writer.close()
    await until(lambda: house.sessions[0].gone)
    await line.stop()
    assert house.sessions[0].gone == ["closed by the peer"]


async def test_a_reset_is_told_in_words() -> None:
    """A peer that resets the connection ends the session with words, not with an exception."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open)
    await line.start()
    reader, writer = await call(line.port)
    writer.write(b"x")
    await reader.readexactly(1)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await until(lambda: house.sessions[0].gone)
    assert house.sessions[0].gone == ["reset by the peer"]
    await line.stop()


async def test_stop_tells_every_session_and_frees_the_port() -> None:
    """After stop() each session was told once and the same port can be opened again at once."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open, connections=2)
    await line.start()
    callers = [await call(line.port) for _ in range(2)]
    await until(lambda: len(house.sessions) == 2)
    await line.stop()
    assert [len(session.gone) for session in house.sessions] == [1, 1]
    again = TcpListen("127.0.0.1", line.port, house.open)
    await again.start()
    await again.stop()
    for _, writer in callers:
        writer.close()


async def test_what_was_sent_before_stop_still_arrives() -> None:
    """An answer that is in the write buffer when the line stops is not lost."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open)
    await line.start()
    reader, _writer = await call(line.port)
    await until(lambda: house.sessions)
    house.sessions[0].channel.send(b"a" * 500_000)
    got, _ = await asyncio.gather(reader.read(-1), line.stop())
    while more := await reader.read(-1):
        got += more
    assert len(got) == 500_000


async def test_port_in_use_names_the_cure() -> None:
    """A port that somebody else has is a CannotListenError whose text says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = TcpListen("127.0.0.1", port, House().open)
        with pytest.raises(CannotListenError, match=r"in use.*ss -ltnp") as caught:
            await line.start()
        assert caught.value.code == errno.EADDRINUSE
        assert str(port) in str(caught.value)
        await line.stop()


@pytest.mark.parametrize(("host", "words"), [("192.0.2.1", "does not have that address"), ("no.such.invalid", "name")])
async def test_an_impossible_host_names_the_cure(host: str, words: str) -> None:
    """An address that is not ours, or a name nobody knows, is a CannotListenError too."""
    with pytest.raises(CannotListenError, match=words):
        await TcpListen(host, 0, House().open).start()


@pytest.mark.parametrize(
    ("address", "networks", "expected"),
    [
        ("127.0.0.1", [], True),
        ("::1", [], True),
        ("10.20.0.31", [], False),
        ("10.20.0.31", ["10.20.0.0/24"], True),
        ("10.20.1.31", ["10.20.0.0/24"], False),
        ("::ffff:10.20.0.31", ["10.20.0.0/24"], True),
        ("::ffff:127.0.0.1", [], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("fe80::1", ["10.20.0.0/24"], False),
        ("not an address", ["0.0.0.0/0"], False),
    ],
)
def test_who_is_allowed(address: str, networks: list[str], expected: bool) -> None:
    """Loopback always; else only the networks named, IPv4 in IPv6 clothes counting as IPv4."""
    assert allowed(address, [ipaddress.ip_network(network) for network in networks]) is expected


async def test_strangers_get_nothing_and_cost_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller outside the networks is closed without a byte or a session; a thousand cost one log line."""
    monkeypatch.setattr(tcp_module, "allowed", lambda address, allow: False)
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open, say=house.say)
    await line.start()
    for _ in range(50):
        try:
            reader, writer = await call(line.port)
            writer.write(b"\x05")
            assert await reader.read() == b""
            writer.close()
        except ConnectionError:
            pass
    assert house.sessions == []
    assert house.events() == ["line.stranger"]
    assert line.turned_away == 50
    await line.stop()


async def test_a_second_caller_is_refused_while_the_first_speaks() -> None:
    """With one place, a new connection does not push out one that has spoken within silent_s."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open, say=house.say)
    await line.start()
    reader, writer = await call(line.port)
    writer.write(b"1")
    await reader.readexactly(1)
    second_reader, second = await call(line.port)
    assert await second_reader.read() == b""
    writer.write(b"2")
    assert await reader.readexactly(1) == b"2"
    assert house.events() == ["line.occupied"]
    writer.close()
    second.close()
    await line.stop()


async def test_who_hangs_up_and_calls_again_at_once_is_served() -> None:
    """The new call may be accepted before the old one's end is heard; it waits at the door, and gets the place."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open, say=house.say)
    await line.start()
    old = socket.create_connection(("127.0.0.1", line.port))
    await until(lambda: house.sessions)
    for n in range(2, 30):
        # Both reach the loop in one turn, the new call first.
        new = socket.create_connection(("127.0.0.1", line.port))
        new.sendall(b"x")
        old.close()
        await until(lambda n=n: len(house.sessions) == n and house.sessions[-1].data == b"x")
        old = new
    assert line.turned_away == 0 and house.events() == []
    old.close()
    await line.stop()


async def test_no_more_wait_at_the_door_than_there_are_places() -> None:
    """The first of three waits and is closed when nothing becomes free; the others are closed at once."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open, say=house.say)
    await line.start()
    reader, writer = await call(line.port)
    writer.write(b"1")
    await reader.readexactly(1)
    callers = [await call(line.port) for _ in range(3)]
    await until(lambda: line.turned_away == 2)
    assert [await r.read() for r, _ in callers] == [b"", b"", b""]
    assert line.turned_away == 3 and house.events() == ["line.occupied"]
    writer.close()
    await line.stop()


async def test_a_new_caller_replaces_a_silent_one() -> None:
    """Once the first has been silent for silent_s, the next one gets its place and the old session is told why."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open, silent_s=0.05)
    await line.start()
    old_reader, _old = await call(line.port)
    await until(lambda: house.sessions)
    await asyncio.sleep(0.06)
    reader, writer = await call(line.port)
    writer.write(b"new")
    assert await reader.readexactly(3) == b"new"
    assert house.sessions[0].gone == ["replaced by a new connection after a silence"]
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await old_reader.readexactly(1)
    await line.stop()


async def test_the_cap_is_shared_and_places_come_back() -> None:
    """Two listeners share one Admission; a closed connection frees its place for the other listener."""
    admission = Admission(1)
    house = House()
    lines = [TcpListen("127.0.0.1", 0, house.open, admission=admission, say=house.say) for _ in range(2)]
    for line in lines:
        await line.start()
    reader, writer = await call(lines[0].port)
    writer.write(b"1")
    await reader.readexactly(1)
    refused, _ = await call(lines[1].port)
    assert await refused.read() == b""
    assert house.events() == ["line.full"]
    writer.close()
    await until(lambda: admission.taken == 0)
    reader, writer = await call(lines[1].port)
    writer.write(b"2")
    assert await reader.readexactly(1) == b"2"
    for line in lines:
        await line.stop()
    assert admission.taken == 0


async def test_three_hundred_callers_hold_no_more_than_the_cap() -> None:
    """However many dial, the line holds its number of connections and forgets all others at once."""
    house = House()
    admission = Admission(8)
    line = TcpListen("127.0.0.1", 0, house.open, connections=50, admission=admission)
    await line.start()
    callers = await asyncio.gather(*(call(line.port) for _ in range(300)))
    await until(lambda: line.turned_away == 292)
    assert len(house.sessions) == 8
    for _, writer in callers:
        writer.close()
    await until(lambda: admission.taken == 0)
    await line.stop()


async def test_out_of_files_costs_one_line_and_mends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without file descriptors the open line goes on, new callers wait, and later they are served."""
    monkeypatch.setattr(tcp_module, "ACCEPT_PAUSE_S", 0.02)
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open, connections=5, say=house.say)
    await line.start()
    reader, writer = await call(line.port)
    writer.write(b"1")
    await reader.readexactly(1)
    waiting = socket.socket()
    waiting.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        await asyncio.get_running_loop().sock_connect(waiting, ("127.0.0.1", line.port))
        await asyncio.sleep(0.1)
        writer.write(b"2")
        assert await reader.readexactly(1) == b"2"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: len(house.sessions) == 2)
    assert house.events() == ["line.out_of_files"]
    waiting.close()
    await line.stop()


async def test_a_peer_that_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers to a peer that does not read end its connection instead of filling our memory."""
    monkeypatch.setattr(connection_module, "WRITE_LIMIT_BYTES", 64 * 1024)
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open)
    await line.start()
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", line.port))
    await until(lambda: house.sessions)
    sent = 0
    while not house.sessions[0].gone and sent < 200_000_000:
        house.sessions[0].channel.send(bytes(65536))
        sent += 65536
        await asyncio.sleep(0)
    assert house.sessions[0].gone == ["the peer does not read what we send"]
    sock.close()
    await line.stop()


async def test_pause_holds_the_bytes_back() -> None:
    """A paused channel delivers nothing; after resume everything comes, in order."""
    house = House()
    line = TcpListen("127.0.0.1", 0, house.open)
    await line.start()
    _reader, writer = await call(line.port)
    await until(lambda: house.sessions)
    session = house.sessions[0]
    session.channel.pause()
    session.channel.pause()
    writer.write(b"held")
    await asyncio.sleep(0.03)
    assert session.data == b""
    session.channel.resume()
    await until(lambda: session.data == b"held")
    await line.stop()


class Defective(Echo):
    def received(self, data: bytes) -> None:
        raise ValueError("Nguyen Van A")


async def test_a_defect_costs_its_own_connection_only() -> None:
    """An exception in a session closes that connection, is said by type only, and the listener goes on."""
    house = House(Defective)
    line = TcpListen("127.0.0.1", 0, house.open, say=house.say)
    await line.start()
    reader, writer = await call(line.port)
    writer.write(b"x")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert house.said[0][0] == "line.defect"
    assert "Nguyen" not in repr(house.said)
    _reader, _writer = await call(line.port)
    await until(lambda: len(house.sessions) == 2)
    await line.stop()


async def test_the_sockets_see_dead_peers() -> None:
    """Keepalive 2/1/3, TCP_USER_TIMEOUT 4 s and no Nagle are set on accepted and on dialled connections."""
    wanted = {
        socket.TCP_NODELAY: 1,
        socket.TCP_KEEPIDLE: 2,
        socket.TCP_KEEPINTVL: 1,
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: 4000,
    }
    seen: list[socket.socket] = []

    def spy(sock: socket.socket) -> None:
        connection_module.tune(sock)
        seen.append(sock)

    house = House()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tcp_module, "tune", spy)
        listen = TcpListen("127.0.0.1", 0, house.open)
        await listen.start()
        dial = TcpConnect("127.0.0.1", listen.port, house.open)
        await dial.start()
        await until(lambda: len(seen) == 2)
    for sock in seen:
        for option, value in wanted.items():
            assert sock.getsockopt(socket.IPPROTO_TCP, option) == value
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    await dial.stop()
    await listen.stop()


async def test_dialling_goes_on_until_the_instrument_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, then served, then lost, then served again, on the same TcpConnect."""
    monkeypatch.setattr(tcp_module, "backoff_s", lambda attempt, random: 0.01)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    house = House()
    dial = TcpConnect("127.0.0.1", port, house.open, say=house.say)
    await dial.start()
    await until(lambda: "nothing listens there" in dial.trouble)
    assert house.events() == ["line.cannot_connect"]

    async def instrument(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x05")
        await reader.readexactly(1)
        writer.close()

    server = await asyncio.start_server(instrument, "127.0.0.1", port)
    await until(lambda: len(house.sessions) >= 3)
    assert all(session.data == b"\x05" for session in house.sessions[:2])
    assert all(len(session.gone) == 1 for session in house.sessions[:2])
    await dial.stop()
    assert all(len(session.gone) == 1 for session in house.sessions)
    server.close()


async def test_the_wait_doubles_and_starts_again_after_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure counts up; a connection without a byte counts as a failure; one with bytes starts from 0."""
    attempts: list[int] = []

    def wait(attempt: int, random: object) -> float:
        attempts.append(attempt)
        return 0.001

    monkeypatch.setattr(tcp_module, "backoff_s", wait)
    connections = 0

    async def instrument(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 4:
            writer.write(b"\x05")
            await reader.readexactly(1)
        writer.close()

    server = await asyncio.start_server(instrument, "127.0.0.1", 0)
    dial = TcpConnect("127.0.0.1", server.sockets[0].getsockname()[1], House().open)
    await dial.start()
    await until(lambda: len(attempts) >= 6)
    await dial.stop()
    server.close()
    assert attempts[:6] == [0, 1, 2, 0, 1, 2]


async def test_stop_while_dialling_ends_at_once() -> None:
    """stop() does not wait for a name or a peer that never answers."""
    dial = TcpConnect("127.0.0.1", 1, House().open)
    await dial.start()
    async with asyncio.timeout(0.5):
        await dial.stop()
        await dial.stop()
    assert dial.trouble == "stopped"
