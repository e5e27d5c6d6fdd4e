"""Whose result it is: where the specimen id stands, how a control is told from a patient, how orders are asked for. Pure.

A wrong guess here is the worst: every choice between two places is said as a doubt.
"""

from __future__ import annotations

import re
from collections import Counter

from labgateway.instruments.paths import Place
from labgateway.learn import looks
from labgateway.learn.evidence import Look, place_of


def specimen(look: Look) -> None:
    """The place whose texts look most like barcodes and differ from specimen to specimen."""
    if look.is_hl7:
        bonus = {
            "SPM-2.1": 2.0,
            "SAC-3.1": 1.5,
            "OBR-3.1": 1.0,
            "OBR-2.1": 0.5,
            "SPM-3.1": 0.2,
            "ORC-3.1": 0.0,
            "PID-3.1": -2.5,
            "PID-2.1": -2.5,
        }
        bonus |= {"SPM-2.1.1": 1.0, "OBR-3.2": 0.0, "OBR-20": -1.0}
    else:
        bonus = {f"O-{f}.{c}": b - 0.1 * c for f, b in ((3, 0.6), (4, 0.4)) for c in range(1, 6)}
        bonus |= {"P-3.1": -2.0, "P-4.1": -2.2, "P-5.1": -2.4}
    asked = {place.of(row) for place in map(place_of, look.guess.query) for row in look.asking} - {""}
    rated: dict[str, float] = {}
    for place, more in bonus.items():
        found = [item.text((place_of(place),)) for item in look.groups]
        if any(found):
            rated[place] = looks.like_a_barcode(found) + more + (3.0 if asked & set(found) else 0.0)
    if not rated:
        look.guess.where["specimen"] = ["SPM-2.1" if look.is_hl7 else "O-3.1"]
        look.doubt(
            f"No specimen id was found; {look.guess.where['specimen'][0]} is the standard's place. Results without one park."
        )
        return
    order = sorted(rated, key=lambda place: -rated[place])
    look.guess.where["specimen"] = [order[0]]
    texts = [item.text((place_of(order[0]),)) for item in look.groups]
    if not all(texts):
        look.doubt(f"{order[0]} is empty for {texts.count('')} of {len(texts)} specimens; their results park.")
    each = [looks.like_a_barcode([text]) for text in texts if text]
    if each and max(each) - min(each) > 1.5:
        look.doubt(
            f"What stands at {order[0]} is not all of one kind: some look like a barcode, others like a running number. A "
            "message may come in two layouts ([[variant]]); look at every specimen in the capture."
        )
    if rated[order[0]] < 3.0:
        look.doubt(f"What stands at {order[0]} hardly looks like a barcode. Send a specimen whose id you know.")
    if len(order) > 1 and rated[order[0]] - rated[order[1]] < 1.5:
        second = [item.text((place_of(order[1]),)) for item in look.groups]
        if second == texts:
            look.guess.where["specimen"].append(order[1])
        else:
            look.doubt(
                f"The specimen id was looked for at {order[0]}; it could also be {order[1]}. THE MOST IMPORTANT "
                "CHECK: compare with the label of the tube."
            )


def control(look: Look) -> None:
    """The standard's marks, and places that begin with the name of a control."""
    guess = look.guess
    if look.is_hl7:
        guess.control = [{"MSH-11": "^Q"}, {"SPM-11.1": "^Q$"}]
        places = ["SPM-4.1", "OBR-4.1", "OBR-4.2", "OBR-15.1", "PID-5", "SPM-11.1"]
    else:
        guess.control = [{"O-12": "^Q$"}]
        if any(said.startswith("Q") for said in look.texts("H-12")):
            guess.control.append({"H-12": "^Q$"})
        places = [f"O-{f}.{c}" for f in (3, 4, 16) for c in range(1, 7)] + ["P-6", "P-3"]
    seen = any(
        re.search(want, said) for one in guess.control for place, want in one.items() for said in look.texts(place)
    )
    for place in dict.fromkeys([*guess.where.get("specimen", []), *places]):
        words = {
            found[0].upper()
            for said in look.texts(place)
            if (found := re.match(r"[A-Za-z]+", said)) and looks.is_control(said)
        }
        if words:
            guess.control.append({place: f"(?i)^({'|'.join(sorted(words))})"})
            look.doubt(
                f"Results are taken for a control where {place} begins with {', '.join(sorted(words))}. Make sure "
                "that no patient's id can."
            )
            seen = True
    if not seen:
        standard = "MSH-11 or SPM-11 Q" if look.is_hl7 else "O-12 Q"
        look.doubt(
            f"No control was seen; only the standard's mark ({standard}) is known. Run one before going live: a "
            "control that is not recognised looks like a patient."
        )
    if look.is_hl7 and len(set(look.texts("MSH-16"))) > 1:
        look.doubt(
            "MSH-16 differs between messages; some instruments tell results, calibration and control apart by it."
        )


def queries(look: Look) -> None:
    """Where a host query names its specimens."""
    if not look.is_hl7 and look.asking:
        look.guess.query_when = {"Q-13": "^(?!A)"}
        look.guess.everything = "^ALL$"
    if not look.asking:
        other_messages(look)
        return
    name = Counter(row.name for row in look.asking).most_common(1)[0][0]
    fields = {"Q": (3, 4), "QPD": (3, 4), "QRD": (8, 9)}[name]
    rows = [row for row in look.asking if row.name == name]
    rated: dict[str, float] = {}
    for number in fields[:1] if name != "QPD" else range(3, 7):
        for component in range(1, 7):
            found = [Place(name, number, component).of(row) for row in rows]
            if any(found):
                rated[f"{name}-{number}.{component}"] = looks.like_a_barcode(found) - 0.1 * component
    if rated:
        best = max(rated, key=lambda place: rated[place])
        look.guess.query = [best]
        look.guess.found.append(f"It asks for its orders; the specimen stands at {best}.")
        look.doubt(
            f"Host queries: the specimen was taken from {best}. How orders are written back ([orders]) cannot be "
            "learned from what the instrument sends."
        )


def other_messages(look: Look) -> None:
    """Messages without results and without a query that is known: an ORM that asks, or something else."""
    asking = [rows for rows in look.messages if look.is_hl7 and rows[0].value(9, 1) == "ORM"]
    rows = [row for message in asking for row in message if row.name in ("ORC", "OBR")]
    rated: dict[str, float] = {}
    for place in ("ORC-3.1", "ORC-2.1", "OBR-3.1", "OBR-2.1"):
        found = [place_of(place).of(row) for row in rows if row.name == place[:3]]
        if any(found):
            rated[place] = looks.like_a_barcode(found)
    if rated:
        best = max(rated, key=lambda place: rated[place])
        look.guess.query, look.guess.query_when = [best], {"MSH-9.1": "^ORM$"}
        look.doubt(
            f"ORM messages from the instrument were taken for host queries, the specimen at {best}. Check with the manual."
        )
