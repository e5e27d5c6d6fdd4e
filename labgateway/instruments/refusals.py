"""What an instrument says that it will not do of its orders: in its answer to them, or in a message of its own. Pure."""

from __future__ import annotations

from labgateway.instruments.decode import rows_of
from labgateway.instruments.order_form import Hl7OrderForm, RawOrderForm
from labgateway.instruments.paths import holds
from labgateway.instruments.plan import first_rows
from labgateway.instruments.spec import Driver
from labgateway.protocols import hl7
from labgateway.protocols.raw_framing import FRAMINGS, unframe

_SHORT = 65_536
"""A longer message refuses nothing."""


def refused(driver: Driver, message: bytes) -> str:
    """The codes by which a stored message refuses orders, never its words; empty when it does not. Never raises."""
    if isinstance(driver.orders, RawOrderForm) and len(message) <= _SHORT:
        return _refused_text(driver, driver.orders, message)
    if driver.protocol != "hl7" or len(message) > _SHORT:
        return ""
    if b"MSA" in message and (said := hl7.verdict(hl7.read(message))) is not None:
        return said.refused
    form = driver.orders
    if not isinstance(form, Hl7OrderForm) or not form.refused:
        return ""
    rows, _, problem = rows_of(driver, message)
    at = first_rows(rows)
    for condition in form.refused:
        if not problem and holds(condition, at):
            return ", ".join(f"{clause.key} {at(clause.places)}" for clause in condition if len(at(clause.places)) <= 4)
    return ""


def _refused_text(driver: Driver, form: RawOrderForm, message: bytes) -> str:
    if form.refusal is None:
        return ""
    for text in unframe(message, FRAMINGS[driver.protocol]).texts:
        if found := form.refusal.search(text.decode("latin-1")):
            return f"code {found['why'][:4]}" if found["why"] else "without a code"
    return ""
