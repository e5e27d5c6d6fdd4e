"""From a line's section and its driver to the parts of a line: what it speaks, its transport, its options. None is started."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from labgateway.config import (
    FhirListen,
    FolderLine,
    FolderOrders,
    Instrument,
    LineSection,
    MllpListen,
    OrdersSection,
    SerialLine,
    TcpLine,
    TcpListenLine,
)
from labgateway.errors import LabgatewayError, Problem, Reason
from labgateway.gateway.nodes import is_address_here, is_path_here
from labgateway.instruments import encode_raw
from labgateway.instruments.decode import rows_of
from labgateway.instruments.driver import line_of
from labgateway.instruments.order_form import Hl7Form, Hl7OrderForm, RawOrderForm
from labgateway.instruments.spec import TABLE, Driver, LineSettings
from labgateway.pipeline.rules import InstrumentRules
from labgateway.protocols.astm_rules import Checksums, Framing, LinkRules, Numbers
from labgateway.transports import tls
from labgateway.transports.channel import OpenSession, Say, Transport
from labgateway.transports.folder import FolderWatch
from labgateway.transports.serial import SerialPort
from labgateway.transports.tcp import Admission, TcpConnect, TcpListen


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
    """Whether orders can be sent to it that it did not ask for: in HL7 only by messages of their own (OML^O33), by a raw
    framing never."""
    form = driver.orders
    if form is None or isinstance(form, RawOrderForm):
        return False
    return not isinstance(form, Hl7OrderForm) or form.form is Hl7Form.LAW


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
            said = {"reply": partial(encode_raw.reply, driver.line.replies)} if driver.line.replies else {}
            return said | ({"asks": asks} if instrument.orders != "off" else {})


def judge_of(driver: Driver) -> Callable[[bytes], Problem | None]:
    """Why a message cannot be read by its driver."""

    def judge(message: bytes) -> Problem | None:
        try:
            return rows_of(driver, message)[2]
        except Exception as error:  # it is kept, and processing says the same
            return Problem(Reason.DEFECT, type(error).__name__)

    return judge
