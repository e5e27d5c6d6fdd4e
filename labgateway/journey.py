"""A result's way, from the bytes it came in to each destination's answer, as plain values: for `trace` and the console.

    message (peer, time, bytes, hash) ── record (bytes from-to) ── the driver's [where] ── what the analyzer said
      ── mapping version, line ── what the EMR gets ── orders seen and the decision ── deliveries, every answer ── deeds

Reads only. What cannot be shown any more (a driver that is gone, a mapping version that is not kept) is null, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from labgateway.config import Config
from labgateway.errors import LabgatewayError, Problem
from labgateway.instruments.spec import Driver
from labgateway.mapping.history import History
from labgateway.matching import attribute as matching
from labgateway.model import Kind, Order
from labgateway.pipeline.out import panels_of
from labgateway.pipeline.rules import Rules
from labgateway.protocols.locate import locate
from labgateway.store import journal, orders, results, worklist
from labgateway.store.journal import Transmission
from labgateway.store.observed import Stored
from labgateway.toml_lines import parse_toml

Plain = dict[str, Any]

_PARTS = ("specimen", "code", "value", "unit", "flag", "status", "measured_at")


def journey(connection: Connection, wanted: str, config: Config, rules: Rules, *, raw: bool = False) -> Plain:
    """Everything known of a specimen id, or of one observation (our id of 20 characters) and those made of the same result.

    raw: the bytes of messages and records as text as well. orders and messages are empty when nothing is known.
    """
    one = results.get(connection, wanted.upper()) if len(wanted) == 20 else None
    if one is not None:
        specimen = one.specimen or one.result.specimen or ""
        chosen = _of_one_result(connection, one)
    else:
        specimen = wanted
        chosen = results.of_specimen(connection, specimen)
    return {
        "specimen": specimen,
        "observation": None if one is None else one.id,
        "orders": [_order(order) for order in orders.for_specimen(connection, specimen)] if specimen else [],
        "messages": _Gatherer(connection, config, rules, raw).messages(chosen),
    }


def _of_one_result(connection: Connection, one: Stored) -> list[Stored]:
    """The observation, what a person made of the same result, and what it replaced or was replaced by."""
    near = results.of_specimen(connection, one.specimen) if one.specimen else []
    same = [
        other for other in results.of_transmission(connection, one.transmission_id) if other.result_id == one.result_id
    ]
    linked = [o for o in near if one.id in (o.replaces, o.duplicate_of) or o.id in (one.replaces, one.duplicate_of)]
    return list({other.id: other for other in (*same, *linked, one)}.values())


class _Gatherer:
    """Messages with their results; each message, driver and mapping version is read once."""

    def __init__(self, connection: Connection, config: Config, rules: Rules, raw: bool) -> None:
        self._connection = connection
        self._config = config
        self._rules = rules
        self._raw = raw
        self._mappings: dict[tuple[str, str], Plain | None] = {}

    def messages(self, chosen: Iterable[Stored]) -> list[Plain]:
        found: dict[int, Plain] = {}
        kept: dict[int, Transmission] = {}
        for one in chosen:
            if one.transmission_id not in found:
                message = journal.get(self._connection, one.transmission_id)
                if message is None:
                    continue
                kept[message.id], found[message.id] = message, self._message(message)
            found[one.transmission_id]["results"].append(self._result(one, kept[one.transmission_id]))
        return sorted(found.values(), key=lambda message: message["received_at"])

    def _message(self, message: Transmission) -> Plain:
        shown: Plain = {
            "message": message.id, "instrument": message.instrument, "protocol": message.protocol, "peer": message.peer,
            "received_at": message.received_at, "bytes": len(message.raw), "sha256": message.sha256, "driver": message.driver,
            "where": self._where(message), "config_version": message.config_version,
            "mapping_version": message.mapping_version, "state": message.state,
            "why": "" if message.problem is None else str(message.problem),
            "deeds": worklist.deeds_on(self._connection, f"message {message.id}"), "results": [],
        }  # fmt: skip
        if self._raw:
            shown["raw"] = message.raw.decode("utf-8", "backslashreplace")
        return shown

    def _where(self, message: Transmission) -> Plain | None:
        """Which fields the driver of now reads; None when the message was read by another driver, or it is broken."""
        instrument = self._rules.instruments.get(message.instrument)
        driver = None if instrument is None else instrument.driver
        if not isinstance(driver, Driver) or driver.name != message.driver:
            return None
        return {part: [str(place) for place in driver.where[part]] for part in _PARTS if driver.where.get(part)}

    def _result(self, one: Stored, message: Transmission) -> Plain:
        said = one.result
        record = locate(message.raw, said.where, framed=message.protocol == "astm")
        shown: Plain = {
            "observation": one.id, "row": said.where,
            "record": None if record is None else {"from": record.first, "to": record.last},
            "kind": said.kind.value,
            "said": {
                "specimen": said.specimen, "code": said.code, "value": said.value, "unit": said.unit,
                "flags": list(said.flags), "status": said.status.value, "measured_at": said.measured_at,
                "measured_at_text": said.measured_at_text, "run": said.run, "range": said.range,
            },
            "mapping": self._mapping(one), "specimen": one.specimen, "code": one.code, "value": one.value, "unit": one.unit,
            "loinc": one.loinc, "original_value": one.original_value, "original_unit": one.original_unit,
            "letter": one.letter.value, "state": one.state.value,
            "reason": None if one.problem is None else one.problem.reason.name,
            "why": "" if one.problem is None else str(one.problem),
            "cure": "" if one.problem is None else one.problem.reason.cure,
            "order": one.order_id, "beside": one.beside_id, "seen": self._seen(one),
            "replaces": one.replaces, "duplicate_of": one.duplicate_of, "decided_at": one.decided_at,
            "decided_by": one.decided_by, "version": one.row_version,
            "range": None if one.added is None else one.added.range, "range_of_instrument": said.range,
            "computed": None if one.added is None or not one.added.formula
            else {"formula": one.added.formula, "from": list(one.added.inputs)},
            "deliveries": worklist.deliveries_of(self._connection, one.id),
            "deeds": worklist.deeds_on(self._connection, f"observation {one.id}"),
        }  # fmt: skip
        if self._raw and record is not None:
            shown["record"]["text"] = record.text.decode("utf-8", "backslashreplace")
        return shown

    def _seen(self, one: Stored) -> list[Plain]:
        """The orders of the result's specimen id as matching sees them now: where in time, what speaks against them."""
        if one.specimen is None or one.result.kind is not Kind.PATIENT:
            return []
        policy = self._rules.policy_of(one.instrument)
        candidate = matching.Candidate(one.result, (one.code,), one.received_at, one.instrument)
        found = orders.for_specimen(self._connection, one.specimen)
        return [
            {"order": s.order.id, "window": s.side.value, "differs": list(s.differs), "asks": list(s.asks),
             "state": s.order.state.value}
            for s in matching.seen(candidate, found, panels_of(one.instrument, self._rules), policy)
        ]  # fmt: skip

    def _mapping(self, one: Stored) -> Plain | None:
        """The line of the mapping file that made the observation, as the file was then."""
        instrument = self._config.instruments.get(one.instrument)
        if instrument is None or one.mapping_version is None:
            return None
        found = self._version(one.instrument, instrument.mapping.name, one.mapping_version)
        if found is None:
            return {"file": instrument.mapping.name, "version": one.mapping_version, "line": None, "text": None}
        for section in ("tests", "leave_out"):
            line = found["index"].get((section, one.result.code))
            if line is not None:
                text = found["lines"][line - 1].strip() if line <= len(found["lines"]) else None
                return {"file": instrument.mapping.name, "version": one.mapping_version, "line": line, "text": text}
        return {"file": instrument.mapping.name, "version": one.mapping_version, "line": None, "text": None}

    def _version(self, instrument: str, name: str, version: str) -> Plain | None:
        key = (name, version)
        if key not in self._mappings:
            self._mappings[key] = self._read(instrument, name, version)
        return self._mappings[key]

    def _read(self, instrument: str, name: str, version: str) -> Plain | None:
        known = self._rules.instruments.get(instrument)
        text = b""
        if known is not None and not isinstance(known.mapping, Problem) and known.mapping.version == version:
            text = known.mapping.raw
        try:
            text = text or History(self._config.gateway.data, name).text(version)
            _, index = parse_toml(text, name=name)
        except LabgatewayError:
            return None
        return {"index": index, "lines": text.decode("utf-8-sig").splitlines()}


def _order(order: Order) -> Plain:
    shown = asdict(order)
    patient = shown.pop("patient")
    return {
        "order": shown.pop("id"), "patient": patient["id"], "birth_date": patient["birth_date"], "sex": patient["sex"],
        "name": patient["pid5"], **{name: value for name, value in shown.items() if value not in (None, "")},
        "state": order.state.value, "priority": order.priority.value,
    }  # fmt: skip
