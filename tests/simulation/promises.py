"""What must hold after every step, asked of the store and of the EMR's chart (RELIABILITY section 8)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from itertools import pairwise
from typing import Any

from labgateway.model import ResultLetter
from tests.matching.reference import FOLLOWS, PERSONS
from tests.simulation.chart import Entry
from tests.simulation.lab import Lab
from tests.simulation.truth import ASKED, PEOPLE, Sent, Tube, in_window, line_of

_UNITS = {"GLU": "mmol/L", "WBC": "10*9/L", "HGB": "g/L"}


def check(lab: Lab) -> None:
    """Every promise, now."""
    _durability(lab)
    _nothing_vanishes(lab)
    _deliveries(lab)
    _chart(lab)


def _rows(lab: Lab, query: str) -> list[Any]:
    return lab.rows(query)


_ANSWERS = (
    "SELECT order_id, code FROM observation o WHERE state = 'released' AND letter NOT IN ('W', 'D') AND order_id IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM observation l WHERE l.replaces = o.id AND l.state = 'released') "
    "GROUP BY order_id, code, place_patient HAVING count(*) > 1"
)


def _durability(lab: Lab) -> None:
    kept = {number: (bytes(raw), sha) for number, raw, sha in _rows(lab, "SELECT id, raw, sha256 FROM transmission")}
    for number, raw in lab.acked.items():
        assert kept.get(number) == (raw, hashlib.sha256(raw).hexdigest()), "D1, D3"


def _nothing_vanishes(lab: Lab) -> None:
    several = _rows(
        lab,
        "SELECT r.id, group_concat(o.id) FROM result r LEFT JOIN observation o ON o.result_id = r.id "
        "WHERE r.kind <> 'query' GROUP BY r.id HAVING count(o.id) <> 1",
    )
    for _, numbers in several:
        ours = set((numbers or "").split(",")) - lab.by_hand
        assert numbers and len(ours) <= 1, "E1: a result without its one observation"
    assert not _rows(
        lab,
        "SELECT o.id FROM observation o LEFT JOIN delivery_observation d ON d.observation_id = o.id "
        "WHERE (o.state = 'released') <> (d.delivery_id IS NOT NULL)",
    ), "E1: released without a delivery, or a delivery of what is not released"
    assert not _rows(lab, _ANSWERS), "V5: two answers of one order stand beside each other"
    unread = [n for (n,) in _rows(lab, "SELECT id FROM transmission WHERE state = 'stored'")]
    assert sorted(unread) == sorted(lab.queue)
    assert not _rows(lab, "SELECT id FROM observation WHERE state = 'held' AND (reason IS NULL OR reason = '')")


def _deliveries(lab: Lab) -> None:
    rows = _rows(lab, "SELECT id, lane, control_id, body FROM delivery ORDER BY id")
    for _, _, control_id, body in rows:
        if control_id in lab.chart.bodies:
            assert lab.chart.bodies[control_id] == bytes(body), "E2, E6: other bytes under one id"
    arrived = list(lab.chart.bodies)
    for lane in {lane for _, lane, _, _ in rows}:
        mine = [control_id for _, of, control_id, _ in rows if of == lane and control_id in lab.chart.bodies]
        then = [c for c in arrived if c in mine]
        assert lab.lost.intersection(then) or then == mine, "E3: one specimen's messages in another order"


def _chart(lab: Lab) -> None:
    """What arrived since the last look, and what all of it says together."""
    entries = lab.chart.entries
    if len(entries) == lab.checked:
        return
    made = lab.made()
    there = {str(control_id) for (control_id,) in _rows(lab, "SELECT control_id FROM delivery")}
    for entry in entries[lab.checked :]:
        if entry.control_id in there:
            _identity(lab, entry, made[entry.control_id])
    lab.checked = len(entries)
    said: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        # An order that was given to another patient begins anew there; what is at the first one is a person's to take back.
        if entry.control_id not in lab.lost:
            said.setdefault((entry.specimen, entry.placer, entry.code, entry.patient), []).append(entry)
    for versions in said.values():
        assert len({e.id for e in versions}) == len(versions), "E2: one observation twice under two message ids"
        _lattice(lab, versions)


def _identity(lab: Lab, entry: Entry, made: int) -> None:
    """P1, P6, P8: where it stands, and what else could have been meant when the message was made."""
    sent = _source(lab, entry)
    order = lab.orders[entry.placer]
    assert entry.code in ASKED[order.code], "P1: another test"
    assert entry.unit == _UNITS[entry.code], "V3"
    if entry.letter == "W":
        there = [
            e for e in lab.chart.entries if e.letter != "W" and e.specimen == entry.specimen and e.code == entry.code
        ]
        where = [e.patient for e in there if (e.placer, e.value) == (entry.placer, entry.value)]
        assert any(p == entry.patient or {p, entry.patient} == set(PEOPLE["lan"]) for p in where), (
            "V5: W where nothing was"
        )
        return
    if entry.id in lab.mistaken:
        return
    stands = [s for tube in _line(lab, sent, made) if (s := order.on(tube, made)) and s.is_open]
    assert stands, "P8: the order was not open on this tube, nor on what it was taken from"
    (stand,) = stands
    assert (entry.patient, entry.born) == (stand.pid, stand.born), "P1: not the order's patient"
    assert stand.tube in line_of(sent.tube) or set(PEOPLE[sent.tube.person]) & {entry.patient}, "P1: another person"
    if entry.id in lab.by_hand:
        assert stand.tube in line_of(sent.tube), "P1: a person released it for its own tube's order"
        return
    assert entry.specimen == sent.tube.specimen, "P1: another specimen"
    assert sent.named in (None, stand.pid), "P1: the instrument named somebody else"
    assert sent.born in (None, stand.born), "P1: the instrument named another birth date"
    inside = [at for at in sent.arrivals if in_window(stand.tube, at)]
    assert inside, "P6: outside the order's window"
    for before, change in pairwise(s for s in order.history if s.tube is stand.tube and s.behind < made):
        assert before.pid == change.pid or max(inside) > change.at, "P8: received before the order got another patient"
    assert any(not _against(lab, entry, made, sent, at) for at in inside), "P1: not the only candidate"


def _source(lab: Lab, entry: Entry) -> Sent:
    sources = [sent for sent in lab.values.values() if (sent.in_emr, sent.test) == (entry.value, entry.code)]
    assert len(sources) == 1, "V1: a value that no instrument sent, or P7: a control's"
    return sources[0]


def _line(lab: Lab, sent: Sent, made: int) -> list[Tube]:
    """Every tube that bears the label, and what it was taken from: the gateway cannot see more than that."""
    same = [tube for tube in lab.tubes if tube.specimen == sent.tube.specimen]
    return [one for tube in same for one in line_of(tube, made)]


def _against(lab: Lab, entry: Entry, made: int, sent: Sent, at: datetime) -> list[str]:
    """The other orders that could be meant: open and asking for the test too, or of another patient's, open or not."""
    return [
        other.placer
        for other in lab.orders.values()
        for tube in _line(lab, sent, made)
        if (stand := other.on(tube, made)) is not None
        and other.placer != entry.placer
        and in_window(tube, at)
        and (stand.pid != entry.patient or (stand.is_open and entry.code in ASKED[other.code]))
    ]


def _lattice(lab: Lab, entries: list[Entry]) -> None:
    for before, after in pairwise(entries):
        by_person = after.id in lab.by_hand
        step = (ResultLetter(before.letter), ResultLetter(after.letter))
        assert step in FOLLOWS or (by_person and step in PERSONS), f"V5: {step[0].name} then {step[1].name}"
        if not by_person and before.letter != "W":
            assert _source(lab, before).by == _source(lab, after).by, "another instrument's word is a person's to take"
        assert after.value or not before.value or by_person, "V5: an empty value erased"
