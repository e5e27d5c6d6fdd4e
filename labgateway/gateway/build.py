"""From config sections to parts: rules, transports, lines, destinations. No part is started here."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from labgateway.config import (
    Config,
    DestinationSection,
    FhirDestination,
    FhirListen,
    FolderLine,
    FolderOrders,
    HttpDestination,
    Instrument,
    LineSection,
    MllpDestination,
    MllpListen,
    MqttDestination,
    NatsDestination,
    OrdersSection,
    SerialLine,
    TcpLine,
    TcpListenLine,
    TlsKeys,
    WebDestination,
)
from labgateway.delivery import oru
from labgateway.delivery.mllp_out import MllpDestination as MllpOut
from labgateway.delivery.oru_forms import OruOptions
from labgateway.delivery.schedule import Schedule
from labgateway.delivery.sender import Destination
from labgateway.errors import Complaint, ComplaintsError, LabgatewayError, Problem, Reason
from labgateway.gateway import outlets, web
from labgateway.gateway.nodes import is_address_here, is_path_here
from labgateway.instruments.decode import rows_of
from labgateway.instruments.driver import Library, line_of
from labgateway.instruments.order_form import Hl7Form, Hl7OrderForm
from labgateway.instruments.spec import TABLE, Driver, LineSettings, Reply
from labgateway.mapping.table import Mapping as MappingFile
from labgateway.mapping.table import load as load_mapping
from labgateway.mapping.table import settle
from labgateway.matching.attribute import Policy
from labgateway.matching.check_digits import CheckDigit
from labgateway.model import Report, Settings
from labgateway.pipeline.rules import DestinationRules, InstrumentRules, Rules, extended
from labgateway.protocols.astm_rules import Checksums, Framing, LinkRules, Numbers
from labgateway.transports import tls
from labgateway.transports.channel import OpenSession, Say, Transport
from labgateway.transports.folder import FolderWatch
from labgateway.transports.serial import SerialPort
from labgateway.transports.tcp import Admission, TcpConnect, TcpListen
from labgateway.transports.tls import TlsFiles


def shipped(name: str) -> Path:
    """A folder that travels with labgateway (drivers, mappings): in the wheel, or in the source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_shipped" / name
    return installed if installed.exists() else package.parent / name


def library(config: Config) -> Library:
    """The site's drivers and the shipped ones. Of two drivers of one name the later wins: the site's."""
    return Library.of([shipped("drivers"), *config.gateway.drivers])


def rules(config: Config, drivers: Library) -> Rules:
    """The snapshot under which messages are processed. Broken drivers and mappings become problems of their own."""
    policy = Policy(
        window_h=config.matching.window_h,
        wait_h=config.matching.wait_h,
        without_order=config.matching.without_order,
        not_ordered=config.matching.not_ordered,
        second_ids=config.matching.second_ids,
        specimen_pattern=re.compile(p) if (p := config.matching.specimen_pattern) else None,
        check=CheckDigit(digit) if (digit := config.matching.check_digit) else None,
    )
    return Rules(
        config_version=config.version,
        timezone=ZoneInfo(config.gateway.timezone),
        policy=policy,
        library=drivers,
        instruments={name: _instrument(one, drivers, policy) for name, one in config.instruments.items()},
        destinations=tuple(_destination(config, name, one) for name, one in config.destinations.items()),
    )


def keep_good(old: Rules, new: Rules, unchanged: Iterable[str]) -> Rules:
    """The new rules, but with the driver or mapping that was read before where the file has become broken since.

    unchanged: instruments that name the same driver and the same mapping file as before.
    """
    instruments = dict(new.instruments)
    for name in unchanged:
        before, now = old.instruments[name], new.instruments[name]
        driver, mapping = now.driver, now.mapping
        kept: list[Problem] = []
        if isinstance(driver, Problem) and isinstance(before.driver, Driver):
            kept.append(driver)
            driver = before.driver
        if isinstance(mapping, Problem) and isinstance(before.mapping, MappingFile):
            kept.append(mapping)
            mapping = before.mapping
        if kept:
            if isinstance(mapping, MappingFile) and isinstance(driver, Driver):
                mapping = settle(mapping, declared(driver))
                driver = extended(driver, mapping)
            instruments[name] = replace(now, driver=driver, mapping=mapping, orders=before.orders, kept=tuple(kept))
    return replace(new, instruments=instruments)


def _destination(config: Config, name: str, section: DestinationSection) -> DestinationRules:
    sensitive = frozenset(config.gateway.sensitive)
    tests = frozenset(section.tests) or None
    if section.sensitive == "only":
        tests = sensitive if tests is None else tests & sensitive
    return DestinationRules(
        name,
        _renderer(config, section),
        shadow=section.shadow,
        single=section.one_result_each,
        instruments=frozenset(section.instruments),
        wards=frozenset(section.wards),
        specimens=frozenset(section.specimens),
        tests=tests,
        without=sensitive if section.sensitive == "leave_out" else frozenset(),
    )


def _renderer(config: Config, section: DestinationSection) -> Callable[[Report, str], bytes]:
    """How the reports of a destination are written. Raises LabgatewayError for a kind that this version does not run."""
    settings = _settings(config)
    match section:
        case MllpDestination():
            options = _oru_options(section)
            return lambda report, control_id: oru.render(report, settings, control_id, options)
        case FhirDestination() | HttpDestination():
            return web.renderer(section, settings)
        case _:
            return outlets.renderer(section, settings)


def _oru_options(section: MllpDestination) -> OruOptions:
    accept, application = {"original": ("", ""), "accept": ("AL", "NE"), "application": ("AL", "AL")}[
        section.acknowledge
    ]
    return OruOptions(
        status=section.status,
        structured=section.structured,
        attachments=section.attachments,
        receiving_application=section.receiving_application,
        receiving_facility=section.receiving_facility,
        version=section.version,
        accept=accept,
        application=application,
    )


def _instrument(one: Instrument, drivers: Library, policy: Policy) -> InstrumentRules:
    driver: Driver | Problem = drivers.find(one.driver) or Problem(Reason.DRIVER_BROKEN, one.driver)
    mapping: MappingFile | Problem
    try:
        mapping = settle(load_mapping(one.mapping), None if isinstance(driver, Problem) else declared(driver))
    except (ComplaintsError, OSError):
        mapping = Problem(Reason.MAPPING_BROKEN, one.mapping.name)
    if isinstance(driver, Driver) and isinstance(mapping, MappingFile):
        driver = extended(driver, mapping)
    return InstrumentRules(
        driver, mapping, manual=one.release == "manual", orders=_orders(one, driver),
        policy=None if one.second_ids is None else replace(policy, second_ids=one.second_ids),
    )  # fmt: skip


def _orders(one: Instrument, driver: Driver | Problem) -> Literal["off", "asked", "unasked"]:
    """Whether an instrument gets orders: as the config says, else as its driver does."""
    if isinstance(driver, Problem) or driver.orders is None or one.orders == "off":
        return "off"
    unasked = one.orders == "unasked" or (one.orders == "driver" and driver.orders.unasked)
    if unasked and may_be_told(driver):
        return "unasked"
    return "asked"


def untold(one: Instrument, driver: Driver) -> list[tuple[str, str, str]]:
    """What a section asks for that its driver cannot be told: key, what is wrong, cure."""
    found: list[tuple[str, str, str]] = []
    if one.orders == "unasked" and not may_be_told(driver):
        what = f"{driver.name} cannot be sent orders that it did not ask for."
        found.append(("orders", what, 'Leave it out: what it asks is answered. Or write "off".'))
    if one.orders_line is not None and (driver.protocol != "hl7" or not may_be_told(driver)):
        what = f"{driver.name} takes no orders on a second connection."
        found.append(
            ("orders_line", what, "Take it away; only HL7 drivers whose orders are messages of their own have one.")
        )
    return found


def may_be_told(driver: Driver) -> bool:
    """Whether orders can be sent to it that it did not ask for: in HL7 only by messages of their own (OML^O33)."""
    form = driver.orders
    return form is not None and (not isinstance(form, Hl7OrderForm) or form.form is Hl7Form.LAW)


def spoken(instrument: InstrumentRules, name: str, kind: str, folders: list[Path]) -> tuple[str, LineSettings]:
    """What a line of this kind speaks and how it is set. Of a broken driver what its file says, so that its messages
    are kept until it is mended.

    Raises LabgatewayError for a protocol that such a line does not speak: with the wrong machine it would acknowledge
    what it does not understand.
    """
    found, settings = "astm", LineSettings()
    if isinstance(instrument.driver, Driver):
        found, settings = instrument.driver.protocol, instrument.driver.line
    else:
        for folder in folders:
            said, settings = line_of(folder / name)
            if said:
                found = said
                break
    if kind != "folder" and (why := NOT_LIVE.get(found)):
        raise LabgatewayError(
            f'driver {name} speaks {found}, which only a line of kind folder reads: {why}. Set kind = "folder" and the '
            "path into which the instrument writes."
        )
    return found, settings


NOT_LIVE = {
    TABLE: "it is for files with a header row",
    "beckman_lh": "where a message of several blocks ends is not known well enough to acknowledge one",
}
"""Protocols of drivers that are no framing of a line, and why."""


def transport(
    section: LineSection, settings: LineSettings, admission: Admission, say: Say
) -> Callable[[OpenSession], Transport]:
    """Make the transport of a line section. Raises TlsError."""
    match section:
        case TcpListenLine(tls=keys):
            contexts = keys and tls.Tls(tls.server(keys.certificate_file, keys.key_file, keys.ca_file), say=say)
            return lambda open_session: TcpListen(
                section.host, section.port, open_session,
                allow=section.allow, connections=section.connections, admission=admission, tls=contexts, say=say,
            )  # fmt: skip
        case TcpLine(tls=keys):
            contexts = keys and tls.Tls(
                tls.client(keys.ca_file, keys.certificate_file, keys.key_file, keys.pinned_file), say=say
            )
            name = (keys and keys.name) or ""
            return lambda open_session: TcpConnect(
                section.host, section.port, open_session, tls=contexts, server_name=name, say=say
            )
        case SerialLine():
            usual = settings.serial
            return lambda open_session: SerialPort(
                section.device,
                open_session,
                baud=section.baud or usual.baud,
                bits=section.bits or usual.bits,
                parity=section.parity or usual.parity,
                stop=section.stop or usual.stop,
                flow=section.flow or usual.flow,
                say=say,
            )
        case FolderLine():
            return lambda open_session: FolderWatch(
                section.path, open_session, pattern=section.pattern, stable_s=section.stable_s, say=say
            )


def _settings(config: Config) -> Settings:
    return Settings(config.gateway.name, config.gateway.facility, config.gateway.timezone)


def destination(config: Config, section: DestinationSection, say: Say) -> Destination:
    """Make the destination of a section. Raises LabgatewayError for a kind that this version does not run."""
    match section:
        case MllpDestination():
            return MllpOut(
                section.host,
                section.port,
                connections=section.connections,
                answer_s=section.answer_s,
                tls=_contexts(section, say),
                tls_name=section.tls.name if section.tls else None,
                by_application=section.acknowledge == "application",
                release2=section.mllp == "2",
            )
        case FhirDestination() | HttpDestination():
            return web.destination(section, _contexts(section, say))
        case _:
            return outlets.destination(section, _settings(config), _contexts(section, say))


def file_mistakes(section: DestinationSection) -> list[Complaint]:
    """What is wrong with the files that a destination names: certificates, templates, secrets."""
    found = web.mistakes(section) if isinstance(section, WebDestination) else []
    files = certificates(section)
    try:
        if files is not None:
            tls.context(files)
    except LabgatewayError as error:
        what, _, cure = str(error).partition(". ")
        found.append(Complaint("", None, "tls", f"{what}.", cure))
    return found


def is_here(section: LineSection | OrdersSection) -> bool:
    """Whether this machine can serve it: its address, its serial port or its folder is here."""
    match section:
        case TcpListenLine() | MllpListen() | FhirListen():
            return is_address_here(section.host)
        case SerialLine():
            return "://" in str(section.device) or is_path_here(Path(section.device))
        case FolderLine() | FolderOrders():
            return is_path_here(section.path)
        case _:
            return True


def certificates(section: DestinationSection) -> TlsFiles | None:
    """The files of an encrypted destination; None of one that is not."""
    match section:
        case (
            MllpDestination(tls=TlsKeys() as keys)
            | WebDestination(tls=TlsKeys() as keys)
            | MqttDestination(tls=TlsKeys() as keys)
            | NatsDestination(tls=TlsKeys() as keys)
        ):
            return tls.client(keys.ca_file, keys.certificate_file, keys.key_file, keys.pinned_file)
        case _:
            return None


def _contexts(section: DestinationSection, say: Say) -> Callable[[], ssl.SSLContext] | None:
    """The context of now. Files that cannot be used cost their own destination only: each call then raises TlsError."""
    files = certificates(section)
    if files is None:
        return None
    made: list[tls.Tls] = []

    def now() -> ssl.SSLContext:
        if not made:
            made.append(tls.Tls(files, say=say))
        return made[0]()

    return now


def line_options(instrument: InstrumentRules, kind: str, asks: Callable[[bytes], bool]) -> dict[str, Any]:
    """What the driver says of its line, as ``Line`` takes it. asks: whether a message is a query that we answer."""
    driver = instrument.driver
    if isinstance(driver, Problem):
        return {}
    if kind == "folder":
        return {"judge": judge_of(driver)}
    match driver.protocol:
        case "hl7":
            return {"encoding": driver.line.encoding, "ack": driver.ack, "asks": asks}
        case "astm":
            said = driver.line
            rules = LinkRules(
                checksums=Checksums(said.checksum),
                numbers=Numbers(said.numbers),
                framing=Framing(said.framing),
                silence_s=said.silence_s,
                acks_eot=said.acks_eot,
            )
            end = "L" if said.end == "L" else "every_frame"
            # Records without an enquiry leave no moment at which the line is free for us.
            sends = instrument.orders != "off" and said.framing != "records"
            return {"sends": sends, "link_rules": rules, "message_end": end}
        case _:
            return {"reply": reply_of(driver.line.replies)} if driver.line.replies else {}


def judge_of(driver: Driver) -> Callable[[bytes], Problem | None]:
    """Why a message cannot be read by its driver."""

    def judge(message: bytes) -> Problem | None:
        try:
            return rows_of(driver, message)[2]
        except Exception as error:  # it is kept, and processing says the same
            return Problem(Reason.DEFECT, type(error).__name__)

    return judge


def reply_of(replies: Iterable[Reply]) -> Callable[[bytes], bytes | None]:
    """What is said to a text: the first reply whose expression fits, its groups filled in. Bytes pass as they are."""

    def reply(text: bytes) -> bytes | None:
        said = text.decode("latin-1")
        for one in replies:
            if found := one.when.search(said):
                return found.expand(one.say).encode("latin-1")
        return None

    return reply


def pace(section: DestinationSection) -> dict[str, Any]:
    """When and how fast a destination is tried, as ``Sender`` takes it."""
    return {
        "schedule": Schedule(section.retry_first_s, section.retry_max_s, section.tries_when_asked),
        "gap_s": 1 / section.per_second if section.per_second else 0.0,
    }


def declared(driver: Driver) -> dict[str, tuple[str, ...]]:
    """The codes that the driver declares, each with its units: all it can send, unless it leaves codes open."""
    return dict(driver.tests)
