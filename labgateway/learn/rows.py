"""Which rows are results: pictures, times, modes, interpretations and raw signals are told apart from them. Pure."""

from __future__ import annotations

import re
from collections import Counter

from labgateway.learn.evidence import Look, pairs, place_of

_NAMES_OF_NO_RESULT = re.compile(
    r"(?i)\b(mode|age|group|remark|comment|histogram|scatter\w*|threshold|image|version|lot|bitmap|line)\b"
)
_PICTURE = r"(?i)\.(png|bmp|jpe?g|gif)$|^.{200,}$"
_TIMES = ("TS", "DT", "TM", "DTM")


def kinds_of_rows(look: Look) -> None:
    """Pictures, and rows that say something else than a result; the rest is looked at as results."""
    guess = look.guess
    value = look.place(5 if look.is_hl7 else 4)
    if look.is_hl7 and any(kind in ("ED", "RP") for kind in look.texts("OBX-2")):
        guess.rows.append(({"OBX-2": "^(ED|RP)$"}, "attachment", "HL7 2.5.1 2.A.24: encapsulated data"))
        look.items = [
            item for item, kind in zip(look.items, look.texts("OBX-2"), strict=True) if kind not in ("ED", "RP")
        ]
    if any(re.search(_PICTURE, said) for said in look.texts(value)):
        guess.rows.append(
            ({value: _PICTURE}, "attachment", "the value is the name of a picture, or far too long for one")
        )
        look.items = [i for i, said in zip(look.items, look.texts(value), strict=True) if not re.search(_PICTURE, said)]
    if look.is_hl7:
        rows_about_other_things(look)
    else:
        rows_beside_the_result(look)


def rows_about_other_things(look: Look) -> None:
    """Times; modes, ages, remarks: named, code by code; only what has no unit or is an age."""
    if any(kind in _TIMES for kind in look.texts("OBX-2")):
        look.guess.rows.append(({"OBX-2": "^(TS|DT|TM|DTM)$"}, "ignore", "a date or time is no result"))
        look.doubt(
            "Rows whose OBX-2 says date or time (TS, DT, TM) are ignored: no results of a test, one should think."
        )
        kinds = look.texts("OBX-2")
        look.items = [i for i, k in zip(look.items, kinds, strict=True) if k not in _TIMES]
    codes: dict[str, str] = {}
    for item in look.items:
        name = " ".join(filter(None, (item.text((place_of(p),)) for p in ("OBX-3.2", "OBX-4"))))
        unit = item.text((place_of("OBX-6"),))
        if _NAMES_OF_NO_RESULT.search(name) and (not unit or re.search(r"(?i)\bage\b", name)):
            codes[item.text((place_of("OBX-3.1"),))] = name
    codes.pop("", None)
    if codes:
        pattern = f"^({'|'.join(re.escape(code) for code in codes)})$"
        look.guess.rows.append(
            ({"OBX-3.1": pattern}, "ignore", f"no results by their names: {', '.join(codes.values())}")
        )
        look.doubt(f"Rows with these codes are ignored because of their names, check each: {pairs(codes.items())}.")
        look.items = [i for i in look.items if i.text((place_of("OBX-3.1"),)) not in codes] or look.items


def rows_beside_the_result(look: Look) -> None:
    """Final, interpretation and raw signal of one assay, told by a letter behind the code (Abbott, Siemens …)."""
    for component in range(2, look.components("R", 3) + 1):
        kinds = Counter(filter(None, look.texts(f"R-3.{component}")))
        if "F" in kinds and set(kinds) <= {"F", "I", "P", "G"} and len(kinds) > 1:
            place = f"R-3.{component}"
            for letter, kind in (("I", "comment"), ("P", "ignore"), ("G", "ignore")):
                if letter in kinds:
                    look.guess.rows.append(({place: f"^{letter}$"}, kind, "beside the row with F, which is the result"))
            look.doubt(
                f"{place} tells result (F), interpretation (I) and raw signal (P) apart; only F was taken for a "
                "result. Check with the manual."
            )
            look.items = [item for item in look.items if item.text((place_of(place),)) in ("F", "")]
            return


def silent(look: Look) -> None:
    """Say which messages hold nothing that was understood."""
    heard = {look.row, "Q", "QPD", "QRD"}
    rest = [
        rows
        for rows in look.messages
        if not heard & {row.name for row in rows} and not look.guess.query_when.get("MSH-9.1")
    ]
    if rest:
        forms = sorted({" ".join(row.name for row in rows)[:60] for rows in rest})
        look.doubt(
            f"{len(rest)} messages hold neither results nor a query ({'; '.join(forms[:4])}). What do they say? "
            "Results may stand in other rows."
        )
