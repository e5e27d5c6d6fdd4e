"""Where code, value, unit, flag, status, time and the patient's particulars stand. Pure.

Candidates are compared over all rows; what the standard says of a place counts a little more.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable

from labgateway.learn import looks
from labgateway.learn.evidence import Look, listed, place_of

FLAGS = {
    "N": "normal", "H": "high", "L": "low", "HH": "very high", "LL": "very low", "A": "abnormal", "AA": "very abnormal",
    ">": "above range", "<": "below range",
}  # fmt: skip
"""HL7 table 0078, LIS02-A2 9.8."""
STATUSES = {"F": "final", "C": "corrected", "P": "preliminary", "V": "final"}
_NO_RESULT = re.compile(r"[-*.?]{2,}[-*.?+]*|[-*]+\.[-*]+|\++\.\++|\+{4,}")


def code(look: Look) -> None:
    """The first component of the standard field that is filled in nearly all rows."""
    number = 3
    most = look.components(look.row, number)
    filled = [c for c in range(1, most + 1) if look.filled(look.place(number, c)) >= 0.9]
    if not filled and look.is_hl7:
        filled_4 = look.filled("OBX-4")
        look.guess.where["code"] = ["OBX-4"] if filled_4 > look.filled("OBX-3.1") else ["OBX-3.1"]
        look.doubt(f"OBX-3 is not always filled; the code was looked for in {look.guess.where['code'][0]}.")
        return
    some = [c for c in range(1, most + 1) if look.filled(look.place(number, c)) > 0.3]
    chosen = (filled or some or [1])[0]
    place = look.place(number, chosen)
    look.guess.where["code"] = [place]
    texts = [said for said in look.texts(place) if said]
    if len(look.items) > 2 and len(set(texts)) == 1 and len(filled) > 1:
        better = next((c for c in filled[1:] if len(set(look.texts(look.place(number, c)))) > 1), None)
        if better is not None:
            look.guess.where["code"] = [look.place(number, better)]
            look.doubt(f"{place} is the same in all rows; {look.place(number, better)} was taken for the code.")
            return
    if texts and all("/" in said for said in texts):
        look.guess.take["code"] = "^([^/]*)"
        look.doubt(f"{place} has a stroke in every row; only what stands before it was taken for the code.")
    if (
        texts
        and sum(bool(re.search(r"\w[+/&;:]\w", said)) for said in texts) > len(texts) / 2
        and "code" not in look.guess.take
    ):
        look.doubt(f"{place} looks put together, such as {texts[0]}; which part of it is the code ([take] code)?")
    if joined(look, place, [c for c in some if c != chosen]):
        return
    for component in filled[1:]:
        sample = Counter(look.texts(look.place(number, component))).most_common(3)
        look.doubt(
            f"{look.place(number, component)} is filled too ({', '.join(s for s, _ in sample)}): a name, a dilution "
            "or a kind of "
            "result. If the code alone does not tell two results apart, it belongs to it ([join] code)."
        )
        break


def joined(look: Look, place: str, components: list[int]) -> bool:
    """Whether the code alone comes twice for a specimen and another component tells the two apart."""

    def repeats(*places: str) -> int:
        seen = Counter((id(item.group), *(item.text((place_of(p),)) for p in places)) for item in look.items)
        return sum(count - 1 for count in seen.values())

    alone = repeats(place)
    if not alone:
        return False
    for other in (look.place(3, component) for component in components):
        if repeats(place, other) == 0 and len(set(look.texts(other))) < len(look.items):
            look.guess.where["code"], look.guess.join = [place, other], True
            look.doubt(
                f"{place} comes more than once for a specimen; together with {other} it does not, so both were "
                "joined to the "
                "code. If the rows are parts of one result (raw signal, interpretation), use [[rows]] instead."
            )
            return True
    return False


def value(look: Look) -> None:
    """The standard field; of several components the one with the numbers."""
    number = 5 if look.is_hl7 else 4
    whole, most = look.place(number), look.components(look.row, number)
    if most <= 1:
        look.guess.where["value"] = [whole]
    else:
        parts = [look.place(number, c) for c in range(1, most + 1)]
        score = {
            part: sum(map(looks.is_number, look.texts(part))) + 2 * sum("." in t for t in look.texts(part))
            for part in parts
        }
        first = max(parts, key=lambda part: (score[part], look.filled(part), -parts.index(part)))
        others = [part for part in parts if part != first and look.filled(first) < 1 and look.filled(part) > 0]
        look.guess.where["value"] = [first, *others[:1]]
        look.doubt(
            f"{whole} has {most} components; the value was looked for in {', '.join(look.guess.where['value'])}."
        )
    texts = [text for text in look.of("value") if text]
    look.guess.no_result = sorted({text for text in texts if _NO_RESULT.fullmatch(text)})
    if look.guess.no_result:
        look.doubt(f"Taken for withheld values: {', '.join(look.guess.no_result)}.")
    words = Counter(t for t in texts if not looks.is_number(t) and t not in look.guess.no_result)
    if words:
        look.doubt(f"Values that are words go on as they came: {', '.join(word for word, _ in words.most_common(8))}.")
    if any("," in text for text in texts if looks.is_number(text)):
        look.doubt("Values have a decimal comma: write decimal_comma = true into the mapping.")


def unit(look: Look) -> None:
    """The standard field, else wherever units stand."""
    number = 6 if look.is_hl7 else 5
    whole, first = look.place(number), look.place(number, 1)
    if look.filled(whole):
        texts = [text for text in look.texts(first) if text]
        split = look.components(look.row, number) > 1 and sum(map(looks.is_unit, texts)) >= len(texts) / 2
        look.guess.where["unit"] = [first if split else whole]
    else:
        candidates = [
            look.place(field, c)
            for field in range(3, 16)
            for c in range(1, look.components(look.row, field) + 1)
            if look.place(field, c) not in look.guess.where["code"]
        ]
        rated = {place: sum(map(looks.is_unit, look.texts(place))) / len(look.items) for place in candidates}
        best = max(rated, key=lambda place: rated[place], default="")
        if not best or rated[best] < 0.5:
            look.doubt(
                "No unit was seen: the instrument sends none, or has to be set to send it. Factors then hang on its "
                "settings."
            )
            return
        look.guess.where["unit"] = [best]
        look.doubt(f"Units stand at {best}, not where the standard has them.")
    odd = sorted({text for text in look.of("unit") if text and not looks.is_unit(text)})
    if odd:
        look.doubt(f"Not known as units: {', '.join(odd[:8])}.")


def flag(look: Look) -> None:
    """The standard field; only the standard's words have a meaning here."""
    number = 8 if look.is_hl7 else 7
    place = look.place(number)
    if not look.filled(place):
        return
    if look.is_hl7 and look.components(look.row, number) > 1:
        place = look.place(number, 1)
    look.guess.where["flag"] = [place]
    found = place_of(place)
    seen = Counter(flag for item in look.items for flag in found.all_of(item.row))
    look.guess.flags = {flag: FLAGS[flag] for flag in FLAGS if flag in seen or flag in ("N", "H", "L")}
    unknown = [flag for flag, _ in seen.most_common() if flag not in FLAGS]
    if unknown:
        look.doubt(
            "Flags that the standard does not know, look them up and add them to [words] flag; until then their "
            f"results park: {listed(unknown)}."
        )


def status(look: Look) -> None:
    """The standard field; only the standard's words have a meaning here."""
    place = "OBX-11" if look.is_hl7 else "R-9"
    if not look.filled(place):
        return
    look.guess.where["status"] = [place]
    seen = [status for status in dict.fromkeys(look.texts(place)) if status]
    look.guess.statuses = {
        status: word for status, word in STATUSES.items() if status in seen or status in ("F", "C", "P")
    }
    unknown = [status for status in seen if status not in STATUSES]
    if unknown:
        look.doubt(
            f"Statuses at {place} with no sure meaning, look them up and add them to [words] status; until then "
            f"their results park: {listed(unknown)}."
        )


def measured_at(look: Look) -> None:
    """The first usual place where times stand."""
    candidates = ["OBX-19", "OBX-14", "OBR-7", "OBR-22"] if look.is_hl7 else ["R-13", "R-12", "O-7", "O-8", "H-14"]
    for place in candidates:
        texts = [text for text in look.texts(place) if text]
        form = looks.time_form(texts)
        if texts and (form or any(map(looks.is_time, texts))):
            look.guess.where["measured_at"] = [place]
            look.guess.time_format = form
            return
    look.doubt("No time of measurement was found; the time of receipt counts.")


def people(look: Look) -> None:
    """Where the patient, the operator and the reference range stand."""
    tables: dict[str, tuple[tuple[str, ...], Callable[[str], bool]]] = {
        "patient": (("PID-3.1", "PID-2.1") if look.is_hl7 else ("P-3", "P-4", "P-5"), bool),
        "patient_name": (("PID-5",) if look.is_hl7 else ("P-6",), bool),
        "birth_date": (("PID-7",) if look.is_hl7 else ("P-8",), looks.is_time),
        "sex": (("PID-8",) if look.is_hl7 else ("P-9",), lambda said: said[:1].upper() in "MFUO"),
        "operator": (("OBX-16.1",) if look.is_hl7 else ("R-11",), bool),
        "range": (("OBX-7",) if look.is_hl7 else ("R-6",), bool),
    }
    for name, (places, fits) in tables.items():
        used = look.guess.where.get("specimen", [])
        found = [p for p in places if p not in used and any(text and fits(text) for text in look.texts(p))]
        if found:
            look.guess.where[name] = found


def tests(look: Look) -> None:
    """Codes with the units seen; what has neither number nor unit and looks like a message is left out, and parks."""
    units: dict[str, dict[str, None]] = defaultdict(dict)
    guess = look.guess
    has_units = "unit" in guess.where
    cut = re.compile(guess.take["code"]) if "code" in guess.take else None
    name_place = nameplace_of(look)
    per_group: Counter[tuple[int, str]] = Counter()
    for item, code, unit, value in zip(look.items, look.of("code"), look.of("unit"), look.of("value"), strict=True):
        if guess.join:
            code = "^".join(filter(None, (item.text((place_of(p),)) for p in guess.where["code"])))  # noqa: PLW2901
        if cut is not None:
            code = found[1] if (found := cut.search(code)) else ""  # noqa: PLW2901 - the code that is meant
        if not code:
            continue
        per_group[id(item.group), code] += 1
        if value or unit:
            units[code][unit] = None
        else:
            units.setdefault(code, {})
        if name_place and (name := item.text((place_of(name_place),))):
            guess.names.setdefault(code, name)
    odd = [code for code, seen in units.items() if has_units and set(seen) <= {""} and re.search(r"[?_]", code)]
    for code, seen in units.items():
        if code not in odd:
            guess.tests[code] = list(seen) or [""]
    if odd:
        look.doubt(
            "These look like messages about the specimen, not like tests, and are not declared, so that they park: "
            f"{listed(odd)}. Declare them in [tests], or ignore them in [[rows]]."
        )
    twice = sorted({code for (_, code), count in per_group.items() if count > 1})
    if twice:
        look.doubt(
            f"Came more than once for one specimen in one message: {listed(twice)}. Which row is the result, and "
            "what are the others ([[rows]])?"
        )
    bare = sorted(code for code, seen in units.items() if has_units and set(seen) == {""} and code not in odd)
    if bare and len(bare) < len(units):
        look.doubt(f"Came without a unit, where others have one: {listed(bare)}. Are they results of tests at all?")
    several = sorted(code for code, seen in units.items() if len(set(seen) - {""}) > 1)
    if several:
        look.doubt(f"Came in several units: {listed(several)}. The mapping has to say `comes`.")
    look.doubt(
        f"{len(guess.tests)} codes were seen. Take the complete list, with every unit, from the instrument's manual "
        "or its screen; another code parks its results."
    )


def nameplace_of(look: Look) -> str:
    """Where the instrument calls a test by a name beside its code; "" when it does not."""
    code = look.guess.where["code"][0]
    found = place_of(code)
    if found.component is None:
        return ""
    beside = f"{found.row}-{found.field}.{found.component + 1}"
    texts = [text for text in look.texts(beside) if text]
    return beside if texts and sum(any(c.isalpha() for c in text) for text in texts) > len(texts) / 2 else ""
