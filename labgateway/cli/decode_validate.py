"""``labgateway decode --validate``: what a second reader, hl7apy, holds against HL7 messages by the letter of their version.

Names of segments and fields only, never what stands in them. A message need not be valid to be decoded: analyzers seldom
are by the letter, and a driver says what its own sends.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from labgateway.protocols import hl7

_IN_TABLE = re.compile(r"^Value .* not in table (\S+) in element (\S+)$", re.DOTALL)
_ELEMENT = re.compile(r"<(?:\w+ )?(\w+)[^>]*>")


def mistakes(message: bytes) -> list[str] | None:
    """What is wrong with an HL7 message by the version in its MSH-12, each mistake once; None: it is no HL7 message."""
    if not message.startswith(b"MSH"):
        return None
    version = hl7.read(message).version
    text = message.decode("utf-8") if _is_utf8(message) else message.decode("latin-1")
    try:
        found = _of_hl7apy("\r".join(line for line in re.split(r"[\r\n]+", text) if line))
    except Exception as error:  # it is not ours, and any message may come: what it cannot read it cannot judge
        return [f"hl7apy cannot read it as HL7 {version or 'without a version'} ({type(error).__name__})."]
    return list(dict.fromkeys(found))


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _of_hl7apy(text: str) -> list[str]:
    # Without types of its own, and slow to load: only here.
    hl7apy: Any = import_module("hl7apy.parser")
    wrong: Any = import_module("hl7apy.exceptions").ValidationError
    parsed = hl7apy.parse_message(text, find_groups=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        try:
            parsed.validate(report_file=str(report))
        except wrong:
            pass  # the first of those that the report has
        lines = report.read_text(encoding="utf-8", errors="replace").split("\n")
    # What its grouping has no place for, it leaves out without a word.
    lost = Counter(line[:3] for line in text.split("\r")) - Counter(_segments(parsed))
    outside = [f"{name} stands where {parsed.name} has no place for it." for name in lost if not name.startswith("Z")]
    return outside + [_words(line) for line in lines if line.strip()]


def _segments(element: Any) -> Iterator[str]:
    for child in element.children:
        if child.classname == "Segment":
            yield child.name
        else:
            yield from _segments(child)


def _words(line: str) -> str:
    """A line of the report without what stands in the message."""
    kind, _, what = line.partition(": ")
    if table := _IN_TABLE.match(what):
        what = f"{table[2]} holds a word that is not in table {table[1]}"
    return ("" if kind.casefold() == "error" else "doubtful: ") + _ELEMENT.sub(r"\1", what) + "."
