"""Where orders come from, made of their sections: by MLLP, by FHIR, from a folder, from a database. None is opened here.

mllp-listen   TcpListen ── OrderConversation ──┐
fhir-listen   TcpListen ── HttpConversation ───┼── a job of the writer ── the caller's told
folder        OrderFolder ─────────────────────┘
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from labgateway.config import FhirListen, FolderOrders, ListenTls, MllpListen, OrdersSection, SqlOrders
from labgateway.delivery.secrets import SecretError, read_secret
from labgateway.errors import LabgatewayError
from labgateway.gateway.http_door import HttpConversation
from labgateway.gateway.http_door import Taken as HttpTaken
from labgateway.gateway.order_door import OrderConversation
from labgateway.gateway.order_door import Taken as Answered
from labgateway.gateway.order_folder import OrderFolder
from labgateway.gateway.order_query import OrderQuery
from labgateway.orders import OrderRules
from labgateway.orders.fhir import FhirRules
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.order_book import Taken, take_fhir, take_orders
from labgateway.pipeline.order_files import FileRules, FileTaken, take_file
from labgateway.pipeline.rules import Rules
from labgateway.transports import tls
from labgateway.transports.channel import Channel, Say
from labgateway.transports.tcp import Admission, TcpListen

Job = Callable[[Any], Any]
Told = Callable[[Any, BaseException | None], None]


class Source(Protocol):
    """A listener, a folder: opened, closed, and what is wrong with it."""

    @property
    def trouble(self) -> str:
        """Why nothing comes, in plain words; empty when nothing is known to be wrong."""
        ...

    async def start(self) -> None:
        """Open it. Raises LabgatewayError."""
        ...

    async def stop(self) -> None:
        """Close it."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What sources need of the gateway. submit: runs a job and tells the gateway, then the caller, what was taken.

    rules, now: of the moment at which a message comes. timezone: of times without an offset.
    """

    rules: Callable[[], Rules]
    now: Callable[[], datetime]
    timezone: Callable[[], str]
    submit: Callable[[str, Job, Told], None]
    admission: Admission
    spawn: Callable[[Any, str], asyncio.Task[None]]
    say: Say


def source(name: str, section: OrdersSection, tools: Tools) -> Source:
    """Make the source of a section. Raises LabgatewayError for files that cannot be used."""
    match section:
        case MllpListen():
            return _mllp(name, section, tools)
        case FhirListen():
            return _fhir(name, section, tools)
        case FolderOrders():
            return _folder(name, section, tools)
        case SqlOrders():
            return _sql(name, section, tools)


def file_rules(name: str, section: OrdersSection | None, timezone: str) -> FileRules:
    """How files of this source are read; None: as by default."""
    hl7 = OrderRules(source=name, timezone=timezone)
    if isinstance(section, MllpListen | FolderOrders):
        hl7 = OrderRules(name, timezone, section.specimen_id, section.patient_id, section.patient_id_type)
    return FileRules(hl7, _fhir_rules(name, section, timezone))


def _fhir_rules(name: str, section: OrdersSection | None, timezone: str) -> FhirRules:
    if not isinstance(section, FhirListen):
        return FhirRules(name, timezone)
    return FhirRules(
        name, timezone, section.specimen_id, section.specimen_system, section.patient_system, section.patient_id_type,
        section.order_system, section.code_system,
    )  # fmt: skip


def _mllp(name: str, section: MllpListen, tools: Tools) -> Source:
    def take(data: bytes, peer: str, done: Answered) -> None:
        reading = file_rules(name, section, tools.timezone()).hl7
        job = take_orders(
            data, peer=peer, rules=tools.rules(), reading=reading, now=tools.now(), control_id=new_id()
        )  # fmt: skip

        def told(taken: Taken | None, error: BaseException | None) -> None:
            done(None if taken is None else taken.answer, error)

        tools.submit(name, job, told)

    def open_session(channel: Channel) -> OrderConversation:
        loop = asyncio.get_running_loop()
        return OrderConversation(
            channel, take, clock=loop.time, call_at=loop.call_at, wall=tools.now, control_id=new_id, say=tools.say
        )

    return _listen(section, open_session, tools)


def _fhir(name: str, section: FhirListen, tools: Tools) -> Source:
    token = None if section.token_file is None else _Token(section.token_file)

    def take(data: bytes, peer: str, done: HttpTaken) -> None:
        reading = _fhir_rules(name, section, tools.timezone())
        job = take_fhir(data, peer=peer, rules=tools.rules(), reading=reading, now=tools.now())

        def told(taken: Taken | None, error: BaseException | None) -> None:
            done(None if taken is None else (taken.status, taken.answer), error)

        tools.submit(name, job, told)

    def open_session(channel: Channel) -> HttpConversation:
        loop = asyncio.get_running_loop()
        return HttpConversation(
            channel, take, token=token, clock=loop.time, call_at=loop.call_at, say=tools.say
        )  # fmt: skip

    return _listen(section, open_session, tools)


def _listen(section: MllpListen | FhirListen, open_session: Callable[[Channel], Any], tools: Tools) -> Source:
    return TcpListen(
        section.host, section.port, open_session, allow=section.allow, connections=section.connections,
        admission=tools.admission, tls=_contexts(section.tls, tools.say), say=tools.say,
    )  # fmt: skip


def _contexts(keys: ListenTls | None, say: Say) -> Callable[[], ssl.SSLContext] | None:
    if keys is None:
        return None
    return tls.Tls(tls.server(keys.certificate_file, keys.key_file, keys.ca_file), say=say)


def _folder(name: str, section: FolderOrders, tools: Tools) -> Source:
    def take(data: bytes, file: str) -> Awaitable[FileTaken]:
        reading = file_rules(name, section, tools.timezone())
        job = take_file(data, rules=tools.rules(), reading=reading, now=tools.now())
        return submitted(name, job, tools)

    return OrderFolder(
        name, section.path, section.pattern, section.rest_s, take, say=tools.say, spawn=tools.spawn
    )  # fmt: skip


def _sql(name: str, section: SqlOrders, tools: Tools) -> Source:
    def take(data: bytes, _: str) -> Awaitable[FileTaken]:
        job = take_file(
            data,
            rules=tools.rules(),
            reading=file_rules(name, section, tools.timezone()),
            now=tools.now(),
            name="query",
        )
        return submitted(name, job, tools)

    try:
        password = read_secret(section.password_file)
    except SecretError as error:
        raise LabgatewayError(str(error)) from error
    return OrderQuery(
        name,
        section.url,
        section.query_file,
        section.every_s,
        take,
        password=password,
        say=tools.say,
        spawn=tools.spawn,
    )


async def submitted(name: str, job: Job, tools: Tools) -> FileTaken:
    """Run a job and wait for its commit. Raises StoreError."""
    future: asyncio.Future[FileTaken] = asyncio.get_running_loop().create_future()

    def told(taken: FileTaken | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if taken is None:
            future.set_exception(error or LabgatewayError("The store gave no answer."))
        else:
            future.set_result(taken)

    tools.submit(name, job, told)
    return await future


class _Token:
    """What a caller must say, from its file; a file that was renewed is read again, one that is gone admits nobody."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._token = ""
        if not self():
            raise LabgatewayError(
                f"{path} holds no token, or cannot be read. Put a file there that holds nothing else."
            )

    def __call__(self) -> str:
        try:
            stat = self._path.stat()
            if (seen := (stat.st_mtime_ns, stat.st_size)) != self._seen:
                self._token, self._seen = self._path.read_text(encoding="utf-8").strip(), seen
        except (OSError, UnicodeDecodeError):
            self._token, self._seen = "", None
        return self._token
