"""Facts about one line for ``labgateway doctor``: from the running gateway, else from the line itself; and from the store."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import ipaddress
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from labgateway.cli.common import config_of, open_store
from labgateway.cli.tap_command import heard_of
from labgateway.config import Config, FolderLine, SerialLine, TcpLine, TcpListenLine
from labgateway.doctor import Facts, Heard, Setting, best, observe, score
from labgateway.doctor.serial_try import USUAL
from labgateway.errors import LabgatewayError
from labgateway.gateway import build, rulebook
from labgateway.instruments.spec import Driver, LineSettings
from labgateway.protocols.raw_framing import FRAMINGS, Check
from labgateway.service import control
from labgateway.store import worklist
from labgateway.transports.channel import Channel, quiet
from labgateway.transports.serial import SerialPort
from labgateway.transports.tapped import Heard as Tapped
from labgateway.transports.tapped import Tap
from labgateway.transports.tcp import Admission

if TYPE_CHECKING:
    from labgateway.config import Instrument

PROBE_S = 1.5
TRY_S = 3.0
_SURE = 0.8


def line_facts(args: argparse.Namespace) -> Facts:
    """Watch, and say what was found. Raises LabgatewayError when there is no such instrument."""
    config = config_of(args)
    section = config.instruments.get(args.instrument)
    if section is None:
        there = ", ".join(sorted(config.instruments)) or "none"
        raise LabgatewayError(f'There is no instrument "{args.instrument}" in config.toml. There are: {there}.')
    library = rulebook.library(config)
    driver = library.find(section.driver)
    facts = _configured(args.instrument, section, driver)
    heard: list[Heard] = []
    began = time.monotonic()
    if _runs(config):
        if args.try_settings:
            raise LabgatewayError("Stop the gateway before --try: it holds the port (systemctl stop labgateway).")
        facts = _watched(args, config, facts, heard)
    elif args.try_settings:
        facts = _tried(args, section, driver, facts, heard)
    elif isinstance(section.line, FolderLine):
        facts = dataclasses.replace(facts, served=False, trouble=_folder_trouble(section.line))
    else:
        facts = asyncio.run(_held(args, section, driver, facts, heard))
    zone = ZoneInfo(config.gateway.timezone)
    observed = observe(heard, driver, library, lambda at: datetime.fromtimestamp(at, zone).replace(tzinfo=None))
    facts = dataclasses.replace(facts, observed=observed, watched_s=time.monotonic() - began)
    return _stored(config, _probed(facts, section))


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _runs(config: Config) -> bool:
    try:
        control.ask(config.gateway.data, {"action": "status"}, patience_s=10)
    except LabgatewayError:
        return False
    return True


def _configured(name: str, section: Instrument, driver: Driver | None) -> Facts:
    settings = driver.line if driver else LineSettings()
    protocol = driver.protocol if driver else "astm"
    checks = protocol not in FRAMINGS or FRAMINGS[protocol].check is not Check.NONE
    line = section.line
    facts = Facts(
        name,
        line.kind,
        protocol,
        driver.name if driver else section.driver,
        checks=checks,
        encoding=settings.encoding or "",
    )
    match line:
        case TcpListenLine():
            return dataclasses.replace(facts, host=line.host, port=line.port, allow=tuple(map(str, line.allow)))
        case TcpLine():
            return dataclasses.replace(facts, host=line.host, port=line.port)
        case SerialLine():
            return dataclasses.replace(facts, device=line.device, setting=str(_setting(line, settings)))
        case FolderLine():
            return facts


def _setting(line: SerialLine, settings: LineSettings) -> Setting:
    usual = settings.serial
    return Setting(line.baud or usual.baud, line.bits or usual.bits, line.parity or usual.parity)


# --- a running gateway ---


def _watched(args: argparse.Namespace, config: Config, facts: Facts, heard: list[Heard]) -> Facts:
    before = _status(config, args.instrument)
    called = 0
    calls = threading.Event()
    waiting = _waits_for_call(facts, calls, args.seconds) if facts.kind == "tcp" and before.get("trouble") else None
    try:
        request = {"action": "watch", "instrument": args.instrument}
        for said in control.follow(config.gateway.data, request, seconds=args.seconds):
            if "instrument" in said:
                _say(
                    f"watching {args.instrument} of the running gateway for {args.seconds:.0f} s; let it send a result"
                )
            if "what" in said:
                called += said["what"] == "opened"
                _note(heard, heard_of(said), float(said["at"]))
    except KeyboardInterrupt:
        pass
    if waiting:
        waiting.join(PROBE_S)
    after = _status(config, args.instrument)
    return dataclasses.replace(
        facts,
        connected=int(after.get("connections", 0)) > 0,
        called=called,
        trouble=str(after.get("trouble", "")),
        turned_away=int(after.get("turned_away", 0)),
        last_refused=str(after.get("last_refused", "")),
        parks=str(after.get("parks", "")),
        calls=calls.is_set(),
    )


def _status(config: Config, name: str) -> dict[str, Any]:
    lines: dict[str, Any] = control.ask(config.gateway.data, {"action": "status"})["lines"]
    return dict(lines.get(name, {}))


def _note(heard: list[Heard], one: Tapped, at: float) -> None:
    if one.what in ("from", "to"):
        heard.append(Heard(at, "from" if one.what == "from" else "to", one.data, one.connection))


def _waits_for_call(facts: Facts, calls: threading.Event, seconds: float) -> threading.Thread | None:
    """Listen on the port that we call, in case the instrument calls it here; what calls is hung up on."""
    ours = _our_address(facts.host)
    if not ours or ours in _addresses(facts.host):
        return None
    try:
        door = socket.create_server((ours, facts.port), family=socket.AF_INET6 if ":" in ours else socket.AF_INET)
    except OSError:
        return None

    def wait() -> None:
        until = time.monotonic() + seconds
        with door:
            door.settimeout(0.2)
            while time.monotonic() < until and not calls.is_set():
                with contextlib.suppress(TimeoutError):
                    caller, address = door.accept()
                    caller.close()
                    if address[0] in _addresses(facts.host):
                        calls.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def _our_address(host: str) -> str:
    """By which of our addresses this host would know us; "" when there is no way to it. Sends nothing."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}


# --- no gateway: the line itself ---


class _Patient:
    """A session that lets an ASTM instrument begin and refuses every frame: nothing is acknowledged, ever."""

    def __init__(self, channel: Channel, *, astm: bool) -> None:
        self._channel = channel
        self._astm = astm

    def received(self, data: bytes) -> None:
        """See Session."""
        if not self._astm:
            return
        if data.endswith(b"\x05"):
            self._channel.send(b"\x06")
        elif data.endswith((b"\n", b"\x03", b"\x17")):
            self._channel.send(b"\x15")

    def disconnected(self, why: str) -> None:
        """See Session."""


async def _held(
    args: argparse.Namespace, section: Instrument, driver: Driver | None, facts: Facts, heard: list[Heard]
) -> Facts:
    tap = Tap()
    called = 0

    def hear(one: Tapped) -> None:
        nonlocal called
        called += one.what == "opened"
        _note(heard, one, time.time())

    tap.listen(hear)
    settings = driver.line if driver else LineSettings()
    connect = build.transport(section.line, settings, Admission(), quiet)
    transport = tap.through(connect)(lambda channel: _Patient(channel, astm=facts.protocol == "astm"))
    calls = threading.Event()
    try:
        await transport.start()
    except LabgatewayError as error:
        return dataclasses.replace(facts, served=False, trouble=str(error))
    _say(
        f"no gateway runs; holding {args.instrument} for {args.seconds:.0f} s, acknowledging nothing; let it send a result"
    )
    waiting = None
    try:
        await asyncio.sleep(min(1.0, args.seconds))
        if facts.kind == "tcp" and transport.trouble:
            waiting = _waits_for_call(facts, calls, args.seconds)
        await asyncio.sleep(max(0.0, args.seconds - 1.0))
    except asyncio.CancelledError:
        pass
    if waiting:
        await asyncio.to_thread(waiting.join, PROBE_S)
    facts = dataclasses.replace(
        facts,
        served=False,
        connected=bool(tap.peers),
        called=called,
        trouble=transport.trouble,
        turned_away=getattr(transport, "turned_away", 0),
        last_refused=getattr(transport, "last_refused", ""),
        calls=calls.is_set(),
    )
    await transport.stop()
    return facts


def _tried(
    args: argparse.Namespace, section: Instrument, driver: Driver | None, facts: Facts, heard: list[Heard]
) -> Facts:
    """Listen under one serial setting after the other, until one fits for sure."""
    line = section.line
    if not isinstance(line, SerialLine):
        raise LabgatewayError(f"--try is for serial lines; {args.instrument} is {line.kind}.")
    configured = _setting(line, driver.line if driver else LineSettings())
    settings = [(configured.baud, configured.bits, configured.parity), *USUAL]
    tried: list[Setting] = []
    trouble = ""
    for baud, bits, parity in dict.fromkeys(settings):
        one = Setting(baud, bits, parity)
        _say(f"listening {TRY_S:.0f} s with {one}")
        data, trouble = asyncio.run(_listened(line.device, one, TRY_S))
        if trouble:
            break
        tried.append(dataclasses.replace(one, data=data))
        if score(data) >= _SURE:
            break
    found, fits = best(tried)
    now = time.time()
    heard += [Heard(now, "from", one.data) for one in tried[:1] if one.data]
    same = found is not None and str(found) == facts.setting
    return dataclasses.replace(
        facts,
        served=False,
        trouble=trouble,
        best="" if found is None or same else str(found),
        best_fits=fits and not same,
    )


async def _listened(device: str, setting: Setting, seconds: float) -> tuple[bytes, str]:
    """What comes under a setting, and why nothing can."""
    came = bytearray()

    class Ear:
        def received(self, data: bytes) -> None:
            came.extend(data)

        def disconnected(self, why: str) -> None:
            del why

    port = SerialPort(
        device,
        lambda _: Ear(),
        baud=setting.baud,
        bits=setting.bits,
        parity=setting.parity,  # type: ignore[arg-type]
    )
    await port.start()
    await asyncio.sleep(seconds)
    trouble = port.trouble
    await port.stop()
    return bytes(came), trouble


def _folder_trouble(line: FolderLine) -> str:
    if not line.path.is_dir():
        return f"{line.path} is no folder"
    try:
        next(line.path.iterdir(), None)
    except OSError as error:
        return f"{line.path} cannot be read ({error.strerror})"
    return ""


# --- further facts ---


def _probed(facts: Facts, section: Instrument) -> Facts:
    """Where nobody called: does the instrument's own address take calls?"""
    quiet = facts.kind == "tcp-listen" and not (facts.connected or facts.called or facts.turned_away)
    if not quiet or not isinstance(section.line, TcpListenLine):
        return facts
    for address in _single(facts.allow):
        with contextlib.suppress(OSError), socket.create_connection((address, facts.port), timeout=PROBE_S):
            return dataclasses.replace(facts, listens=True, host=address)
    return facts


def _single(allow: tuple[str, ...]) -> Iterator[str]:
    for each in allow:
        network = ipaddress.ip_network(each, strict=False)
        address = str(network.network_address)
        if network.num_addresses == 1 and address not in ("127.0.0.1", "::1"):
            yield address


def _stored(config: Config, facts: Facts) -> Facts:
    """What became of the results of the last day. A store that cannot be read is no fact about the line."""
    now = datetime.now(UTC)
    try:
        store = open_store(config)
    except LabgatewayError:
        return facts
    try:
        parked, total, last = store.read_now(
            lambda connection: worklist.standing_of(connection, facts.instrument, now - timedelta(days=1))
        )
    except LabgatewayError:
        return facts
    finally:
        store.close_now()
    hours = None if last is None else (now - last).total_seconds() / 3600
    return dataclasses.replace(facts, parked=parked, stored=total, last_message_h=hours)
