r"""Orders to an instrument with a raw framing, and back, by [orders] and [line] replies of its driver. Pure.

    R 003201 0018          1013002058      a query: its text fits one of [orders] texts
    S 003201 0018          1013002058    E0107    its answer: the template with the query's own parts and the orders'
    SE                                     nothing to do: what [line] replies says to such a query

Ids and codes pass as they are or not at all; what does not fit the instrument's columns is not cut. Not here: which
orders there are, the framing and its check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from labgateway.instruments.encode import NotSendableError, Read, Work, patient_id, plain
from labgateway.instruments.order_form import OrderText, RawOrderForm
from labgateway.instruments.spec import Driver, Reply
from labgateway.protocols.raw_framing import FRAMINGS, unframe


def reply(replies: Iterable[Reply], text: bytes) -> bytes | None:
    """What is said to a text: the first reply whose expression fits, its groups filled in. Bytes pass as they are."""
    said = text.decode("latin-1")
    for one in replies:
        if found := one.when.search(said):
            return found.expand(one.say).encode("latin-1")
    return None


def answer(driver: Driver, works: Sequence[Work], query: bytes) -> bytes | None:
    """The text that answers a query with the work of its one specimen; None: there is nothing to say.

    query: its transmission, as it came. Raises NotSendableError for what the instrument cannot be told, ValueError for
    a driver that takes no orders.
    """
    form = driver.orders
    if not isinstance(form, RawOrderForm):
        raise ValueError(f"driver {driver.name} takes no orders")
    text = _text_of(driver, query)
    work = works[0] if works else None
    if work is None or not work.codes or (form.needs_patient and not patient_id(work)):
        return none(driver, query)
    for one in form.texts:
        if found := one.when.search(text.decode("latin-1")):
            return _written(form, one, found, work)
    raise NotSendableError("no text of [orders] answers a query of this form")


def none(driver: Driver, query: bytes) -> bytes | None:
    """The text that says that there is no order."""
    return reply(driver.line.replies, _text_of(driver, query))


def _text_of(driver: Driver, query: bytes) -> bytes:
    texts = unframe(query, FRAMINGS[driver.protocol]).texts
    return texts[0] if texts else b""


def _written(form: RawOrderForm, text: OrderText, found: re.Match[str], work: Work) -> bytes:
    asked = found.groupdict().get("id")
    if asked is not None and asked.strip() != work.specimen:
        # The columns of the answer are those of the query: they must be where the id was read.
        raise NotSendableError("the specimen id stands elsewhere in the query than [orders] texts says")
    for code in work.codes:
        if not form.fits.search(plain(code, "a test code")):
            raise NotSendableError("a test code has not the form that [orders] fits asks for")
    words = {
        "specimen": plain(work.specimen, "the specimen id"),
        "patient": plain(patient_id(work), "the patient id"),
        "count": str(len(work.codes)),
        "codes": "".join(code + form.after_code for code in work.codes),
    }
    if "{specimen_type}" in text.parts:
        known = [form.specimen_types[part] for part in work.specimen_type.split("^") if part in form.specimen_types]
        words["specimen_type"] = next(iter(known), form.specimen_types.get("", ""))
        if not words["specimen_type"]:
            raise NotSendableError("the order says no specimen type that [orders] specimen_types knows")
    for word, most in form.most.items():
        if len(words.get(word, "")) > most:
            raise NotSendableError(
                f"the {word.replace('_', ' ')} is longer than the {most} characters of the instrument"
            )
    return "".join(_part(part, found, words) for part in text.parts).encode("latin-1")


def _part(part: str, found: re.Match[str], words: dict[str, str]) -> str:
    if part.startswith("\\g<"):
        return found[part[3:-1]] or ""
    return words[part[1:-1]] if part.startswith("{") else part


def read_back(driver: Driver, query: bytes, text: bytes) -> Read | None:
    """What the instrument understands of our answer to its query: the template read backwards; None: no order.

    For tests and the simulator.
    """
    form = driver.orders
    if not isinstance(form, RawOrderForm):
        return None
    asked = _text_of(driver, query).decode("latin-1")
    for one in form.texts:
        if not (found := one.when.search(asked)):
            continue
        pattern = "".join(_backwards(part, found) for part in one.parts)
        if read := re.fullmatch(pattern, text.decode("latin-1"), re.DOTALL):
            said = read.groupdict()
            specimen = said.get("specimen") or (found.groupdict().get("id") or "").strip()
            codes = _split(form, said["codes"])
            return Read(specimen, codes, said.get("patient") or "", "", is_cancel=False)
        return None
    return None


def persons(driver: Driver, message: bytes) -> list[tuple[str, str]]:
    """Specimen and patient, each perhaps empty, of every order among our texts in a transcript. message: they, framed."""
    form = driver.orders
    if not isinstance(form, RawOrderForm):
        return []
    found: list[tuple[str, str]] = []
    for text in unframe(message, FRAMINGS[driver.protocol]).texts:
        for one in form.texts:
            pattern = "".join(_backwards(part, None) for part in one.parts)
            if read := re.fullmatch(pattern, text.decode("latin-1"), re.DOTALL):
                said = read.groupdict()
                found.append((said.get("specimen") or "", said.get("patient") or ""))
    return found


def _backwards(part: str, found: re.Match[str] | None) -> str:
    """found: what the query said; None: whatever it was."""
    if part.startswith("\\g<"):
        return ".*?" if found is None else re.escape(found[part[3:-1]] or "")
    return f"(?P<{part[1:-1]}>.*?)" if part.startswith("{") else re.escape(part)


def _split(form: RawOrderForm, codes: str) -> tuple[str, ...]:
    """The codes between what follows each of them; without that, the shortest pieces that are codes."""
    if form.after_code.strip("0123456789"):
        return tuple(codes.split(form.after_code)[:-1])
    found: list[str] = []
    while codes:
        size = next((n for n in range(1, len(codes) + 1) if form.fits.search(codes[:n])), len(codes))
        found.append(codes[:size])
        codes = codes[size + len(form.after_code) :]
    return tuple(found)
