"""One row of a delimited message: an ASTM record or an HL7 segment, read lazily and without loss.

    R|1|^^^^WBC^1|8.13|10*3/uL||N        record R, field 3, component 5: WBC
    OBX|1|NM|6690-2^WBC^LN||2.78|...     segment OBX, field 3, component 2: WBC

Fields count as the standards do: in ASTM the record letter is field 1 (LIS02-A2 5.4), in HL7 the
field behind the segment name is field 1 and MSH-1 is the separator itself (HL7 2.5.1 chapter 2.5.3).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The separators a message declares in its first row. subcomponent is empty in ASTM."""

    field: str = "|"
    repetition: str = "\\"
    component: str = "^"
    escape: str = "&"
    subcomponent: str = ""


ASTM = Delimiters()
HL7 = Delimiters("|", "~", "^", "\\", "&")

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What stands for bytes that are no text, a byte 0 among them: PostgreSQL keeps none, and no field means one."""
_ASTM_NAMES = {"F": "field", "S": "component", "R": "repetition", "E": "escape"}


@dataclass(frozen=True, slots=True)
class Row:
    """A record or segment.

    name: ``R``, ``OBX``. fields: raw text; fields[0] is the name, and for MSH fields[1] is already
    MSH-2. number: how many rows of this name stood in the message up to here, from 1.
    """

    name: str
    fields: tuple[str, ...]
    delimiters: Delimiters
    number: int = 0
    is_hl7: bool = False

    def raw(self, field: int) -> str:
        """Field as sent, escapes unresolved; empty when the row is shorter. field counts as the standard does."""
        if not self.is_hl7:
            field -= 1
        elif self.name in ("MSH", "FHS", "BHS"):
            if field == 1:
                return self.delimiters.field
            field -= 1
        return self.fields[field] if 0 < field < len(self.fields) or field == 0 else ""

    def repetitions(self, field: int) -> list[str]:
        """The raw repetitions of a field; an empty field has none."""
        text = self.raw(field)
        if not text:
            return []
        if self._is_delimiter_field(field):
            return [text]
        return text.split(self.delimiters.repetition) if self.delimiters.repetition else [text]

    def value(
        self,
        field: int,
        component: int | None = None,
        subcomponent: int | None = None,
        *,
        repetition: int = 0,
    ) -> str:
        """Text at a path, escapes resolved, outer blanks kept; empty when there is nothing.

        Without component the whole field, all repetitions, components and all. With one, the
        repetition counted from 0; of a component with subcomponents the first, when none is named.
        """
        text = self.raw(field)
        if component is None or self._is_delimiter_field(field):
            return self.unescape(text)
        d = self.delimiters
        if d.repetition and d.repetition in text:
            parts = text.split(d.repetition)
            text = parts[repetition] if repetition < len(parts) else ""
        elif repetition:
            return ""
        parts = text.split(d.component)
        text = parts[component - 1] if component <= len(parts) else ""
        if d.subcomponent and (subcomponent is not None or d.subcomponent in text):
            parts = text.split(d.subcomponent)
            wanted = subcomponent or 1
            text = parts[wanted - 1] if wanted <= len(parts) else ""
        elif subcomponent is not None and subcomponent > 1:
            text = ""
        return self.unescape(text)

    def unescape(self, text: str) -> str:
        """Resolve the escapes of the protocol: HL7 2.5.1 2.7, LIS02-A2 5.4.6. Unknown ones stay as sent."""
        if self.delimiters.escape not in text or not self.delimiters.escape:
            return text
        return unescape(text, self.delimiters, is_hl7=self.is_hl7)

    def _is_delimiter_field(self, field: int) -> bool:
        return field == 2 and self.name in ("H", "MSH", "FHS", "BHS")


def unescape(text: str, delimiters: Delimiters, *, is_hl7: bool) -> str:
    """Text with its escape sequences resolved; what is no known sequence stays as it was.

    HL7: F S T R E, ``Xhh..`` (as ASCII, 00 as U+FFFD; else left alone), ``.br`` and ``.sp`` become a
    line feed, ``H`` and ``N`` (highlighting) vanish. ASTM: F S R E, ``Xhh`` likewise.
    """
    escape = delimiters.escape
    parts = text.split(escape)
    if len(parts) < 3:
        return text
    out = [parts[0]]
    at = 1
    while at < len(parts):
        resolved = _resolve(parts[at], delimiters, is_hl7=is_hl7) if at + 1 < len(parts) else None
        if resolved is None:
            out.append(escape + parts[at])
            at += 1
        else:
            out.append(resolved)
            out.append(parts[at + 1])
            at += 2
    return "".join(out)


def _resolve(sequence: str, d: Delimiters, *, is_hl7: bool) -> str | None:
    if sequence in _ASTM_NAMES:
        return str(getattr(d, _ASTM_NAMES[sequence]))
    if sequence[:1] == "X" and len(sequence) > 1 and len(sequence) % 2 == 1:
        try:
            raw = bytes.fromhex(sequence[1:])
        except ValueError:
            return None
        return raw.decode("ascii").replace("\0", REPLACEMENT) if raw.isascii() else None
    if not is_hl7:
        return None
    match sequence:
        case "T":
            return d.subcomponent
        case ".br" | ".sp":
            return "\n"
        case "H" | "N":
            return ""
        case _:
            return None
